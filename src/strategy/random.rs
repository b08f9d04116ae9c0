//! Random search over the same space, with and without inheritance.

use std::sync::Arc;

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::{Member, Population, Proposal, Setting, Space, Strategy};
use crate::Result;

/// Without inheritance: a random design is trained from scratch. With inheritance: a uniformly drawn member of the front is
/// changed by 1 to `max_morphisms` steps and trained on. Nothing is screened.
pub(super) struct Random<S: Space> {
    setting: Arc<Setting<S>>,
    inherits: bool,
    population: Population<S>,
}

impl<S: Space> Random<S> {
    pub(super) fn new(setting: Arc<Setting<S>>, inherits: bool) -> Self {
        Self { setting, inherits, population: Population::default() }
    }
}

impl<S: Space> Strategy<S> for Random<S> {
    fn wanted(&self) -> usize {
        self.setting.config.lemonade.accepted
    }

    fn propose(&self, rng: &mut ChaCha8Rng) -> Result<Option<Proposal<S>>> {
        if !self.inherits {
            return Ok(self.setting.space.random(rng)?.map(Proposal::scratch));
        }
        let Some(parent) = self.population.members.choose(rng) else { return Ok(None) };
        let count = rng.random_range(1..=self.setting.config.lemonade.max_morphisms);
        let change = self.setting.space.step(&parent.design, count, rng)?;
        Ok(change.map(|change| Proposal::child(parent, change)))
    }

    fn tell(&mut self, members: &[Member<S>]) -> Result<()> {
        self.population.tell(&self.setting, members)
    }
}
