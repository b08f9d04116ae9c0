//! A run of a study, measured.

use super::config::Objective;
use super::{Evaluation, Trace};
use crate::Result;
use crate::pareto::{Points, hypervolume};

/// What the hypervolume of a run is followed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Evaluations,
    Compute,
    Time,
}

impl Over {
    pub(super) const ALL: [Self; 3] = [Self::Evaluations, Self::Compute, Self::Time];

    pub(super) fn of(self, evaluation: &Evaluation) -> f64 {
        match self {
            Self::Evaluations => evaluation.spent,
            Self::Compute => evaluation.compute,
            Self::Time => evaluation.seconds,
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Evaluations => "evaluations",
            Self::Compute => "multiply-adds of training",
            Self::Time => "seconds of a run",
        }
    }
}

/// A run, measured.
pub(super) struct Measured<'a> {
    pub(super) trace: &'a Trace,
    /// Where the hypervolume grew: place of the evaluation, and the hypervolume from there on.
    pub(super) steps: Vec<(usize, f64)>,
    /// The final front, in the objectives' own units and normalised.
    pub(super) front: Vec<Vec<f64>>,
    pub(super) normalised: Vec<Vec<f64>>,
}

impl<'a> Measured<'a> {
    pub(super) fn new(trace: &'a Trace, objectives: &[Objective]) -> Result<Self> {
        let mut front: Vec<(Vec<f64>, Vec<f64>)> = Vec::new();
        let mut steps = Vec::new();
        let corner = vec![1.0; objectives.len()];
        for (place, evaluation) in trace.evaluations.iter().enumerate() {
            let Some(values) = &evaluation.values else { continue };
            let point = normalised(objectives, values);
            let no_better =
                |(_, known): &(_, Vec<f64>)| known.iter().zip(&point).all(|(known, new)| known <= new);
            if front.iter().any(no_better) {
                continue;
            }
            front.retain(|(_, known)| !point.iter().zip(known).all(|(new, known)| new <= known));
            front.push((values.clone(), point));
            let points: Vec<&Vec<f64>> = front.iter().map(|(_, point)| point).collect();
            steps.push((place, hypervolume(&Points::new(&points)?, &corner)?));
        }
        front.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal));
        let (front, normalised) = front.into_iter().unzip();
        Ok(Self { trace, steps, front, normalised })
    }

    pub(super) fn hypervolume(&self) -> f64 {
        self.steps.last().map_or(0.0, |step| step.1)
    }

    /// The hypervolume at `x`.
    pub(super) fn at(&self, over: Over, x: f64) -> f64 {
        let reached = |step: &(usize, f64)| over.of(&self.trace.evaluations[step.0]) <= x;
        let count = self.steps.partition_point(reached);
        count.checked_sub(1).map_or(0.0, |last| self.steps[last].1)
    }

    /// After how much the hypervolume was at least `least`; never: infinite.
    pub(super) fn first(&self, over: Over, least: f64) -> f64 {
        let step = self.steps.iter().find(|step| step.1 >= least);
        step.map_or(f64::INFINITY, |step| over.of(&self.trace.evaluations[step.0]))
    }

    pub(super) fn end(&self, over: Over) -> f64 {
        let last = self.trace.evaluations.len().checked_sub(1);
        last.map_or(0.0, |last| over.of(&self.trace.evaluations[last]))
    }
}

pub(super) fn normalised(objectives: &[Objective], values: &[f64]) -> Vec<f64> {
    objectives.iter().zip(values).map(|(objective, &value)| objective.normalised(value)).collect()
}
