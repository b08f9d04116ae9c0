//! What the catalogue does to tensors, as plain functions, for models that are not a [`Network`](crate::Network).
//!
//! A model written by hand is grown by putting what these functions return in the place of its tensors. Arguments are
//! never changed; results have their number format and device. Layouts are PyTorch's and candle-nn's: kernels
//! `[out, in / groups, height, width]`, matrices `[out, in]`, vectors `[out]`.
//!
//! | the model gets | the layer that makes the channels | what follows them (batch norm, depthwise) | who reads them |
//! |---|---|---|---|
//! | copies of channels ([`replication`]) | [`gather_out`] | [`gather_out`] | [`gather_in`] with the shares |
//! | fresh channels | [`fresh_out`], [`pad_out`] for a bias | [`pad_out`], [`fresh_out`] | [`pad_in_zeros`] |
//! | a concatenation skip | | | [`pad_in_zeros`] |
//! | fewer channels | [`gather_out`] | [`gather_out`] | [`gather_in`] without shares |
//! | a larger kernel, a smaller one | [`pad_kernel`], [`crop_kernel`] | | |
//! | a layer more | [`dirac`] or [`identity_linear`], then [`identity_batch_norm`] | | |
//! | batch norms folded away | [`fold_batch_norm`] | | |
//! | a depthwise-separable convolution | [`separate`] | | |
//!
//! Behind a flatten, a channel is `height x width` columns: [`Replication::repeated`].
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use candle_convnet::{Conv2dConfig, conv2d, relu};
//! use morphisms::surgery::{gather_in, gather_out, replication};
//!
//! let (dtype, device) = (DType::F64, Device::Cpu);
//! let images = Tensor::arange(0f64, 50., &device)?.reshape((2, 1, 5, 5))?;
//! let first = Tensor::arange(-9f64, 9., &device)?.reshape((2, 1, 3, 3))?;
//! let second = Tensor::ones((4, 2, 3, 3), dtype, &device)?;
//! let same = Conv2dConfig { padding: (1, 1).into(), ..Default::default() };
//! let model = |first: &Tensor, second: &Tensor| {
//!     conv2d(&relu(&conv2d(&images, first, None, &same)?)?, second, None, &same)
//! };
//!
//! let wider = replication(2, 3, 0)?; // three channels in the place of two
//! let after = model(&gather_out(&first, &wider.of)?, &gather_in(&second, &wider.of, Some(&wider.share))?)?;
//! let difference: f64 = (after - model(&first, &second)?)?.abs()?.max_all()?.to_scalar()?;
//! assert!(difference < 1e-10);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod channels;
mod identity;
mod kernel;
mod norm;
mod separable;

pub use channels::{Replication, fresh_out, gather_in, gather_out, pad_in_zeros, pad_out, replication};
pub use identity::{dirac, identity_linear};
pub use kernel::{crop_kernel, pad_kernel};
pub use norm::{BatchNorm, channel_statistics, fold_batch_norm, identity_batch_norm};
pub use separable::{Separable, separate};

pub(crate) use channels::gather;
pub(crate) use identity::impulses;

use std::fmt::Display;

use candle_core::Tensor;

use crate::{Error, Result};

/// An [`Error::Surgery`].
fn refuse<T>(function: &'static str, expected: impl Display, found: impl Display) -> Result<T> {
    Err(Error::Surgery { function, expected: expected.to_string(), found: found.to_string() })
}

/// Whether `tensor` has the shape `[out]`.
fn check_vector(function: &'static str, name: &str, tensor: &Tensor, out: usize) -> Result<()> {
    match tensor.dims() {
        &[found] if found == out => Ok(()),
        found => refuse(function, format!("{name} of shape [{out}]"), shape(found)),
    }
}

fn shape(dims: &[usize]) -> String {
    format!("shape {dims:?}")
}
