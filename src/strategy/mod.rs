//! Strategies: what decides which networks are trained, one a file. A new one is added to [`NAMES`] and [`new`].
//!
//! A strategy sees architectures, objective values and lineage; never data, tensors or training.

mod aging;
mod evolution;
pub mod kde;
mod lemonade;
mod nash;
mod nsga2;
mod random;

use std::collections::BTreeMap;
use std::sync::Arc;

use morphisms::{Architecture, Morphism, catalog};
use rand_chacha::ChaCha8Rng;

use crate::config::Config;
use crate::individual::{Edit, Individual};
use crate::{Error, Result, objective};

/// The names of the strategies.
pub const NAMES: &[&str] = &["lemonade", "random", "random_inherit", "aging", "nsga2", "nash"];

/// A network that might be trained.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// The individual it inherits from; none: trained from scratch.
    pub parent: Option<u64>,
    /// The steps from the parent, or from an initial network.
    pub edits: Vec<Edit>,
    /// What they lead to.
    pub architecture: Architecture,
}

/// A proposal that keeps all bounds, with its cheap objectives.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The proposal.
    pub proposal: Proposal,
    /// Its cheap objectives, by name.
    pub costs: BTreeMap<String, f64>,
}

/// Decides which networks are trained.
pub trait Strategy {
    /// Feasible proposals that a generation wants before it chooses among them.
    fn wanted(&self) -> usize;

    /// A proposal; none if this strategy has nothing to propose.
    ///
    /// # Errors
    /// If a rewrite fails that a morphism offered.
    fn propose(&self, rng: &mut ChaCha8Rng) -> Result<Option<Proposal>>;

    /// The candidates to be trained, by their places; all of them, if a strategy has no choice to make.
    ///
    /// # Errors
    /// If a cost is not a finite number.
    fn screen(&self, candidates: &[Candidate], rng: &mut ChaCha8Rng) -> Result<Vec<usize>> {
        let _ = rng;
        Ok((0..candidates.len()).collect())
    }

    /// Takes note of a whole generation. Telling a new strategy all generations again brings it to the same state.
    ///
    /// # Errors
    /// If an objective value is not a finite number.
    fn tell(&mut self, individuals: &[Individual]) -> Result<()>;
}

/// What every strategy knows of a run.
pub struct Setting {
    /// The settings.
    pub config: Config,
    /// The networks of the initial population.
    pub initial: Vec<Architecture>,
    /// The morphisms in use.
    pub morphisms: Vec<&'static dyn Morphism>,
    /// The cheap objectives that describe a network; parameters if the run asks for none.
    pub cheap: Vec<&'static str>,
}

impl Setting {
    /// The setting of a run.
    ///
    /// # Errors
    /// If the settings name a morphism that does not exist.
    pub fn new(config: &Config, initial: Vec<Architecture>) -> Result<Self> {
        let named = |name: &String| {
            catalog::named(name)
                .ok_or_else(|| Error::Usage(format!("lemonade.morphisms: no morphism `{name}`")))
        };
        let morphisms = match config.lemonade.morphisms.as_slice() {
            [] => catalog::all().to_vec(),
            names => names.iter().map(named).collect::<Result<_>>()?,
        };
        let cheap =
            objective::ALL.iter().filter(|o| o.is_cheap() && config.objectives.iter().any(|n| n == o.name));
        let mut cheap: Vec<&str> = cheap.map(|objective| objective.name).collect();
        if cheap.is_empty() {
            cheap.push("params");
        }
        Ok(Self { config: config.clone(), initial, morphisms, cheap })
    }

    /// The logarithms of the cheap objectives, in which densities are estimated.
    fn place(&self, architecture: &Architecture, costs: &BTreeMap<String, f64>) -> Vec<f64> {
        let value = |name: &&str| match costs.get(*name) {
            Some(&cost) => cost,
            None => architecture.parameter_count() as f64,
        };
        self.cheap.iter().map(|name| value(name).max(f64::MIN_POSITIVE).ln()).collect()
    }
}

/// The Pareto front of all told individuals that keep the bounds; of all, while none does.
#[derive(Default)]
struct Population {
    members: Vec<Individual>,
}

impl Population {
    fn tell(&mut self, setting: &Setting, individuals: &[Individual]) -> Result<()> {
        let mut all = std::mem::take(&mut self.members);
        all.extend_from_slice(individuals);
        let (feasible, rest): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|i| keeps_bounds(i, &setting.config));
        let pool = if feasible.is_empty() { rest } else { feasible };
        self.members =
            crate::individual::front(&pool, &setting.config.objectives)?.into_iter().cloned().collect();
        Ok(())
    }
}

/// Whether an individual is within every bound; one that diverged is not.
pub fn keeps_bounds(individual: &Individual, config: &Config) -> bool {
    let within =
        |(name, bound): (&String, &f64)| individual.objectives.get(name).is_some_and(|value| value <= bound);
    individual.values(&config.objectives).is_some() && config.max.iter().all(within)
}

/// `count` random edits of a network, one after the other; fewer if nothing applies.
fn edit_at_random(
    setting: &Setting,
    start: &Architecture,
    count: usize,
    rng: &mut ChaCha8Rng,
) -> Result<(Vec<Edit>, Architecture)> {
    let (mut edits, mut architecture) = (Vec::new(), start.clone());
    for _ in 0..count {
        if let Some((edit, next)) = crate::space::random_edit(&architecture, &setting.morphisms, rng)? {
            edits.push(edit);
            architecture = next;
        }
    }
    Ok((edits, architecture))
}

/// The strategy that a run asks for.
///
/// # Errors
/// If there is none of that name.
pub fn new(setting: Arc<Setting>) -> Result<Box<dyn Strategy>> {
    match setting.config.strategy.as_str() {
        "lemonade" => Ok(Box::new(lemonade::Lemonade::new(setting))),
        "random" => Ok(Box::new(random::Random::new(setting, false))),
        "random_inherit" => Ok(Box::new(random::Random::new(setting, true))),
        "aging" => Ok(Box::new(aging::AgingEvolution::new(setting))),
        "nsga2" => Ok(Box::new(nsga2::Nsga2::new(setting))),
        "nash" => Ok(Box::new(nash::Nash::new(setting))),
        other => Err(Error::Usage(format!("no strategy `{other}`; there are {}", NAMES.join(", ")))),
    }
}

#[cfg(test)]
mod tests;
