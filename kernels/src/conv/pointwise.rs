//! Convolution with 1x1 kernels: for every image a matrix product of the weights with the pixels.

use super::geometry::Geometry;
use super::planes::copy;
use super::product::{PANEL, Product};
use crate::parallel;
use crate::simd::{Float, Isa, Kernel, LANES, dispatch};

/// Panels of pixels that are copied together: every channel is read a few lines of the cache at a time.
const PANELS: usize = 4;

/// Whether every output depends on a single pixel, and every pixel has an output.
pub(super) fn single(g: &Geometry) -> bool {
    g.height.is_pointwise() && g.width.is_pointwise()
}

/// Whether it does, and there are channels enough to fill the tiles of a product.
pub(super) fn fits(g: &Geometry) -> bool {
    single(g) && g.channels.min(g.outputs) >= 4
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
