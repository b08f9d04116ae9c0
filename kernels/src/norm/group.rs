//! Group normalisation (Wu and He, 2018).
//!
//! A group of a sample is one stretch of memory. The backward pass computes the moments again rather than
//! keep them: it has to read the group anyway, which then lies in the cache.

use super::channel::{Affine, Channel, Moments};
use crate::op::{Argument, Compute, Op, Run};
use crate::operand::Operand;
use crate::parallel::{self, Shared};
use crate::reduce::sums;
use crate::simd::{Float, Isa, Kernel, Lanes, dispatch};
use crate::tensor::{mismatch, values, with_float};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Shape, Tensor, WithDType};
use std::ops::Range;

const OP: &str = "group_norm";

/// Values of a job at least, as far as there are so many.
const JOB_VALUES: usize = 1 << 12;
/// Values that are summed in their own precision before they are added to the rest in f64.
const PIECE: usize = 1 << 10;

/// Normalises each group of channels of each sample of `x` `[batch, channels, height, width]` or
/// `[batch, channels]` by its own mean and biased variance:
/// `gamma * (x - mean) / sqrt(variance + eps) + beta`, with `gamma` and `beta` `[channels]`.
///
/// The `groups` are of equally many neighbouring channels (Wu and He, 2018, section 3.1). One group is layer
/// normalisation over everything but the batch, as many groups as channels are instance normalisation. A
/// sample has the same bits alone and in any batch. Gradients flow to all three.
///
/// # Errors
/// If shapes or number types do not fit together, a size is zero, `groups` does not divide the channels, or
/// `eps` is negative.
pub fn group_norm<V: Operand>(x: &V, gamma: &V, beta: &V, groups: usize, eps: f64) -> Result<V> {
    let channels = super::check(OP, x.tensor(), x.tensor().dims(), [gamma.tensor(), beta.tensor()], eps)?;
    if !matches!(x.tensor().rank(), 2 | 4) {
        let expected = "x of shape [batch, channels] or [batch, channels, height, width]";
        return Err(mismatch(OP, expected, format!("{:?}", x.tensor().dims())));
    }
    if groups == 0 || !channels.is_multiple_of(groups) {
        return Err(mismatch(OP, format!("groups that divide the {channels} channels"), groups));
    }
    V::apply([&x.contiguous()?, &gamma.contiguous()?, &beta.contiguous()?], GroupNorm { groups, eps })
}

#[derive(Clone, Copy)]
struct GroupNorm {
    groups: usize,
    eps: f64,
}

/// How `[batch, channels, pixels]` falls into groups.
#[derive(Clone, Copy)]
struct Layout {
    channels: usize,
    pixels: usize,
    /// Channels of a group.
    members: usize,
    eps: f64,
}

impl Layout {
    fn of(dims: &[usize], norm: GroupNorm) -> Self {
        let (channels, pixels) = (dims[1], dims[2..].iter().product());
        Self { channels, pixels, members: channels / norm.groups, eps: norm.eps }
    }

    /// Values of a group.
    fn size(self) -> usize {
        self.members * self.pixels
    }

    /// Values of a job: whole groups, as many as depends on their size alone.
    fn job(self) -> usize {
        self.size() * JOB_VALUES.div_ceil(self.size())
    }

    /// The channels of the group that starts at value number `start`.
    #[inline(always)]
    fn own(self, start: usize) -> Range<usize> {
        let first = start / self.pixels % self.channels;
        first..first + self.members
    }
}

impl Compute<3> for GroupNorm {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu(&self, [x, gamma, beta]: [Argument<CpuStorage>; 3]) -> Result<(CpuStorage, Shape)> {
        let (shape, layout) = (x.1.shape().clone(), Layout::of(x.1.dims(), *self));
        with_float!(OP, x.0.dtype(), T => {
            let x = values::<T>(OP, x)?;
            let (gamma, beta) = (values::<T>(OP, gamma)?, values::<T>(OP, beta)?);
            let y = parallel::build_chunks(x.len(), layout.job(), |i, y| {
                let start = i * layout.job();
                dispatch(NormaliseGroups { x: &x[start..][..y.len()], y, start, gamma, beta, layout })
            });
            Ok((T::to_cpu_storage_owned(y), shape))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x, gamma, beta]: [Argument<CudaStorage>; 3]) -> Result<(CudaStorage, Shape)> {
        let y = crate::cuda::group_norm(OP, x, gamma, beta, (self.groups, self.eps))?;
        Ok((y, x.1.shape().clone()))
    }
}

impl Op<3> for GroupNorm {
    fn gradients(
        &self,
        [x, gamma, beta]: [&Tensor; 3],
        _y: &Tensor,
        dy: &Tensor,
        wanted: [bool; 3],
    ) -> Result<[Option<Tensor>; 3]> {
        let packed = GroupNormGradient(*self).run([x, gamma, dy])?;
        let (size, channels) = (x.elem_count(), gamma.elem_count());
        let part =
            |start, tensor: &Tensor| packed.narrow(0, start, tensor.elem_count())?.reshape(tensor.shape());
        let dx = wanted[0].then(|| part(0, x)).transpose()?;
        let dgamma = wanted[1].then(|| part(size, gamma)).transpose()?;
        let dbeta = wanted[2].then(|| part(size + channels, beta)).transpose()?;
        Ok([dx, dgamma, dbeta])
    }
}

/// (x, gamma, dy) -> dx, dgamma and dbeta, one behind the other.
struct GroupNormGradient(GroupNorm);

impl Compute<3> for GroupNormGradient {
    fn name(&self) -> &'static str {
        "group-norm-gradient"
    }

    fn cpu(&self, [x, gamma, dy]: [Argument<CpuStorage>; 3]) -> Result<(CpuStorage, Shape)> {
        let layout = Layout::of(x.1.dims(), self.0);
        with_float!(OP, x.0.dtype(), T => {
            let (x, gamma, dy) = (values::<T>(OP, x)?, values::<T>(OP, gamma)?, values::<T>(OP, dy)?);
            let length = x.len() + 2 * layout.channels;
            let packed = parallel::build(length, |packed| {
                let (dx, parameters) = packed.split_at_mut(x.len());
                let shares = layout.gradient(x, gamma, dy, &Shared::new(dx));
                add_shares(&shares, parameters);
            });
            Ok((T::to_cpu_storage_owned(packed), Shape::from(length)))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x, gamma, dy]: [Argument<CudaStorage>; 3]) -> Result<(CudaStorage, Shape)> {
        let length = x.1.shape().elem_count() + 2 * x.1.dims()[1];
        let packed = crate::cuda::group_norm_gradient(OP, x, gamma, dy, (self.0.groups, self.0.eps))?;
        Ok((packed, Shape::from(length)))
    }
}

impl Layout {
    /// Writes all of `dx`, returns each sample's share of dgamma and dbeta, channel by channel.
    fn gradient<T: Float>(self, x: &[T], gamma: &[T], dy: &[T], dx: &Shared<T>) -> Vec<(f64, f64)> {
        let jobs = parallel::map(x.len().div_ceil(self.job()), |i| {
            let part = i * self.job()..x.len().min((i + 1) * self.job());
            // SAFETY: the parts of different jobs are disjoint.
            let dx = unsafe { dx.range(part.clone()) };
            let start = part.start;
            dispatch(GroupGradients { x: &x[part.clone()], dy: &dy[part], dx, start, gamma, layout: self })
        });
        jobs.concat()
    }
}

/// The sums over the samples, in their order: dgamma, then dbeta.
fn add_shares<T: Float>(shares: &[(f64, f64)], parameters: &mut [T]) {
    let channels = parameters.len() / 2;
    let (dgamma, dbeta) = parameters.split_at_mut(channels);
    for (c, (dgamma, dbeta)) in dgamma.iter_mut().zip(dbeta).enumerate() {
        let own = shares.iter().skip(c).step_by(channels);
        let (gamma, beta) = own.fold((0.0, 0.0), |(gamma, beta), share| (gamma + share.0, beta + share.1));
        (*dgamma, *dbeta) = (T::of(gamma), T::of(beta));
    }
}

/// Mean and biased variance of a group, piece by piece; each piece's deviations are taken from the mean of
/// those before, so that a large mean does not cancel a small variance.
#[inline(always)]
fn moments<I: Isa, T: Float>(group: &[T]) -> (f64, f64) {
    let first = &group[..group.len().min(PIECE)];
    let mut all = Moments::starting_at(sums::<I, T, 1, 1>([first], |x| x)[0] / first.len() as f64);
    for piece in group.chunks(PIECE) {
        let centre = T::of(all.mean());
        let [deviations, squares] = sums::<I, T, 1, 2>([piece], |[x]| {
            let deviation = I::sub_lanes(x, Lanes::splat(centre));
            [deviation, I::mul_lanes(deviation, deviation)]
        });
        all = all.add(Moments::around(centre.widen(), piece.len() as f64, deviations, squares));
    }
    all.mean_and_variance()
}

struct NormaliseGroups<'a, T> {
    x: &'a [T],
    y: &'a mut [T],
    /// Where `x` starts in the whole tensor.
    start: usize,
    gamma: &'a [T],
    beta: &'a [T],
    layout: Layout,
}

impl<T: Float> Kernel for NormaliseGroups<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { x, y, start, gamma, beta, layout } = self;
        for (i, (x, y)) in x.chunks(layout.size()).zip(y.chunks_mut(layout.size())).enumerate() {
            let moments = moments::<I, T>(x);
            let planes = x.chunks(layout.pixels).zip(y.chunks_mut(layout.pixels));
            for (c, (x, y)) in layout.own(start + i * layout.size()).zip(planes) {
                let affine: Affine<T> =
                    Channel::new(moments, layout.eps, gamma[c].widen(), beta[c].widen()).affine();
                x.iter().zip(y).for_each(|(x, y)| *y = affine.apply::<I>(*x));
            }
        }
    }
}

struct GroupGradients<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
    /// Where `x` starts in the whole tensor.
    start: usize,
    gamma: &'a [T],
    layout: Layout,
}

impl<T: Float> Kernel for GroupGradients<'_, T> {
    type Output = Vec<(f64, f64)>;

    /// Writes dx, returns the shares of dgamma and dbeta of every channel of every group.
    #[inline(always)]
    fn run<I: Isa>(self) -> Vec<(f64, f64)> {
        let Self { x, dy, dx, start, gamma, layout } = self;
        let mut shares = Vec::with_capacity(x.len() / layout.pixels);
        let groups = x.chunks(layout.size()).zip(dy.chunks(layout.size())).zip(dx.chunks_mut(layout.size()));
        for (i, ((x, dy), dx)) in groups.enumerate() {
            let gamma = &gamma[layout.own(start + i * layout.size())];
            let group = Group { x, dy, gamma, pixels: layout.pixels };
            let whole = Channel::new(moments::<I, T>(x), layout.eps, 1.0, 0.0);
            let first = shares.len();
            shares.extend(group.shares::<I>(&whole));
            group.write::<I>(&whole, &shares[first..], dx);
        }
        shares
    }
}

/// One group of one sample.
struct Group<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    /// Those of the group's channels.
    gamma: &'a [T],
    pixels: usize,
}

impl<T: Float> Group<'_, T> {
    /// dgamma and dbeta of each channel.
    #[inline(always)]
    fn shares<I: Isa>(&self, whole: &Channel) -> impl Iterator<Item = (f64, f64)> {
        let centre = Lanes::splat(whole.affine::<T>().mean);
        let planes = self.x.chunks(self.pixels).zip(self.dy.chunks(self.pixels));
        let inverse = whole.inverse_deviation;
        planes.map(move |(x, dy)| {
            let [product, dbeta] =
                sums::<I, T, 2, 2>([x, dy], |[x, dy]| [I::mul_lanes(I::sub_lanes(x, centre), dy), dy]);
            (product * inverse, dbeta)
        })
    }

    /// dx. What flows through mean and variance is the same for all channels of the group.
    #[inline(always)]
    fn write<I: Isa>(&self, whole: &Channel, shares: &[(f64, f64)], dx: &mut [T]) {
        let weighted = self.gamma.iter().zip(shares).map(|(g, s)| (g.widen() * s.0, g.widen() * s.1));
        let totals = weighted.fold((0.0, 0.0), |sum, term| (sum.0 + term.0, sum.1 + term.1));
        let slopes = whole.slopes::<T>(self.x.len() as f64, true, totals);
        let planes = self.x.chunks(self.pixels).zip(self.dy.chunks(self.pixels));
        for (((x, dy), dx), gamma) in planes.zip(dx.chunks_mut(self.pixels)).zip(self.gamma) {
            let affine = Channel { gamma: gamma.widen(), ..*whole }.affine::<T>();
            for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
                *dx = slopes.apply::<I>(affine, x, dy);
            }
        }
    }
}
