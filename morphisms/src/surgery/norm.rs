//! Batch norms: inserted without an effect, and folded away.

use candle_core::{DType, Tensor};

use super::{check_vector, refuse, shape};
use crate::Result;

/// The tensors of a batch norm, `[channels]` each: `gamma (x - mean) / sqrt(variance + eps) + beta`.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    /// Scale.
    pub gamma: Tensor,
    /// Shift.
    pub beta: Tensor,
    /// Running mean.
    pub mean: Tensor,
    /// Running variance.
    pub variance: Tensor,
}

/// Mean and variance (the sum of squares over the count, not one less) of each channel of `x` `[batch, channels, ...]`, in
/// f64: what [`identity_batch_norm`] is calibrated on.
///
/// # Errors
/// [`Error::Surgery`](crate::Error::Surgery) if `x` has less than two axes or no numbers.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[1f32, 10.0], [3.0, 10.0]], &Device::Cpu)?;
/// let (mean, variance) = morphisms::surgery::channel_statistics(&x)?;
/// assert_eq!(mean.to_vec1::<f64>()?, [2.0, 10.0]);
/// assert_eq!(variance.to_vec1::<f64>()?, [1.0, 0.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn channel_statistics(x: &Tensor) -> Result<(Tensor, Tensor)> {
    if x.rank() < 2 || x.elem_count() == 0 {
        return refuse("channel_statistics", "numbers of shape [batch, channels, ...]", shape(x.dims()));
    }
    let x = x.to_dtype(DType::F64)?;
    let by_channel = x.transpose(0, 1)?.contiguous()?.reshape((x.dim(1)?, ()))?;
    let mean = by_channel.mean_keepdim(1)?;
    let variance = by_channel.broadcast_sub(&mean)?.sqr()?.mean(1)?;
    Ok((mean.flatten_all()?, variance))
}

/// A batch norm that changes nothing where the channels have this `mean` and `variance` `[channels]`: `beta = mean`,
/// `gamma = sqrt(variance + eps)`. In evaluation mode it is the identity whatever they are; in training mode it is on the
/// batch that they are of.
///
/// # Errors
/// [`Error::Surgery`](crate::Error::Surgery) if the two are not vectors of one length.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let (mean, variance) = (Tensor::new(&[5f64], &Device::Cpu)?, Tensor::new(&[8.75f64], &Device::Cpu)?);
/// let norm = morphisms::surgery::identity_batch_norm(&mean, &variance, 0.25)?;
/// assert_eq!(norm.gamma.to_vec1::<f64>()?, [3.0]);
/// assert_eq!(norm.beta.to_vec1::<f64>()?, [5.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn identity_batch_norm(mean: &Tensor, variance: &Tensor, eps: f64) -> Result<BatchNorm> {
    let function = "identity_batch_norm";
    check_vector(function, "mean", mean, mean.elem_count())?;
    check_vector(function, "variance", variance, mean.elem_count())?;
    let gamma = deviation(variance, eps)?;
    Ok(BatchNorm { gamma, beta: mean.clone(), mean: mean.clone(), variance: variance.clone() })
}

/// The kernel `[out, in / groups, height, width]` or matrix `[out, in]`, and the bias `[out]`, that do what a layer and the
/// batch norm behind it do in evaluation mode: `w' = w s`, `b' = (b - mean) s + beta`,
/// `s = gamma / sqrt(variance + eps)`.
///
/// # Errors
/// [`Error::Surgery`](crate::Error::Surgery) if a vector has another length than the layer has outputs.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use morphisms::surgery::{BatchNorm, fold_batch_norm};
/// let vector = |value: f64| Tensor::new(&[value], &Device::Cpu);
/// let norm = BatchNorm { gamma: vector(6.0)?, beta: vector(1.0)?, mean: vector(4.0)?, variance: vector(8.0)? };
/// let weight = Tensor::new(&[[5f64]], &Device::Cpu)?;
/// let (weight, bias) = fold_batch_norm(&weight, Some(&vector(7.0)?), &norm, 1.0)?;
/// assert_eq!(weight.to_vec2::<f64>()?, [[10.0]]); // 5 * 6 / sqrt(8 + 1)
/// assert_eq!(bias.to_vec1::<f64>()?, [7.0]); // (7 - 4) * 6 / 3 + 1
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn fold_batch_norm(
    weight: &Tensor,
    bias: Option<&Tensor>,
    norm: &BatchNorm,
    eps: f64,
) -> Result<(Tensor, Tensor)> {
    let function = "fold_batch_norm";
    if weight.rank() < 2 {
        return refuse(function, "a weight [out, in, ...]", shape(weight.dims()));
    }
    let BatchNorm { gamma, beta, mean, variance } = norm;
    let vectors = [("gamma", gamma), ("beta", beta), ("mean", mean), ("variance", variance)];
    for (name, tensor) in vectors.into_iter().chain(bias.map(|bias| ("bias", bias))) {
        check_vector(function, name, tensor, weight.dim(0)?)?;
    }
    let scale = gamma.div(&deviation(variance, eps)?)?;
    let mut along_rows = vec![1; weight.rank()];
    along_rows[0] = weight.dim(0)?;
    let scaled = weight.broadcast_mul(&scale.reshape(along_rows)?)?;
    let centred = match bias {
        Some(bias) => (bias - mean)?,
        None => mean.neg()?,
    };
    Ok((scaled, ((centred * scale)? + beta)?))
}

fn deviation(variance: &Tensor, eps: f64) -> Result<Tensor> {
    Ok((variance + eps)?.sqrt()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn statistics_are_of_each_channel_over_the_batch_and_the_map() {
        let x = Tensor::new(&[[[0f32, 2.0], [5.0, 5.0]], [[4.0, 6.0], [7.0, 7.0]]], &Device::Cpu).unwrap();
        let (mean, variance) = channel_statistics(&x).unwrap();
        assert_eq!(mean.to_vec1::<f64>().unwrap(), [3.0, 6.0]);
        assert_eq!(variance.to_vec1::<f64>().unwrap(), [5.0, 1.0]);
        let vectors = Tensor::new(&[[1f32, 10.0], [3.0, 10.0]], &Device::Cpu).unwrap();
        let (of_vectors, _) = channel_statistics(&vectors).unwrap();
        assert_eq!(of_vectors.to_vec1::<f64>().unwrap(), [2.0, 10.0]);
        for no_batch in [mean, Tensor::zeros((0, 2, 3), DType::F32, &Device::Cpu).unwrap()] {
            let error = channel_statistics(&no_batch).unwrap_err().to_string();
            assert!(error.contains("[batch, channels, ...]"), "{error}");
        }
    }

    #[test]
    fn vectors_of_another_length_are_named() {
        let vector = |values: &[f64]| Tensor::new(values, &Device::Cpu).unwrap();
        let error = identity_batch_norm(&vector(&[1.0]), &vector(&[1.0, 2.0]), 1e-5).unwrap_err().to_string();
        assert!(error.contains("variance") && error.contains("[1]") && error.contains("[2]"), "{error}");
        let matrix = Tensor::zeros((1, 1), DType::F64, &Device::Cpu).unwrap();
        let error = identity_batch_norm(&matrix, &vector(&[1.0]), 1e-5).unwrap_err().to_string();
        assert!(error.contains("mean") && error.contains("[1, 1]"), "{error}");
        let norm = identity_batch_norm(&vector(&[1.0]), &vector(&[1.0]), 1e-5).unwrap();
        let weight = Tensor::zeros((2, 3), DType::F64, &Device::Cpu).unwrap();
        let error = fold_batch_norm(&weight, None, &norm, 1e-5).unwrap_err().to_string();
        assert!(error.contains("gamma") && error.contains("[2]"), "{error}");
        let (row, bias) = (weight.narrow(0, 0, 1).unwrap(), vector(&[1.0, 2.0]));
        let error = fold_batch_norm(&row, Some(&bias), &norm, 1e-5).unwrap_err().to_string();
        assert!(error.contains("bias") && error.contains("[1]") && error.contains("[2]"), "{error}");
        let error = fold_batch_norm(&vector(&[1.0]), None, &norm, 1e-5).unwrap_err().to_string();
        assert!(error.contains("a weight [out, in, ...]") && error.contains("[1]"), "{error}");
    }
}
