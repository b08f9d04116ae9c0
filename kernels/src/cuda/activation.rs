//! Activations, PReLU, products and dropout: a thread for each element.

use super::launch::{elements, kernel, room, storage, values};
use crate::Activation;
use crate::dropout::Mask;
use crate::op::Argument;
use crate::tensor::with_float;
use candle_core::Result;
use candle_core::backend::BackendStorage;
use candle_core::cuda::cudarc::driver::PushKernelArg;
use candle_core::cuda::{CudaStorage, WrapErr};

/// The number of a function in `kernels.cu`, and its slope, low and high end if it has them.
fn function_numbers(function: Activation) -> (i32, [f64; 3]) {
    const NONE: [f64; 3] = [0.0; 3];
    match function {
        Activation::Relu => (0, NONE),
        Activation::Relu6 => (1, NONE),
        Activation::LeakyRelu { slope } => (2, [slope, 0.0, 0.0]),
        Activation::Sigmoid => (3, NONE),
        Activation::Tanh => (4, NONE),
        Activation::Silu => (5, NONE),
        Activation::Gelu => (6, NONE),
        Activation::HardSigmoid => (7, NONE),
        Activation::HardSwish => (8, NONE),
        Activation::Clip { low, high } => (9, [0.0, low, high]),
    }
}

pub(crate) fn activation(
    op: &str,
    (x, layout): Argument<CudaStorage>,
    function: Activation,
) -> Result<CudaStorage> {
    let (device, count) = (x.device(), layout.shape().elem_count());
    let (function, [slope, low, high]) = function_numbers(function);
    with_float!(op, x.dtype(), T => {
        let x = values::<T>(op, (x, layout))?;
        let mut y = room::<T>(device, count)?;
        let (activation, n) = (kernel::<T>(device, "activation")?, count as i64);
        let mut launch = activation.builder();
        launch.arg(&x).arg(&mut y).arg(&function).arg(&slope).arg(&low).arg(&high).arg(&n);
        // SAFETY: the kernel's arguments, x and y of n elements.
        unsafe { launch.launch(elements(count)) }.w()?;
        Ok(storage(y, device))
    })
}

/// (x, dy) -> dx
pub(crate) fn activation_gradient(
    op: &str,
    (x, lx): Argument<CudaStorage>,
    (dy, ldy): Argument<CudaStorage>,
    function: Activation,
) -> Result<CudaStorage> {
    let (device, count) = (x.device(), lx.shape().elem_count());
    let (function, [slope, low, high]) = function_numbers(function);
    with_float!(op, x.dtype(), T => {
        let (x, dy) = (values::<T>(op, (x, lx))?, values::<T>(op, (dy, ldy))?);
        let mut dx = room::<T>(device, count)?;
        let (gradient, n) = (kernel::<T>(device, "activation_gradient")?, count as i64);
        let mut launch = gradient.builder();
        launch.arg(&x).arg(&dy).arg(&mut dx).arg(&function).arg(&slope).arg(&low).arg(&high).arg(&n);
        // SAFETY: the kernel's arguments, all tensors of n elements.
        unsafe { launch.launch(elements(count)) }.w()?;
        Ok(storage(dx, device))
    })
}

/// (x, slope, dy) -> dx; with `x` for `dy` the function itself.
pub(crate) fn prelu_gradient(
    op: &str,
    (x, lx): Argument<CudaStorage>,
    (slope, lslope): Argument<CudaStorage>,
    (dy, ldy): Argument<CudaStorage>,
) -> Result<CudaStorage> {
    let (device, count) = (x.device(), lx.shape().elem_count());
    let (channels, pixels) = (lx.dims()[1] as i64, lx.dims()[2..].iter().product::<usize>() as i64);
    with_float!(op, x.dtype(), T => {
        let (x, dy) = (values::<T>(op, (x, lx))?, values::<T>(op, (dy, ldy))?);
        let slope = values::<T>(op, (slope, lslope))?;
        let mut dx = room::<T>(device, count)?;
        let (gradient, n) = (kernel::<T>(device, "prelu_gradient")?, count as i64);
        let mut launch = gradient.builder();
        launch.arg(&x).arg(&slope).arg(&dy).arg(&mut dx).arg(&pixels).arg(&channels).arg(&n);
        // SAFETY: the kernel's arguments, slope of the channels' elements and the others of n.
        unsafe { launch.launch(elements(count)) }.w()?;
        Ok(storage(dx, device))
    })
}

/// (x, dy) -> what each value adds to the gradient of its channel's slope.
pub(crate) fn prelu_slope_terms(
    op: &str,
    (x, lx): Argument<CudaStorage>,
    (dy, ldy): Argument<CudaStorage>,
) -> Result<CudaStorage> {
    let (device, count) = (x.device(), lx.shape().elem_count());
    with_float!(op, x.dtype(), T => {
        let (x, dy) = (values::<T>(op, (x, lx))?, values::<T>(op, (dy, ldy))?);
        let mut terms = room::<T>(device, count)?;
        let (kernel, n) = (kernel::<T>(device, "prelu_slope_terms")?, count as i64);
        let mut launch = kernel.builder();
        launch.arg(&x).arg(&dy).arg(&mut terms).arg(&n);
        // SAFETY: the kernel's arguments, all tensors of n elements.
        unsafe { launch.launch(elements(count)) }.w()?;
        Ok(storage(terms, device))
    })
}

/// `plane` neighbouring values of `x` share a number of the gate.
pub(crate) fn multiply(
    op: &str,
    (x, lx): Argument<CudaStorage>,
    (gate, lgate): Argument<CudaStorage>,
    plane: usize,
) -> Result<CudaStorage> {
    let (device, count) = (x.device(), lx.shape().elem_count());
    with_float!(op, x.dtype(), T => {
        let (x, gate) = (values::<T>(op, (x, lx))?, values::<T>(op, (gate, lgate))?);
        let mut y = room::<T>(device, count)?;
        let (multiply, plane, n) = (kernel::<T>(device, "multiply")?, plane as i64, count as i64);
        let mut launch = multiply.builder();
        launch.arg(&x).arg(&gate).arg(&mut y).arg(&plane).arg(&n);
        // SAFETY: the kernel's arguments, gate of n / plane elements and the others of n.
        unsafe { launch.launch(elements(count)) }.w()?;
        Ok(storage(y, device))
    })
}

pub(crate) fn dropout(op: &str, (x, layout): Argument<CudaStorage>, mask: Mask) -> Result<CudaStorage> {
    let (device, count) = (x.device(), layout.shape().elem_count());
    with_float!(op, x.dtype(), T => {
        let x = values::<T>(op, (x, layout))?;
        let mut y = room::<T>(device, count)?;
        let (dropout, n) = (kernel::<T>(device, "dropout")?, count as i64);
        let mut launch = dropout.builder();
        launch.arg(&x).arg(&mut y).arg(&mask.key).arg(&mask.threshold).arg(&mask.factor).arg(&n);
        // SAFETY: the kernel's arguments, x and y of n elements.
        unsafe { launch.launch(elements(count)) }.w()?;
        Ok(storage(y, device))
    })
}
