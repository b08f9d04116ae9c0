//! SMS-EMOA (Beume, Naujoks, Emmerich, "SMS-EMOA: multiobjective selection based on dominated hypervolume", 2007).

use std::sync::Arc;

use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::evolution::offspring;
use super::{Member, Proposal, Setting, Space, Strategy, keeps_bounds};
use crate::Result;
use crate::pareto::{Points, contributions, rank};

/// The reference point, in units of the front's extent beyond its best values: so far that the ends of a front stay.
const REFERENCE: f64 = 11.0;

/// The population is what is left when, one after the other, the member of the worst front goes whose loss costs the least
/// hypervolume. Parents are drawn uniformly; children are made as NSGA-II's. Cheap objectives count by their logarithm.
pub(super) struct SmsEmoa<S: Space> {
    setting: Arc<Setting<S>>,
    population: Vec<Member<S>>,
}

impl<S: Space> SmsEmoa<S> {
    pub(super) fn new(setting: Arc<Setting<S>>) -> Self {
        Self { setting, population: Vec::new() }
    }

    fn row(&self, member: &Member<S>) -> Vec<f64> {
        let value = |name: &String| {
            let value = member.objectives.get(name).copied().unwrap_or(f64::NAN);
            if self.setting.cheap.contains(name) { value.max(f64::MIN_POSITIVE).ln() } else { value }
        };
        self.setting.config.objectives.iter().map(value).collect()
    }

    /// The member that goes.
    fn worst(&self) -> Result<usize> {
        let rows: Vec<Vec<f64>> = self.population.iter().map(|member| self.row(member)).collect();
        let ranks = rank(&Points::new(&rows)?);
        let last = ranks.iter().copied().max().unwrap_or(0);
        let front: Vec<usize> = (0..rows.len()).filter(|&place| ranks[place] == last).collect();
        let extent = |objective: usize| {
            let values = front.iter().map(|&place| rows[place][objective]);
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
        };
        let extents: Vec<(f64, f64)> = (0..self.setting.config.objectives.len()).map(extent).collect();
        let scaled = |&place: &usize| -> Vec<f64> {
            let scale = |(&value, &(low, high)): (&f64, &(f64, f64))| {
                if high > low { (value - low) / (high - low) } else { 0.0 }
            };
            rows[place].iter().zip(&extents).map(scale).collect()
        };
        let points = Points::new(&front.iter().map(scaled).collect::<Vec<_>>())?;
        let losses = contributions(&points, &vec![REFERENCE; extents.len()])?;
        // Of equals the latest goes.
        let least = (0..front.len()).rev().min_by(|&a, &b| losses[a].total_cmp(&losses[b]));
        Ok(least.map_or(0, |place| front[place]))
    }
}

impl<S: Space> Strategy<S> for SmsEmoa<S> {
    fn wanted(&self) -> usize {
        self.setting.config.lemonade.accepted
    }

    fn propose(&self, rng: &mut ChaCha8Rng) -> Result<Option<Proposal<S>>> {
        let full = self.population.len() == self.setting.config.evolution.population;
        let change = match (full, self.population.choose(rng), self.population.choose(rng)) {
            (true, Some(a), Some(b)) => offspring(&self.setting, (&a.design, &b.design), rng)?,
            _ => self.setting.space.random(rng)?,
        };
        Ok(change.map(Proposal::scratch))
    }

    fn tell(&mut self, members: &[Member<S>]) -> Result<()> {
        for member in members.iter().filter(|one| keeps_bounds(&one.objectives, &self.setting.config)) {
            self.population.push(member.clone());
            if self.population.len() > self.setting.config.evolution.population {
                let worst = self.worst()?;
                self.population.remove(worst);
            }
        }
        Ok(())
    }
}
