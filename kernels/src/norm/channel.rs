//! Batch normalisation of one channel.

use crate::activation::rectify;
use crate::parallel::Shared;
use crate::reduce::sums;
use crate::simd::{Float, Isa, Kernel, Lanes};

/// What is known of a channel after the forward pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Channel {
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

    pub fn affine<T: Float>(&self) -> Affine<T> {
        Affine {
            mean: T::from_f64(self.mean),
            scale: T::from_f64(self.gamma * self.inverse_deviation),
            shift: T::from_f64(self.beta),
        }
    }
}

/// `(x - mean) * scale + shift`. Forward and backward pass go through here, so that both see the same
/// bits when they ask whether the ReLU was on.
#[derive(Clone, Copy)]
pub(super) struct Affine<T> {
    mean: T,
    scale: T,
    shift: T,
}

impl<T: Float> Affine<T> {
    #[inline(always)]
    fn apply<I: Isa>(self, x: T) -> T {
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
    fn planes(self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let start = move |sample| (sample * self.channels + self.channel) * self.pixels;
        (0..self.batch).map(move |sample| start(sample)..start(sample) + self.pixels)
    }

    fn count(self) -> f64 {
        (self.batch * self.pixels) as f64
    }
}

/// Mean and biased variance of a channel, the variance from the deviations (two passes).
pub(super) struct Moments<'a, T> {
    pub x: &'a [T],
    pub place: Place,
}

impl<T: Float> Kernel for Moments<'_, T> {
    type Output = (f64, f64);

    #[inline(always)]
    fn run<I: Isa>(self) -> (f64, f64) {
        let Self { x, place } = self;
        let mean = place.planes().map(|plane| sums([&x[plane]], |x| x)[0]).sum::<f64>() / place.count();
        let centre = Lanes::splat(T::from_f64(mean));
        let square = |[x]: [Lanes<T>; 1]| {
            let deviation = x.zip(centre, |x, m| x - m);
            [deviation.zip(deviation, |a, b| a * b)]
        };
        let total = place.planes().map(|plane| sums([&x[plane]], square)[0]).sum::<f64>();
        (mean, total / place.count())
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
            let y = unsafe { y.range(plane.clone()) };
            let pairs = y.iter_mut().zip(&x[plane]);
            if relu {
                pairs.for_each(|(y, x)| *y = rectify(affine.apply::<I>(*x)));
            } else {
                pairs.for_each(|(y, x)| *y = affine.apply::<I>(*x));
            }
        }
    }
}

pub(super) struct ChannelGradient<'a, T> {
    pub x: &'a [T],
    pub dy: &'a [T],
    pub dx: &'a Shared<T>,
    pub place: Place,
    pub channel: &'a Channel,
    pub relu: bool,
    pub batch_statistics: bool,
}

impl<T: Float> Kernel for ChannelGradient<'_, T> {
    type Output = (f64, f64);

    /// Writes dx, returns dgamma and dbeta.
    #[inline(always)]
    fn run<I: Isa>(self) -> (f64, f64) {
        let affine = self.channel.affine::<T>();
        if self.relu {
            // Nothing flows back where the ReLU was off.
            self.gradient::<I>(|x, dy| if affine.apply::<I>(x) <= T::ZERO { T::ZERO } else { dy })
        } else {
            self.gradient::<I>(|_, dy| dy)
        }
    }
}

impl<T: Float> ChannelGradient<'_, T> {
    #[inline(always)]
    fn gradient<I: Isa>(&self, gate: impl Fn(T, T) -> T) -> (f64, f64) {
        let (x, dy, place, channel) = (self.x, self.dy, self.place, self.channel);
        let affine = channel.affine::<T>();
        let centre = Lanes::splat(affine.mean);
        let terms = |[x, dy]: [Lanes<T>; 2]| {
            let dy = x.zip(dy, &gate);
            [dy, x.zip(centre, |x, m| x - m).zip(dy, |x, dy| x * dy)]
        };
        let (mut dbeta, mut products) = (0.0, 0.0);
        for plane in place.planes() {
            let [a, b] = sums([&x[plane.clone()], &dy[plane]], terms);
            (dbeta, products) = (dbeta + a, products + b);
        }
        let dgamma = products * channel.inverse_deviation;

        // dx = scale * (dy - dbeta / count - (x - mean) * inverse_deviation * dgamma / count)
        let per_value = if self.batch_statistics { affine.scale.to_f64() / place.count() } else { 0.0 };
        let constant = T::from_f64(-per_value * dbeta);
        let slope = T::from_f64(-per_value * channel.inverse_deviation * dgamma);
        for plane in place.planes() {
            // SAFETY: the planes of different channels are disjoint, and a channel has one job.
            let dx = unsafe { self.dx.range(plane.clone()) };
            for ((dx, &x), &dy) in dx.iter_mut().zip(&x[plane.clone()]).zip(&dy[plane]) {
                let through = I::mul_add(affine.scale, gate(x, dy), constant);
                *dx = I::mul_add(slope, x - affine.mean, through);
            }
        }
        (dgamma, dbeta)
    }
}
