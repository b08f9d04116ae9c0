//! Activations.

use crate::parallel;
use crate::simd::{Float, Isa, Kernel, dispatch};
use crate::tensor::{check_dtypes, values, with_float};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, WithDType};

const OP: &str = "relu";

/// Values of one job.
const CHUNK: usize = 1 << 15;

/// The rectified linear unit, `max(x, 0)`, for any shape.
///
/// NaN stays NaN. The gradient at exactly 0 is 0, as in PyTorch (candle's own is 1).
///
/// # Errors
/// If `x` is neither f32 nor f64.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    check_dtypes(OP, &[("x", x)])?;
    x.contiguous()?.apply_op1(Relu)
}

/// ReLU that lets NaN through.
#[inline(always)]
pub(crate) fn rectify<T: Float>(x: T) -> T {
    if x <= T::ZERO { T::ZERO } else { x }
}

struct Relu;

impl CustomOp1 for Relu {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        with_float!(OP, x.dtype(), T => {
            let x = values::<T>(OP, x, layout)?;
            let y = parallel::build_chunks(x.len(), CHUNK, |i, y| {
                dispatch(Rectify { x: &x[i * CHUNK..][..y.len()], y })
            });
            Ok((T::to_cpu_storage_owned(y), layout.shape().clone()))
        })
    }

    fn bwd(&self, _x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        y.apply_op2_no_bwd(&dy.contiguous()?, &ReluGradient).map(Some)
    }
}

struct Rectify<'a, T> {
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Float> Kernel for Rectify<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        self.y.iter_mut().zip(self.x).for_each(|(y, &x)| *y = rectify(x));
    }
}

/// (y, dy) -> dx: where the output is not positive nothing flows back.
struct ReluGradient;

impl CustomOp2 for ReluGradient {
    fn name(&self) -> &'static str {
        "relu-gradient"
    }

    fn cpu_fwd(
        &self,
        y: &CpuStorage,
        ly: &Layout,
        dy: &CpuStorage,
        ldy: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        with_float!(OP, y.dtype(), T => {
            let (y, dy) = (values::<T>(OP, y, ly)?, values::<T>(OP, dy, ldy)?);
            let dx = parallel::build_chunks(y.len(), CHUNK, |i, dx| {
                let part = i * CHUNK..i * CHUNK + dx.len();
                dispatch(Gate { y: &y[part.clone()], dy: &dy[part], dx })
            });
            Ok((T::to_cpu_storage_owned(dx), ly.shape().clone()))
        })
    }
}

struct Gate<'a, T> {
    y: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
}

impl<T: Float> Kernel for Gate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        for ((dx, &y), &dy) in self.dx.iter_mut().zip(self.y).zip(self.dy) {
            *dx = if y <= T::ZERO { T::ZERO } else { dy };
        }
    }
}
