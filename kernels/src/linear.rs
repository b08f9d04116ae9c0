//! The fully connected layer.

mod products;

use crate::conv::{Conv2dConfig, conv2d};
use crate::op::{Argument, Compute, Op, Run};
use crate::operand::Operand;
use crate::parallel::{self, Shared};
use crate::simd::{Float, dispatch};
use crate::tensor::{check_dtypes, check_shape, mismatch, values, with_float};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Shape, Tensor, WithDType};
use products::{Columns, Dots, Matrix, Sums};

const OP: &str = "linear";

/// Products of two numbers in a job at least, as far as there are so many.
const JOB_PRODUCTS: usize = 1 << 17;

/// `x` `[batch, in]` times the transpose of `weight` `[out, in]`, plus `bias` `[out]`: `[batch, out]`.
///
/// # Errors
/// If shapes or number types do not fit together, or a size is zero.
pub fn linear<V: Operand>(x: &V, weight: &V, bias: Option<&V>) -> Result<V> {
    check_dtypes(OP, &[("x", x.tensor()), ("weight", weight.tensor())])?;
    let sizes = match (x.tensor().dims(), weight.tensor().dims()) {
        (&[batch, inputs], &[outputs, columns]) if inputs == columns && batch * inputs * outputs > 0 => {
            Sizes { batch, inputs, outputs }
        }
        (x, weight) => {
            let expected = "x of shape [batch, in] and weight of shape [out, in], no size zero";
            return Err(mismatch(OP, expected, format!("{x:?} and {weight:?}")));
        }
    };
    if let Some(bias) = bias {
        check_dtypes(OP, &[("x", x.tensor()), ("bias", bias.tensor())])?;
        check_shape(OP, "bias", bias.tensor(), &[sizes.outputs])?;
    }
    if !x.tensor().device().is_cpu() {
        return as_convolution(sizes, x, weight, bias);
    }
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    match bias {
        None => V::apply([&x, &weight], Linear(sizes)),
        Some(bias) => V::apply([&x, &weight, &bias.contiguous()?], Linear(sizes)),
    }
}

/// A 1x1 convolution over one image whose pixels are the samples.
fn as_convolution<V: Operand>(s: Sizes, x: &V, weight: &V, bias: Option<&V>) -> Result<V> {
    let image = x.transpose()?.contiguous()?.reshape(&[1, s.inputs, 1, s.batch])?;
    let kernel = weight.contiguous()?.reshape(&[s.outputs, s.inputs, 1, 1])?;
    let y = conv2d(&image, &kernel, bias, &Conv2dConfig::default())?;
    y.reshape(&[s.outputs, s.batch])?.transpose()?.contiguous()
}

#[derive(Debug, Clone, Copy)]
struct Sizes {
    batch: usize,
    inputs: usize,
    outputs: usize,
}

/// `[batch, out]`. Rows of both factors are contiguous: every number is the product of two rows.
fn forward<T: Float>(s: Sizes, x: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    let samples = (JOB_PRODUCTS / (s.inputs * s.outputs)).next_multiple_of(4).max(4);
    parallel::build_chunks(s.batch * s.outputs, samples * s.outputs, |i, y| {
        let x = &x[i * samples * s.inputs..][..y.len() / s.outputs * s.inputs];
        dispatch(Dots { length: s.inputs, x, weight, bias, y })
    })
}

/// `[batch, in]`: every sample is a sum of the weight's rows.
fn input_gradient<T: Float>(s: Sizes, weight: &[T], dy: &[T]) -> Vec<T> {
    let factors = Matrix { values: dy, row: s.outputs, column: 1 };
    sums(s.batch, s.outputs, s.inputs, factors, weight)
}

/// `[out, in]`: every output's row is a sum of the samples.
fn weight_gradient<T: Float>(s: Sizes, x: &[T], dy: &[T]) -> Vec<T> {
    let factors = Matrix { values: dy, row: 1, column: s.outputs };
    sums(s.outputs, s.batch, s.inputs, factors, x)
}

/// `[rows, columns]`, each row the sum of the `terms` rows of `addends`, times factors. Jobs have some of
/// the columns, so that each reads its part of `addends` only once.
fn sums<T: Float>(
    rows: usize,
    terms: usize,
    columns: usize,
    factors: Matrix<'_, T>,
    addends: &[T],
) -> Vec<T> {
    let width = (JOB_PRODUCTS / (rows * terms)).next_multiple_of(64).max(64);
    parallel::build(rows * columns, |target| {
        let target = &Shared::new(target);
        parallel::map(columns.div_ceil(width), |i| {
            let own = i * width..columns.min((i + 1) * width);
            dispatch(Sums { rows, terms, columns, own, factors, addends, target })
        });
    })
}

/// `[out]`, the sum over the samples.
fn bias_gradient<T: Float>(s: Sizes, dy: &[T]) -> Vec<T> {
    dispatch(Columns { columns: s.outputs, values: dy })
}

struct Linear(Sizes);

impl Linear {
    fn forward(
        &self,
        [x, weight]: [Argument<CpuStorage>; 2],
        bias: Option<Argument<CpuStorage>>,
    ) -> Result<(CpuStorage, Shape)> {
        with_float!(OP, x.0.dtype(), T => {
            let bias = bias.map(|bias| values::<T>(OP, bias)).transpose()?;
            let y = forward(self.0, values::<T>(OP, x)?, values::<T>(OP, weight)?, bias);
            Ok((T::to_cpu_storage_owned(y), Shape::from((self.0.batch, self.0.outputs))))
        })
    }
}

impl Compute<2> for Linear {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu(&self, inputs: [Argument<CpuStorage>; 2]) -> Result<(CpuStorage, Shape)> {
        self.forward(inputs, None)
    }
}

impl Op<2> for Linear {
    fn gradients(
        &self,
        [x, weight]: [&Tensor; 2],
        _y: &Tensor,
        dy: &Tensor,
        wanted: [bool; 2],
    ) -> Result<[Option<Tensor>; 2]> {
        let gradient = |of, other: &Tensor| Gradient { sizes: self.0, of }.run([other, dy]);
        let dx = wanted[0].then(|| gradient(Factor::X, weight)).transpose()?;
        let dw = wanted[1].then(|| gradient(Factor::Weight, x)).transpose()?;
        Ok([dx, dw])
    }
}

impl Compute<3> for Linear {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu(&self, [x, weight, bias]: [Argument<CpuStorage>; 3]) -> Result<(CpuStorage, Shape)> {
        self.forward([x, weight], Some(bias))
    }
}

impl Op<3> for Linear {
    fn gradients(
        &self,
        [x, weight, _bias]: [&Tensor; 3],
        y: &Tensor,
        dy: &Tensor,
        wanted: [bool; 3],
    ) -> Result<[Option<Tensor>; 3]> {
        let [dx, dw] = Op::<2>::gradients(self, [x, weight], y, dy, [wanted[0], wanted[1]])?;
        let db = wanted[2].then(|| BiasGradient(self.0).run([dy])).transpose()?;
        Ok([dx, dw, db])
    }
}

#[derive(Debug, Clone, Copy)]
enum Factor {
    X,
    Weight,
}

/// (the other factor, dy) -> the gradient of one factor
struct Gradient {
    sizes: Sizes,
    of: Factor,
}

impl Compute<2> for Gradient {
    fn name(&self) -> &'static str {
        "linear-gradient"
    }

    fn cpu(&self, [other, dy]: [Argument<CpuStorage>; 2]) -> Result<(CpuStorage, Shape)> {
        let s = self.sizes;
        with_float!(OP, dy.0.dtype(), T => {
            let (other, dy) = (values::<T>(OP, other)?, values::<T>(OP, dy)?);
            let (gradient, shape) = match self.of {
                Factor::X => (input_gradient(s, other, dy), (s.batch, s.inputs)),
                Factor::Weight => (weight_gradient(s, other, dy), (s.outputs, s.inputs)),
            };
            Ok((T::to_cpu_storage_owned(gradient), Shape::from(shape)))
        })
    }
}

/// dy -> dbias
struct BiasGradient(Sizes);

impl Compute<1> for BiasGradient {
    fn name(&self) -> &'static str {
        "linear-bias-gradient"
    }

    fn cpu(&self, [dy]: [Argument<CpuStorage>; 1]) -> Result<(CpuStorage, Shape)> {
        with_float!(OP, dy.0.dtype(), T => {
            let gradient = bias_gradient(self.0, values::<T>(OP, dy)?);
            Ok((T::to_cpu_storage_owned(gradient), Shape::from(self.0.outputs)))
        })
    }
}

#[cfg(test)]
mod tests;
