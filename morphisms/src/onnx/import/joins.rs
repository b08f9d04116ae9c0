//! Layers that read two tensors or more, and arithmetic with constants.

use super::super::constant::Constant;
use super::affine::Affine;
use super::inputs::{Inputs, activation, place};
use super::node::Operator;
use super::view::View;
use super::{Activation, Importer, Reason, Value};
use crate::activation::Activation as Function;
use crate::layer::{Layer, LayerId};

impl Importer<'_> {
    /// The only tensor of two that depends on the images, its place, and the constant.
    pub fn one_of_two(inputs: Inputs<'_>) -> Option<(&Activation, usize, &Constant)> {
        match inputs {
            [Some(Value::Activation(x)), Some(Value::Constant(constant))] => Some((x, 0, constant)),
            [Some(Value::Constant(constant)), Some(Value::Activation(x))] => Some((x, 1, constant)),
            _ => None,
        }
    }

    pub fn layers_of(&self, inputs: Inputs<'_>) -> Result<Vec<LayerId>, Reason> {
        (0..inputs.len()).map(|place| self.plain(activation(inputs, place)?)).collect()
    }

    pub fn sum(&mut self, inputs: Inputs<'_>) -> Result<LayerId, Reason> {
        if let Some((x, _, constant)) = Self::one_of_two(inputs) {
            let shift = Some(self.per_channel(x, constant)?);
            return self.affine(x, &Affine { scale: None, shift });
        }
        match self.layers_of(inputs)?.as_slice() {
            [only] => Ok(*only),
            layers => self.push(Layer::Add, layers),
        }
    }

    pub fn difference(&mut self, inputs: Inputs<'_>) -> Result<LayerId, Reason> {
        match Self::one_of_two(inputs) {
            Some((x, 0, constant)) => {
                let shift = Some(self.per_channel(x, constant)?.neg()?);
                self.affine(x, &Affine { scale: None, shift })
            }
            Some((x, _, constant)) => {
                let shift = self.per_channel(x, constant)?;
                let scale = (shift.zeros_like()? - 1.0)?;
                self.affine(x, &Affine { scale: Some(scale), shift: Some(shift) })
            }
            None => {
                let a = self.plain(activation(inputs, 0)?)?;
                let b = self.factor(activation(inputs, 1)?, -1.0)?;
                self.push(Layer::Add, &[a, b])
            }
        }
    }

    pub fn product(&mut self, inputs: Inputs<'_>) -> Result<LayerId, Reason> {
        if let Some((x, _, constant)) = Self::one_of_two(inputs) {
            if let Some(factor) = self.one_for_all(x, constant) {
                return self.factor(x, factor);
            }
            let scale = Some(self.per_channel(x, constant)?);
            return self.affine(x, &Affine { scale, shift: None });
        }
        let [a, b] = [activation(inputs, 0)?, activation(inputs, 1)?];
        for (x, gate) in [(a, b), (b, a)] {
            if let Some(layer) = self.gated(x, gate) {
                return Ok(layer);
            }
        }
        let (a, b) = (self.plain(a)?, self.plain(b)?);
        let a_is_gate = self.shapes[&a].spatial() == (1, 1) && self.shapes[&b].spatial() != (1, 1);
        self.push(Layer::Multiply, &if a_is_gate { [b, a] } else { [a, b] })
    }

    /// `x sigmoid(x)` and its hard form are activations of their own.
    pub fn gated(&mut self, x: &Activation, gate: &Activation) -> Option<LayerId> {
        let (layer, read) = self.draft.get(gate.layer)?;
        if gate.shared || x.view != View::Plain || gate.view != View::Plain || read != [x.layer] {
            return None;
        }
        let function = match layer {
            Layer::Activation(Function::Sigmoid) => Function::Silu,
            Layer::Activation(Function::HardSigmoid) => Function::HardSwish,
            _ => return None,
        };
        self.push(Layer::Activation(function), &[x.layer]).ok()
    }

    /// A constant that is one number for all channels, not that of the only one.
    pub fn one_for_all(&self, x: &Activation, constant: &Constant) -> Option<f64> {
        let of_one_channel = !constant.dims().is_empty() && self.shapes[&x.layer].channels() == 1;
        constant.as_scalar().filter(|_| !of_one_channel)
    }

    pub fn quotient(&mut self, inputs: Inputs<'_>) -> Result<LayerId, Reason> {
        let Some((x, 0, constant)) = Self::one_of_two(inputs) else {
            return Err("divides by what depends on the images".into());
        };
        if let Some(divisor) = self.one_for_all(x, constant) {
            return self.factor(x, 1.0 / divisor);
        }
        let scale = Some(self.per_channel(x, constant)?.recip()?);
        self.affine(x, &Affine { scale, shift: None })
    }

    pub fn concat(&mut self, node: &Operator, inputs: Inputs<'_>) -> Result<LayerId, Reason> {
        let layers = self.layers_of(inputs)?;
        let first = *layers.first().ok_or("nothing to join")?;
        let rank = Vec::<usize>::from(self.shapes[&first]).len() + 1;
        match place(node.int("axis").unwrap_or(1), rank)? {
            1 if layers.len() == 1 => Ok(first),
            1 => self.push(Layer::Concat, &layers),
            axis => Err(format!("joins along axis {axis}, not along the channels").into()),
        }
    }
}
