//! Executors: what trains a generation's children.
//!
//! A job and its result are plain values, so that they can be stored, and sent elsewhere.

mod local;
mod work;

use morphisms::Architecture;
use serde::{Deserialize, Serialize};

pub use local::Local;
pub use work::Workshop;

use crate::Result;
use crate::fidelity::{Course, Reading};
use crate::individual::Edit;
use crate::train::Plan;

/// Where the weights that training starts from come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// Drawn anew.
    Scratch {
        /// Seed of the draws.
        seed: u64,
    },
    /// They were brought along, trained.
    Given {
        /// Their content hash.
        weights: String,
    },
    /// From a trained parent, by edits.
    Inherit {
        /// The parent.
        parent: u64,
        /// The parent's architecture.
        architecture: Architecture,
        /// Content hash of the parent's weights.
        weights: String,
        /// The steps to the child.
        edits: Vec<Edit>,
    },
}

/// A network to be trained and evaluated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The generation.
    pub generation: usize,
    /// Its place in the generation.
    pub child: usize,
    /// What is trained.
    pub architecture: Architecture,
    /// What training starts from.
    pub start: Start,
    /// How it is trained.
    pub plan: Plan,
    /// When it is given up.
    #[serde(default)]
    pub course: Course,
}

/// What came of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum JobResult {
    /// It was trained: to its end, or to where it was given up or rests.
    Trained {
        /// Content hash of the weights.
        weights: String,
        /// Validation error.
        error: f64,
        /// Validation error of what was inherited, before any training.
        first_error: Option<f64>,
        /// Seconds of training and evaluation since the job was last taken up.
        seconds: f64,
        /// Epochs it had.
        epochs: usize,
        /// Validation errors on the way.
        readings: Vec<Reading>,
    },
    /// The loss stopped being a number.
    Diverged {
        /// In which epoch, counted from 1.
        epoch: usize,
        /// Validation error of what was inherited.
        first_error: Option<f64>,
        /// Seconds.
        seconds: f64,
    },
    /// It does not fit into the device's memory.
    OutOfMemory {
        /// Seconds.
        seconds: f64,
    },
}

impl JobResult {
    /// Seconds of training and evaluation.
    pub fn seconds(&self) -> f64 {
        match self {
            Self::Trained { seconds, .. }
            | Self::Diverged { seconds, .. }
            | Self::OutOfMemory { seconds } => *seconds,
        }
    }

    /// Adds those of an earlier part of the training.
    pub fn add_seconds(&mut self, earlier: f64) {
        match self {
            Self::Trained { seconds, .. }
            | Self::Diverged { seconds, .. }
            | Self::OutOfMemory { seconds } => {
                *seconds += earlier;
            }
        }
    }
}

/// Trains networks side by side.
pub trait Executor {
    /// Runs the jobs; `report` gets each one's place in `jobs` and its result, in the order in which they end. When
    /// asked to stop it returns early; what is not reported then has not ended.
    ///
    /// # Errors
    /// When a job cannot be carried out, for a reason other than divergence or a full device.
    fn run(&self, jobs: &[Job], report: &mut dyn FnMut(usize, JobResult) -> Result<()>) -> Result<()>;
}
