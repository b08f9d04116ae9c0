//! The choice between the ways to compute a convolution.

use super::geometry::Geometry;
use super::{by_sample, depthwise, winograd};
use crate::activation::rectify_in_place;
use crate::norm::{Observer, SumsOnTheWay};
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
}

impl<T: Float> Then<'_, T> {
    /// With some whole planes, the values from number `start` on; every plane must be in one job.
    pub fn go_on(&self, start: usize, planes: &mut [T]) {
        match self {
            Self::Nothing => {}
            Self::Observe(observer) => observer.see(start, planes),
            Self::Rectify => rectify_in_place(planes),
        }
    }
}

/// Where the sums of the batch norm go whose output is the input, if somebody asks for them.
pub(super) type InputSums<'a, T> = Option<&'a SumsOnTheWay<'a, T>>;

/// The convolution of `x` with `weight`, plus `bias`, and what comes then.
pub(super) fn forward<T: Float>(
    g: &Geometry,
    x: &Source<'_, T>,
    weight: &[T],
    bias: Option<&[T]>,
    then: Then<'_, T>,
) -> Vec<T> {
    if g.algorithm.winograd::<T>(g) {
        winograd::forward(g, x, weight, bias, then)
    } else if depthwise::applies(g) {
        depthwise::forward(g, x, weight, bias, then)
    } else {
        by_sample::forward(g, x, weight, bias, then)
    }
}

/// The gradients of `x` and of `weight`, from one reading of that of the output: that of `x` if there is a `weight`, that
/// of `weight` if there is an `x`, otherwise empty.
pub(super) fn gradients<T: Float>(
    g: &Geometry,
    x: Option<&Source<'_, T>>,
    weight: Option<&[T]>,
    dy: &Source<'_, T>,
    sums: InputSums<'_, T>,
) -> (Vec<T>, Vec<T>) {
    if g.algorithm.winograd::<T>(g) {
        winograd::gradients(g, x, weight, dy, sums)
    } else if depthwise::applies(g) {
        depthwise::gradients(g, x, weight, dy, sums)
    } else {
        by_sample::gradients(g, x, weight, dy, sums)
    }
}
