//! Objectives: what is minimised, one a file. A new one is added to [`ALL`], and the contract tests find it there.

mod activation_memory;
mod costs;
mod error;
pub mod latency;
mod macs;
mod params;
mod predictor;

use morphisms::Architecture;

pub use costs::{Costs, Refusal, Watch, Within};
pub use error::ERROR;
pub use predictor::{Predictor, rank_correlation};

use crate::config::Config;
use crate::store::Outcome;
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

/// Measures something on an architecture, until it is told to stop.
pub type Measure = fn(&Architecture, &Config, &dyn Fn() -> bool) -> Result<Outcome>;

/// How an objective is found.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Counted on the architecture.
    Counted(Count),
    /// Measured on the architecture, without trained weights.
    Measured(Measure),
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

#[cfg(test)]
mod tests {
    use morphisms::{Conv, Draft, Shape};

    use super::*;
    use crate::config::LatencyConfig;

    fn network(width: usize) -> Architecture {
        let mut draft = Draft::new(Shape::map(1, 8, 8));
        let x = draft.conv_bn_relu(draft.input(), Conv::same(width, 3));
        let x = draft.conv_bn_relu(x, Conv::same(width, 3));
        draft.head(x, 10);
        draft.build().unwrap()
    }

    #[test]
    fn every_cheap_objective_is_finite_positive_and_grows_with_the_network() {
        let latency = LatencyConfig { warmup: 3, repeats: 15, ..LatencyConfig::default() };
        let config = Config { latency, ..Config::default() };
        for objective in ALL {
            assert_eq!(named(objective.name).unwrap().unit, objective.unit);
            let value = |architecture: &Architecture| match objective.kind {
                Kind::Counted(count) => Some(count(architecture)),
                Kind::Measured(measure) => match measure(architecture, &config, &|| false).unwrap() {
                    Outcome::Measured(spread) => Some(spread.value),
                    other @ (Outcome::Failed(_) | Outcome::Stopped) => panic!("{other:?}"),
                },
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
}
