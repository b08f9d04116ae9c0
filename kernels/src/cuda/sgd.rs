//! The optimiser's step.

use super::launch::{Real, elements, kernel, values};
use crate::op::Argument;
use crate::sgd::SgdConfig;
use crate::tensor::{mismatch, unsupported};
use candle_core::backend::BackendStorage;
use candle_core::cuda::cudarc::driver::PushKernelArg;
use candle_core::cuda::{CudaStorage, WrapErr};
use candle_core::{DType, Layout, Result};

/// Moves `pair`, `[2, values]`: a parameter and its velocity.
pub(crate) fn sgd_step(
    op: &str,
    cfg: &SgdConfig,
    pair: &mut CudaStorage,
    layout: &Layout,
    gradient: Argument<CudaStorage>,
) -> Result<()> {
    match pair.dtype() {
        DType::F32 => step::<f32>(op, cfg, pair, layout, gradient),
        DType::F64 => step::<f64>(op, cfg, pair, layout, gradient),
        other => Err(unsupported(op, other)),
    }
}

fn step<T: Real>(
    op: &str,
    cfg: &SgdConfig,
    pair: &mut CudaStorage,
    layout: &Layout,
    gradient: Argument<CudaStorage>,
) -> Result<()> {
    let (start, end) = layout
        .contiguous_offsets()
        .ok_or_else(|| mismatch(op, "a contiguous parameter", format!("{layout:?}")))?;
    let (device, count) = (pair.device().clone(), (end - start) / 2);
    let gradient = values::<T>(op, gradient)?;
    let mut pair = pair.as_cuda_slice_mut::<T>()?.slice_mut(start..end);
    let SgdConfig { lr, momentum, weight_decay, nesterov } = *cfg;
    let (n, nesterov) = (count as i64, i32::from(nesterov));
    let step = kernel::<T>(&device, "sgd")?;
    let mut launch = step.builder();
    launch.arg(&mut pair).arg(&gradient).arg(&lr).arg(&momentum).arg(&weight_decay).arg(&nesterov).arg(&n);
    // SAFETY: the kernel's arguments, gradient of n elements (the parameter checks it) and pair of twice as many.
    unsafe { launch.launch(elements(count)) }.w()?;
    Ok(())
}
