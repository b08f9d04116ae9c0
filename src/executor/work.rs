//! Carrying out one job.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use morphisms::{Network, Weights};

use super::{Job, JobResult, Start};
use crate::Result;
use crate::config::Recipe;
use crate::data::Dataset;
use crate::device::is_out_of_memory;
use crate::individual::Edit;
use crate::progress::{Event, Observer};
use crate::stop::Stop;
use crate::store::Blobs;
use crate::train::{End, Trainer, error_rate};

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
        let (network, parent) = self.start(job)?;
        let first_error = match job.start {
            Start::Inherit { .. } => Some(error_rate(&network, &self.data, &self.data.validation)?),
            Start::Scratch { .. } | Start::Given { .. } => None,
        };
        if job.plan.epochs == 0 {
            let error = error_rate(&network, &self.data, &self.data.validation)?;
            let weights = self.blobs.put(network.weights())?;
            let seconds = begun.elapsed().as_secs_f64();
            return Ok(Some(JobResult::Trained { weights, error, first_error, seconds }));
        }
        let checkpoint = self.checkpoint(job);
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
            checkpoint: &checkpoint,
            stop: &self.stop,
            on_epoch: &tell,
        };
        let trained = match trainer.train(&network, parent.as_ref())? {
            End::Done(network) => network,
            End::Diverged(epoch) => {
                let seconds = begun.elapsed().as_secs_f64();
                return Ok(Some(JobResult::Diverged { epoch, first_error, seconds }));
            }
            End::Stopped => return Ok(None),
        };
        let error = error_rate(&trained, &self.data, &self.data.validation)?;
        let weights = self.blobs.put(trained.weights())?;
        let seconds = begun.elapsed().as_secs_f64();
        Ok(Some(JobResult::Trained { weights, error, first_error, seconds }))
    }

    fn checkpoint(&self, job: &Job) -> PathBuf {
        self.blobs.checkpoint(&job.plan.name)
    }

    /// The network before training, and the parent it inherited from.
    fn start(&self, job: &Job) -> Result<(Network, Option<Network>)> {
        match &job.start {
            Start::Scratch { seed } => {
                let network = Network::init(job.architecture.clone(), *seed, DType::F32, &self.device)?;
                Ok((network, None))
            }
            Start::Given { weights } => {
                let weights = self.blobs.get(weights, &self.device)?;
                Ok((Network::new(job.architecture.clone(), weights)?, None))
            }
            Start::Inherit { architecture, weights, edits, .. } => {
                let weights: Weights = self.blobs.get(weights, &self.device)?;
                let parent = Network::new(architecture.clone(), weights)?;
                let batch = match self.recipe.calibrate {
                    true => Some(self.data.calibration_batch()?.to_device(&self.device)?),
                    false => None,
                };
                Ok((inherit(&parent, edits, batch.as_ref())?, Some(parent)))
            }
        }
    }
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
