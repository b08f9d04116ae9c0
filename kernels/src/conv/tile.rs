//! The innermost loops of a correlation.
//!
//! Direct convolution, vectorised over neighbouring pixels, with a block of output channels held in
//! registers: each vector of inputs is used for every channel of the block, each weight for every
//! vector of the tile.
#![allow(clippy::needless_range_loop)] // Counted loops are what the compiler unrolls into registers.

use crate::simd::{Float, Isa, LANES, Lanes, WIDE_LANES};
use std::ops::Range;

/// Most output channels that are computed together.
///
/// Six times two vectors of sums, two vectors of pixels and a weight fill 15 of the 16 registers of AVX2.
/// With all 16 in use the compiler moves sums to memory and back in the innermost loop.
pub(super) const BLOCK: usize = 6;

/// Cuts channels into blocks of at most [`BLOCK`].
pub(super) fn blocks(channels: usize) -> impl Iterator<Item = Range<usize>> {
    pieces(channels, BLOCK)
}

/// Cuts `0..count` into ranges of nearly equal size, at most `most`: 16 into 6, 5, 5 and not 6, 6, 4.
#[inline(always)]
pub(super) fn pieces(count: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let pieces = count.div_ceil(most);
    (0..pieces).map(move |i| count * i / pieces..count * (i + 1) / pieces)
}

/// The weights of one group for one list of taps, in the order in which they are used:
/// for every block of output channels, for every input channel, for every tap, one number a channel.
pub(super) struct PackedWeights<T> {
    pub values: Vec<T>,
    pub outputs: usize,
}

impl<T: Float> PackedWeights<T> {
    pub fn new(
        outputs: usize,
        channels: usize,
        taps: usize,
        weight: impl Fn(usize, usize, usize) -> T,
    ) -> Self {
        let mut values = Vec::with_capacity(outputs * channels * taps);
        for block in blocks(outputs) {
            for channel in 0..channels {
                for tap in 0..taps {
                    values.extend(block.clone().map(|output| weight(output, channel, tap)));
                }
            }
        }
        Self { values, outputs }
    }
}

/// Where the vectors of a tile start, in the padded planes and in the result.
pub(super) struct Tiles {
    /// Numbers of a vector, [`LANES`] or [`WIDE_LANES`].
    pub lanes: usize,
    pub starts: Vec<(usize, usize)>,
    /// Results go straight to the target, otherwise to a buffer with the row distance of the planes.
    pub direct: bool,
    /// Distance between the output channels.
    pub channel: usize,
}

/// The work on one block of output channels.
pub(super) struct Job<'a, T> {
    pub planes: &'a [T],
    pub channels: usize,
    /// Distance between the input channels.
    pub channel: usize,
    /// Offsets into a channel.
    pub taps: &'a [usize],
    pub packed: &'a [T],
    pub bias: [T; BLOCK],
    pub tiles: &'a Tiles,
}

impl<T: Float> Job<'_, T> {
    /// Vectors a tile are chosen so that the accumulators nearly fill the 16 registers, or the 32 of a wide instruction set.
    #[inline(always)]
    pub fn block<I: Isa>(&self, size: usize, out: &mut [T]) {
        if self.tiles.lanes == WIDE_LANES {
            return match size {
                1 => self.all_tiles::<I, WIDE_LANES, 1, 4>(out),
                2 => self.all_tiles::<I, WIDE_LANES, 2, 4>(out),
                3 => self.all_tiles::<I, WIDE_LANES, 3, 4>(out),
                4 => self.all_tiles::<I, WIDE_LANES, 4, 4>(out),
                5 => self.all_tiles::<I, WIDE_LANES, 5, 4>(out),
                _ => self.all_tiles::<I, WIDE_LANES, BLOCK, 4>(out),
            };
        }
        match size {
            1 if self.tiles.starts.len() > 4 => self.all_tiles::<I, LANES, 1, 8>(out),
            1 => self.all_tiles::<I, LANES, 1, 4>(out),
            2 => self.all_tiles::<I, LANES, 2, 4>(out),
            3 => self.all_tiles::<I, LANES, 3, 3>(out),
            4 => self.all_tiles::<I, LANES, 4, 2>(out),
            5 => self.all_tiles::<I, LANES, 5, 2>(out),
            _ => self.all_tiles::<I, LANES, BLOCK, 2>(out),
        }
    }

    #[inline(always)]
    fn all_tiles<I: Isa, const N: usize, const CHANNELS: usize, const VECTORS: usize>(&self, out: &mut [T]) {
        let starts = &self.tiles.starts;
        let taps = self.taps;
        let reach = taps.iter().max().unwrap_or(&0) + starts.iter().map(|s| s.0).max().unwrap_or(0);
        // The bounds of all reads and writes below, once a block instead of once a vector.
        assert!((self.channels - 1) * self.channel + reach + N <= self.planes.len());
        assert!(self.packed.len() >= self.channels * taps.len() * CHANNELS);
        let last = starts.iter().map(|s| s.1).max().unwrap_or(0);
        assert!((CHANNELS - 1) * self.tiles.channel + last + N <= out.len());
        for first in (0..starts.len()).step_by(VECTORS) {
            // A tile that is not full repeats its last vector.
            let mut tile = [(0, 0); VECTORS];
            for v in 0..VECTORS {
                tile[v] = starts[(first + v).min(starts.len() - 1)];
            }
            // SAFETY: the assertions above.
            unsafe { self.tile::<I, N, CHANNELS, VECTORS>(tile, out) };
        }
    }

    /// # Safety
    /// Every read of the planes and the weights and every write of `out` must be in bounds.
    #[inline(always)]
    unsafe fn tile<I: Isa, const N: usize, const CHANNELS: usize, const VECTORS: usize>(
        &self,
        tile: [(usize, usize); VECTORS],
        out: &mut [T],
    ) {
        let mut sums = [[Lanes::<T, N>::ZERO; VECTORS]; CHANNELS];
        for c in 0..CHANNELS {
            sums[c] = [Lanes::splat(self.bias[c]); VECTORS];
        }
        let mut weight = self.packed.as_ptr();
        for channel in 0..self.channels {
            for &tap in self.taps {
                unsafe {
                    let at = self.planes.as_ptr().add(channel * self.channel + tap);
                    let mut pixels = [Lanes::ZERO; VECTORS];
                    for v in 0..VECTORS {
                        pixels[v] = Lanes::load(at.add(tile[v].0));
                    }
                    for c in 0..CHANNELS {
                        let w = Lanes::splat(*weight.add(c));
                        for v in 0..VECTORS {
                            sums[c][v] = pixels[v].mul_add::<I>(w, sums[c][v]);
                        }
                    }
                    weight = weight.add(CHANNELS);
                }
            }
        }
        for c in 0..CHANNELS {
            for v in 0..VECTORS {
                unsafe { sums[c][v].store(out.as_mut_ptr().add(c * self.tiles.channel + tile[v].1)) };
            }
        }
    }
}
