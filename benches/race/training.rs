//! One training step of a network.

use std::collections::BTreeMap;

use candle_convnet::cross_entropy;
use candle_core::{Tensor, Var};
use morphisms::{Architecture, Mode, Network, ParamKey, forward};

use crate::Result;

const LR: f64 = 1e-3;
const MOMENTUM: f64 = 0.9;
const WEIGHT_DECAY: f64 = 5e-4;

/// A training, between two steps.
pub struct Training {
    architecture: Architecture,
    variables: BTreeMap<ParamKey, Var>,
    statistics: BTreeMap<ParamKey, Tensor>,
    velocity: BTreeMap<ParamKey, Tensor>,
}

impl Training {
    pub fn new(network: &Network) -> Result<Self> {
        let architecture = (**network.architecture()).clone();
        let (mut variables, mut statistics, mut velocity) =
            (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (key, tensor) in network.weights().iter() {
            if key.role.is_trained() {
                variables.insert(key, Var::from_tensor(&tensor.copy()?)?);
                velocity.insert(key, tensor.zeros_like()?);
            } else {
                statistics.insert(key, tensor.clone());
            }
        }
        Ok(Self { architecture, variables, statistics, velocity })
    }

    /// Forward, loss, backward, and a step of SGD with Nesterov momentum and weight decay; the loss.
    pub fn step(&mut self, images: &Tensor, targets: &Tensor) -> Result<f64> {
        let missing = || candle_core::Error::Msg("a parameter is missing".into());
        let param = |key: ParamKey| {
            let variable = self.variables.get(&key).map(Var::as_tensor);
            variable.or_else(|| self.statistics.get(&key)).ok_or_else(missing)
        };
        let pass = forward(&self.architecture, &param, images, Mode::Train)?;
        let loss = cross_entropy(&pass.logits, targets)?;
        let gradients = loss.backward()?;
        for (key, variable) in &self.variables {
            let Some(gradient) = gradients.get(variable) else { continue };
            let value = variable.as_tensor().detach();
            let gradient = match key.role.decays() {
                true => (gradient + (&value * WEIGHT_DECAY)?)?,
                false => gradient.clone(),
            };
            let velocity = ((&self.velocity[key] * MOMENTUM)? + &gradient)?;
            let direction = (gradient + (&velocity * MOMENTUM)?)?;
            variable.set(&(value - (direction * LR)?)?)?;
            self.velocity.insert(*key, velocity.detach());
        }
        Ok(f64::from(loss.to_scalar::<f32>()?))
    }
}
