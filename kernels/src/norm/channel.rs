//! Batch normalisation of one channel.

use super::plane::normalise;
use crate::parallel::Shared;
use crate::reduce::{deviations, sums};
use crate::simd::{Float, Isa, Kernel, Lanes, prefetch};

/// What is known of a channel after the forward pass.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Channel {
    pub mean: f64,
    pub variance: f64,
    /// `1 / sqrt(variance + eps)`
    pub inverse_deviation: f64,
    pub gamma: f64,
    pub beta: f64,
}

impl Channel {
    pub fn new((mean, variance): (f64, f64), eps: f64, gamma: f64, beta: f64) -> Self {
        let inverse_deviation = 1.0 / (variance + eps).sqrt();
        Self { mean, variance, inverse_deviation, gamma, beta }
    }

    /// Whether a deviation from the mean can be told from the output as well as from the input: where beta is far larger
    /// than gamma, what rounding leaves of it is little.
    pub fn can_be_undone(&self) -> bool {
        self.gamma.abs() * 16.0 > self.beta.abs()
    }

    /// The gradient of gamma, from the sum of the products of deviations and gradients.
    #[inline(always)]
    pub fn gamma_gradient(&self, products: f64) -> f64 {
        products * self.inverse_deviation
    }

    pub fn affine<T: Float>(&self) -> Affine<T> {
        Affine {
            mean: T::from_f64(self.mean),
            scale: T::from_f64(self.gamma * self.inverse_deviation),
            shift: T::from_f64(self.beta),
        }
    }

    /// What the mean and the variance of `count` values add to their gradients.
    #[inline(always)]
    pub fn slopes<T: Float>(
        &self,
        count: f64,
        batch_statistics: bool,
        (dgamma, dbeta): (f64, f64),
    ) -> Slopes<T> {
        let scale = self.affine::<T>().scale.to_f64();
        let per_value = if batch_statistics { scale / count } else { 0.0 };
        Slopes {
            constant: T::from_f64(-per_value * dbeta),
            slope: T::from_f64(-per_value * self.inverse_deviation * dgamma),
        }
    }
}

/// `dx = scale * dy + constant + slope * (x - mean)`, that is
/// `scale * (dy - dbeta / count - (x - mean) * inverse_deviation * dgamma / count)`.
#[derive(Clone, Copy)]
pub(crate) struct Slopes<T> {
    pub constant: T,
    pub slope: T,
}

impl<T: Float> Slopes<T> {
    /// [`Self::apply`], lane by lane.
    #[inline(always)]
    pub fn lanes<I: Isa, const N: usize>(
        self,
        affine: Affine<T>,
        x: Lanes<T, N>,
        dy: Lanes<T, N>,
    ) -> Lanes<T, N> {
        let through = dy.mul_add::<I>(Lanes::splat(affine.scale), Lanes::splat(self.constant));
        affine.deviation::<I, N>(x).mul_add::<I>(Lanes::splat(self.slope), through)
    }

    #[inline(always)]
    pub fn apply<I: Isa>(self, affine: Affine<T>, x: T, dy: T) -> T {
        let through = I::mul_add(affine.scale, dy, self.constant);
        I::mul_add(self.slope, x - affine.mean, through)
    }
}

/// `(x - mean) * scale + shift`. Forward and backward pass go through here, so that both see the same
/// bits when they ask whether the ReLU was on.
#[derive(Clone, Copy)]
pub(crate) struct Affine<T> {
    pub mean: T,
    pub scale: T,
    pub shift: T,
}

impl<T: Float> Affine<T> {
    /// [`Self::apply`], lane by lane.
    #[inline(always)]
    pub fn lanes<I: Isa, const N: usize>(self, x: Lanes<T, N>) -> Lanes<T, N> {
        self.deviation::<I, N>(x).mul_add::<I>(Lanes::splat(self.scale), Lanes::splat(self.shift))
    }

    #[inline(always)]
    pub fn deviation<I: Isa, const N: usize>(self, x: Lanes<T, N>) -> Lanes<T, N> {
        I::sub_lanes(x, Lanes::splat(self.mean))
    }

    #[inline(always)]
    pub fn apply<I: Isa>(self, x: T) -> T {
        I::mul_add(x - self.mean, self.scale, self.shift)
    }
}

/// Where a channel lies in `[batch, channels, pixels]`.
#[derive(Clone, Copy)]
pub(super) struct Place {
    batch: usize,
    channels: usize,
    channel: usize,
    pixels: usize,
}

impl Place {
    pub fn of(dims: &[usize], channel: usize) -> Self {
        Self { batch: dims[0], channels: dims[1], channel, pixels: dims[2..].iter().product() }
    }

    #[inline(always)]
    pub fn planes(self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let start = move |sample| (sample * self.channels + self.channel) * self.pixels;
        (0..self.batch).map(move |sample| start(sample)..start(sample) + self.pixels)
    }

    /// Asks for the next plane of the channel.
    #[inline(always)]
    pub fn prefetch<I: Isa, T>(self, plane: &[T]) {
        prefetch::<I, T>(plane, self.channels * self.pixels);
    }
}

/// Numbers of a plane whose mean the deviations are taken from.
const FIRST: usize = 16;

/// Mean and sum of squared deviations of some values.
///
/// Parts are added by the formula of Chan, Golub and LeVeque (1979), in `f64`.
#[derive(Clone, Copy)]
pub(crate) struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    const NONE: Self = Self { count: 0.0, mean: 0.0, squares: 0.0 };

    /// Of nothing yet, with a mean that is nearly that of what comes.
    pub const fn starting_at(mean: f64) -> Self {
        Self { mean, ..Self::NONE }
    }

    pub const fn mean(self) -> f64 {
        self.mean
    }

    /// From the sums of `x - centre` and of its square.
    #[inline(always)]
    pub fn around(centre: f64, count: f64, deviations: f64, squares: f64) -> Self {
        let shift = deviations / count;
        Self { count, mean: centre + shift, squares: squares - deviations * shift }
    }

    /// Of a plane.
    ///
    /// Deviations are taken from the mean of its first numbers: as these are a part of it, the square of how far off that is
    /// can be at most `values.len() / FIRST` times the variance.
    #[inline(always)]
    pub fn of<I: Isa, T: Float>(values: &[T]) -> Self {
        let first = &values[..values.len().min(FIRST)];
        let centre = sums::<I, T, 1, 1>([first], |x| x)[0] / first.len() as f64;
        Self::about::<I, T>(T::from_f64(centre), values)
    }

    /// Of some numbers, from their deviations from `centre`.
    #[inline(always)]
    fn about<I: Isa, T: Float>(centre: T, values: &[T]) -> Self {
        let [deviations, squares] = deviations::<I, T>(centre, values);
        Self::around(centre.to_f64(), values.len() as f64, deviations, squares)
    }

    #[inline(always)]
    pub fn add(self, other: Self) -> Self {
        let count = self.count + other.count;
        let (apart, share) = (other.mean - self.mean, other.count / count);
        Self {
            count,
            mean: self.mean + apart * share,
            squares: self.squares + other.squares + apart * apart * self.count * share,
        }
    }

    /// Mean and biased variance.
    #[inline(always)]
    pub fn mean_and_variance(self) -> (f64, f64) {
        let variance = self.squares / self.count;
        // Rounding may leave equal values a little below zero. NaN stays.
        (self.mean, if variance < 0.0 { 0.0 } else { variance })
    }
}

/// Mean and biased variance of a channel, reading it once.
///
/// Deviations are taken from the mean of the planes so far, so their squares are never large next to
/// the variance of the whole: the first plane lies at most `sqrt(batch)` deviations off.
pub(super) struct ChannelMoments<'a, T> {
    pub x: &'a [T],
    pub place: Place,
}

impl<T: Float> Kernel for ChannelMoments<'_, T> {
    type Output = (f64, f64);

    #[inline(always)]
    fn run<I: Isa>(self) -> (f64, f64) {
        let Self { x, place } = self;
        let count = place.pixels as f64;
        let first =
            place.planes().next().map_or(0.0, |plane| sums::<I, T, 1, 1>([&x[plane]], |x| x)[0] / count);
        let mut all = Moments::starting_at(first);
        for plane in place.planes() {
            place.prefetch::<I, T>(&x[plane.clone()]);
            all = all.add(Moments::about::<I, T>(T::from_f64(all.mean()), &x[plane]));
        }
        all.mean_and_variance()
    }
}

pub(super) struct Normalise<'a, T> {
    pub x: &'a [T],
    pub y: &'a Shared<T>,
    pub place: Place,
    pub affine: Affine<T>,
    pub relu: bool,
}

impl<T: Float> Kernel for Normalise<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { x, y, place, affine, relu } = self;
        for plane in place.planes() {
            // SAFETY: the planes of different channels are disjoint, and a channel has one job.
            let (x, y) = (&x[plane.clone()], unsafe { y.range(plane) });
            place.prefetch::<I, T>(x);
            place.prefetch::<I, T>(y);
            normalise::<I, T>(affine, relu, x, y);
        }
    }
}
