//! The end of a residual block: the sum of two operands and the ReLU of it, in one pass over memory.

use crate::activation::{Gate, rectify};
use crate::norm::Held;
use crate::operand::Operand;
use crate::parallel;
use crate::simd::{Float, Isa, Kernel, dispatch};
use crate::tape::{Gradient, Value};
use crate::tensor::{check_dtypes, check_shape, host, with_float};
use candle_core::{Device, Result, Tensor};

const OP: &str = "add_relu";

/// `relu(a + b)`: [`add`](crate::add), then [`relu`](crate::relu). On a [`Tape`](crate::Tape) on a CPU it is one step, which
/// normalises on the way what a batch norm behind a convolution left to its readers.
///
/// # Errors
/// If the shapes or number types differ.
pub fn add_relu<V: Operand>(a: &V, b: &V) -> Result<V> {
    check_dtypes(OP, &[("a", a.like()), ("b", b.like())])?;
    check_shape(OP, "b", b.like(), a.like().dims())?;
    V::add_relu(&a.contiguous()?, &b.contiguous()?)
}

/// On the CPU; the arguments are contiguous and of one shape, `[batch, ...]`.
pub(crate) fn taped(a: &Value, b: &Value) -> Result<Value> {
    let held = [a.held().read_by_one_more(), b.held().read_by_one_more()];
    let (shape, dtype) = (a.held().like().shape().clone(), a.held().like().dtype());
    let sample = (shape.elem_count() / shape.dims()[0].max(1)).max(1);
    let y = with_float!(OP, dtype, T => {
        let y = held[0].read::<T, _>(|a| held[1].read::<T, _>(|b| {
            parallel::build_chunks(shape.elem_count(), sample, |i, y| {
                let values = i * sample..i * sample + y.len();
                let rooms = [a.room(y.len()), b.room(y.len())];
                parallel::with_scratch(rooms[0] + rooms[1], |room| {
                    let (a_room, b_room) = room.split_at_mut(rooms[0]);
                    let (a, b) = (a.read(values.clone(), a_room), b.read(values, b_room));
                    dispatch(Rectified { a, b, y });
                });
            })
        }))??;
        Tensor::from_vec(y, &shape, &Device::Cpu)
    })?;
    let output = y.clone();
    Ok(Value::record(Held::Whole(y), &[a, b], move |dy, wanted| {
        let dy = dy.tensor.contiguous()?;
        with_float!(OP, dtype, T => {
            let (y, dy) = (host(&output), host(&dy));
            let (y, dy) = (y.values::<T>()?, dy.values::<T>()?);
            let ((gradient, b_sums), a_sums) = held[0].sum(wanted[0], |a| held[1].sum(wanted[1], |b| {
                parallel::build_chunks(y.len(), sample, |i, dx| {
                    let values = i * sample..i * sample + dx.len();
                    dispatch(Gate { y: &y[values.clone()], dy: &dy[values.clone()], dx });
                    [a, b].into_iter().flatten().for_each(|sums| sums.take(values.start, dx));
                })
            })).and_then(|(both, sums)| Ok((both?, sums)))?;
            let tensor = Tensor::from_vec(gradient, &shape, &Device::Cpu)?;
            let part = |wanted: bool, sums| wanted.then(|| Gradient { tensor: tensor.clone(), sums });
            Ok(vec![part(wanted[0], a_sums), part(wanted[1], b_sums)])
        })
    }))
}

struct Rectified<'a, T> {
    a: &'a [T],
    b: &'a [T],
    y: &'a mut [T],
}

impl<T: Float> Kernel for Rectified<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        for ((y, &a), &b) in self.y.iter_mut().zip(self.a).zip(self.b) {
            *y = rectify(a + b);
        }
    }
}
