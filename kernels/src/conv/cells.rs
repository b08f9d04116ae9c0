//! Images cut into cells of eight or sixteen channels, so that a vector holds one pixel of so many channels.

use super::interleave::{Channels, gather_row, prefetch_rows, scatter_row};
use super::product::PANEL;
use crate::simd::{Float, Isa, Kernel, LANES, dispatch, will_be_wide};

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
}

impl Cells {
    /// Channels of a cell: sixteen for a wide instruction set, if that takes no more room.
    pub fn lanes<T>(channels: usize) -> usize {
        let even = channels.next_multiple_of(LANES).is_multiple_of(PANEL);
        if will_be_wide::<T>() && even { PANEL } else { LANES }
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

    /// Copies an image in, with zeros around it. `source` starts at its first channel and may go on behind
    /// its last one. Writes all of `target`.
    pub fn gather<T: Float>(&self, source: &[T], target: &mut [T]) {
        dispatch(Gather { cells: self, source, target, clear: true });
    }

    /// As [`Self::gather`] where there are zeros around the image already.
    pub fn fill<T: Float>(&self, source: &[T], target: &mut [T]) {
        dispatch(Gather { cells: self, source, target, clear: false });
    }

    /// Copies an image out and adds a number to each channel.
    pub fn scatter<T: Float>(&self, source: &[T], bias: Option<&[T]>, target: &mut [T]) {
        dispatch(Scatter { cells: self, source, bias, target });
    }
}

struct Gather<'a, T> {
    cells: &'a Cells,
    source: &'a [T],
    target: &'a mut [T],
    /// Whether what is around the image is written.
    clear: bool,
}

impl<T: Float> Kernel for Gather<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { cells, source, target, clear } = self;
        let ((height, width), (above, left), lanes) = (cells.image, cells.padding, cells.lanes);
        for (cell, target) in target.chunks_exact_mut(cells.cell_len()).enumerate() {
            let channel = cell * lanes;
            let channels = Channels { count: (cells.channels - channel).min(lanes), plane: height * width };
            let mut rows = target.chunks_exact_mut(cells.columns * lanes);
            for (row, target) in rows.by_ref().take(above + height).enumerate() {
                let Some(row) = row.checked_sub(above) else {
                    if clear {
                        target.fill(T::ZERO);
                    }
                    continue;
                };
                let (before, target) = target.split_at_mut(left * lanes);
                let (target, behind) = target.split_at_mut(width * lanes);
                if clear {
                    before.fill(T::ZERO);
                    behind.fill(T::ZERO);
                }
                let source = &source[channel * height * width + row * width..];
                // The same row of the next cell.
                prefetch_rows::<I, T>(source, channels, width, lanes * height * width);
                gather_row::<I, T>(source, channels, width, target, (lanes, lanes));
            }
            if clear {
                rows.for_each(|row| row.fill(T::ZERO));
            }
        }
    }
}

struct Scatter<'a, T> {
    cells: &'a Cells,
    source: &'a [T],
    bias: Option<&'a [T]>,
    target: &'a mut [T],
}

impl<T: Float> Kernel for Scatter<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { cells, source, bias, target } = self;
        let ((height, width), lanes) = (cells.image, cells.lanes);
        for (cell, source) in source.chunks_exact(cells.cell_len()).enumerate() {
            // Eight channels from the first row to the last: all at once would compete for the first-level cache.
            for first in (0..lanes.min(cells.channels - cell * lanes)).step_by(LANES) {
                let channel = cell * lanes + first;
                let count = (cells.channels - channel).min(LANES);
                let channels = Channels { count, plane: height * width };
                let target = &mut target[channel * height * width..];
                let bias = bias.map(|bias| &bias[channel..]);
                for row in 0..height {
                    let target = &mut target[row * width..];
                    // The same row of the next channels.
                    prefetch_rows::<I, T>(target, channels, width, LANES * height * width);
                    let place = (row + cells.padding.0) * cells.columns + cells.padding.1;
                    let source = &source[place * lanes + first..];
                    scatter_row::<I, T>(source, lanes, bias, width, target, channels);
                }
            }
        }
    }
}
