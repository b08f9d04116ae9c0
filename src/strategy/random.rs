//! Random search over the same space, with and without inheritance.

use std::sync::Arc;

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::evolution::MOST_EDITS;
use super::{Population, Proposal, Setting, Strategy, edit_at_random};
use crate::Result;
use crate::individual::Individual;

/// Without inheritance: an initial network, changed by 1 to 16 random morphisms, is trained from scratch. With
/// inheritance: a uniformly drawn member of the front is changed by 1 to `max_morphisms` morphisms and trained on.
/// Nothing is screened.
pub(super) struct Random {
    setting: Arc<Setting>,
    inherits: bool,
    population: Population,
}

impl Random {
    pub(super) fn new(setting: Arc<Setting>, inherits: bool) -> Self {
        Self { setting, inherits, population: Population::default() }
    }
}

impl Strategy for Random {
    fn wanted(&self) -> usize {
        self.setting.config.lemonade.accepted
    }

    fn propose(&self, rng: &mut ChaCha8Rng) -> Result<Option<Proposal>> {
        let (parent, start, most) = match self.inherits {
            true => match self.population.members.choose(rng) {
                Some(member) => {
                    (Some(member.id), &member.architecture, self.setting.config.lemonade.max_morphisms)
                }
                None => return Ok(None),
            },
            false => match self.setting.initial.choose(rng) {
                Some(start) => (None, start, MOST_EDITS),
                None => return Ok(None),
            },
        };
        let count = rng.random_range(1..=most);
        let (edits, architecture) = edit_at_random(&self.setting, start, count, rng)?;
        Ok((!edits.is_empty()).then_some(Proposal { parent, edits, architecture }))
    }

    fn tell(&mut self, individuals: &[Individual]) -> Result<()> {
        self.population.tell(&self.setting, individuals)
    }
}
