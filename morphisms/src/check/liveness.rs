//! Whether what a morphism adds can learn.

use std::collections::BTreeMap;

use candle_convnet::{Conv2dConfig, ConvAlgorithm, Tape, Value, conv2d, cross_entropy};
use candle_core::{DType, Tensor};

use super::{largest, shares_storage};
use crate::Result;
use crate::architecture::{Architecture, ParamKey};
use crate::forward::{self, Mode, forward};
use crate::layer::{Conv, Layer, LayerId, Role, Window};
use crate::network::Network;

/// A gradient below this part of the layer's largest does not count.
const NOTHING: f64 = 1e-6;
/// A parent's unit receives at least this part, because a copy with a share receives that share of it.
const PLENTY: f64 = 10.0 * NOTHING;
/// The step of the trial: no number moves by more than this part of the largest of its tensor. Large, so that what
/// only opens with the first step shows at the second.
const STEP: f64 = 0.1;
/// Where a step shuts a ReLU all the same, it is halved, down to this.
const SMALLEST_STEP: f64 = 1e-4;

/// Parameters or their gradients.
type Tensors = BTreeMap<ParamKey, Tensor>;

/// A unit that is active and does not learn.
#[derive(Debug, Clone, PartialEq)]
pub struct Starved {
    /// The layer that makes or reads it, together with the batch norm that alone reads that layer.
    pub layer: LayerId,
    /// 0: what makes the unit; 1: what reads it.
    pub axis: usize,
    /// Which slice along that axis.
    pub unit: usize,
    /// Its largest gradient in either step, relative to the layer's largest.
    pub relative: f64,
}

/// The units of a child's new or changed parameters that are active on a batch and yet receive, neither in the first
/// nor in the second step of gradient descent, a gradient above 1e-6 of their layer's largest. "Zero in, zero out" is
/// no growth: a unit that nobody reads and that nothing reaches stays so.
///
/// `images` is `[batch, channels, height, width]`, `targets` `[batch, classes]`, rows summing to 1. The verdict says
/// something about the morphism where the parent [`is_fully_alive`] on this batch. Exempt are:
///
/// - units that are shut: something reaches them, but behind their batch norm and ReLU, or where a kernel that reads
///   them looks, they are 0 on the whole batch before one of the steps, as is what kernel taps see that only ever meet
///   padding;
/// - biases and shifts of normalisations with a normalisation somewhere behind them, which may remove them;
/// - the factor of a mix of two tensors that are equal on the batch.
///
/// # Errors
/// When images or targets do not fit the networks.
pub fn liveness(
    parent: &Network,
    child: &Network,
    images: &Tensor,
    targets: &Tensor,
) -> Result<Vec<Starved>> {
    let new = |key: ParamKey, tensor: &Tensor| match parent.weights().get(key) {
        Ok(before) => !shares_storage(before, tensor),
        Err(_) => true,
    };
    let trial = Trial::run(child, images, targets, 2)?;
    let keys = child.weights().iter().filter(|(key, tensor)| new(*key, tensor)).map(|(key, _)| key);
    trial.starved(keys, false, NOTHING)
}

/// Whether every unit of every layer is active and receives a gradient in the first step, in the sense of [`liveness`] but
/// above 1e-5: whoever shares it with a copy passes on less.
///
/// # Errors
/// As [`liveness`].
pub fn is_fully_alive(network: &Network, images: &Tensor, targets: &Tensor) -> Result<bool> {
    let trial = Trial::run(network, images, targets, 1)?;
    Ok(trial.starved(network.weights().iter().map(|(key, _)| key), true, PLENTY)?.is_empty())
}

/// A few steps of gradient descent, every tensor with a learning rate of its own.
struct Trial<'a> {
    network: &'a Network,
    images: &'a Tensor,
    /// Gradients of each step; none where the loss does not depend on a parameter.
    gradients: Vec<Tensors>,
    /// Weights before each step.
    weights: Vec<Tensors>,
}

impl<'a> Trial<'a> {
    fn run(network: &'a Network, images: &'a Tensor, targets: &Tensor, steps: usize) -> Result<Self> {
        let weights: Tensors = network.weights().iter().map(|(key, tensor)| (key, tensor.clone())).collect();
        let gradients = gradient(network.architecture(), &weights, images, targets)?;
        let mut trial = Self { network, images, gradients: vec![gradients], weights: vec![weights] };
        for _ in 1..steps {
            trial.step(targets)?;
        }
        Ok(trial)
    }

    /// Takes a step; a smaller one where it would shut a layer altogether.
    fn step(&mut self, targets: &Tensor) -> Result<()> {
        let before = &self.gradients[self.gradients.len() - 1];
        let mut size = STEP;
        loop {
            let weights = moved(&self.weights[self.weights.len() - 1], before, size)?;
            let gradients = gradient(self.network.architecture(), &weights, self.images, targets)?;
            if size < SMALLEST_STEP || !shuts(before, &gradients)? {
                self.gradients.push(gradients);
                self.weights.push(weights);
                return Ok(());
            }
            size /= 2.0;
        }
    }

    /// A unit is a slice of all parameters of its block; the best of them counts. Units that are shut are judged only if
    /// `shut_too`; those starve that receive no more than `least`.
    fn starved(
        &self,
        keys: impl Iterator<Item = ParamKey>,
        shut_too: bool,
        least: f64,
    ) -> Result<Vec<Starved>> {
        let mut units: BTreeMap<(LayerId, usize, usize), f64> = BTreeMap::new();
        for key in keys.filter(|key| key.role.is_trained() && !self.is_exempt(*key)) {
            let rank = self.network.weights().get(key)?.rank();
            for axis in 0..rank.min(2) {
                let active = self.activity(key, axis)?;
                let slices = self.relative(key, axis)?.into_iter().enumerate();
                for (unit, relative) in slices.filter(|(unit, _)| shut_too || active[*unit]) {
                    let layer = start_of_block(self.network.architecture(), key.layer);
                    let best = units.entry((layer, axis, unit)).or_default();
                    *best = best.max(relative);
                }
            }
        }
        let quiet = units.into_iter().filter(|(_, relative)| *relative <= least);
        Ok(quiet.map(|((layer, axis, unit), relative)| Starved { layer, axis, unit, relative }).collect())
    }

    /// A shift that a normalisation may remove.
    fn is_exempt(&self, key: ParamKey) -> bool {
        let architecture = self.network.architecture();
        let is_norm = |id: &LayerId| architecture.node(*id).layer.is_norm();
        let behind = architecture.descendants(key.layer).into_iter().filter(|id| *id != key.layer);
        matches!(key.role, Role::Bias | Role::Beta) && behind.into_iter().any(|id| is_norm(&id))
    }

    /// The largest gradient of each slice along an axis in any step, relative to the layer's largest in that step.
    fn relative(&self, key: ParamKey, axis: usize) -> Result<Vec<f64>> {
        let size = self.network.weights().get(key)?.dim(axis)?;
        let mut units = vec![0.0f64; size];
        for gradients in &self.gradients {
            let Some(gradient) = gradients.get(&key) else { continue };
            let of_layer = gradients.iter().filter(|(other, _)| other.layer == key.layer);
            let mut most = 0.0f64;
            for (_, gradient) in of_layer {
                most = most.max(largest(gradient)?);
            }
            let slices = gradient.transpose(0, axis)?.contiguous()?.reshape((size, ()))?;
            let slices: Vec<f64> = slices.to_dtype(DType::F64)?.abs()?.max(1)?.to_vec1()?;
            let relative = |(unit, slice): (&mut f64, f64)| {
                *unit = unit.max(if most > 0.0 { slice / most } else { 0.0 })
            };
            units.iter_mut().zip(slices).for_each(relative);
        }
        Ok(units)
    }

    /// Whether each unit is active on the batch, before every step, or nothing reaches it at all.
    fn activity(&self, key: ParamKey, axis: usize) -> Result<Vec<bool>> {
        let mut active = vec![true; self.network.weights().get(key)?.dim(axis)?];
        for weights in &self.weights {
            let now = self.activity_with(weights, key, axis)?;
            active.iter_mut().zip(now).for_each(|(active, now)| *active &= now);
        }
        Ok(active)
    }

    fn activity_with(&self, weights: &Tensors, key: ParamKey, axis: usize) -> Result<Vec<bool>> {
        let architecture = self.network.architecture();
        let node = architecture.node(key.layer);
        if key.role == Role::Lambda {
            let [a, b] = [self.output(weights, node.inputs[0])?, self.output(weights, node.inputs[1])?];
            return Ok(vec![largest(&(a - b)?)? > 0.0]);
        }
        match axis {
            0 => {
                // What nothing reaches is not shut: it is judged, and found starved.
                let reached = channel_activity(&self.output(weights, key.layer)?)?;
                let open = channel_activity(&self.output(weights, end_of_block(architecture, key.layer))?)?;
                Ok(reached.into_iter().zip(open).map(|(reached, open)| open || !reached).collect())
            }
            _ => {
                let read = channel_activity(&seen(&node.layer, &self.output(weights, node.inputs[0])?)?)?;
                // A grouped kernel lists the channels of one block.
                let block = self.network.weights().get(key)?.dim(1)?;
                Ok((0..block)
                    .map(|unit| read.iter().skip(unit).step_by(block).any(|&active| active))
                    .collect())
            }
        }
    }

    fn output(&self, weights: &Tensors, layer: LayerId) -> Result<Tensor> {
        let param = |key: ParamKey| lookup(weights, key);
        Ok(forward::activation(self.network.architecture(), &param, self.images, layer, Mode::TRAIN)?)
    }
}

/// The weights a step further down; no number moves by more than `size` of the largest of its tensor.
fn moved(weights: &Tensors, gradients: &Tensors, size: f64) -> Result<Tensors> {
    let mut moved = weights.clone();
    for (key, gradient) in gradients {
        let (scale, steepest) = (largest(&weights[key])?, largest(gradient)?);
        let rate = size * if scale > 0.0 { scale } else { 1.0 } / steepest;
        if key.role.is_trained() && rate.is_finite() {
            moved.insert(*key, (&weights[key] - (gradient * rate)?)?);
        }
    }
    Ok(moved)
}

/// Whether a parameter that had a gradient has none any more.
fn shuts(before: &Tensors, after: &Tensors) -> Result<bool> {
    for (key, gradient) in before {
        let left = after.get(key).map(largest).transpose()?.unwrap_or(0.0);
        if largest(gradient)? > 0.0 && left == 0.0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The last of a layer and the normalisation and activation that alone read it.
fn end_of_block(architecture: &Architecture, layer: LayerId) -> LayerId {
    match architecture.only_consumer(layer) {
        Some(reader)
            if reader.layer.is_norm() || matches!(reader.layer, Layer::Activation(_) | Layer::Prelu) =>
        {
            end_of_block(architecture, reader.id)
        }
        _ => layer,
    }
}

/// The layer whose output a batch norm alone reads; of other layers the layer itself.
fn start_of_block(architecture: &Architecture, layer: LayerId) -> LayerId {
    let node = architecture.node(layer);
    match (node.layer, node.inputs.first()) {
        (Layer::BatchNorm { .. }, Some(&input)) if architecture.only_consumer(input).is_some() => input,
        _ => layer,
    }
}

/// What a layer sees of its input, channel by channel: a convolution may step over places.
fn seen(layer: &Layer, input: &Tensor) -> candle_core::Result<Tensor> {
    let Layer::Conv(Conv { window: Window { kernel, stride, padding }, dilation, .. }) = *layer else {
        return Ok(input.clone());
    };
    let groups = input.dim(1)?;
    let ones = Tensor::ones((groups, 1, kernel.0, kernel.1), input.dtype(), input.device())?;
    let algorithm = ConvAlgorithm::Direct; // Its zeros are exact.
    let cfg = Conv2dConfig { stride, padding, dilation, groups, algorithm };
    conv2d(&input.abs()?, &ones, None, &cfg)
}

/// Whether each channel of `[batch, channels, ...]` is anywhere other than 0.
fn channel_activity(output: &Tensor) -> Result<Vec<bool>> {
    let channels = output.dim(1)?;
    let rows = output.transpose(0, 1)?.contiguous()?.reshape((channels, ()))?;
    let most: Vec<f64> = rows.to_dtype(DType::F64)?.abs()?.max(1)?.to_vec1()?;
    Ok(most.into_iter().map(|value| value > 0.0).collect())
}

fn lookup(weights: &Tensors, key: ParamKey) -> candle_core::Result<&Tensor> {
    weights.get(&key).ok_or_else(|| candle_core::Error::Msg(format!("no parameter {key}")))
}

/// The gradient of the cross entropy in training mode.
fn gradient(
    architecture: &Architecture,
    weights: &Tensors,
    images: &Tensor,
    targets: &Tensor,
) -> Result<Tensors> {
    let tape = Tape::new();
    let variables: BTreeMap<ParamKey, Value> =
        weights.iter().map(|(&key, tensor)| (key, tape.variable(tensor.clone()))).collect();
    let param = |key: ParamKey| {
        variables.get(&key).ok_or_else(|| candle_core::Error::Msg(format!("no parameter {key}")))
    };
    let logits = forward(architecture, &param, &images.clone().into(), Mode::TRAIN)?.logits;
    let mut gradients = tape.backward(&cross_entropy(&logits, targets)?)?;
    Ok(variables.iter().filter_map(|(&key, variable)| Some((key, gradients.take(variable)?))).collect())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::architecture::Draft;
    use crate::check::images;
    use crate::layer::Shape;

    fn parent() -> Network {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let x = draft.conv_bn_relu(draft.input(), Conv::same(3, 3));
        draft.head(x, 2);
        Network::init(draft.build().unwrap(), 0, DType::F64, &Device::Cpu).unwrap()
    }

    /// The network with two channels more that nobody reads, made by kernels of this size.
    fn widened(parent: &Network, kernel: f64) -> Network {
        let mut draft = parent.architecture().draft();
        if let Some(Layer::Conv(conv)) = draft.layer_mut(LayerId(1)) {
            conv.out_channels = 5;
        }
        let mut weights = parent.weights().clone();
        let mut grow = |layer, role, axis, shape: &[usize], value: f64| {
            let key = ParamKey::new(LayerId(layer), role);
            let count: usize = shape.iter().product();
            let added: Vec<f64> = (0..count).map(|i| value * (1.0 + (i as f64).sin())).collect();
            let added = Tensor::from_vec(added, shape, &Device::Cpu).unwrap();
            weights.insert(key, Tensor::cat(&[weights.get(key).unwrap(), &added], axis).unwrap());
        };
        grow(1, Role::Weight, 0, &[2, 1, 3, 3], kernel);
        for role in [Role::Gamma, Role::Beta, Role::Mean, Role::Variance] {
            grow(2, role, 0, &[2], 1.0);
        }
        grow(6, Role::Weight, 1, &[2, 2], 0.0);
        Network::new(draft.build().unwrap(), weights).unwrap()
    }

    #[test]
    fn unread_channels_learn_by_the_second_step_unless_nothing_reaches_them() {
        let parent = parent();
        let images = images(parent.architecture().input(), 6, 0, DType::F64).unwrap();
        let targets: Vec<f64> = (0..6).flat_map(|i| [f64::from(i % 2), f64::from(1 - i % 2)]).collect();
        let targets = Tensor::from_vec(targets, (6, 2), &Device::Cpu).unwrap();
        assert!(is_fully_alive(&parent, &images, &targets).unwrap());
        let good = widened(&parent, 0.5);
        assert_eq!(liveness(&parent, &good, &images, &targets).unwrap(), []);
        assert!(!is_fully_alive(&good, &images, &targets).unwrap(), "at the first step they starve");
        let shut = ParamKey::new(LayerId(6), Role::Weight);
        let mut weights = good.weights().clone();
        weights.insert(shut, good.weights().get(shut).unwrap().zeros_like().unwrap());
        let gamma = ParamKey::new(LayerId(2), Role::Gamma);
        weights.insert(gamma, Tensor::new(&[1.0, 1.0, 1.0, 0.0, 0.0], &Device::Cpu).unwrap());
        let bad = Network::new(good.architecture().clone(), weights).unwrap();
        let starved = liveness(&parent, &bad, &images, &targets).unwrap();
        let made = |unit: &Starved| (unit.layer, unit.axis, unit.unit) == (LayerId(1), 0, 3);
        assert!(starved.iter().any(made), "{starved:?}");
        assert!(starved.iter().all(|unit| unit.axis == 1 || unit.unit >= 3), "{starved:?}");
    }
}
