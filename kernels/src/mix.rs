//! The weighted mean of two tensors, with a learnable weight.

use crate::parallel;
use crate::reduce::sums;
use crate::simd::{Float, Isa, Kernel, dispatch};
use crate::tensor::{check_dtypes, check_shape, mismatch, values, with_float};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, WithDType};

const OP: &str = "mix";

/// Values of one job.
const CHUNK: usize = 1 << 13;

/// `(1 - lambda) * a + lambda * b` for `a` and `b` of one shape and `lambda` of shape `[]` or `[1]`,
/// unconstrained. Gradients flow to all three.
///
/// # Errors
/// If shapes or number types do not fit together.
pub fn mix(a: &Tensor, b: &Tensor, lambda: &Tensor) -> Result<Tensor> {
    check_dtypes(OP, &[("a", a), ("b", b), ("lambda", lambda)])?;
    check_shape(OP, "b", b, a.dims())?;
    match lambda.dims() {
        [] | [1] => a.contiguous()?.apply_op3(&b.contiguous()?, &lambda.contiguous()?, Mix),
        other => Err(mismatch(OP, "lambda of shape [] or [1]", format!("{other:?}"))),
    }
}

struct Mix;

impl CustomOp3 for Mix {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        la: &Layout,
        b: &CpuStorage,
        lb: &Layout,
        lambda: &CpuStorage,
        llambda: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        with_float!(OP, a.dtype(), T => {
            let (a, b) = (values::<T>(OP, a, la)?, values::<T>(OP, b, lb)?);
            let lambda = values::<T>(OP, lambda, llambda)?[0];
            let y = parallel::build_chunks(a.len(), CHUNK, |i, y| {
                let part = i * CHUNK..i * CHUNK + y.len();
                dispatch(Blend { a: &a[part.clone()], b: &b[part], lambda, y })
            });
            Ok((T::to_cpu_storage_owned(y), la.shape().clone()))
        })
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        lambda: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let weight = lambda.reshape(())?;
        let da = a.track_op().then(|| dy.broadcast_mul(&weight.affine(-1.0, 1.0)?)).transpose()?;
        let db = b.track_op().then(|| dy.broadcast_mul(&weight)).transpose()?;
        let dlambda = lambda.track_op().then(|| {
            let dots = [b, a].map(|t| t.apply_op2_no_bwd(&dy, &Dot));
            let [with_b, with_a] = dots;
            (with_b? - with_a?)?.reshape(lambda.shape())
        });
        Ok((da, db, dlambda.transpose()?))
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

impl CustomOp2 for Dot {
    fn name(&self) -> &'static str {
        "dot"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        la: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        with_float!(OP, a.dtype(), T => {
            let (a, b) = (values::<T>(OP, a, la)?, values::<T>(OP, b, lb)?);
            let parts = parallel::map(a.len().div_ceil(CHUNK), |i| {
                let part = i * CHUNK..a.len().min((i + 1) * CHUNK);
                dispatch(DotPart { a: &a[part.clone()], b: &b[part] })
            });
            Ok((T::to_cpu_storage_owned(vec![T::from_f64(parts.iter().sum())]), Shape::from(())))
        })
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
