//! Latency in this process, on the device that it trains on.

use candle_core::{DType, Tensor};
use morphisms::{Architecture, Network};
use rayon::ThreadPoolBuilder;

use crate::config::{Config, LatencyConfig};
use crate::store::{Outcome, Spread};
use crate::{Error, Result, device};

/// Measures a network with fresh weights, on one thread or on the GPU.
///
/// # Errors
/// If the device cannot be used; one whose memory is full is an outcome.
pub(super) fn measure(architecture: &Architecture, config: &Config) -> Result<Outcome> {
    match spread(architecture, config) {
        Err(error) if device::is_out_of_memory(&error) => {
            Ok(Outcome::Failed("the device's memory is full".into()))
        }
        other => Ok(Outcome::Measured(other?)),
    }
}

fn spread(architecture: &Architecture, config: &Config) -> Result<Spread> {
    let device = device::open(config)?;
    let network = Network::init(architecture.clone(), 0, DType::F32, &device)?.fold_batch_norms()?;
    let shape = architecture.input();
    let (height, width) = shape.spatial();
    let image = Tensor::full(0.5f32, (1, shape.channels(), height, width), &device)?;
    let pool = ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.map_err(|error| Error::Usage(format!("latency: {error}")))?;
    Ok(Spread::of(pool.install(|| time(&network, &image, &config.latency))?))
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
