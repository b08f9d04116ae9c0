//! What evolutionary strategies share.

use std::collections::BTreeMap;

use morphisms::Architecture;
use rand_chacha::ChaCha8Rng;

use super::{Proposal, Setting, edit_at_random};
use crate::Result;
use crate::individual::Individual;
use crate::pareto::{Points, crowding_distances, rank};

/// Edits of a random network that is trained from scratch, at most: about as many as a long search strings together.
pub(super) const MOST_EDITS: usize = 16;

/// A network that is `count` random edits away and is trained from scratch; none if nothing applies.
pub(super) fn scratch(
    setting: &Setting,
    start: &Architecture,
    count: usize,
    rng: &mut ChaCha8Rng,
) -> Result<Option<Proposal>> {
    let (edits, architecture) = edit_at_random(setting, start, count, rng)?;
    Ok((!edits.is_empty()).then_some(Proposal { parent: None, edits, architecture }))
}

/// The places of individuals, best first: front by front, and within a front the one with most room around it first
/// (NSGA-II's crowded comparison). Of equals the earlier comes first. Those that lack an objective are left out.
pub(super) fn ranked(individuals: &[&Individual], setting: &Setting) -> Result<Vec<usize>> {
    let objectives = &setting.config.objectives;
    let values = |place: usize| Some((place, individuals[place].values(objectives)?));
    let (places, rows): (Vec<usize>, Vec<Vec<f64>>) = (0..individuals.len()).filter_map(values).unzip();
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
