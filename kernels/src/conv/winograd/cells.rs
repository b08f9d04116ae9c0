//! Images cut into cells of eight or sixteen channels, so that a vector holds one pixel of so many channels.

use super::super::interleave::{gather_row, prefetch_rows, scatter_row};
use super::super::product::PANEL;
use super::transform::TILE;
use crate::simd::{Float, Isa, LANES, Lanes, wide};
use std::ops::Range;

/// One group's channels of a sample as `[channels / lanes][rows][columns][lanes]`, with room around the image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cells {
    /// Channels of the image; the last cell may have lanes to spare, which hold zeros.
    pub channels: usize,
    /// Channels of a cell, [`LANES`] or [`PANEL`].
    pub lanes: usize,
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
    /// With cells of sixteen channels for a wide instruction set, if that takes no more room.
    pub fn fit<I: Isa, T>(self) -> Self {
        let even = self.channels.next_multiple_of(LANES).is_multiple_of(PANEL);
        Self { lanes: if wide::<I, T>() && even { PANEL } else { LANES }, ..self }
    }

    pub fn count(&self) -> usize {
        self.channels.div_ceil(self.lanes)
    }

    pub fn cell_len(&self) -> usize {
        self.rows * self.columns * self.lanes
    }

    /// Numbers of a sample.
    pub fn len(&self) -> usize {
        self.count() * self.cell_len()
    }

    /// Where the first cell of each tile starts; tiles are numbered across samples.
    #[inline(always)]
    pub fn tiles(&self, tiles: Range<usize>) -> impl Iterator<Item = usize> {
        let (across, each) = self.tiles;
        let (columns, len, lanes) = (self.columns, self.len(), self.lanes);
        // Counted, because a division takes as long as a quarter of a transform.
        let (mut sample, mut place) = (tiles.start / each, tiles.start % each);
        let (mut row, mut column) = (place / across, place % across);
        tiles.map(move |_| {
            let start = sample * len + (row * columns + column) * TILE * lanes;
            (place, column) = (place + 1, column + 1);
            if column == across {
                (row, column) = (row + 1, 0);
            }
            if place == each {
                (sample, place, row) = (sample + 1, 0, 0);
            }
            start
        })
    }

    /// Copies an image in, with zeros around it. `source` starts at its first channel and may go on behind
    /// its last one. Writes all of `target`.
    #[inline(always)]
    pub fn gather<I: Isa, T: Float>(&self, source: &[T], target: &mut [T]) {
        let ((height, width), lanes) = (self.image, self.lanes);
        for (cell, target) in target.chunks_exact_mut(self.cell_len()).enumerate() {
            for (row, target) in target.chunks_exact_mut(self.columns * lanes).enumerate() {
                let Some(row) = row.checked_sub(self.padding.0).filter(|&row| row < height) else {
                    target.fill(T::ZERO);
                    continue;
                };
                let (left, target) = target.split_at_mut(self.padding.1 * lanes);
                let (target, right) = target.split_at_mut(width * lanes);
                left.fill(T::ZERO);
                right.fill(T::ZERO);
                for first in (0..lanes).step_by(LANES) {
                    let channel = cell * lanes + first;
                    let source = &source[channel * height * width + row * width..];
                    let channels = (height * width, (self.channels - channel).min(LANES));
                    // The same row of the next cell.
                    prefetch_rows::<I, T>(source, channels, width, lanes * height * width);
                    gather_row::<I, T>(source, channels, width, &mut target[first..], lanes);
                }
            }
        }
    }

    /// Copies an image out and adds a number to each channel.
    #[inline(always)]
    pub fn scatter<I: Isa, T: Float>(&self, source: &[T], bias: Option<&[T]>, target: &mut [T]) {
        let ((height, width), lanes) = (self.image, self.lanes);
        for (cell, source) in source.chunks_exact(self.cell_len()).enumerate() {
            for first in (0..lanes).step_by(LANES) {
                let channel = cell * lanes + first;
                let channels = (height * width, (self.channels - channel).min(LANES));
                let target = &mut target[channel * height * width..];
                let bias = bias.map(|bias| first_lanes(&bias[channel..]));
                for row in 0..height {
                    let target = &mut target[row * width..];
                    // The same row of the next channels.
                    prefetch_rows::<I, T>(target, channels, width, LANES * height * width);
                    let place = (row + self.padding.0) * self.columns + self.padding.1;
                    scatter_row::<I, T>(
                        &source[place * lanes + first..],
                        lanes,
                        bias,
                        width,
                        target,
                        channels,
                    );
                }
            }
        }
    }
}

/// The first numbers, as many as there are, and zeros.
#[inline(always)]
fn first_lanes<T: Float>(values: &[T]) -> Lanes<T> {
    let mut lanes = [T::ZERO; LANES];
    lanes.iter_mut().zip(values).for_each(|(lane, value)| *lane = *value);
    Lanes::from_array(lanes)
}
