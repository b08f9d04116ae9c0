//! Batch normalisation of one channel, ReLU and the maximum of every 2x2 window, in the same passes.
//!
//! The result has a quarter of the values, and the normalised ones are never written: both directions move less
//! than half of the memory that three operations would.

#![allow(clippy::needless_range_loop)] // Counted loops are what the compiler unrolls into registers.

use super::channel::{Affine, Place, Slopes};
use crate::activation::rectify;
use crate::parallel::{self, Shared};
use crate::pool::{HALF, Pixels, eights, maximum, route};
use crate::simd::{Float, Isa, Kernel, LANES, Lanes, WIDE_LANES, dispatch, wide};

/// Planes of an image, and of the same image halved.
#[derive(Clone, Copy)]
pub(crate) struct Halves {
    width: usize,
    /// Rows and columns of windows.
    windows: (usize, usize),
}

/// The maxima of windows of 2x2 pixels after a ReLU, taken of each plane as soon as it is written.
pub(crate) struct Halving<'a, T> {
    halves: Halves,
    pixels: usize,
    maxima: &'a Shared<T>,
}

impl<T: Float> Halving<'_, T> {
    /// Those of images of these dimensions, all of whose planes `work` must have halved.
    pub fn maxima(dims: &[usize], work: impl FnOnce(&Halving<'_, T>)) -> Vec<T> {
        let (halves, pixels) = (Halves::of(dims), dims[2] * dims[3]);
        parallel::build(dims[0] * dims[1] * halves.count(), |maxima| {
            work(&Halving { halves, pixels, maxima: &Shared::new(maxima) });
        })
    }

    /// Some whole planes, the values from number `start` on; every plane must be in one job.
    pub fn halve(&self, start: usize, planes: &[T]) {
        let (first, count) = (start / self.pixels, self.halves.count());
        // SAFETY: a plane has one job.
        let maxima =
            unsafe { self.maxima.range(first * count..(first + planes.len() / self.pixels) * count) };
        dispatch(Halve { halving: self, planes, maxima });
    }
}

struct Halve<'a, T> {
    halving: &'a Halving<'a, T>,
    planes: &'a [T],
    maxima: &'a mut [T],
}

impl<T: Float> Kernel for Halve<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { halving: &Halving { halves, pixels, .. }, planes, maxima } = self;
        for (plane, maxima) in planes.chunks_exact(pixels).zip(maxima.chunks_exact_mut(halves.count())) {
            halves.extremes::<I, T>(true, plane, maxima);
            maxima.iter_mut().for_each(|maximum| *maximum = rectify(*maximum));
        }
    }
}

impl Halves {
    /// Whether images of these dimensions are worked on here: there are planes, and they are not too small.
    pub fn fit(dims: &[usize]) -> bool {
        matches!(*dims, [_, _, h, w] if h >= 2 && w >= 2 * HALF)
    }

    /// `[batch, channels, height, width]`
    pub fn of(dims: &[usize]) -> Self {
        Self { width: dims[3], windows: (dims[2] / 2, dims[3] / 2) }
    }

    /// The dimensions of the result.
    pub fn output(dims: &[usize]) -> [usize; 4] {
        [dims[0], dims[1], dims[2] / 2, dims[3] / 2]
    }

    /// Windows of a plane.
    pub fn count(self) -> usize {
        self.windows.0 * self.windows.1
    }

    /// The maxima of a normalised plane, rectified.
    #[inline(always)]
    pub fn maxima<I: Isa, T: Float>(self, affine: Affine<T>, x: &[T], y: &mut [T]) {
        self.each_window::<I, T>(x, y, |pixels| {
            let best = maximum::<I, T>(affine.pixels::<I>(pixels));
            I::gate(best, best)
        });
    }

    /// What of every window will be its maximum after a normalisation by a positive or a negative factor.
    #[inline(always)]
    pub fn extremes<I: Isa, T: Float>(self, positive: bool, x: &[T], y: &mut [T]) {
        // A normalisation is monotone, and so is its rounding.
        match (positive, self.windows.1 >= LANES) {
            (true, true) => self.signed_extremes::<I, T, true, true>(x, y),
            (true, false) => self.signed_extremes::<I, T, true, false>(x, y),
            (false, true) => self.signed_extremes::<I, T, false, true>(x, y),
            (false, false) => self.signed_extremes::<I, T, false, false>(x, y),
        }
    }

    #[inline(always)]
    fn signed_extremes<I: Isa, T: Float, const POSITIVE: bool, const WHOLE: bool>(
        self,
        x: &[T],
        y: &mut [T],
    ) {
        for (rows, y) in self.pairs(x).zip(y.chunks_exact_mut(self.windows.1)) {
            for eight in eights(self.windows.1) {
                // The rows first, whatever the width of a vector.
                let [left, right] = if wide::<I, T>() {
                    let upper = eight.load_row::<I, T, WHOLE>(rows[0]);
                    let lower = eight.load_row::<I, T, WHOLE>(rows[1]);
                    I::unzip(I::split(extreme::<I, T, WIDE_LANES, POSITIVE>(upper, lower)))
                } else {
                    let [a, b, c, d] = eight.load::<I, T>(rows);
                    [extreme::<I, T, LANES, POSITIVE>(a, c), extreme::<I, T, LANES, POSITIVE>(b, d)]
                };
                eight.store_one::<T, WHOLE>(extreme::<I, T, LANES, POSITIVE>(left, right), y);
            }
        }
    }

    #[inline(always)]
    fn each_window<I: Isa, T: Float>(self, x: &[T], y: &mut [T], value: impl Fn(Pixels<T>) -> Lanes<T>) {
        for (rows, y) in self.pairs(x).zip(y.chunks_exact_mut(self.windows.1)) {
            for eight in eights(self.windows.1) {
                eight.store_one::<T, false>(value(eight.load::<I, T>(rows)), y);
            }
        }
    }

    /// A plane's part of the gradients of beta and of the deviations from the mean.
    #[inline(always)]
    pub fn sums<I: Isa, T: Float>(self, affine: Affine<T>, x: &[T], dy: &[T]) -> (f64, f64) {
        let (mut sum, mut product) = (Lanes::ZERO, Lanes::ZERO);
        for (rows, dy) in self.pairs(x).zip(dy.chunks_exact(self.windows.1)) {
            for eight in eights(self.windows.1) {
                let pixels = eight.load::<I, T>(rows);
                let (gradient, share) = share::<I, T>(affine, pixels, eight.load_one::<T, false>(dy));
                sum = I::add_lanes(sum, eight.fresh::<I, T>(gradient));
                let mut products = Lanes::ZERO;
                for i in 0..4 {
                    products = affine.deviation::<I, LANES>(pixels[i]).mul_add::<I>(share[i], products);
                }
                product = I::add_lanes(product, eight.fresh::<I, T>(products));
            }
        }
        (sum.sum().to_f64(), product.sum().to_f64())
    }

    /// The gradient of a plane's pixels.
    #[inline(always)]
    pub fn gradient<I: Isa, T: Float>(
        self,
        affine: Affine<T>,
        slopes: Slopes<T>,
        (x, dy): (&[T], &[T]),
        dx: &mut [T],
    ) {
        match self.windows.1 >= LANES {
            true => self.rows_gradient::<I, T, true>(affine, slopes, (x, dy), dx),
            false => self.rows_gradient::<I, T, false>(affine, slopes, (x, dy), dx),
        }
    }

    #[inline(always)]
    fn rows_gradient<I: Isa, T: Float, const WHOLE: bool>(
        self,
        affine: Affine<T>,
        slopes: Slopes<T>,
        (x, dy): (&[T], &[T]),
        dx: &mut [T],
    ) {
        // An odd column and an odd row belong to no window.
        let alone = |x: &[T], dx: &mut [T]| {
            dx.iter_mut().zip(x).for_each(|(dx, &x)| *dx = slopes.apply::<I>(affine, x, T::ZERO));
        };
        let mut targets = dx.chunks_exact_mut(2 * self.width);
        let rows = self.pairs(x).zip(dy.chunks_exact(self.windows.1));
        for ((rows, dy), target) in rows.zip(&mut targets) {
            let (upper, lower) = target.split_at_mut(self.width);
            let odd = 2 * self.windows.1..self.width;
            alone(&rows[0][odd.clone()], &mut upper[odd.clone()]);
            alone(&rows[1][odd.clone()], &mut lower[odd]);
            for eight in eights(self.windows.1) {
                if wide::<I, T>() {
                    let pixels =
                        [eight.load_row::<I, T, WHOLE>(rows[0]), eight.load_row::<I, T, WHOLE>(rows[1])];
                    let normalised =
                        [affine.lanes::<I, WIDE_LANES>(pixels[0]), affine.lanes::<I, WIDE_LANES>(pixels[1])];
                    let mut parts = I::route(normalised, eight.load_one::<T, WHOLE>(dy));
                    for i in 0..2 {
                        parts[i] = slopes.lanes::<I, WIDE_LANES>(affine, pixels[i], parts[i]);
                    }
                    eight.store_row::<I, T, WHOLE>(parts[0], upper);
                    eight.store_row::<I, T, WHOLE>(parts[1], lower);
                    continue;
                }
                let pixels = eight.load::<I, T>(rows);
                let (_, mut parts) = share::<I, T>(affine, pixels, eight.load_one::<T, WHOLE>(dy));
                for i in 0..4 {
                    parts[i] = slopes.lanes::<I, LANES>(affine, pixels[i], parts[i]);
                }
                eight.store::<I, T>(parts, [&mut *upper, &mut *lower]);
            }
        }
        alone(&x[2 * self.windows.0 * self.width..], targets.into_remainder());
    }

    /// The two rows of pixels of every row of windows.
    #[inline(always)]
    fn pairs<T>(self, plane: &[T]) -> impl Iterator<Item = [&[T]; 2]> {
        let width = self.width;
        plane.chunks_exact(2 * width).map(move |rows| [&rows[..width], &rows[width..]])
    }
}

pub(super) struct NormaliseHalves<'a, T> {
    pub x: &'a [T],
    pub y: &'a Shared<T>,
    pub halves: Halves,
    pub from: Place,
    pub to: Place,
    pub affine: Affine<T>,
}

impl<T: Float> Kernel for NormaliseHalves<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { x, y, halves, from, to, affine } = self;
        for (from, to) in from.planes().zip(to.planes()) {
            // SAFETY: the planes of different channels are disjoint, and a channel has one job.
            let (x, y) = (&x[from], unsafe { y.range(to) });
            self.from.prefetch::<I, T>(x);
            self.to.prefetch::<I, T>(y);
            halves.maxima::<I, T>(affine, x, y);
        }
    }
}

impl<T: Float> Affine<T> {
    #[inline(always)]
    fn pixels<I: Isa>(self, pixels: Pixels<T>) -> Pixels<T> {
        let mut normalised = pixels;
        for i in 0..4 {
            normalised[i] = self.lanes::<I, LANES>(pixels[i]);
        }
        normalised
    }
}

/// The larger of two numbers, or the smaller.
#[inline(always)]
fn extreme<I: Isa, T: Float, const N: usize, const POSITIVE: bool>(
    a: Lanes<T, N>,
    b: Lanes<T, N>,
) -> Lanes<T, N> {
    if POSITIVE {
        return I::larger(a, b);
    }
    let minus = |lanes| I::sub_lanes(Lanes::ZERO, lanes);
    minus(I::larger(minus(a), minus(b)))
}

/// The gradients of eight windows, zero where the ReLU is off, and what their pixels get of them.
#[inline(always)]
fn share<I: Isa, T: Float>(affine: Affine<T>, pixels: Pixels<T>, dy: Lanes<T>) -> (Lanes<T>, Pixels<T>) {
    let normalised = affine.pixels::<I>(pixels);
    let dy = I::gate(maximum::<I, T>(normalised), dy);
    (dy, route::<I, T>(normalised, dy))
}
