//! Convolution with 3x3 kernels by Winograd's minimal filtering F(4x4, 3x3): 36 multiplications for 16
//! outputs where the direct way takes 144.
//!
//! Lavin & Gray, *Fast Algorithms for Convolutional Neural Networks*, CVPR 2016. Tiles of 6x6 inputs
//! and the kernels are transformed to 36 "frequencies"; for each frequency a matrix product over the
//! channels is left; its result is transformed back to tiles of 4x4 outputs.
//!
//! Images are first copied into [`Cells`] of eight or sixteen channels, so that all transforms work on vectors.
//! Then a block of tiles at a time, small enough for the second-level cache, goes through transform,
//! products and transform back. At edges where a tile does not fit it is cut off when the result is
//! copied out.

mod forward;
mod gradients;
mod passes;
mod transform;
mod weights;

use super::cells::Cells;
use super::geometry::{Axis, Geometry};
use crate::simd::Float;
use std::ops::Range;
use transform::{KERNEL, SIDE, TILE};
use weights::Panels;

pub(super) use forward::forward;
pub(super) use gradients::gradients;

const FREQUENCIES: usize = SIDE * SIDE;
/// Numbers between matrices of neighbouring frequencies, which otherwise often are a power of two apart
/// and compete for the same lines of the cache.
const GAP: usize = 16;
/// Bytes of the frequencies of a block of tiles.
const CACHE_BYTES: usize = 448 * 1024;

/// Whether a convolution is one for Winograd: 3x3, stride 1, not dilated.
pub(super) fn fits(g: &Geometry) -> bool {
    let fits = |axis: &Axis| axis.kernel == KERNEL && axis.stride == 1 && axis.dilation == 1;
    fits(&g.height) && fits(&g.width)
}

/// Whether Winograd is faster than the direct way, forward and backward together: with few channels the
/// transforms cost more than the multiplications they save.
pub(super) fn pays(g: &Geometry) -> bool {
    g.channels.min(g.outputs) >= 8 && g.channels * g.outputs >= 128
}

/// How the images of a group are cut up.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Cells of the input, with the padding around the image.
    x: Cells,
    /// Cells of the output, up to the end of the last tile.
    y: Cells,
    /// Tiles in a row of tiles, and in a sample.
    across: usize,
    each: usize,
    /// Samples that are worked on together.
    together: usize,
    /// Most tiles that are transformed together.
    block: usize,
}

impl Plan {
    /// `streamed`: fewest tiles of a block if the transformed weights are too large for the cache and are
    /// read again for every block.
    fn new<T: Float>(g: &Geometry, streamed: usize) -> Self {
        let (down, across) = (g.height.output.div_ceil(TILE), g.width.output.div_ceil(TILE));
        let (rows, columns) = (down * TILE, across * TILE);
        let each = down * across;
        let y = Cells {
            channels: g.outputs,
            lanes: Cells::lanes::<T>(g.outputs),
            image: (g.height.output, g.width.output),
            rows,
            columns,
            padding: (0, 0),
        };
        let x = Cells {
            channels: g.channels,
            lanes: Cells::lanes::<T>(g.channels),
            image: (g.height.input, g.width.input),
            rows: rows + SIDE - TILE,
            columns: columns + SIDE - TILE,
            padding: (g.height.padding, g.width.padding),
        };
        let tile_bytes = FREQUENCIES * (x.count() * x.lanes + y.count() * y.lanes) * size_of::<T>();
        let weight_bytes = FREQUENCIES * g.channels * g.outputs * size_of::<T>();
        let least = if weight_bytes > 2 * CACHE_BYTES { streamed } else { 12 };
        let block = (CACHE_BYTES / tile_bytes).clamp(least, 96);
        // Small images together fill a block, but not so many that only a few threads had work.
        let together = (block / each).clamp(1, g.batch.div_ceil(4));
        Self { x, y, across, each, together, block: block.min(together * each) }
    }

    /// The blocks of tiles of some samples, of nearly equal size.
    fn blocks(&self, samples: usize) -> impl Iterator<Item = Block> + use<> {
        let Self { across, each, .. } = *self;
        let tiles = samples * each;
        let count = tiles.div_ceil(self.block);
        (0..count).map(move |i| Block { tiles: tiles * i / count..tiles * (i + 1) / count, across, each })
    }

    /// Frequencies of the tiles of `cells`.
    fn frequencies(&self, cells: &Cells) -> Frequencies {
        let channels = cells.count() * cells.lanes;
        Frequencies { channels, stride: self.block * channels + GAP }
    }

    /// Weights as the right factor of the forward pass: input channels in rows.
    fn panels(g: &Geometry) -> Panels {
        Panels { rows: g.channels, columns: g.outputs }
    }
}

/// Some tiles, numbered across samples.
#[derive(Debug, Clone)]
struct Block {
    tiles: Range<usize>,
    /// Tiles in a row of tiles, and in a sample.
    across: usize,
    each: usize,
}

impl Block {
    /// Where each tile starts in its first cell.
    #[inline(always)]
    fn places(&self, cells: &Cells) -> impl Iterator<Item = usize> + use<> {
        let (across, each) = (self.across, self.each);
        let (columns, len, lanes) = (cells.columns, cells.len(), cells.lanes);
        // Counted, because a division takes as long as a quarter of a transform.
        let (mut sample, mut place) = (self.tiles.start / each, self.tiles.start % each);
        let (mut row, mut column) = (place / across, place % across);
        self.tiles.clone().map(move |_| {
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
}

/// A matrix for every frequency: tiles in rows, channels in columns.
#[derive(Debug, Clone, Copy)]
struct Frequencies {
    channels: usize,
    /// Distance between the frequencies.
    stride: usize,
}

impl Frequencies {
    fn len(&self) -> usize {
        FREQUENCIES * self.stride
    }
}
