//! Networks: an architecture with weights that fit it.

use candle_convnet::ConvAlgorithm;
use candle_core::{DType, Device, Tensor};

use crate::Result;
use crate::architecture::{Architecture, ParamKey};
use crate::forward::{self, Mode, Pass};
use crate::inheritance::{Inheritance, Rest, Source};
use crate::init::init;
use crate::layer::{LayerId, Role};
use crate::morphism::Rewrite;
use crate::weights::Weights;

/// An architecture and its weights; always valid. Cloning copies no numbers.
#[derive(Debug, Clone)]
pub struct Network {
    architecture: Architecture,
    weights: Weights,
    /// Of the weights, those that a descendant may get included: rewrites can take the last one away.
    dtype: DType,
    device: Device,
}

impl Network {
    /// Joins an architecture and weights. Without a single parameter it is a network in f32 on the CPU.
    ///
    /// # Errors
    /// [`crate::Error::Weights`] if a parameter is missing, superfluous or of the wrong shape.
    pub fn new(architecture: Architecture, weights: Weights) -> Result<Self> {
        let first = weights.iter().next().map(|(_, tensor)| (tensor.dtype(), tensor.device().clone()));
        let (dtype, device) = first.unwrap_or((DType::F32, Device::Cpu));
        Self::of(architecture, weights, dtype, device)
    }

    fn of(architecture: Architecture, weights: Weights, dtype: DType, device: Device) -> Result<Self> {
        weights.check(&architecture)?;
        Ok(Self { architecture, weights, dtype, device })
    }

    /// A network with fresh weights, see [`init`]; equal seeds give equal weights.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn init(architecture: Architecture, seed: u64, dtype: DType, device: &Device) -> Result<Self> {
        let weights = init(&architecture, seed, dtype, device)?;
        Ok(Self { architecture, weights, dtype, device: device.clone() })
    }

    /// The architecture.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The number format of the weights.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The device of the weights.
    pub fn device(&self) -> Device {
        self.device.clone()
    }

    /// The same network in another number format.
    ///
    /// # Errors
    /// When candle cannot convert.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        Ok(Self { weights: self.weights.to_dtype(dtype)?, dtype, ..self.clone() })
    }

    /// Logits `[batch, classes]` of images `[batch, channels, height, width]`, with running statistics.
    ///
    /// # Errors
    /// When the images do not have the architecture's shape.
    pub fn logits(&self, images: &Tensor) -> Result<Tensor> {
        Ok(self.forward(images, Mode::Eval)?.logits)
    }

    /// [`logits`](Self::logits) with a choice of how convolutions are computed; see
    /// [`forward_by`](crate::forward_by).
    ///
    /// # Errors
    /// When the images do not have the architecture's shape.
    pub fn logits_by(&self, images: &Tensor, algorithm: ConvAlgorithm) -> Result<Tensor> {
        let param = |key| self.lookup(key);
        Ok(forward::forward_by(&self.architecture, &param, images, Mode::Eval, algorithm)?.logits)
    }

    /// A forward pass in either mode.
    ///
    /// # Errors
    /// When the images do not have the architecture's shape.
    pub fn forward(&self, images: &Tensor, mode: Mode) -> Result<Pass> {
        Ok(forward::forward(&self.architecture, &|key| self.lookup(key), images, mode)?)
    }

    /// The output of one layer in evaluation mode, `[batch, ...]`.
    ///
    /// # Errors
    /// When the images do not have the architecture's shape.
    pub fn activation(&self, images: &Tensor, layer: LayerId) -> Result<Tensor> {
        Ok(forward::activation(&self.architecture, &|key| self.lookup(key), images, layer, Mode::Eval)?)
    }

    /// The child that a rewrite of this network's architecture describes. Parameters that the rewrite keeps share
    /// this network's storage. `batch`, images `[batch, channels, height, width]`, calibrates inserted batch norms;
    /// without it they are the identity in evaluation mode, but not in training mode.
    ///
    /// # Errors
    /// When the rewrite is not one of this network's architecture.
    pub fn child(&self, rewrite: &Rewrite, batch: Option<&Tensor>) -> Result<Self> {
        let inheritance = rewrite.inheritance.resolved_for(&rewrite.architecture, self, batch)?;
        let weights = inheritance.evaluate(&self.weights, self.dtype, &self.device)?;
        let child = Self { architecture: rewrite.architecture.clone(), weights, ..self.clone() };
        child.check_against(self, &inheritance)?;
        Ok(child)
    }

    /// Whether the weights fit the architecture, looking only at what may differ from a parent whose weights fit. What was
    /// computed has the shape it was asked for: [`Inheritance::resolved_for`] saw to that.
    fn check_against(&self, parent: &Self, inheritance: &Inheritance) -> Result<()> {
        let differences = self.architecture.known_differences(&parent.architecture);
        let (Some(differences), Rest::KeptBut(lost)) = (differences, &inheritance.rest) else {
            return self.weights.check(&self.architecture);
        };
        let set = &inheritance.sources;
        let copied = set.iter().filter(|(_, source)| matches!(source, Source::Parent(_))).map(|(key, _)| key);
        let others = differences.iter().chain(lost).filter(|key| !set.contains_key(key));
        let mut changed = copied.chain(others);
        changed.try_for_each(|&key| self.weights.check_one(&self.architecture, key, self.dtype))
    }

    /// This network with the running statistics of every batch norm replaced by those of `images`
    /// `[batch, channels, height, width]`, each batch norm reading what the recalibrated ones before it write. After an
    /// approximate morphism the inherited statistics are those of another network (Li et al., "Revisiting batch
    /// normalization for practical domain adaptation", 2016, has the idea).
    ///
    /// # Errors
    /// When the images do not have the architecture's shape.
    pub fn recalibrated(&self, images: &Tensor) -> Result<Self> {
        let statistics = self.forward(images, Mode::TRAIN)?.statistics;
        let mut weights = self.weights.clone();
        for (layer, batch) in statistics {
            let unbiased = batch.unbiased_variance()?;
            weights.insert(ParamKey::new(layer, Role::Mean), batch.mean);
            weights.insert(ParamKey::new(layer, Role::Variance), unbiased);
        }
        self.with_weights(weights)
    }

    /// The same architecture with other weights of the same number format and device.
    pub(crate) fn with_weights(&self, weights: Weights) -> Result<Self> {
        Self::of(self.architecture.clone(), weights, self.dtype(), self.device())
    }

    pub(crate) fn lookup(&self, key: ParamKey) -> candle_core::Result<&Tensor> {
        self.weights.get(key).map_err(|error| candle_core::Error::Msg(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::Draft;
    use crate::catalog;
    use crate::layer::{Layer, PoolKind, Shape, Window};

    /// `drop_layer` can take the last parameter away, and `skip_add` can bring one back.
    #[test]
    fn a_network_without_parameters_has_a_number_format() {
        let mut draft = Draft::new(Shape::map(2, 4, 4));
        let smooth = Layer::Pool { kind: PoolKind::Average, window: Window::same(3) };
        let smooth = draft.push(smooth, &[draft.input()]);
        let pool = draft.push(Layer::GlobalAveragePool, &[smooth]);
        let logits = draft.push(Layer::Flatten, &[pool]);
        draft.set_output(logits);
        let parent = Network::init(draft.build().unwrap(), 0, DType::F64, &Device::Cpu).unwrap();
        assert!(parent.weights().is_empty());
        let skip_add = catalog::named("skip_add").unwrap();
        let site = &skip_add.sites(parent.architecture())[0];
        let child = parent.child(&skip_add.rewrite(parent.architecture(), site, 0).unwrap(), None).unwrap();
        assert_eq!((parent.dtype(), child.dtype()), (DType::F64, DType::F64));
        child.logits(&Tensor::ones((1, 2, 4, 4), DType::F64, &Device::Cpu).unwrap()).unwrap();
    }

    /// Whether the rewrite was made from this very architecture or from one like it, of which nothing is known.
    #[test]
    fn a_rewrite_that_does_not_fit_is_refused() {
        let parent = Network::builder(Shape::map(1, 4, 4)).conv_bn_relu(2, 3).head(2).init(0).unwrap();
        let twin = Network::init(
            serde_json::from_str(&serde_json::to_string(parent.architecture()).unwrap()).unwrap(),
            0,
            DType::F32,
            &Device::Cpu,
        )
        .unwrap();
        let mut draft = parent.architecture().draft();
        let layers: Vec<LayerId> = parent.architecture().nodes().map(|node| node.id).collect();
        draft.bypass(layers[2]);
        let without_norm = draft.build().unwrap();
        let keys: Vec<ParamKey> = parent.architecture().parameters().into_keys().collect();
        let refused = |architecture: &Architecture, rest: Vec<ParamKey>, set: Option<ParamKey>| {
            let rest = Rest::KeptBut(rest.into_iter().collect());
            let zeros = crate::inheritance::Source::Constant { shape: vec![3], value: 0.0 };
            let sources = set.map(|key| (key, zeros)).into_iter().collect();
            let inheritance = Inheritance { rest, sources, selections: Vec::new() };
            let rewrite = Rewrite { architecture: architecture.clone(), inheritance };
            let texts = [&parent, &twin]
                .map(|network| network.child(&rewrite, None).map_err(|error| error.to_string()));
            let [here, there] = texts.map(|child| child.err());
            assert_eq!(here.is_some(), there.is_some());
            here
        };
        let of_norm: Vec<ParamKey> = keys.iter().copied().filter(|key| key.layer == layers[2]).collect();
        assert_eq!(refused(&without_norm, of_norm.clone(), None), None);
        let kept = refused(&without_norm, of_norm[1..].to_vec(), None).unwrap();
        assert!(kept.contains(&of_norm[0].to_string()) && kept.contains("not belong"), "{kept}");
        let lost = refused(&without_norm, of_norm.iter().chain(&keys[..1]).copied().collect(), None).unwrap();
        assert!(lost.contains(&format!("no parameter {}", keys[0])), "{lost}");
        let reshaped = refused(&without_norm, of_norm, Some(keys[keys.len() - 1])).unwrap();
        assert!(reshaped.contains("expected shape [2], found [3]"), "{reshaped}");
    }

    #[test]
    fn recalibrating_leaves_the_network_as_it_was() {
        let network = Network::builder(Shape::map(1, 4, 4)).conv_bn_relu(2, 3).head(2).init(0).unwrap();
        let before = network.weights().to_safetensors().unwrap();
        let images = crate::check::images(Shape::map(1, 4, 4), 8, 0, DType::F32).unwrap();
        let other = network.recalibrated(&images).unwrap();
        assert_ne!(other.weights().to_safetensors().unwrap(), before);
        assert_eq!(network.weights().to_safetensors().unwrap(), before);
    }
}
