//! Pooling.
//!
//! Not cuDNN's: it promises no winner among equal maxima, here the first one has the gradient.

use super::launch::{THREADS, elements, grid, int, kernel, room, storage, values};
use crate::op::Argument;
use crate::tensor::with_float;
use candle_core::Result;
use candle_core::backend::BackendStorage;
use candle_core::cuda::cudarc::driver::{DeviceRepr, LaunchConfig, PushKernelArg};
use candle_core::cuda::{CudaStorage, WrapErr};

#[derive(Debug, Clone, Copy)]
pub(crate) enum PoolKind {
    Max,
    Average,
    /// Without the padding.
    AverageOfPixels,
}

impl PoolKind {
    /// The name of the forward pass; that of an average's gradient begins with it.
    fn kernel(self) -> &'static str {
        match self {
            Self::Max => "max_pool",
            Self::Average => "average_pool",
            Self::AverageOfPixels => "average_pool_of_pixels",
        }
    }
}

/// The windows over a plane; `struct Windows` of `kernels.cu`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    input: [i32; 2],
    output: [i32; 2],
    kernel: [i32; 2],
    stride: [i32; 2],
    padding: [i32; 2],
}

// SAFETY: ten `int`s in the order and the layout of C.
unsafe impl DeviceRepr for Windows {}

impl Windows {
    /// Input, output, kernel, stride and padding of the vertical and of the horizontal axis.
    pub fn new(op: &str, height: [usize; 5], width: [usize; 5]) -> Result<Self> {
        let pair = |i: usize| Ok::<_, candle_core::Error>([int(op, height[i])?, int(op, width[i])?]);
        Ok(Self { input: pair(0)?, output: pair(1)?, kernel: pair(2)?, stride: pair(3)?, padding: pair(4)? })
    }

    fn output_len(&self) -> usize {
        self.output[0] as usize * self.output[1] as usize
    }

    /// Each pixel is in one window at most.
    fn disjoint(&self) -> bool {
        (0..2).all(|axis| self.stride[axis] >= self.kernel[axis])
    }

    /// The threads of a window, as the exponent of a power of two: one for a small window, a warp for a
    /// large one, such as the whole plane.
    fn log_lanes(&self) -> i32 {
        if self.kernel[0] * self.kernel[1] < 32 { 0 } else { 5 }
    }

    fn launch(&self, windows: usize) -> LaunchConfig {
        grid((windows << self.log_lanes()).div_ceil(THREADS as usize) as u32, 1, THREADS)
    }
}

pub(crate) fn pool(
    (op, kind, windows): (&str, PoolKind, Windows),
    (x, layout): Argument<CudaStorage>,
) -> Result<CudaStorage> {
    let device = x.device();
    let count = layout.dims()[0] * layout.dims()[1] * windows.output_len();
    let name = kind.kernel();
    with_float!(op, x.dtype(), T => {
        let x = values::<T>(op, (x, layout))?;
        let mut y = room::<T>(device, count)?;
        let (pool, n, log_lanes) = (kernel::<T>(device, name)?, count as i64, windows.log_lanes());
        let mut launch = pool.builder();
        launch.arg(&x).arg(&mut y).arg(&n).arg(&windows).arg(&log_lanes);
        // SAFETY: the kernel's arguments, x of whole planes, y of n windows over them.
        unsafe { launch.launch(windows.launch(count)) }.w()?;
        Ok(storage(y, device))
    })
}

/// (x, dy) -> dx
pub(crate) fn pool_gradient(
    (op, kind, windows): (&str, PoolKind, Windows),
    (x, lx): Argument<CudaStorage>,
    (dy, ldy): Argument<CudaStorage>,
) -> Result<CudaStorage> {
    let device = x.device();
    let (pixels, outputs) = (lx.shape().elem_count(), ldy.shape().elem_count());
    let name = kind.kernel();
    with_float!(op, x.dtype(), T => {
        let (x, dy) = (values::<T>(op, (x, lx))?, values::<T>(op, (dy, ldy))?);
        let n = pixels as i64;
        let dx = match kind {
            PoolKind::Max if windows.disjoint() => {
                let mut dx = device.alloc_zeros::<T>(pixels)?;
                let (scatter, n, log_lanes) =
                    (kernel::<T>(device, "max_pool_scatter")?, outputs as i64, windows.log_lanes());
                let mut launch = scatter.builder();
                launch.arg(&x).arg(&dy).arg(&mut dx).arg(&n).arg(&windows).arg(&log_lanes);
                // SAFETY: the kernel's arguments, x and dx of whole planes, dy of n windows over them.
                unsafe { launch.launch(windows.launch(outputs)) }.w()?;
                dx
            }
            PoolKind::Max => {
                let mut dx = room::<T>(device, pixels)?;
                let gather = kernel::<T>(device, "max_pool_gather")?;
                let mut launch = gather.builder();
                launch.arg(&x).arg(&dy).arg(&mut dx).arg(&n).arg(&windows);
                // SAFETY: the kernel's arguments, x and dx of n pixels, dy of the windows over them.
                unsafe { launch.launch(elements(pixels)) }.w()?;
                dx
            }
            PoolKind::Average | PoolKind::AverageOfPixels => {
                let mut dx = room::<T>(device, pixels)?;
                let gather = kernel::<T>(device, &format!("{name}_gradient"))?;
                let mut launch = gather.builder();
                launch.arg(&dy).arg(&mut dx).arg(&n).arg(&windows);
                // SAFETY: the kernel's arguments, dx of n pixels, dy of the windows over them.
                unsafe { launch.launch(elements(pixels)) }.w()?;
                dx
            }
        };
        Ok(storage(dx, device))
    })
}
