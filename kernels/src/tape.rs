//! Back-propagation of our own.
//!
//! candle's backward pass starts every gradient as a tensor of zeros and adds to it. For the small, fast
//! operations of this crate that is a large part of a training step, so a [`Tape`] moves the first gradient
//! in and adds only where a value is read twice. A step gives up its saved tensors as soon as it is done.

use crate::combine::{Add, channels, join};
use crate::op::{Run, Track};
use crate::operand::sealed::Apply;
use crate::tensor::{check_dtypes, check_shape};
use candle_core::{Error, Result, Tensor};
use std::cell::RefCell;
use std::rc::Rc;

/// Records operations on [`Value`]s and runs them backwards.
///
/// ```
/// use candle_convnet::{Conv2dConfig, Tape, Value, conv2d, cross_entropy, flatten};
/// use candle_core::{DType, Device, Tensor};
///
/// let images = Value::from(Tensor::ones((2, 1, 3, 3), DType::F32, &Device::Cpu)?);
/// let targets = Tensor::new(&[[0f32, 1.], [1., 0.]], &Device::Cpu)?;
/// let tape = Tape::new();
/// let weight = tape.variable(Tensor::ones((2, 1, 3, 3), DType::F32, &Device::Cpu)?);
/// let logits = flatten(&conv2d(&images, &weight, None, &Conv2dConfig::default())?)?;
/// let loss = cross_entropy(&logits, &targets)?;
/// let mut gradients = tape.backward(&loss)?;
/// assert_eq!(gradients.take(&weight).expect("the loss depends on it").dims(), [2, 1, 3, 3]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Default)]
pub struct Tape {
    record: Rc<RefCell<Record>>,
}

/// Tensors that somebody's gradient may flow to are numbered; a step turns the gradient of one into those of
/// others with lower numbers.
#[derive(Default)]
struct Record {
    slots: usize,
    steps: Vec<Step>,
}

/// From the gradient of a step's output to those of its inputs that have a slot.
type Backward = dyn FnOnce(&Tensor) -> Result<Vec<(usize, Tensor)>>;

struct Step {
    output: usize,
    backward: Box<Backward>,
}

/// A tensor that operations on a [`Tape`] read or made; cheap to clone.
#[derive(Clone)]
pub struct Value {
    tensor: Tensor,
    /// Where its gradient is collected; a constant has none.
    slot: Option<Slot>,
}

#[derive(Clone)]
struct Slot {
    record: Rc<RefCell<Record>>,
    index: usize,
}

/// Gradients of one backward pass.
pub struct Gradients(Vec<Option<Tensor>>);

impl Tape {
    /// An empty tape.
    pub fn new() -> Self {
        Self::default()
    }

    /// A value whose gradient is wanted.
    pub fn variable(&self, tensor: Tensor) -> Value {
        let index = self.record.borrow_mut().slot();
        Value { tensor: tensor.detach(), slot: Some(Slot { record: self.record.clone(), index }) }
    }

    /// The gradients of the sum of `root` with respect to everything on the tape, which is empty
    /// afterwards.
    ///
    /// # Errors
    /// If `root` depends on no variable of this tape, or a tensor operation fails.
    pub fn backward(self, root: &Value) -> Result<Gradients> {
        let ones = root.tensor.ones_like()?;
        self.backward_from(root, ones)
    }

    /// As [`Self::backward`], of the sum of `root` times `gradient`, which has its shape: for a gradient that
    /// comes from elsewhere.
    ///
    /// # Errors
    /// As there, or if shapes or number types differ.
    pub fn backward_from(self, root: &Value, gradient: Tensor) -> Result<Gradients> {
        check_dtypes("backward", &[("root", &root.tensor), ("gradient", &gradient)])?;
        check_shape("backward", "gradient", &gradient, root.tensor.dims())?;
        let Record { slots, steps } = self.record.take();
        let mine = root.slot.as_ref().filter(|slot| Rc::ptr_eq(&slot.record, &self.record));
        let start = mine.ok_or_else(|| {
            Error::Msg("backward: expected a value that depends on a variable of this tape".into()).bt()
        })?;
        let mut gradients = vec![None; slots];
        gradients[start.index] = Some(gradient);
        for Step { output, backward } in steps.into_iter().rev() {
            // Nothing reads this gradient after its step.
            let Some(dy) = gradients[output].take() else { continue };
            for (slot, gradient) in backward(&dy)? {
                gradients[slot] = Some(match gradients[slot].take() {
                    None => gradient,
                    Some(sum) => Add.run([&sum.contiguous()?, &gradient.contiguous()?])?,
                });
            }
        }
        Ok(Gradients(gradients))
    }
}

impl Gradients {
    /// The gradient of a variable; none if the root does not depend on it, or it was taken before.
    pub fn take(&mut self, variable: &Value) -> Option<Tensor> {
        self.0.get_mut(variable.slot.as_ref()?.index)?.take()
    }
}

impl Record {
    fn slot(&mut self) -> usize {
        self.slots += 1;
        self.slots - 1
    }
}

impl From<Tensor> for Value {
    /// A constant.
    fn from(tensor: Tensor) -> Self {
        Self { tensor: tensor.detach(), slot: None }
    }
}

impl Value {
    /// The numbers.
    pub fn as_tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// The result of a step. Without an input that has a slot there is nothing to record.
    fn record(
        tensor: Tensor,
        inputs: &[&Self],
        backward: impl FnOnce(&Tensor, &[Option<usize>]) -> Result<Vec<Option<Tensor>>> + 'static,
    ) -> Self {
        let Some(record) = inputs.iter().find_map(|input| Some(input.slot.as_ref()?.record.clone())) else {
            return Self { tensor, slot: None };
        };
        let slots: Vec<Option<usize>> = inputs.iter().map(|i| i.slot.as_ref().map(|s| s.index)).collect();
        let backward = move |dy: &Tensor| {
            let gradients = backward(dy, &slots)?;
            Ok(slots.iter().zip(gradients).filter_map(|(slot, g)| Some(((*slot)?, g?))).collect())
        };
        let index = record.borrow_mut().slot();
        record.borrow_mut().steps.push(Step { output: index, backward: Box::new(backward) });
        Self { tensor, slot: Some(Slot { record, index }) }
    }
}

impl Apply for Value {
    fn apply<const N: usize, O: Track<N>>(inputs: [&Self; N], op: O) -> Result<Self> {
        let tensors = inputs.map(|input| input.tensor.clone());
        let output = op.run(tensors.each_ref())?;
        let result = output.clone();
        Ok(Self::record(result, &inputs, move |dy, slots| {
            let wanted = std::array::from_fn(|i| slots[i].is_some());
            Ok(op.gradients(tensors.each_ref(), &output, &dy.contiguous()?, wanted)?.into())
        }))
    }

    fn contiguous(&self) -> Result<Self> {
        // The gradient has the same shape, whatever the layout.
        Ok(Self { tensor: self.tensor.contiguous()?, slot: self.slot.clone() })
    }

    fn add(&self, other: &Self) -> Result<Self> {
        check_dtypes("add", &[("a", &self.tensor), ("b", &other.tensor)])?;
        check_shape("add", "b", &other.tensor, self.tensor.dims())?;
        Self::apply([&self.contiguous()?, &other.contiguous()?], Add)
    }

    fn concat(parts: &[&Self]) -> Result<Self> {
        let tensors = parts.iter().map(|part| part.tensor.contiguous()).collect::<Result<Vec<_>>>()?;
        let joined = join(&tensors.iter().collect::<Vec<_>>())?;
        let sizes = tensors.iter().map(|t| t.dim(1)).collect::<Result<Vec<_>>>()?;
        Ok(Self::record(joined, parts, move |dy, slots| {
            let (dy, mut start) = (dy.contiguous()?, 0);
            let part = |(&size, slot): (&usize, &Option<usize>)| {
                start += size;
                slot.map(|_| channels(&dy, start - size, size)).transpose()
            };
            sizes.iter().zip(slots).map(part).collect()
        }))
    }

    fn reshape(&self, shape: &[usize]) -> Result<Self> {
        let before = self.tensor.shape().clone();
        let after = self.tensor.reshape(shape)?;
        Ok(Self::record(after, &[self], move |dy, _| Ok(vec![Some(dy.reshape(before)?)])))
    }

    fn transpose(&self) -> Result<Self> {
        Ok(Self::record(self.tensor.t()?, &[self], |dy, _| Ok(vec![Some(dy.t()?)])))
    }

    fn scale(&self, factor: f64) -> Result<Self> {
        Ok(Self::record((&self.tensor * factor)?, &[self], move |dy, _| Ok(vec![Some((dy * factor)?)])))
    }

    fn constant(tensor: Tensor) -> Self {
        tensor.into()
    }
}
