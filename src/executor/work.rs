//! Carrying out one job.

use std::sync::Arc;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use morphisms::{Architecture, Network};

use super::{Job, JobResult, Start};
use crate::Result;
use crate::config::Recipe;
use crate::data::Dataset;
use crate::device::is_out_of_memory;
use crate::fidelity::Reading;
use crate::individual::Edit;
use crate::progress::{Event, Observer};
use crate::stop::Stop;
use crate::store::Blobs;
use crate::train::{End, Trained, Trainer, error_rate};

/// What every job of a run shares.
pub struct Workshop {
    /// The images.
    pub data: Arc<Dataset>,
    /// How networks are trained.
    pub recipe: Recipe,
    /// Where they are trained.
    pub device: Device,
    /// Weights and checkpoints.
    pub blobs: Blobs,
    /// Asked to stop?
    pub stop: Arc<Stop>,
    /// Who is told.
    pub observer: Arc<dyn Observer>,
}

impl Workshop {
    /// Trains and evaluates; none if asked to stop before the end.
    pub(super) fn perform(&self, job: &Job) -> Result<Option<JobResult>> {
        let begun = Instant::now();
        match self.attempt(job, begun) {
            Err(error) if is_out_of_memory(&error) => {
                Ok(Some(JobResult::OutOfMemory { seconds: begun.elapsed().as_secs_f64() }))
            }
            other => other,
        }
    }

    fn attempt(&self, job: &Job, begun: Instant) -> Result<Option<JobResult>> {
        let seconds = || begun.elapsed().as_secs_f64();
        if job.plan.epochs == 0 {
            let (network, readings) = self.begin(job)?;
            let error = error_rate(&network, &self.data, &self.data.validation)?;
            let weights = self.blobs.put(network.weights())?;
            let first_error = first(&readings);
            let (epochs, readings) = (0, Vec::new());
            return Ok(Some(JobResult::Trained {
                weights,
                error,
                first_error,
                seconds: seconds(),
                epochs,
                readings,
            }));
        }
        let tell = |epoch: usize, loss: f64| {
            self.observer.observe(&Event::EpochDone {
                generation: job.generation,
                child: job.child,
                epoch,
                epochs: job.plan.epochs,
                loss: Some(loss),
            });
        };
        let trainer = Trainer {
            data: &self.data,
            recipe: &self.recipe,
            plan: &job.plan,
            course: &job.course,
            checkpoint: &self.blobs.checkpoint(&job.plan.name),
            stop: &self.stop,
            on_epoch: &tell,
        };
        let teacher = if job.plan.distill_epochs > 0 { self.parent(job)? } else { None };
        let begin = || self.begin(job);
        let Trained { network, epochs, mut readings } =
            match trainer.train_from(&job.architecture, &self.device, begin, teacher.as_ref())? {
                End::Done(trained) => trained,
                End::Diverged { epoch, readings } => {
                    let first_error = first(&readings);
                    return Ok(Some(JobResult::Diverged { epoch, first_error, seconds: seconds() }));
                }
                End::Stopped => return Ok(None),
            };
        let error = match readings.last() {
            Some(last) if last.epoch == epochs => last.error,
            _ => error_rate(&network, &self.data, &self.data.validation)?,
        };
        let weights = self.blobs.put(network.weights())?;
        let first_error = first(&readings);
        readings.retain(|reading| reading.epoch > 0);
        Ok(Some(JobResult::Trained { weights, error, first_error, seconds: seconds(), epochs, readings }))
    }

    /// The network before training, and the error of what it inherited.
    fn begin(&self, job: &Job) -> Result<(Network, Vec<Reading>)> {
        match &job.start {
            Start::Scratch { seed } => {
                let network = Network::init(job.architecture.clone(), *seed, DType::F32, &self.device)?;
                Ok((network, Vec::new()))
            }
            Start::Given { weights } => {
                let weights = self.blobs.get(weights, &self.device)?;
                Ok((Network::new(job.architecture.clone(), weights)?, Vec::new()))
            }
            Start::Inherit { architecture, weights, edits, .. } => {
                let parent = self.network(architecture, weights)?;
                let batch = match self.recipe.calibrate {
                    true => Some(self.data.calibration_batch()?.to_device(&self.device)?),
                    false => None,
                };
                let child = inherit(&parent, edits, batch.as_ref())?;
                let error = error_rate(&child, &self.data, &self.data.validation)?;
                Ok((child, vec![Reading { epoch: 0, error }]))
            }
        }
    }

    /// The network that a job inherits from.
    fn parent(&self, job: &Job) -> Result<Option<Network>> {
        match &job.start {
            Start::Inherit { architecture, weights, .. } => self.network(architecture, weights).map(Some),
            Start::Scratch { .. } | Start::Given { .. } => Ok(None),
        }
    }

    fn network(&self, architecture: &Architecture, weights: &str) -> Result<Network> {
        Ok(Network::new(architecture.clone(), self.blobs.get(weights, &self.device)?)?)
    }
}

/// The error before any training, if it was read.
fn first(readings: &[Reading]) -> Option<f64> {
    readings.first().filter(|reading| reading.epoch == 0).map(|reading| reading.error)
}

/// The child that `edits` make of `parent`. `batch` calibrates inserted batch norms, and all of them once the function
/// is no longer the parent's: statistics of a network that lost a layer are those of no network at all. Without one, inserted batch
/// norms are identities, and all others keep their statistics.
///
/// # Errors
/// If an edit does not apply.
pub(crate) fn inherit(parent: &Network, edits: &[Edit], batch: Option<&Tensor>) -> Result<Network> {
    let mut network = parent.clone();
    for edit in edits {
        if let Some(rewrite) = edit.rewrite(network.architecture())? {
            network = network.child(&rewrite, batch)?;
        }
    }
    match batch.filter(|_| !edits.iter().all(Edit::is_exact)) {
        None => Ok(network),
        Some(batch) => Ok(network.recalibrated(batch)?),
    }
}
