//! The operations on NVIDIA GPUs: convolution by cuDNN, the rest by kernels of this crate.
//!
//! Nothing here needs to be called: with the feature `cuda` on, the crate's functions take tensors on CUDA
//! devices too. What can be set is in [`Options`]; the rest helps to find devices, to measure and to watch
//! the memory.
//!
//! Several threads may use one device, each with a cuDNN handle and a workspace of its own: give all of them
//! clones of what [`device`] returns.

mod activation;
mod channels;
mod columns;
mod conv;
mod cudnn;
mod elementwise;
mod frame;
mod group;
mod launch;
mod loss;
mod memory;
mod norm;
mod plan;
mod pool;
mod sgd;
mod sums;
mod timing;

pub(crate) use activation::{
    activation, activation_gradient, dropout, multiply, prelu_gradient, prelu_slope_terms,
};
pub(crate) use channels::{channel_shuffle, local_response_norm, local_response_norm_gradient};
pub(crate) use conv::{conv_forward, conv_input_gradient, conv_weight_gradient};
pub(crate) use elementwise::{mix, relu, relu_gradient};
pub(crate) use group::{group_norm, group_norm_gradient};
pub(crate) use loss::{cross_entropy, cross_entropy_gradient};
pub(crate) use norm::{Channels, norm_eval, norm_gradient, norm_train};
pub(crate) use pool::{PoolKind, Windows, pool, pool_gradient};
pub(crate) use sgd::sgd_step;
pub(crate) use sums::{channel_sums, dot, plane_dots};

pub use memory::{MemoryUse, is_out_of_memory, limit_memory, memory_use, reset_peak_memory, trim_memory};
pub use timing::time;

use candle_core::{Device, Result};
use std::sync::{PoisonError, RwLock};

/// How the operations run on CUDA devices; for the whole process, see [`set_options`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Options {
    /// Only algorithms that give the same bits every time. Unless they are [`timed`](Self::timed), they are
    /// chosen from the sizes alone, so equal programs then give equal results on equal machines.
    pub deterministic: bool,
    /// Time the algorithms for a convolution of new sizes, and keep the fastest. Takes some milliseconds for
    /// each new size, and the choice may differ from run to run.
    pub timed: bool,
    /// Let convolutions in f32 round their factors to TF32, which has 10 bits after the point instead of 23.
    pub allow_tf32: bool,
    /// The most memory, in bytes, that a thread's convolutions may use besides their arguments and results.
    /// The memory is kept and used again.
    pub workspace: usize,
}

impl Options {
    const DEFAULT: Self = Self { deterministic: true, timed: false, allow_tf32: false, workspace: 256 << 20 };
}

impl Default for Options {
    /// Deterministic, nothing timed, no TF32, 256 MiB of workspace.
    fn default() -> Self {
        Self::DEFAULT
    }
}

static OPTIONS: RwLock<Options> = RwLock::new(Options::DEFAULT);

/// Sets how all operations on CUDA devices run from now on, in all threads.
pub fn set_options(options: Options) {
    *OPTIONS.write().unwrap_or_else(PoisonError::into_inner) = options;
}

/// What [`set_options`] set last.
pub fn options() -> Options {
    *OPTIONS.read().unwrap_or_else(PoisonError::into_inner)
}

/// The GPU of this number, for all threads of the process.
///
/// All work goes to one stream, in the order in which it is queued, so a tensor may be made in one thread and
/// used in another. (A device from [`Device::new_cuda`] has a stream for each thread, and nothing orders them.)
/// And with one stream candle need not keep an event for each use of each tensor, which takes a third of a
/// small network's training step. Make one such device for each GPU, clone it, and wait for it
/// ([`Device::synchronize`]) before moving a tensor from it to another GPU.
///
/// # Errors
/// If there is no such GPU, or no driver.
pub fn device(ordinal: usize) -> Result<Device> {
    let device = Device::new_cuda_with_stream(ordinal)?;
    if let Device::Cuda(cuda) = &device {
        // SAFETY: what the events keep in order is in order on a single stream.
        unsafe { cuda.disable_event_tracking() };
    }
    Ok(device)
}

/// The number of CUDA devices, 0 also if there is no driver that could tell.
pub fn device_count() -> usize {
    cudarc::driver::CudaContext::device_count().map_or(0, |count| count.max(0) as usize)
}
