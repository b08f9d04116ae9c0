//! Small matrix products.
#![allow(clippy::needless_range_loop)] // Counted loops are what the compiler unrolls into registers.

use super::tile::pieces;
use crate::simd::{Float, Isa, LANES, Lanes, wide};

/// Columns of a panel: two vectors, or one of a wide instruction set.
pub(super) const PANEL: usize = 2 * LANES;

/// `target[i][j] = sum over k of left[i][k] * right[k][j]`, or added to what is there. All distances are
/// between numbers; columns are neighbours within a panel.
pub(super) struct Product<T> {
    pub left: *const T,
    pub left_row: usize,
    pub left_column: usize,
    pub right: *const T,
    pub right_row: usize,
    /// Between the panels of `right`.
    pub right_panel: usize,
    pub target: *mut T,
    pub target_row: usize,
    /// Between the panels of `target`.
    pub target_panel: usize,
    pub rows: usize,
    pub depth: usize,
    /// Whole panels, or [`LANES`].
    pub columns: usize,
}

impl<T: Float> Product<T> {
    /// # Safety
    /// All of `left` and `right` must be readable, all of `target` writable and, to `ADD`, readable.
    #[inline(always)]
    pub unsafe fn run<I: Isa, const ADD: bool>(&self) {
        unsafe { cover::<I, T>(&Part::<T, ADD>(self), self.rows, self.columns) }
    }
}

struct Part<'a, T, const ADD: bool>(&'a Product<T>);

impl<T: Float, const ADD: bool> Tiled<T> for Part<'_, T, ADD> {
    #[inline(always)]
    unsafe fn tile<I: Isa, const N: usize, const VECTORS: usize, const ROWS: usize>(
        &self,
        row: usize,
        panel: usize,
    ) {
        let product = self.0;
        let mut sums = [[Lanes::<T, N>::ZERO; VECTORS]; ROWS];
        unsafe {
            let left = product.left.add(row * product.left_row);
            let right = product.right.add(panel * product.right_panel);
            let target = product.target.add(row * product.target_row + panel * product.target_panel);
            let place =
                |i: usize, v: usize| target.add(i * product.target_row + start::<N>(v, product.target_panel));
            for i in 0..ROWS {
                for v in 0..VECTORS {
                    if ADD {
                        sums[i][v] = Lanes::load(place(i, v));
                    } else {
                        // It comes while the sums are made.
                        I::prefetch(place(i, v));
                    }
                }
            }
            let mut lefts = [left; ROWS];
            for i in 0..ROWS {
                lefts[i] = left.add(i * product.left_row);
            }
            let factors = Factors {
                lefts,
                left_column: product.left_column,
                right,
                right_row: product.right_row,
                right_panel: product.right_panel,
                depth: product.depth,
            };
            factors.add_to::<I, N, VECTORS>(&mut sums);
            for i in 0..ROWS {
                for v in 0..VECTORS {
                    sums[i][v].store(place(i, v));
                }
            }
        }
    }
}

/// Where a vector of `N` columns starts behind the first one of its tile.
#[inline(always)]
pub(super) fn start<const N: usize>(vector: usize, panel: usize) -> usize {
    match N {
        PANEL => vector * panel,
        _ => vector * N,
    }
}

/// Sums whose rows and columns are cut into tiles that stay in registers.
pub(super) trait Tiled<T> {
    /// `ROWS` rows from `row` on of `VECTORS` vectors of `N` columns: some panels from `panel` on, or a part of it.
    ///
    /// # Safety
    /// Rows and columns must be there.
    unsafe fn tile<I: Isa, const N: usize, const VECTORS: usize, const ROWS: usize>(
        &self,
        row: usize,
        panel: usize,
    );
}

/// Every row of every column once. `columns` are whole panels, or [`LANES`].
///
/// Six rows of two vectors: twelve sums, two vectors on the right and one number on the left take 15 of the 16
/// registers of AVX2. A wide instruction set has 32: 24 sums of up to four panels.
///
/// # Safety
/// There must be so many rows and columns.
#[inline(always)]
pub(super) unsafe fn cover<I: Isa, T: Float>(tiled: &impl Tiled<T>, rows: usize, columns: usize) {
    unsafe {
        if columns < PANEL {
            return some_rows::<I, T, LANES, 1, 6>(tiled, rows, 0);
        }
        let panels = columns / PANEL;
        if !wide::<I, T>() {
            // No closure: it would be compiled without the instruction set.
            for panel in 0..panels {
                some_rows::<I, T, LANES, 2, 6>(tiled, rows, panel);
            }
            return;
        }
        for part in pieces(panels, 4) {
            match part.len() {
                1 => some_rows::<I, T, PANEL, 1, 8>(tiled, rows, part.start),
                2 => some_rows::<I, T, PANEL, 2, 8>(tiled, rows, part.start),
                3 => some_rows::<I, T, PANEL, 3, 8>(tiled, rows, part.start),
                _ => some_rows::<I, T, PANEL, 4, 6>(tiled, rows, part.start),
            }
        }
    }
}

/// All rows of some columns, at most `MOST` at a time, which are 6 or 8.
#[inline(always)]
unsafe fn some_rows<I: Isa, T: Float, const N: usize, const VECTORS: usize, const MOST: usize>(
    tiled: &impl Tiled<T>,
    rows: usize,
    panel: usize,
) {
    for piece in pieces(rows, MOST) {
        let row = piece.start;
        unsafe {
            match piece.len() {
                1 => tiled.tile::<I, N, VECTORS, 1>(row, panel),
                2 => tiled.tile::<I, N, VECTORS, 2>(row, panel),
                3 => tiled.tile::<I, N, VECTORS, 3>(row, panel),
                4 => tiled.tile::<I, N, VECTORS, 4>(row, panel),
                5 => tiled.tile::<I, N, VECTORS, 5>(row, panel),
                6 => tiled.tile::<I, N, VECTORS, 6>(row, panel),
                7 if MOST > 6 => tiled.tile::<I, N, VECTORS, 7>(row, panel),
                _ if MOST > 6 => tiled.tile::<I, N, VECTORS, 8>(row, panel),
                _ => unreachable!("pieces of at most {MOST}"),
            }
        }
    }
}

/// What the sums of a tile are made of.
pub(super) struct Factors<T, const ROWS: usize> {
    /// The first number of every row.
    pub lefts: [*const T; ROWS],
    pub left_column: usize,
    pub right: *const T,
    pub right_row: usize,
    pub right_panel: usize,
    pub depth: usize,
}

impl<T: Float, const ROWS: usize> Factors<T, ROWS> {
    /// # Safety
    /// All that is said must be readable.
    #[inline(always)]
    pub unsafe fn add_to<I: Isa, const N: usize, const VECTORS: usize>(
        &self,
        sums: &mut [[Lanes<T, N>; VECTORS]; ROWS],
    ) {
        for k in 0..self.depth {
            unsafe {
                let mut right = [Lanes::<T, N>::ZERO; VECTORS];
                for v in 0..VECTORS {
                    let place = k * self.right_row + start::<N>(v, self.right_panel);
                    right[v] = Lanes::load(self.right.add(place));
                }
                for i in 0..ROWS {
                    let factor = Lanes::splat(*self.lefts[i].add(k * self.left_column));
                    for v in 0..VECTORS {
                        sums[i][v] = right[v].mul_add::<I>(factor, sums[i][v]);
                    }
                }
            }
        }
    }
}
