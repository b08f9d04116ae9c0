//! Images cut into cells of eight channels, so that a vector holds one pixel of eight channels.

use super::super::interleave::{gather_row, scatter_row};
use super::transform::TILE;
use crate::simd::{Float, Isa, LANES, Lanes};
use std::ops::Range;

/// One group's channels of a sample as `[channels / 8][rows][columns][8]`, with room around the image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cells {
    /// Channels of the image; the last cell may have lanes to spare, which hold zeros.
    pub channels: usize,
    /// Height and width of the image.
    pub image: (usize, usize),
    /// Rows and columns of a cell.
    pub rows: usize,
    pub columns: usize,
    /// Place of the image's first pixel in a cell.
    pub padding: (usize, usize),
    /// Tiles of outputs in a row of tiles, and in a sample.
    pub tiles: (usize, usize),
}

impl Cells {
    pub fn count(&self) -> usize {
        self.channels.div_ceil(LANES)
    }

    pub fn cell_len(&self) -> usize {
        self.rows * self.columns * LANES
    }

    /// Numbers of a sample.
    pub fn len(&self) -> usize {
        self.count() * self.cell_len()
    }

    /// Where the first cell of each tile starts; tiles are numbered across samples.
    #[inline(always)]
    pub fn tiles(&self, tiles: Range<usize>) -> impl Iterator<Item = usize> {
        let (across, each) = self.tiles;
        let (columns, len) = (self.columns, self.len());
        tiles.map(move |t| {
            let (sample, t) = (t / each, t % each);
            sample * len + (t / across * columns + t % across) * TILE * LANES
        })
    }

    /// Copies an image in, with zeros around it. `source` starts at its first channel and may go on behind
    /// its last one. Writes all of `target`.
    #[inline(always)]
    pub fn gather<I: Isa, T: Float>(&self, source: &[T], target: &mut [T]) {
        let (height, width) = self.image;
        let row_len = self.columns * LANES;
        for (cell, target) in target.chunks_exact_mut(self.cell_len()).enumerate() {
            let channels = LANES.min(self.channels - cell * LANES);
            let source = &source[cell * LANES * height * width..];
            for (row, target) in target.chunks_exact_mut(row_len).enumerate() {
                let Some(row) = row.checked_sub(self.padding.0).filter(|&row| row < height) else {
                    target.fill(T::ZERO);
                    continue;
                };
                let (left, target) = target.split_at_mut(self.padding.1 * LANES);
                let (target, right) = target.split_at_mut(width * LANES);
                left.fill(T::ZERO);
                right.fill(T::ZERO);
                gather_row::<I, T>(&source[row * width..], height * width, channels, target);
            }
        }
    }

    /// Copies an image out and adds a number to each channel.
    #[inline(always)]
    pub fn scatter<I: Isa, T: Float>(&self, source: &[T], bias: Option<&[T]>, target: &mut [T]) {
        let (height, width) = self.image;
        let targets = target.chunks_mut(LANES * height * width);
        for (cell, (source, target)) in source.chunks_exact(self.cell_len()).zip(targets).enumerate() {
            let channels = target.len() / (height * width);
            let mut add = [T::ZERO; LANES];
            if let Some(bias) = bias {
                add[..channels].copy_from_slice(&bias[cell * LANES..][..channels]);
            }
            let add = bias.map(|_| Lanes::from_array(add));
            let rows = source.chunks_exact(self.columns * LANES).skip(self.padding.0);
            for (row, source) in rows.take(height).enumerate() {
                let source = &source[self.padding.1 * LANES..][..width * LANES];
                scatter_row::<I, T>(source, add, channels, height * width, &mut target[row * width..]);
            }
        }
    }
}
