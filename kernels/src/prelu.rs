//! The ReLU with a learnable slope for each channel (He et al., 2015).

use crate::activation::leak;
use crate::op::{Argument, Compute, Op, Run};
use crate::operand::Operand;
use crate::parallel;
use crate::reduce::ChannelSums;
use crate::simd::{Float, Isa, Kernel, dispatch};
use crate::tensor::{check_dtypes, check_shape, mismatch, values, with_float};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Shape, Tensor, WithDType};

const OP: &str = "prelu";

/// Values of one job at least, as far as there are so many.
const CHUNK: usize = 1 << 13;

/// `x` where it is positive, `slope * x` elsewhere (He et al., 2015, equation 1), with a slope for each
/// channel: `x` is `[batch, channels]` or `[batch, channels, height, width]`, `slope` `[channels]`.
///
/// Gradients flow to both. At exactly 0 that of `x` takes the slope, as in PyTorch.
///
/// # Errors
/// If shapes or number types do not fit together, or a size is zero.
pub fn prelu<V: Operand>(x: &V, slope: &V) -> Result<V> {
    check_dtypes(OP, &[("x", x.tensor()), ("slope", slope.tensor())])?;
    match x.tensor().dims() {
        [_, channels] | [_, channels, _, _] if x.tensor().elem_count() > 0 => {
            check_shape(OP, "slope", slope.tensor(), &[*channels])?;
        }
        other => {
            let expected = "x of shape [batch, channels] or [batch, channels, height, width], no size zero";
            return Err(mismatch(OP, expected, format!("{other:?}")));
        }
    }
    V::apply([&x.contiguous()?, &slope.contiguous()?], Prelu)
}

struct Prelu;

impl Compute<2> for Prelu {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu(&self, [x, slope]: [Argument<CpuStorage>; 2]) -> Result<(CpuStorage, Shape)> {
        PreluGradient.cpu([x, slope, x])
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x, slope]: [Argument<CudaStorage>; 2]) -> Result<(CudaStorage, Shape)> {
        PreluGradient.cuda([x, slope, x])
    }
}

impl Op<2> for Prelu {
    fn gradients(
        &self,
        [x, slope]: [&Tensor; 2],
        _y: &Tensor,
        dy: &Tensor,
        wanted: [bool; 2],
    ) -> Result<[Option<Tensor>; 2]> {
        let dx = wanted[0].then(|| PreluGradient.run([x, slope, dy])).transpose()?;
        let dslope = wanted[1].then(|| ChannelSums.run([&SlopeTerms.run([x, dy])?])).transpose()?;
        Ok([dx, dslope])
    }
}

/// (x, slope, dy) -> dx: `dy` where `x` is positive, `slope * dy` elsewhere. With `x` for `dy` it is the
/// function itself.
struct PreluGradient;

impl Compute<3> for PreluGradient {
    fn name(&self) -> &'static str {
        "prelu-gradient"
    }

    fn cpu(&self, [x, slope, dy]: [Argument<CpuStorage>; 3]) -> Result<(CpuStorage, Shape)> {
        let (shape, pixels) = (x.1.shape().clone(), x.1.dims()[2..].iter().product());
        let planes = CHUNK.div_ceil(pixels);
        with_float!(OP, x.0.dtype(), T => {
            let (x, slope, dy) = (values::<T>(OP, x)?, values::<T>(OP, slope)?, values::<T>(OP, dy)?);
            let dx = parallel::build_chunks(x.len(), planes * pixels, |i, dx| {
                let (first, part) = (i * planes, i * planes * pixels..i * planes * pixels + dx.len());
                dispatch(Leaks { x: &x[part.clone()], dy: &dy[part], dx, slope, first, pixels })
            });
            Ok((T::to_cpu_storage_owned(dx), shape))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x, slope, dy]: [Argument<CudaStorage>; 3]) -> Result<(CudaStorage, Shape)> {
        Ok((crate::cuda::prelu_gradient(OP, x, slope, dy)?, x.1.shape().clone()))
    }
}

struct Leaks<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
    slope: &'a [T],
    /// The number of the first plane among all planes of the batch.
    first: usize,
    pixels: usize,
}

impl<T: Float> Kernel for Leaks<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { x, dy, dx, slope, first, pixels } = self;
        let slopes = slope.iter().cycle().skip(first % slope.len());
        let planes = dx.chunks_mut(pixels).zip(x.chunks(pixels)).zip(dy.chunks(pixels));
        for (((dx, x), dy), &slope) in planes.zip(slopes) {
            for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
                *dx = leak(x, dy, slope);
            }
        }
    }
}

/// (x, dy) -> what each value adds to the gradient of its channel's slope.
struct SlopeTerms;

impl Compute<2> for SlopeTerms {
    fn name(&self) -> &'static str {
        "prelu-slope-terms"
    }

    fn cpu(&self, [x, dy]: [Argument<CpuStorage>; 2]) -> Result<(CpuStorage, Shape)> {
        let shape = x.1.shape().clone();
        with_float!(OP, x.0.dtype(), T => {
            let (x, dy) = (values::<T>(OP, x)?, values::<T>(OP, dy)?);
            let terms = parallel::build_chunks(x.len(), CHUNK, |i, terms| {
                let part = i * CHUNK..i * CHUNK + terms.len();
                dispatch(Terms { x: &x[part.clone()], dy: &dy[part], terms })
            });
            Ok((T::to_cpu_storage_owned(terms), shape))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x, dy]: [Argument<CudaStorage>; 2]) -> Result<(CudaStorage, Shape)> {
        Ok((crate::cuda::prelu_slope_terms(OP, x, dy)?, x.1.shape().clone()))
    }
}

struct Terms<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    terms: &'a mut [T],
}

impl<T: Float> Kernel for Terms<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        for ((term, &x), &dy) in self.terms.iter_mut().zip(self.x).zip(self.dy) {
            *term = if x > T::ZERO { T::ZERO } else { x * dy };
        }
    }
}
