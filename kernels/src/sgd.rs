//! Stochastic gradient descent with momentum, in place.

use crate::parallel;
use crate::simd::{Float, Isa, Kernel, dispatch};
use crate::tensor::{check_dtypes, check_shape, mismatch, unsupported, values};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Shape, Tensor};

const OP: &str = "sgd";

/// Values of one job.
const CHUNK: usize = 1 << 14;

/// One step of stochastic gradient descent, in PyTorch's form.
///
/// `g = gradient + weight_decay * w`, `v = momentum * v + g`, then `w -= lr * (g + momentum * v)` with
/// Nesterov's momentum (Sutskever et al., ICML 2013), `w -= lr * v` without.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdConfig {
    /// Learning rate.
    pub lr: f64,
    /// Share of the velocity that is kept.
    pub momentum: f64,
    /// Added to the gradient, times the parameter.
    pub weight_decay: f64,
    /// Nesterov's momentum.
    pub nesterov: bool,
}

/// A parameter in training: its value and its velocity, side by side in one tensor, so that a step is one pass
/// that allocates nothing.
#[derive(Debug)]
pub struct Parameter {
    /// `[2, values]`: the value, then the velocity.
    pair: Tensor,
    shape: Shape,
}

impl Parameter {
    /// A parameter at rest, a copy of `value`.
    ///
    /// # Errors
    /// If `value` is neither f32 nor f64.
    pub fn new(value: &Tensor) -> Result<Self> {
        Self::with_velocity(value, &value.zeros_like()?)
    }

    /// A parameter in motion, a copy of `value` and `velocity`.
    ///
    /// # Errors
    /// If shapes or number types differ, or are neither f32 nor f64.
    pub fn with_velocity(value: &Tensor, velocity: &Tensor) -> Result<Self> {
        check_dtypes(OP, &[("value", value), ("velocity", velocity)])?;
        check_shape(OP, "velocity", velocity, value.dims())?;
        let rows = [value, velocity].map(|tensor| tensor.detach().flatten_all());
        let [value_row, velocity_row] = rows;
        let pair = Tensor::stack(&[value_row?, velocity_row?], 0)?.contiguous()?;
        Ok(Self { pair, shape: value.shape().clone() })
    }

    /// The value. It shares the parameter's storage, so the next [`step`](Self::step) changes it.
    ///
    /// # Errors
    /// Never for a parameter that was made.
    pub fn value(&self) -> Result<Tensor> {
        self.row(0)
    }

    /// The velocity, as shared as the [value](Self::value).
    ///
    /// # Errors
    /// Never for a parameter that was made.
    pub fn velocity(&self) -> Result<Tensor> {
        self.row(1)
    }

    fn row(&self, row: usize) -> Result<Tensor> {
        self.pair.get(row)?.reshape(&self.shape)
    }

    /// Moves the parameter against `gradient`, which has its shape.
    ///
    /// # Errors
    /// If shape, number type or device differ.
    pub fn step(&self, gradient: &Tensor, cfg: &SgdConfig) -> Result<()> {
        check_dtypes(OP, &[("parameter", &self.pair), ("gradient", gradient)])?;
        check_shape(OP, "gradient", gradient, self.shape.dims())?;
        self.pair.inplace_op2(&gradient.contiguous()?, &Step(*cfg))
    }
}

struct Step(SgdConfig);

impl InplaceOp2 for Step {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        pair: &mut CpuStorage,
        layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<()> {
        match pair {
            CpuStorage::F32(pair) => self.all(pair, layout, values(OP, (gradient, gradient_layout))?),
            CpuStorage::F64(pair) => self.all(pair, layout, values(OP, (gradient, gradient_layout))?),
            other => Err(unsupported(OP, other.dtype())),
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        pair: &mut CudaStorage,
        layout: &Layout,
        gradient: &CudaStorage,
        gradient_layout: &Layout,
    ) -> Result<()> {
        crate::cuda::sgd_step(OP, &self.0, pair, layout, (gradient, gradient_layout))
    }
}

impl Step {
    fn all<T: Float>(&self, pair: &mut [T], layout: &Layout, gradient: &[T]) -> Result<()> {
        let (start, end) = layout
            .contiguous_offsets()
            .ok_or_else(|| mismatch(OP, "a contiguous parameter", format!("{layout:?}")))?;
        let (values, velocities) = pair[start..end].split_at_mut(gradient.len());
        parallel::map_pairs(values, velocities, CHUNK, |i, value, velocity| {
            let gradient = &gradient[i * CHUNK..][..value.len()];
            dispatch(Chunk { cfg: &self.0, value, velocity, gradient });
        });
        Ok(())
    }
}

struct Chunk<'a, T> {
    cfg: &'a SgdConfig,
    value: &'a mut [T],
    velocity: &'a mut [T],
    gradient: &'a [T],
}

impl<T: Float> Kernel for Chunk<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let SgdConfig { lr, momentum, weight_decay, nesterov } = *self.cfg;
        let [minus_lr, momentum, decay] = [-lr, momentum, weight_decay].map(T::from_f64);
        // w -= lr * (a * g + b * v)
        let (a, b) = if nesterov { (T::ONE, momentum) } else { (T::ZERO, T::ONE) };
        for ((w, v), &g) in self.value.iter_mut().zip(self.velocity).zip(self.gradient) {
            let g = I::mul_add(decay, *w, g);
            *v = I::mul_add(momentum, *v, g);
            *w = I::mul_add(minus_lr, I::mul_add(b, *v, a * g), *w);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// `w = torch.ones(1, dtype=torch.float64, requires_grad=True)`,
    /// `o = torch.optim.SGD([w], lr=0.1, momentum=0.9, nesterov=NESTEROV, weight_decay=0.01)`, three times
    /// `o.zero_grad(); (w*w).sum().backward(); o.step(); print(w.item())`, PyTorch 2.15.
    const TORCH: [(bool, [f64; 3]); 2] = [
        (true, [0.6181, 0.21923760999999992, -0.11165109425900013]),
        (false, [0.799, 0.45750100000000005, 0.05819419899999998]),
    ];

    #[test]
    fn it_steps_as_pytorch_does() -> Result<()> {
        for (nesterov, expected) in TORCH {
            let parameter = Parameter::new(&Tensor::new(&[1f64], &Device::Cpu)?)?;
            let cfg = SgdConfig { lr: 0.1, momentum: 0.9, weight_decay: 0.01, nesterov };
            for expected in expected {
                parameter.step(&(parameter.value()? * 2.0)?, &cfg)?;
                let found = parameter.value()?.to_vec1::<f64>()?[0];
                assert!((found - expected).abs() < 1e-14, "{found} {expected}");
            }
        }
        Ok(())
    }
}
