//! Training a network. The only place where weights are written.

use std::collections::BTreeMap;
use std::path::Path;

use candle_convnet::{self as ops, Parameter, SgdConfig, Tape, Value};
use candle_core::{Device, Tensor};
use morphisms::{Architecture, BatchStatistics, LayerId, Mode, Network, ParamKey, Role, Weights, forward};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::config::Recipe;
use crate::data::{Dataset, Split, epoch_order};
use crate::fidelity::{Course, Reading};
use crate::rng;
use crate::stop::Stop;
use crate::{Error, Result};

/// The share of the batch's statistics that enters a batch norm's running ones, as in PyTorch.
const STATISTICS_MOMENTUM: f64 = 0.1;
/// Images a forward pass when nothing is trained.
const EVAL_BATCH: usize = 256;

/// Where in its schedule a step is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The learning rate.
    pub lr: f64,
    /// The seed of what dropout zeroes.
    pub dropout: u64,
}

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
    /// All epochs are done, or all that its course lets it have.
    Done(Trained),
    /// The loss stopped being a number.
    Diverged {
        /// In which epoch, counted from 1.
        epoch: usize,
        /// Validation errors until then.
        readings: Vec<Reading>,
    },
    /// It was asked to stop; the checkpoint holds the last whole epoch.
    Stopped,
}

/// What came of a training. If it may have more epochs, its checkpoint is kept, and it can go on from there.
#[derive(Debug)]
pub struct Trained {
    /// The network.
    pub network: Network,
    /// Epochs it had.
    pub epochs: usize,
    /// Validation errors on the way, as its course has them, and those that it began with.
    pub readings: Vec<Reading>,
}

/// A training between two steps; at the end of an epoch, enough to go on to the same bits.
pub struct State {
    parameters: BTreeMap<ParamKey, Parameter>,
    /// Running statistics of batch norms.
    statistics: BTreeMap<ParamKey, Tensor>,
    device: Device,
    epoch: usize,
    readings: Vec<Reading>,
}

/// Everything a training needs.
pub struct Trainer<'a> {
    /// The images.
    pub data: &'a Dataset,
    /// How to train.
    pub recipe: &'a Recipe,
    /// What to do.
    pub plan: &'a Plan,
    /// When to read the validation error, and to give up.
    pub course: &'a Course,
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
        let begin = || Ok((network.clone(), Vec::new()));
        self.train_from(network.architecture(), &network.device(), begin, teacher)
    }

    /// As [`train`](Self::train), for a network that is made only if there is no checkpoint to go on from, with readings that
    /// are kept with the others.
    ///
    /// # Errors
    /// Those of `train` and of `begin`.
    pub fn train_from(
        &self,
        architecture: &Architecture,
        device: &Device,
        begin: impl FnOnce() -> Result<(Network, Vec<Reading>)>,
        teacher: Option<&Network>,
    ) -> Result<End> {
        let mut state = match self.checkpoint.exists() {
            true => State::load(self.checkpoint, architecture, device)?,
            false => {
                let (network, readings) = begin()?;
                State { readings, ..State::new(network.weights(), device)? }
            }
        };
        while state.epoch < self.plan.epochs && self.course.goes_on(state.epoch, &state.readings)? {
            let teacher = teacher.filter(|_| state.epoch < self.plan.distill_epochs);
            match self.epoch(architecture, &mut state, teacher)? {
                Some(loss) if loss.is_finite() => {
                    state.epoch += 1;
                    (self.on_epoch)(state.epoch, loss);
                }
                Some(_) => {
                    return Ok(End::Diverged { epoch: state.epoch + 1, readings: state.readings });
                }
                None => return Ok(End::Stopped),
            }
            if self.course.reads(state.epoch) {
                let network = Network::new(architecture.clone(), state.weights()?)?;
                let error = error_rate(&network, self.data, &self.data.validation)?;
                state.readings.push(Reading { epoch: state.epoch, error });
            }
            if state.epoch < self.plan.epochs {
                state.save(self.checkpoint)?;
            }
        }
        let network = Network::new(architecture.clone(), state.weights()?)?;
        Ok(End::Done(Trained { network, epochs: state.epoch, readings: state.readings }))
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
        let mut losses: Vec<(Tensor, usize)> = Vec::new();
        for (place, indices) in batches.iter().enumerate() {
            if self.stop.is_asked() {
                return Ok(None);
            }
            let (images, targets) = self.data.train_batch(indices, self.recipe, &mut rng)?;
            let (images, targets) = (images.to_device(&state.device)?, targets.to_device(&state.device)?);
            let step = state.epoch * batches.len() + place;
            let at = Step {
                lr: cosine(self.plan.lr, self.recipe.lr_end, step, steps),
                dropout: rng::stream(self.plan.seed, &self.plan.name, &[state.epoch as u64, place as u64])
                    .random(),
            };
            let loss = state.step(architecture, self.recipe, teacher, (&images, &targets), at)?;
            losses.push((loss, indices.len()));
            if losses.len() == LOSSES || place + 1 == batches.len() {
                total += sum_over_images(std::mem::take(&mut losses))?;
                if !total.is_finite() {
                    break;
                }
            }
        }
        Ok(Some(total / order.len() as f64))
    }
}

/// Losses that are looked at together. To read one is to wait for the device, which would then idle until the next
/// step is queued.
const LOSSES: usize = 32;

/// The sum over images of losses that still lie on the device, each the mean over so many images.
fn sum_over_images(losses: Vec<(Tensor, usize)>) -> Result<f64> {
    let (means, counts): (Vec<Tensor>, Vec<usize>) = losses.into_iter().unzip();
    let means = Tensor::stack(&means, 0)?.to_vec1::<f32>()?;
    Ok(means.into_iter().zip(counts).map(|(mean, count)| f64::from(mean) * count as f64).sum())
}

fn missing(key: ParamKey) -> candle_core::Error {
    candle_core::Error::Msg(format!("no parameter {key}"))
}

/// The learning rate of step `step` of `steps`: half a cosine from `start` to `end` (Loshchilov and Hutter, "SGDR",
/// ICLR 2017, without restarts).
fn cosine(start: f64, end: f64, step: usize, steps: usize) -> f64 {
    let progress = step as f64 / steps.max(1) as f64;
    end + 0.5 * (start - end) * (1.0 + (std::f64::consts::PI * progress).cos())
}

impl State {
    /// A training that has not begun. Copies what is trained: a parameter is written in place, and the parent shares
    /// these tensors.
    ///
    /// # Errors
    /// When a tensor cannot be copied.
    pub fn new(weights: &Weights, device: &Device) -> Result<Self> {
        let (mut parameters, mut statistics) = (BTreeMap::new(), BTreeMap::new());
        for (key, tensor) in weights.iter() {
            if key.role.is_trained() {
                parameters.insert(key, Parameter::new(tensor)?);
            } else {
                statistics.insert(key, tensor.clone());
            }
        }
        Ok(Self { parameters, statistics, device: device.clone(), epoch: 0, readings: Vec::new() })
    }

    /// One step on a batch, images `[batch, channels, height, width]` and targets `[batch, classes]` whose rows sum
    /// to 1: forward, loss, backward, gradient descent, running statistics. The loss, a scalar on the device; see
    /// [`Trainer::train`] for the part of a `teacher`.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn step(
        &mut self,
        architecture: &Architecture,
        recipe: &Recipe,
        teacher: Option<&Network>,
        (images, targets): (&Tensor, &Tensor),
        Step { lr, dropout }: Step,
    ) -> Result<Tensor> {
        let tape = Tape::new();
        let values = self.values(&tape)?;
        let param = |key| values.get(&key).ok_or_else(|| missing(key));
        let pass =
            forward(architecture, &param, &images.clone().into(), Mode::Train { dropout: Some(dropout) })?;
        let mut loss = ops::cross_entropy(&pass.logits, targets)?;
        if let Some(teacher) = teacher {
            let t = recipe.distill_temperature;
            let soft = candle_nn::ops::softmax(&(teacher.logits(images)? / t)?, 1)?;
            let distillation = ops::cross_entropy(&ops::scale(&pass.logits, 1.0 / t)?, &soft)?;
            loss = ops::scale(&ops::add(&loss, &ops::scale(&distillation, t * t)?)?, 0.5)?;
        }
        let mut gradients = tape.backward(&loss)?;
        for (key, parameter) in &self.parameters {
            let Some(gradient) = gradients.take(&values[key]) else { continue };
            let weight_decay = if key.role.decays() { recipe.weight_decay } else { 0.0 };
            let momentum = recipe.momentum;
            parameter.step(&gradient, &SgdConfig { lr, momentum, weight_decay, nesterov: true })?;
        }
        self.follow(&pass.statistics)?;
        Ok(loss.as_tensor().clone())
    }

    /// What a forward pass reads: variables of the tape, and constants.
    fn values(&self, tape: &Tape) -> Result<BTreeMap<ParamKey, Value>> {
        let variables = self.parameters.iter().map(|(&key, p)| Ok((key, tape.variable(p.value()?))));
        let constants = self.statistics.iter().map(|(&key, tensor)| Ok((key, tensor.clone().into())));
        variables.chain(constants).collect()
    }

    /// Moves the running statistics towards those of a batch; the variance by its unbiased estimate.
    fn follow(&mut self, batch: &BTreeMap<LayerId, BatchStatistics>) -> Result<()> {
        for (&layer, statistics) in batch {
            let variance = statistics.unbiased_variance()?;
            for (role, new) in [(Role::Mean, &statistics.mean), (Role::Variance, &variance)] {
                let running = self.statistics.get_mut(&ParamKey::new(layer, role));
                let running =
                    running.ok_or_else(|| Error::Usage(format!("batch norm {layer} has no {role:?}")))?;
                let kept = (&*running * (1.0 - STATISTICS_MOMENTUM))?;
                *running = (kept + (new * STATISTICS_MOMENTUM)?)?.detach();
            }
        }
        Ok(())
    }

    /// A copy of the weights as they are now.
    fn weights(&self) -> Result<Weights> {
        let trained = self.parameters.iter().map(|(&key, p)| Ok((key, p.value()?.force_contiguous()?)));
        let others = self.statistics.iter().map(|(&key, tensor)| Ok((key, tensor.clone())));
        trained.chain(others).collect()
    }

    /// Weights and momentum go into one file, under "w." and "v."; the epoch and what was read are tensors too.
    fn save(&self, path: &Path) -> Result<()> {
        let weights = self.weights()?;
        let mut tensors: Vec<(String, Tensor)> =
            weights.iter().map(|(key, tensor)| (format!("w.{key}"), tensor.clone())).collect();
        for (key, parameter) in &self.parameters {
            tensors.push((format!("v.{key}"), parameter.velocity()?));
        }
        tensors.push(("epoch".into(), Tensor::new(&[self.epoch as u32], &Device::Cpu)?));
        let readings: Vec<f64> =
            self.readings.iter().flat_map(|reading| [reading.epoch as f64, reading.error]).collect();
        tensors.push(("readings".into(), Tensor::new(readings, &Device::Cpu)?));
        let bytes = safetensors::serialize(tensors.iter().map(|(name, tensor)| (name, tensor)), None)
            .map_err(|error| Error::Usage(format!("checkpoint: {error}")))?;
        crate::store::write_atomically(path, &bytes)
    }

    fn load(path: &Path, architecture: &Architecture, device: &Device) -> Result<Self> {
        let broken = |found: String| Error::data(path, "checkpoint", "a training of this network", found);
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        let tensors = candle_core::safetensors::load_buffer(&bytes, device)
            .map_err(|error| broken(error.to_string()))?;
        let epoch = tensors.get("epoch").ok_or_else(|| broken("no epoch".into()))?.to_vec1::<u32>()?;
        let epoch = *epoch.first().ok_or_else(|| broken("no epoch".into()))? as usize;
        let readings =
            tensors.get("readings").ok_or_else(|| broken("no readings".into()))?.to_vec1::<f64>()?;
        let reading = |pair: &[f64; 2]| Reading { epoch: pair[0] as usize, error: pair[1] };
        let readings = readings.as_chunks::<2>().0.iter().map(reading).collect();
        let part = |prefix: &str| -> Result<Weights> {
            let named =
                tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?, tensor)));
            named.map(|(name, tensor)| Ok((name.parse::<ParamKey>()?, tensor.clone()))).collect()
        };
        let weights = part("w.")?;
        weights.check(architecture)?;
        let mut state = Self { epoch, readings, ..Self::new(&weights, device)? };
        for (key, velocity) in part("v.")?.iter() {
            state.parameters.insert(key, Parameter::with_velocity(weights.get(key)?, velocity)?);
        }
        Ok(state)
    }
}

/// The share of a split that a network gets wrong.
///
/// # Errors
/// When the images do not have the network's shape.
pub fn error_rate(network: &Network, data: &Dataset, split: &Split) -> Result<f64> {
    let (mut wrong, device) = (0usize, network.device());
    for batch in split.eval_batches(data.shape, &data.normalisation, EVAL_BATCH) {
        let (images, labels) = batch?;
        let predicted = network.logits(&images.to_device(&device)?)?.argmax(1)?.to_vec1::<u32>()?;
        wrong += predicted.iter().zip(labels).filter(|(a, b)| a != b).count();
    }
    Ok(wrong as f64 / split.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_falls_from_start_to_end() {
        assert_eq!(cosine(0.1, 0.0, 0, 10), 0.1);
        assert!(cosine(0.1, 0.01, 10, 10) - 0.01 < 1e-15);
        assert!((cosine(0.1, 0.0, 5, 10) - 0.05).abs() < 1e-15);
    }
}
