//! NASH: hill climbing by network morphisms (Elsken, Metzen, Hutter, "Simple and efficient architecture search for
//! convolutional neural networks", 2017, algorithm 1).

use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{Population, Proposal, Setting, Strategy, edit_at_random};
use crate::Result;
use crate::individual::{Edit, Individual};

/// The network with the smallest first objective is the parent of all children of a generation; one of them is the parent
/// itself, trained on. Costs play no part but as bounds.
pub(super) struct Nash {
    setting: Arc<Setting>,
    population: Population,
}

impl Nash {
    pub(super) fn new(setting: Arc<Setting>) -> Self {
        Self { setting, population: Population::default() }
    }

    fn best(&self) -> Option<&Individual> {
        let first = &self.setting.config.objectives[..1];
        let value = |one: &Individual| one.values(first).map_or(f64::INFINITY, |values| values[0]);
        self.population.members.iter().min_by(|a, b| value(a).total_cmp(&value(b)))
    }
}

impl Strategy for Nash {
    fn wanted(&self) -> usize {
        self.setting.config.lemonade.accepted
    }

    fn propose(&self, rng: &mut ChaCha8Rng) -> Result<Option<Proposal>> {
        let Some(best) = self.best() else { return Ok(None) };
        // One in as many as there are children; a second one would be a duplicate.
        if rng.random_range(0..self.wanted()) == 0 {
            let (edits, architecture) = (vec![Edit::keep_training()], best.architecture.clone());
            return Ok(Some(Proposal { parent: Some(best.id), edits, architecture }));
        }
        let count = rng.random_range(1..=self.setting.config.lemonade.max_morphisms);
        let (edits, architecture) = edit_at_random(&self.setting, &best.architecture, count, rng)?;
        Ok((!edits.is_empty()).then_some(Proposal { parent: Some(best.id), edits, architecture }))
    }

    fn tell(&mut self, individuals: &[Individual]) -> Result<()> {
        self.population.tell(&self.setting, individuals)
    }
}
