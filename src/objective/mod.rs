//! Objectives: what is minimised, one a file. A new one is added to [`ALL`], and the contract tests find it there.

mod activation_memory;
mod error;
mod latency;
mod macs;
mod params;

use std::collections::BTreeMap;

use morphisms::Architecture;

pub use error::ERROR;

use crate::config::Config;
use crate::store::{Database, MeasurementRow};
use crate::{Error, Result};

/// Every objective, in the order in which they are listed.
pub const ALL: &[Objective] =
    &[error::ERROR, params::PARAMS, macs::MACS, activation_memory::ACTIVATION_MEMORY, latency::LATENCY];

/// Something to minimise.
#[derive(Debug, Clone, Copy)]
pub struct Objective {
    /// The name in configurations and results.
    pub name: &'static str,
    /// "%" (of a fraction), "parameters", "multiply-adds", "bytes", "ms".
    pub unit: &'static str,
    /// What it is, in a line.
    pub summary: &'static str,
    /// How it is found.
    pub kind: Kind,
}

/// Counts something on an architecture.
pub type Count = fn(&Architecture) -> f64;

/// How an objective is found.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Counted on the architecture.
    Counted(Count),
    /// Measured on the architecture, without trained weights.
    Measured(fn(&Architecture, &Config) -> Result<MeasurementRow>),
    /// Known after training only.
    Trained,
}

impl Objective {
    /// Whether it is known before training.
    pub fn is_cheap(&self) -> bool {
        !matches!(self.kind, Kind::Trained)
    }
}

/// The objective with this name.
///
/// # Errors
/// If there is none.
pub fn named(name: &str) -> Result<&'static Objective> {
    let names: Vec<&str> = ALL.iter().map(|objective| objective.name).collect();
    let unknown = || Error::Usage(format!("no objective `{name}`; there are {}", names.join(", ")));
    ALL.iter().find(|objective| objective.name == name).ok_or_else(unknown)
}

/// The cheap objectives that a run asks for, as objectives or as bounds, in the order of [`ALL`].
pub fn cheap(config: &Config) -> Vec<&'static Objective> {
    let wanted =
        |name: &str| config.objectives.iter().any(|known| known == name) || config.max.contains_key(name);
    ALL.iter().filter(|objective| objective.is_cheap() && wanted(objective.name)).collect()
}

/// The cheap objectives of an architecture, or the name and value of the first that is over its limit.
pub type Within = std::result::Result<BTreeMap<String, f64>, (&'static str, f64)>;

/// Finds the cheap objectives of architectures; what was measured once is never measured again.
pub struct Costs<'a> {
    objectives: Vec<&'static Objective>,
    config: &'a Config,
    database: &'a Database,
}

impl<'a> Costs<'a> {
    /// The costs that a run asks for.
    pub fn new(config: &'a Config, database: &'a Database) -> Self {
        let mut objectives = cheap(config);
        // Counting is free; measuring waits until all counted bounds hold.
        objectives.sort_by_key(|objective| matches!(objective.kind, Kind::Measured(_)));
        Self { objectives, config, database }
    }

    /// All costs of an architecture, or the first that is over its bound in `limits`: then nothing after it is
    /// measured.
    ///
    /// # Errors
    /// If a measurement fails.
    pub fn within(&self, architecture: &Architecture, limits: &BTreeMap<String, f64>) -> Result<Within> {
        let mut costs = BTreeMap::new();
        for objective in &self.objectives {
            let value = self.cost(objective, architecture)?;
            if limits.get(objective.name).is_some_and(|&limit| value > limit) {
                return Ok(Err((objective.name, value)));
            }
            costs.insert(objective.name.to_string(), value);
        }
        Ok(Ok(costs))
    }

    fn cost(&self, objective: &Objective, architecture: &Architecture) -> Result<f64> {
        match objective.kind {
            Kind::Counted(count) => Ok(count(architecture)),
            Kind::Measured(measure) => {
                let fingerprint = architecture.fingerprint().to_string();
                if let Some(known) = self.database.measurement(&fingerprint, objective.name)? {
                    return Ok(known.value);
                }
                let row = measure(architecture, self.config)?;
                self.database.add_measurement(&fingerprint, objective.name, &row)?;
                Ok(row.value)
            }
            Kind::Trained => Err(Error::Usage(format!("{} is known after training only", objective.name))),
        }
    }
}

#[cfg(test)]
mod tests {
    use morphisms::{Conv, Draft, Shape};

    use super::*;

    fn network(width: usize) -> Architecture {
        let mut draft = Draft::new(Shape::map(1, 8, 8));
        let x = draft.conv_bn_relu(draft.input(), Conv::same(width, 3));
        let x = draft.conv_bn_relu(x, Conv::same(width, 3));
        draft.head(x, 10);
        draft.build().unwrap()
    }

    #[test]
    fn every_cheap_objective_is_finite_positive_and_grows_with_the_network() {
        let latency = crate::config::LatencyConfig { warmup: 3, repeats: 15 };
        let config = Config { latency, ..Config::default() };
        for objective in ALL {
            assert_eq!(named(objective.name).unwrap().unit, objective.unit);
            let value = |architecture: &Architecture| match objective.kind {
                Kind::Counted(count) => Some(count(architecture)),
                Kind::Measured(measure) => Some(measure(architecture, &config).unwrap().value),
                Kind::Trained => None,
            };
            if let (Some(small), Some(large)) = (value(&network(2)), value(&network(64))) {
                assert!(
                    small > 0.0 && large.is_finite() && large > small,
                    "{}: {small} {large}",
                    objective.name
                );
            }
        }
    }

    #[test]
    fn a_cost_over_its_bound_is_named_and_nothing_is_measured_after_it() {
        let database = Database::in_memory().unwrap();
        let config = Config {
            objectives: vec!["error".into(), "latency".into()],
            max: BTreeMap::from([("params".into(), 100.0)]),
            ..Config::default()
        };
        let (costs, architecture) = (Costs::new(&config, &database), network(4));
        let refused = costs.within(&architecture, &config.max).unwrap().unwrap_err();
        assert_eq!(refused, ("params", architecture.parameter_count() as f64));
        let fingerprint = architecture.fingerprint().to_string();
        assert_eq!(database.measurement(&fingerprint, "latency").unwrap(), None);
        let first = costs.within(&architecture, &BTreeMap::new()).unwrap().unwrap()["latency"];
        let second = costs.within(&architecture, &BTreeMap::new()).unwrap().unwrap()["latency"];
        assert_eq!(first, second, "measured once");
    }
}
