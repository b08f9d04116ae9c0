//! Between candle's storages and kernels.

use crate::op::Argument;
use crate::simd::Float;
use crate::tensor::mismatch;
use candle_core::Result;
use candle_core::backend::BackendStorage;
use candle_core::cuda::cudarc::driver::{
    CudaFunction, CudaSlice, CudaStream, CudaView, DeviceRepr, LaunchArgs, LaunchConfig, ValidAsZeroBits,
};
use candle_core::cuda::{CudaDType, CudaDevice, CudaStorage};
use cudarc::cudnn::CudnnDataType;
use std::sync::Arc;

/// Threads of a block.
pub(super) const THREADS: u32 = 256;

const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

/// A number type with kernels.
pub(crate) trait Real: Float + CudaDType + DeviceRepr + ValidAsZeroBits + CudnnDataType {
    /// How the names of its kernels end.
    const SUFFIX: &'static str;
}

impl Real for f32 {
    const SUFFIX: &'static str = "f32";
}

impl Real for f64 {
    const SUFFIX: &'static str = "f64";
}

/// A kernel of `kernels.cuh`, ready for launches on a device's stream.
pub(super) struct Kernel {
    function: CudaFunction,
    stream: Arc<CudaStream>,
}

impl Kernel {
    pub fn builder(&self) -> LaunchArgs<'_> {
        self.stream.launch_builder(&self.function)
    }
}

/// The kernel of this name for numbers of type `T`.
pub(super) fn kernel<T: Real>(device: &CudaDevice, name: &str) -> Result<Kernel> {
    let function = device.get_or_load_custom_func(&format!("{name}_{}", T::SUFFIX), "candle-convnet", PTX)?;
    Ok(Kernel { function: function.into_cuda_function(), stream: device.cuda_stream() })
}

/// The values of an argument of a custom op. The public functions make their arguments contiguous.
pub(super) fn values<'a, T: Real>(
    op: &str,
    (storage, layout): Argument<'a, CudaStorage>,
) -> Result<CudaView<'a, T>> {
    if storage.dtype() != T::DTYPE {
        return Err(mismatch(op, T::DTYPE.as_str(), storage.dtype().as_str()));
    }
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(storage.as_cuda_slice::<T>()?.slice(start..end)),
        None => Err(mismatch(op, "a contiguous layout", format!("{layout:?}"))),
    }
}

/// Room for values that the caller's kernel writes, every one of them.
pub(super) fn room<T: DeviceRepr>(device: &CudaDevice, count: usize) -> Result<CudaSlice<T>> {
    // SAFETY: nothing reads the values before they are written, as every caller says.
    unsafe { device.alloc::<T>(count) }
}

pub(super) fn storage<T: Real>(values: CudaSlice<T>, device: &CudaDevice) -> CudaStorage {
    CudaStorage::wrap_cuda_slice(values, device.clone())
}

/// A thread for each of `count` elements.
pub(super) fn elements(count: usize) -> LaunchConfig {
    grid(count.div_ceil(THREADS as usize) as u32, 1, THREADS)
}

/// `x * y` blocks of `threads` threads.
pub(super) fn grid(x: u32, y: u32, threads: u32) -> LaunchConfig {
    LaunchConfig { grid_dim: (x, y, 1), block_dim: (threads, 1, 1), shared_mem_bytes: 0 }
}

/// Kernels count within a plane and along an axis in `int`.
pub(super) fn int(op: &str, size: usize) -> Result<i32> {
    i32::try_from(size).map_err(|_| mismatch(op, "sizes below 2^31", size))
}

/// How blocks share out `[batch, channels, pixels]`; `struct Walk` of `kernels.cu`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk {
    batch: i32,
    channels: i32,
    pixels: i32,
    sample_shares: i32,
    pixel_shares: i32,
    log_lanes: i32,
}

// SAFETY: six `int`s in the order and the layout of C.
unsafe impl DeviceRepr for Walk {}

/// Values of a channel that are worth a block of their own: 16 for each thread.
const SHARE: usize = 16 * THREADS as usize;
/// The most blocks of a channel. Their sums are added by a warp.
const MOST_SHARES: usize = 128;

impl Walk {
    /// Depends on the sizes only, and so does the order of the sums.
    pub fn new(op: &str, dims: &[usize]) -> Result<Self> {
        let (batch, channels, pixels) = (dims[0], dims[1], dims[2..].iter().product::<usize>());
        let shares = (batch * pixels).div_ceil(SHARE).min(MOST_SHARES);
        let sample_shares = shares.min(batch);
        let pixel_shares = (shares / sample_shares).min(pixels);
        let log_lanes = pixels.next_power_of_two().min(THREADS as usize).ilog2();
        Ok(Self {
            batch: int(op, batch)?,
            channels: int(op, channels)?,
            pixels: int(op, pixels)?,
            sample_shares: sample_shares as i32,
            pixel_shares: pixel_shares as i32,
            log_lanes: log_lanes as i32,
        })
    }

    pub fn channels(&self) -> usize {
        self.channels as usize
    }

    pub fn shares(&self) -> i32 {
        self.sample_shares * self.pixel_shares
    }

    pub fn grid(&self) -> LaunchConfig {
        grid(self.channels as u32, self.shares() as u32, THREADS)
    }

    /// Room for `sums` partial sums of each share.
    pub fn partials(&self, device: &CudaDevice, sums: usize) -> Result<CudaSlice<f64>> {
        room(device, self.channels() * self.shares() as usize * sums)
    }
}
