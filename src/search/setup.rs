//! What a search begins with: initial networks within the bounds, and the reference point.

use std::collections::BTreeMap;

use morphisms::{Architecture, Shape};

use crate::config::{Config, Names};
use crate::data::Dataset;
use crate::objective::{Costs, Refusal, Watch};
use crate::space::Networks;
use crate::space::{self, ROOM};
use crate::store::Database;
use crate::strategy::Setting;
use crate::{Error, Result, data, objective, strategy};

/// Checks the settings of a search: that they make sense, and name what there is.
///
/// # Errors
/// The first setting that does not.
pub fn validate(config: &Config) -> Result<()> {
    let objectives: Vec<&str> = objective::ALL.iter().map(|objective| objective.name).collect();
    let counted =
        objective::ALL.iter().filter(|objective| matches!(objective.kind, objective::Kind::Counted(_)));
    let counted: Vec<&str> = counted.map(|objective| objective.name).collect();
    let data: Vec<&str> = data::SOURCES.iter().map(|source| source.name()).collect();
    let morphisms: Vec<&str> = morphisms::catalog::all().iter().map(|morphism| morphism.name()).collect();
    config.validate(&Names {
        objectives: &objectives,
        counted: &counted,
        trained: &["error"],
        strategies: strategy::NAMES,
        data: &data,
        morphisms: &morphisms,
    })
}

/// The initial networks that keep all cheap bounds and can be measured; or those that were given, which may be over a
/// bound: they are what the search comes from.
///
/// # Errors
/// If there is none, or one that was given cannot be measured; in the words of what measures where that is why.
pub(super) fn feasible_initial(
    config: &Config,
    data: &Dataset,
    given: Vec<Architecture>,
    database: &Database,
    watch: &Watch,
) -> Result<Vec<Architecture>> {
    let shape = Shape::map(data.shape.channels, data.shape.height, data.shape.width);
    let is_given = !given.is_empty();
    let (all, bounds) = match is_given {
        true => (given, BTreeMap::new()),
        false => (space::initial(shape, data.classes.len())?, config.max.clone()),
    };
    let costs = Costs::new(config, database, watch);
    for (name, &bound) in &bounds {
        if crate::objective::named(name)?.is_cheap() {
            reachable(&costs, &all, name, bound)?;
        }
    }
    let mut feasible = Vec::new();
    let mut refusals = Vec::new();
    for architecture in &all {
        match costs.within(architecture, &bounds)? {
            Ok(_) => feasible.push(architecture.clone()),
            Err(refusal) => refusals.push(refusal),
        }
    }
    if feasible.is_empty() || is_given && !refusals.is_empty() {
        return Err(no_initial(config, refusals));
    }
    Ok(feasible)
}

/// Checks that one of the initial networks keeps a bound.
fn reachable(costs: &Costs<'_>, all: &[Architecture], name: &str, bound: f64) -> Result<()> {
    let only = BTreeMap::from([(name.to_string(), bound)]);
    let mut smallest = f64::INFINITY;
    for architecture in all {
        smallest = smallest.min(match costs.within(architecture, &only)? {
            Ok(costs) => costs[name],
            Err(Refusal::Over(_, value)) => value,
            Err(Refusal::Unmeasured(..) | Refusal::Stopped) => f64::INFINITY,
        });
    }
    // Where nothing was measured, that is what there is to be said.
    match smallest > bound && smallest.is_finite() {
        true => Err(Error::Bound { name: name.into(), bound, smallest }),
        false => Ok(()),
    }
}

/// Why no initial network is left.
fn no_initial(config: &Config, refusals: Vec<Refusal>) -> Error {
    let count = refusals.len();
    let unmeasured = refusals.into_iter().rev().find_map(|refusal| match refusal {
        Refusal::Unmeasured(name, why) => Some((name, why)),
        Refusal::Over(..) | Refusal::Stopped => None,
    });
    if let Some((name, why)) = unmeasured {
        let networks = format!("any of the {count} initial networks that keep the other bounds");
        return Error::Unmeasurable { name, networks, why };
    }
    let bounds: Vec<String> = config.max.iter().map(|(name, bound)| format!("{name}={bound}")).collect();
    Error::Usage(format!("no initial network meets all of the bounds {} together", bounds.join(", ")))
}

/// The error of guessing, and for every cheap objective its bound or five times the largest initial value.
pub(super) fn reference_point(
    setting: &Setting<Networks>,
    data: &Dataset,
    database: &Database,
    watch: &Watch,
) -> Result<Vec<f64>> {
    let costs = Costs::new(&setting.config, database, watch);
    let mut largest: BTreeMap<String, f64> = BTreeMap::new();
    for architecture in &setting.space.initial {
        for (name, value) in costs.known(architecture)?.unwrap_or_default() {
            let entry = largest.entry(name).or_insert(value);
            *entry = entry.max(value);
        }
    }
    let of = |name: &String| match (setting.config.max.get(name), largest.get(name)) {
        (Some(&bound), _) => bound,
        (None, Some(largest)) => ROOM * largest,
        (None, None) => 1.0 - 1.0 / data.classes.len() as f64,
    };
    Ok(setting.config.objectives.iter().map(of).collect())
}

pub(super) fn describe_data(data: &Dataset) -> String {
    format!(
        "{}, {}, {} classes: {} training, {} validation, {} test images",
        data.name,
        data.shape,
        data.classes.len(),
        data.train.len(),
        data.validation.len(),
        data.test().len()
    )
}
