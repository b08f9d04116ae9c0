//! Convolution with 1x1 kernels: for every image a matrix product of the weights with the pixels.

use super::geometry::Geometry;
use super::planes::copy;
use super::product::{PANEL, Product};
use super::tile::pieces;
use crate::parallel;
use crate::simd::{Float, Isa, Kernel, dispatch};

/// Bytes of the pixels that are copied together: many of each channel, so that memory is read and written in long
/// stretches, and all channels in the second-level cache.
const TOGETHER_BYTES: usize = 256 * 1024;
/// Channels that are written together: few enough for the pages they lie on to stay known to the processor.
const ROWS: usize = 12;

/// Whether every output depends on a single pixel, and every pixel has an output.
pub(super) fn single(g: &Geometry) -> bool {
    g.height.is_pointwise() && g.width.is_pointwise()
}

/// Whether it does, and there are channels enough to fill the tiles of a product.
pub(super) fn fits(g: &Geometry) -> bool {
    single(g) && g.channels.min(g.outputs) >= 4
}

/// A linear map of the channels of every pixel.
pub(super) struct Map<'a, T> {
    pixels: usize,
    /// Channels of a group that are read, and that are written.
    from: usize,
    to: usize,
    weight: &'a [T],
    /// Distance between the weights of neighbouring channels that are written, and that are read.
    row: usize,
    column: usize,
    bias: Option<&'a [T]>,
}

impl<'a, T: Float> Map<'a, T> {
    /// The convolution itself.
    pub fn forward(g: &Geometry, weight: &'a [T], bias: Option<&'a [T]>) -> Self {
        let (from, to, pixels) = (g.channels, g.outputs, g.input_plane());
        Self { pixels, from, to, weight, row: from, column: 1, bias }
    }

    /// The gradient of the input.
    pub fn input_gradient(g: &Geometry, weight: &'a [T]) -> Self {
        let (from, to, pixels) = (g.outputs, g.channels, g.input_plane());
        Self { pixels, from, to, weight, row: 1, column: to, bias: None }
    }

    /// Most panels that are copied together.
    fn together(&self) -> usize {
        (TOGETHER_BYTES / (self.from * PANEL * size_of::<T>())).max(4)
    }

    /// Maps one sample.
    pub fn sample(&self, source: &[T], target: &mut [T]) {
        let together = self.together();
        parallel::with_scratch((together * self.from + self.to) * PANEL, |scratch| {
            let (panels, result) = scratch.split_at_mut(together * self.from * PANEL);
            dispatch(Image { map: self, source, target, panels, result })
        })
    }
}

struct Image<'a, T> {
    map: &'a Map<'a, T>,
    source: &'a [T],
    target: &'a mut [T],
    /// Scratch for panels of all channels that are read, and for one of those that are written.
    panels: &'a mut [T],
    result: &'a mut [T],
}

impl<T: Float> Kernel for Image<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { map, source, target, panels, result } = self;
        let pixels = map.pixels;
        let sources = source.chunks_exact(map.from * pixels);
        let targets = target.chunks_exact_mut(map.to * pixels);
        for (group, (source, target)) in sources.zip(targets).enumerate() {
            for (start, columns) in parts(pixels, map.together()) {
                gather::<I, T>(&source[start..], pixels, columns, panels);
                if pixels >= PANEL {
                    map.panels::<I>(group, panels, &mut target[start..], pixels, columns);
                    continue;
                }
                map.panels::<I>(group, panels, result, PANEL, PANEL);
                for (row, result) in target.chunks_exact_mut(pixels).zip(result.chunks_exact(PANEL)) {
                    copy(&result[..pixels], row);
                }
            }
        }
    }
}

/// Where pixels that are worked on together start and how many they are: some panels, or all there are if they do not
/// fill one. A panel at the end overlaps the one before.
#[inline(always)]
fn parts(pixels: usize, together: usize) -> impl Iterator<Item = (usize, usize)> {
    let whole = pixels / PANEL;
    let parts = pieces(whole, together).map(|panels| (panels.start * PANEL, panels.len() * PANEL));
    let rest = !pixels.is_multiple_of(PANEL);
    parts.chain(rest.then_some((pixels.saturating_sub(PANEL), PANEL.min(pixels))))
}

/// Copies some columns of every channel into panels of all channels; the first channel starts the source.
#[inline(always)]
fn gather<I: Isa, T: Float>(source: &[T], pixels: usize, columns: usize, panels: &mut [T]) {
    let channels = source.len().div_ceil(pixels);
    for (channel, source) in source.chunks(pixels).enumerate() {
        for (panel, source) in source[..columns].chunks(PANEL).enumerate() {
            I::prefetch(source.as_ptr().wrapping_add(pixels));
            copy(source, &mut panels[(panel * channels + channel) * PANEL..][..source.len()]);
        }
    }
}

impl<T: Float> Map<'_, T> {
    /// Some panels of pixels of a group, the rows of the target `distance` numbers apart.
    #[inline(always)]
    fn panels<I: Isa>(&self, group: usize, values: &[T], target: &mut [T], distance: usize, columns: usize) {
        let weight = &self.weight[group * self.from * self.to..][..self.from * self.to];
        assert!(values.len() >= self.from * columns && target.len() >= (self.to - 1) * distance + columns);
        if let Some(bias) = self.bias {
            for (channel, bias) in bias[group * self.to..][..self.to].iter().enumerate() {
                target[channel * distance..][..columns].fill(*bias);
            }
        }
        for rows in pieces(self.to, ROWS) {
            let product = Product {
                left: weight[rows.start * self.row..].as_ptr(),
                left_row: self.row,
                left_column: self.column,
                right: values.as_ptr(),
                right_row: PANEL,
                right_panel: self.from * PANEL,
                target: target[rows.start * distance..].as_mut_ptr(),
                target_row: distance,
                target_panel: PANEL,
                rows: rows.len(),
                depth: self.from,
                columns,
            };
            // SAFETY: the assertion above, and the weights are as many.
            match self.bias {
                Some(_) => unsafe { product.run::<I, true>() },
                None => unsafe { product.run::<I, false>() },
            }
        }
    }
}
