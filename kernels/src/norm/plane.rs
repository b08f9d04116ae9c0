//! Batch normalisation plane by plane, for operations that read or write the planes for another reason.
//!
//! A convolution that takes the moments of its result while it is in the cache, and normalises what it reads, saves most of
//! what a batch norm of its own would move.

use super::Epilogue;
use super::channel::{Affine, Channel, Moments, Slopes};
use super::halved::Halves;
use crate::activation::rectify;
use crate::parallel::{self, Shared};
use crate::reduce::sums;
use crate::simd::{Float, Isa, Kernel, LANES, Lanes, dispatch, prefetch};
use std::ops::Range;

/// What a batch norm wants to know of `[batch, channels, pixels]`, taken of each plane as soon as it is written.
pub(crate) struct Observer<'a, T> {
    channels: usize,
    pixels: usize,
    moments: Shared<Moments>,
    windows: Option<Windows<'a, T>>,
}

/// The windows of a pooling behind the normalisation and the ReLU.
struct Windows<'a, T> {
    halves: Halves,
    gamma: &'a [T],
    /// What will be the maximum of each.
    extremes: Shared<T>,
}

impl<'a, T: Float> Observer<'a, T> {
    /// What `work` does, which must have all planes observed; mean and variance of the channels; and what of each window
    /// of 2x2 will be its maximum after a multiplication by gamma, if there is a pooling.
    pub fn observe<R>(
        dims: &[usize],
        gamma: &'a [T],
        pooling: bool,
        work: impl FnOnce(&Self) -> R,
    ) -> (R, Vec<(f64, f64)>, Vec<T>) {
        let (channels, pixels) = (dims[1], dims[2..].iter().product());
        let mut moments = vec![Moments::starting_at(0.0); dims[0] * channels];
        let halves = pooling.then(|| Halves::of(dims));
        let mut result = None;
        let extremes =
            parallel::build(halves.map_or(0, |halves| moments.len() * halves.count()), |extremes| {
                let extremes = Shared::new(extremes);
                let windows = halves.map(|halves| Windows { halves, gamma, extremes });
                result = Some(work(&Self { channels, pixels, moments: Shared::new(&mut moments), windows }));
            });
        (result.expect("it was built"), by_channel(&moments, channels), extremes)
    }

    /// Some whole planes, the values from number `start` on; every plane must be shown by one job.
    pub fn see(&self, start: usize, values: &[T]) {
        let first = start / self.pixels;
        let planes = first..first + values.len() / self.pixels;
        // SAFETY: a plane has one job.
        let moments = unsafe { self.moments.range(planes.clone()) };
        let extremes = self.windows.as_ref().map(|windows| {
            let count = windows.halves.count();
            // SAFETY: as above.
            unsafe { windows.extremes.range(planes.start * count..planes.end * count) }
        });
        dispatch(See { observer: self, first, values, moments, extremes });
    }
}

struct See<'a, T> {
    observer: &'a Observer<'a, T>,
    /// Index of the first plane.
    first: usize,
    values: &'a [T],
    moments: &'a mut [Moments],
    extremes: Option<&'a mut [T]>,
}

impl<T: Float> Kernel for See<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { observer, first, values, moments, mut extremes } = self;
        for (i, (moments, values)) in moments.iter_mut().zip(values.chunks_exact(observer.pixels)).enumerate()
        {
            *moments = Moments::of::<I, T>(values);
            if let (Some(Windows { halves, gamma, .. }), Some(extremes)) = (&observer.windows, &mut extremes)
            {
                let gamma = gamma[(first + i) % observer.channels];
                let target = &mut extremes[i * halves.count()..][..halves.count()];
                halves.extremes::<I, T>(gamma >= T::ZERO, values, target);
            }
        }
    }
}

/// Normalises and rectifies `[batch, channels, pixels]` in place.
pub(crate) fn normalise_in_place<T: Float>(values: &mut [T], pixels: usize, channels: &[Channel]) {
    let affines: &Vec<Affine<T>> = &channels.iter().map(Channel::affine).collect();
    parallel::for_each_chunk(values, pixels * channels.len(), |_, sample| {
        dispatch(NormaliseInPlace { sample, pixels, affines });
    });
}

struct NormaliseInPlace<'a, T> {
    sample: &'a mut [T],
    pixels: usize,
    affines: &'a [Affine<T>],
}

impl<T: Float> Kernel for NormaliseInPlace<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        for (plane, affine) in self.sample.chunks_exact_mut(self.pixels).zip(self.affines) {
            plane.iter_mut().for_each(|value| *value = rectify(affine.apply::<I>(*value)));
        }
    }
}

/// The moments of channels from those of their planes, added in the order of the samples.
fn by_channel(planes: &[Moments], channels: usize) -> Vec<(f64, f64)> {
    let total = |channel| {
        let planes = planes[channel..].iter().step_by(channels).copied();
        planes.reduce(Moments::add).map_or((0.0, 0.0), Moments::mean_and_variance)
    };
    (0..channels).map(total).collect()
}

/// The output of a batch norm, computed while it is read.
pub(crate) struct Normalised<'a, T> {
    /// What is normalised, `[batch, channels, pixels]`.
    pub x: &'a [T],
    pub pixels: usize,
    /// One a channel.
    pub affines: Vec<Affine<T>>,
    pub relu: bool,
}

impl<T: Float> Normalised<'_, T> {
    /// Some whole planes.
    #[inline(always)]
    pub fn read<I: Isa>(&self, values: Range<usize>, target: &mut [T]) {
        let first = values.start / self.pixels;
        let planes = self.x[values].chunks_exact(self.pixels).zip(target.chunks_exact_mut(self.pixels));
        for (i, (x, target)) in planes.enumerate() {
            prefetch::<I, T>(x, self.pixels);
            normalise::<I, T>(self.affines[(first + i) % self.affines.len()], self.relu, x, target);
        }
    }
}

#[inline(always)]
pub(super) fn normalise<I: Isa, T: Float>(affine: Affine<T>, relu: bool, x: &[T], target: &mut [T]) {
    let pairs = target.iter_mut().zip(x);
    if relu {
        pairs.for_each(|(y, x)| *y = rectify(affine.apply::<I>(*x)));
    } else {
        pairs.for_each(|(y, x)| *y = affine.apply::<I>(*x));
    }
}

/// A batch norm as its backward pass sees it.
pub(crate) struct Backward<'a, T> {
    /// What was normalised, `[batch, channels, pixels]`.
    pub x: &'a [T],
    pub pixels: usize,
    pub channels: &'a [Channel],
    pub follows: Follows<'a, T>,
}

/// What came after the normalisation.
#[derive(Clone, Copy)]
pub(crate) enum Follows<'a, T> {
    Nothing,
    Relu,
    /// Pooling after the ReLU, with its output.
    Pooling(Halves, &'a [T]),
}

impl<'a, T> Follows<'a, T> {
    /// `dims` are those of what was normalised, `y` is the output.
    pub fn new(epilogue: Epilogue, dims: &[usize], y: &'a [T]) -> Self {
        match epilogue {
            Epilogue::None => Self::Nothing,
            Epilogue::Relu => Self::Relu,
            Epilogue::ReluMaxPool => Self::Pooling(Halves::of(dims), y),
        }
    }
}

/// The gradients of a channel's beta, and of the deviations from its mean.
pub(crate) type Sums = (f64, f64);

impl<T: Float> Backward<'_, T> {
    /// Pixels of a plane of the output.
    #[inline(always)]
    fn outputs(&self) -> usize {
        match self.follows {
            Follows::Nothing | Follows::Relu => self.pixels,
            Follows::Pooling(halves, _) => halves.count(),
        }
    }

    /// A plane's part of the sums, from the gradient of its output.
    #[inline(always)]
    fn sums<I: Isa>(&self, plane: usize, dy: &[T]) -> Sums {
        let channel = &self.channels[plane % self.channels.len()];
        let affine = channel.affine::<T>();
        let x = &self.x[plane * self.pixels..][..self.pixels];
        let centre = Lanes::splat(affine.mean);
        let [dbeta, products] = match self.follows {
            Follows::Nothing => {
                sums::<I, T, 2, 2>([x, dy], |[x, dy]| [dy, I::mul_lanes(I::sub_lanes(x, centre), dy)])
            }
            Follows::Relu => sums::<I, T, 2, 2>([x, dy], |[x, dy]| {
                let dy = I::gate(affine.lanes::<I, LANES>(x), dy);
                [dy, I::mul_lanes(I::sub_lanes(x, centre), dy)]
            }),
            Follows::Pooling(halves, y) => {
                if !channel.can_be_undone() {
                    return halves.sums::<I, T>(affine, x, dy);
                }
                // The output tells the pixel that won, and it is a quarter of the input.
                let y = &y[plane * dy.len()..][..dy.len()];
                let shift = Lanes::splat(affine.shift);
                let [dbeta, products] = sums::<I, T, 2, 2>([y, dy], |[y, dy]| {
                    let dy = I::gate(y, dy);
                    [dy, I::mul_lanes(I::sub_lanes(y, shift), dy)]
                });
                [dbeta, products / affine.scale.to_f64()]
            }
        };
        (dbeta, products)
    }

    /// The sums of every channel, from the gradient of the output.
    pub fn all_sums(&self, dy: &[T]) -> Vec<Sums> {
        let sample = self.channels.len() * self.outputs();
        let mut planes = vec![(0.0, 0.0); dy.len() / self.outputs()];
        parallel::for_each_chunk(&mut planes, self.channels.len(), |i, planes| {
            dispatch(TakeSums { norm: self, first: i * self.channels.len(), dy: &dy[i * sample..], planes });
        });
        add_up(&planes, self.channels.len())
    }

    /// What it takes to compute the gradient of a channel's values, from its sums.
    #[inline(always)]
    pub fn slopes(&self, channel: usize, (dbeta, products): Sums, batch_statistics: bool) -> Coefficients<T> {
        let (channel, count) = (&self.channels[channel], (self.x.len() / self.channels.len()) as f64);
        let dgamma = channel.gamma_gradient(products);
        (channel.affine(), channel.slopes(count, batch_statistics, (dgamma, dbeta)))
    }

    /// The gradient of a plane, from that of its output.
    #[inline(always)]
    pub fn gradient<I: Isa>(&self, plane: usize, (affine, slopes): Coefficients<T>, dy: &[T], dx: &mut [T]) {
        let x = &self.x[plane * self.pixels..][..self.pixels];
        match self.follows {
            Follows::Nothing => {
                for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
                    *dx = slopes.apply::<I>(affine, x, dy);
                }
            }
            Follows::Relu => {
                for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
                    // Nothing flows back where the ReLU was off.
                    let dy = if affine.apply::<I>(x) <= T::ZERO { T::ZERO } else { dy };
                    *dx = slopes.apply::<I>(affine, x, dy);
                }
            }
            Follows::Pooling(halves, _) => halves.gradient::<I, T>(affine, slopes, (x, dy), dx),
        }
    }
}

/// What the gradient of a channel's values is made of.
pub(crate) type Coefficients<T> = (Affine<T>, Slopes<T>);

struct TakeSums<'a, T> {
    norm: &'a Backward<'a, T>,
    /// Index of the first plane.
    first: usize,
    dy: &'a [T],
    planes: &'a mut [Sums],
}

impl<T: Float> Kernel for TakeSums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { norm, first, dy, planes } = self;
        for (i, (plane, dy)) in planes.iter_mut().zip(dy.chunks_exact(norm.outputs())).enumerate() {
            prefetch::<I, T>(dy, dy.len());
            *plane = norm.sums::<I>(first + i, dy);
        }
    }
}

/// The sums of channels from those of their planes, in the order of the samples.
fn add_up(planes: &[Sums], channels: usize) -> Vec<Sums> {
    let add = |(a, b): Sums, &(c, d): &Sums| (a + c, b + d);
    (0..channels).map(|c| planes[c..].iter().step_by(channels).fold((0.0, 0.0), add)).collect()
}

/// Sums of the batch norm whose output somebody reads, taken while the gradient of that output is written.
pub(crate) struct SumsOnTheWay<'a, T> {
    norm: Backward<'a, T>,
    planes: Shared<Sums>,
}

impl<'a, T: Float> SumsOnTheWay<'a, T> {
    /// What `work` does, which must take the sums of all planes, and those of the channels.
    pub fn gather<R>(norm: Backward<'a, T>, work: impl FnOnce(&Self) -> R) -> (R, Vec<Sums>) {
        let (channels, mut planes) = (norm.channels.len(), vec![(0.0, 0.0); norm.x.len() / norm.pixels]);
        let result = work(&Self { norm, planes: Shared::new(&mut planes) });
        (result, add_up(&planes, channels))
    }

    /// Of some whole planes, the values from number `start` on; every plane must be taken by one job.
    pub fn take(&self, start: usize, dy: &[T]) {
        let pixels = self.norm.outputs();
        let first = start / pixels;
        // SAFETY: a plane has one job.
        let planes = unsafe { self.planes.range(first..first + dy.len() / pixels) };
        dispatch(TakeSums { norm: &self.norm, first, dy, planes });
    }
}

/// The gradient of a batch norm's input, computed while it is read.
pub(crate) struct NormGradient<'a, T> {
    norm: Backward<'a, T>,
    dy: &'a [T],
    /// One a channel.
    coefficients: Vec<Coefficients<T>>,
}

impl<'a, T: Float> NormGradient<'a, T> {
    /// From the gradient of the output and its sums.
    pub fn new(norm: Backward<'a, T>, dy: &'a [T], sums: &[Sums]) -> Self {
        let slopes = |(channel, &sums): (usize, &Sums)| norm.slopes(channel, sums, true);
        let coefficients = sums.iter().enumerate().map(slopes).collect();
        Self { norm, dy, coefficients }
    }

    /// Some whole planes.
    #[inline(always)]
    pub fn read<I: Isa>(&self, values: Range<usize>, target: &mut [T]) {
        let norm = &self.norm;
        let (pixels, outputs) = (norm.pixels, norm.outputs());
        let first = values.start / pixels;
        for (i, target) in target.chunks_exact_mut(pixels).take(values.len() / pixels).enumerate() {
            let plane = first + i;
            let dy = &self.dy[plane * outputs..][..outputs];
            prefetch::<I, T>(&norm.x[plane * pixels..][..pixels], pixels);
            prefetch::<I, T>(dy, outputs);
            norm.gradient::<I>(plane, self.coefficients[plane % self.coefficients.len()], dy, target);
        }
    }
}

/// Both passes over a channel.
pub(super) struct ChannelGradient<'a, T> {
    pub norm: &'a Backward<'a, T>,
    pub dy: &'a [T],
    pub dx: &'a Shared<T>,
    pub channel: usize,
    pub batch_statistics: bool,
}

impl<T: Float> Kernel for ChannelGradient<'_, T> {
    type Output = (f64, f64);

    /// Writes dx, returns dgamma and dbeta.
    #[inline(always)]
    fn run<I: Isa>(self) -> (f64, f64) {
        let Self { norm, dy, dx, channel, batch_statistics } = self;
        let (channels, pixels, outputs) = (norm.channels.len(), norm.pixels, norm.outputs());
        let planes = || (channel..norm.x.len() / pixels).step_by(channels);
        let mut sums = (0.0, 0.0);
        for plane in planes() {
            let dy = &dy[plane * outputs..][..outputs];
            prefetch::<I, T>(&norm.x[plane * pixels..][..pixels], channels * pixels);
            prefetch::<I, T>(dy, channels * outputs);
            let (dbeta, products) = norm.sums::<I>(plane, dy);
            sums = (sums.0 + dbeta, sums.1 + products);
        }
        let coefficients = norm.slopes(channel, sums, batch_statistics);
        for plane in planes() {
            // SAFETY: the planes of different channels are disjoint, and a channel has one job.
            let dx = unsafe { dx.range(plane * pixels..(plane + 1) * pixels) };
            let dy = &dy[plane * outputs..][..outputs];
            prefetch::<I, T>(&norm.x[plane * pixels..][..pixels], channels * pixels);
            prefetch::<I, T>(dy, channels * outputs);
            prefetch::<I, T>(dx, channels * pixels);
            norm.gradient::<I>(plane, coefficients, dy, dx);
        }
        (norm.channels[channel].gamma_gradient(sums.1), sums.0)
    }
}
