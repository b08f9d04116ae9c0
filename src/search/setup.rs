//! What a search begins with: initial networks within the bounds, and the reference point.

use std::collections::BTreeMap;

use morphisms::{Architecture, Shape};

use crate::config::Config;
use crate::data::Dataset;
use crate::objective::Costs;
use crate::store::Database;
use crate::strategy::Setting;
use crate::{Error, Result, space};

/// How much larger than the largest initial network a network may be, in every cheap objective: the reference point
/// of the hypervolume, beyond which nothing counts.
const ROOM: f64 = 5.0;
/// The networks that were given, or else the initial ones that keep all cheap bounds.
pub(super) fn feasible_initial(
    config: &Config,
    data: &Dataset,
    given: Vec<Architecture>,
    database: &Database,
) -> Result<Vec<Architecture>> {
    let shape = Shape::map(data.shape.channels, data.shape.height, data.shape.width);
    if !given.is_empty() {
        // Over a bound, they are still what the search comes from.
        return Ok(given);
    }
    let all = space::initial(shape, data.classes.len())?;
    let costs = Costs::new(config, database);
    for (name, &bound) in &config.max {
        if !crate::objective::named(name)?.is_cheap() {
            continue;
        }
        let only = BTreeMap::from([(name.clone(), bound)]);
        let mut smallest = f64::INFINITY;
        for architecture in &all {
            smallest = smallest.min(match costs.within(architecture, &only)? {
                Ok(costs) => costs[name],
                Err((_, value)) => value,
            });
        }
        if smallest > bound {
            return Err(Error::Bound { name: name.clone(), bound, smallest });
        }
    }
    let mut feasible = Vec::new();
    for architecture in &all {
        if costs.within(architecture, &config.max)?.is_ok() {
            feasible.push(architecture.clone());
        }
    }
    if feasible.is_empty() {
        let bounds: Vec<String> = config.max.iter().map(|(name, bound)| format!("{name}={bound}")).collect();
        let problem = format!("no initial network meets all of the bounds {} together", bounds.join(", "));
        return Err(Error::Usage(problem));
    }
    Ok(feasible)
}

/// The error of guessing, and for every cheap objective its bound or five times the largest initial value.
pub(super) fn reference_point(setting: &Setting, data: &Dataset, database: &Database) -> Result<Vec<f64>> {
    let costs = Costs::new(&setting.config, database);
    let mut largest: BTreeMap<String, f64> = BTreeMap::new();
    for architecture in &setting.initial {
        for (name, value) in costs.within(architecture, &BTreeMap::new())?.unwrap_or_default() {
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
