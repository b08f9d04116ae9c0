//! What evolutionary strategies share.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{Change, Member, Setting, Space};
use crate::Result;
use crate::pareto::best_first;

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

/// The places of members in the order of [`best_first`]. Those that lack an objective are left out.
pub(super) fn ranked<S: Space>(members: &[&Member<S>], setting: &Setting<S>) -> Result<Vec<usize>> {
    let objectives = &setting.config.objectives;
    let values = |place: usize| Some((place, members[place].values(objectives)?));
    let (places, rows): (Vec<usize>, Vec<Vec<f64>>) = (0..members.len()).filter_map(values).unzip();
    Ok(best_first(&rows)?.into_iter().map(|place| places[place]).collect())
}
