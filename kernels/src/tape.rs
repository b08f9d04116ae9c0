//! Back-propagation of our own.
//!
//! candle's backward pass starts every gradient as a tensor of zeros and adds to it. For the small, fast
//! operations of this crate that is a large part of a training step, so a [`Tape`] moves the first gradient
//! in and adds only where a value is read twice. A step gives up its saved tensors as soon as it is done.

use crate::activation::relu;
use crate::combine::{Add, channels, join};
use crate::conv::taped::{self, Norm};
use crate::conv::{Geometry, untaped as untaped_convolution};
use crate::norm::{BatchNormOutput, Epilogue, Held, Sums};
use crate::op::{Run, Track};
use crate::operand::sealed::Apply;
use crate::residual;
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

/// The gradient of a value.
#[derive(Clone)]
pub(crate) struct Gradient {
    pub tensor: Tensor,
    /// What a batch norm needs to know of it, if the value is the output of one and whoever computed the gradient knew it too.
    pub sums: Option<Vec<Sums>>,
}

impl From<Tensor> for Gradient {
    fn from(tensor: Tensor) -> Self {
        Self { tensor, sums: None }
    }
}

/// From the gradient of a step's output to those of its inputs that have a slot.
type Backward = dyn FnOnce(Gradient) -> Result<Vec<(usize, Gradient)>>;

struct Step {
    output: usize,
    backward: Box<Backward>,
}

/// A tensor that operations on a [`Tape`] read or made; cheap to clone.
#[derive(Clone)]
pub struct Value {
    held: Held,
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
        Value { held: Held::Whole(tensor.detach()), slot: Some(Slot { record: self.record.clone(), index }) }
    }

    /// The gradients of the sum of `root` with respect to everything on the tape, which is empty
    /// afterwards.
    ///
    /// # Errors
    /// If `root` depends on no variable of this tape, or a tensor operation fails.
    pub fn backward(self, root: &Value) -> Result<Gradients> {
        let ones = root.as_tensor().ones_like()?;
        self.backward_from(root, ones)
    }

    /// As [`Self::backward`], of the sum of `root` times `gradient`, which has its shape: for a gradient that
    /// comes from elsewhere.
    ///
    /// # Errors
    /// As there, or if shapes or number types differ.
    pub fn backward_from(self, root: &Value, gradient: Tensor) -> Result<Gradients> {
        check_dtypes("backward", &[("root", root.held.like()), ("gradient", &gradient)])?;
        check_shape("backward", "gradient", &gradient, root.held.like().dims())?;
        let Record { slots, steps } = self.record.take();
        let mine = root.slot.as_ref().filter(|slot| Rc::ptr_eq(&slot.record, &self.record));
        let start = mine.ok_or_else(|| {
            Error::Msg("backward: expected a value that depends on a variable of this tape".into()).bt()
        })?;
        let mut gradients: Vec<Option<Gradient>> = vec![None; slots];
        gradients[start.index] = Some(gradient.into());
        for Step { output, backward } in steps.into_iter().rev() {
            // Nothing reads this gradient after its step.
            let Some(dy) = gradients[output].take() else { continue };
            for (slot, gradient) in backward(dy)? {
                gradients[slot] = Some(match gradients[slot].take() {
                    None => gradient,
                    Some(sum) => Add.run([&sum.tensor.contiguous()?, &gradient.tensor.contiguous()?])?.into(),
                });
            }
        }
        Ok(Gradients(gradients.into_iter().map(|gradient| Some(gradient?.tensor)).collect()))
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
        Self { held: Held::Whole(tensor.detach()), slot: None }
    }
}

impl Value {
    /// The numbers. Those of a batch norm behind a convolution are computed now, unless that was done before: other
    /// convolutions read what they are made of.
    pub fn as_tensor(&self) -> &Tensor {
        self.held.whole()
    }

    pub(crate) fn held(&self) -> &Held {
        &self.held
    }

    /// The result of a step. Without an input that has a slot there is nothing to record. `backward` gets which of the
    /// inputs' gradients are wanted.
    pub(crate) fn record(
        held: Held,
        inputs: &[&Self],
        backward: impl FnOnce(Gradient, &[bool]) -> Result<Vec<Option<Gradient>>> + 'static,
    ) -> Self {
        let Some(record) = inputs.iter().find_map(|input| Some(input.slot.as_ref()?.record.clone())) else {
            return Self { held, slot: None };
        };
        let slots: Vec<Option<usize>> = inputs.iter().map(|i| i.slot.as_ref().map(|s| s.index)).collect();
        let backward = move |dy: Gradient| {
            let wanted: Vec<bool> = slots.iter().map(Option::is_some).collect();
            let gradients = backward(dy, &wanted)?;
            Ok(slots.iter().zip(gradients).filter_map(|(slot, g)| Some(((*slot)?, g?))).collect())
        };
        let index = record.borrow_mut().slot();
        record.borrow_mut().steps.push(Step { output: index, backward: Box::new(backward) });
        Self { held, slot: Some(Slot { record, index }) }
    }

    /// [`Self::record`] of a tensor, whose gradients are no more than that.
    fn record_tensor(
        tensor: Tensor,
        inputs: &[&Self],
        backward: impl FnOnce(&Tensor, &[bool]) -> Result<Vec<Option<Tensor>>> + 'static,
    ) -> Self {
        Self::record(Held::Whole(tensor), inputs, move |dy, wanted| {
            let gradients = backward(&dy.tensor, wanted)?;
            Ok(gradients.into_iter().map(|gradient| gradient.map(Gradient::from)).collect())
        })
    }
}

impl Apply for Value {
    fn apply<const N: usize, O: Track<N>>(inputs: [&Self; N], op: O) -> Result<Self> {
        let tensors = inputs.map(|input| input.as_tensor().clone());
        let output = op.run(tensors.each_ref())?;
        let result = output.clone();
        Ok(Self::record_tensor(result, &inputs, move |dy, wanted| {
            let wanted = std::array::from_fn(|i| wanted[i]);
            Ok(op.gradients(tensors.each_ref(), &output, &dy.contiguous()?, wanted)?.into())
        }))
    }

    fn like(&self) -> &Tensor {
        self.held.like()
    }

    fn convolve(x: &Self, weight: &Self, bias: Option<&Self>, geometry: Geometry) -> Result<Self> {
        if x.like().device().is_cpu() {
            return taped::convolve(x, weight, bias, geometry);
        }
        untaped_convolution(x, weight, bias, geometry)
    }

    fn convolve_and_normalise(
        x: &Self,
        weight: &Self,
        geometry: Geometry,
        (gamma, beta): (&Self, &Self),
        (eps, epilogue): (f64, Epilogue),
    ) -> Result<Option<BatchNormOutput<Self>>> {
        let fits = x.like().device().is_cpu() && epilogue.goes_by_plane(&geometry.output_shape());
        let norm = Norm { gamma, beta, eps, epilogue };
        fits.then(|| taped::convolve_and_normalise(x, weight, geometry, &norm)).transpose()
    }

    fn contiguous(&self) -> Result<Self> {
        // The gradient has the same shape, whatever the layout.
        let held = match &self.held {
            Held::Whole(tensor) => Held::Whole(tensor.contiguous()?),
            pending @ Held::Normalised(_) => pending.clone(),
        };
        Ok(Self { held, slot: self.slot.clone() })
    }

    fn add(&self, other: &Self) -> Result<Self> {
        check_dtypes("add", &[("a", self.like()), ("b", other.like())])?;
        check_shape("add", "b", other.like(), self.like().dims())?;
        Self::apply([&self.contiguous()?, &other.contiguous()?], Add)
    }

    fn add_relu(&self, other: &Self) -> Result<Self> {
        if self.like().device().is_cpu() {
            return residual::taped(self, other);
        }
        relu(&self.add(other)?)
    }

    fn concat(parts: &[&Self]) -> Result<Self> {
        let tensors = parts.iter().map(|part| part.as_tensor().contiguous()).collect::<Result<Vec<_>>>()?;
        let joined = join(&tensors.iter().collect::<Vec<_>>())?;
        let sizes = tensors.iter().map(|t| t.dim(1)).collect::<Result<Vec<_>>>()?;
        Ok(Self::record_tensor(joined, parts, move |dy, wanted| {
            let (dy, mut start) = (dy.contiguous()?, 0);
            let part = |(&size, wanted): (&usize, &bool)| {
                start += size;
                wanted.then(|| channels(&dy, start - size, size)).transpose()
            };
            sizes.iter().zip(wanted).map(part).collect()
        }))
    }

    fn reshape(&self, shape: &[usize]) -> Result<Self> {
        let before = self.like().shape().clone();
        let after = self.as_tensor().reshape(shape)?;
        Ok(Self::record_tensor(after, &[self], move |dy, _| Ok(vec![Some(dy.reshape(before)?)])))
    }

    fn transpose(&self) -> Result<Self> {
        Ok(Self::record_tensor(self.as_tensor().t()?, &[self], |dy, _| Ok(vec![Some(dy.t()?)])))
    }

    fn scale(&self, factor: f64) -> Result<Self> {
        Ok(Self::record_tensor((self.as_tensor() * factor)?, &[self], move |dy, _| {
            Ok(vec![Some((dy * factor)?)])
        }))
    }

    fn constant(tensor: Tensor) -> Self {
        tensor.into()
    }
}
