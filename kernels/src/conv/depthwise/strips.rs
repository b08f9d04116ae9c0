//! The inner loops for stride 1 without dilation: a strip of a plane, one vector wide, from top to bottom.
//!
//! Outputs below each other read nearly the same inputs. A tile of them stays in registers while the rows of the input
//! go by, so that an input is read once for every column of the kernel, where tap by tap it is read for every one of its
//! elements as well.
#![allow(clippy::needless_range_loop)] // Counted loops are what the compiler unrolls into registers.

use crate::conv::geometry::{Axis, Geometry};
use crate::conv::product::PANEL;
use crate::simd::{Float, Isa, LANES, Lanes, WIDE_LANES, wide};

/// The edge of a kernel that is computed here, if it is.
pub(super) fn edge(g: &Geometry) -> Option<usize> {
    let dense = |axis: Axis| (axis.stride, axis.dilation) == (1, 1);
    let edge = g.height.kernel;
    let square = edge == g.width.kernel && [3, 5, 7].contains(&edge);
    (square && dense(g.height) && dense(g.width)).then_some(edge)
}

/// A correlation of a padded plane with a square kernel.
pub(super) struct Strips {
    pub edge: usize,
    /// Of the target.
    pub rows: usize,
    pub columns: usize,
    /// Distance between rows of the source.
    pub source_row: usize,
    /// What the first tap of the first output reads.
    pub first: usize,
}

impl Strips {
    /// Vectors of [`PANEL`] lanes and of [`LANES`] in a row. The last one overlaps the one before, or sticks out of a row
    /// that is shorter.
    #[inline(always)]
    fn vectors<I: Isa, T>(&self) -> [usize; 2] {
        let panels =
            if wide::<I, T>() { self.columns / PANEL + usize::from(self.columns % PANEL > LANES) } else { 0 };
        [panels, self.columns.saturating_sub(panels * PANEL).div_ceil(LANES)]
    }

    /// Whether rows are shorter than a vector.
    #[inline(always)]
    pub fn stick_out<I: Isa, T>(&self) -> bool {
        let [panels, _] = self.vectors::<I, T>();
        self.columns < if panels > 0 { PANEL } else { LANES }
    }

    /// Writes `rows` rows of `columns`, and a little behind if they [`Self::stick_out`].
    #[inline(always)]
    pub fn run<I: Isa, T: Float>(&self, source: &[T], weights: &[T], bias: T, target: &mut [T]) {
        match self.edge {
            3 => self.run_edge::<I, T, 3>(source, weights, bias, target),
            5 => self.run_edge::<I, T, 5>(source, weights, bias, target),
            7 => self.run_edge::<I, T, 7>(source, weights, bias, target),
            edge => unreachable!("an edge of {edge}"),
        }
    }

    #[inline(always)]
    fn run_edge<I: Isa, T: Float, const EDGE: usize>(
        &self,
        source: &[T],
        weights: &[T],
        bias: T,
        target: &mut [T],
    ) {
        let [panels, rest] = self.vectors::<I, T>();
        for i in 0..panels {
            let column = (i * PANEL).min(self.columns.saturating_sub(PANEL));
            self.strip::<I, T, PANEL, EDGE>(column, source, weights, bias, target);
        }
        for i in 0..rest {
            let column = (panels * PANEL + i * LANES).min(self.columns.saturating_sub(LANES));
            self.strip::<I, T, LANES, EDGE>(column, source, weights, bias, target);
        }
    }

    #[inline(always)]
    fn strip<I: Isa, T: Float, const N: usize, const EDGE: usize>(
        &self,
        column: usize,
        source: &[T],
        weights: &[T],
        bias: T,
        target: &mut [T],
    ) {
        let (rows, first) = (self.rows, self.first + column);
        // The bounds of all reads and writes below.
        assert!(weights.len() >= EDGE * EDGE && (rows - 1) * self.columns + column + N <= target.len());
        assert!(first + (rows + EDGE - 2) * self.source_row + EDGE - 1 + N <= source.len());
        let place = |row: usize| (first + row * self.source_row, row * self.columns + column);
        // SAFETY: the assertions above.
        unsafe {
            for tile in 0..rows / 8 {
                self.tile::<I, T, N, EDGE, 8>(place(tile * 8), source, weights, bias, target);
            }
            // The last tile overlaps the one before.
            match (rows / 8, rows % 8) {
                (_, 0) => {}
                (1.., 5..) => self.tile::<I, T, N, EDGE, 8>(place(rows - 8), source, weights, bias, target),
                (0, 5..) => {
                    self.tile::<I, T, N, EDGE, 4>(place(0), source, weights, bias, target);
                    self.tile::<I, T, N, EDGE, 4>(place(rows - 4), source, weights, bias, target);
                }
                (1.., _) | (0, 4) => {
                    self.tile::<I, T, N, EDGE, 4>(place(rows - 4), source, weights, bias, target);
                }
                (0, _) => {
                    for row in 0..rows {
                        self.tile::<I, T, N, EDGE, 1>(place(row), source, weights, bias, target);
                    }
                }
            }
        }
    }

    /// # Safety
    /// Every read and write must be in bounds.
    #[inline(always)]
    unsafe fn tile<I: Isa, T: Float, const N: usize, const EDGE: usize, const ROWS: usize>(
        &self,
        (from, to): (usize, usize),
        source: &[T],
        weights: &[T],
        bias: T,
        target: &mut [T],
    ) {
        let (source, weights) = (unsafe { source.as_ptr().add(from) }, weights.as_ptr());
        let target = unsafe { target.as_mut_ptr().add(to) };
        let mut sums = [Lanes::<T, N>::splat(bias); ROWS];
        for kx in 0..EDGE {
            let mut column = [Lanes::<T, N>::ZERO; EDGE];
            for ky in 0..EDGE {
                column[ky] = Lanes::splat(unsafe { *weights.add(ky * EDGE + kx) });
            }
            for r in 0..ROWS + EDGE - 1 {
                let x = unsafe { Lanes::<T, N>::load(source.add(r * self.source_row + kx)) };
                for ky in 0..EDGE {
                    if ky <= r && r - ky < ROWS {
                        sums[r - ky] = x.mul_add::<I>(column[ky], sums[r - ky]);
                    }
                }
            }
        }
        for r in 0..ROWS {
            unsafe { sums[r].store(target.add(r * self.columns)) };
        }
    }
}

/// The products of a plane of gradients with what a square kernel reads of the padded input.
pub(super) struct StripProducts {
    pub edge: usize,
    /// Of the gradients; columns are whole vectors, with zeros in those that are none.
    pub rows: usize,
    pub columns: usize,
    pub x_row: usize,
    /// What the first tap of the first gradient reads.
    pub x_first: usize,
    pub dy_row: usize,
    /// The first gradient.
    pub first: usize,
}

impl StripProducts {
    /// Adds to `sums`, one for every tap.
    #[inline(always)]
    pub fn add_to<I: Isa, T: Float>(&self, x: &[T], dy: &[T], sums: &mut [Lanes<T>]) {
        // The bounds of all reads below.
        let end = |row: usize, rows: usize| (rows - 1) * row + self.columns;
        assert!(self.x_first + end(self.x_row, self.rows + self.edge - 1) + self.edge - 1 <= x.len());
        assert!(self.first + end(self.dy_row, self.rows) <= dy.len());
        assert!(self.columns.is_multiple_of(LANES) && sums.len() == self.edge * self.edge);
        // SAFETY: the assertions above. About nine sums at a time: enough not to wait for one another, and few enough
        // for 16 registers. A wide instruction set has 32.
        unsafe {
            match self.edge {
                3 => self.some::<I, T, 3, 3>(0, x, dy, sums),
                5 if wide::<I, T>() => self.some::<I, T, 5, 5>(0, x, dy, sums),
                5 => {
                    self.some::<I, T, 5, 2>(0, x, dy, sums);
                    self.some::<I, T, 5, 2>(2, x, dy, sums);
                    self.some::<I, T, 5, 1>(4, x, dy, sums);
                }
                7 => (0..7).for_each(|kx| self.some::<I, T, 7, 1>(kx, x, dy, sums)),
                edge => unreachable!("an edge of {edge}"),
            }
        }
    }

    /// `COLUMNS` columns of the kernel, from `kx` on.
    ///
    /// # Safety
    /// Every read must be in bounds.
    #[inline(always)]
    unsafe fn some<I: Isa, T: Float, const EDGE: usize, const COLUMNS: usize>(
        &self,
        kx: usize,
        x: &[T],
        dy: &[T],
        sums: &mut [Lanes<T>],
    ) {
        // Every other vector of a row in a sum of its own: two together are one of a wide instruction set.
        let vectors = self.columns / LANES;
        let mut halves = [[[Lanes::ZERO; EDGE]; COLUMNS]; 2];
        unsafe {
            let (x, dy) = (x.as_ptr().add(self.x_first + kx), dy.as_ptr().add(self.first));
            if wide::<I, T>() {
                let mut both = [[Lanes::<T, WIDE_LANES>::ZERO; EDGE]; COLUMNS];
                for pair in 0..vectors / 2 {
                    let column = pair * WIDE_LANES;
                    self.rows::<I, T, WIDE_LANES, EDGE, COLUMNS>(x.add(column), dy.add(column), &mut both);
                }
                for i in 0..COLUMNS {
                    for ky in 0..EDGE {
                        [halves[0][i][ky], halves[1][i][ky]] = I::split(both[i][ky]);
                    }
                }
                if vectors % 2 == 1 {
                    let column = (vectors - 1) * LANES;
                    self.rows::<I, T, LANES, EDGE, COLUMNS>(x.add(column), dy.add(column), &mut halves[0]);
                }
            } else {
                for half in 0..2 {
                    for vector in (half..vectors).step_by(2) {
                        let (x, dy) = (x.add(vector * LANES), dy.add(vector * LANES));
                        self.rows::<I, T, LANES, EDGE, COLUMNS>(x, dy, &mut halves[half]);
                    }
                }
            }
        }
        for i in 0..COLUMNS {
            for ky in 0..EDGE {
                let sum = &mut sums[ky * EDGE + kx + i];
                *sum = I::add_lanes(I::add_lanes(*sum, halves[0][i][ky]), halves[1][i][ky]);
            }
        }
    }

    /// A vector of every row.
    ///
    /// # Safety
    /// Every read must be in bounds.
    #[inline(always)]
    unsafe fn rows<I: Isa, T: Float, const N: usize, const EDGE: usize, const COLUMNS: usize>(
        &self,
        x: *const T,
        dy: *const T,
        sums: &mut [[Lanes<T, N>; EDGE]; COLUMNS],
    ) {
        let mut row = 0;
        unsafe {
            while row + 4 <= self.rows {
                self.tile::<I, T, N, EDGE, COLUMNS, 4>(row, x, dy, sums);
                row += 4;
            }
            while row < self.rows {
                self.tile::<I, T, N, EDGE, COLUMNS, 1>(row, x, dy, sums);
                row += 1;
            }
        }
    }

    /// # Safety
    /// Every read must be in bounds.
    #[inline(always)]
    unsafe fn tile<
        I: Isa,
        T: Float,
        const N: usize,
        const EDGE: usize,
        const COLUMNS: usize,
        const ROWS: usize,
    >(
        &self,
        row: usize,
        x: *const T,
        dy: *const T,
        sums: &mut [[Lanes<T, N>; EDGE]; COLUMNS],
    ) {
        let mut gradients = [Lanes::<T, N>::ZERO; ROWS];
        for r in 0..ROWS {
            gradients[r] = unsafe { Lanes::load(dy.add((row + r) * self.dy_row)) };
        }
        for r in 0..ROWS + EDGE - 1 {
            for i in 0..COLUMNS {
                let x = unsafe { Lanes::<T, N>::load(x.add((row + r) * self.x_row + i)) };
                for ky in 0..EDGE {
                    if ky <= r && r - ky < ROWS {
                        sums[i][ky] = gradients[r - ky].mul_add::<I>(x, sums[i][ky]);
                    }
                }
            }
        }
    }
}
