//! Batch normalisation of small planes, several channels at a time.
//!
//! In `[batch, channels, pixels]` the pixels of neighbouring channels are neighbours, so a job has some
//! channels of all samples and every *position* (channel and pixel) a lane of its own. Sums run over the
//! samples first, in the numbers' own precision, and over the pixels of a channel at the end, in `f64`;
//! nothing is done once a plane. Planes of one pixel cost no more than large ones.

use super::channel::{Affine, Channel, Moments, Slopes};
use crate::activation::rectify;
use crate::parallel::Shared;
use crate::simd::{Float, Isa, Kernel};
use std::ops::Range;

/// Planes smaller than this are worked on by position.
pub(super) const PIXELS: usize = 128;
/// Values of a job at least, as far as there are so many.
const JOB_VALUES: usize = 1 << 14;
/// Positions of a job at least, for whole vectors.
const JOB_POSITIONS: usize = 64;

/// Where some channels lie in `[batch, channels, pixels]`.
#[derive(Clone)]
pub(super) struct Block {
    batch: usize,
    channels: usize,
    pixels: usize,
    /// The channels of this block.
    pub own: Range<usize>,
}

impl Block {
    /// Cuts the channels into blocks that depend on the sizes alone.
    pub fn all(dims: &[usize]) -> Vec<Self> {
        let (batch, channels, pixels) = (dims[0], dims[1], dims[2..].iter().product::<usize>());
        let size = (JOB_VALUES / (batch * pixels)).max(JOB_POSITIONS.div_ceil(pixels));
        let block = |first: usize| Self { batch, channels, pixels, own: first..channels.min(first + size) };
        (0..channels).step_by(size).map(block).collect()
    }

    fn positions(&self) -> usize {
        self.own.len() * self.pixels
    }

    /// The block's part of every sample.
    #[inline(always)]
    fn rows(&self) -> impl Iterator<Item = Range<usize>> {
        let (row, start, length) =
            (self.channels * self.pixels, self.own.start * self.pixels, self.positions());
        (0..self.batch).map(move |sample| sample * row + start..sample * row + start + length)
    }

    fn count(&self) -> f64 {
        (self.batch * self.pixels) as f64
    }

    /// A value of each channel for all of its positions.
    #[inline(always)]
    fn spread<T: Float>(&self, value: impl Fn(usize) -> T) -> Vec<T> {
        let mut all = vec![T::ZERO; self.positions()];
        for (channel, values) in all.chunks_exact_mut(self.pixels).enumerate() {
            values.fill(value(channel));
        }
        all
    }

    /// The sum of the positions of each channel.
    #[inline(always)]
    fn by_channel<T: Float>(&self, positions: &[T]) -> Vec<f64> {
        positions.chunks_exact(self.pixels).map(|values| values.iter().map(|v| v.to_f64()).sum()).collect()
    }

    /// What [`Affine`] has for the channels, by position.
    #[inline(always)]
    fn affine<T: Float>(&self, channels: &[Channel]) -> Affines<T> {
        let affine = |c: usize| channels[c].affine::<T>();
        Affines {
            mean: self.spread(|c| affine(c).mean),
            scale: self.spread(|c| affine(c).scale),
            shift: self.spread(|c| affine(c).shift),
        }
    }
}

struct Affines<T> {
    mean: Vec<T>,
    scale: Vec<T>,
    shift: Vec<T>,
}

impl<T: Float> Affines<T> {
    /// For every position in order; three slices of one length, so that loops over them become vectors.
    #[inline(always)]
    fn iter(&self) -> impl Iterator<Item = Affine<T>> {
        let scales = self.mean.iter().zip(&self.scale).zip(&self.shift);
        scales.map(|((&mean, &scale), &shift)| Affine { mean, scale, shift })
    }
}

/// Mean and biased variance of every channel of a block.
pub(super) struct BlockMoments<'a, T> {
    pub x: &'a [T],
    pub block: &'a Block,
}

impl<T: Float> Kernel for BlockMoments<'_, T> {
    type Output = Vec<(f64, f64)>;

    /// Twice over the values, which are few: deviations from a mean that is nearly right correct it and
    /// give the variance.
    #[inline(always)]
    fn run<I: Isa>(self) -> Vec<(f64, f64)> {
        let Self { x, block } = self;
        let mut sums = vec![T::ZERO; block.positions()];
        for row in block.rows() {
            sums.iter_mut().zip(&x[row]).for_each(|(sum, &x)| *sum += x);
        }
        let totals = block.by_channel(&sums);
        let centres = block.spread(|c| T::from_f64(totals[c] / block.count()));
        let mut deviations = vec![T::ZERO; block.positions()];
        let mut squares = vec![T::ZERO; block.positions()];
        for row in block.rows() {
            let sums = deviations.iter_mut().zip(&mut squares);
            for (((sum, square), &x), &centre) in sums.zip(&x[row]).zip(&centres) {
                let deviation = x - centre;
                *sum += deviation;
                *square = I::mul_add(deviation, deviation, *square);
            }
        }
        let centre = |c: usize| centres[c * block.pixels].to_f64();
        let sums = block.by_channel(&deviations).into_iter().zip(block.by_channel(&squares));
        let moments = sums.enumerate().map(|(c, (d, s))| Moments::around(centre(c), block.count(), d, s));
        moments.map(Moments::mean_and_variance).collect()
    }
}

pub(super) struct NormaliseBlock<'a, T> {
    pub x: &'a [T],
    pub y: &'a Shared<T>,
    pub block: &'a Block,
    /// Those of the block.
    pub channels: &'a [Channel],
    pub relu: bool,
}

impl<T: Float> Kernel for NormaliseBlock<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { x, y, block, channels, relu } = self;
        let affines = block.affine::<T>(channels);
        for row in block.rows() {
            // SAFETY: the rows of different blocks are disjoint, and a block has one job.
            let y = unsafe { y.range(row.clone()) };
            let values = y.iter_mut().zip(&x[row]).zip(affines.iter());
            if relu {
                values.for_each(|((y, &x), affine)| *y = rectify(affine.apply::<I>(x)));
            } else {
                values.for_each(|((y, &x), affine)| *y = affine.apply::<I>(x));
            }
        }
    }
}

pub(super) struct BlockGradient<'a, T> {
    pub x: &'a [T],
    pub dy: &'a [T],
    pub dx: &'a Shared<T>,
    pub block: &'a Block,
    /// Those of the block.
    pub channels: &'a [Channel],
    pub relu: bool,
    pub batch_statistics: bool,
}

impl<T: Float> Kernel for BlockGradient<'_, T> {
    type Output = Vec<(f64, f64)>;

    /// Writes dx, returns dgamma and dbeta.
    #[inline(always)]
    fn run<I: Isa>(self) -> Vec<(f64, f64)> {
        if self.relu {
            // Nothing flows back where the ReLU was off.
            self.gradient::<I>(|affine, x, dy| if affine.apply::<I>(x) <= T::ZERO { T::ZERO } else { dy })
        } else {
            self.gradient::<I>(|_, _, dy| dy)
        }
    }
}

impl<T: Float> BlockGradient<'_, T> {
    #[inline(always)]
    fn gradient<I: Isa>(&self, gate: impl Fn(Affine<T>, T, T) -> T) -> Vec<(f64, f64)> {
        let (x, dy, block) = (self.x, self.dy, self.block);
        let affines = block.affine::<T>(self.channels);
        let mut sums = vec![T::ZERO; block.positions()];
        let mut products = vec![T::ZERO; block.positions()];
        for row in block.rows() {
            let targets = sums.iter_mut().zip(&mut products).zip(affines.iter());
            for ((((sum, product), affine), &x), &dy) in targets.zip(&x[row.clone()]).zip(&dy[row]) {
                let dy = gate(affine, x, dy);
                *sum += dy;
                *product = I::mul_add(x - affine.mean, dy, *product);
            }
        }
        let sums = block.by_channel(&products).into_iter().zip(block.by_channel(&sums));
        let parameters: Vec<(f64, f64)> =
            sums.zip(self.channels).map(|((p, dbeta), c)| (p * c.inverse_deviation, dbeta)).collect();

        let slopes =
            |c: usize| self.channels[c].slopes::<T>(block.count(), self.batch_statistics, parameters[c]);
        let constants = block.spread(|c| slopes(c).constant);
        let factors = block.spread(|c| slopes(c).slope);
        for row in block.rows() {
            // SAFETY: the rows of different blocks are disjoint, and a block has one job.
            let dx = unsafe { self.dx.range(row.clone()) };
            let values = dx.iter_mut().zip(&x[row.clone()]).zip(&dy[row]).zip(affines.iter());
            let slopes = constants.iter().zip(&factors);
            for ((((dx, &x), &dy), affine), (&constant, &slope)) in values.zip(slopes) {
                let slopes = Slopes { constant, slope };
                *dx = slopes.apply::<I>(affine, x, gate(affine, x, dy));
            }
        }
        parameters
    }
}
