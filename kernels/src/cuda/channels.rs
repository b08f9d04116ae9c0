//! Operations across channels: their order, and local response normalisation. A thread for each element.

use super::launch::{elements, int, kernel, room, storage, values};
use crate::op::Argument;
use crate::response::LocalResponseNorm;
use crate::tensor::with_float;
use candle_core::Result;
use candle_core::backend::BackendStorage;
use candle_core::cuda::cudarc::driver::{DeviceRepr, PushKernelArg};
use candle_core::cuda::{CudaStorage, WrapErr};

/// `groups` groups of `members` channels, in rows, become columns.
pub(crate) fn channel_shuffle(
    op: &str,
    (x, layout): Argument<CudaStorage>,
    [groups, members]: [usize; 2],
) -> Result<CudaStorage> {
    let (device, count) = (x.device(), layout.shape().elem_count());
    let plane = layout.dims()[2..].iter().product::<usize>() as i64;
    let (groups, members) = (int(op, groups)?, int(op, members)?);
    with_float!(op, x.dtype(), T => {
        let x = values::<T>(op, (x, layout))?;
        let mut y = room::<T>(device, count)?;
        let (shuffle, n) = (kernel::<T>(device, "channel_shuffle")?, count as i64);
        let mut launch = shuffle.builder();
        launch.arg(&x).arg(&mut y).arg(&groups).arg(&members).arg(&plane).arg(&n);
        // SAFETY: the kernel's arguments, x and y of n elements, whole samples of groups * members planes.
        unsafe { launch.launch(elements(count)) }.w()?;
        Ok(storage(y, device))
    })
}

/// The numbers of a local response normalisation; `struct Response` of `kernels.cu`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Response {
    scale: f64,
    beta: f64,
    bias: f64,
    channels: i32,
    pixels: i32,
    before: i32,
    behind: i32,
}

// SAFETY: three `double`s and four `int`s in the order and the layout of C.
unsafe impl DeviceRepr for Response {}

impl Response {
    fn new(op: &str, norm: &LocalResponseNorm) -> Result<Self> {
        let [before, behind] = norm.reach();
        Ok(Self {
            scale: norm.scale(),
            beta: norm.cfg.beta,
            bias: norm.cfg.bias,
            channels: int(op, norm.shape.channels)?,
            pixels: int(op, norm.shape.pixels)?,
            before: int(op, before)?,
            behind: int(op, behind)?,
        })
    }
}

pub(crate) fn local_response_norm(
    op: &str,
    (x, layout): Argument<CudaStorage>,
    norm: &LocalResponseNorm,
) -> Result<CudaStorage> {
    let (device, count) = (x.device(), layout.shape().elem_count());
    let response = Response::new(op, norm)?;
    with_float!(op, x.dtype(), T => {
        let x = values::<T>(op, (x, layout))?;
        let mut y = room::<T>(device, count)?;
        let (divide, n) = (kernel::<T>(device, "local_response_norm")?, count as i64);
        let mut launch = divide.builder();
        launch.arg(&x).arg(&mut y).arg(&n).arg(&response);
        // SAFETY: the kernel's arguments, x and y of n elements, whole samples of the response's sizes.
        unsafe { launch.launch(elements(count)) }.w()?;
        Ok(storage(y, device))
    })
}

/// (x, dy) -> dx
pub(crate) fn local_response_norm_gradient(
    op: &str,
    (x, lx): Argument<CudaStorage>,
    (dy, ldy): Argument<CudaStorage>,
    norm: &LocalResponseNorm,
) -> Result<CudaStorage> {
    let (device, count) = (x.device(), lx.shape().elem_count());
    let response = Response::new(op, norm)?;
    with_float!(op, x.dtype(), T => {
        let (x, dy) = (values::<T>(op, (x, lx))?, values::<T>(op, (dy, ldy))?);
        let mut dx = room::<T>(device, count)?;
        let (gradient, n) = (kernel::<T>(device, "local_response_norm_gradient")?, count as i64);
        let mut launch = gradient.builder();
        launch.arg(&x).arg(&dy).arg(&mut dx).arg(&n).arg(&response);
        // SAFETY: the kernel's arguments, all of n elements, whole samples of the response's sizes.
        unsafe { launch.launch(elements(count)) }.w()?;
        Ok(storage(dx, device))
    })
}
