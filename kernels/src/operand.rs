//! What the operations take and return: candle tensors, or values on a tape.

use crate::activation::relu;
use crate::conv::{Geometry, untaped, without_gradient};
use crate::norm::{BatchNormOutput, Epilogue};
use crate::op::Track;
use crate::tape::Value;
use candle_core::{Result, Tensor};

/// An argument of the operations of this crate: a candle [`Tensor`], whose gradients candle's
/// back-propagation finds, or a [`Value`] on a [`Tape`](crate::Tape), which is faster.
///
/// The trait cannot be implemented elsewhere.
pub trait Operand: Clone + sealed::Apply {
    /// The numbers.
    fn tensor(&self) -> &Tensor;
}

pub(crate) mod sealed {
    use super::{BatchNormOutput, Epilogue, Geometry, Result, Tensor, Track};

    /// How an operation is applied.
    pub trait Apply: Sized {
        fn apply<const N: usize, O: Track<N>>(inputs: [&Self; N], op: O) -> Result<Self>;
        /// A tensor of the same shape and number type on the same device.
        fn like(&self) -> &Tensor;
        /// Of contiguous arguments that fit together.
        fn convolve(x: &Self, weight: &Self, bias: Option<&Self>, geometry: Geometry) -> Result<Self>;
        /// The same and what follows it, if that can be one step.
        fn convolve_then(
            _arguments: (&Self, &Self, Option<&Self>),
            _: Geometry,
            _: Epilogue,
        ) -> Result<Option<Self>> {
            Ok(None)
        }
        /// The same and the batch norm behind it, if that can be one step.
        fn convolve_and_normalise(
            x: &Self,
            weight: &Self,
            geometry: Geometry,
            parameters: (&Self, &Self),
            how: (f64, Epilogue),
        ) -> Result<Option<BatchNormOutput<Self>>>;
        fn contiguous(&self) -> Result<Self>;
        fn add(&self, other: &Self) -> Result<Self>;
        fn add_relu(&self, other: &Self) -> Result<Self>;
        fn concat(parts: &[&Self]) -> Result<Self>;
        fn reshape(&self, shape: &[usize]) -> Result<Self>;
        fn transpose(&self) -> Result<Self>;
        fn scale(&self, factor: f64) -> Result<Self>;
        fn constant(tensor: Tensor) -> Self;
    }
}

impl Operand for Tensor {
    fn tensor(&self) -> &Tensor {
        self
    }
}

impl sealed::Apply for Tensor {
    fn apply<const N: usize, O: Track<N>>(inputs: [&Self; N], op: O) -> Result<Self> {
        op.track(inputs)
    }

    fn like(&self) -> &Tensor {
        self
    }

    fn convolve(x: &Self, weight: &Self, bias: Option<&Self>, geometry: Geometry) -> Result<Self> {
        untaped(x, weight, bias, geometry)
    }

    fn convolve_then(
        (x, weight, bias): (&Self, &Self, Option<&Self>),
        geometry: Geometry,
        epilogue: Epilogue,
    ) -> Result<Option<Self>> {
        let wants_gradient = [Some(x), Some(weight), bias].into_iter().flatten().any(Tensor::track_op);
        let at_once = x.device().is_cpu() && !wants_gradient;
        at_once.then(|| without_gradient((x, weight, bias), geometry, epilogue)).transpose()
    }

    fn convolve_and_normalise(
        _x: &Self,
        _weight: &Self,
        _geometry: Geometry,
        _parameters: (&Self, &Self),
        _how: (f64, Epilogue),
    ) -> Result<Option<BatchNormOutput<Self>>> {
        Ok(None)
    }

    fn contiguous(&self) -> Result<Self> {
        Tensor::contiguous(self)
    }

    fn add(&self, other: &Self) -> Result<Self> {
        self + other
    }

    fn add_relu(&self, other: &Self) -> Result<Self> {
        relu(&self.add(other)?)
    }

    fn concat(parts: &[&Self]) -> Result<Self> {
        Tensor::cat(parts, 1)
    }

    fn reshape(&self, shape: &[usize]) -> Result<Self> {
        Tensor::reshape(self, shape)
    }

    fn transpose(&self) -> Result<Self> {
        self.t()
    }

    fn scale(&self, factor: f64) -> Result<Self> {
        self * factor
    }

    fn constant(tensor: Tensor) -> Self {
        tensor.detach()
    }
}

/// The sum of two operands of one shape.
///
/// # Errors
/// If the shapes or number types differ.
pub fn add<V: Operand>(a: &V, b: &V) -> Result<V> {
    a.add(b)
}

/// Images or vectors side by side: `[batch, channels, ...]` joined along the channels.
///
/// # Errors
/// If there are none, or they differ in anything but the channels.
pub fn concat<V: Operand>(parts: &[&V]) -> Result<V> {
    V::concat(parts)
}

/// `[batch, ...]` as `[batch, features]`.
///
/// # Errors
/// If `x` has no batch axis.
pub fn flatten<V: Operand>(x: &V) -> Result<V> {
    let (batch, rest) = x.tensor().dims().split_first().ok_or_else(|| {
        crate::tensor::mismatch("flatten", "x of shape [batch, ...]", format!("{:?}", x.tensor().dims()))
    })?;
    x.contiguous()?.reshape(&[*batch, rest.iter().product()])
}

/// `factor * x`.
///
/// # Errors
/// If `x` is no floating-point tensor.
pub fn scale<V: Operand>(x: &V, factor: f64) -> Result<V> {
    x.scale(factor)
}

impl Operand for Value {
    fn tensor(&self) -> &Tensor {
        self.as_tensor()
    }
}
