//! Measured latency.

use candle_core::{DType, Tensor};
use morphisms::{Architecture, Network};
use rayon::ThreadPoolBuilder;

use super::{Kind, Objective};
use crate::config::{Config, LatencyConfig};
use crate::store::MeasurementRow;
use crate::{Error, Result, device};

/// Milliseconds to classify one image, on one thread of this machine or on the GPU that the search trains on, batch norms
/// folded as they would be deployed.
/// It needs no trained weights, so it is measured before training, while no worker runs.
pub const LATENCY: Objective = Objective {
    name: "latency",
    unit: "ms",
    summary: "milliseconds to classify one image: batch 1, one thread, batch norms folded, median",
    kind: Kind::Measured(measure),
};

fn measure(architecture: &Architecture, config: &Config) -> Result<MeasurementRow> {
    let device = device::open(config)?;
    let network = Network::init(architecture.clone(), 0, DType::F32, &device)?.fold_batch_norms()?;
    let shape = architecture.input();
    let (height, width) = shape.spatial();
    let image = Tensor::full(0.5f32, (1, shape.channels(), height, width), &device)?;
    let pool = ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.map_err(|error| Error::Usage(format!("latency: {error}")))?;
    let mut times = pool.install(|| time(&network, &image, &config.latency))?;
    times.sort_by(f64::total_cmp);
    let quantile = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    Ok(MeasurementRow { value: quantile(0.5), low: quantile(0.25), high: quantile(0.75) })
}

fn time(network: &Network, image: &Tensor, config: &LatencyConfig) -> Result<Vec<f64>> {
    for _ in 0..config.warmup {
        network.logits(image)?;
    }
    let once = |_| {
        let (_, time) =
            device::time(image.device(), || network.logits(image).map_err(candle_core::Error::wrap))?;
        Ok(time.as_secs_f64() * 1e3)
    };
    (0..config.repeats.max(1)).map(once).collect()
}
