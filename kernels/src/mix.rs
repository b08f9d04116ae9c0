//! The weighted mean of two tensors, with a learnable weight.

use crate::op::{Argument, Compute, Op, Run};
use crate::operand::Operand;
use crate::parallel;
use crate::reduce::sums;
use crate::simd::{Float, Isa, Kernel, dispatch};
use crate::tensor::{check_dtypes, check_shape, mismatch, values, with_float};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Shape, Tensor, WithDType};

const OP: &str = "mix";

/// Values of one job.
const CHUNK: usize = 1 << 13;

/// `(1 - lambda) * a + lambda * b` for `a` and `b` of one shape and `lambda` of shape `[]` or `[1]`,
/// unconstrained. Gradients flow to all three.
///
/// # Errors
/// If shapes or number types do not fit together.
pub fn mix<V: Operand>(a: &V, b: &V, lambda: &V) -> Result<V> {
    check_dtypes(OP, &[("a", a.tensor()), ("b", b.tensor()), ("lambda", lambda.tensor())])?;
    check_shape(OP, "b", b.tensor(), a.tensor().dims())?;
    match lambda.tensor().dims() {
        [] | [1] => V::apply([&a.contiguous()?, &b.contiguous()?, &lambda.contiguous()?], Mix),
        other => Err(mismatch(OP, "lambda of shape [] or [1]", format!("{other:?}"))),
    }
}

struct Mix;

impl Compute<3> for Mix {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu(&self, [a, b, lambda]: [Argument<CpuStorage>; 3]) -> Result<(CpuStorage, Shape)> {
        let shape = a.1.shape();
        with_float!(OP, a.0.dtype(), T => {
            let (a, b) = (values::<T>(OP, a)?, values::<T>(OP, b)?);
            let lambda = values::<T>(OP, lambda)?[0];
            let y = parallel::build_chunks(a.len(), CHUNK, |i, y| {
                let part = i * CHUNK..i * CHUNK + y.len();
                dispatch(Blend { a: &a[part.clone()], b: &b[part], lambda, y })
            });
            Ok((T::to_cpu_storage_owned(y), shape.clone()))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [a, b, lambda]: [Argument<CudaStorage>; 3]) -> Result<(CudaStorage, Shape)> {
        Ok((crate::cuda::mix(OP, a, b, lambda)?, a.1.shape().clone()))
    }
}

impl Op<3> for Mix {
    fn gradients(
        &self,
        [a, b, lambda]: [&Tensor; 3],
        _y: &Tensor,
        dy: &Tensor,
        wanted: [bool; 3],
    ) -> Result<[Option<Tensor>; 3]> {
        let weight = lambda.reshape(())?;
        let da = wanted[0].then(|| dy.broadcast_mul(&weight.affine(-1.0, 1.0)?)).transpose()?;
        let db = wanted[1].then(|| dy.broadcast_mul(&weight)).transpose()?;
        let dlambda = wanted[2].then(|| (Dot.run([b, dy])? - Dot.run([a, dy])?)?.reshape(lambda.shape()));
        Ok([da, db, dlambda.transpose()?])
    }
}

struct Blend<'a, T> {
    a: &'a [T],
    b: &'a [T],
    lambda: T,
    y: &'a mut [T],
}

impl<T: Float> Kernel for Blend<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let rest = T::ONE - self.lambda;
        for ((y, &a), &b) in self.y.iter_mut().zip(self.a).zip(self.b) {
            *y = I::mul_add(rest, a, self.lambda * b);
        }
    }
}

/// The sum of the products of two tensors of one shape.
struct Dot;

impl Compute<2> for Dot {
    fn name(&self) -> &'static str {
        "dot"
    }

    fn cpu(&self, [a, b]: [Argument<CpuStorage>; 2]) -> Result<(CpuStorage, Shape)> {
        with_float!(OP, a.0.dtype(), T => {
            let (a, b) = (values::<T>(OP, a)?, values::<T>(OP, b)?);
            let parts = parallel::map(a.len().div_ceil(CHUNK), |i| {
                let part = i * CHUNK..a.len().min((i + 1) * CHUNK);
                dispatch(DotPart { a: &a[part.clone()], b: &b[part] })
            });
            Ok((T::to_cpu_storage_owned(vec![T::from_f64(parts.iter().sum())]), Shape::from(())))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [a, b]: [Argument<CudaStorage>; 2]) -> Result<(CudaStorage, Shape)> {
        Ok((crate::cuda::dot(OP, a, b)?, Shape::from(())))
    }
}

struct DotPart<'a, T> {
    a: &'a [T],
    b: &'a [T],
}

impl<T: Float> Kernel for DotPart<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run<I: Isa>(self) -> f64 {
        sums([self.a, self.b], |[a, b]| [a.zip(b, |a, b| a * b)])[0]
    }
}
