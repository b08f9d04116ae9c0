//! Sums, in double and in an order that depends on the sizes only.

use super::launch::{Real, THREADS, Walk, grid, int, kernel, room, storage, values};
use crate::op::Argument;
use crate::tensor::with_float;
use candle_core::Result;
use candle_core::backend::BackendStorage;
use candle_core::cuda::cudarc::driver::{CudaSlice, PushKernelArg};
use candle_core::cuda::{CudaDevice, CudaStorage, WrapErr};

/// Values of one block of a dot product, 32 for each thread, and the most blocks.
const DOT_SHARE: usize = 32 * THREADS as usize;
const MOST_DOT_SHARES: usize = 256;

/// The sum of the products of two tensors of one shape, as one value.
pub(crate) fn dot(
    op: &str,
    (a, la): Argument<CudaStorage>,
    (b, lb): Argument<CudaStorage>,
) -> Result<CudaStorage> {
    let (device, count) = (a.device(), la.shape().elem_count());
    let shares = count.div_ceil(DOT_SHARE).clamp(1, MOST_DOT_SHARES);
    with_float!(op, a.dtype(), T => {
        let (a, b) = (values::<T>(op, (a, la))?, values::<T>(op, (b, lb))?);
        let mut partials = room::<f64>(device, shares)?;
        let (dot, n) = (kernel::<T>(device, "dot_partials")?, count as i64);
        let mut launch = dot.builder();
        launch.arg(&a).arg(&b).arg(&mut partials).arg(&n);
        // SAFETY: the kernel's arguments, a and b of n elements, partials of one for each block.
        unsafe { launch.launch(grid(shares as u32, 1, THREADS)) }.w()?;
        Ok(storage(finish::<T>(device, &partials, 1, shares as i32)?, device))
    })
}

/// (a, b), both `[batch, channels, height, width]` -> `[batch * channels]`, the sums of the products of each
/// plane.
pub(crate) fn plane_dots(
    op: &str,
    (a, la): Argument<CudaStorage>,
    (b, lb): Argument<CudaStorage>,
) -> Result<CudaStorage> {
    let (device, planes) = (a.device(), la.dims()[0] * la.dims()[1]);
    let (blocks, plane) = (int(op, planes)? as u32, (la.shape().elem_count() / planes) as i64);
    with_float!(op, a.dtype(), T => {
        let (a, b) = (values::<T>(op, (a, la))?, values::<T>(op, (b, lb))?);
        let mut dots = room::<T>(device, planes)?;
        let kernel = kernel::<T>(device, "plane_dots")?;
        let mut launch = kernel.builder();
        launch.arg(&a).arg(&b).arg(&mut dots).arg(&plane);
        // SAFETY: the kernel's arguments, a and b of a plane for each block, dots of one element for each.
        unsafe { launch.launch(grid(blocks, 1, THREADS)) }.w()?;
        Ok(storage(dots, device))
    })
}

/// `[batch, channels, ...]` -> `[channels]`
pub(crate) fn channel_sums(op: &str, (x, layout): Argument<CudaStorage>) -> Result<CudaStorage> {
    let device = x.device();
    let walk = Walk::new(op, layout.dims())?;
    with_float!(op, x.dtype(), T => {
        let x = values::<T>(op, (x, layout))?;
        let mut partials = walk.partials(device, 1)?;
        let sums = kernel::<T>(device, "channel_partials")?;
        let mut launch = sums.builder();
        launch.arg(&x).arg(&mut partials).arg(&walk);
        // SAFETY: the kernel's arguments, x of the walk's shape, partials of one for each block.
        unsafe { launch.launch(walk.grid()) }.w()?;
        Ok(storage(finish::<T>(device, &partials, walk.channels(), walk.shares())?, device))
    })
}

/// `[count, shares]` -> `[count]`
fn finish<T: Real>(
    device: &CudaDevice,
    partials: &CudaSlice<f64>,
    count: usize,
    shares: i32,
) -> Result<CudaSlice<T>> {
    let mut sums = room::<T>(device, count)?;
    let finish = kernel::<T>(device, "finish_sums")?;
    let mut launch = finish.builder();
    launch.arg(partials).arg(&mut sums).arg(&shares);
    // SAFETY: the kernel's arguments, partials of count * shares elements, sums of one for each block.
    unsafe { launch.launch(grid(count as u32, 1, 32)) }.w()?;
    Ok(sums)
}
