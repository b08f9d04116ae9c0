//! What evolutionary strategies share.

use std::collections::BTreeMap;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{Change, Member, Setting, Space};
use crate::Result;
use crate::pareto::{Points, crowding_distances, rank};

/// With which probability two parents are crossed, as in NSGA-II's own experiments.
const CROSSOVER: f64 = 0.9;

/// A child of two parents: crossed where that is possible, then one to `max_morphisms` steps away. None if nothing applies.
pub(super) fn offspring<S: Space>(
    setting: &Setting<S>,
    (a, b): (&S::Design, &S::Design),
    rng: &mut ChaCha8Rng,
) -> Result<Option<Change<S>>> {
    let crossed = if rng.random_bool(CROSSOVER) { setting.space.cross(a, b, rng) } else { None };
    let count = rng.random_range(1..=setting.config.lemonade.max_morphisms);
    setting.space.step(crossed.as_ref().unwrap_or(a), count, rng)
}

/// The places of members, best first: front by front, and within a front the one with most room around it first
/// (NSGA-II's crowded comparison). Of equals the earlier comes first. Those that lack an objective are left out.
pub(super) fn ranked<S: Space>(members: &[&Member<S>], setting: &Setting<S>) -> Result<Vec<usize>> {
    let objectives = &setting.config.objectives;
    let values = |place: usize| Some((place, members[place].values(objectives)?));
    let (places, rows): (Vec<usize>, Vec<Vec<f64>>) = (0..members.len()).filter_map(values).unzip();
    let ranks = rank(&Points::new(&rows)?);
    let mut order = Vec::new();
    for front in 0..=ranks.iter().copied().max().unwrap_or(0) {
        let mut members: Vec<usize> = (0..rows.len()).filter(|&place| ranks[place] == front).collect();
        let points = Points::new(&members.iter().map(|&place| &rows[place]).collect::<Vec<_>>())?;
        let room: BTreeMap<usize, f64> = members.iter().copied().zip(crowding_distances(&points)).collect();
        members.sort_by(|a, b| room[b].total_cmp(&room[a]));
        order.extend(members.into_iter().map(|member| places[member]));
    }
    Ok(order)
}
