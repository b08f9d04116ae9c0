//! Tensors added, laid side by side and taken apart again, in parallel. candle does these on one thread.

use crate::op::{Argument, Compute, Op, Run};
use crate::parallel;
use crate::simd::{Float, Isa, Kernel, dispatch};
use crate::tensor::{values, with_float};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Device, Result, Shape, Storage, Tensor, WithDType};
#[cfg(feature = "cuda")]
use candle_core::{CudaStorage, backend::BackendDevice};

/// Values of one job.
const CHUNK: usize = 1 << 15;

/// The sum of two tensors of one shape.
pub(crate) struct Add;

impl Compute<2> for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu(&self, [a, b]: [Argument<CpuStorage>; 2]) -> Result<(CpuStorage, Shape)> {
        let shape = a.1.shape().clone();
        with_float!(self.name(), a.0.dtype(), T => {
            let (a, b) = (values::<T>(self.name(), a)?, values::<T>(self.name(), b)?);
            let sum = parallel::build_chunks(a.len(), CHUNK, |i, sum| {
                let part = i * CHUNK..i * CHUNK + sum.len();
                dispatch(Sum { a: &a[part.clone()], b: &b[part], sum })
            });
            Ok((T::to_cpu_storage_owned(sum), shape))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [a, b]: [Argument<CudaStorage>; 2]) -> Result<(CudaStorage, Shape)> {
        let sum = a.0.binary_impl::<candle_core::op::Add>(b.0, a.1, b.1)?;
        Ok((sum, a.1.shape().clone()))
    }
}

impl Op<2> for Add {
    fn gradients(
        &self,
        _: [&Tensor; 2],
        _y: &Tensor,
        dy: &Tensor,
        wanted: [bool; 2],
    ) -> Result<[Option<Tensor>; 2]> {
        Ok(wanted.map(|wanted| wanted.then(|| dy.clone())))
    }
}

struct Sum<'a, T> {
    a: &'a [T],
    b: &'a [T],
    sum: &'a mut [T],
}

impl<T: Float> Kernel for Sum<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        for ((sum, &a), &b) in self.sum.iter_mut().zip(self.a).zip(self.b) {
            *sum = a + b;
        }
    }
}

/// Contiguous tensors `[batch, channels, ...]` joined along the channels.
pub(crate) fn join(parts: &[&Tensor]) -> Result<Tensor> {
    let Some(first) = parts.first().filter(|first| first.device().is_cpu()) else {
        return Tensor::cat(parts, 1);
    };
    with_float!("concat", first.dtype(), T => {
        match join_on_cpu::<T>(parts)? {
            Some(joined) => Ok(joined),
            None => Tensor::cat(parts, 1),
        }
    })
}

/// None if the parts are not contiguous, or do not fit together, of which candle's error tells.
fn join_on_cpu<T: Float>(parts: &[&Tensor]) -> Result<Option<Tensor>> {
    let Some((&batch, [_, rest @ ..])) = parts[0].dims().split_first() else { return Ok(None) };
    let fits = |dims: &[usize]| dims.len() >= 2 && dims[0] == batch && &dims[2..] == rest;
    if !parts.iter().all(|part| fits(part.dims()) && part.is_contiguous()) {
        return Ok(None);
    }
    let storages: Vec<_> = parts.iter().map(|part| part.storage_and_layout()).collect();
    let mut sources = Vec::with_capacity(parts.len());
    for (storage, layout) in &storages {
        let Storage::Cpu(storage) = &**storage else { return Ok(None) };
        sources.push(values::<T>("concat", (storage, layout))?);
    }
    let mut shape = parts[0].dims().to_vec();
    shape[1] = parts.iter().map(|part| part.dims()[1]).sum();
    let sample: usize = shape[1..].iter().product();
    let joined = parallel::build_chunks(batch * sample, sample, |i, mut joined| {
        for source in &sources {
            let length = source.len() / batch;
            let (target, behind) = joined.split_at_mut(length);
            target.copy_from_slice(&source[i * length..][..length]);
            joined = behind;
        }
    });
    Tensor::from_vec(joined, shape, &Device::Cpu).map(Some)
}

/// Some channels of a tensor `[batch, channels, ...]`: one part of what [`join`] made.
pub(crate) fn channels(x: &Tensor, first: usize, count: usize) -> Result<Tensor> {
    Channels { first, count }.run([x])
}

struct Channels {
    first: usize,
    count: usize,
}

impl Channels {
    fn shape(&self, whole: &Shape) -> Shape {
        let mut dims = whole.dims().to_vec();
        dims[1] = self.count;
        Shape::from(dims)
    }
}

impl Compute<1> for Channels {
    fn name(&self) -> &'static str {
        "channels"
    }

    fn cpu(&self, [x]: [Argument<CpuStorage>; 1]) -> Result<(CpuStorage, Shape)> {
        let shape = self.shape(x.1.shape());
        let plane: usize = shape.dims()[2..].iter().product();
        let (from, to) = (x.1.dims()[1] * plane, self.count * plane);
        with_float!(self.name(), x.0.dtype(), T => {
            let x = values::<T>(self.name(), x)?;
            let part = parallel::build_chunks(shape.elem_count(), to, |i, part| {
                part.copy_from_slice(&x[i * from + self.first * plane..][..to]);
            });
            Ok((T::to_cpu_storage_owned(part), shape))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x]: [Argument<CudaStorage>; 1]) -> Result<(CudaStorage, Shape)> {
        let shape = self.shape(x.1.shape());
        let part = x.1.narrow(1, self.first, self.count)?;
        // SAFETY: the copy writes all of it.
        let mut copy = unsafe { x.0.device().alloc_uninit(&shape, x.0.dtype())? };
        x.0.copy_strided_src(&mut copy, 0, &part)?;
        Ok((copy, shape))
    }
}
