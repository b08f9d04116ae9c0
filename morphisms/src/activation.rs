//! Activations: what they compute, and what morphisms may rely on.

use std::fmt;

use candle_convnet as ops;
use serde::{Deserialize, Serialize};

/// A function of one number, applied to every number of a tensor. Each is what PyTorch computes by default.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "function", rename_all = "snake_case", deny_unknown_fields)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// x where it is positive, `slope x` elsewhere.
    LeakyRelu {
        /// The slope on the left; finite.
        slope: f64,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// `x sigmoid(x)`, also called swish.
    Silu,
    /// `x P(Z <= x)` with Z standard normal (the exact form, by the error function).
    Gelu,
    /// `min(max(x + 3, 0), 6) / 6`.
    HardSigmoid,
    /// `x hard_sigmoid(x)`.
    HardSwish,
    /// `min(max(x, low), high)`.
    Clip {
        /// The least value; finite.
        low: f64,
        /// The largest value; finite, `low` or more.
        high: f64,
    },
}

impl Activation {
    /// Every activation, in order; the leaky one with PyTorch's slope, clipping as the hard hyperbolic tangent.
    pub const ALL: [Self; 10] = [
        Self::Relu,
        Self::Relu6,
        Self::LeakyRelu { slope: 0.01 },
        Self::Sigmoid,
        Self::Tanh,
        Self::Silu,
        Self::Gelu,
        Self::HardSigmoid,
        Self::HardSwish,
        Self::Clip { low: -1.0, high: 1.0 },
    ];

    /// Whether applying it twice is applying it once, `f(f(x)) = f(x)`.
    pub fn is_idempotent(self) -> bool {
        match self {
            Self::Relu | Self::Relu6 | Self::Clip { .. } => true,
            // Of slope 1 it is the identity, of slope 0 ReLU.
            Self::LeakyRelu { slope } => slope == 0.0 || slope == 1.0,
            Self::Sigmoid | Self::Tanh | Self::Silu | Self::Gelu | Self::HardSigmoid | Self::HardSwish => {
                false
            }
        }
    }

    /// Whether a positive factor passes through, `f(a x) = a f(x)` for `a > 0`.
    pub fn is_homogeneous(self) -> bool {
        match self {
            Self::Relu | Self::LeakyRelu { .. } => true,
            Self::Relu6
            | Self::Clip { .. }
            | Self::Sigmoid
            | Self::Tanh
            | Self::Silu
            | Self::Gelu
            | Self::HardSigmoid
            | Self::HardSwish => false,
        }
    }

    /// The same function among the operations of the kernels.
    pub(crate) fn operation(self) -> ops::Activation {
        match self {
            Self::Relu => ops::Activation::Relu,
            Self::Relu6 => ops::Activation::Relu6,
            Self::LeakyRelu { slope } => ops::Activation::LeakyRelu { slope },
            Self::Sigmoid => ops::Activation::Sigmoid,
            Self::Tanh => ops::Activation::Tanh,
            Self::Silu => ops::Activation::Silu,
            Self::Gelu => ops::Activation::Gelu,
            Self::HardSigmoid => ops::Activation::HardSigmoid,
            Self::HardSwish => ops::Activation::HardSwish,
            Self::Clip { low, high } => ops::Activation::Clip { low, high },
        }
    }

    /// What is wrong with the numbers of a function: what they should be.
    pub(crate) fn problem(self) -> Option<&'static str> {
        match self {
            Self::LeakyRelu { slope } => (!slope.is_finite()).then_some("a finite slope"),
            Self::Clip { low, high } => {
                let fine = low.is_finite() && high.is_finite() && low <= high;
                (!fine).then_some("finite ends, the low one not above the high one")
            }
            Self::Relu
            | Self::Relu6
            | Self::Sigmoid
            | Self::Tanh
            | Self::Silu
            | Self::Gelu
            | Self::HardSigmoid
            | Self::HardSwish => None,
        }
    }

    /// Tells functions apart in a fingerprint: a number each, and what it is parametrised by.
    pub(crate) fn code(self) -> impl Iterator<Item = u64> {
        let (code, more) = match self {
            Self::Relu => ([0, 0], None),
            Self::Relu6 => ([1, 0], None),
            Self::LeakyRelu { slope } => ([2, slope.to_bits()], None),
            Self::Sigmoid => ([3, 0], None),
            Self::Tanh => ([4, 0], None),
            Self::Silu => ([5, 0], None),
            Self::Gelu => ([6, 0], None),
            Self::HardSigmoid => ([7, 0], None),
            Self::HardSwish => ([8, 0], None),
            Self::Clip { low, high } => ([9, low.to_bits()], Some(high.to_bits())),
        };
        code.into_iter().chain(more)
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relu => write!(f, "relu"),
            Self::Relu6 => write!(f, "relu6"),
            Self::LeakyRelu { slope } => write!(f, "leaky relu {slope}"),
            Self::Sigmoid => write!(f, "sigmoid"),
            Self::Tanh => write!(f, "tanh"),
            Self::Silu => write!(f, "silu"),
            Self::Gelu => write!(f, "gelu"),
            Self::HardSigmoid => write!(f, "hard sigmoid"),
            Self::HardSwish => write!(f, "hard swish"),
            Self::Clip { low, high } => write!(f, "clip {low} to {high}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    fn at(function: Activation, x: &[f64]) -> Vec<f64> {
        let x = Tensor::new(x, &Device::Cpu).unwrap();
        ops::activation(&x, function.operation()).unwrap().to_vec1().unwrap()
    }

    const POINTS: [f64; 9] = [-7.5, -3.0, -1.2, -0.1, 0.0, 0.4, 2.9, 5.9, 8.0];

    #[test]
    fn they_are_idempotent_and_homogeneous_where_they_say_so() {
        let more = [Activation::Clip { low: 0.5, high: 0.5 }, Activation::Clip { low: -3.0, high: -0.1 }];
        for function in Activation::ALL.into_iter().chain(more) {
            let once = at(function, &POINTS);
            assert_eq!(at(function, &once) == once, function.is_idempotent(), "{function}");
            let tripled = at(function, &POINTS.map(|x| 3.0 * x));
            let same = once.iter().zip(tripled).all(|(y, tripled)| (3.0 * y - tripled).abs() < 1e-12);
            assert_eq!(same, function.is_homogeneous(), "{function}");
        }
    }
}
