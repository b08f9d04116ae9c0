//! Correlation of padded planes with a list of taps: the heart of the forward pass and of the
//! gradient of the input.
//!
//! Direct convolution, vectorised over neighbouring pixels, with a block of output channels held in
//! registers: each vector of inputs is used for every channel of the block, each weight for every
//! vector of the tile. Rows shorter than a vector are computed across their ends; the columns that
//! fall between two rows are thrown away.
#![allow(clippy::needless_range_loop)] // Counted loops are what the compiler unrolls into registers.

use super::planes::Planes;
use crate::parallel;
use crate::simd::{Float, Isa, Kernel, LANES, Lanes, dispatch};
use std::ops::Range;

/// Most output channels that are computed together.
///
/// Six times two vectors of sums, two vectors of pixels and a weight fill 15 of the 16 registers of AVX2.
/// With all 16 in use the compiler moves sums to memory and back in the innermost loop.
const BLOCK: usize = 6;

/// Cuts channels into blocks of nearly equal size: 16 into 6, 5, 5 and not 6, 6, 4.
fn blocks(channels: usize) -> impl Iterator<Item = Range<usize>> {
    let count = channels.div_ceil(BLOCK);
    (0..count).map(move |i| channels * i / count..channels * (i + 1) / count)
}

/// The weights of one group for one list of taps, in the order in which they are used:
/// for every block of output channels, for every input channel, for every tap, one number a channel.
pub(super) struct PackedWeights<T> {
    values: Vec<T>,
    outputs: usize,
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

/// One correlation: which elements of the planes it reads and where its results go.
pub(super) struct Pass<T> {
    /// Offsets into a channel of the padded planes.
    pub taps: Vec<usize>,
    /// One for every group.
    pub weights: Vec<PackedWeights<T>>,
    /// Result `[r, q]` goes to target element `[row + r * row_step, column + q * column_step]`.
    pub row: isize,
    pub column: isize,
}

/// Correlations over the same padded planes that together fill a target.
pub(super) struct Correlator<'a, T> {
    pub groups: usize,
    /// Channels of a group that are read.
    pub channels: usize,
    /// Channels of a group that are written.
    pub outputs: usize,
    pub planes: Planes,
    /// Rows and columns of the result of a pass.
    pub result: (usize, usize),
    pub passes: Vec<Pass<T>>,
    /// Height and width of the target.
    pub target: (usize, usize),
    /// Distance between results in the target.
    pub step: (usize, usize),
    /// One for every channel that is written.
    pub bias: Option<&'a [T]>,
}

/// Where the vectors of a tile start, in the padded planes and in the result.
struct Tiles {
    starts: Vec<(usize, usize)>,
    /// Results go straight to the target, otherwise to a buffer with the row distance of the planes.
    direct: bool,
    /// Distance between the output channels.
    channel: usize,
}

impl<T: Float> Correlator<'_, T> {
    /// The target of the whole batch, from its source.
    pub fn run(&self, batch: usize, source: &[T]) -> Vec<T> {
        let (from, to) = (source.len() / batch, self.groups * self.outputs * self.target.0 * self.target.1);
        let (tiles, planes_len) = (self.tiles(), self.planes.len(self.channels));
        parallel::build_chunks(batch * to, to, |i, target| {
            let source = &source[i * from..(i + 1) * from];
            parallel::with_scratch(planes_len + BLOCK * tiles.channel, |scratch| {
                let (planes, results) = scratch.split_at_mut(planes_len);
                dispatch(Sample { correlator: self, tiles: &tiles, source, planes, results, target })
            });
        })
    }

    /// Row by row where that takes no more vectors than running across the row ends.
    fn tiles(&self) -> Tiles {
        let (rows, columns) = self.result;
        let stride = self.planes.columns;
        let length = if rows == 0 { 0 } else { (rows - 1) * stride + columns };
        let flat = length.div_ceil(LANES);
        let in_place = self.passes.len() == 1 && self.step == (1, 1) && self.result == self.target;
        if in_place && columns == stride && length >= LANES {
            let starts = (0..flat).map(|v| (v * LANES).min(length - LANES)).map(|p| (p, p));
            return Tiles { starts: starts.collect(), direct: true, channel: rows * columns };
        }
        if in_place && columns >= LANES && rows * columns.div_ceil(LANES) <= flat + flat / 8 {
            let vectors = (0..columns.div_ceil(LANES)).map(|v| (v * LANES).min(columns - LANES));
            let starts =
                (0..rows).flat_map(|r| vectors.clone().map(move |q| (r * stride + q, r * columns + q)));
            return Tiles { starts: starts.collect(), direct: true, channel: rows * columns };
        }
        let starts = (0..flat).map(|v| (v * LANES, v * LANES)).collect();
        Tiles { starts, direct: false, channel: flat * LANES }
    }

    /// Whether every element of the target is the result of some pass.
    fn covers_target(&self) -> bool {
        self.passes.len() == self.step.0 * self.step.1
    }
}

struct Sample<'a, T> {
    correlator: &'a Correlator<'a, T>,
    tiles: &'a Tiles,
    source: &'a [T],
    /// Scratch for the padded planes and for the results of a block.
    planes: &'a mut [T],
    results: &'a mut [T],
    target: &'a mut [T],
}

impl<T: Float> Kernel for Sample<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { correlator: c, tiles, source, planes, results, target } = self;
        if !c.covers_target() {
            target.fill(T::ZERO);
        }
        if tiles.starts.is_empty() {
            return; // No element of the source is ever read.
        }
        let sources = source.chunks_exact(source.len() / c.groups);
        let targets = target.chunks_exact_mut(target.len() / c.groups);
        for (group, (source, target)) in sources.zip(targets).enumerate() {
            c.planes.gather(source, planes);
            for pass in &c.passes {
                group_pass::<I, T>(c, tiles, pass, group, planes, results, target);
            }
        }
    }
}

/// One pass over one group of one sample.
#[inline(always)]
fn group_pass<I: Isa, T: Float>(
    c: &Correlator<'_, T>,
    tiles: &Tiles,
    pass: &Pass<T>,
    group: usize,
    planes: &[T],
    results: &mut [T],
    target: &mut [T],
) {
    let weights = &pass.weights[group];
    let plane = c.target.0 * c.target.1;
    for block in blocks(weights.outputs) {
        let (first, size) = (block.start, block.len());
        let mut bias = [T::ZERO; BLOCK];
        if let Some(values) = c.bias {
            bias[..size].copy_from_slice(&values[group * c.outputs + first..][..size]);
        }
        let packed = &weights.values[first * c.channels * pass.taps.len()..];
        let target = &mut target[first * plane..(first + size) * plane];
        let job =
            Job { planes, channels: c.channels, channel: c.planes.channel_len(), pass, packed, bias, tiles };
        if tiles.direct {
            job.block::<I>(size, target);
            continue;
        }
        job.block::<I>(size, results);
        for (result, target) in results.chunks_exact(tiles.channel).zip(target.chunks_exact_mut(plane)) {
            scatter(c, pass, result, target);
        }
    }
}

/// Copies one channel's results from the buffer to their places, dropping what lies outside.
#[inline(always)]
fn scatter<T: Float>(c: &Correlator<'_, T>, pass: &Pass<T>, result: &[T], target: &mut [T]) {
    let (height, width) = c.target;
    let (row_step, column_step) = c.step;
    for r in 0..c.result.0 {
        let row = pass.row + (r * row_step) as isize;
        if row < 0 || row >= height as isize {
            continue;
        }
        let result = &result[r * c.planes.columns..][..c.result.1];
        let target = &mut target[row as usize * width..][..width];
        // Results before the first column of the target.
        let skip = (-pass.column).max(0) as usize;
        let skip = skip.div_ceil(column_step);
        let column = (pass.column + (skip * column_step) as isize) as usize;
        if skip >= result.len() || column >= width {
            continue;
        }
        copy_to_every(&result[skip..], &mut target[column..], column_step);
    }
}

#[inline(always)]
fn copy_to_every<T: Float>(source: &[T], target: &mut [T], step: usize) {
    if step == 1 {
        let length = source.len().min(target.len());
        target[..length].copy_from_slice(&source[..length]);
    } else {
        for (to, from) in target.iter_mut().step_by(step).zip(source) {
            *to = *from;
        }
    }
}

/// The work on one block of output channels.
struct Job<'a, T> {
    planes: &'a [T],
    channels: usize,
    /// Distance between the input channels.
    channel: usize,
    pass: &'a Pass<T>,
    packed: &'a [T],
    bias: [T; BLOCK],
    tiles: &'a Tiles,
}

impl<T: Float> Job<'_, T> {
    /// Vectors a tile are chosen so that the accumulators nearly fill the 16 registers.
    #[inline(always)]
    fn block<I: Isa>(&self, size: usize, out: &mut [T]) {
        match size {
            1 if self.tiles.starts.len() > 4 => self.all_tiles::<I, 1, 8>(out),
            1 => self.all_tiles::<I, 1, 4>(out),
            2 => self.all_tiles::<I, 2, 4>(out),
            3 => self.all_tiles::<I, 3, 3>(out),
            4 => self.all_tiles::<I, 4, 2>(out),
            5 => self.all_tiles::<I, 5, 2>(out),
            _ => self.all_tiles::<I, BLOCK, 2>(out),
        }
    }

    #[inline(always)]
    fn all_tiles<I: Isa, const CHANNELS: usize, const VECTORS: usize>(&self, out: &mut [T]) {
        let starts = &self.tiles.starts;
        let taps = &self.pass.taps;
        let reach = taps.iter().max().unwrap_or(&0) + starts.iter().map(|s| s.0).max().unwrap_or(0);
        // The bounds of all reads and writes below, once a block instead of once a vector.
        assert!((self.channels - 1) * self.channel + reach + LANES <= self.planes.len());
        assert!(self.packed.len() >= self.channels * taps.len() * CHANNELS);
        let last = starts.iter().map(|s| s.1).max().unwrap_or(0);
        assert!((CHANNELS - 1) * self.tiles.channel + last + LANES <= out.len());
        for first in (0..starts.len()).step_by(VECTORS) {
            // A tile that is not full repeats its last vector.
            let mut tile = [(0, 0); VECTORS];
            for v in 0..VECTORS {
                tile[v] = starts[(first + v).min(starts.len() - 1)];
            }
            // SAFETY: the assertions above.
            unsafe { self.tile::<I, CHANNELS, VECTORS>(tile, out) };
        }
    }

    /// # Safety
    /// Every read of the planes and the weights and every write of `out` must be in bounds.
    #[inline(always)]
    unsafe fn tile<I: Isa, const CHANNELS: usize, const VECTORS: usize>(
        &self,
        tile: [(usize, usize); VECTORS],
        out: &mut [T],
    ) {
        let mut sums = [[Lanes::ZERO; VECTORS]; CHANNELS];
        for c in 0..CHANNELS {
            sums[c] = [Lanes::splat(self.bias[c]); VECTORS];
        }
        let mut weight = self.packed.as_ptr();
        for channel in 0..self.channels {
            for &tap in &self.pass.taps {
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
