//! Strategies: what decides which networks are trained, one a file. A new one is added to [`NAMES`] and [`new`].
//!
//! A strategy sees architectures, objective values and lineage; never data, tensors or training.

mod aging;
mod ask;
mod de;
mod evolution;
pub mod kde;
mod lemonade;
mod nash;
mod nsga2;
mod random;
mod sms_emoa;
mod space;

use std::collections::BTreeMap;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;

use crate::config::Config;
use crate::individual::non_dominated;
use crate::{Error, Result};

pub(crate) use ask::{Asked, ask, most_attempts};
pub use space::{Change, Space};

/// The names of the strategies that search any space.
pub const NAMES: &[&str] = &["lemonade", "random", "random_inherit", "aging", "nsga2", "sms_emoa", "nash"];
/// The names of those that need designs with genes, which tables have and networks have not.
pub const GENETIC_NAMES: &[&str] = &["de"];

/// A design that might be evaluated.
#[derive(Clone)]
pub struct Proposal<S: Space> {
    /// The member it inherits from; none: it starts from scratch.
    pub parent: Option<u64>,
    /// The steps from the parent, or from an initial design.
    pub edits: Vec<S::Edit>,
    /// What they lead to.
    pub design: S::Design,
}

impl<S: Space> Proposal<S> {
    /// One that inherits from a member.
    fn child(parent: &Member<S>, (edits, design): Change<S>) -> Self {
        Self { parent: Some(parent.id), edits, design }
    }

    /// One that inherits nothing.
    fn scratch((edits, design): Change<S>) -> Self {
        Self { parent: None, edits, design }
    }
}

/// A proposal that keeps all bounds, with its cheap objectives.
#[derive(Clone)]
pub struct Candidate<S: Space> {
    /// The proposal.
    pub proposal: Proposal<S>,
    /// Its cheap objectives, by name.
    pub costs: BTreeMap<String, f64>,
}

/// A design that was evaluated.
#[derive(Clone)]
pub struct Member<S: Space> {
    /// Its number in the run.
    pub id: u64,
    /// The member it came from, if it inherited.
    pub parent: Option<u64>,
    /// What was evaluated.
    pub design: S::Design,
    /// What it is worth, by objective; without the costly ones if it could not be trained.
    pub objectives: BTreeMap<String, f64>,
}

impl<S: Space> Member<S> {
    /// The values of these objectives, if it has them all.
    pub fn values(&self, objectives: &[String]) -> Option<Vec<f64>> {
        objectives.iter().map(|name| self.objectives.get(name).copied()).collect()
    }
}

/// Decides which designs are evaluated.
pub trait Strategy<S: Space> {
    /// Feasible proposals that a generation wants before it chooses among them.
    fn wanted(&self) -> usize;

    /// A proposal; none if this strategy has nothing to propose.
    ///
    /// # Errors
    /// If a rewrite fails that a morphism offered.
    fn propose(&self, rng: &mut ChaCha8Rng) -> Result<Option<Proposal<S>>>;

    /// The candidates to be trained, by their places; all of them, if a strategy has no choice to make.
    ///
    /// # Errors
    /// If a cost is not a finite number.
    fn screen(&self, candidates: &[Candidate<S>], rng: &mut ChaCha8Rng) -> Result<Vec<usize>> {
        let _ = rng;
        Ok((0..candidates.len()).collect())
    }

    /// Takes note of a whole generation. Telling a new strategy all generations again brings it to the same state.
    ///
    /// # Errors
    /// If an objective value is not a finite number.
    fn tell(&mut self, members: &[Member<S>]) -> Result<()>;
}

/// What every strategy knows of a run.
pub struct Setting<S> {
    /// The settings.
    pub config: Config,
    /// What is searched.
    pub space: S,
    /// The cheap objectives that describe a design; if there are none, its size does.
    pub cheap: Vec<String>,
}

impl<S: Space> Setting<S> {
    /// The logarithms of the cheap objectives, in which densities are estimated.
    fn place(&self, design: &S::Design, costs: &BTreeMap<String, f64>) -> Vec<f64> {
        let ln = |cost: f64| cost.max(f64::MIN_POSITIVE).ln();
        match self.cheap.as_slice() {
            [] => vec![ln(self.space.size(design))],
            names => names.iter().map(|name| ln(costs.get(name).copied().unwrap_or_default())).collect(),
        }
    }
}

/// The Pareto front of all told members that keep the bounds; of all, while none does.
struct Population<S: Space> {
    members: Vec<Member<S>>,
}

impl<S: Space> Default for Population<S> {
    fn default() -> Self {
        Self { members: Vec::new() }
    }
}

impl<S: Space> Population<S> {
    fn tell(&mut self, setting: &Setting<S>, members: &[Member<S>]) -> Result<()> {
        let mut all = std::mem::take(&mut self.members);
        all.extend_from_slice(members);
        let (feasible, rest): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|one| keeps_bounds(&one.objectives, &setting.config));
        let pool = if feasible.is_empty() { rest } else { feasible };
        let places = non_dominated(pool.iter().map(|one| one.values(&setting.config.objectives)))?;
        self.members = places.into_iter().map(|place| pool[place].clone()).collect();
        Ok(())
    }
}

/// Whether objective values are all there and within every bound; those of a network that diverged are not.
pub fn keeps_bounds(objectives: &BTreeMap<String, f64>, config: &Config) -> bool {
    let within = |(name, bound): (&String, &f64)| objectives.get(name).is_some_and(|value| value <= bound);
    config.objectives.iter().all(|name| objectives.contains_key(name)) && config.max.iter().all(within)
}

/// The strategy that a run asks for.
///
/// # Errors
/// If there is none of that name.
pub fn new<S: Space>(setting: Arc<Setting<S>>) -> Result<Box<dyn Strategy<S>>> {
    match setting.config.strategy.as_str() {
        "lemonade" => Ok(Box::new(lemonade::Lemonade::new(setting))),
        "random" => Ok(Box::new(random::Random::new(setting, false))),
        "random_inherit" => Ok(Box::new(random::Random::new(setting, true))),
        "aging" => Ok(Box::new(aging::AgingEvolution::new(setting))),
        "nsga2" => Ok(Box::new(nsga2::Nsga2::new(setting))),
        "sms_emoa" => Ok(Box::new(sms_emoa::SmsEmoa::new(setting))),
        "de" => Ok(Box::new(de::DifferentialEvolution::new(setting))),
        "nash" => Ok(Box::new(nash::Nash::new(setting))),
        other => {
            let names = [NAMES, GENETIC_NAMES].concat().join(", ");
            Err(Error::Usage(format!("no strategy `{other}`; there are {names}")))
        }
    }
}

#[cfg(test)]
mod benchmark_problems;
#[cfg(test)]
mod tests;
