//! Batch normalisation: a pass for the sums of each channel, and one for the result.
//!
//! cuDNN's would do, were it not for three things: it does not fuse the ReLU for f32 and f64 in this order of
//! axes, it returns `1 / sqrt(variance + eps)`, from which a small variance cannot be had back, and it has no
//! backward pass for given moments.

use super::launch::{Walk, kernel, room, storage, values};
use crate::op::Argument;
use crate::tensor::{mismatch, with_float};
use candle_core::backend::BackendStorage;
use candle_core::cuda::cudarc::driver::{CudaSlice, PushKernelArg};
use candle_core::cuda::{CudaStorage, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{Result, Storage, Tensor};

/// What a forward pass leaves for the backward pass.
pub(crate) struct Channels {
    /// `[4, channels]`: mean, 1 / standard deviation, gamma, beta.
    values: CudaSlice<f64>,
}

/// By the batch's own moments, which are the third result, `[2, channels]`: mean and variance.
pub(crate) fn norm_train(
    op: &str,
    (x, lx): Argument<CudaStorage>,
    (gamma, lgamma): Argument<CudaStorage>,
    (beta, lbeta): Argument<CudaStorage>,
    (eps, relu): (f64, bool),
) -> Result<(CudaStorage, Channels, Tensor)> {
    let (device, walk, relu) = (x.device(), Walk::new(op, lx.dims())?, i32::from(relu));
    with_float!(op, x.dtype(), T => {
        let x = values::<T>(op, (x, lx))?;
        let (gamma, beta) = (values::<T>(op, (gamma, lgamma))?, values::<T>(op, (beta, lbeta))?);
        let mut partials = walk.partials(device, 2)?;
        let sums = kernel::<T>(device, "moment_partials")?;
        let mut launch = sums.builder();
        launch.arg(&x).arg(&mut partials).arg(&walk);
        // SAFETY: the kernel's arguments, x of the walk's shape, partials of two for each block.
        unsafe { launch.launch(walk.grid()) }.w()?;

        let mut y = room::<T>(device, lx.shape().elem_count())?;
        let mut moments = room::<T>(device, 2 * walk.channels())?;
        let mut saved = room::<f64>(device, 4 * walk.channels())?;
        let norm = kernel::<T>(device, "norm_train")?;
        let mut launch = norm.builder();
        launch.arg(&x).arg(&gamma).arg(&beta).arg(&partials).arg(&mut y).arg(&mut moments).arg(&mut saved);
        launch.arg(&eps).arg(&relu).arg(&walk);
        // SAFETY: the kernel's arguments, in the sizes it states for the walk's channels.
        unsafe { launch.launch(walk.grid()) }.w()?;
        let moments = Storage::Cuda(storage(moments, device));
        let moments = Tensor::from_storage(moments, (2, walk.channels()), BackpropOp::none(), false);
        Ok((storage(y, device), Channels { values: saved }, moments))
    })
}

/// By given moments.
pub(crate) fn norm_eval(
    op: &str,
    (x, lx): Argument<CudaStorage>,
    (gamma, lgamma): Argument<CudaStorage>,
    (beta, lbeta): Argument<CudaStorage>,
    [mean, variance]: &[Tensor; 2],
    (eps, relu): (f64, bool),
) -> Result<(CudaStorage, Channels)> {
    let (device, walk, relu) = (x.device(), Walk::new(op, lx.dims())?, i32::from(relu));
    with_float!(op, x.dtype(), T => {
        let x = values::<T>(op, (x, lx))?;
        let (gamma, beta) = (values::<T>(op, (gamma, lgamma))?, values::<T>(op, (beta, lbeta))?);
        let ((mean, lmean), (variance, lvariance)) = (mean.storage_and_layout(), variance.storage_and_layout());
        let mean = values::<T>(op, (on_cuda(op, &mean)?, lmean))?;
        let variance = values::<T>(op, (on_cuda(op, &variance)?, lvariance))?;
        let mut y = room::<T>(device, lx.shape().elem_count())?;
        let mut saved = room::<f64>(device, 4 * walk.channels())?;
        let norm = kernel::<T>(device, "norm_eval")?;
        let mut launch = norm.builder();
        launch.arg(&x).arg(&gamma).arg(&beta).arg(&mean).arg(&variance).arg(&mut y).arg(&mut saved);
        launch.arg(&eps).arg(&relu).arg(&walk);
        // SAFETY: the kernel's arguments, in the sizes it states for the walk's channels.
        unsafe { launch.launch(walk.grid()) }.w()?;
        Ok((storage(y, device), Channels { values: saved }))
    })
}

fn on_cuda<'a>(op: &str, storage: &'a Storage) -> Result<&'a CudaStorage> {
    match storage {
        Storage::Cuda(storage) => Ok(storage),
        Storage::Cpu(_) | Storage::Metal(_) => Err(mismatch(op, "moments on a CUDA device", "others")),
    }
}

/// (x, dy) -> dx, dgamma and dbeta, one behind the other. `batch_statistics`: the moments depend on x.
pub(crate) fn norm_gradient(
    op: &str,
    (x, lx): Argument<CudaStorage>,
    (dy, ldy): Argument<CudaStorage>,
    channels: &Channels,
    (relu, batch_statistics): (bool, bool),
) -> Result<CudaStorage> {
    let (device, walk) = (x.device(), Walk::new(op, lx.dims())?);
    let (relu, batch_statistics) = (i32::from(relu), i32::from(batch_statistics));
    with_float!(op, x.dtype(), T => {
        let (x, dy) = (values::<T>(op, (x, lx))?, values::<T>(op, (dy, ldy))?);
        let mut partials = walk.partials(device, 2)?;
        let sums = kernel::<T>(device, "norm_gradient_partials")?;
        let mut launch = sums.builder();
        launch.arg(&x).arg(&dy).arg(&channels.values).arg(&mut partials).arg(&relu).arg(&walk);
        // SAFETY: the kernel's arguments, x and dy of the walk's shape, partials of two for each block.
        unsafe { launch.launch(walk.grid()) }.w()?;

        let mut packed = room::<T>(device, lx.shape().elem_count() + 2 * walk.channels())?;
        let gradient = kernel::<T>(device, "norm_gradient")?;
        let mut launch = gradient.builder();
        launch.arg(&x).arg(&dy).arg(&channels.values).arg(&partials).arg(&mut packed);
        launch.arg(&relu).arg(&batch_statistics).arg(&walk);
        // SAFETY: the kernel's arguments; packed has room for x and twice the channels.
        unsafe { launch.launch(walk.grid()) }.w()?;
        Ok(storage(packed, device))
    })
}
