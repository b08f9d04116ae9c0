//! Planning a generation: from proposals to jobs.

use std::collections::{BTreeMap, BTreeSet};

use morphisms::{Architecture, Fingerprint};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::given::Given;
use super::{EndReason, Search, reported_front};
use crate::config::Config;
use crate::executor::{Job, Start};
use crate::fidelity::{Course, Schedule};
use crate::individual::{CONTINUE, Edit};
use crate::objective::{Costs, Count, Kind};
use crate::space::Networks;
use crate::strategy::{Asked, Candidate, Proposal, ask, most_attempts};
use crate::train::Plan;
use crate::{Error, Result, rng};

impl Search {
    /// The jobs of a new generation, or why there are none.
    pub(super) fn plan(&self, generation: usize) -> Result<std::result::Result<Vec<Job>, EndReason>> {
        if generation == 0 {
            let given = self.given.iter().enumerate().map(|(child, given)| self.given_job(child, given));
            let fresh = self.setting.space.initial.iter().enumerate().skip(self.given.len());
            let fresh = fresh.map(|(child, architecture)| self.scratch_job(0, child, architecture));
            return Ok(Ok(given.chain(fresh).collect()));
        }
        let mut rng = rng::stream(self.setting.config.seed, "propose", &[generation as u64]);
        let costs = self.costs();
        let mut attempts = 0;
        loop {
            let Asked { candidates, attempts: tried } = self.candidates(&costs, &mut rng)?;
            let found = candidates.len();
            let chosen = self.choose(&costs, candidates, &mut rng)?;
            if let Some(reason) = self.stopped() {
                // A choice among a part of the proposals is not the one of a search that nobody stopped.
                return Ok(Err(reason));
            }
            attempts += tried;
            if found < self.setting.config.lemonade.accepted.min(self.strategy.wanted()) {
                return Ok(Err(EndReason::Exhausted { attempts, found }));
            }
            if !chosen.is_empty() {
                let schedule = self.schedule()?;
                let job = |(child, candidate): (usize, &Candidate<Networks>)| {
                    let mut job = self.job(generation, child, candidate)?;
                    job.course = self.course(&schedule, &job, &candidate.costs);
                    Ok(job)
                };
                return Ok(Ok(chosen.iter().enumerate().map(job).collect::<Result<_>>()?));
            }
            if attempts >= most_attempts(&*self.strategy) {
                return Ok(Err(EndReason::Exhausted { attempts, found: 0 }));
            }
        }
    }

    pub(super) fn costs(&self) -> Costs<'_> {
        Costs::new(&self.setting.config, &self.store.database, &self.watch)
    }

    /// The candidates to be trained. Where predictions stood in for measurements, a chosen one is measured now, and if
    /// that refuses it another one is chosen in its place, as long as there are any.
    fn choose(
        &self,
        costs: &Costs<'_>,
        mut pool: Vec<Candidate<Networks>>,
        rng: &mut ChaCha8Rng,
    ) -> Result<Vec<Candidate<Networks>>> {
        let (wanted, limits) = (self.setting.config.lemonade.accepted, self.limits());
        let mut chosen = Vec::new();
        while chosen.len() < wanted && !pool.is_empty() {
            let mut places = self.strategy.screen(&pool, rng)?;
            places.truncate(wanted - chosen.len());
            for &place in &places {
                let Candidate { proposal, .. } = &pool[place];
                if let Ok(costs) = costs.of_chosen(&proposal.design, &limits)? {
                    chosen.push(Candidate { proposal: proposal.clone(), costs });
                }
            }
            if places.is_empty() {
                break;
            }
            let left = pool.into_iter().enumerate().filter(|(place, _)| !places.contains(place));
            pool = left.map(|(_, candidate)| candidate).collect();
        }
        Ok(chosen)
    }

    /// Proposals that are new and keep all bounds, as far as they are known; fewer if asked to stop.
    fn candidates(&self, costs: &Costs<'_>, rng: &mut ChaCha8Rng) -> Result<Asked<Networks>> {
        let (floors, limits) = (self.floors(), self.limits());
        let mut seen: BTreeSet<(Fingerprint, bool)> = BTreeSet::new();
        let admit = |proposal: &Proposal<Networks>| {
            let trains_on = proposal.edits.iter().any(|edit| edit.morphism == CONTINUE);
            let fingerprint = proposal.design.fingerprint();
            let known = !trains_on && self.is_known(fingerprint, &proposal.design);
            let below = |(count, smallest): &(Count, f64)| count(&proposal.design) < *smallest;
            if known || !seen.insert((fingerprint, trains_on)) || floors.iter().any(below) {
                return Ok(None);
            }
            Ok(costs.expected(&proposal.design, &limits)?.ok())
        };
        ask(&*self.strategy, admit, || self.stop.is_asked(), rng)
    }

    fn is_known(&self, fingerprint: Fingerprint, architecture: &Architecture) -> bool {
        let known = self.known.get(&fingerprint);
        known.is_some_and(|alike| alike.iter().any(|other| other.is_isomorphic(architecture)))
    }

    /// What counted objectives must reach for a network to be proposed: the lower end that the configuration states, or
    /// for a cheap objective the smallest value among the initial networks, unless these were brought along. Density draws a search to the ends of its
    /// front, and at the lower end are networks of a few dozen parameters that guess.
    fn floors(&self) -> Vec<(Count, f64)> {
        let mut floors = Vec::new();
        for objective in crate::objective::ALL {
            let Kind::Counted(count) = objective.kind else { continue };
            let stated = self.setting.config.min.get(objective.name).copied();
            let smallest = || self.setting.space.initial.iter().map(count).fold(f64::INFINITY, f64::min);
            let describes = match self.setting.cheap.as_slice() {
                [] => objective.name == "params",
                names => names.iter().any(|name| name == objective.name),
            };
            let own = || (self.given.is_empty() && describes).then(smallest);
            floors.extend(stated.or_else(own).map(|floor| (count, floor)));
        }
        floors
    }

    /// The bounds of the run and, for the cheap objectives without one, the reference point.
    pub(super) fn limits(&self) -> BTreeMap<String, f64> {
        let reference = self.setting.config.objectives.iter().cloned().zip(self.reference.iter().copied());
        let mut limits: BTreeMap<String, f64> = reference.collect();
        limits.extend(self.setting.config.max.clone());
        limits
    }

    /// What decides when the children of the next generation are given up.
    fn schedule(&self) -> Result<Schedule<'_>> {
        let config = &self.setting.config;
        if config.fidelity.schedule == "full" {
            return Ok(Schedule::new(&config.fidelity, Vec::new(), Vec::new()));
        }
        let trained = self.individuals.iter().filter(|one| one.generation > 0);
        let past = trained.filter_map(|one| one.past(&config.objectives)).collect();
        let front = reported_front(&self.individuals, config)?;
        let front = front.iter().filter_map(|member| member.values(&config.objectives)).collect();
        Ok(Schedule::new(&config.fidelity, past, front))
    }

    fn course(&self, schedule: &Schedule<'_>, job: &Job, costs: &BTreeMap<String, f64>) -> Course {
        let Config { seed, objectives, fidelity, .. } = &self.setting.config;
        // Training lowers the first one; the others are known.
        let costs = objectives[1..].iter().map(|name| costs.get(name).copied().unwrap_or_default()).collect();
        let place = [job.generation as u64, job.child as u64];
        let audited = rng::stream(*seed, "audit", &place).random_bool(fidelity.audit);
        schedule.course(job.generation, job.plan.epochs, costs, audited)
    }

    /// A network that was brought along is evaluated, not trained: it is what it is.
    fn given_job(&self, child: usize, given: &Given) -> Job {
        let start = Start::Given { weights: given.weights.clone() };
        let job = self.scratch_job(0, child, &given.architecture);
        Job { start, plan: Plan { epochs: 0, ..job.plan }, ..job }
    }

    fn scratch_job(&self, generation: usize, child: usize, architecture: &Architecture) -> Job {
        let Config { seed, recipe, .. } = &self.setting.config;
        let draw = rng::stream(*seed, "weights", &[generation as u64, child as u64]);
        let plan = Plan {
            seed: *seed,
            name: job_name(generation, child),
            epochs: recipe.initial_epochs,
            distill_epochs: 0,
            lr: recipe.initial_lr,
        };
        let start = Start::Scratch { seed: draw_seed(draw) };
        let course = Course::default();
        Job { generation, child, architecture: architecture.clone(), start, plan, course }
    }

    fn job(&self, generation: usize, child: usize, candidate: &Candidate<Networks>) -> Result<Job> {
        let proposal = &candidate.proposal;
        let Some(parent) = proposal.parent else {
            return Ok(self.scratch_job(generation, child, &proposal.design));
        };
        let Config { seed, recipe, .. } = &self.setting.config;
        let parent = &self.individuals[parent as usize];
        let weights = parent.weights.clone();
        let weights =
            weights.ok_or_else(|| Error::Usage(format!("individual {} has no weights", parent.id)))?;
        let exact = proposal.edits.iter().all(Edit::is_exact);
        let distill_epochs = match exact {
            true => 0,
            false => (recipe.epochs as f64 * recipe.distill_share).ceil() as usize,
        };
        let name = job_name(generation, child);
        let plan = Plan { seed: *seed, name, epochs: recipe.epochs, distill_epochs, lr: recipe.lr };
        let architecture = parent.architecture.clone();
        let start =
            Start::Inherit { parent: parent.id, architecture, weights, edits: proposal.edits.clone() };
        let (architecture, course) = (proposal.design.clone(), Course::default());
        Ok(Job { generation, child, architecture, start, plan, course })
    }
}

fn job_name(generation: usize, child: usize) -> String {
    format!("g{generation:04}-c{child:02}")
}

fn draw_seed(mut rng: ChaCha8Rng) -> u64 {
    rng.random::<u64>() >> 1
}
