//! Folding batch norms into convolutions, as networks are deployed.

use candle_core::Tensor;

use crate::Result;
use crate::architecture::ParamKey;
use crate::layer::{Layer, LayerId, Role};
use crate::network::Network;
use crate::surgery::{BatchNorm, fold_batch_norm};
use crate::weights::Weights;

impl Network {
    /// The same function in evaluation mode, with every batch norm that alone reads a convolution folded into that
    /// convolution: `w' = w s`, `b' = (b - mean) s + beta`, `s = gamma / sqrt(variance + eps)`. For inference only.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn fold_batch_norms(&self) -> Result<Self> {
        let (mut draft, mut weights) = (self.architecture().draft(), self.weights().clone());
        let mut folded = Vec::new();
        for node in self.architecture().nodes() {
            let Some(norm) = self.architecture().only_consumer(node.id) else { continue };
            let (Layer::Conv(conv), Layer::BatchNorm { eps }) = (node.layer, norm.layer) else { continue };
            let (weight, bias) = self.folded(node.id, norm.id, eps, conv.bias)?;
            weights.insert(ParamKey::new(node.id, Role::Weight), weight);
            weights.insert(ParamKey::new(node.id, Role::Bias), bias);
            if let Some(Layer::Conv(conv)) = draft.layer_mut(node.id) {
                conv.bias = true;
            }
            draft.bypass(norm.id);
            folded.push(norm.id);
        }
        let left: Weights = weights
            .iter()
            .filter(|(key, _)| !folded.contains(&key.layer))
            .map(|(key, t)| (key, t.clone()))
            .collect();
        Self::new(draft.build()?, left)
    }

    fn folded(&self, conv: LayerId, norm: LayerId, eps: f64, bias: bool) -> Result<(Tensor, Tensor)> {
        let get = |layer, role| self.weights().get(ParamKey::new(layer, role));
        let of = |role| get(norm, role).cloned();
        let tensors = BatchNorm {
            gamma: of(Role::Gamma)?,
            beta: of(Role::Beta)?,
            mean: of(Role::Mean)?,
            variance: of(Role::Variance)?,
        };
        let bias = bias.then(|| get(conv, Role::Bias)).transpose()?;
        fold_batch_norm(get(conv, Role::Weight)?, bias, &tensors, eps)
    }
}
