//! Individuals: the networks of a run, with where they come from and what they are worth.

use std::collections::BTreeMap;
use std::fmt;

use morphisms::{Architecture, Fingerprint, Morphism, Promise, Rewrite, Site, catalog};
use serde::{Deserialize, Serialize};

use crate::fidelity::{Past, Reading};
use crate::pareto::{self, Points};
use crate::{Error, Result};

/// The name of the edit that changes nothing: its child trains on from where its parent stopped.
pub const CONTINUE: &str = "continue";

/// One step from a parent to a child: a morphism at a site, or [`CONTINUE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// The morphism's name.
    pub morphism: String,
    /// Where it was applied.
    pub site: Site,
    /// Seed of what the morphism draws.
    pub seed: u64,
}

impl Edit {
    /// The edit that changes nothing.
    pub fn keep_training() -> Self {
        Self { morphism: CONTINUE.into(), site: Site::new(&[], 0), seed: 0 }
    }

    /// The morphism; none for [`CONTINUE`].
    ///
    /// # Errors
    /// If the catalogue has no morphism of that name.
    pub fn morphism(&self) -> Result<Option<&'static dyn Morphism>> {
        if self.morphism == CONTINUE {
            return Ok(None);
        }
        let unknown = || Error::Usage(format!("this version has no morphism `{}`", self.morphism));
        catalog::named(&self.morphism).map(Some).ok_or_else(unknown)
    }

    /// Rewrites an architecture; none for [`CONTINUE`].
    ///
    /// # Errors
    /// If the edit does not apply to this architecture.
    pub fn rewrite(&self, architecture: &Architecture) -> Result<Option<Rewrite>> {
        let apply = |morphism: &dyn Morphism| morphism.rewrite(architecture, &self.site, self.seed);
        Ok(self.morphism()?.map(apply).transpose()?)
    }

    /// Whether the child computes the parent's function before it is trained.
    pub fn is_exact(&self) -> bool {
        let exact = |morphism: &dyn Morphism| morphism.promise() == Promise::Exact;
        self.morphism().is_ok_and(|morphism| morphism.is_none_or(exact))
    }
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.site.layers.is_empty() {
            true => write!(f, "{}", self.morphism),
            false => write!(f, "{}({})", self.morphism, self.site),
        }
    }
}

/// A trained network of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Individual {
    /// Its number in the run, from 0 in the order of commitment.
    pub id: u64,
    /// The generation; 0 is the initial population.
    pub generation: usize,
    /// Its place in the generation.
    pub child: usize,
    /// The individual it inherited from; none: it was trained from scratch.
    pub parent: Option<u64>,
    /// The steps from the parent, in order.
    pub edits: Vec<Edit>,
    /// The architecture.
    pub architecture: Architecture,
    /// The architecture's fingerprint.
    pub fingerprint: Fingerprint,
    /// What it is worth, by objective. A diverged individual has no costly objectives.
    pub objectives: BTreeMap<String, f64>,
    /// Content hash of the weights; none if training diverged or the device's memory was full.
    pub weights: Option<String>,
    /// Validation error of what it inherited, before any training.
    pub first_error: Option<f64>,
    /// Epochs trained, the one that diverged included; 0 if it did not fit into the device's memory.
    pub epochs: usize,
    /// Epochs it was meant to have; it had fewer if its training was given up.
    pub planned: usize,
    /// Validation errors on the way, where they were read.
    pub readings: Vec<Reading>,
    /// Seconds of training and evaluation.
    pub seconds: f64,
    /// Multiply-adds of training and evaluation: [`Images::compute`](crate::compute::Images::compute).
    pub compute: f64,
    /// Seconds of the run when it was committed.
    pub committed_at: f64,
}

impl Individual {
    /// The values of these objectives, if it has them all.
    pub fn values(&self, objectives: &[String]) -> Option<Vec<f64>> {
        objectives.iter().map(|name| self.objectives.get(name).copied()).collect()
    }

    /// What a schedule knows of it; none if it could not be trained.
    pub fn past(&self, objectives: &[String]) -> Option<Past> {
        let values = self.values(objectives)?;
        Some(Past { planned: self.planned, epochs: self.epochs, readings: self.readings.clone(), values })
    }

    /// How its training ended.
    pub fn outcome(&self) -> &'static str {
        match (&self.weights, self.epochs) {
            (Some(_), epochs) if epochs < self.planned => "given up",
            (Some(_), _) => "trained",
            (None, 0) => "out of memory",
            (None, _) => "diverged",
        }
    }

    /// The edits as people read them.
    pub fn edits_text(&self) -> String {
        self.edits.iter().map(Edit::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// The places of the Pareto front among rows of objective values, in ascending order: no other row is at least as good in all
/// and better in one. Of equal ones the first stays; those that lack a value are left out.
///
/// # Errors
/// If a value is not finite.
pub fn non_dominated(rows: impl Iterator<Item = Option<Vec<f64>>>) -> Result<Vec<usize>> {
    let (places, rows): (Vec<usize>, Vec<Vec<f64>>) =
        rows.enumerate().filter_map(|(place, row)| Some((place, row?))).unzip();
    let mut front: Vec<usize> = Vec::new();
    for index in pareto::non_dominated(&Points::new(&rows)?) {
        if !front.iter().any(|&known| rows[known] == rows[index]) {
            front.push(index);
        }
    }
    Ok(front.into_iter().map(|index| places[index]).collect())
}

/// The Pareto front of `individuals` in these objectives, as [`non_dominated`] has it.
///
/// # Errors
/// If a value is not finite.
pub fn front<'a>(individuals: &'a [Individual], objectives: &[String]) -> Result<Vec<&'a Individual>> {
    let places = non_dominated(individuals.iter().map(|individual| individual.values(objectives)))?;
    Ok(places.into_iter().map(|place| &individuals[place]).collect())
}
