//! Convolution with 1x1 kernels: for every image a matrix product of the weights with the pixels.

use super::geometry::{Axis, Geometry};
use super::interleave::gather_row;
use super::planes::copy;
use super::product::{PANEL, Product};
use crate::parallel;
use crate::simd::{Float, Isa, Kernel, LANES, dispatch};
use std::ops::Range;

/// Most partial gradients of the weights, as elsewhere cut by sizes alone.
const CHUNKS: usize = 8;
/// Fewest pixels of a chunk.
const CHUNK_PIXELS: usize = 256;
/// Panels of pixels that are copied together: every channel is read a few lines of the cache at a time.
const PANELS: usize = 4;
/// Pixels whose output gradients are turned round together, few enough for the first-level cache.
const TOGETHER: usize = 128;

/// Whether a convolution is one of single pixels, with channels enough to fill the tiles of a product.
pub(super) fn fits(g: &Geometry) -> bool {
    let fits = |axis: &Axis| axis.kernel == 1 && axis.stride == 1 && axis.padding == 0;
    fits(&g.height) && fits(&g.width) && g.channels.min(g.outputs) >= 4
}

/// The convolution itself.
pub(super) fn forward<T: Float>(g: &Geometry, x: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    let map =
        Map { groups: g.groups, from: g.channels, to: g.outputs, weight, row: g.channels, column: 1, bias };
    map.run(g, x)
}

/// The gradient of the input.
pub(super) fn input_gradient<T: Float>(g: &Geometry, weight: &[T], dy: &[T]) -> Vec<T> {
    let map = Map {
        groups: g.groups,
        from: g.outputs,
        to: g.channels,
        weight,
        row: 1,
        column: g.channels,
        bias: None,
    };
    map.run(g, dy)
}

/// A linear map of the channels of every pixel.
struct Map<'a, T> {
    groups: usize,
    /// Channels of a group that are read, and that are written.
    from: usize,
    to: usize,
    weight: &'a [T],
    /// Distance between the weights of neighbouring channels that are written, and that are read.
    row: usize,
    column: usize,
    bias: Option<&'a [T]>,
}

impl<T: Float> Map<'_, T> {
    fn run(&self, g: &Geometry, source: &[T]) -> Vec<T> {
        let pixels = g.input_plane();
        let (from, to) = (self.groups * self.from * pixels, self.groups * self.to * pixels);
        parallel::build_chunks(g.batch * to, to, |i, target| {
            let source = &source[i * from..(i + 1) * from];
            parallel::with_scratch((PANELS * self.from + self.to) * PANEL, |scratch| {
                let (panels, result) = scratch.split_at_mut(PANELS * self.from * PANEL);
                dispatch(Image { map: self, pixels, source, target, panels, result })
            })
        })
    }
}

struct Image<'a, T> {
    map: &'a Map<'a, T>,
    pixels: usize,
    source: &'a [T],
    target: &'a mut [T],
    /// Scratch for [`PANELS`] panels of all channels that are read, and for one of those that are written.
    panels: &'a mut [T],
    result: &'a mut [T],
}

impl<T: Float> Kernel for Image<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { map, pixels, source, target, panels, result } = self;
        let sources = source.chunks_exact(map.from * pixels);
        let targets = target.chunks_exact_mut(map.to * pixels);
        // A panel at the end overlaps the one before; fewer pixels than one panel go through a buffer.
        let count = PANEL.min(pixels);
        let start = |panel: usize| (panel * PANEL).min(pixels - count);
        let all = pixels.div_ceil(PANEL);
        for (group, (source, target)) in sources.zip(targets).enumerate() {
            for first in (0..all).step_by(PANELS) {
                let together = PANELS.min(all - first);
                for (channel, source) in source.chunks_exact(pixels).enumerate() {
                    for panel in 0..together {
                        let to = &mut panels[(panel * map.from + channel) * PANEL..][..count];
                        copy(&source[start(first + panel)..][..count], to);
                    }
                }
                for (panel, values) in panels.chunks_exact(map.from * PANEL).take(together).enumerate() {
                    if count == PANEL {
                        map.panel::<I>(group, values, &mut target[start(first + panel)..], pixels);
                        continue;
                    }
                    map.panel::<I>(group, values, result, PANEL);
                    for (row, result) in target.chunks_exact_mut(pixels).zip(result.chunks_exact(PANEL)) {
                        copy(&result[..count], row);
                    }
                }
            }
        }
    }
}

impl<T: Float> Map<'_, T> {
    /// [`PANEL`] pixels of a group, the rows of the target `distance` numbers apart.
    #[inline(always)]
    fn panel<I: Isa>(&self, group: usize, values: &[T], target: &mut [T], distance: usize) {
        let weight = &self.weight[group * self.from * self.to..][..self.from * self.to];
        assert!(values.len() >= self.from * PANEL && target.len() >= (self.to - 1) * distance + PANEL);
        if let Some(bias) = self.bias {
            for (channel, bias) in bias[group * self.to..][..self.to].iter().enumerate() {
                target[channel * distance..][..PANEL].fill(*bias);
            }
        }
        let product = Product {
            left: weight.as_ptr(),
            left_row: self.row,
            left_column: self.column,
            right: values.as_ptr(),
            right_row: PANEL,
            right_vector: LANES,
            target: target.as_mut_ptr(),
            target_row: distance,
            rows: self.to,
            depth: self.from,
            columns: PANEL,
        };
        // SAFETY: the assertion above, and the weights are as many.
        match self.bias {
            Some(_) => unsafe { product.run::<I, true>() },
            None => unsafe { product.run::<I, false>() },
        }
    }
}

/// The gradient of the weights, in their layout.
pub(super) fn weight_gradient<T: Float>(g: &Geometry, x: &[T], dy: &[T]) -> Vec<T> {
    let size = g.batch.div_ceil(CHUNKS).max(CHUNK_PIXELS.div_ceil(g.input_plane()));
    let columns = g.outputs.next_multiple_of(LANES);
    let partial_len = g.groups * g.channels * columns;
    let chunks = g.batch.div_ceil(size);
    parallel::with_scratch(chunks * partial_len, |partials| {
        parallel::for_each_chunk(partials, partial_len, |i, partial| {
            let samples = i * size..g.batch.min((i + 1) * size);
            parallel::with_scratch(columns * TOGETHER, |turned| {
                dispatch(Chunk { g, x, dy, samples, partial, turned });
            });
        });
        let weight = |at: usize| {
            let (group, output, channel) =
                (at / g.channels / g.outputs, at / g.channels % g.outputs, at % g.channels);
            let place = (group * g.channels + channel) * columns + output;
            partials.chunks_exact(partial_len).fold(T::ZERO, |sum, partial| sum + partial[place])
        };
        (0..g.groups * g.outputs * g.channels).map(weight).collect()
    })
}

/// The part of some samples.
struct Chunk<'a, T> {
    g: &'a Geometry,
    x: &'a [T],
    dy: &'a [T],
    samples: Range<usize>,
    /// `[groups, channels, outputs]`, outputs in whole vectors.
    partial: &'a mut [T],
    /// Scratch for [`TOGETHER`] pixels of all outputs.
    turned: &'a mut [T],
}

impl<T: Float> Kernel for Chunk<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { g, x, dy, samples, partial, turned } = self;
        let pixels = g.input_plane();
        partial.fill(T::ZERO);
        let len = partial.len() / g.groups;
        for image in samples.start * g.groups..samples.end * g.groups {
            let x = &x[image * g.channels * pixels..][..g.channels * pixels];
            let dy = &dy[image * g.outputs * pixels..][..g.outputs * pixels];
            let partial = &mut partial[image % g.groups * len..][..len];
            for first in (0..pixels).step_by(TOGETHER) {
                let count = TOGETHER.min(pixels - first);
                for (vector, turned) in turned.chunks_exact_mut(TOGETHER * LANES).enumerate() {
                    let channel = vector * LANES;
                    let channels = LANES.min(g.outputs - channel);
                    let dy = &dy[channel * pixels + first..];
                    gather_row::<I, T>(dy, pixels, channels, &mut turned[..count * LANES]);
                }
                add_product::<I, T>(g, (x, first), turned, count, partial);
            }
        }
    }
}

/// Adds the products of `count` pixels of the input from `first` on with their output gradients.
#[inline(always)]
fn add_product<I: Isa, T: Float>(
    g: &Geometry,
    (x, first): (&[T], usize),
    turned: &[T],
    count: usize,
    partial: &mut [T],
) {
    let (pixels, columns) = (g.input_plane(), g.outputs.next_multiple_of(LANES));
    assert!(x.len() >= g.channels * pixels && first + count <= pixels && count <= TOGETHER);
    assert!(partial.len() >= g.channels * columns && turned.len() >= columns * TOGETHER);
    for column in (0..columns).step_by(PANEL) {
        // SAFETY: the assertions above.
        unsafe {
            let product = Product {
                left: x.as_ptr().add(first),
                left_row: pixels,
                left_column: 1,
                right: turned.as_ptr().add(column * TOGETHER),
                right_row: LANES,
                right_vector: TOGETHER * LANES,
                target: partial.as_mut_ptr().add(column),
                target_row: columns,
                rows: g.channels,
                depth: count,
                columns: PANEL.min(columns - column),
            };
            product.run::<I, true>();
        }
    }
}
