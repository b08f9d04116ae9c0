//! Measured latency.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use morphisms::{Architecture, Network};
use rayon::ThreadPoolBuilder;

use super::{Kind, Objective};
use crate::config::LatencyConfig;
use crate::store::MeasurementRow;
use crate::{Error, Result};

/// Milliseconds to classify one image, on one thread of this machine, batch norms folded as they would be deployed.
/// It needs no trained weights, so it is measured before training, while no worker runs.
pub const LATENCY: Objective = Objective {
    name: "latency",
    unit: "ms",
    summary: "milliseconds to classify one image: batch 1, one thread, batch norms folded, median",
    kind: Kind::Measured(measure),
};

fn measure(architecture: &Architecture, config: &LatencyConfig) -> Result<MeasurementRow> {
    let network = Network::init(architecture.clone(), 0, DType::F32, &Device::Cpu)?.fold_batch_norms()?;
    let shape = architecture.input();
    let (height, width) = shape.spatial();
    let image = Tensor::full(0.5f32, (1, shape.channels(), height, width), &Device::Cpu)?;
    let pool = ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.map_err(|error| Error::Usage(format!("latency: {error}")))?;
    let mut times = pool.install(|| time(&network, &image, config))?;
    times.sort_by(f64::total_cmp);
    let quantile = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    Ok(MeasurementRow { value: quantile(0.5), low: quantile(0.25), high: quantile(0.75) })
}

fn time(network: &Network, image: &Tensor, config: &LatencyConfig) -> Result<Vec<f64>> {
    for _ in 0..config.warmup {
        network.logits(image)?;
    }
    let once = |_| {
        let begun = Instant::now();
        network.logits(image)?;
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    };
    (0..config.repeats.max(1)).map(once).collect()
}
