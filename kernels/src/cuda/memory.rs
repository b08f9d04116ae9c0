//! The device's memory: how much is used, and what its lack looks like.

use candle_core::cuda::cudarc::driver::{DriverError, result, sys};
use candle_core::cuda::{CudaDevice, CudaError, WrapErr};
use candle_core::{Device, Error, Result};

/// Memory of one device that this process uses for tensors and workspaces, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUse {
    /// In tensors and workspaces now.
    pub used: u64,
    /// The most that was used at one time since the start or the last [`reset_peak_memory`].
    pub peak: u64,
    /// Taken from the device: used, or free and kept for the next tensor.
    pub reserved: u64,
}

/// The memory that this process uses on `device`; all zero on a CPU.
///
/// Work that is queued but not done counts as it will be: memory is taken and given back in the order of the
/// stream.
///
/// # Errors
/// If the driver does not tell.
pub fn memory_use(device: &Device) -> Result<MemoryUse> {
    let Device::Cuda(device) = device else {
        return Ok(MemoryUse { used: 0, peak: 0, reserved: 0 });
    };
    use sys::CUmemPool_attribute as Attribute;
    Ok(MemoryUse {
        used: attribute(device, Attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?,
        peak: attribute(device, Attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)?,
        reserved: attribute(device, Attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?,
    })
}

/// Lets [`MemoryUse::peak`] start anew from what is used now.
///
/// # Errors
/// If the driver refuses.
pub fn reset_peak_memory(device: &Device) -> Result<()> {
    match device {
        Device::Cuda(device) => {
            set_attribute(device, sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH, 0)
        }
        Device::Cpu | Device::Metal(_) => Ok(()),
    }
}

/// Waits for the device and gives back to it what is free but kept.
///
/// # Errors
/// If the work before failed, or the driver refuses.
pub fn trim_memory(device: &Device) -> Result<()> {
    let Device::Cuda(device) = device else { return Ok(()) };
    device.cuda_stream().synchronize().w()?;
    // SAFETY: the device's own pool.
    unsafe { sys::cuMemPoolTrimTo(pool(device)?, 0) }.result().w()
}

/// Whether an operation failed because the device has no memory left. The device is as good as before.
pub fn is_out_of_memory(error: &Error) -> bool {
    match error {
        Error::Cuda(cause) => match cause.downcast_ref::<CudaError>() {
            Some(CudaError::Cuda(error)) => error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY,
            _ => false,
        },
        Error::WithBacktrace { inner, .. } | Error::WithPath { inner, .. } | Error::Context { inner, .. } => {
            is_out_of_memory(inner)
        }
        _ => false,
    }
}

/// The error that [`is_out_of_memory`] knows.
pub(super) fn out_of_memory() -> Error {
    CudaError::Cuda(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)).into()
}

/// Lets the device's pool keep freed memory. By default it gives everything back whenever the host waits, as it
/// does at each step's loss, and taking it again costs more than a small network's step.
pub(super) fn keep_freed_memory(device: &CudaDevice) -> Result<()> {
    if !device.cuda_stream().context().has_async_alloc() {
        return Ok(());
    }
    set_attribute(device, sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, u64::MAX)
}

fn pool(device: &CudaDevice) -> Result<sys::CUmemoryPool> {
    // SAFETY: a device that exists.
    unsafe { result::device::get_default_mem_pool(device.cuda_stream().context().cu_device()) }.w()
}

fn attribute(device: &CudaDevice, attribute: sys::CUmemPool_attribute) -> Result<u64> {
    let mut value = 0_u64;
    // SAFETY: all attributes used here are 64 bits wide.
    unsafe { sys::cuMemPoolGetAttribute(pool(device)?, attribute, (&raw mut value).cast()) }.result().w()?;
    Ok(value)
}

fn set_attribute(device: &CudaDevice, attribute: sys::CUmemPool_attribute, mut value: u64) -> Result<()> {
    // SAFETY: all attributes used here are 64 bits wide.
    unsafe { sys::cuMemPoolSetAttribute(pool(device)?, attribute, (&raw mut value).cast()) }.result().w()
}
