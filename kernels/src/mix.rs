//! The weighted mean of two tensors, with a learnable weight.

use crate::op::{Argument, Compute, Op, Run};
use crate::operand::Operand;
use crate::parallel;
use crate::reduce::sums;
use crate::simd::{Float, Isa, Kernel, Lanes, dispatch};
use crate::tensor::{check_dtypes, check_shape, mismatch, values, with_float};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Result, Shape, Tensor, WithDType};

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
        #[cfg(feature = "cuda")]
        if !dy.device().is_cpu() {
            return gradients_on_cuda([a, b, lambda], dy, wanted);
        }
        let weight = lambda.reshape(())?.to_dtype(DType::F64)?.to_scalar()?;
        let packed = MixGradient { lambda: weight }.run([a, b, dy])?;
        let count = dy.elem_count();
        let part = |i: usize, shape: &Shape| packed.narrow(0, i * count, shape.elem_count())?.reshape(shape);
        let da = wanted[0].then(|| part(0, a.shape())).transpose()?;
        let db = wanted[1].then(|| part(1, b.shape())).transpose()?;
        let dlambda = wanted[2].then(|| part(2, lambda.shape())).transpose()?;
        Ok([da, db, dlambda])
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

/// (a, b, dy) -> da, db and dlambda, one behind the other.
struct MixGradient {
    lambda: f64,
}

impl Compute<3> for MixGradient {
    fn name(&self) -> &'static str {
        "mix-gradient"
    }

    fn cpu(&self, [a, b, dy]: [Argument<CpuStorage>; 3]) -> Result<(CpuStorage, Shape)> {
        with_float!(OP, a.0.dtype(), T => {
            let (a, b, dy) = (values::<T>(OP, a)?, values::<T>(OP, b)?, values::<T>(OP, dy)?);
            let (count, lambda) = (dy.len(), T::of(self.lambda));
            let packed = parallel::build(2 * count + 1, |packed| {
                let (da, rest) = packed.split_at_mut(count);
                let (db, dlambda) = rest.split_at_mut(count);
                let sums = parallel::map_pairs(da, db, CHUNK, |i, da, db| {
                    let part = i * CHUNK..i * CHUNK + da.len();
                    let (a, b, dy) = (&a[part.clone()], &b[part.clone()], &dy[part]);
                    dispatch(Share { a, b, dy, lambda, da, db })
                });
                dlambda[0] = T::of(sums.iter().sum());
            });
            Ok((T::to_cpu_storage_owned(packed), Shape::from(2 * count + 1)))
        })
    }
}

struct Share<'a, T> {
    a: &'a [T],
    b: &'a [T],
    dy: &'a [T],
    lambda: T,
    da: &'a mut [T],
    db: &'a mut [T],
}

impl<T: Float> Kernel for Share<'_, T> {
    type Output = f64;

    /// Returns its part of the sum of `(b - a) dy`.
    #[inline(always)]
    fn run<I: Isa>(self) -> f64 {
        let rest = T::ONE - self.lambda;
        for ((da, db), &dy) in self.da.iter_mut().zip(self.db).zip(self.dy) {
            (*da, *db) = (rest * dy, self.lambda * dy);
        }
        let term = |[a, b, dy]: [Lanes<T>; 3]| [I::mul_lanes(I::sub_lanes(b, a), dy)];
        sums::<I, T, 3, 1>([self.a, self.b, self.dy], term)[0]
    }
}

#[cfg(feature = "cuda")]
fn gradients_on_cuda(
    [a, b, lambda]: [&Tensor; 3],
    dy: &Tensor,
    wanted: [bool; 3],
) -> Result<[Option<Tensor>; 3]> {
    let weight = lambda.reshape(())?;
    let da = wanted[0].then(|| dy.broadcast_mul(&weight.affine(-1.0, 1.0)?)).transpose()?;
    let db = wanted[1].then(|| dy.broadcast_mul(&weight)).transpose()?;
    let dlambda = wanted[2].then(|| (Dot.run([b, dy])? - Dot.run([a, dy])?)?.reshape(lambda.shape()));
    Ok([da, db, dlambda.transpose()?])
}

/// The sum of the products of two tensors of one shape.
#[cfg(feature = "cuda")]
struct Dot;

#[cfg(feature = "cuda")]
impl Compute<2> for Dot {
    fn name(&self) -> &'static str {
        "dot"
    }

    fn cpu(&self, _: [Argument<CpuStorage>; 2]) -> Result<(CpuStorage, Shape)> {
        Err(mismatch(OP, "tensors on a GPU", "tensors on the CPU"))
    }

    fn cuda(&self, [a, b]: [Argument<CudaStorage>; 2]) -> Result<(CudaStorage, Shape)> {
        Ok((crate::cuda::dot(OP, a, b)?, Shape::from(())))
    }
}
