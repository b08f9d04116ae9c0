//! NASH: hill climbing by network morphisms (Elsken, Metzen, Hutter, "Simple and efficient architecture search for
//! convolutional neural networks", 2017, algorithm 1).

use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{Member, Population, Proposal, Setting, Space, Strategy};
use crate::Result;

/// The network with the smallest first objective is the parent of all children of a generation; one of them is the parent
/// itself, trained on. Costs play no part but as bounds.
pub(super) struct Nash<S: Space> {
    setting: Arc<Setting<S>>,
    population: Population<S>,
}

impl<S: Space> Nash<S> {
    pub(super) fn new(setting: Arc<Setting<S>>) -> Self {
        Self { setting, population: Population::default() }
    }

    fn best(&self) -> Option<&Member<S>> {
        let first = &self.setting.config.objectives[..1];
        let value = |one: &Member<S>| one.values(first).map_or(f64::INFINITY, |values| values[0]);
        self.population.members.iter().min_by(|a, b| value(a).total_cmp(&value(b)))
    }
}

impl<S: Space> Strategy<S> for Nash<S> {
    fn wanted(&self) -> usize {
        self.setting.config.lemonade.accepted
    }

    fn propose(&self, rng: &mut ChaCha8Rng) -> Result<Option<Proposal<S>>> {
        let Some(best) = self.best() else { return Ok(None) };
        // One in as many as there are children; a second one would be a duplicate.
        if let Some(stay) = self.setting.space.stay()
            && rng.random_range(0..self.wanted()) == 0
        {
            return Ok(Some(Proposal::child(best, (vec![stay], best.design.clone()))));
        }
        let count = rng.random_range(1..=self.setting.config.lemonade.max_morphisms);
        let change = self.setting.space.step(&best.design, count, rng)?;
        Ok(change.map(|change| Proposal::child(best, change)))
    }

    fn tell(&mut self, members: &[Member<S>]) -> Result<()> {
        self.population.tell(&self.setting, members)
    }
}
