//! Depthwise convolution: every group has one input channel and a few outputs.
//!
//! There is nothing to block over channels, so a plane is padded once in a small buffer and then walked
//! strip by strip or row by row. The arithmetic is cheap; what counts is to read and write every tensor once, so the
//! backward pass computes both gradients from one padded copy of the output's gradient.

mod gradient;
mod layout;
mod rows;
mod small;
mod strips;

use super::algorithm::{Backward, Forward};
use super::geometry::Geometry;
use crate::parallel::{self, Shared};
use crate::simd::{Float, Isa, Kernel, LANES, Lanes, WIDE_LANES, dispatch, prefetch};
use layout::Padded;
use rows::{Correlation, Taps};
use std::ops::Range;
use strips::Strips;

/// Most outputs of a group; from there on the general convolution, which shares inputs among outputs,
/// is faster.
const OUTPUTS: usize = 4;
/// Jobs of a pass. The cut depends on sizes alone, and each job pays for clearing its buffer.
const JOBS: usize = 16;
/// Fewest values of a job.
const JOB_VALUES: usize = 1 << 14;
/// Samples whose products are added in the number's own precision, lane by lane.
const SAMPLES: usize = 8;
/// Most partial gradients of the weights: the batch is cut at places that depend on sizes alone, so that the sum
/// has the same bits for any number of threads.
const CHUNKS: usize = 8;

/// Largest stride: the padded plane has room for every pixel between two outputs, read or not.
const STRIDE: usize = 8;

/// Whether this module computes the convolution.
pub(super) fn applies(g: &Geometry) -> bool {
    let short = g.height.stride.max(g.width.stride) <= STRIDE;
    g.channels == 1 && g.groups > 1 && g.outputs <= OUTPUTS && short
}

/// Cuts `items` of `values` numbers each into jobs: the number of items of a job.
fn job_size(items: usize, values: usize) -> usize {
    items.div_ceil(JOBS).max(JOB_VALUES.div_ceil(values.max(1)))
}

/// The input's padded planes: rows as they are, columns by phase.
fn padded_input(g: &Geometry) -> Padded {
    let (height, width) = (g.height, g.width);
    let columns = width.output.next_multiple_of(LANES) + width.reach();
    // Where neighbours stay neighbours, rows are copied in whole vectors.
    let (left, segment) = match width.stride {
        1 => aligned(width.padding, columns.saturating_sub(width.padding)),
        _ => (width.padding, columns),
    };
    Padded {
        source: (height.input, width.input),
        before: (height.padding, left),
        rows: (height.output - 1) * height.stride + (height.kernel - 1) * height.dilation + 1,
        phases: width.stride,
        segment,
    }
}

/// Columns before the first pixel and in all, so that the first pixel of every row starts a line of the cache.
fn aligned(before: usize, behind: usize) -> (usize, usize) {
    let before = before.next_multiple_of(WIDE_LANES);
    (before, (before + behind).next_multiple_of(WIDE_LANES))
}

/// The first column of [`padded_input`] that is read: before it there may be more zeros than the padding.
fn first_read(g: &Geometry, padded: &Padded) -> usize {
    padded.before.1 - g.width.padding
}

/// Where each tap reads in [`padded_input`], row by row of the kernel.
fn input_taps(g: &Geometry, padded: &Padded) -> Vec<usize> {
    let offset = |ky: usize, kx| {
        let column = g.width.tap(kx);
        let column = first_read(g, padded) + column.phase * padded.segment + column.quotient;
        ky * g.height.dilation * padded.row() + column
    };
    (0..g.taps()).map(|t| offset(t / g.width.kernel, t % g.width.kernel)).collect()
}

/// The convolution itself, as [`super::by_sample`] computes it for any grouping.
pub(super) fn forward<T: Float>(of: &Forward<'_, T>) -> Vec<T> {
    let g = of.g;
    if small::applies(g) {
        return small::forward(of);
    }
    let padded = padded_input(g);
    let (rows, columns) = (g.height.output, g.width.output);
    let correlation = match strips::edge(g) {
        Some(edge) => {
            let (source_row, first) = (padded.row(), first_read(g, &padded));
            Correlation::Strips(Strips { edge, rows, columns, source_row, first })
        }
        None => {
            let (taps, source_row) = (input_taps(g, &padded), g.height.stride * padded.row());
            Correlation::Taps(Taps::new(taps, (rows, columns), source_row))
        }
    };
    let (from, to) = (g.input_plane(), g.outputs * g.output_plane());
    let size = job_size(g.batch * g.groups, to);
    of.build_chunks(g.batch * g.groups * to, size * to, |job, y| {
        let lens = [padded.len(), g.output_plane() + LANES, of.x.room(from)];
        parallel::with_scratch(lens.iter().sum(), |scratch| {
            let (plane, rest) = scratch.split_at_mut(lens[0]);
            let (results, room) = rest.split_at_mut(lens[1]);
            let (padded, correlation, first) = (&padded, &correlation, job * size);
            dispatch(Planes { of, padded, correlation, first, plane, results, room, y })
        })
    })
}

/// As [`Backward::run`].
pub(super) fn gradients<T: Float>(of: &Backward<'_, T>) -> (Vec<T>, Vec<T>) {
    match small::applies(of.g) {
        true => small::gradients(of),
        false => gradient::gradients(of),
    }
}

/// Both gradients. A job has all groups of some samples, which lie side by side in memory; it writes their part of that of the
/// input, which is empty if it is not wanted, and returns their part of that of the weights.
fn gradient_jobs<T: Float>(
    of: &Backward<'_, T>,
    job: impl Fn(Range<usize>, &mut [T]) -> Vec<f64> + Sync,
) -> (Vec<T>, Vec<T>) {
    let g = of.g;
    let size = g.batch.div_ceil(CHUNKS).max(JOB_VALUES.div_ceil(g.groups * g.input_plane()));
    let sample = of.weight.map_or(0, |_| g.groups * g.input_plane());
    let mut dw = Vec::new();
    let dx = parallel::build(g.batch * sample, |dx| {
        let dx = Shared::new(dx);
        let parts = parallel::map(g.batch.div_ceil(size), |i| {
            let samples = i * size..g.batch.min((i + 1) * size);
            // SAFETY: a sample belongs to one job.
            let dx = unsafe { dx.range(samples.start * sample..samples.end * sample) };
            job(samples, dx)
        });
        dw = add_up(parts);
    });
    (dx, dw)
}

/// The sum of partial gradients of the weights, in their order.
fn add_up<T: Float>(parts: Vec<Vec<f64>>) -> Vec<T> {
    let mut parts = parts.into_iter();
    let mut total = parts.next().unwrap_or_default();
    parts.for_each(|part| total.iter_mut().zip(part).for_each(|(total, part)| *total += part));
    total.into_iter().map(T::of).collect()
}

/// Adds the products of some samples to the totals, their lanes added up.
#[inline(always)]
fn flush<T: Float>(sums: &mut [Lanes<T>], totals: &mut [f64]) {
    for (sum, total) in sums.iter_mut().zip(totals) {
        *total += sum.sum().to_f64();
        *sum = Lanes::ZERO;
    }
}

/// Some planes, the samples one behind the other.
struct Planes<'a, T> {
    of: &'a Forward<'a, T>,
    padded: &'a Padded,
    correlation: &'a Correlation,
    /// Index of the first plane among those of the batch.
    first: usize,
    plane: &'a mut [T],
    results: &'a mut [T],
    room: &'a mut [T],
    y: &'a mut [T],
}

impl<T: Float> Kernel for Planes<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { of, padded, correlation, first, plane, results, room, y } = self;
        let &Forward { g, x, weight, bias, then } = of;
        plane.fill(T::ZERO);
        let (from, to) = (g.input_plane(), g.outputs * g.output_plane());
        for (i, target) in y.chunks_exact_mut(to).enumerate() {
            let values = (first + i) * from..(first + i + 1) * from;
            x.prefetch_next::<I>(values.clone());
            prefetch::<I, T>(target, target.len());
            padded.fill::<I, T>(x.read(values, room), plane);
            let group = (first + i) % g.groups;
            for (o, target) in target.chunks_exact_mut(g.output_plane()).enumerate() {
                let output = group * g.outputs + o;
                let weight = &weight[output * g.taps()..][..g.taps()];
                let bias = bias.map_or(T::ZERO, |bias| bias[output]);
                correlation.plane::<I, T>(plane, weight, bias, results, target);
            }
            then.go_on((first + i) * to, target);
        }
    }
}

#[cfg(test)]
mod tests;
