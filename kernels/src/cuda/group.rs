//! Group normalisation: a block for each group of each sample.

use super::launch::{THREADS, elements, grid, int, kernel, room, storage, values};
use crate::op::Argument;
use crate::tensor::with_float;
use candle_core::Result;
use candle_core::backend::BackendStorage;
use candle_core::cuda::cudarc::driver::{LaunchConfig, PushKernelArg};
use candle_core::cuda::{CudaStorage, WrapErr};

/// How `[batch, channels, pixels]` falls into groups of `members` channels.
struct Groups {
    batch: i32,
    channels: i64,
    groups: i32,
    members: i64,
    pixels: i64,
    /// Of all samples.
    blocks: i32,
}

impl Groups {
    fn of(op: &str, dims: &[usize], groups: usize) -> Result<Self> {
        let (batch, channels, pixels) = (dims[0], dims[1], dims[2..].iter().product::<usize>());
        Ok(Self {
            batch: int(op, batch)?,
            channels: channels as i64,
            groups: int(op, groups)?,
            members: (channels / groups) as i64,
            pixels: pixels as i64,
            blocks: int(op, batch * groups)?,
        })
    }

    fn grid(&self) -> LaunchConfig {
        grid(self.blocks as u32, 1, THREADS)
    }
}

pub(crate) fn group_norm(
    op: &str,
    (x, lx): Argument<CudaStorage>,
    (gamma, lgamma): Argument<CudaStorage>,
    (beta, lbeta): Argument<CudaStorage>,
    (groups, eps): (usize, f64),
) -> Result<CudaStorage> {
    let (device, g) = (x.device(), Groups::of(op, lx.dims(), groups)?);
    with_float!(op, x.dtype(), T => {
        let x = values::<T>(op, (x, lx))?;
        let (gamma, beta) = (values::<T>(op, (gamma, lgamma))?, values::<T>(op, (beta, lbeta))?);
        let mut y = room::<T>(device, lx.shape().elem_count())?;
        let norm = kernel::<T>(device, "group_norm")?;
        let mut launch = norm.builder();
        launch.arg(&x).arg(&gamma).arg(&beta).arg(&mut y);
        launch.arg(&eps).arg(&g.groups).arg(&g.members).arg(&g.pixels);
        // SAFETY: the kernel's arguments, x and y of a group for each block, gamma and beta of the channels.
        unsafe { launch.launch(g.grid()) }.w()?;
        Ok(storage(y, device))
    })
}

/// (x, gamma, dy) -> dx, dgamma and dbeta, one behind the other.
pub(crate) fn group_norm_gradient(
    op: &str,
    (x, lx): Argument<CudaStorage>,
    (gamma, lgamma): Argument<CudaStorage>,
    (dy, ldy): Argument<CudaStorage>,
    (groups, eps): (usize, f64),
) -> Result<CudaStorage> {
    let (device, g, count) = (x.device(), Groups::of(op, lx.dims(), groups)?, lx.shape().elem_count());
    let channels = lx.dims()[1];
    with_float!(op, x.dtype(), T => {
        let (x, gamma) = (values::<T>(op, (x, lx))?, values::<T>(op, (gamma, lgamma))?);
        let dy = values::<T>(op, (dy, ldy))?;
        let mut packed = room::<T>(device, count + 2 * channels)?;
        let mut shares = room::<f64>(device, lx.dims()[0] * channels * 2)?;
        let gradient = kernel::<T>(device, "group_norm_gradient")?;
        let mut launch = gradient.builder();
        launch.arg(&x).arg(&gamma).arg(&dy).arg(&mut packed).arg(&mut shares);
        launch.arg(&eps).arg(&g.groups).arg(&g.members).arg(&g.pixels);
        // SAFETY: the kernel's arguments; packed has room for dx, shares for two of each sample's channels.
        unsafe { launch.launch(g.grid()) }.w()?;

        let mut parameters = packed.slice_mut(count..);
        let sums = kernel::<T>(device, "group_norm_parameters")?;
        let mut launch = sums.builder();
        launch.arg(&shares).arg(&mut parameters).arg(&g.batch).arg(&g.channels);
        // SAFETY: the kernel's arguments, parameters of twice the channels.
        unsafe { launch.launch(elements(channels)) }.w()?;
        Ok(storage(packed, device))
    })
}
