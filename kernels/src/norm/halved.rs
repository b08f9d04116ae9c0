//! Batch normalisation of one channel, ReLU and the maximum of every 2x2 window, in the same passes.
//!
//! The result has a quarter of the values, and the normalised ones are never written: both directions move less
//! than half of the memory that three operations would.

#![allow(clippy::needless_range_loop)] // Counted loops are what the compiler unrolls into registers.

use super::channel::{Affine, Channel, Place};
use crate::parallel::Shared;
use crate::pool::{HALF, Pixels, eights, maximum, route};
use crate::simd::{Float, Isa, Kernel, Lanes};

/// Planes of an image, and of the same image halved.
#[derive(Clone, Copy)]
pub(super) struct Halves {
    width: usize,
    /// Rows and columns of windows.
    windows: (usize, usize),
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
            for (rows, y) in halves.pairs(x).zip(y.chunks_exact_mut(halves.windows.1)) {
                for eight in eights(halves.windows.1) {
                    let normalised = affine.pixels::<I>(eight.load::<I, T>(rows));
                    let best = maximum::<I, T>(normalised);
                    eight.store_one(I::gate(best, best), y);
                }
            }
        }
    }
}

pub(super) struct HalvesGradient<'a, T> {
    pub x: &'a [T],
    pub dy: &'a [T],
    pub dx: &'a Shared<T>,
    pub halves: Halves,
    /// Of `x`, and of `dy`.
    pub place: Place,
    pub dy_place: Place,
    pub channel: &'a Channel,
    pub batch_statistics: bool,
}

impl<T: Float> Kernel for HalvesGradient<'_, T> {
    type Output = (f64, f64);

    /// Writes dx, returns dgamma and dbeta. The pixels' parts of `dy` wait in `dx` until the sums are known.
    #[inline(always)]
    fn run<I: Isa>(self) -> (f64, f64) {
        let Self { x, dy, dx, halves, place, dy_place, channel, batch_statistics } = self;
        let affine = channel.affine::<T>();
        let (mut dbeta, mut products) = (0.0, 0.0);
        for (plane, dy_plane) in place.planes().zip(dy_place.planes()) {
            // SAFETY: the planes of different channels are disjoint, and a channel has one job.
            let dx = unsafe { dx.range(plane.clone()) };
            let (x, dy) = (&x[plane], &dy[dy_plane]);
            place.prefetch::<I, T>(x);
            dy_place.prefetch::<I, T>(dy);
            place.prefetch::<I, T>(dx);
            let (mut sum, mut product) = (Lanes::ZERO, Lanes::ZERO);
            let mut targets = dx.chunks_exact_mut(2 * halves.width);
            let rows = halves.pairs(x).zip(dy.chunks_exact(halves.windows.1));
            for ((rows, dy), target) in rows.zip(&mut targets) {
                let (upper, lower) = target.split_at_mut(halves.width);
                // An odd column and an odd row belong to no window.
                upper[2 * halves.windows.1..].fill(T::ZERO);
                lower[2 * halves.windows.1..].fill(T::ZERO);
                for eight in eights(halves.windows.1) {
                    let pixels = eight.load::<I, T>(rows);
                    let (gradient, share) = share::<I, T>(affine, pixels, eight.load_one(dy));
                    eight.store::<I, T>(share, [&mut *upper, &mut *lower]);
                    sum = I::add_lanes(sum, eight.fresh::<I, T>(gradient));
                    let mut products = Lanes::ZERO;
                    for i in 0..4 {
                        products = affine.deviation::<I>(pixels[i]).mul_add::<I>(share[i], products);
                    }
                    product = I::add_lanes(product, eight.fresh::<I, T>(products));
                }
            }
            targets.into_remainder().fill(T::ZERO);
            dbeta += sum.sum().to_f64();
            products += product.sum().to_f64();
        }
        let dgamma = products * channel.inverse_deviation;

        let slopes = channel.slopes::<T>(place.count(), batch_statistics, (dgamma, dbeta));
        for plane in place.planes() {
            // SAFETY: as above.
            let dx = unsafe { dx.range(plane.clone()) };
            dx.iter_mut().zip(&x[plane]).for_each(|(dx, x)| *dx = slopes.apply::<I>(affine, *x, *dx));
        }
        (dgamma, dbeta)
    }
}

impl<T: Float> Affine<T> {
    #[inline(always)]
    fn pixels<I: Isa>(self, pixels: Pixels<T>) -> Pixels<T> {
        let mut normalised = pixels;
        for i in 0..4 {
            normalised[i] = self.lanes::<I>(pixels[i]);
        }
        normalised
    }
}

/// The gradients of eight windows, zero where the ReLU is off, and what their pixels get of them.
#[inline(always)]
fn share<I: Isa, T: Float>(affine: Affine<T>, pixels: Pixels<T>, dy: Lanes<T>) -> (Lanes<T>, Pixels<T>) {
    let normalised = affine.pixels::<I>(pixels);
    let dy = I::gate(maximum::<I, T>(normalised), dy);
    (dy, route::<I, T>(normalised, dy))
}
