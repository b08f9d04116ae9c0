//! Correlation of padded planes with a list of taps: the heart of the forward pass and of the
//! gradient of the input.
//!
//! Rows shorter than a vector are computed across their ends; the columns that fall between two rows are
//! thrown away.

use super::planes::{Planes, copy};
use super::tile::{BLOCK, Job, PackedWeights, Tiles, blocks};
use crate::parallel;
use crate::simd::{Float, Isa, Kernel, LANES, WIDE_LANES, dispatch, will_be_wide};

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

impl<T: Float> Correlator<'_, T> {
    /// The target of one sample, from its source.
    pub fn sample(&self, tiles: &Tiles, source: &[T], target: &mut [T]) {
        let planes_len = self.planes.len(self.channels);
        parallel::with_scratch(planes_len + BLOCK * tiles.channel, |scratch| {
            let (planes, results) = scratch.split_at_mut(planes_len);
            dispatch(Sample { correlator: self, tiles, source, planes, results, target })
        });
    }

    /// Row by row where that takes no more vectors than running across the row ends.
    pub fn tiles(&self) -> Tiles {
        let (rows, columns) = self.result;
        let stride = self.planes.columns;
        let length = if rows == 0 { 0 } else { (rows - 1) * stride + columns };
        let wide = will_be_wide::<T>() && length >= 4 * WIDE_LANES;
        let lanes = if wide { WIDE_LANES } else { LANES };
        let flat = length.div_ceil(lanes);
        let in_place = self.passes.len() == 1 && self.step == (1, 1) && self.result == self.target;
        if in_place && columns == stride && length >= lanes {
            let starts = (0..flat).map(|v| (v * lanes).min(length - lanes)).map(|p| (p, p));
            return Tiles { lanes, starts: starts.collect(), direct: true, channel: rows * columns };
        }
        if in_place && columns >= lanes && rows * columns.div_ceil(lanes) <= flat + flat / 8 {
            let vectors = (0..columns.div_ceil(lanes)).map(|v| (v * lanes).min(columns - lanes));
            let starts =
                (0..rows).flat_map(|r| vectors.clone().map(move |q| (r * stride + q, r * columns + q)));
            return Tiles { lanes, starts: starts.collect(), direct: true, channel: rows * columns };
        }
        let starts = (0..flat).map(|v| (v * lanes, v * lanes)).collect();
        Tiles { lanes, starts, direct: false, channel: flat * lanes }
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
        let job = Job {
            planes,
            channels: c.channels,
            channel: c.planes.channel_len(),
            taps: &pass.taps,
            packed,
            bias,
            tiles,
        };
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
        copy(&source[..length], &mut target[..length]);
    } else {
        for (to, from) in target.iter_mut().step_by(step).zip(source) {
            *to = *from;
        }
    }
}
