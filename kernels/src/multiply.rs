//! The product of two tensors, or of an image and a number for each of its channels.

use crate::op::{Argument, Compute, Op, Run};
use crate::operand::Operand;
use crate::parallel;
use crate::reduce::sums;
use crate::simd::{Float, Isa, Kernel, dispatch};
use crate::tensor::{check_dtypes, image_dims, mismatch, values, with_float};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Shape, Tensor, WithDType};

const OP: &str = "multiply";

/// Values of one job at least, as far as there are so many.
const CHUNK: usize = 1 << 13;

/// `x * gate`, element by element. `gate` has the shape of `x`, or `[batch, channels, 1, 1]` against
/// `[batch, channels, height, width]`: the gate of squeeze-and-excitation (Hu et al., 2018, equation 4).
/// Gradients flow to both.
///
/// # Errors
/// If the shapes or number types do not fit together.
pub fn multiply<V: Operand>(x: &V, gate: &V) -> Result<V> {
    check_dtypes(OP, &[("x", x.tensor()), ("gate", gate.tensor())])?;
    check_gate(x.tensor(), gate.tensor())?;
    V::apply([&x.contiguous()?, &gate.contiguous()?], Multiply)
}

fn check_gate(x: &Tensor, gate: &Tensor) -> Result<()> {
    let found = || format!("{:?}", gate.dims());
    match *x.dims() {
        _ if gate.dims() == x.dims() => Ok(()),
        [batch, channels, _, _] if gate.dims() == [batch, channels, 1, 1] => {
            image_dims(OP, "x", x).map(|_| ())
        }
        [batch, channels, _, _] => {
            let expected = format!("gate of shape {:?} or [{batch}, {channels}, 1, 1]", x.dims());
            Err(mismatch(OP, expected, found()))
        }
        _ => Err(mismatch(OP, format!("gate of shape {:?}", x.dims()), found())),
    }
}

/// Values that share a number of the gate.
fn plane(x: &Shape, gate: &Shape) -> usize {
    x.elem_count() / gate.elem_count().max(1)
}

struct Multiply;

impl Compute<2> for Multiply {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu(&self, [x, gate]: [Argument<CpuStorage>; 2]) -> Result<(CpuStorage, Shape)> {
        let (shape, plane) = (x.1.shape().clone(), plane(x.1.shape(), gate.1.shape()).max(1));
        let gates = CHUNK.div_ceil(plane);
        with_float!(OP, x.0.dtype(), T => {
            let (x, gate) = (values::<T>(OP, x)?, values::<T>(OP, gate)?);
            let y = parallel::build_chunks(x.len(), gates * plane, |i, y| {
                let x = &x[i * gates * plane..][..y.len()];
                dispatch(Products { x, gate: &gate[i * gates..], plane, y })
            });
            Ok((T::to_cpu_storage_owned(y), shape))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x, gate]: [Argument<CudaStorage>; 2]) -> Result<(CudaStorage, Shape)> {
        let plane = plane(x.1.shape(), gate.1.shape());
        Ok((crate::cuda::multiply(OP, x, gate, plane)?, x.1.shape().clone()))
    }
}

impl Op<2> for Multiply {
    fn gradients(
        &self,
        [x, gate]: [&Tensor; 2],
        _y: &Tensor,
        dy: &Tensor,
        wanted: [bool; 2],
    ) -> Result<[Option<Tensor>; 2]> {
        let dx = wanted[0].then(|| Self.run([dy, gate])).transpose()?;
        let dgate = wanted[1].then(|| match gate.dims() == x.dims() {
            true => Self.run([x, dy]),
            false => PlaneDots.run([x, dy])?.reshape(gate.shape()),
        });
        Ok([dx, dgate.transpose()?])
    }
}

struct Products<'a, T> {
    x: &'a [T],
    gate: &'a [T],
    plane: usize,
    y: &'a mut [T],
}

impl<T: Float> Kernel for Products<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { x, gate, plane, y } = self;
        if plane == 1 {
            return y.iter_mut().zip(x).zip(gate).for_each(|((y, &x), &gate)| *y = x * gate);
        }
        for ((y, x), &gate) in y.chunks_mut(plane).zip(x.chunks(plane)).zip(gate) {
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = x * gate);
        }
    }
}

/// (a, b), both `[batch, channels, height, width]` -> `[batch * channels]`, the sums of the products of each
/// plane.
struct PlaneDots;

impl Compute<2> for PlaneDots {
    fn name(&self) -> &'static str {
        "plane-dots"
    }

    fn cpu(&self, [a, b]: [Argument<CpuStorage>; 2]) -> Result<(CpuStorage, Shape)> {
        let plane: usize = a.1.dims()[2..].iter().product();
        let planes = CHUNK.div_ceil(plane);
        with_float!(OP, a.0.dtype(), T => {
            let (a, b) = (values::<T>(OP, a)?, values::<T>(OP, b)?);
            let count = a.len() / plane;
            let dots = parallel::build_chunks(count, planes, |i, dots| {
                let part = i * planes * plane..(i * planes + dots.len()) * plane;
                dispatch(Dots { a: &a[part.clone()], b: &b[part], plane, dots })
            });
            Ok((T::to_cpu_storage_owned(dots), Shape::from(count)))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [a, b]: [Argument<CudaStorage>; 2]) -> Result<(CudaStorage, Shape)> {
        let dims = a.1.dims();
        Ok((crate::cuda::plane_dots(OP, a, b)?, Shape::from(dims[0] * dims[1])))
    }
}

struct Dots<'a, T> {
    a: &'a [T],
    b: &'a [T],
    plane: usize,
    dots: &'a mut [T],
}

impl<T: Float> Kernel for Dots<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let planes = self.a.chunks(self.plane).zip(self.b.chunks(self.plane));
        for (dot, (a, b)) in self.dots.iter_mut().zip(planes) {
            *dot = T::of(sums::<I, T, 2, 1>([a, b], |[a, b]| [I::mul_lanes(a, b)])[0]);
        }
    }
}
