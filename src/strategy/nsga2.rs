//! NSGA-II (Deb, Pratap, Agarwal, Meyarivan, "A fast and elitist multiobjective genetic algorithm: NSGA-II", 2002).

use std::sync::Arc;

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::evolution::{MOST_EDITS, ranked, scratch};
use super::{Proposal, Setting, Strategy, keeps_bounds};
use crate::Result;
use crate::individual::Individual;

/// The population is the best of all networks so far, front by front, and within a front those with most room around them. A
/// parent wins a tournament of two by the same order, and its child is one to `max_morphisms` random edits away, trained from
/// scratch. There is no crossover: networks of different shapes have no parts in common that could be exchanged. Until the
/// population is full, networks are random.
pub(super) struct Nsga2 {
    setting: Arc<Setting>,
    /// From the best to the worst.
    population: Vec<Individual>,
}

impl Nsga2 {
    pub(super) fn new(setting: Arc<Setting>) -> Self {
        Self { setting, population: Vec::new() }
    }

    fn parent(&self, rng: &mut ChaCha8Rng) -> &Individual {
        let mut place = || rng.random_range(0..self.population.len());
        &self.population[place().min(place())]
    }
}

impl Strategy for Nsga2 {
    fn wanted(&self) -> usize {
        self.setting.config.lemonade.accepted
    }

    fn propose(&self, rng: &mut ChaCha8Rng) -> Result<Option<Proposal>> {
        let full = self.population.len() == self.setting.config.evolution.population;
        let (start, most) = match full {
            true => (Some(&self.parent(rng).architecture), self.setting.config.lemonade.max_morphisms),
            false => (self.setting.initial.choose(rng), MOST_EDITS),
        };
        let count = rng.random_range(1..=most);
        start.map_or(Ok(None), |start| scratch(&self.setting, start, count, rng))
    }

    fn tell(&mut self, individuals: &[Individual]) -> Result<()> {
        let feasible = individuals.iter().filter(|one| keeps_bounds(one, &self.setting.config)).cloned();
        let all: Vec<Individual> = std::mem::take(&mut self.population).into_iter().chain(feasible).collect();
        let order = ranked(&all.iter().collect::<Vec<_>>(), &self.setting)?;
        let best = order.into_iter().take(self.setting.config.evolution.population);
        self.population = best.map(|place| all[place].clone()).collect();
        Ok(())
    }
}
