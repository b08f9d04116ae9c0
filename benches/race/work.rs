//! From the description of a case to something that runs.

use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use morphisms::{Architecture, Network};

use crate::Result;
use crate::cases::Work;
use crate::networks::CLASSES;
use crate::training::Training;
use crate::{kernels, population};

/// Runs a case once.
pub type Run = Box<dyn FnMut() -> Result<()> + Send>;

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
    let mut training = Training::new(&network(architecture)?)?;
    Ok(Box::new(move || training.step(&images, &targets).map(drop)))
}

fn inference(architecture: &Architecture, batch: usize) -> Result<Run> {
    let images = images(architecture, batch)?;
    let network = network(architecture)?.fold_batch_norms()?;
    Ok(Box::new(move || {
        std::hint::black_box(network.logits(&images)?);
        Ok(())
    }))
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
