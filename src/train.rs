//! Training a network. The only place where weights become candle variables.

use std::collections::BTreeMap;
use std::path::Path;

use candle_convnet as ops;
use candle_core::{Device, Tensor, Var};
use morphisms::{Architecture, BatchStatistics, LayerId, Mode, Network, ParamKey, Role, Weights, forward};
use serde::{Deserialize, Serialize};

use crate::config::Recipe;
use crate::data::{Dataset, Split, epoch_order};
use crate::rng;
use crate::sgd::{Sgd, cosine};
use crate::stop::Stop;
use crate::{Error, Result};

/// The share of the batch's statistics that enters a batch norm's running ones, as in PyTorch.
const STATISTICS_MOMENTUM: f64 = 0.1;
/// Images a forward pass when nothing is trained.
const EVAL_BATCH: usize = 256;

/// What a training is to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Seed of the order of the images and of their augmentation.
    pub seed: u64,
    /// Names the training among those of a run: its random streams and its checkpoint.
    pub name: String,
    /// Epochs.
    pub epochs: usize,
    /// Of those, the first ones that also learn from the teacher.
    pub distill_epochs: usize,
    /// First learning rate.
    pub lr: f64,
}

/// How a training ended.
#[derive(Debug)]
pub enum End {
    /// All epochs are done.
    Done(Network),
    /// The loss stopped being a number in this epoch, counted from 1.
    Diverged(usize),
    /// It was asked to stop; the checkpoint holds the last whole epoch.
    Stopped,
}

/// A training at the end of an epoch: enough to go on to the same bits.
struct State {
    variables: BTreeMap<ParamKey, Var>,
    /// Running statistics of batch norms.
    statistics: BTreeMap<ParamKey, Tensor>,
    sgd: Sgd,
    epoch: usize,
}

/// Everything a training needs.
pub struct Trainer<'a> {
    /// The images.
    pub data: &'a Dataset,
    /// How to train.
    pub recipe: &'a Recipe,
    /// What to do.
    pub plan: &'a Plan,
    /// Where to keep the checkpoint.
    pub checkpoint: &'a Path,
    /// Asked to stop?
    pub stop: &'a Stop,
    /// Told after each epoch: epochs done, mean loss.
    pub on_epoch: &'a (dyn Fn(usize, f64) + Sync),
}

impl Trainer<'_> {
    /// Trains `network`, or goes on from the checkpoint if there is one. A `teacher` lends its logits to the first
    /// epochs: their loss is the mean of the cross-entropy and of the distillation loss, `T^2` times the
    /// cross-entropy to the teacher's softened outputs (Hinton, Vinyals, Dean 2015).
    ///
    /// # Errors
    /// When a tensor operation fails or the checkpoint cannot be written.
    pub fn train(&self, network: &Network, teacher: Option<&Network>) -> Result<End> {
        let architecture = network.architecture();
        let mut state = match self.checkpoint.exists() {
            true => State::load(self.checkpoint, architecture, self.recipe)?,
            false => State::new(network.weights(), self.recipe)?,
        };
        while state.epoch < self.plan.epochs {
            let teacher = teacher.filter(|_| state.epoch < self.plan.distill_epochs);
            match self.epoch(architecture, &mut state, teacher)? {
                Some(loss) if loss.is_finite() => {
                    state.epoch += 1;
                    (self.on_epoch)(state.epoch, loss);
                }
                Some(_) => return Ok(End::Diverged(state.epoch + 1)),
                None => return Ok(End::Stopped),
            }
            if state.epoch < self.plan.epochs {
                state.save(self.checkpoint)?;
            }
        }
        Ok(End::Done(Network::new(architecture.clone(), state.weights())?))
    }

    /// One pass over the training images; the mean loss, or none if asked to stop.
    fn epoch(
        &self,
        architecture: &Architecture,
        state: &mut State,
        teacher: Option<&Network>,
    ) -> Result<Option<f64>> {
        let mut rng = rng::stream(self.plan.seed, &self.plan.name, &[state.epoch as u64]);
        let order = epoch_order(self.data.train.len(), &mut rng);
        let batches: Vec<&[usize]> = order.chunks(self.recipe.batch).collect();
        let (mut total, steps) = (0.0, batches.len() * self.plan.epochs);
        for (place, indices) in batches.iter().enumerate() {
            if self.stop.is_asked() {
                return Ok(None);
            }
            let (images, targets) = self.data.train_batch(indices, self.recipe, &mut rng)?;
            let step = state.epoch * batches.len() + place;
            let lr = cosine(self.plan.lr, self.recipe.lr_end, step, steps);
            let loss = self.step(architecture, state, teacher, (&images, &targets), lr)?;
            total += loss * indices.len() as f64;
            if !total.is_finite() {
                break;
            }
        }
        Ok(Some(total / order.len() as f64))
    }

    fn step(
        &self,
        architecture: &Architecture,
        state: &mut State,
        teacher: Option<&Network>,
        (images, targets): (&Tensor, &Tensor),
        lr: f64,
    ) -> Result<f64> {
        let pass = forward(architecture, &|key| state.lookup(key), images, Mode::Train)?;
        let mut loss = ops::cross_entropy(&pass.logits, targets)?;
        if let Some(teacher) = teacher {
            let t = self.recipe.distill_temperature;
            let soft = candle_nn::ops::softmax(&(teacher.logits(images)? / t)?, 1)?;
            let distillation = (ops::cross_entropy(&(&pass.logits / t)?, &soft)? * (t * t))?;
            loss = ((loss + distillation)? * 0.5)?;
        }
        let gradients = loss.backward()?;
        state.sgd.step(&state.variables, &gradients, lr)?;
        state.follow(&pass.statistics)?;
        Ok(f64::from(loss.to_scalar::<f32>()?))
    }
}

impl State {
    fn new(weights: &Weights, recipe: &Recipe) -> Result<Self> {
        let (mut variables, mut statistics) = (BTreeMap::new(), BTreeMap::new());
        for (key, tensor) in weights.iter() {
            if key.role.is_trained() {
                // A copy: a variable is written in place, and the parent shares this storage.
                variables.insert(key, Var::from_tensor(&tensor.copy()?)?);
            } else {
                statistics.insert(key, tensor.clone());
            }
        }
        let sgd = Sgd::new(recipe, &variables)?;
        Ok(Self { variables, statistics, sgd, epoch: 0 })
    }

    fn lookup(&self, key: ParamKey) -> candle_core::Result<&Tensor> {
        let variable = self.variables.get(&key).map(Var::as_tensor);
        let missing = || candle_core::Error::Msg(format!("no parameter {key}"));
        variable.or_else(|| self.statistics.get(&key)).ok_or_else(missing)
    }

    /// Moves the running statistics towards those of a batch; the variance by its unbiased estimate.
    fn follow(&mut self, batch: &BTreeMap<LayerId, BatchStatistics>) -> Result<()> {
        for (&layer, BatchStatistics { mean, variance, count }) in batch {
            let unbiased = (variance * (*count as f64 / (*count as f64 - 1.0).max(1.0)))?;
            for (role, new) in [(Role::Mean, mean), (Role::Variance, &unbiased)] {
                let running = self.statistics.get_mut(&ParamKey::new(layer, role));
                let running =
                    running.ok_or_else(|| Error::Usage(format!("batch norm {layer} has no {role:?}")))?;
                let kept = (&*running * (1.0 - STATISTICS_MOMENTUM))?;
                *running = (kept + (new * STATISTICS_MOMENTUM)?)?.detach();
            }
        }
        Ok(())
    }

    fn weights(&self) -> Weights {
        let trained = self.variables.iter().map(|(&key, variable)| (key, variable.as_tensor().detach()));
        trained.chain(self.statistics.iter().map(|(&key, tensor)| (key, tensor.clone()))).collect()
    }

    /// Weights and momentum go into one file, under "w." and "v."; the epoch is a tensor too.
    fn save(&self, path: &Path) -> Result<()> {
        let weights = self.weights();
        let mut tensors: Vec<(String, Tensor)> =
            weights.iter().map(|(key, tensor)| (format!("w.{key}"), tensor.clone())).collect();
        tensors.extend(self.sgd.velocity.iter().map(|(key, tensor)| (format!("v.{key}"), tensor.clone())));
        tensors.push(("epoch".into(), Tensor::new(&[self.epoch as u32], &Device::Cpu)?));
        let bytes = safetensors::serialize(tensors.iter().map(|(name, tensor)| (name, tensor)), None)
            .map_err(|error| Error::Usage(format!("checkpoint: {error}")))?;
        crate::store::write_atomically(path, &bytes)
    }

    fn load(path: &Path, architecture: &Architecture, recipe: &Recipe) -> Result<Self> {
        let broken = |found: String| Error::data(path, "checkpoint", "a training of this network", found);
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)
            .map_err(|error| broken(error.to_string()))?;
        let epoch = tensors.get("epoch").ok_or_else(|| broken("no epoch".into()))?.to_vec1::<u32>()?;
        let epoch = *epoch.first().ok_or_else(|| broken("no epoch".into()))? as usize;
        let part = |prefix: &str| -> Result<Weights> {
            let named =
                tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?, tensor)));
            named.map(|(name, tensor)| Ok((name.parse::<ParamKey>()?, tensor.clone()))).collect()
        };
        let weights = part("w.")?;
        weights.check(architecture)?;
        let mut state = Self::new(&weights, recipe)?;
        for (key, tensor) in part("v.")?.iter() {
            state.sgd.velocity.insert(key, tensor.clone());
        }
        Ok(Self { epoch, ..state })
    }
}

/// The share of a split that a network gets wrong.
///
/// # Errors
/// When the images do not have the network's shape.
pub fn error_rate(network: &Network, data: &Dataset, split: &Split) -> Result<f64> {
    let mut wrong = 0usize;
    for batch in split.eval_batches(data.shape, &data.normalisation, EVAL_BATCH) {
        let (images, labels) = batch?;
        let predicted = network.logits(&images)?.argmax(1)?.to_vec1::<u32>()?;
        wrong += predicted.iter().zip(labels).filter(|(a, b)| a != b).count();
    }
    Ok(wrong as f64 / split.len().max(1) as f64)
}
