//! The operations on NVIDIA GPUs: convolution by cuDNN, the rest by kernels of this crate.
//!
//! Nothing here needs to be called: with the feature `cuda` on, the crate's functions take tensors on CUDA
//! devices too. What can be set is in [`Options`]; the rest helps to find devices, to measure and to watch
//! the memory.
//!
//! Several threads may use one device. Each has a cuDNN handle and a workspace of its own, so give all of them
//! clones of one [`candle_core::Device`], made by [`candle_core::Device::new_cuda_with_stream`]: its stream
//! keeps their work in order. (A device from `new_cuda` has a stream for each thread, and nothing orders a
//! tensor that is made in one thread and used in another.)

mod choice;
mod conv;
mod cudnn;
mod elementwise;
mod launch;
mod loss;
mod memory;
mod norm;
mod pool;
mod sgd;
mod sums;
mod timing;

pub(crate) use conv::{conv_forward, conv_input_gradient, conv_weight_gradient};
pub(crate) use elementwise::{mix, relu, relu_gradient};
pub(crate) use loss::{cross_entropy, cross_entropy_gradient};
pub(crate) use norm::{Channels, norm_eval, norm_gradient, norm_train};
pub(crate) use pool::{PoolKind, Windows, pool, pool_gradient};
pub(crate) use sgd::sgd_step;
pub(crate) use sums::{channel_sums, dot};

pub use memory::{MemoryUse, is_out_of_memory, memory_use, reset_peak_memory, trim_memory};
pub use timing::time;

use std::sync::{PoisonError, RwLock};

/// How the operations run on CUDA devices; for the whole process, see [`set_options`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Options {
    /// Only algorithms that give the same bits every time. Algorithms are chosen by cuDNN's heuristics from
    /// the sizes alone, never by timing, so equal programs then give equal results on equal machines.
    pub deterministic: bool,
    /// Let convolutions in f32 round their factors to TF32, which has 10 bits after the point instead of 23.
    pub allow_tf32: bool,
    /// The most memory, in bytes, that a thread's convolutions may use besides their arguments and results.
    /// The memory is kept and used again.
    pub workspace: usize,
}

impl Options {
    const DEFAULT: Self = Self { deterministic: true, allow_tf32: false, workspace: 256 << 20 };
}

impl Default for Options {
    /// Deterministic, no TF32, 256 MiB of workspace.
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

/// The number of CUDA devices, 0 also if there is no driver that could tell.
pub fn device_count() -> usize {
    cudarc::driver::CudaContext::device_count().map_or(0, |count| count.max(0) as usize)
}
