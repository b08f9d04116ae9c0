//! The inner loops: a list of taps over the vectors of a plane, where [`strips`](super::strips) do not apply.
#![allow(clippy::needless_range_loop)] // Counted loops are what the compiler unrolls into registers.

use super::strips::{StripProducts, Strips};
use crate::conv::planes::copy;
use crate::simd::{Float, Isa, LANES, Lanes};

/// Where the vectors of a plane start in source and target.
///
/// A last vector that would stick out of its row starts earlier and repeats some columns. A row shorter
/// than a vector sticks out all the same: the next row overwrites what is too much.
pub(super) fn vectors(
    (rows, columns): (usize, usize),
    source_row: usize,
    target_row: usize,
) -> Vec<(usize, usize)> {
    let last = columns.saturating_sub(LANES);
    let starts = move |r| (0..columns.div_ceil(LANES)).map(move |v| (r, (v * LANES).min(last)));
    (0..rows).flat_map(starts).map(|(r, q)| (r * source_row + q, r * target_row + q)).collect()
}

/// A weighted sum of elements of the source for every element of a plane.
pub(super) enum Correlation {
    Strips(Strips),
    Taps(Taps),
}

impl Correlation {
    /// Writes a plane. `spare` takes the results of rows shorter than a vector.
    #[inline(always)]
    pub fn plane<I: Isa, T: Float>(
        &self,
        source: &[T],
        weights: &[T],
        bias: T,
        spare: &mut [T],
        target: &mut [T],
    ) {
        let sticks_out = match self {
            Self::Strips(strips) => strips.stick_out::<I, T>(),
            Self::Taps(taps) => taps.columns < LANES,
        };
        if sticks_out {
            self.run::<I, T>(source, weights, bias, spare);
            let length = target.len();
            copy(&spare[..length], target);
        } else {
            self.run::<I, T>(source, weights, bias, target);
        }
    }

    /// Writes a plane, and a little behind if rows are shorter than a vector.
    #[inline(always)]
    pub fn run<I: Isa, T: Float>(&self, source: &[T], weights: &[T], bias: T, target: &mut [T]) {
        match self {
            Self::Strips(strips) => strips.run::<I, T>(source, weights, bias, target),
            Self::Taps(taps) => taps.run::<I, T>(source, weights, bias, target),
        }
    }
}

/// A sum over taps.
pub(super) struct Taps {
    /// Offset of a tap in the source; its weight is the one of the same index.
    taps: Vec<usize>,
    starts: Vec<(usize, usize)>,
    /// Of a row of the target.
    columns: usize,
    /// Elements that the source and the target must have.
    source: usize,
    target: usize,
}

impl Taps {
    /// The sum over `taps` for a plane of `extent`, row below row in the target.
    pub fn new(taps: Vec<usize>, extent: (usize, usize), source_row: usize) -> Self {
        let starts = vectors(extent, source_row, extent.1);
        let reach = taps.iter().max().copied().unwrap_or(0);
        let source = starts.iter().map(|s| s.0 + reach + LANES).max().unwrap_or(0);
        let target = starts.iter().map(|s| s.1 + LANES).max().unwrap_or(0);
        Self { taps, starts, columns: extent.1, source, target }
    }

    #[inline(always)]
    fn run<I: Isa, T: Float>(&self, source: &[T], weights: &[T], bias: T, target: &mut [T]) {
        // The bounds of all reads and writes below, once a plane instead of once a vector.
        assert!(self.source <= source.len() && self.target <= target.len());
        assert!(weights.len() >= self.taps.len());
        let mut starts = self.starts.chunks_exact(8);
        for tile in &mut starts {
            // SAFETY: the assertions above.
            unsafe { self.tile::<I, T, 8>(tile, source, weights, bias, target) };
        }
        for tile in starts.remainder().chunks(4) {
            // SAFETY: the assertions above.
            unsafe { self.tile::<I, T, 4>(tile, source, weights, bias, target) };
        }
    }

    /// At most `VECTORS` vectors; a tile that is not full repeats its last one.
    ///
    /// # Safety
    /// Source, weights and target must be as long as `run` asserts.
    #[inline(always)]
    unsafe fn tile<I: Isa, T: Float, const VECTORS: usize>(
        &self,
        starts: &[(usize, usize)],
        source: &[T],
        weights: &[T],
        bias: T,
        target: &mut [T],
    ) {
        let mut tile = [(0, 0); VECTORS];
        for v in 0..VECTORS {
            tile[v] = starts[v.min(starts.len() - 1)];
        }
        let mut sums = [Lanes::<T>::splat(bias); VECTORS];
        for (t, &tap) in self.taps.iter().enumerate() {
            unsafe {
                let weight = Lanes::splat(*weights.get_unchecked(t));
                let at = source.as_ptr().add(tap);
                for v in 0..VECTORS {
                    sums[v] = Lanes::load(at.add(tile[v].0)).mul_add::<I>(weight, sums[v]);
                }
            }
        }
        for v in 0..VECTORS {
            unsafe { sums[v].store(target.as_mut_ptr().add(tile[v].1)) };
        }
    }
}

/// The products of a plane of gradients with the input under every tap, summed lane by lane.
pub(super) enum Products {
    Strips(StripProducts),
    Taps(TapProducts),
}

impl Products {
    /// Adds to `sums`, one for every tap.
    #[inline(always)]
    pub fn add_to<I: Isa, T: Float>(&self, x: &[T], dy: &[T], sums: &mut [Lanes<T>]) {
        match self {
            Self::Strips(strips) => strips.add_to::<I, T>(x, dy, sums),
            Self::Taps(taps) => taps.add_to::<I, T>(x, dy, sums),
        }
    }
}

pub(super) struct TapProducts {
    /// Offset of a tap in the input.
    taps: Vec<usize>,
    /// Where a vector starts in the input and in the gradient of the output.
    starts: Vec<(usize, usize)>,
    x: usize,
    dy: usize,
}

impl TapProducts {
    pub fn new(taps: Vec<usize>, starts: Vec<(usize, usize)>) -> Self {
        let reach = taps.iter().max().copied().unwrap_or(0);
        let x = starts.iter().map(|s| s.0 + reach + LANES).max().unwrap_or(0);
        let dy = starts.iter().map(|s| s.1 + LANES).max().unwrap_or(0);
        Self { taps, starts, x, dy }
    }

    #[inline(always)]
    fn add_to<I: Isa, T: Float>(&self, x: &[T], dy: &[T], sums: &mut [Lanes<T>]) {
        // The bounds of all reads below.
        assert!(self.x <= x.len() && self.dy <= dy.len());
        assert_eq!(sums.len(), self.taps.len());
        let mut first = 0;
        while first < self.taps.len() {
            // 3x3 at once, 5x5 in three parts, 1x1 and rows of three without much waste.
            if self.taps.len() - first > 3 {
                // SAFETY: the assertions above.
                unsafe { self.some::<I, T, 9>(first, x, dy, sums) };
                first += 9;
            } else {
                // SAFETY: the assertions above.
                unsafe { self.some::<I, T, 3>(first, x, dy, sums) };
                first += 3;
            }
        }
    }

    /// The taps `first..first + TAPS`, as far as there are any; the last one is repeated for the others.
    ///
    /// # Safety
    /// `x` and `dy` must be as long as `add_to` asserts, and `first` a tap.
    #[inline(always)]
    unsafe fn some<I: Isa, T: Float, const TAPS: usize>(
        &self,
        first: usize,
        x: &[T],
        dy: &[T],
        sums: &mut [Lanes<T>],
    ) {
        let last = self.taps.len() - 1;
        let mut taps = [0; TAPS];
        let mut products = [Lanes::ZERO; TAPS];
        for t in 0..TAPS {
            taps[t] = self.taps[(first + t).min(last)];
            products[t] = sums[(first + t).min(last)];
        }
        for &(at, from) in &self.starts {
            unsafe {
                let dy = Lanes::load(dy.as_ptr().add(from));
                let x = x.as_ptr().add(at);
                for t in 0..TAPS {
                    products[t] = dy.mul_add::<I>(Lanes::load(x.add(taps[t])), products[t]);
                }
            }
        }
        for (sum, product) in sums[first..].iter_mut().zip(products) {
            *sum = product;
        }
    }
}
