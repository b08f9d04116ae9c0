//! Activations: functions of one number at a time.

mod erf;
mod exp;
mod formula;
mod pointwise;
mod relu;

use crate::operand::Operand;
use crate::tensor::{check_dtypes, mismatch};
use candle_core::Result;
pub(crate) use formula::leak;
use pointwise::Pointwise;
use relu::Relu;
pub(crate) use relu::{Gate, rectify, rectify_in_place};

/// Values of one job.
const CHUNK: usize = 1 << 15;

/// The functions of [`activation`], as PyTorch defines them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// `max(x, 0)`; see [`relu`].
    Relu,
    /// `min(max(x, 0), 6)` (Howard et al., 2017).
    Relu6,
    /// `x` where it is positive, `slope * x` elsewhere (Maas et al., 2013).
    LeakyRelu {
        /// The factor of what is not positive; 0.01 in PyTorch unless it is told otherwise.
        slope: f64,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// `x * sigmoid(x)`, also known as swish (Elfwing et al., 2017).
    Silu,
    /// `x` times the normal distribution function of `x` (Hendrycks and Gimpel, 2016), exact.
    Gelu,
    /// `relu6(x + 3) / 6` (Howard et al., 2019, section 5.2).
    HardSigmoid,
    /// `x * relu6(x + 3) / 6` (Howard et al., 2019, section 5.2).
    HardSwish,
    /// `min(max(x, low), high)`.
    Clip {
        /// The least value.
        low: f64,
        /// The largest value, `low` or more.
        high: f64,
    },
}

/// Applies a function to every value of a tensor of any shape.
///
/// Values are those of the exact function up to the rounding of the number type. NaN stays NaN. At a kink the
/// gradient is PyTorch's: of [`Activation::Relu`] and [`Activation::Relu6`] 0, of [`Activation::LeakyRelu`] the
/// slope, of [`Activation::HardSigmoid`] 0, of [`Activation::HardSwish`] 0 at -3 and 1 at 3, of
/// [`Activation::Clip`] 1.
///
/// # Errors
/// If `x` is neither f32 nor f64, or the ends of [`Activation::Clip`] are not in order.
pub fn activation<V: Operand>(x: &V, function: Activation) -> Result<V> {
    if function == Activation::Relu {
        return relu(x);
    }
    check_dtypes(pointwise::OP, &[("x", x.tensor())])?;
    if let Activation::Clip { low, high } = function
        && low.partial_cmp(&high).is_none_or(|order| order.is_gt())
    {
        return Err(mismatch(
            pointwise::OP,
            "a low end of at most the high one",
            format!("{low} and {high}"),
        ));
    }
    V::apply([&x.contiguous()?], Pointwise(function))
}

/// The rectified linear unit, `max(x, 0)`, for any shape.
///
/// NaN stays NaN. The gradient at exactly 0 is 0, as in PyTorch (candle's own is 1).
///
/// # Errors
/// If `x` is neither f32 nor f64.
pub fn relu<V: Operand>(x: &V) -> Result<V> {
    check_dtypes(relu::OP, &[("x", x.tensor())])?;
    V::apply([&x.contiguous()?], Relu)
}
