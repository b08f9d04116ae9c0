//! The choice between the ways to compute a convolution.

use super::geometry::Geometry;
use super::{by_sample, depthwise, winograd};
use crate::activation::rectify_in_place;
use crate::norm::{Halving, Observer, SumsOnTheWay};
use crate::parallel;
use crate::simd::Float;
use crate::source::Source;

/// How a convolution is computed on CPUs. (CUDA devices choose for themselves.)
///
/// It follows from the sizes of channels and images, never from the size of the batch or the number of
/// threads: an image gets the same output alone as in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum ConvAlgorithm {
    /// The fastest in f32: Winograd for 3x3 kernels with enough channels, otherwise direct. f64 is for
    /// checks and always direct.
    #[default]
    Auto,
    /// Products and sums as in the definition. In f32 the relative L2 error against exact arithmetic is
    /// 1e-7 to 6e-7.
    Direct,
    /// Minimal filtering F(4x4, 3x3) wherever it exists, that is for 3x3 kernels with stride 1 and
    /// dilation 1, otherwise direct: up to four times fewer multiplications, and in f32 a relative L2 error
    /// of 1e-6 to 3e-6. A NaN or an infinity in the input becomes NaN in the whole tiles of 4x4 outputs
    /// (of gradients: 6x6) that read it.
    ///
    /// Lavin & Gray, *Fast Algorithms for Convolutional Neural Networks*, CVPR 2016.
    Winograd,
}

impl ConvAlgorithm {
    fn winograd<T: Float>(self, g: &Geometry) -> bool {
        match self {
            Self::Auto => winograd::fits(g) && size_of::<T>() == 4 && winograd::pays(g),
            Self::Direct => false,
            Self::Winograd => winograd::fits(g),
        }
    }
}

/// What is done with the output's planes while they are in the cache.
#[derive(Clone, Copy)]
pub(super) enum Then<'a, T> {
    Nothing,
    /// Somebody sees them.
    Observe(&'a Observer<'a, T>),
    /// They go through a ReLU.
    Rectify,
    /// They go through a ReLU and 2x2 max pooling, and only what comes of that is kept.
    Halve(&'a Halving<'a, T>),
}

impl<T: Float> Then<'_, T> {
    /// With some whole planes, the values from number `start` on; every plane must be in one job.
    pub fn go_on(&self, start: usize, planes: &mut [T]) {
        match self {
            Self::Nothing => {}
            Self::Observe(observer) => observer.see(start, planes),
            Self::Rectify => rectify_in_place(planes),
            Self::Halve(halving) => halving.halve(start, planes),
        }
    }
}

/// A convolution to compute: of `x` with `weight`, plus `bias`, and what comes then.
#[derive(Clone, Copy)]
pub(super) struct Forward<'a, T> {
    pub g: &'a Geometry,
    pub x: &'a Source<'a, T>,
    pub weight: &'a [T],
    pub bias: Option<&'a [T]>,
    pub then: Then<'a, T>,
}

impl<T: Float> Forward<'_, T> {
    /// The output; empty if only what comes then is kept.
    pub fn run(&self) -> Vec<T> {
        if self.g.algorithm.winograd::<T>(self.g) {
            winograd::forward(self)
        } else if depthwise::applies(self.g) {
            depthwise::forward(self)
        } else {
            by_sample::forward(self)
        }
    }

    /// The output from jobs that write chunks of `size` values each.
    pub fn build_chunks(&self, length: usize, size: usize, job: impl Fn(usize, &mut [T]) + Sync) -> Vec<T> {
        if !matches!(self.then, Then::Halve(_)) {
            return parallel::build_chunks(length, size, job);
        }
        parallel::map(length.div_ceil(size), |i| {
            parallel::with_scratch(size.min(length - i * size), |chunk| job(i, chunk));
        });
        Vec::new()
    }
}

/// The gradients of a convolution to compute, from one reading of that of its output.
#[derive(Clone, Copy)]
pub(super) struct Backward<'a, T> {
    pub g: &'a Geometry,
    /// The input, if the gradient of the weights is wanted.
    pub x: Option<&'a Source<'a, T>>,
    /// The weights, if the gradient of the input is wanted.
    pub weight: Option<&'a [T]>,
    pub dy: &'a Source<'a, T>,
    /// Where the sums of the batch norm go whose output is the input, if somebody asks for them.
    pub sums: Option<&'a SumsOnTheWay<'a, T>>,
}

impl<T: Float> Backward<'_, T> {
    /// Those of the input and of the weights; what is not wanted is empty.
    pub fn run(&self) -> (Vec<T>, Vec<T>) {
        if self.g.algorithm.winograd::<T>(self.g) {
            winograd::gradients(self)
        } else if depthwise::applies(self.g) {
            depthwise::gradients(self)
        } else {
            by_sample::gradients(self)
        }
    }
}
