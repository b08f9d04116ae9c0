//! From the description of a case to something that runs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use morphisms::{Architecture, Network};
use paretomorph::config::Recipe;
use paretomorph::train::{State, Step};

use crate::Result;
use crate::cases::Work;
use crate::networks::CLASSES;
use crate::{kernels, population};

/// Small, so that no number grows or vanishes over thousands of steps on one batch.
const STEP: Step = Step { lr: 1e-3, dropout: 0 };

/// Runs a case once and says how long what is timed took.
pub type Run = Box<dyn FnMut() -> Result<Duration> + Send>;

/// How long `work` takes.
pub fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<Duration> {
    let begun = Instant::now();
    std::hint::black_box(work()?);
    Ok(begun.elapsed())
}

/// What all cases share.
pub struct Settings {
    /// Threads of a case; workers of the population.
    pub threads: usize,
    /// The folder of Fashion-MNIST; none: where its Debian package puts it.
    pub data: Option<PathBuf>,
}

/// Makes a case ready to run.
pub fn prepare(work: &Work, settings: &Settings) -> Result<Run> {
    match work {
        Work::Conv { spec, pass } => kernels::prepare_conv(spec, *pass),
        Work::Norm { input, pass } => kernels::prepare_norm(*input, *pass),
        Work::Step { architecture, batch } => step(architecture, *batch),
        Work::Inference { architecture, batch } => inference(architecture, *batch),
        Work::Population { architectures, images } => population::prepare(architectures, *images, settings),
    }
}

fn step(architecture: &Architecture, batch: usize) -> Result<Run> {
    let images = images(architecture, batch)?;
    let labels: Vec<u32> = (0..batch).map(|image| (image % CLASSES) as u32).collect();
    let targets = one_hot(&labels)?;
    let network = network(architecture)?;
    let (mut training, recipe) = (State::new(network.weights(), &Device::Cpu)?, Recipe::default());
    Ok(Box::new(move || {
        timed(|| Ok(training.step(network.architecture(), &recipe, None, (&images, &targets), STEP)?))
    }))
}

fn inference(architecture: &Architecture, batch: usize) -> Result<Run> {
    let images = images(architecture, batch)?;
    let network = network(architecture)?.fold_batch_norms()?;
    Ok(Box::new(move || timed(|| Ok(network.logits(&images)?))))
}

fn network(architecture: &Architecture) -> Result<Network> {
    Ok(Network::init(architecture.clone(), 0, DType::F32, &Device::Cpu)?)
}

fn images(architecture: &Architecture, batch: usize) -> Result<Tensor> {
    let shape: Vec<usize> = architecture.input().into();
    values(&[&[batch], shape.as_slice()].concat(), 1.0)
}

fn one_hot(labels: &[u32]) -> Result<Tensor> {
    let mut targets = vec![0f32; labels.len() * CLASSES];
    for (row, &label) in targets.chunks_exact_mut(CLASSES).zip(labels) {
        row[label as usize] = 1.0;
    }
    Ok(Tensor::from_vec(targets, (labels.len(), CLASSES), &Device::Cpu)?)
}

/// Values that look random to the arithmetic, the same in every run.
pub fn values(shape: &[usize], scale: f64) -> Result<Tensor> {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| ((i as f64 * 0.754_877).sin() * scale) as f32).collect();
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}
