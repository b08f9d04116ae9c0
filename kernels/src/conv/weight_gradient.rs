//! The gradients of the weights and of the bias.
//!
//! `dw[o][c][tap] = sum over samples and pixels p of dy[o][p] * x[c][p + offset(tap)]`. Both planes
//! have the same distance between rows and `dy` is zero between them, so `p` simply runs from the first
//! pixel to the last, a vector at a time. A tile keeps the products of a few output channels with a few
//! (channel, tap) pairs in registers over several samples, and adds up the lanes once at the end.
//!
//! Zero times infinity is NaN: an infinite or NaN input spreads to all taps of its channel, and
//! sometimes to those of the next.
#![allow(clippy::needless_range_loop)] // Counted loops are what the compiler unrolls into registers.

use super::forward::{input_planes, input_taps};
use super::geometry::Geometry;
use super::planes::{Planes, Window};
use crate::parallel;
use crate::simd::{Float, Isa, Kernel, LANES, Lanes, dispatch};
use std::ops::Range;

/// Most partial gradients: the batch is cut at places that depend on its size alone, so that the sum
/// has the same bits for any number of threads.
const CHUNKS: usize = 8;
/// Fewest samples of a chunk, so that small batches are not all bookkeeping.
const CHUNK_SAMPLES: usize = 4;
/// Bytes of padded planes that are worked on together. More means fewer sums over lanes, and reading a
/// part of the planes from the third-level cache costs less than those.
const CACHE_BYTES: usize = 1024 * 1024;

/// The gradient of the weights, in their layout.
pub(super) fn weight_gradient<T: Float>(g: &Geometry, x: &[T], dy: &[T]) -> Vec<T> {
    let planes = input_planes(g);
    let taps = input_taps(g, &planes);
    WeightGradient::new(g, planes, &taps, x, dy).run()
}

/// Gradients of one convolution's weights.
struct WeightGradient<'a, T> {
    geometry: &'a Geometry,
    x: &'a [T],
    dy: &'a [T],
    x_planes: Planes,
    dy_planes: Planes,
    /// Offsets of the (channel, tap) pairs into the padded input of a group.
    offsets: Vec<usize>,
}

impl<'a, T: Float> WeightGradient<'a, T> {
    fn new(geometry: &'a Geometry, x_planes: Planes, taps: &[usize], x: &'a [T], dy: &'a [T]) -> Self {
        let (height, width) = (geometry.height, geometry.width);
        let window = Window { row: 0, row_step: 1, column: 0, column_step: 1 };
        let dy_planes = Planes {
            source: (height.output, width.output),
            windows: vec![window],
            rows: height.output,
            columns: x_planes.columns,
        };
        let channel = x_planes.channel_len();
        let offsets = (0..geometry.channels).flat_map(|c| taps.iter().map(move |tap| c * channel + tap));
        Self { geometry, x, dy, offsets: offsets.collect(), x_planes, dy_planes }
    }

    /// The gradient, in the layout of the weights.
    fn run(&self) -> Vec<T> {
        let g = self.geometry;
        let size = g.batch.div_ceil(CHUNKS).max(CHUNK_SAMPLES);
        let partials = parallel::map(g.batch.div_ceil(size), |i| {
            let samples = i * size..g.batch.min((i + 1) * size);
            let together = self.together().min(samples.len());
            let x_len = self.x_planes.len(g.channels);
            let dy_len = self.dy_planes.len(g.outputs);
            parallel::with_scratch(together * (x_len + dy_len), |scratch| {
                let (xs, dys) = scratch.split_at_mut(together * x_len);
                dispatch(Chunk { job: self, samples, together, xs, dys })
            })
        });
        sum(partials)
    }

    /// Samples whose planes fit into the cache together.
    fn together(&self) -> usize {
        let g = self.geometry;
        let values = self.x_planes.len(g.channels) + self.dy_planes.len(g.outputs);
        (CACHE_BYTES / size_of::<T>() / values).max(1)
    }
}

/// Adds partial results in their order.
fn sum<T: Float>(partials: Vec<Vec<T>>) -> Vec<T> {
    let mut partials = partials.into_iter();
    let mut total = partials.next().unwrap_or_default();
    for partial in partials {
        total.iter_mut().zip(partial).for_each(|(t, p)| *t += p);
    }
    total
}

/// The part of some samples.
struct Chunk<'a, T> {
    job: &'a WeightGradient<'a, T>,
    samples: Range<usize>,
    /// Samples whose planes are in the scratch at the same time.
    together: usize,
    xs: &'a mut [T],
    dys: &'a mut [T],
}

impl<T: Float> Kernel for Chunk<'_, T> {
    type Output = Vec<T>;

    #[inline(always)]
    fn run<I: Isa>(self) -> Vec<T> {
        let Self { job, samples, together, xs, dys } = self;
        let per_group = job.geometry.outputs * job.offsets.len();
        let mut gradient = vec![T::ZERO; job.geometry.groups * per_group];
        for first in samples.clone().step_by(together) {
            let samples = first..samples.end.min(first + together);
            for (group, gradient) in gradient.chunks_exact_mut(per_group).enumerate() {
                gather_group(job, samples.clone(), group, xs, dys);
                GroupPlanes { job, samples: samples.len(), xs, dys }.add_to::<I>(gradient);
            }
        }
        gradient
    }
}

#[inline(always)]
fn gather_group<T: Float>(
    job: &WeightGradient<'_, T>,
    samples: Range<usize>,
    group: usize,
    xs: &mut [T],
    dys: &mut [T],
) {
    let g = job.geometry;
    let (x_size, dy_size) = (g.channels * g.input_plane(), g.outputs * g.output_plane());
    let x_targets = xs.chunks_exact_mut(job.x_planes.len(g.channels));
    let dy_targets = dys.chunks_exact_mut(job.dy_planes.len(g.outputs));
    for ((sample, x), dy) in samples.zip(x_targets).zip(dy_targets) {
        let at = sample * g.groups + group;
        job.x_planes.gather(&job.x[at * x_size..][..x_size], x);
        job.dy_planes.gather(&job.dy[at * dy_size..][..dy_size], dy);
    }
}

/// The padded planes of one group of several samples.
struct GroupPlanes<'a, T> {
    job: &'a WeightGradient<'a, T>,
    samples: usize,
    xs: &'a [T],
    dys: &'a [T],
}

impl<T: Float> GroupPlanes<'_, T> {
    /// Tiles are chosen so that the accumulators nearly fill the 16 registers.
    #[inline(always)]
    fn add_to<I: Isa>(&self, gradient: &mut [T]) {
        let outputs = self.job.geometry.outputs;
        let mut first = 0;
        while first < outputs {
            match outputs - first {
                1 => self.outputs::<I, 1, 9>(first, gradient),
                2 => self.outputs::<I, 2, 5>(first, gradient),
                3 => self.outputs::<I, 3, 3>(first, gradient),
                _ => self.outputs::<I, 4, 3>(first, gradient),
            }
            first += 4;
        }
    }

    #[inline(always)]
    fn outputs<I: Isa, const OUTPUTS: usize, const PAIRS: usize>(&self, output: usize, gradient: &mut [T]) {
        let offsets = &self.job.offsets;
        let channel = self.job.dy_planes.channel_len();
        let reach = offsets.iter().max().unwrap_or(&0);
        let length = self.length();
        let (x_len, dy_len) = self.sample_lens();
        // The bounds of all reads in `tile`.
        assert!((self.samples - 1) * x_len + reach + length <= self.xs.len());
        let last = (self.samples - 1) * dy_len + (output + OUTPUTS - 1) * channel;
        assert!(last + length <= self.dys.len());
        for first in (0..offsets.len()).step_by(PAIRS) {
            // A tile that is not full repeats the last pair.
            let mut pairs = [0; PAIRS];
            for p in 0..PAIRS {
                pairs[p] = offsets[(first + p).min(offsets.len() - 1)];
            }
            // SAFETY: the assertions above.
            let sums: [[T; PAIRS]; OUTPUTS] = unsafe { self.tile::<I, OUTPUTS, PAIRS>(output, pairs) };
            for (o, sums) in sums.iter().enumerate() {
                let row = &mut gradient[(output + o) * offsets.len()..][..offsets.len()];
                row[first..].iter_mut().zip(sums).for_each(|(g, s)| *g += *s);
            }
        }
    }

    /// Distances between the samples in the scratch.
    #[inline(always)]
    fn sample_lens(&self) -> (usize, usize) {
        let g = self.job.geometry;
        (self.job.x_planes.len(g.channels), self.job.dy_planes.len(g.outputs))
    }

    /// From the first pixel to the last, in whole vectors.
    #[inline(always)]
    fn length(&self) -> usize {
        let g = self.job.geometry;
        let pixels = (g.height.output - 1) * self.job.dy_planes.columns + g.width.output;
        pixels.next_multiple_of(LANES)
    }

    /// # Safety
    /// Every read of `xs` and `dys` must be in bounds.
    #[inline(always)]
    unsafe fn tile<I: Isa, const OUTPUTS: usize, const PAIRS: usize>(
        &self,
        output: usize,
        pairs: [usize; PAIRS],
    ) -> [[T; PAIRS]; OUTPUTS] {
        let channel = self.job.dy_planes.channel_len();
        let length = self.length();
        let (x_len, dy_len) = self.sample_lens();
        let mut sums = [[Lanes::ZERO; PAIRS]; OUTPUTS];
        for sample in 0..self.samples {
            let x = unsafe { self.xs.as_ptr().add(sample * x_len) };
            let dy = unsafe { self.dys.as_ptr().add(sample * dy_len + output * channel) };
            for pixel in (0..length).step_by(LANES) {
                unsafe {
                    let mut xs = [Lanes::ZERO; PAIRS];
                    for p in 0..PAIRS {
                        xs[p] = Lanes::load(x.add(pairs[p] + pixel));
                    }
                    for o in 0..OUTPUTS {
                        let d = Lanes::load(dy.add(o * channel + pixel));
                        for p in 0..PAIRS {
                            sums[o][p] = d.mul_add::<I>(xs[p], sums[o][p]);
                        }
                    }
                }
            }
        }
        let mut totals = [[T::ZERO; PAIRS]; OUTPUTS];
        for o in 0..OUTPUTS {
            for p in 0..PAIRS {
                totals[o][p] = sums[o][p].sum();
            }
        }
        totals
    }
}
