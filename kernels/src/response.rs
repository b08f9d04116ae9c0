//! Local response normalisation (Krizhevsky et al., *ImageNet Classification with Deep Convolutional Neural
//! Networks*, NIPS 2012, section 3.3).

use crate::op::{Argument, Compute, Op, Run};
use crate::operand::Operand;
use crate::parallel;
use crate::simd::{Float, Isa, Kernel, dispatch};
use crate::tensor::{check_dtypes, image_dims, mismatch, values, with_float};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Shape, Tensor, WithDType};
use std::ops::Range;

const OP: &str = "local_response_norm";

/// The numbers of a [`local_response_norm`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LocalResponseNormConfig {
    /// Channels that are summed over, at least 1.
    pub size: usize,
    /// The factor of the mean square, at least 0.
    pub alpha: f64,
    /// The exponent.
    pub beta: f64,
    /// What is added to the mean square, more than 0.
    pub bias: f64,
}

/// Divides each number of `x` `[batch, channels, height, width]` by a power of the mean square of its neighbours in
/// the channels beside it: `y = x / (bias + alpha / size * sum x'^2)^beta`, the sum over the channels from
/// `(size - 1) / 2`, rounded down, before to as many, rounded up, behind, as far as there are any. That is ONNX's
/// operator `LRN`; PyTorch's is the same where `size` is odd.
///
/// # Errors
/// If `x` is no image in f32 or f64, or a number of `cfg` is not finite or not in its range.
pub fn local_response_norm<V: Operand>(x: &V, cfg: &LocalResponseNormConfig) -> Result<V> {
    check_dtypes(OP, &[("x", x.tensor())])?;
    let [_, channels, height, width] = image_dims(OP, "x", x.tensor())?;
    let LocalResponseNormConfig { size, alpha, beta, bias } = *cfg;
    let finite = [alpha, beta, bias].iter().all(|number| number.is_finite());
    if size == 0 || !finite || alpha < 0.0 || bias <= 0.0 {
        let expected = "finite numbers, a size of at least 1, alpha of at least 0 and bias above 0";
        return Err(mismatch(OP, expected, format!("{cfg:?}")));
    }
    let shape = Channels { channels, pixels: height * width };
    V::apply([&x.contiguous()?], LocalResponseNorm { cfg: *cfg, shape })
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalResponseNorm {
    pub cfg: LocalResponseNormConfig,
    pub shape: Channels,
}

/// The sizes of a sample.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Channels {
    pub channels: usize,
    pub pixels: usize,
}

impl Channels {
    fn sample(self) -> usize {
        self.channels * self.pixels
    }
}

impl LocalResponseNorm {
    /// How many channels before and behind its own a channel sees, were there enough of them.
    pub fn reach(&self) -> [usize; 2] {
        let most = self.shape.channels - 1;
        [(self.cfg.size - 1) / 2, self.cfg.size / 2].map(|reach| reach.min(most))
    }

    fn around(&self, channel: usize, [before, behind]: [usize; 2]) -> Range<usize> {
        channel.saturating_sub(before)..(channel + behind + 1).min(self.shape.channels)
    }

    /// The channels that a channel sees.
    fn seen(&self, channel: usize) -> Range<usize> {
        self.around(channel, self.reach())
    }

    /// The channels that see a channel.
    fn seeing(&self, channel: usize) -> Range<usize> {
        let [before, behind] = self.reach();
        self.around(channel, [behind, before])
    }

    /// The factor of a sum of squares.
    pub fn scale(&self) -> f64 {
        self.cfg.alpha / self.cfg.size as f64
    }
}

impl Compute<1> for LocalResponseNorm {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu(&self, [x]: [Argument<CpuStorage>; 1]) -> Result<(CpuStorage, Shape)> {
        let (shape, sample) = (x.1.shape().clone(), self.shape.sample());
        with_float!(OP, x.0.dtype(), T => {
            let x = values::<T>(OP, x)?;
            let y = parallel::build_chunks(x.len(), sample, |i, y| {
                let x = &x[i * sample..][..sample];
                parallel::with_scratch(self.shape.pixels, |sums| {
                    dispatch(Forward { norm: self, x, sums, y });
                });
            });
            Ok((T::to_cpu_storage_owned(y), shape))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x]: [Argument<CudaStorage>; 1]) -> Result<(CudaStorage, Shape)> {
        Ok((crate::cuda::local_response_norm(OP, x, self)?, x.1.shape().clone()))
    }
}

impl Op<1> for LocalResponseNorm {
    fn gradients(
        &self,
        [x]: [&Tensor; 1],
        _y: &Tensor,
        dy: &Tensor,
        _: [bool; 1],
    ) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(LocalResponseNormGradient(*self).run([x, dy])?)])
    }
}

/// Adds the squares of `x` to sums.
#[inline(always)]
fn add_squares<T: Float>(sums: &mut [f64], x: &[T]) {
    sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x.widen() * x.widen());
}

/// `base^-beta` for a positive base; for the usual exponent without a call that takes twenty times as long.
#[inline(always)]
fn power(base: f64, beta: f64) -> f64 {
    if beta == 0.75 {
        let root = base.sqrt();
        return 1.0 / (root * root.sqrt());
    }
    base.powf(-beta)
}

/// One sample.
struct Forward<'a, T> {
    norm: &'a LocalResponseNorm,
    x: &'a [T],
    /// A spare channel.
    sums: &'a mut [f64],
    y: &'a mut [T],
}

impl<T: Float> Kernel for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { norm, x, sums, y } = self;
        let (pixels, scale) = (norm.shape.pixels, norm.scale());
        let LocalResponseNormConfig { beta, bias, .. } = norm.cfg;
        let channel = |c: usize| &x[c * pixels..][..pixels];
        for (c, y) in y.chunks_exact_mut(pixels).enumerate() {
            sums.fill(0.0);
            norm.seen(c).for_each(|other| add_squares(sums, channel(other)));
            for ((y, x), sum) in y.iter_mut().zip(channel(c)).zip(&*sums) {
                *y = T::of(x.widen() * power(bias + scale * sum, beta));
            }
        }
    }
}

/// (x, dy) -> dx
struct LocalResponseNormGradient(LocalResponseNorm);

impl Compute<2> for LocalResponseNormGradient {
    fn name(&self) -> &'static str {
        "local-response-norm-gradient"
    }

    fn cpu(&self, [x, dy]: [Argument<CpuStorage>; 2]) -> Result<(CpuStorage, Shape)> {
        let (shape, sample, norm) = (x.1.shape().clone(), self.0.shape.sample(), &self.0);
        with_float!(OP, x.0.dtype(), T => {
            let (x, dy) = (values::<T>(OP, x)?, values::<T>(OP, dy)?);
            let dx = parallel::build_chunks(x.len(), sample, |i, dx| {
                let (x, dy) = (&x[i * sample..][..sample], &dy[i * sample..][..sample]);
                parallel::with_scratch(norm.shape.pixels + 2 * sample, |scratch| {
                    let (sums, scratch) = scratch.split_at_mut(norm.shape.pixels);
                    let (direct, shared) = scratch.split_at_mut(sample);
                    dispatch(Backward { norm, x, dy, sums, direct, shared, dx });
                });
            });
            Ok((T::to_cpu_storage_owned(dx), shape))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x, dy]: [Argument<CudaStorage>; 2]) -> Result<(CudaStorage, Shape)> {
        Ok((crate::cuda::local_response_norm_gradient(OP, x, dy, &self.0)?, x.1.shape().clone()))
    }
}

/// One sample.
struct Backward<'a, T> {
    norm: &'a LocalResponseNorm,
    x: &'a [T],
    dy: &'a [T],
    /// A spare channel.
    sums: &'a mut [f64],
    /// Room for what comes to each number by its own quotient, and what it passes on to all it sees.
    direct: &'a mut [f64],
    shared: &'a mut [f64],
    dx: &'a mut [T],
}

impl<T: Float> Kernel for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { norm, x, dy, sums, direct, shared, dx } = self;
        let (pixels, scale) = (norm.shape.pixels, norm.scale());
        let LocalResponseNormConfig { beta, bias, .. } = norm.cfg;
        for c in 0..norm.shape.channels {
            sums.fill(0.0);
            norm.seen(c).for_each(|other| add_squares(sums, &x[other * pixels..][..pixels]));
            for (p, sum) in sums.iter().enumerate() {
                let (at, base) = (c * pixels + p, bias + scale * sum);
                direct[at] = dy[at].widen() * power(base, beta);
                shared[at] = direct[at] * x[at].widen() / base;
            }
        }
        for (c, dx) in dx.chunks_exact_mut(pixels).enumerate() {
            sums.fill(0.0);
            for other in norm.seeing(c) {
                sums.iter_mut().zip(&shared[other * pixels..]).for_each(|(sum, shared)| *sum += shared);
            }
            for (p, (dx, sum)) in dx.iter_mut().zip(&*sums).enumerate() {
                let at = c * pixels + p;
                *dx = T::of(direct[at] - 2.0 * scale * beta * x[at].widen() * sum);
            }
        }
    }
}
