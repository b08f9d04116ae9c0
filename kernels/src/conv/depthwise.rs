//! Depthwise convolution: every group has one input channel and a few outputs.
//!
//! There is nothing to block over channels, so a plane is padded once in a small buffer and then walked
//! strip by strip or row by row. The arithmetic is cheap; what counts is to read and write every tensor once, so the
//! backward pass computes both gradients from one padded copy of the output's gradient.

mod gradient;
mod layout;
mod rows;
mod strips;

use super::algorithm::OutputObserver;
use super::geometry::Geometry;
use crate::parallel;
use crate::simd::{Float, Isa, Kernel, LANES, dispatch, prefetch};
use crate::source::Source;
use layout::Padded;
use rows::{Correlation, Taps, vectors};
use strips::Strips;

pub(super) use gradient::gradients;

/// Most outputs of a group; from there on the general convolution, which shares inputs among outputs,
/// is faster.
const OUTPUTS: usize = 4;
/// Jobs of a pass. The cut depends on sizes alone, and each job pays for clearing its buffer.
const JOBS: usize = 16;
/// Fewest values of a job.
const JOB_VALUES: usize = 1 << 14;

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
    Padded {
        source: (height.input, width.input),
        before: (height.padding, width.padding),
        rows: (height.output - 1) * height.stride + (height.kernel - 1) * height.dilation + 1,
        phases: width.stride,
        segment: width.output.next_multiple_of(LANES) + width.reach(),
    }
}

/// Where each tap reads in [`padded_input`], row by row of the kernel.
fn input_taps(g: &Geometry, padded: &Padded) -> Vec<usize> {
    let offset = |ky: usize, kx| {
        let column = g.width.tap(kx);
        ky * g.height.dilation * padded.row() + column.phase * padded.segment + column.quotient
    };
    (0..g.taps()).map(|t| offset(t / g.width.kernel, t % g.width.kernel)).collect()
}

/// The convolution itself, as [`super::forward::forward`] computes it for any grouping.
pub(super) fn forward<T: Float>(
    g: &Geometry,
    x: &Source<'_, T>,
    weight: &[T],
    bias: Option<&[T]>,
    observer: OutputObserver<'_, T>,
) -> Vec<T> {
    let padded = padded_input(g);
    let (rows, columns) = (g.height.output, g.width.output);
    let correlation = match strips::edge(g) {
        Some(edge) => Correlation::Strips(Strips { edge, rows, columns, source_row: padded.row(), first: 0 }),
        None => {
            let starts = vectors((rows, columns), g.height.stride * padded.row(), columns);
            Correlation::Taps(Taps::new(input_taps(g, &padded), starts))
        }
    };
    let (from, to) = (g.input_plane(), g.outputs * g.output_plane());
    let size = job_size(g.batch * g.groups, to);
    parallel::build_chunks(g.batch * g.groups * to, size * to, |job, y| {
        let lens = [padded.len(), g.output_plane() + LANES, x.room(from)];
        parallel::with_scratch(lens.iter().sum(), |scratch| {
            let (plane, rest) = scratch.split_at_mut(lens[0]);
            let (results, room) = rest.split_at_mut(lens[1]);
            let first = job * size;
            dispatch(Forward {
                g,
                padded: &padded,
                correlation: &correlation,
                first,
                x,
                weight,
                bias,
                plane,
                results,
                room,
                y,
                observer,
            })
        })
    })
}

/// Some planes, the samples one behind the other.
struct Forward<'a, T> {
    g: &'a Geometry,
    padded: &'a Padded,
    correlation: &'a Correlation,
    /// Index of the first plane among those of the batch.
    first: usize,
    x: &'a Source<'a, T>,
    weight: &'a [T],
    bias: Option<&'a [T]>,
    plane: &'a mut [T],
    results: &'a mut [T],
    room: &'a mut [T],
    y: &'a mut [T],
    observer: OutputObserver<'a, T>,
}

impl<T: Float> Kernel for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { g, padded, correlation, first, x, weight, bias, plane, results, room, y, observer } = self;
        plane.fill(T::ZERO);
        let (from, to) = (g.input_plane(), g.outputs * g.output_plane());
        for (i, target) in y.chunks_exact_mut(to).enumerate() {
            let values = (first + i) * from..(first + i + 1) * from;
            x.prefetch_next::<I>(values.clone());
            prefetch::<I, T>(target, target.len());
            padded.fill(x.read(values, room), plane);
            let group = (first + i) % g.groups;
            for (o, target) in target.chunks_exact_mut(g.output_plane()).enumerate() {
                let output = group * g.outputs + o;
                let weight = &weight[output * g.taps()..][..g.taps()];
                let bias = bias.map_or(T::ZERO, |bias| bias[output]);
                correlation.plane::<I, T>(g.width.output, plane, weight, bias, results, target);
            }
            if let Some(observer) = observer {
                observer.see((first + i) * to, target);
            }
        }
    }
}

#[cfg(test)]
mod tests;
