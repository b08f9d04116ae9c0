//! Aging evolution (Real, Aggarwal, Huang, Le, "Regularized evolution for image classifier architecture search", AAAI 2019).

use std::sync::Arc;

use rand::RngExt;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand_chacha::ChaCha8Rng;

use super::evolution::{MOST_EDITS, ranked, scratch};
use super::{Proposal, Setting, Strategy, keeps_bounds};
use crate::Result;
use crate::individual::Individual;

/// The population is the networks trained last, however good: the oldest die. A parent is the best of a few that are drawn from
/// it, and its child is a random edit away, trained from scratch. With several objectives the best is one that no other of the
/// tournament dominates, and of those the one with most room around it. Until the population is full, networks are random.
pub(super) struct AgingEvolution {
    setting: Arc<Setting>,
    /// From the oldest to the youngest.
    population: Vec<Individual>,
}

impl AgingEvolution {
    pub(super) fn new(setting: Arc<Setting>) -> Self {
        Self { setting, population: Vec::new() }
    }

    /// The winner of a tournament.
    fn parent(&self, rng: &mut ChaCha8Rng) -> Result<Option<&Individual>> {
        let size = self.setting.config.evolution.tournament;
        let drawn: Vec<&Individual> = self.population.iter().sample(rng, size);
        Ok(ranked(&drawn, &self.setting)?.first().map(|&best| drawn[best]))
    }
}

impl Strategy for AgingEvolution {
    fn wanted(&self) -> usize {
        self.setting.config.lemonade.accepted
    }

    fn propose(&self, rng: &mut ChaCha8Rng) -> Result<Option<Proposal>> {
        let (start, count) = match self.population.len() < self.setting.config.evolution.population {
            true => (self.setting.initial.choose(rng), rng.random_range(1..=MOST_EDITS)),
            false => (self.parent(rng)?.map(|parent| &parent.architecture), 1),
        };
        start.map_or(Ok(None), |start| scratch(&self.setting, start, count, rng))
    }

    fn tell(&mut self, individuals: &[Individual]) -> Result<()> {
        let feasible = individuals.iter().filter(|one| keeps_bounds(one, &self.setting.config)).cloned();
        self.population.extend(feasible);
        let dead = self.population.len().saturating_sub(self.setting.config.evolution.population);
        self.population.drain(..dead);
        Ok(())
    }
}
