//! Networks: an architecture with weights that fit it.

use std::sync::Arc;

use candle_convnet::ConvAlgorithm;
use candle_core::{DType, Device, Tensor};

use crate::Result;
use crate::architecture::{Architecture, ParamKey};
use crate::forward::{self, Mode, Pass};
use crate::init::init;
use crate::layer::{LayerId, Role};
use crate::morphism::Rewrite;
use crate::weights::Weights;

/// An architecture and its weights; always valid. Cloning copies no numbers.
#[derive(Debug, Clone)]
pub struct Network {
    architecture: Arc<Architecture>,
    weights: Weights,
}

impl Network {
    /// Joins an architecture and weights.
    ///
    /// # Errors
    /// [`crate::Error::Weights`] if a parameter is missing, superfluous or of the wrong shape.
    pub fn new(architecture: impl Into<Arc<Architecture>>, weights: Weights) -> Result<Self> {
        let architecture = architecture.into();
        weights.check(&architecture)?;
        Ok(Self { architecture, weights })
    }

    /// A network with fresh weights, see [`init`]; equal seeds give equal weights.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn init(
        architecture: impl Into<Arc<Architecture>>,
        seed: u64,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let architecture = architecture.into();
        let weights = init(&architecture, seed, dtype, device)?;
        Ok(Self { architecture, weights })
    }

    /// The architecture.
    pub fn architecture(&self) -> &Arc<Architecture> {
        &self.architecture
    }

    /// The weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The number format of the weights.
    pub fn dtype(&self) -> DType {
        self.weights.iter().next().map_or(DType::F32, |(_, tensor)| tensor.dtype())
    }

    /// The device of the weights.
    pub fn device(&self) -> Device {
        self.weights.iter().next().map_or(Device::Cpu, |(_, tensor)| tensor.device().clone())
    }

    /// The same network in another number format.
    ///
    /// # Errors
    /// When candle cannot convert.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        Ok(Self { architecture: self.architecture.clone(), weights: self.weights.to_dtype(dtype)? })
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
        let inheritance = rewrite.inheritance.resolved(self, batch)?;
        let weights = inheritance.apply(&self.weights, self.dtype(), &self.device())?;
        Self::new(rewrite.architecture.clone(), weights)
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
        Self::new(self.architecture.clone(), weights)
    }

    fn lookup(&self, key: ParamKey) -> candle_core::Result<&Tensor> {
        self.weights.get(key).map_err(|error| candle_core::Error::Msg(error.to_string()))
    }
}
