//! LEMONADE: Lamarckian evolution for multi-objective neural architecture design (Elsken, Metzen, Hutter, ICLR
//! 2019).

use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::kde::{Kde, sample_with_replacement, sample_without_replacement};
use super::{Candidate, Member, Population, Proposal, Setting, Space, Strategy};
use crate::Result;

/// The population is the Pareto front of all networks so far. Parents are drawn with a probability
/// inverse to the density of the population in the logarithms of its cheap objectives, and children are accepted for training in
/// the same way, so that sparse regions of the front are filled (algorithm 1 of the paper); without `lemonade.density`, uniformly. With
/// `lemonade.thrift`, those that are cheap to train are accepted more often.
pub(super) struct Lemonade<S: Space> {
    setting: Arc<Setting<S>>,
    population: Population<S>,
    /// The members' places, and with which probability each becomes a parent.
    places: Vec<Vec<f64>>,
    parents: Vec<f64>,
}

impl<S: Space> Lemonade<S> {
    pub(super) fn new(setting: Arc<Setting<S>>) -> Self {
        Self { setting, population: Population::default(), places: Vec::new(), parents: Vec::new() }
    }

    /// The probabilities with which these places are drawn.
    fn chances(&self, places: &[Vec<f64>]) -> Result<Vec<f64>> {
        match self.setting.config.lemonade.density {
            true => Ok(Kde::fit(&self.places)?.inverse_density_probabilities(places)),
            false => Ok(vec![1.0 / places.len() as f64; places.len()]),
        }
    }
}

impl<S: Space> Strategy<S> for Lemonade<S> {
    fn wanted(&self) -> usize {
        self.setting.config.lemonade.proposals
    }

    fn propose(&self, rng: &mut ChaCha8Rng) -> Result<Option<Proposal<S>>> {
        let Some(&member) = sample_with_replacement(&self.parents, 1, rng).first() else { return Ok(None) };
        let parent = &self.population.members[member];
        let settings = &self.setting.config.lemonade;
        if let Some(stay) = self.setting.space.stay()
            && settings.inherit
            && rng.random::<f64>() < settings.continue_share
        {
            return Ok(Some(Proposal::child(parent, (vec![stay], parent.design.clone()))));
        }
        let count = rng.random_range(1..=settings.max_morphisms);
        let change = self.setting.space.step(&parent.design, count, rng)?;
        Ok(change.map(|change| match settings.inherit {
            true => Proposal::child(parent, change),
            false => Proposal::scratch(change),
        }))
    }

    fn screen(&self, candidates: &[Candidate<S>], rng: &mut ChaCha8Rng) -> Result<Vec<usize>> {
        let place =
            |candidate: &Candidate<S>| self.setting.place(&candidate.proposal.design, &candidate.costs);
        let places: Vec<Vec<f64>> = candidates.iter().map(place).collect();
        let (space, thrift) = (&self.setting.space, self.setting.config.lemonade.thrift);
        let cheap = |candidate: &Candidate<S>| space.price(&candidate.proposal.design).max(1.0).powf(-thrift);
        let chances = self.chances(&places)?.into_iter().zip(candidates);
        let chances: Vec<f64> = chances.map(|(chance, candidate)| chance * cheap(candidate)).collect();
        Ok(sample_without_replacement(&chances, self.setting.config.lemonade.accepted, rng))
    }

    fn tell(&mut self, members: &[Member<S>]) -> Result<()> {
        self.population.tell(&self.setting, members)?;
        let place = |member: &Member<S>| self.setting.place(&member.design, &member.objectives);
        self.places = self.population.members.iter().map(place).collect();
        self.parents = match self.places.is_empty() {
            true => Vec::new(),
            false => self.chances(&self.places)?,
        };
        Ok(())
    }
}
