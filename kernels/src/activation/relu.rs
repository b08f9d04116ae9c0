//! The rectified linear unit, with nothing kept but its output.

use super::CHUNK;
use crate::op::{Argument, Compute, Op, Run};
use crate::parallel;
use crate::simd::{Float, Isa, Kernel, dispatch};
use crate::tensor::{values, with_float};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Shape, Tensor, WithDType};

pub(super) const OP: &str = "relu";

/// ReLU that lets NaN through.
#[inline(always)]
pub(crate) fn rectify<T: Float>(x: T) -> T {
    if x <= T::ZERO { T::ZERO } else { x }
}

/// [`rectify`] of every value.
pub(crate) fn rectify_in_place<T: Float>(values: &mut [T]) {
    dispatch(RectifyInPlace(values));
}

pub(super) struct Relu;

impl Compute<1> for Relu {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu(&self, [x]: [Argument<CpuStorage>; 1]) -> Result<(CpuStorage, Shape)> {
        let shape = x.1.shape().clone();
        with_float!(OP, x.0.dtype(), T => {
            let x = values::<T>(OP, x)?;
            let y = parallel::build_chunks(x.len(), CHUNK, |i, y| {
                dispatch(Rectify { x: &x[i * CHUNK..][..y.len()], y })
            });
            Ok((T::to_cpu_storage_owned(y), shape))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x]: [Argument<CudaStorage>; 1]) -> Result<(CudaStorage, Shape)> {
        Ok((crate::cuda::relu(OP, x)?, x.1.shape().clone()))
    }
}

impl Op<1> for Relu {
    fn gradients(
        &self,
        _: [&Tensor; 1],
        y: &Tensor,
        dy: &Tensor,
        _: [bool; 1],
    ) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(ReluGradient.run([y, dy])?)])
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

struct RectifyInPlace<'a, T>(&'a mut [T]);

impl<T: Float> Kernel for RectifyInPlace<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        self.0.iter_mut().for_each(|value| *value = rectify(*value));
    }
}

/// (y, dy) -> dx: where the output is not positive nothing flows back.
struct ReluGradient;

impl Compute<2> for ReluGradient {
    fn name(&self) -> &'static str {
        "relu-gradient"
    }

    fn cpu(&self, [y, dy]: [Argument<CpuStorage>; 2]) -> Result<(CpuStorage, Shape)> {
        let shape = y.1.shape().clone();
        with_float!(OP, y.0.dtype(), T => {
            let (y, dy) = (values::<T>(OP, y)?, values::<T>(OP, dy)?);
            let dx = parallel::build_chunks(y.len(), CHUNK, |i, dx| {
                let part = i * CHUNK..i * CHUNK + dx.len();
                dispatch(Gate { y: &y[part.clone()], dy: &dy[part], dx })
            });
            Ok((T::to_cpu_storage_owned(dx), shape))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [y, dy]: [Argument<CudaStorage>; 2]) -> Result<(CudaStorage, Shape)> {
        Ok((crate::cuda::relu_gradient(OP, y, dy)?, y.1.shape().clone()))
    }
}

/// `dy` where `y` is not zero or less.
pub(crate) struct Gate<'a, T> {
    pub y: &'a [T],
    pub dy: &'a [T],
    pub dx: &'a mut [T],
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
