//! Activations other than ReLU.

use super::erf::Erfc;
use super::{Activation, CHUNK, formula, rectify};
use crate::op::{Argument, Compute, Op, Run};
use crate::parallel;
use crate::simd::{Float, Isa, Kernel, dispatch};
use crate::tensor::{values, with_float};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Shape, Tensor, WithDType};

pub(super) const OP: &str = "activation";

pub(super) struct Pointwise(pub Activation);

impl Compute<1> for Pointwise {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu(&self, [x]: [Argument<CpuStorage>; 1]) -> Result<(CpuStorage, Shape)> {
        let shape = x.1.shape().clone();
        with_float!(OP, x.0.dtype(), T => {
            let x = values::<T>(OP, x)?;
            let y = parallel::build_chunks(x.len(), CHUNK, |i, y| {
                dispatch(Forward { function: self.0, x: &x[i * CHUNK..][..y.len()], y })
            });
            Ok((T::to_cpu_storage_owned(y), shape))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x]: [Argument<CudaStorage>; 1]) -> Result<(CudaStorage, Shape)> {
        Ok((crate::cuda::activation(OP, x, self.0)?, x.1.shape().clone()))
    }
}

impl Op<1> for Pointwise {
    fn gradients(
        &self,
        [x]: [&Tensor; 1],
        _y: &Tensor,
        dy: &Tensor,
        _: [bool; 1],
    ) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(PointwiseGradient(self.0).run([x, dy])?)])
    }
}

/// (x, dy) -> dx. From the input rather than the output, which does not determine every derivative.
struct PointwiseGradient(Activation);

impl Compute<2> for PointwiseGradient {
    fn name(&self) -> &'static str {
        "activation-gradient"
    }

    fn cpu(&self, [x, dy]: [Argument<CpuStorage>; 2]) -> Result<(CpuStorage, Shape)> {
        let shape = x.1.shape().clone();
        with_float!(OP, x.0.dtype(), T => {
            let (x, dy) = (values::<T>(OP, x)?, values::<T>(OP, dy)?);
            let dx = parallel::build_chunks(x.len(), CHUNK, |i, dx| {
                let part = i * CHUNK..i * CHUNK + dx.len();
                dispatch(Backward { function: self.0, x: &x[part.clone()], dy: &dy[part], dx })
            });
            Ok((T::to_cpu_storage_owned(dx), shape))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x, dy]: [Argument<CudaStorage>; 2]) -> Result<(CudaStorage, Shape)> {
        Ok((crate::cuda::activation_gradient(OP, x, dy, self.0)?, x.1.shape().clone()))
    }
}

struct Forward<'a, T> {
    function: Activation,
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Float> Forward<'_, T> {
    #[inline(always)]
    fn each(self, f: impl Fn(T) -> T) {
        self.y.iter_mut().zip(self.x).for_each(|(y, &x)| *y = f(x));
    }

    /// A loop of its own: a closure for [`Self::each`] is too long for the compiler to inline unasked, and
    /// would be compiled plainly.
    #[inline(always)]
    fn smooth(self, f: impl Fn(f64) -> f64) {
        for (y, &x) in self.y.iter_mut().zip(self.x) {
            *y = T::of(f(x.widen()));
        }
    }
}

impl<T: Erfc> Kernel for Forward<'_, T> {
    type Output = ();

    /// One loop a function, so that none asks for every number which it is.
    #[inline(always)]
    fn run<I: Isa>(self) {
        match self.function {
            Activation::Relu => self.each(rectify),
            Activation::Relu6 => self.each(formula::relu6),
            Activation::LeakyRelu { slope } => self.each(|x| formula::leak(x, x, T::of(slope))),
            Activation::Sigmoid => self.smooth(formula::sigmoid::<I>),
            Activation::Tanh => self.smooth(formula::tanh::<I>),
            Activation::Silu => self.smooth(formula::silu::<I>),
            Activation::Gelu => self.smooth(formula::gelu::<T, I>),
            Activation::HardSigmoid => self.each(formula::hard_sigmoid),
            Activation::HardSwish => self.each(formula::hard_swish),
            Activation::Clip { low, high } => {
                let (low, high) = (T::of(low), T::of(high));
                self.each(|x| formula::clip(x, low, high))
            }
        }
    }
}

struct Backward<'a, T> {
    function: Activation,
    x: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
}

impl<T: Float> Backward<'_, T> {
    #[inline(always)]
    fn each(self, f: impl Fn(T, T) -> T) {
        for ((dx, &x), &dy) in self.dx.iter_mut().zip(self.x).zip(self.dy) {
            *dx = f(x, dy);
        }
    }

    #[inline(always)]
    fn smooth(self, slope: impl Fn(f64) -> f64) {
        for ((dx, &x), &dy) in self.dx.iter_mut().zip(self.x).zip(self.dy) {
            *dx = T::of(slope(x.widen()) * dy.widen());
        }
    }
}

impl<T: Erfc> Kernel for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        match self.function {
            Activation::Relu => self.each(|x, dy| if x <= T::ZERO { T::ZERO } else { dy }),
            Activation::Relu6 => self.each(formula::relu6_gradient),
            Activation::LeakyRelu { slope } => self.each(|x, dy| formula::leak(x, dy, T::of(slope))),
            Activation::Sigmoid => self.smooth(formula::sigmoid_slope::<I>),
            Activation::Tanh => self.smooth(formula::tanh_slope::<I>),
            Activation::Silu => self.smooth(formula::silu_slope::<I>),
            Activation::Gelu => self.smooth(formula::gelu_slope::<T, I>),
            Activation::HardSigmoid => self.each(formula::hard_sigmoid_gradient),
            Activation::HardSwish => self.each(formula::hard_swish_gradient),
            Activation::Clip { low, high } => {
                let (low, high) = (T::of(low), T::of(high));
                self.each(|x, dy| formula::clip_gradient(x, dy, low, high))
            }
        }
    }
}
