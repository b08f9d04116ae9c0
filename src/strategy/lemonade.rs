//! LEMONADE: Lamarckian evolution for multi-objective neural architecture design (Elsken, Metzen, Hutter, ICLR
//! 2019).

use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::kde::{Kde, sample_with_replacement, sample_without_replacement};
use super::{Candidate, Population, Proposal, Setting, Strategy, edit_at_random};
use crate::Result;
use crate::individual::{Edit, Individual};

/// The population is the Pareto front of all networks so far. Parents are drawn with a probability inverse to the
/// density of the population in the logarithms of its cheap objectives, and children are accepted for training in
/// the same way, so that sparse regions of the front are filled (algorithm 1 of the paper).
pub(super) struct Lemonade {
    setting: Arc<Setting>,
    population: Population,
    /// The members' places, and with which probability each becomes a parent.
    places: Vec<Vec<f64>>,
    parents: Vec<f64>,
}

impl Lemonade {
    pub(super) fn new(setting: Arc<Setting>) -> Self {
        Self { setting, population: Population::default(), places: Vec::new(), parents: Vec::new() }
    }
}

impl Strategy for Lemonade {
    fn wanted(&self) -> usize {
        self.setting.config.lemonade.proposals
    }

    fn propose(&self, rng: &mut ChaCha8Rng) -> Result<Option<Proposal>> {
        let Some(&member) = sample_with_replacement(&self.parents, 1, rng).first() else { return Ok(None) };
        let parent = &self.population.members[member];
        let settings = &self.setting.config.lemonade;
        if rng.random::<f64>() < settings.continue_share {
            let (edits, architecture) = (vec![Edit::keep_training()], parent.architecture.clone());
            return Ok(Some(Proposal { parent: Some(parent.id), edits, architecture }));
        }
        let count = rng.random_range(1..=settings.max_morphisms);
        let (edits, architecture) = edit_at_random(&self.setting, &parent.architecture, count, rng)?;
        Ok((!edits.is_empty()).then_some(Proposal { parent: Some(parent.id), edits, architecture }))
    }

    fn screen(&self, candidates: &[Candidate], rng: &mut ChaCha8Rng) -> Result<Vec<usize>> {
        let place =
            |candidate: &Candidate| self.setting.place(&candidate.proposal.architecture, &candidate.costs);
        let places: Vec<Vec<f64>> = candidates.iter().map(place).collect();
        let chances = Kde::fit(&self.places)?.inverse_density_probabilities(&places);
        Ok(sample_without_replacement(&chances, self.setting.config.lemonade.accepted, rng))
    }

    fn tell(&mut self, individuals: &[Individual]) -> Result<()> {
        self.population.tell(&self.setting, individuals)?;
        let place = |member: &Individual| self.setting.place(&member.architecture, &member.objectives);
        self.places = self.population.members.iter().map(place).collect();
        self.parents = match self.places.is_empty() {
            true => Vec::new(),
            false => Kde::fit(&self.places)?.inverse_density_probabilities(&self.places),
        };
        Ok(())
    }
}
