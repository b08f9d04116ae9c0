//! NSGA-II (Deb, Pratap, Agarwal, Meyarivan, "A fast and elitist multiobjective genetic algorithm: NSGA-II", 2002).

use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::evolution::{offspring, ranked};
use super::{Member, Proposal, Setting, Space, Strategy, keeps_bounds};
use crate::Result;

/// The population is the best of all networks so far, front by front, and within a front those with most room around them. A
/// parent wins a tournament of two by the same order. Two parents are crossed where designs have parts in common that can be
/// exchanged (networks of different shapes have none); the child is one to `max_morphisms` random edits away from that, and
/// inherits nothing. Until the population is full, designs are random.
pub(super) struct Nsga2<S: Space> {
    setting: Arc<Setting<S>>,
    /// From the best to the worst.
    population: Vec<Member<S>>,
}

impl<S: Space> Nsga2<S> {
    pub(super) fn new(setting: Arc<Setting<S>>) -> Self {
        Self { setting, population: Vec::new() }
    }

    fn parent(&self, rng: &mut ChaCha8Rng) -> &Member<S> {
        let mut place = || rng.random_range(0..self.population.len());
        &self.population[place().min(place())]
    }
}

impl<S: Space> Strategy<S> for Nsga2<S> {
    fn wanted(&self) -> usize {
        self.setting.config.lemonade.accepted
    }

    fn propose(&self, rng: &mut ChaCha8Rng) -> Result<Option<Proposal<S>>> {
        let space = &self.setting.space;
        let change = match self.population.len() < self.setting.config.evolution.population {
            true => space.random(rng)?,
            false => {
                let (a, b) = (self.parent(rng), self.parent(rng));
                offspring(&self.setting, (&a.design, &b.design), rng)?
            }
        };
        Ok(change.map(Proposal::scratch))
    }

    fn tell(&mut self, members: &[Member<S>]) -> Result<()> {
        let feasible = members.iter().filter(|one| keeps_bounds(&one.objectives, &self.setting.config));
        let mut all = std::mem::take(&mut self.population);
        all.extend(feasible.cloned());
        let order = ranked(&all.iter().collect::<Vec<_>>(), &self.setting)?;
        let best = order.into_iter().take(self.setting.config.evolution.population);
        self.population = best.map(|place| all[place].clone()).collect();
        Ok(())
    }
}
