//! The device's memory: how much is used, and what its lack looks like.

use candle_core::cuda::cudarc::driver::{DriverError, sys};
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

/// From now on tensors and workspaces of this process take at most `bytes` of `device`; what would need more fails
/// with an error that [`is_out_of_memory`] knows. To be called before anything is put there. Nothing on a CPU.
///
/// # Errors
/// If the driver has no memory pools (it is older than CUDA 12.2, or the device cannot), or refuses.
pub fn limit_memory(device: &Device, bytes: u64) -> Result<()> {
    let Device::Cuda(device) = device else { return Ok(()) };
    let context = device.cuda_stream().context().clone();
    if !context.has_async_alloc() {
        return Err(Error::Cuda("expected a device with memory pools, to limit its memory".into()));
    }
    // SAFETY: plain numbers and pointers, for which zero means nothing and the default.
    let mut properties: sys::CUmemPoolProps = unsafe { std::mem::zeroed() };
    properties.allocType = sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.handleTypes = sys::CUmemAllocationHandleType::CU_MEM_HANDLE_TYPE_NONE;
    properties.location.type_ = sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE;
    // The second number of a location; newer headers wrap it into a union.
    // SAFETY: a location begins with two 32-bit numbers in every version that knows pools.
    unsafe {
        (&raw mut properties.location).cast::<[i32; 2]>().cast::<i32>().add(1).write(context.ordinal() as i32)
    };
    properties.maxSize = bytes as usize;
    let mut pool = std::ptr::null_mut();
    // SAFETY: both pointers are valid; the pool lives as long as the process.
    unsafe { sys::cuMemPoolCreate(&raw mut pool, &raw const properties) }.result().w()?;
    // SAFETY: a device that exists and a pool that was made for it.
    unsafe { sys::cuDeviceSetMemPool(context.cu_device(), pool) }.result().w()?;
    keep_freed_memory(device)
}

/// Waits for the device and gives back to it what is free but kept.
///
/// # Errors
/// If the work before failed, or the driver refuses.
pub fn trim_memory(device: &Device) -> Result<()> {
    let Device::Cuda(device) = device else { return Ok(()) };
    device.cuda_stream().synchronize().w()?;
    // SAFETY: the pool that is in use.
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

/// The pool that tensors come from: the device's own, or that of [`limit_memory`].
fn pool(device: &CudaDevice) -> Result<sys::CUmemoryPool> {
    let mut pool = std::ptr::null_mut();
    // SAFETY: a device that exists.
    unsafe { sys::cuDeviceGetMemPool(&raw mut pool, device.cuda_stream().context().cu_device()) }
        .result()
        .w()?;
    Ok(pool)
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
