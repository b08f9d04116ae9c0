//! The fully connected layer.

use crate::conv::{Conv2dConfig, conv2d};
use crate::operand::Operand;
use crate::tensor::{check_dtypes, check_shape, mismatch};
use candle_core::Result;

const OP: &str = "linear";

/// `x` `[batch, in]` times the transpose of `weight` `[out, in]`, plus `bias` `[out]`: `[batch, out]`.
///
/// # Errors
/// If shapes or number types do not fit together, or a size is zero.
pub fn linear<V: Operand>(x: &V, weight: &V, bias: Option<&V>) -> Result<V> {
    check_dtypes(OP, &[("x", x.tensor()), ("weight", weight.tensor())])?;
    let (batch, inputs, outputs) = match (x.tensor().dims(), weight.tensor().dims()) {
        (&[batch, inputs], &[outputs, columns]) if inputs == columns && batch * inputs * outputs > 0 => {
            (batch, inputs, outputs)
        }
        (x, weight) => {
            let expected = "x of shape [batch, in] and weight of shape [out, in], no size zero";
            return Err(mismatch(OP, expected, format!("{x:?} and {weight:?}")));
        }
    };
    if let Some(bias) = bias {
        check_dtypes(OP, &[("x", x.tensor()), ("bias", bias.tensor())])?;
        check_shape(OP, "bias", bias.tensor(), &[outputs])?;
    }
    // A 1x1 convolution over one image whose pixels are the samples: vectors then run along the batch.
    let image = x.transpose()?.contiguous()?.reshape(&[1, inputs, 1, batch])?;
    let kernel = weight.contiguous()?.reshape(&[outputs, inputs, 1, 1])?;
    let y = conv2d(&image, &kernel, bias, &Conv2dConfig::default())?;
    y.reshape(&[outputs, batch])?.transpose()?.contiguous()
}
