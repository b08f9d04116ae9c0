//! Cross entropy with soft targets.

use crate::op::{Argument, Compute, Op, Run};
use crate::operand::Operand;
use crate::parallel;
use crate::simd::Float;
use crate::tensor::{check_dtypes, check_shape, mismatch, values, with_float};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Shape, Tensor, WithDType};

const OP: &str = "cross_entropy";

/// The mean over the batch of `-sum(targets * log_softmax(logits))`, a scalar.
///
/// `logits` and `targets` have shape `[batch, classes]`; each row of `targets` is a distribution (one-hot,
/// smoothed, mixed, or a teacher's). Targets are constants: the gradient flows to the logits only. Large
/// logits do not overflow.
///
/// # Errors
/// If shapes or number types differ, or a size is zero.
pub fn cross_entropy<V: Operand>(logits: &V, targets: &Tensor) -> Result<V> {
    check_dtypes(OP, &[("logits", logits.tensor()), ("targets", targets)])?;
    check_shape(OP, "targets", targets, logits.tensor().dims())?;
    match logits.tensor().dims() {
        &[batch, classes] if batch * classes > 0 => {}
        other => {
            let expected = "logits of shape [batch, classes], no size zero";
            return Err(mismatch(OP, expected, format!("{other:?}")));
        }
    }
    V::apply([&logits.contiguous()?, &V::constant(targets.contiguous()?)], CrossEntropy)
}

struct CrossEntropy;

impl Compute<2> for CrossEntropy {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu(&self, [logits, targets]: [Argument<CpuStorage>; 2]) -> Result<(CpuStorage, Shape)> {
        let (batch, classes) = logits.1.shape().dims2()?;
        with_float!(OP, logits.0.dtype(), T => {
            let logits = values::<T>(OP, logits)?.chunks_exact(classes);
            let targets = values::<T>(OP, targets)?.chunks_exact(classes);
            let total: f64 = logits.zip(targets).map(|(row, targets)| row_loss(row, targets)).sum();
            Ok((T::to_cpu_storage_owned(vec![T::from_f64(total / batch as f64)]), Shape::from(())))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [logits, targets]: [Argument<CudaStorage>; 2]) -> Result<(CudaStorage, Shape)> {
        Ok((crate::cuda::cross_entropy(OP, logits, targets)?, Shape::from(())))
    }
}

impl Op<2> for CrossEntropy {
    fn gradients(
        &self,
        inputs: [&Tensor; 2],
        _loss: &Tensor,
        gradient: &Tensor,
        _wanted: [bool; 2],
    ) -> Result<[Option<Tensor>; 2]> {
        let per_sample = CrossEntropyGradient.run(inputs)?;
        Ok([Some(per_sample.broadcast_mul(gradient)?), None])
    }
}

/// The logits' logarithm of the sum of exponentials.
fn log_sum_exp<T: Float>(row: &[T]) -> f64 {
    let largest = row.iter().fold(f64::NEG_INFINITY, |m, x| m.max(x.to_f64()));
    // All minus infinity: subtracting it would make NaN of what is merely undefined below.
    let shift = if largest.is_finite() { largest } else { 0.0 };
    shift + row.iter().map(|x| (x.to_f64() - shift).exp()).sum::<f64>().ln()
}

fn row_loss<T: Float>(row: &[T], targets: &[T]) -> f64 {
    let normaliser = log_sum_exp(row);
    row.iter().zip(targets).map(|(x, t)| t.to_f64() * (normaliser - x.to_f64())).sum()
}

/// (logits, targets) -> the gradient of the mean loss
struct CrossEntropyGradient;

impl Compute<2> for CrossEntropyGradient {
    fn name(&self) -> &'static str {
        "cross-entropy-gradient"
    }

    fn cpu(&self, [logits, targets]: [Argument<CpuStorage>; 2]) -> Result<(CpuStorage, Shape)> {
        let shape = logits.1.shape();
        let (batch, classes) = shape.dims2()?;
        with_float!(OP, logits.0.dtype(), T => {
            let (logits, targets) = (values::<T>(OP, logits)?, values::<T>(OP, targets)?);
            let gradient = parallel::build(logits.len(), |gradient| {
                let rows = logits.chunks_exact(classes).zip(targets.chunks_exact(classes));
                for ((row, targets), gradient) in rows.zip(gradient.chunks_exact_mut(classes)) {
                    row_gradient(row, targets, 1.0 / batch as f64, gradient);
                }
            });
            Ok((T::to_cpu_storage_owned(gradient), shape.clone()))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [logits, targets]: [Argument<CudaStorage>; 2]) -> Result<(CudaStorage, Shape)> {
        Ok((crate::cuda::cross_entropy_gradient(OP, logits, targets)?, logits.1.shape().clone()))
    }
}

fn row_gradient<T: Float>(row: &[T], targets: &[T], scale: f64, gradient: &mut [T]) {
    let normaliser = log_sum_exp(row);
    let mass: f64 = targets.iter().map(|t| t.to_f64()).sum();
    for ((g, x), t) in gradient.iter_mut().zip(row).zip(targets) {
        *g = T::from_f64(scale * (mass * (x.to_f64() - normaliser).exp() - t.to_f64()));
    }
}
