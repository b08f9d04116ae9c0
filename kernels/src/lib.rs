//! The operations of a convolutional network for candle, fast and with correct gradients.
//!
//! candle's own convolution, pooling and activation are slow on CPUs, and some of their gradients are
//! wrong or missing: that of max-pooling is divided by the size of the window, that of a strided
//! convolution fails on inputs that are not square, that of ReLU at 0 is 1. The functions here take and
//! return ordinary [`candle_core::Tensor`]s, are tested against finite differences and PyTorch, and take
//! part in candle's back-propagation like its own.
//!
//! - Images are `[batch, channels, height, width]`, numbers f32 or f64, all arguments of one call alike.
//!   Arguments need not be contiguous.
//! - A bad argument is an error that names the operation, what it expects and what it found.
//! - NaN goes in, NaN comes out, as in PyTorch; [`ConvAlgorithm::Winograd`] has some more of them.
//! - Besides convolution, pooling and batch norm there are [`group_norm`], the usual [`activation`]s and
//!   [`prelu`], [`multiply`] for the gates of squeeze-and-excitation, [`channel_shuffle`], [`local_response_norm`] and
//!   [`dropout`] by seed.
//! - Every function takes tensors, whose gradients candle's back-propagation finds, or values on a [`Tape`],
//!   whose own wastes neither time nor memory. [`Parameter`] holds a trained tensor and steps in place.
//! - Work is spread over the current rayon pool. Results have the same bits for any number of threads;
//!   they may differ in the last bits between processors with and without AVX2.
//!
//! ```
//! use candle_convnet::{Conv2dConfig, Epilogue, Padding, Pool2dConfig, batch_norm_train, conv2d, max_pool2d};
//! use candle_core::{DType, Device, Tensor, Var};
//!
//! let images = Tensor::ones((8, 3, 32, 32), DType::F32, &Device::Cpu)?;
//! let weight = Var::ones((16, 3, 3, 3), DType::F32, &Device::Cpu)?;
//! let gamma = Var::ones(16, DType::F32, &Device::Cpu)?;
//! let beta = Var::zeros(16, DType::F32, &Device::Cpu)?;
//!
//! let same = Conv2dConfig { padding: Padding::even(1, 1), ..Default::default() };
//! let x = conv2d(&images, &weight, None, &same)?;
//! let x = batch_norm_train(&x, &gamma, &beta, 1e-5, Epilogue::Relu)?.output;
//! let halve = Pool2dConfig { kernel: (2, 2), stride: (2, 2), padding: Padding::NONE };
//! let x = max_pool2d(&x, &halve)?;
//! assert_eq!(x.dims(), [8, 16, 16, 16]);
//! let gradients = x.sum_all()?.backward()?;
//! assert!(gradients.get(&weight).is_some());
//! # Ok::<(), candle_core::Error>(())
//! ```
#![warn(missing_docs)]

mod activation;
mod combine;
mod conv;
#[cfg(feature = "cuda")]
pub mod cuda;
mod dropout;
mod linear;
mod loss;
mod mix;
mod multiply;
mod norm;
mod op;
mod operand;
mod padding;
mod parallel;
mod pool;
mod prelu;
mod reduce;
mod residual;
mod response;
mod sgd;
mod shuffle;
mod simd;
mod source;
mod tape;
mod tensor;

pub use activation::{Activation, activation, relu};
pub use conv::{Conv2dConfig, ConvAlgorithm, conv2d, conv2d_batch_norm_train, conv2d_epilogue};
pub use dropout::dropout;
pub use linear::linear;
pub use loss::cross_entropy;
pub use mix::mix;
pub use multiply::multiply;
pub use norm::{BatchNormOutput, Epilogue, batch_norm_eval, batch_norm_train, group_norm};
pub use operand::{Operand, add, concat, flatten, scale};
pub use padding::Padding;
pub use pool::{Pool2dConfig, avg_pool2d, avg_pool2d_excluding_padding, global_avg_pool2d, max_pool2d};
pub use prelu::prelu;
pub use residual::add_relu;
pub use response::{LocalResponseNormConfig, local_response_norm};
pub use sgd::{Parameter, SgdConfig};
pub use shuffle::channel_shuffle;
pub use tape::{Gradients, Tape, Value};

/// The code of the page in the registry compiles too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
