//! The choice between the ways to compute a convolution.

use super::forward::forward as direct_forward;
use super::geometry::Geometry;
use super::input_gradient::input_gradient as direct_input_gradient;
use super::weight_gradient::weight_gradient as direct_weight_gradient;
use super::{depthwise, pointwise, winograd};
use crate::simd::Float;

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

/// The convolution of `x` with `weight`, plus `bias`.
pub(super) fn forward<T: Float>(g: &Geometry, x: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    if g.algorithm.winograd::<T>(g) {
        winograd::forward(g, x, weight, bias)
    } else if depthwise::applies(g) {
        depthwise::forward(g, x, weight, bias)
    } else if pointwise::fits(g) {
        pointwise::forward(g, x, weight, bias)
    } else {
        direct_forward(g, x, weight, bias)
    }
}

/// The gradients of `x` and of `weight`. Both together share work.
pub(super) fn gradients<T: Float>(g: &Geometry, x: &[T], weight: &[T], dy: &[T]) -> (Vec<T>, Vec<T>) {
    if g.algorithm.winograd::<T>(g) {
        return winograd::gradients(g, x, weight, dy);
    }
    if depthwise::applies(g) {
        return depthwise::gradients(g, Some(x), Some(weight), dy);
    }
    (input_gradient(g, weight, dy), weight_gradient(g, x, dy))
}

/// The gradient of `x` alone.
pub(super) fn input_gradient<T: Float>(g: &Geometry, weight: &[T], dy: &[T]) -> Vec<T> {
    if g.algorithm.winograd::<T>(g) {
        winograd::input_gradient(g, weight, dy)
    } else if depthwise::applies(g) {
        depthwise::gradients(g, None, Some(weight), dy).0
    } else if pointwise::fits(g) {
        pointwise::input_gradient(g, weight, dy)
    } else {
        direct_input_gradient(g, weight, dy)
    }
}

/// The gradient of `weight` alone.
pub(super) fn weight_gradient<T: Float>(g: &Geometry, x: &[T], dy: &[T]) -> Vec<T> {
    if g.algorithm.winograd::<T>(g) {
        winograd::weight_gradient(g, x, dy)
    } else if depthwise::applies(g) {
        depthwise::gradients(g, Some(x), None, dy).1
    } else {
        direct_weight_gradient(g, x, dy)
    }
}
