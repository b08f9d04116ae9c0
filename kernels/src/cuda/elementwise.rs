//! Operations that work element by element.

use super::launch::{elements, kernel, room, storage, values};
use crate::op::Argument;
use crate::tensor::with_float;
use candle_core::Result;
use candle_core::backend::BackendStorage;
use candle_core::cuda::cudarc::driver::PushKernelArg;
use candle_core::cuda::{CudaStorage, WrapErr};

pub(crate) fn relu(op: &str, (x, layout): Argument<CudaStorage>) -> Result<CudaStorage> {
    let (device, count) = (x.device(), layout.shape().elem_count());
    with_float!(op, x.dtype(), T => {
        let x = values::<T>(op, (x, layout))?;
        let mut y = room::<T>(device, count)?;
        let (relu, n) = (kernel::<T>(device, "relu")?, count as i64);
        let mut launch = relu.builder();
        launch.arg(&x).arg(&mut y).arg(&n);
        // SAFETY: the kernel's arguments, x and y of n elements.
        unsafe { launch.launch(elements(count)) }.w()?;
        Ok(storage(y, device))
    })
}

/// (y, dy) -> dx
pub(crate) fn relu_gradient(
    op: &str,
    (y, ly): Argument<CudaStorage>,
    (dy, ldy): Argument<CudaStorage>,
) -> Result<CudaStorage> {
    let (device, count) = (y.device(), ly.shape().elem_count());
    with_float!(op, y.dtype(), T => {
        let (y, dy) = (values::<T>(op, (y, ly))?, values::<T>(op, (dy, ldy))?);
        let mut dx = room::<T>(device, count)?;
        let (gradient, n) = (kernel::<T>(device, "relu_gradient")?, count as i64);
        let mut launch = gradient.builder();
        launch.arg(&y).arg(&dy).arg(&mut dx).arg(&n);
        // SAFETY: the kernel's arguments, all tensors of n elements.
        unsafe { launch.launch(elements(count)) }.w()?;
        Ok(storage(dx, device))
    })
}

/// `(1 - lambda) * a + lambda * b`
pub(crate) fn mix(
    op: &str,
    (a, la): Argument<CudaStorage>,
    (b, lb): Argument<CudaStorage>,
    (lambda, llambda): Argument<CudaStorage>,
) -> Result<CudaStorage> {
    let (device, count) = (a.device(), la.shape().elem_count());
    with_float!(op, a.dtype(), T => {
        let (a, b) = (values::<T>(op, (a, la))?, values::<T>(op, (b, lb))?);
        let lambda = values::<T>(op, (lambda, llambda))?;
        let mut y = room::<T>(device, count)?;
        let (mix, n) = (kernel::<T>(device, "mix")?, count as i64);
        let mut launch = mix.builder();
        launch.arg(&a).arg(&b).arg(&lambda).arg(&mut y).arg(&n);
        // SAFETY: the kernel's arguments, lambda of one element and the others of n.
        unsafe { launch.launch(elements(count)) }.w()?;
        Ok(storage(y, device))
    })
}
