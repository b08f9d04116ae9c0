//! Small matrix products.
#![allow(clippy::needless_range_loop)] // Counted loops are what the compiler unrolls into registers.

use super::tile::blocks;
use crate::simd::{Float, Isa, LANES, Lanes};

/// Columns of a panel: two vectors.
pub(super) const PANEL: usize = 2 * LANES;

/// `target[i][j] = sum over k of left[i][k] * right[k][j]`, or added to what is there. All distances are
/// between numbers; the columns of `target` are neighbours, those of `right` within a vector.
pub(super) struct Product<T> {
    pub left: *const T,
    pub left_row: usize,
    pub left_column: usize,
    pub right: *const T,
    pub right_row: usize,
    /// Between the two vectors of a row of `right`.
    pub right_vector: usize,
    pub target: *mut T,
    pub target_row: usize,
    pub rows: usize,
    pub depth: usize,
    /// [`PANEL`] or [`LANES`].
    pub columns: usize,
}

impl<T: Float> Product<T> {
    /// # Safety
    /// All of `left` and `right` must be readable, all of `target` writable and, to `ADD`, readable.
    #[inline(always)]
    pub unsafe fn run<I: Isa, const ADD: bool>(&self) {
        for block in blocks(self.rows) {
            let (row, count) = (block.start, block.len());
            unsafe {
                if self.columns == PANEL {
                    self.block::<I, 2, ADD>(row, count);
                } else {
                    self.block::<I, 1, ADD>(row, count);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn block<I: Isa, const VECTORS: usize, const ADD: bool>(&self, row: usize, count: usize) {
        unsafe {
            match count {
                1 => self.tile::<I, 1, VECTORS, ADD>(row),
                2 => self.tile::<I, 2, VECTORS, ADD>(row),
                3 => self.tile::<I, 3, VECTORS, ADD>(row),
                4 => self.tile::<I, 4, VECTORS, ADD>(row),
                5 => self.tile::<I, 5, VECTORS, ADD>(row),
                _ => self.tile::<I, 6, VECTORS, ADD>(row),
            }
        }
    }

    /// Six rows of two vectors: twelve sums, two vectors of `right` and one number of `left` take 15 of the
    /// 16 registers of AVX2.
    #[inline(always)]
    unsafe fn tile<I: Isa, const ROWS: usize, const VECTORS: usize, const ADD: bool>(&self, row: usize) {
        let mut sums = [[Lanes::ZERO; VECTORS]; ROWS];
        unsafe {
            let left = self.left.add(row * self.left_row);
            let target = self.target.add(row * self.target_row);
            if ADD {
                for i in 0..ROWS {
                    for v in 0..VECTORS {
                        sums[i][v] = Lanes::load(target.add(i * self.target_row + v * LANES));
                    }
                }
            }
            for k in 0..self.depth {
                let mut right = [Lanes::ZERO; VECTORS];
                for v in 0..VECTORS {
                    right[v] = Lanes::load(self.right.add(k * self.right_row + v * self.right_vector));
                }
                for i in 0..ROWS {
                    let factor = Lanes::splat(*left.add(i * self.left_row + k * self.left_column));
                    for v in 0..VECTORS {
                        sums[i][v] = right[v].mul_add::<I>(factor, sums[i][v]);
                    }
                }
            }
            for i in 0..ROWS {
                for v in 0..VECTORS {
                    sums[i][v].store(target.add(i * self.target_row + v * LANES));
                }
            }
        }
    }
}
