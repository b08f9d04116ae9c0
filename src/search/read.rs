//! What can be read off a run: its front, hypervolume, networks and data.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Config;
use crate::data::Dataset;
use crate::individual::{Individual, front};
use crate::pareto::{self, Points};
use crate::store::{Database, Store};
use crate::strategy::keeps_bounds;
use crate::{Error, Result};

/// The test error of every network that was tested, by the content hash of its weights: the first use of the test set
/// is the honest one, later ones may have been looked at in between.
///
/// # Errors
/// If the database cannot be read.
pub fn test_errors(database: &Database) -> Result<BTreeMap<String, f64>> {
    Ok(database.tests()?.into_iter().rev().map(|row| (row.weights, row.error)).collect())
}
/// The members of the front that keep every bound.
///
/// # Errors
/// If an objective value is not a finite number.
pub fn reported_front<'a>(individuals: &'a [Individual], config: &Config) -> Result<Vec<&'a Individual>> {
    let feasible: Vec<Individual> =
        individuals.iter().filter(|i| keeps_bounds(&i.objectives, config)).cloned().collect();
    let ids: BTreeSet<u64> = front(&feasible, &config.objectives)?.iter().map(|member| member.id).collect();
    Ok(individuals.iter().filter(|individual| ids.contains(&individual.id)).collect())
}

/// The hypervolume between the reference point and these individuals: the error as it is, every cheap objective by
/// its logarithm to the base 10.
///
/// # Errors
/// If an objective value is not a finite number.
pub fn hypervolume(members: &[&Individual], config: &Config, reference: &[f64]) -> Result<f64> {
    let scale = |values: &[f64]| -> Vec<f64> {
        let of =
            |(name, value): (&String, &f64)| if name == "error" { *value } else { value.max(1e-9).log10() };
        config.objectives.iter().zip(values).map(of).collect()
    };
    let points: Vec<Vec<f64>> = members
        .iter()
        .filter_map(|member| member.values(&config.objectives))
        .map(|values| scale(&values))
        .collect();
    pareto::hypervolume(&Points::new(&points)?, &scale(reference))
}

/// The network of an individual.
///
/// # Errors
/// If its weights were not kept, or their file is damaged.
pub fn load_network(store: &Store, individual: &Individual) -> Result<morphisms::Network> {
    let missing = |why: &str| Error::Run {
        path: store.path.clone(),
        problem: format!("the weights of individual {} are not there: {why}", individual.id),
    };
    let hash = individual.weights.as_ref().ok_or_else(|| missing("its training diverged"))?;
    if !store.blobs.path(hash).exists() {
        return Err(missing(
            "it is not on the front (keep_weights = \"all\" keeps those of every individual)",
        ));
    }
    let weights = store.blobs.get(hash, &candle_core::Device::Cpu)?;
    Ok(morphisms::Network::new(individual.architecture.clone(), weights)?)
}

/// The data set that a run began with.
///
/// # Errors
/// If it cannot be read, or is not the same any more.
pub fn load_data(store: &Store) -> Result<Dataset> {
    let data = Dataset::load(&store.config.data, store.config.seed)?;
    let expected = store.database.meta("data_digest")?.unwrap_or_default();
    if data.digest != expected {
        let problem = format!(
            "the data set {} is not the one the run began with (expected digest {expected}, found {})",
            data.name, data.digest
        );
        return Err(Error::Run { path: store.path.clone(), problem });
    }
    Ok(data)
}
