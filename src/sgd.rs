//! Stochastic gradient descent with Nesterov momentum, and the schedule of its learning rate.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use morphisms::ParamKey;

use crate::Result;
use crate::config::Recipe;

/// The optimiser of one training: `v = momentum v + g`, `w -= lr (g + momentum v)` (Sutskever et al., ICML 2013, in
/// PyTorch's form), weight decay added to the gradient of kernels and matrices.
pub struct Sgd {
    momentum: f64,
    weight_decay: f64,
    /// The velocity of each parameter.
    pub velocity: BTreeMap<ParamKey, Tensor>,
}

impl Sgd {
    /// An optimiser at rest for these variables.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn new(recipe: &Recipe, variables: &BTreeMap<ParamKey, Var>) -> Result<Self> {
        let velocity =
            variables.iter().map(|(&key, var)| Ok((key, var.zeros_like()?))).collect::<Result<_>>()?;
        Ok(Self { momentum: recipe.momentum, weight_decay: recipe.weight_decay, velocity })
    }

    /// One step along the gradients.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn step(
        &mut self,
        variables: &BTreeMap<ParamKey, Var>,
        gradients: &GradStore,
        lr: f64,
    ) -> Result<()> {
        for (key, variable) in variables {
            let Some(gradient) = gradients.get(variable) else { continue };
            let value = variable.as_tensor().detach();
            let gradient = match key.role.decays() && self.weight_decay > 0.0 {
                true => (gradient + (&value * self.weight_decay)?)?,
                false => gradient.clone(),
            };
            let before = &self.velocity[key];
            let velocity = ((before * self.momentum)? + &gradient)?;
            let direction = (gradient + (&velocity * self.momentum)?)?;
            variable.set(&(value - (direction * lr)?)?)?;
            self.velocity.insert(*key, velocity.detach());
        }
        Ok(())
    }
}

/// The learning rate of step `step` of `steps`: half a cosine from `start` to `end` (Loshchilov and Hutter, "SGDR",
/// ICLR 2017, without restarts).
pub fn cosine(start: f64, end: f64, step: usize, steps: usize) -> f64 {
    let progress = step as f64 / steps.max(1) as f64;
    end + 0.5 * (start - end) * (1.0 + (std::f64::consts::PI * progress).cos())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use morphisms::{LayerId, Role};

    use super::*;

    /// torch.optim.SGD(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01) on w = 1 with loss w^2, three steps,
    /// PyTorch 2.15, f64:
    /// `w = torch.ones(1, dtype=torch.float64, requires_grad=True); o = torch.optim.SGD([w], lr=0.1, momentum=0.9,
    /// nesterov=True, weight_decay=0.01)`, then `o.zero_grad(); (w*w).sum().backward(); o.step(); print(w.item())`.
    #[test]
    fn it_steps_as_pytorch_does() {
        let key = ParamKey::new(LayerId(1), Role::Weight);
        let variable = Var::new(&[1.0f64], &Device::Cpu).unwrap();
        let variables = BTreeMap::from([(key, variable.clone())]);
        let recipe = Recipe { momentum: 0.9, weight_decay: 0.01, ..Recipe::default() };
        let mut sgd = Sgd::new(&recipe, &variables).unwrap();
        for expected in TORCH {
            let gradients = variable.sqr().unwrap().backward().unwrap();
            sgd.step(&variables, &gradients, 0.1).unwrap();
            let found = variable.to_vec1::<f64>().unwrap()[0];
            assert!((found - expected).abs() < 1e-14, "{found} {expected}");
        }
    }

    const TORCH: [f64; 3] = [0.6181, 0.21923760999999992, -0.11165109425900013];

    #[test]
    fn the_schedule_falls_from_start_to_end() {
        assert_eq!(cosine(0.1, 0.0, 0, 10), 0.1);
        assert!(cosine(0.1, 0.01, 10, 10) - 0.01 < 1e-15);
        assert!((cosine(0.1, 0.0, 5, 10) - 0.05).abs() < 1e-15);
    }
}
