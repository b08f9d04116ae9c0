//! Grow a network while it trains: `cargo run --release -p morphisms --example embed`
//!
//! A small network learns to tell stripes apart. It is widened and deepened where its loss has come to rest, its outputs
//! stay, and the loss goes on falling.

use std::collections::BTreeMap;

use candle_convnet::{Parameter, SgdConfig, Tape, Value, cross_entropy};
use candle_core::{DType, Device, Result as Candle, Tensor};
use morphisms::{Mode, Network, ParamKey, Role, Seed, Shape, catalog, check, forward};

/// Directions that stripes have.
const CLASSES: usize = 4;
const SIZE: usize = 8;
const SGD: SgdConfig = SgdConfig { lr: 0.02, momentum: 0.9, weight_decay: 1e-4, nesterov: true };

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let start = Network::builder(Shape::map(1, SIZE, SIZE)).conv_bn_relu(4, 3).max_pool(2).conv_bn_relu(4, 3);
    let small = start.head(CLASSES).init(0)?;
    println!("A network of {} parameters learns.", small.architecture().parameter_count());
    let (small, before) = train(&small, 0..150)?;

    // Calibrated on a batch, the inserted batch norms keep the function in training mode too.
    let (images, _) = stripes(1_000)?;
    let mut grown = small.clone();
    for (name, variant) in [("widen", "replicate"), ("deepen", ""), ("widen", "fresh")] {
        let morphism = catalog::named(name).expect("in the catalogue");
        let sites = morphism.sites(grown.architecture());
        let site = sites.iter().rfind(|site| site.variant == variant).expect("a place to grow");
        let rewrite = morphism.rewrite(grown.architecture(), site, 7)?;
        grown = grown.child(&rewrite, Some(&images))?;
        let drift = check::drift(&small, &grown, &images)?;
        println!(
            "{name:>6} at {site}: {} parameters; no logit moved by more than {:.0e} of the largest.",
            grown.architecture().parameter_count(),
            drift.relative
        );
        assert!(drift.relative < 1e-4);
    }

    println!("The larger network learns on.");
    let (_, after) = train(&grown, 150..300)?;
    println!("Loss {before:.3} became {after:.3}.");
    assert!(after < before, "a larger network that starts where the smaller one stood gets further");
    Ok(())
}

/// Trains a network on the batches of these names; returns it with the mean loss of the last ten.
fn train(network: &Network, batches: std::ops::Range<u64>) -> Candle<(Network, f32)> {
    let mut training = Training::of(network)?;
    let mut losses = Vec::new();
    for batch in batches.clone() {
        losses.push(training.step(&stripes(batch)?)?);
        if (batch + 1 - batches.start).is_multiple_of(30) {
            let loss = mean(&losses[losses.len() - 10..]);
            println!("  batch {:>3}  loss {loss:.3} {}", batch + 1, "#".repeat((loss * 40.0) as usize));
        }
    }
    Ok((training.network(network)?, mean(&losses[losses.len() - 10..])))
}

fn mean(losses: &[f32]) -> f32 {
    losses.iter().sum::<f32>() / losses.len() as f32
}

/// The tensors of a network while they change: trained ones, and running statistics.
struct Training<'a> {
    network: &'a Network,
    trained: BTreeMap<ParamKey, Parameter>,
    running: BTreeMap<ParamKey, Tensor>,
}

impl<'a> Training<'a> {
    fn of(network: &'a Network) -> Candle<Self> {
        let (mut trained, mut running) = (BTreeMap::new(), BTreeMap::new());
        for (key, tensor) in network.weights().iter() {
            match key.role.is_trained() {
                true => drop(trained.insert(key, Parameter::new(tensor)?)),
                false => drop(running.insert(key, tensor.clone())),
            }
        }
        Ok(Self { network, trained, running })
    }

    /// One step of stochastic gradient descent; returns the loss.
    fn step(&mut self, (images, targets): &(Tensor, Tensor)) -> Candle<f32> {
        let tape = Tape::new();
        let mut values: BTreeMap<ParamKey, Value> =
            self.running.iter().map(|(&key, tensor)| (key, tensor.clone().into())).collect();
        for (&key, parameter) in &self.trained {
            values.insert(key, tape.variable(parameter.value()?));
        }
        let images = images.clone().into();
        let pass = forward(self.network.architecture(), &|key| Ok(&values[&key]), &images, Mode::TRAIN)?;
        let loss = cross_entropy(&pass.logits, targets)?;
        let mut gradients = tape.backward(&loss)?;
        for (key, parameter) in &self.trained {
            if let Some(gradient) = gradients.take(&values[key]) {
                parameter.step(&gradient, &SGD)?;
            }
        }
        for (layer, batch) in &pass.statistics {
            self.follow(ParamKey::new(*layer, Role::Mean), &batch.mean)?;
            self.follow(ParamKey::new(*layer, Role::Variance), &batch.unbiased_variance()?)?;
        }
        loss.as_tensor().to_scalar()
    }

    /// A running statistic goes a tenth of the way to the batch's.
    fn follow(&mut self, key: ParamKey, batch: &Tensor) -> Candle<()> {
        let next = ((&self.running[&key] * 0.9)? + (batch * 0.1)?)?;
        self.running.insert(key, next);
        Ok(())
    }

    fn network(self, of: &Network) -> Candle<Network> {
        let trained = self.trained.iter().map(|(&key, parameter)| Ok((key, parameter.value()?)));
        let running = self.running.iter().map(|(&key, tensor)| Ok((key, tensor.clone())));
        let weights = trained.chain(running).collect::<Candle<_>>()?;
        Network::new(of.architecture().clone(), weights).map_err(candle_core::Error::wrap)
    }
}

/// A batch of noisy stripes, `[64, 1, 8, 8]`, with their directions, one-hot.
fn stripes(batch: u64) -> Candle<(Tensor, Tensor)> {
    const BATCH: usize = 64;
    let noise = Seed { seed: batch, stream: 0 }.normal(1.0, BATCH * SIZE * SIZE);
    let phase = Seed { seed: batch, stream: 1 }.normal(3.0, BATCH);
    let (mut pixels, mut targets) = (Vec::new(), vec![0f32; BATCH * CLASSES]);
    for image in 0..BATCH {
        let class = image % CLASSES;
        targets[image * CLASSES + class] = 1.0;
        let angle = std::f64::consts::PI * class as f64 / CLASSES as f64;
        for place in 0..SIZE * SIZE {
            let (row, column) = ((place / SIZE) as f64, (place % SIZE) as f64);
            let wave = (1.6 * (row * angle.cos() + column * angle.sin()) + phase[image]).sin();
            pixels.push((wave + noise[image * SIZE * SIZE + place]) as f32);
        }
    }
    let images = Tensor::from_vec(pixels, (BATCH, 1, SIZE, SIZE), &Device::Cpu)?.to_dtype(DType::F32)?;
    Ok((images, Tensor::from_vec(targets, (BATCH, CLASSES), &Device::Cpu)?))
}
