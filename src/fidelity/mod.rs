//! Multi-fidelity: trainings that are given up before their last epoch, on the strength of errors read on the way.
//!
//! What a training is held to is stated as plain data before it begins ([`Course`]), so that it can be stored and sent
//! elsewhere, and the same training is given up at the same epoch wherever and however often it is taken up. Among
//! the children of one generation the engine decides between two rungs ([`targets`]).

mod curve;
mod schedule;

use serde::{Deserialize, Serialize};

pub use curve::{Assessment, Generation, Rule};
pub use schedule::{Past, Progress, Schedule, ends, targets};

use crate::Result;
use crate::pareto::{best_first, dominates};

/// A validation error on the way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Epochs done.
    pub epoch: usize,
    /// Validation error, from 0 to 1.
    pub error: f64,
}

/// After which epochs of a training the validation error is read, and whether it then goes on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Course {
    /// Epochs after which the error is read, in ascending order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rungs: Vec<usize>,
    /// Epochs after which it rests; none: it goes on to its last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<usize>,
    /// Of the children of a generation, one in so many goes on from each rung to the next; none: they do not compete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halving: Option<usize>,
    /// What it must pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<Gate>,
    /// When its learning curve is hopeless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
    /// The network's objective values other than the error, as they were when it was chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub costs: Vec<f64>,
}

impl Course {
    /// Whether the error is read after so many epochs.
    pub fn reads(&self, epoch: usize) -> bool {
        self.rungs.contains(&epoch)
    }

    /// Whether training goes on after so many epochs, with these readings.
    ///
    /// # Errors
    /// If an objective value is not a finite number.
    pub fn goes_on(&self, epoch: usize, readings: &[Reading]) -> Result<bool> {
        if self.until.is_some_and(|until| epoch >= until) {
            return Ok(false);
        }
        for reading in readings {
            let values = self.values(reading.error);
            for gate in self.gates.iter().filter(|gate| gate.epoch == reading.epoch) {
                if !gate.lets_through(values.clone())? {
                    return Ok(false);
                }
            }
            if self.rule.as_ref().is_some_and(|rule| rule.is_hopeless(reading, &self.costs)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Objective values with this error, which comes first.
    fn values(&self, error: f64) -> Vec<f64> {
        [&[error], self.costs.as_slice()].concat()
    }
}

/// What a training must pass to go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// After so many epochs.
    pub epoch: usize,
    /// Objective values of others after as many epochs.
    pub rivals: Vec<Vec<f64>>,
    /// What is asked of it.
    pub pass: Pass,
}

/// How good a training must be among its rivals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    /// One of the best, one in so many, itself counted among them; at least the best one passes.
    OneIn(usize),
    /// In the error, if that is the only objective, at least as good as they are in the mean; if there are several, in the
    /// better half.
    Mean,
}

impl Gate {
    fn lets_through(&self, values: Vec<f64>) -> Result<bool> {
        let (one, count) = (values.len() == 1, self.rivals.len() + 1);
        let most = match self.pass {
            Pass::Mean if one => {
                let sum: f64 = self.rivals.iter().map(|rival| rival[0]).sum();
                return Ok(self.rivals.is_empty() || values[0] <= sum / self.rivals.len() as f64);
            }
            Pass::Mean => count.div_ceil(2),
            Pass::OneIn(eta) => (count / eta).max(1),
        };
        let rows: Vec<Vec<f64>> = self.rivals.iter().cloned().chain([values]).collect();
        let place = best_first(&rows)?.into_iter().position(|place| place + 1 == count);
        Ok(place.is_some_and(|place| place < most))
    }
}

/// Whether a member of `front` is at least as good in everything.
fn is_covered(values: &[f64], front: &[Vec<f64>]) -> bool {
    front.iter().any(|member| member == values || dominates(member, values))
}

#[cfg(test)]
mod tests;
