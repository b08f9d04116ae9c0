//! The three matrix products of a fully connected layer, none of which needs a transposed copy.
//!
//! Tiles of 4 by 3 sums keep 12 of the 16 vector registers busy.
#![allow(clippy::needless_range_loop)] // Counted loops are what the compiler unrolls into registers.

use crate::parallel::Shared;
use crate::simd::{Float, Isa, Kernel, LANES, Lanes};
use std::ops::Range;

/// Rows and, for dot products, columns of a tile.
const ROWS: usize = 4;
const COLUMNS: usize = 3;

/// `y[b][o] = bias[o] + x[b] . weight[o]` for rows of `length`.
pub(super) struct Dots<'a, T> {
    pub length: usize,
    pub x: &'a [T],
    pub weight: &'a [T],
    pub bias: Option<&'a [T]>,
    pub y: &'a mut [T],
}

impl<T: Float> Kernel for Dots<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { length, x, weight, bias, y } = self;
        let (samples, outputs) = (x.len() / length, weight.len() / length);
        for sample in (0..samples).step_by(ROWS) {
            for output in (0..outputs).step_by(COLUMNS) {
                // A tile that is not full repeats its last row.
                let mut xs = [x; ROWS];
                let mut weights = [weight; COLUMNS];
                for r in 0..ROWS {
                    xs[r] = &x[(sample + r).min(samples - 1) * length..][..length];
                }
                for c in 0..COLUMNS {
                    weights[c] = &weight[(output + c).min(outputs - 1) * length..][..length];
                }
                let dots = tile::<I, T>(length, xs, weights);
                for r in 0..ROWS.min(samples - sample) {
                    for c in 0..COLUMNS.min(outputs - output) {
                        let bias = bias.map_or(T::ZERO, |bias| bias[output + c]);
                        y[(sample + r) * outputs + output + c] = dots[r][c] + bias;
                    }
                }
            }
        }
    }
}

/// The products of every `x` with every weight, all of `length`.
#[inline(always)]
fn tile<I: Isa, T: Float>(length: usize, xs: [&[T]; ROWS], weights: [&[T]; COLUMNS]) -> [[T; COLUMNS]; ROWS] {
    let mut sums = [[Lanes::ZERO; COLUMNS]; ROWS];
    let whole = length / LANES * LANES;
    // Once for all loads below.
    assert!(xs.iter().chain(&weights).all(|row| row.len() == length));
    for at in (0..whole).step_by(LANES) {
        // SAFETY: `at + LANES <= length`.
        let load = |row: &[T]| unsafe { Lanes::load(row.as_ptr().add(at)) };
        add_products::<I, T>(&mut sums, xs.map(load), weights.map(load));
    }
    if whole < length {
        let rest = |row: &[T]| {
            let mut lanes = [T::ZERO; LANES];
            lanes[..length - whole].copy_from_slice(&row[whole..]);
            Lanes::from_array(lanes)
        };
        add_products::<I, T>(&mut sums, xs.map(rest), weights.map(rest));
    }
    sums.map(|row| row.map(Lanes::sum))
}

#[inline(always)]
fn add_products<I: Isa, T: Float>(
    sums: &mut [[Lanes<T>; COLUMNS]; ROWS],
    xs: [Lanes<T>; ROWS],
    weights: [Lanes<T>; COLUMNS],
) {
    for r in 0..ROWS {
        for c in 0..COLUMNS {
            sums[r][c] = xs[r].mul_add::<I>(weights[c], sums[r][c]);
        }
    }
}

/// A matrix with any distances between rows and columns.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a, T> {
    pub values: &'a [T],
    pub row: usize,
    pub column: usize,
}

/// `target[r][j] = sum over t of factors[r][t] * addends[t][j]` for the columns `own`.
pub(super) struct Sums<'a, T> {
    pub rows: usize,
    pub terms: usize,
    pub columns: usize,
    pub own: Range<usize>,
    pub factors: Matrix<'a, T>,
    pub addends: &'a [T],
    pub target: &'a Shared<T>,
}

impl<T: Float> Kernel for Sums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        // The bounds of the reads in `tile`.
        assert!(
            (self.rows - 1) * self.factors.row + (self.terms - 1) * self.factors.column
                < self.factors.values.len()
        );
        assert!(self.own.end <= self.columns && self.terms * self.columns <= self.addends.len());
        let length = self.own.len();
        for row in (0..self.rows).step_by(ROWS) {
            let mut at = 0;
            while at + 3 * LANES <= length {
                // SAFETY: the assertions above and the condition of the loop.
                unsafe { self.tile::<I, 3>(row, self.own.start + at) };
                at += 3 * LANES;
            }
            while at < length && length >= LANES {
                // The last vector repeats some columns of the one before.
                // SAFETY: the assertions above.
                unsafe { self.tile::<I, 1>(row, self.own.start + at.min(length - LANES)) };
                at += LANES;
            }
            for column in self.own.start + at.min(length)..self.own.end {
                self.single::<I>(row, column);
            }
        }
    }
}

impl<T: Float> Sums<'_, T> {
    /// # Safety
    /// `VECTORS` vectors of columns from `column` on must be among those of this job, and factors and
    /// addends as long as `run` asserts.
    #[inline(always)]
    unsafe fn tile<I: Isa, const VECTORS: usize>(&self, row: usize, column: usize) {
        let last = self.rows - 1;
        let mut sums = [[Lanes::<T>::ZERO; VECTORS]; ROWS];
        let mut factors = [self.factors.values.as_ptr(); ROWS];
        for r in 0..ROWS {
            factors[r] = unsafe { factors[r].add((row + r).min(last) * self.factors.row) };
        }
        for term in 0..self.terms {
            unsafe {
                let addend = self.addends.as_ptr().add(term * self.columns + column);
                let mut lanes = [Lanes::ZERO; VECTORS];
                for v in 0..VECTORS {
                    lanes[v] = Lanes::load(addend.add(v * LANES));
                }
                for r in 0..ROWS {
                    let factor = Lanes::splat(*factors[r].add(term * self.factors.column));
                    for v in 0..VECTORS {
                        sums[r][v] = lanes[v].mul_add::<I>(factor, sums[r][v]);
                    }
                }
            }
        }
        for r in 0..ROWS.min(self.rows - row) {
            let start = (row + r) * self.columns + column;
            // SAFETY: columns of different jobs are disjoint, and a job writes one range at a time.
            let target = unsafe { self.target.range(start..start + VECTORS * LANES) };
            for v in 0..VECTORS {
                unsafe { sums[r][v].store(target.as_mut_ptr().add(v * LANES)) };
            }
        }
    }

    /// One column of up to [`ROWS`] rows.
    #[inline(always)]
    fn single<I: Isa>(&self, row: usize, column: usize) {
        for row in row..self.rows.min(row + ROWS) {
            let factor = |term| self.factors.values[row * self.factors.row + term * self.factors.column];
            let add = |sum, term| I::mul_add(self.addends[term * self.columns + column], factor(term), sum);
            let sum = (0..self.terms).fold(T::ZERO, add);
            let at = row * self.columns + column;
            // SAFETY: as in `tile`.
            unsafe { self.target.range(at..at + 1)[0] = sum };
        }
    }
}

/// The sum of all rows.
pub(super) struct Columns<'a, T> {
    pub columns: usize,
    pub values: &'a [T],
}

impl<T: Float> Kernel for Columns<'_, T> {
    type Output = Vec<T>;

    #[inline(always)]
    fn run<I: Isa>(self) -> Vec<T> {
        let mut sums = vec![T::ZERO; self.columns];
        for row in self.values.chunks_exact(self.columns) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += *value);
        }
        sums
    }
}
