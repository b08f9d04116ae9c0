//! Non-overlapping windows of 2x2 pixels, eight at a time.

use crate::reduce::load;
use crate::simd::{Float, Isa, LANES, Lanes, WIDE_LANES};

/// Windows in half a vector.
pub(crate) const HALF: usize = LANES / 2;

/// Four windows from each of two places on, in a row of windows. They are neighbours in rows of at least eight.
#[derive(Clone, Copy)]
pub(crate) struct Eight {
    places: [usize; 2],
    /// Of each four, how many came before: at the end of a row they overlap.
    repeated: [usize; 2],
}

/// All windows of a row of at least [`HALF`].
#[inline(always)]
pub(crate) fn eights(windows: usize) -> impl Iterator<Item = Eight> {
    (0..windows).step_by(LANES).map(move |step| {
        let first = step.min(windows.saturating_sub(LANES));
        let places = [first, (first + HALF).min(windows - HALF)];
        let before = |place: usize, end: usize| (end - place).min(HALF);
        Eight { places, repeated: [before(first, step), before(places[1], step.max(first + HALF))] }
    })
}

/// Of eight windows, their four pixels each, in reading order.
pub(crate) type Pixels<T> = [Lanes<T>; 4];

impl Eight {
    /// The pixels, from two rows of them.
    #[inline(always)]
    pub fn load<I: Isa, T: Float>(self, rows: [&[T]; 2]) -> Pixels<T> {
        let [upper, lower] = rows;
        let [p, q] = self.places;
        let [a, b] = I::unzip([load(&upper[2 * p..]), load(&upper[2 * q..])]);
        let [c, d] = I::unzip([load(&lower[2 * p..]), load(&lower[2 * q..])]);
        [a, b, c, d]
    }

    #[inline(always)]
    pub fn store<I: Isa, T: Float>(self, [a, b, c, d]: Pixels<T>, rows: [&mut [T]; 2]) {
        let [upper, lower] = rows;
        for (row, pixels) in [(upper, [a, b]), (lower, [c, d])] {
            let [first, second] = I::zip(pixels);
            first.store_to(&mut row[2 * self.places[0]..][..LANES]);
            second.store_to(&mut row[2 * self.places[1]..][..LANES]);
        }
    }

    /// The pixels of a row, in their order. `WHOLE` in rows of at least eight windows.
    #[inline(always)]
    pub fn load_row<I: Isa, T: Float, const WHOLE: bool>(self, row: &[T]) -> Lanes<T, WIDE_LANES> {
        let [p, q] = self.places;
        match WHOLE {
            true => Lanes::from_array(*row[2 * p..].first_chunk().expect("sixteen pixels")),
            false => I::join([load(&row[2 * p..]), load(&row[2 * q..])]),
        }
    }

    /// The reverse of [`Self::load_row`].
    #[inline(always)]
    pub fn store_row<I: Isa, T: Float, const WHOLE: bool>(self, pixels: Lanes<T, WIDE_LANES>, row: &mut [T]) {
        let [p, q] = self.places;
        if WHOLE {
            *row[2 * p..].first_chunk_mut().expect("sixteen pixels") = pixels.to_array();
            return;
        }
        let [first, second] = I::split(pixels);
        first.store_to(&mut row[2 * p..][..LANES]);
        second.store_to(&mut row[2 * q..][..LANES]);
    }

    /// One number of each window, from a row of them.
    #[inline(always)]
    pub fn load_one<T: Float, const WHOLE: bool>(self, row: &[T]) -> Lanes<T> {
        let [p, q] = self.places;
        if WHOLE {
            return load(&row[p..]);
        }
        let mut both = [T::ZERO; LANES];
        both[..HALF].copy_from_slice(&row[p..][..HALF]);
        both[HALF..].copy_from_slice(&row[q..][..HALF]);
        Lanes::from_array(both)
    }

    #[inline(always)]
    pub fn store_one<T: Float, const WHOLE: bool>(self, one: Lanes<T>, row: &mut [T]) {
        let ([p, q], both) = (self.places, one.to_array());
        if WHOLE {
            *row[p..].first_chunk_mut().expect("eight windows") = both;
            return;
        }
        row[p..][..HALF].copy_from_slice(&both[..HALF]);
        row[q..][..HALF].copy_from_slice(&both[HALF..]);
    }

    /// Zero for windows that were in a piece before, so that sums have every window once.
    #[inline(always)]
    pub fn fresh<I: Isa, T: Float>(self, one: Lanes<T>) -> Lanes<T> {
        let places = [LANES - self.repeated[0], LANES - self.repeated[1]];
        I::gate(Eight { places, ..self }.load_one::<T, false>(T::STEP), one)
    }
}

/// The maximum of each window.
#[inline(always)]
pub(crate) fn maximum<I: Isa, T: Float>([a, b, c, d]: Pixels<T>) -> Lanes<T> {
    I::larger(I::larger(I::larger(a, b), c), d)
}

/// For every pixel the part of its window's gradient: all of it for the first maximum, or a NaN.
#[inline(always)]
pub(crate) fn route<I: Isa, T: Float>([a, b, c, d]: Pixels<T>, dy: Lanes<T>) -> Pixels<T> {
    let best_of_two = I::larger(a, b);
    let best_of_three = I::larger(best_of_two, c);
    // From the last pixel to the first: whoever beats those before takes what is left.
    let [dd, left] = I::take(d, best_of_three, dy);
    let [dc, left] = I::take(c, best_of_two, left);
    let [db, da] = I::take(b, a, left);
    [da, db, dc, dd]
}
