//! Between candle tensors and slices: checks of the arguments, and the choice of number type.

use crate::op::Argument;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Error, Layout, Result, Storage, Tensor, WithDType};
use std::ops::Deref;

/// Evaluates a body with `$t` standing for the number type of `$dtype`.
macro_rules! with_float {
    ($op:expr, $dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $t = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $t = f64;
                $body
            }
            other => Err($crate::tensor::unsupported($op, other)),
        }
    };
}
pub(crate) use with_float;

pub(crate) fn unsupported(op: &str, found: DType) -> Error {
    Error::Msg(format!("{op}: expected dtype f32 or f64, found {}", found.as_str())).bt()
}

/// The error of every bad argument: which operation, what it needs, what it got.
pub(crate) fn mismatch(op: &str, expected: impl std::fmt::Display, found: impl std::fmt::Display) -> Error {
    Error::Msg(format!("{op}: expected {expected}, found {found}")).bt()
}

/// All arguments on the CPU or one same device, with one dtype, f32 or f64.
pub(crate) fn check_dtypes(op: &str, arguments: &[(&str, &Tensor)]) -> Result<()> {
    let (first_name, first) = arguments[0];
    if !matches!(first.dtype(), DType::F32 | DType::F64) {
        return Err(unsupported(op, first.dtype()));
    }
    for (name, tensor) in &arguments[1..] {
        if tensor.dtype() != first.dtype() {
            let expected = format!("{name} of dtype {} like {first_name}", first.dtype().as_str());
            return Err(mismatch(op, expected, tensor.dtype().as_str()));
        }
        if !tensor.device().same_device(first.device()) {
            let expected = format!("{name} on {:?} like {first_name}", first.device().location());
            return Err(mismatch(op, expected, format!("{:?}", tensor.device().location())));
        }
    }
    Ok(())
}

/// `tensor` has exactly the shape `expected`.
pub(crate) fn check_shape(op: &str, name: &str, tensor: &Tensor, expected: &[usize]) -> Result<()> {
    if tensor.dims() != expected {
        return Err(mismatch(op, format!("{name} of shape {expected:?}"), format!("{:?}", tensor.dims())));
    }
    Ok(())
}

/// The four sizes of `[batch, channels, height, width]`, none of them zero.
pub(crate) fn image_dims(op: &str, name: &str, tensor: &Tensor) -> Result<[usize; 4]> {
    match tensor.dims() {
        &[b, c, h, w] if b * c * h * w > 0 => Ok([b, c, h, w]),
        other => {
            let expected = format!("{name} of shape [batch, channels, height, width], no size zero");
            Err(mismatch(op, expected, format!("{other:?}")))
        }
    }
}

/// The values of an argument of a custom op. The public functions make their arguments contiguous.
pub(crate) fn values<'a, T: WithDType>(
    op: &str,
    (storage, layout): Argument<'a, CpuStorage>,
) -> Result<&'a [T]> {
    if storage.dtype() != T::DTYPE {
        return Err(mismatch(op, T::DTYPE.as_str(), storage.dtype().as_str()));
    }
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<T>()?[start..end]),
        None => Err(mismatch(op, "a contiguous layout", format!("{layout:?}"))),
    }
}

/// A tensor on the CPU, held to be read.
pub(crate) struct Host<'a, S> {
    storage: S,
    layout: &'a Layout,
}

/// Holds a tensor.
pub(crate) fn host(tensor: &Tensor) -> Host<'_, impl Deref<Target = Storage>> {
    let (storage, layout) = tensor.storage_and_layout();
    Host { storage, layout }
}

impl<S: Deref<Target = Storage>> Host<'_, S> {
    /// The numbers, which must be contiguous.
    pub fn values<T: WithDType>(&self) -> Result<&[T]> {
        match &*self.storage {
            Storage::Cpu(storage) => values("tensor", (storage, self.layout)),
            other => Err(mismatch("tensor", "one on the CPU", format!("{:?}", other.device().location()))),
        }
    }
}
