//! Fresh parameters from named seeds.

use candle_core::{DType, Device, Tensor};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::architecture::{Architecture, ParamKey};
use crate::layer::{Layer, Role};
use crate::weights::Weights;

/// The name of a stream of random numbers: everything random in this crate comes from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed {
    /// The seed of the rewrite or of the network.
    pub seed: u64,
    /// Tells streams of one seed apart.
    pub stream: u64,
}

impl Seed {
    /// The generator.
    pub fn rng(self) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(self.stream);
        rng
    }

    /// The stream of a parameter.
    pub fn of(seed: u64, key: ParamKey) -> Self {
        Self { seed, stream: u64::from(key.layer.0) << 8 | key.role as u64 }
    }

    /// `count` draws from the normal distribution with this standard deviation (Box and Muller 1958), computed in
    /// f64 so that every number format sees the same values.
    pub fn normal(self, std: f64, count: usize) -> Vec<f64> {
        let mut rng = self.rng();
        let mut pair = || {
            let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
            let radius = (-2.0 * u.ln()).sqrt();
            let (sin, cos) = (std::f64::consts::TAU * v).sin_cos();
            [std * radius * cos, std * radius * sin]
        };
        let mut values: Vec<f64> = (0..count.div_ceil(2)).flat_map(|_| pair()).collect();
        values.truncate(count);
        values
    }
}

/// The standard deviation for a kernel or matrix of this shape: `sqrt(2 / inputs)` (He et al. 2015), inputs being
/// all axes but the first.
pub fn he_std(shape: &[usize]) -> f64 {
    (2.0 / shape[1..].iter().product::<usize>() as f64).sqrt()
}

/// The slope that PReLUs start with (He et al. 2015).
pub(crate) const SLOPE: f64 = 0.25;

/// Fresh weights for an architecture: kernels by He et al. 2015, linear layers with variance `1 / inputs`, biases
/// zero, normalisations the identity on standardised input, mixing factors zero, slopes of PReLUs 0.25.
///
/// # Errors
/// When a tensor cannot be made.
pub fn init(architecture: &Architecture, seed: u64, dtype: DType, device: &Device) -> Result<Weights> {
    let fresh = |(key, shape): (ParamKey, Vec<usize>)| {
        let values = match key.role {
            Role::Weight => {
                let linear = matches!(architecture.node(key.layer).layer, Layer::Linear { .. });
                let std = he_std(&shape) * if linear { std::f64::consts::FRAC_1_SQRT_2 } else { 1.0 };
                Seed::of(seed, key).normal(std, shape.iter().product())
            }
            Role::Gamma | Role::Variance => vec![1.0; shape[0]],
            Role::Bias | Role::Beta | Role::Mean | Role::Lambda => vec![0.0; shape[0]],
            Role::Slope => vec![SLOPE; shape[0]],
        };
        Ok((key, Tensor::from_vec(values, shape, device)?.to_dtype(dtype)?))
    };
    architecture.parameters().into_iter().map(fresh).collect()
}
