//! Cross entropy.

use super::launch::{THREADS, grid, int, kernel, room, storage, values};
use crate::op::Argument;
use crate::tensor::with_float;
use candle_core::Result;
use candle_core::backend::BackendStorage;
use candle_core::cuda::cudarc::driver::PushKernelArg;
use candle_core::cuda::{CudaStorage, WrapErr};

/// Threads of the one block that sums the losses: a warp for each of 32 rows at a time.
const LOSS_THREADS: u32 = 1024;

/// (logits, targets), both `[batch, classes]` -> the mean loss
pub(crate) fn cross_entropy(
    op: &str,
    (logits, layout): Argument<CudaStorage>,
    (targets, targets_layout): Argument<CudaStorage>,
) -> Result<CudaStorage> {
    let device = logits.device();
    let (batch, classes) = layout.shape().dims2()?;
    let (batch, classes) = (int(op, batch)?, int(op, classes)?);
    with_float!(op, logits.dtype(), T => {
        let (logits, targets) = (values::<T>(op, (logits, layout))?, values::<T>(op, (targets, targets_layout))?);
        let mut loss = room::<T>(device, 1)?;
        let cross_entropy = kernel::<T>(device, "cross_entropy")?;
        let mut launch = cross_entropy.builder();
        launch.arg(&logits).arg(&targets).arg(&mut loss).arg(&batch).arg(&classes);
        // SAFETY: the kernel's arguments, logits and targets of batch * classes elements, one block.
        unsafe { launch.launch(grid(1, 1, LOSS_THREADS)) }.w()?;
        Ok(storage(loss, device))
    })
}

/// (logits, targets) -> the gradient of the mean loss
pub(crate) fn cross_entropy_gradient(
    op: &str,
    (logits, layout): Argument<CudaStorage>,
    (targets, targets_layout): Argument<CudaStorage>,
) -> Result<CudaStorage> {
    let device = logits.device();
    let (batch, classes) = layout.shape().dims2()?;
    let (rows, columns) = (int(op, batch)?, int(op, classes)?);
    with_float!(op, logits.dtype(), T => {
        let (logits, targets) = (values::<T>(op, (logits, layout))?, values::<T>(op, (targets, targets_layout))?);
        let mut gradient = room::<T>(device, batch * classes)?;
        let kernel = kernel::<T>(device, "cross_entropy_gradient")?;
        let mut launch = kernel.builder();
        launch.arg(&logits).arg(&targets).arg(&mut gradient).arg(&rows).arg(&columns);
        let blocks = batch.div_ceil(THREADS as usize / 32) as u32;
        // SAFETY: the kernel's arguments, all tensors of batch * classes elements, a warp for each row.
        unsafe { launch.launch(grid(blocks, 1, THREADS)) }.w()?;
        Ok(storage(gradient, device))
    })
}
