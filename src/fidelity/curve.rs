//! A stopping rule from learning curves.
//!
//! Domhan, Springenberg, Hutter (IJCAI 2015) extrapolate a curve by eleven parametric families, fitted by MCMC. Under a cosine
//! schedule none of them fits, as most of the error falls when the learning rate does; but trainings of one search share
//! their schedule, so the ones that ended say by what factor the error falls from an epoch to the end. The simpler
//! extrapolation from these, as in Baker, Gupta, Raskar, Naik, "Accelerating neural architecture search using performance
//! prediction" (2017), with their quantiles for its uncertainty.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Past, Reading, is_covered};

/// Whole trainings that it takes to know how errors fall.
const ENOUGH: usize = 10;

/// When a training is given up: even if its error falls by more than that of nearly all before it, a member of the front will be at
/// least as good in every objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// By epochs done, what part of the error is left at the end, if things go well.
    pub left: BTreeMap<usize, f64>,
    /// Objective values of the front, the error first.
    pub front: Vec<Vec<f64>>,
}

impl Rule {
    /// The rule after these trainings, of which those that had all of `planned` epochs count; none if they are too few.
    /// Of them, a share of `caution` kept more of its error.
    pub fn fit(past: &[Past], planned: usize, caution: f64, front: &[Vec<f64>]) -> Option<Self> {
        let left = Falls::of(past, planned)?.quantiles(1.0 - caution);
        Some(Self { left, front: front.to_vec() })
    }

    /// Whether a training with this reading, and these costs, is given up.
    pub fn is_hopeless(&self, reading: &Reading, costs: &[f64]) -> bool {
        self.left.get(&reading.epoch).is_some_and(|left| {
            let hoped: Vec<f64> = [&[reading.error * left], costs].concat();
            is_covered(&hoped, &self.front)
        })
    }
}

/// By epochs done, the parts of the error that were left at the end of whole trainings, in ascending order.
struct Falls(BTreeMap<usize, Vec<f64>>);

impl Falls {
    fn of(past: &[Past], planned: usize) -> Option<Self> {
        let whole: Vec<_> =
            past.iter().filter(|one| one.planned == planned).filter_map(Past::whole).collect();
        let mut falls: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for (readings, last) in &whole {
            for Reading { epoch, error } in
                readings.iter().filter(|one| one.epoch < planned && one.error > 0.0)
            {
                falls.entry(*epoch).or_default().push(last / error);
            }
        }
        falls.values_mut().for_each(|parts| parts.sort_by(f64::total_cmp));
        (whole.len() >= ENOUGH).then_some(Self(falls))
    }

    /// The value below which this share lies.
    fn quantiles(&self, share: f64) -> BTreeMap<usize, f64> {
        let of = |parts: &Vec<f64>| parts[(share * (parts.len() - 1) as f64).round() as usize];
        self.0.iter().map(|(&epoch, parts)| (epoch, of(parts))).collect()
    }
}

/// A generation of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Generation {
    /// Its trainings.
    pub trained: Vec<Past>,
    /// Objective values of the front that was known when it began.
    pub front: Vec<Vec<f64>>,
}

/// What the rule did in a run, and how far off it was, by a replay of what was known at the time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// Those that it would have given up and that went on to be audited.
    pub audited: usize,
    /// Of the audited, those that came to be better than the front that the rule held against them.
    pub wrongly: usize,
    /// Predictions of final errors, from half of the epochs.
    pub predictions: usize,
    /// Their mean distance from the errors that came out.
    pub mean_distance: f64,
}

impl Assessment {
    /// Of a run, generation by generation.
    pub fn of(generations: &[Generation], caution: f64) -> Self {
        let (mut found, mut sum) = (Self::default(), 0.0);
        let mut past: Vec<Past> = Vec::new();
        for Generation { trained, front } in generations {
            for one in trained {
                let Some(falls) = Falls::of(&past, one.planned) else { continue };
                let rule = Rule { left: falls.quantiles(1.0 - caution), front: front.clone() };
                let hopeless = one.readings.iter().any(|reading| {
                    reading.epoch < one.planned && rule.is_hopeless(reading, &one.values[1..])
                });
                if hopeless && one.whole().is_some() {
                    found.audited += 1;
                    found.wrongly += usize::from(!is_covered(&one.values, front));
                }
                let half = one.planned / 2;
                let middle = falls.quantiles(0.5);
                if let (Some((readings, last)), Some(left)) = (one.whole(), middle.get(&half))
                    && let Some(reading) = readings.iter().find(|reading| reading.epoch == half)
                {
                    found.predictions += 1;
                    sum += (reading.error * left - last).abs();
                }
            }
            past.extend(trained.iter().cloned());
        }
        if found.predictions > 0 {
            found.mean_distance = sum / found.predictions as f64;
        }
        found
    }
}
