//! Differential evolution (Awad, Mallik, Hutter, "Differential evolution for neural architecture search", 2020).

use std::sync::Arc;

use rand::RngExt;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

use super::evolution::ranked;
use super::{Member, Proposal, Setting, Space, Strategy, keeps_bounds};
use crate::pareto::dominates;
use crate::{Error, Result};

/// The scale of a difference, and the share of genes that are crossed over, both as in the paper.
const SCALE: f64 = 0.5;
const CROSSOVER: f64 = 0.5;

/// The population are vectors; a design is what a vector stands for. For a target, the difference of two members is added to a
/// third (rand/1), numbers that leave 0 to 1 are drawn anew, and some of the target's are kept (binomial crossover). A child
/// that dominates its target takes its place, one that is dominated is forgotten, and any other joins, until the population is
/// cut back as by NSGA-II (DEMO: Robič and Filipič, "DEMO: differential evolution for multiobjective optimization", 2005). With one
/// objective that is the paper's own selection. It needs designs that are vectors of numbers: tables have them, networks do not.
pub(super) struct DifferentialEvolution<S: Space> {
    setting: Arc<Setting<S>>,
    population: Vec<Member<S>>,
}

impl<S: Space> DifferentialEvolution<S> {
    pub(super) fn new(setting: Arc<Setting<S>>) -> Self {
        Self { setting, population: Vec::new() }
    }

    /// The genes of a member.
    fn genes<'a>(&self, member: &'a Member<S>) -> Result<&'a [f64]> {
        self.setting.space.genes(&member.design).ok_or_else(|| {
            let problem =
                "differential evolution needs designs that are vectors: tables have them, networks do not";
            Error::Usage(format!("strategy `de`: {problem}"))
        })
    }
}

impl<S: Space> Strategy<S> for DifferentialEvolution<S> {
    fn wanted(&self) -> usize {
        self.setting.config.lemonade.accepted
    }

    fn propose(&self, rng: &mut ChaCha8Rng) -> Result<Option<Proposal<S>>> {
        let members = &self.population;
        if members.len() < self.setting.config.evolution.population.max(4) {
            return Ok(self.setting.space.random(rng)?.map(Proposal::scratch));
        }
        // All different.
        let drawn = sample(rng, members.len(), 4);
        let target = &members[drawn.index(0)];
        let kept = self.genes(target)?;
        let [base, plus, minus] = [1, 2, 3].map(|place| self.genes(&members[drawn.index(place)]));
        let (base, plus, minus) = (base?, plus?, minus?);
        let certain = rng.random_range(0..kept.len());
        let genes = (0..kept.len()).map(|gene| {
            if gene != certain && rng.random::<f64>() >= CROSSOVER {
                return kept[gene];
            }
            let mutated = base[gene] + SCALE * (plus[gene] - minus[gene]);
            if (0.0..=1.0).contains(&mutated) { mutated } else { rng.random() }
        });
        let design = self.setting.space.at(genes.collect());
        Ok(design.map(|design| Proposal { parent: Some(target.id), edits: Vec::new(), design }))
    }

    fn tell(&mut self, members: &[Member<S>]) -> Result<()> {
        let objectives = &self.setting.config.objectives;
        for member in members.iter().filter(|one| keeps_bounds(&one.objectives, &self.setting.config)) {
            let target = self.population.iter().position(|one| Some(one.id) == member.parent);
            let values = |one: &Member<S>| one.values(objectives).unwrap_or_default();
            match target.map(|target| (target, values(&self.population[target]), values(member))) {
                Some((target, old, new)) if dominates(&new, &old) => self.population[target] = member.clone(),
                Some((_, old, new)) if dominates(&old, &new) => {}
                Some(_) | None => self.population.push(member.clone()),
            }
        }
        let size = self.setting.config.evolution.population.max(4);
        if self.population.len() > size {
            let mut places = ranked(&self.population.iter().collect::<Vec<_>>(), &self.setting)?;
            places.truncate(size);
            places.sort_unstable();
            self.population = places.into_iter().map(|place| self.population[place].clone()).collect();
        }
        Ok(())
    }
}
