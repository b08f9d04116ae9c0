//! Aging evolution (Real, Aggarwal, Huang, Le, "Regularized evolution for image classifier architecture search", AAAI 2019).

use std::sync::Arc;

use rand::seq::IteratorRandom;
use rand_chacha::ChaCha8Rng;

use super::evolution::ranked;
use super::{Member, Proposal, Setting, Space, Strategy, keeps_bounds};
use crate::Result;

/// The population is the networks trained last, however good: the oldest die. A parent is the best of a few that are drawn from
/// it, and its child is a random edit away, trained from scratch. With several objectives the best is one that no other of the
/// tournament dominates, and of those the one with most room around it. Until the population is full, networks are random.
pub(super) struct AgingEvolution<S: Space> {
    setting: Arc<Setting<S>>,
    /// From the oldest to the youngest.
    population: Vec<Member<S>>,
}

impl<S: Space> AgingEvolution<S> {
    pub(super) fn new(setting: Arc<Setting<S>>) -> Self {
        Self { setting, population: Vec::new() }
    }

    /// The winner of a tournament.
    fn parent(&self, rng: &mut ChaCha8Rng) -> Result<Option<&Member<S>>> {
        let size = self.setting.config.evolution.tournament;
        let drawn: Vec<&Member<S>> = self.population.iter().sample(rng, size);
        Ok(ranked(&drawn, &self.setting)?.first().map(|&best| drawn[best]))
    }
}

impl<S: Space> Strategy<S> for AgingEvolution<S> {
    fn wanted(&self) -> usize {
        self.setting.config.lemonade.accepted
    }

    fn propose(&self, rng: &mut ChaCha8Rng) -> Result<Option<Proposal<S>>> {
        let change = match self.population.len() < self.setting.config.evolution.population {
            true => self.setting.space.random(rng)?,
            false => match self.parent(rng)? {
                Some(parent) => self.setting.space.step(&parent.design, 1, rng)?,
                None => None,
            },
        };
        Ok(change.map(Proposal::scratch))
    }

    fn tell(&mut self, members: &[Member<S>]) -> Result<()> {
        let feasible = members.iter().filter(|one| keeps_bounds(&one.objectives, &self.setting.config));
        self.population.extend(feasible.cloned());
        let dead = self.population.len().saturating_sub(self.setting.config.evolution.population);
        self.population.drain(..dead);
        Ok(())
    }
}
