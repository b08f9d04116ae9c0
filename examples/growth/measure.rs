//! One seed: a parent, its children, and what is measured of them.

use candle_core::{DType, Device, Tensor};
use morphisms::{Mode, Network, Shape, check};
use paretomorph::config::Recipe;
use paretomorph::data::{Dataset, epoch_order};
use paretomorph::fidelity::Course;
use paretomorph::rng;
use paretomorph::stop::Stop;
use paretomorph::train::{End, Plan, Trainer, error_rate};

use crate::{Method, Result};

/// Channels of the parent's three convolutions.
pub const WIDTHS: [usize; 3] = [16, 32, 32];
/// Epochs of the parent.
const PARENT_EPOCHS: usize = 2;
/// Epochs of further training. Each number is a training of its own with its whole schedule, as a search has it.
pub const FURTHER_EPOCHS: [usize; 2] = [1, 2];
/// Images that calibrate, as in a search.
const CALIBRATION: usize = 256;
/// Batches, of the training's size, on which functions are compared; none of their images calibrates.
const COMPARED: usize = 8;

/// What one method came to from one parent.
#[derive(Debug)]
pub struct Row {
    /// Seed of the parent, of the edit, and of the order of the images.
    pub seed: u64,
    /// The method's name.
    pub method: &'static str,
    /// The child's trained numbers.
    pub parameters: u64,
    /// The largest difference of logits between parent and child in evaluation mode, relative to the largest logit.
    pub drift: f64,
    /// The same in training mode, where batch norms use the statistics of the batch.
    pub training_drift: f64,
    /// Validation images that the child gets wrong before further training, and after each of [`FURTHER_EPOCHS`].
    pub wrong: [usize; 1 + FURTHER_EPOCHS.len()],
}

/// All methods from one parent.
pub fn seed(data: &Dataset, seed: u64, methods: &[Method]) -> Result<Vec<Row>> {
    let recipe = Recipe::default();
    let plan = |name: &str, epochs, lr| Plan { seed, name: name.into(), epochs, distill_epochs: 0, lr };
    let start = network(data, seed)?;
    let parent = train(&start, data, &recipe, &plan("parent", PARENT_EPOCHS, recipe.initial_lr))?;
    let images = Images::of(data, seed, recipe.batch)?;
    let row = |method: &Method| -> Result<Row> {
        let child = child(&parent, method, &images)?;
        let mut wrong = [wrong(&child, data)?; 1 + FURTHER_EPOCHS.len()];
        for (place, epochs) in FURTHER_EPOCHS.into_iter().enumerate() {
            // One name for all methods: the same images in the same order.
            let trained = train(&child, data, &recipe, &plan("further", epochs, recipe.lr))?;
            wrong[1 + place] = self::wrong(&trained, data)?;
        }
        Ok(Row {
            seed,
            method: method.name,
            parameters: child.architecture().parameter_count(),
            drift: images.largest(|batch| Ok(check::drift(&parent, &child, batch)?.relative))?,
            training_drift: images.largest(|batch| training_drift(&parent, &child, batch))?,
            wrong,
        })
    };
    methods.iter().map(row).collect()
}

fn network(data: &Dataset, seed: u64) -> Result<Network> {
    let shape = Shape::map(data.shape.channels, data.shape.height, data.shape.width);
    let [first, second, third] = WIDTHS;
    let body = Network::builder(shape).conv_bn_relu(first, 3).max_pool(2).conv_bn_relu(second, 3);
    let body = body.max_pool(2).conv_bn_relu(third, 3);
    Ok(body.head(data.classes.len()).init_on(seed, DType::F32, &Device::Cpu)?)
}

fn child(parent: &Network, method: &Method, images: &Images) -> Result<Network> {
    let batch = method.calibrated.then_some(&images.calibration);
    match method.edit.rewrite(parent.architecture())? {
        Some(rewrite) => Ok(parent.child(&rewrite, batch)?),
        None => Ok(parent.clone()),
    }
}

fn train(network: &Network, data: &Dataset, recipe: &Recipe, plan: &Plan) -> Result<Network> {
    let folder = tempfile::tempdir()?;
    let checkpoint = folder.path().join("checkpoint");
    let stop = Stop::default();
    let course = Course::default();
    let (checkpoint, on_epoch) = (&checkpoint, &|_, _| {});
    let trainer = Trainer { data, recipe, plan, course: &course, checkpoint, stop: &stop, on_epoch };
    match trainer.train(network, None)? {
        End::Done(trained) => Ok(trained.network),
        End::Diverged { epoch, .. } => Err(format!("{} diverged in epoch {epoch}", plan.name).into()),
        End::Stopped => unreachable!("nobody asks it to stop"),
    }
}

fn wrong(network: &Network, data: &Dataset) -> Result<usize> {
    let rate = error_rate(network, data, &data.validation)?;
    Ok((rate * data.validation.len() as f64).round() as usize)
}

/// [`check::drift`] in training mode.
fn training_drift(parent: &Network, child: &Network, batch: &Tensor) -> Result<f64> {
    let logits = |network: &Network| -> Result<Tensor> { Ok(network.forward(batch, Mode::TRAIN)?.logits) };
    let largest = |t: &Tensor| -> Result<f64> { Ok(f64::from(t.abs()?.max_all()?.to_scalar::<f32>()?)) };
    let expected = logits(parent)?;
    Ok(largest(&(logits(child)? - &expected)?)? / largest(&expected)?)
}

/// Training images without augmentation, `[batch, channels, height, width]`.
struct Images {
    calibration: Tensor,
    compared: Vec<Tensor>,
}

impl Images {
    fn of(data: &Dataset, seed: u64, batch: usize) -> Result<Self> {
        let order = epoch_order(data.train.len(), &mut rng::stream(seed, "growth", &[]));
        let tensor = |indices: &[usize]| -> Result<Tensor> {
            let pixels: Vec<u8> =
                indices.iter().flat_map(|&index| data.train.image(index)).copied().collect();
            Ok(data.normalisation.tensor(&pixels, data.shape)?)
        };
        let (calibration, others) = order.split_at(CALIBRATION.min(order.len() / 2));
        let compared = others.chunks_exact(batch).take(COMPARED).map(tensor);
        Ok(Self { calibration: tensor(calibration)?, compared: compared.collect::<Result<_>>()? })
    }

    /// The largest of what is measured on the compared batches.
    fn largest(&self, measure: impl Fn(&Tensor) -> Result<f64>) -> Result<f64> {
        self.compared.iter().try_fold(0.0f64, |largest, batch| Ok(largest.max(measure(batch)?)))
    }
}
