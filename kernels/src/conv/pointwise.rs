//! Convolution with 1x1 kernels: for every image a matrix product of the weights with the pixels.

use super::geometry::Geometry;
use super::planes::copy;
use super::product::{PANEL, Product};
use super::tile::pieces;
use crate::parallel;
use crate::simd::{Float, Isa, Kernel, PAGE, dispatch};
use std::ops::Range;

/// Bytes of the pixels that are read in place together: many of each channel, so that memory is read and written in long
/// stretches, and all channels in the second-level cache.
const IN_PLACE_BYTES: usize = 256 * 1024;
/// Panels that are copied together, few enough for the first-level cache.
const COPIED: usize = 8;
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

/// Images of fewer pixels are worked on together: alone they would leave much of their last panel empty.
const SMALL: usize = 8 * PANEL;
/// Most pixels of images that are worked on together.
const SMALL_TOGETHER: usize = 16 * PANEL;

/// A linear map of the channels of every pixel.
pub(super) struct Map<'a, T> {
    pixels: usize,
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

impl<'a, T: Float> Map<'a, T> {
    /// The convolution itself.
    pub fn forward(g: &Geometry, weight: &'a [T], bias: Option<&'a [T]>) -> Self {
        let (from, to, pixels) = (g.channels, g.outputs, g.input_plane());
        Self { pixels, groups: g.groups, from, to, weight, row: from, column: 1, bias }
    }

    /// The gradient of the input.
    pub fn input_gradient(g: &Geometry, weight: &'a [T]) -> Self {
        let (from, to, pixels) = (g.outputs, g.channels, g.input_plane());
        Self { pixels, groups: g.groups, from, to, weight, row: 1, column: to, bias: None }
    }

    /// Whether pixels are read where they lie. Not where the same pixel of many channels lies on the same few lines of the
    /// first-level cache, which repeat every [`PAGE`].
    fn reads_in_place(&self) -> bool {
        self.pixels >= PANEL && !(self.pixels * size_of::<T>()).is_multiple_of(PAGE / 8)
    }

    /// Most panels that are worked on together.
    fn together(&self) -> usize {
        match self.reads_in_place() {
            true => (IN_PLACE_BYTES / (self.from * PANEL * size_of::<T>())).max(4),
            false => COPIED,
        }
    }

    /// Samples that [`Self::samples`] had best be given together.
    pub fn batch(&self) -> usize {
        match self.groups == 1 && self.pixels < SMALL && !self.pixels.is_multiple_of(PANEL) {
            true => SMALL_TOGETHER / self.pixels,
            false => 1,
        }
    }

    /// Maps one sample or, if [`Self::batch`] says so, several.
    pub fn samples(&self, source: &[T], target: &mut [T]) {
        let images = source.len() / (self.from * self.pixels);
        if self.groups == 1 && images > 1 {
            let columns = (images * self.pixels).next_multiple_of(PANEL);
            return parallel::with_scratch((self.from + ROWS) * columns, |scratch| {
                let (values, results) = scratch.split_at_mut(self.from * columns);
                dispatch(Images { map: self, source, target, values, results })
            });
        }
        let copied = if self.reads_in_place() { 0 } else { COPIED * self.from };
        parallel::with_scratch((copied + self.to) * PANEL, |scratch| {
            let (panels, result) = scratch.split_at_mut(copied * PANEL);
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
                let source = &source[start..];
                let panels = match map.reads_in_place() {
                    true => Panels { values: source, channel: pixels, panel: PANEL },
                    false => gather::<I, T>(source, pixels, columns, panels),
                };
                // A panel is not full where there are fewer pixels.
                let full = pixels >= PANEL;
                let (rows, distance) =
                    if full { (&mut target[start..], pixels) } else { (&mut *result, PANEL) };
                map.panels::<I>(group, panels, rows, distance, columns.next_multiple_of(PANEL));
                if full {
                    continue;
                }
                for (row, result) in target.chunks_exact_mut(pixels).zip(result.chunks_exact(PANEL)) {
                    copy(&result[..pixels], row);
                }
            }
        }
    }
}

/// Some small images, as one that has the pixels of all of them.
struct Images<'a, T> {
    map: &'a Map<'a, T>,
    source: &'a [T],
    target: &'a mut [T],
    /// Scratch for all channels that are read, and for [`ROWS`] of those that are written: whole panels each.
    values: &'a mut [T],
    results: &'a mut [T],
}

impl<T: Float> Kernel for Images<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { map, source, target, values, results } = self;
        let (pixels, images) = (map.pixels, source.len() / (map.from * map.pixels));
        let columns = (images * pixels).next_multiple_of(PANEL);
        for (image, source) in source.chunks_exact(map.from * pixels).enumerate() {
            for (channel, source) in source.chunks_exact(pixels).enumerate() {
                I::prefetch(source.as_ptr().wrapping_add(map.from * pixels));
                copy(source, &mut values[channel * columns + image * pixels..][..pixels]);
            }
        }
        let panels = Panels { values, channel: columns, panel: PANEL };
        for rows in pieces(map.to, ROWS) {
            map.rows::<I>(0, rows.clone(), panels, results, columns, columns);
            for (image, target) in target.chunks_exact_mut(map.to * pixels).enumerate() {
                let target = target[rows.start * pixels..rows.end * pixels].chunks_exact_mut(pixels);
                for (target, result) in target.zip(results.chunks_exact(columns)) {
                    copy(&result[image * pixels..][..pixels], target);
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

/// Some columns of all channels that are read.
#[derive(Clone, Copy)]
struct Panels<'a, T> {
    values: &'a [T],
    /// Distance between channels, and between the panels of one.
    channel: usize,
    panel: usize,
}

/// Copies some columns of every channel into panels of all channels; the first channel starts the source.
#[inline(always)]
fn gather<'p, I: Isa, T: Float>(
    source: &[T],
    pixels: usize,
    columns: usize,
    panels: &'p mut [T],
) -> Panels<'p, T> {
    let channels = source.len().div_ceil(pixels);
    for (channel, source) in source.chunks(pixels).enumerate() {
        let (whole, rest) = source[..columns].as_chunks::<PANEL>();
        let places = panels[channel * PANEL..].chunks_mut(channels * PANEL);
        for (piece, place) in whole.iter().zip(places) {
            I::prefetch(piece.as_ptr().wrapping_add(pixels));
            place[..PANEL].copy_from_slice(piece);
        }
        // Only where there are fewer pixels than a panel has.
        copy(rest, &mut panels[channel * PANEL..][..rest.len()]);
    }
    Panels { values: panels, channel: PANEL, panel: channels * PANEL }
}

impl<T: Float> Map<'_, T> {
    /// Some panels of pixels of a group, the rows of the target `distance` numbers apart.
    #[inline(always)]
    fn panels<I: Isa>(
        &self,
        group: usize,
        panels: Panels<'_, T>,
        target: &mut [T],
        distance: usize,
        columns: usize,
    ) {
        assert!(target.len() >= (self.to - 1) * distance + columns);
        for rows in pieces(self.to, ROWS) {
            let target = &mut target[rows.start * distance..];
            self.rows::<I>(group, rows, panels, target, distance, columns);
        }
    }

    /// Some channels of that, from the first row of the target on.
    #[inline(always)]
    fn rows<I: Isa>(
        &self,
        group: usize,
        rows: Range<usize>,
        panels: Panels<'_, T>,
        target: &mut [T],
        distance: usize,
        columns: usize,
    ) {
        let weight = &self.weight[group * self.from * self.to..][..self.from * self.to];
        let last = (self.from - 1) * panels.channel + (columns / PANEL - 1) * panels.panel;
        assert!(last + PANEL <= panels.values.len() && target.len() >= (rows.len() - 1) * distance + columns);
        if let Some(bias) = self.bias {
            for (row, bias) in bias[group * self.to..][rows.clone()].iter().enumerate() {
                target[row * distance..][..columns].fill(*bias);
            }
        }
        let product = Product {
            left: weight[rows.start * self.row..].as_ptr(),
            left_row: self.row,
            left_column: self.column,
            right: panels.values.as_ptr(),
            right_row: panels.channel,
            right_panel: panels.panel,
            target: target.as_mut_ptr(),
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
