//! The search: generation after generation, from proposals to committed individuals.

mod commit;
mod given;
mod measure;
mod propose;
mod read;
mod setup;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use morphisms::{Architecture, Fingerprint};
use serde::{Deserialize, Serialize};

use crate::compute::Images;
use crate::config::{Budget, Config};
use crate::data::Dataset;
use crate::executor::{Executor, Local, Workshop};
use crate::individual::Individual;
use crate::objective::{self, Watch, latency};
use crate::progress::{Event, Observer};
use crate::space::Networks;
use crate::stop::Stop;
use crate::store::{Database, JobRow, Store, encode};
use crate::strategy::{self, Setting, Strategy};
use crate::{Result, machine};

pub use given::Given;
pub use read::{hypervolume, load_data, load_network, reported_front, test_errors};
pub use setup::validate;
use setup::{describe_data, feasible_initial, reference_point};

/// Why a search ended.
#[derive(Debug, Clone, PartialEq)]
pub enum EndReason {
    /// The budget is used up.
    Budget(Budget),
    /// Somebody pressed Ctrl-C.
    Interrupted,
    /// The strategy found too few networks that are new and keep the bounds.
    Exhausted {
        /// Proposals looked at.
        attempts: usize,
        /// New networks among them.
        found: usize,
    },
}

impl EndReason {
    /// How the run stands, for its report.
    pub fn state(&self) -> String {
        match self {
            Self::Interrupted => "interrupted".into(),
            Self::Budget(_) | Self::Exhausted { .. } => format!("finished: {self}"),
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Budget(budget) => write!(f, "the budget of {budget} is used up"),
            Self::Interrupted => write!(f, "it was interrupted"),
            Self::Exhausted { attempts, found } => {
                write!(f, "{attempts} proposals held only {found} new networks within the bounds")
            }
        }
    }
}

/// Where the wall-clock time of a run went, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Phases {
    /// Proposing children: rewriting, counting, measuring latency.
    pub proposing: f64,
    /// Training and validation.
    pub training: f64,
    /// Testing the front, at the end.
    pub testing: f64,
    /// All of the above, loading the data, and the rest.
    pub total: f64,
}

/// A search in a run folder.
pub struct Search {
    store: Store,
    data: Arc<Dataset>,
    images: Images,
    setting: Arc<Setting<Networks>>,
    strategy: Box<dyn Strategy<Networks>>,
    individuals: Vec<Individual>,
    /// What was trained already, to know duplicates.
    known: BTreeMap<Fingerprint, Vec<Architecture>>,
    /// Networks that were brought along to start from.
    given: Vec<Given>,
    reference: Vec<f64>,
    observer: Arc<dyn Observer>,
    stop: Arc<Stop>,
    watch: Watch,
    before: Phases,
    phases: Phases,
    begun: Instant,
}

impl Search {
    /// Starts a search in a new run folder. Nothing is written before data, settings and bounds are known to be good.
    ///
    /// # Errors
    /// For settings and data that cannot be used, a bound that no initial network meets, latencies that cannot be
    /// measured, or a folder that cannot be written.
    pub fn start(config: &Config, out: &Path, observer: Arc<dyn Observer>) -> Result<Self> {
        let begun = Instant::now();
        Store::vacant(out)?;
        let (mut config, mut data) = (config.clone(), Dataset::load(&config.data, config.seed)?);
        latency::probe(&config)?;
        let mut models = given::load(&config, &data)?;
        given::rescale(&mut models, &mut config.data, &mut data, &*observer)?;
        let (given, data) = (given::describe(&models)?, Arc::new(data));
        let scratch = Database::in_memory()?;
        let watch = Watch::new(Arc::default(), observer.clone());
        let initial = feasible_initial(&config, &data, architectures(&given), &scratch, &watch)?;
        let setting = setting(&config, initial)?;
        let reference = reference_point(&setting, &data, &scratch, &watch)?;
        let facts = [
            ("data_digest", data.digest.clone()),
            ("data", describe_data(&data)),
            ("reference", encode(&reference)?),
            ("classes", encode(&data.classes)?),
            ("normalisation", encode(&data.normalisation)?),
            ("given", encode(&given)?),
            ("started", machine::now()),
            ("machine", encode(&machine::describe())?),
            ("state", "running".into()),
        ];
        let store = Store::create(out, &config, &facts, &scratch)?;
        for (_, model) in models {
            store.blobs.put(model.network.weights())?;
        }
        Self::new(store, data, observer, begun)
    }

    /// Goes on with a run.
    ///
    /// # Errors
    /// If the run folder cannot be used, or the data are not the ones it began with.
    pub fn resume(store: Store, observer: Arc<dyn Observer>) -> Result<Self> {
        let begun = Instant::now();
        let data = Arc::new(load_data(&store)?);
        latency::probe(&store.config)?;
        store.database.set_meta("state", "running")?;
        let search = Self::new(store, data, observer, begun)?;
        let started = search.store.database.jobs(search.next_generation()?)?;
        if started.iter().all(|row| row.result.is_none()) {
            // A process killed at the end of a generation may not have come to it.
            search.drop_weights()?;
        }
        Ok(search)
    }

    fn new(store: Store, data: Arc<Dataset>, observer: Arc<dyn Observer>, begun: Instant) -> Result<Self> {
        let config = store.config.clone();
        let before: Phases = store.database.fact_or_default("phases")?;
        let seconds = match config.budget {
            Budget::Seconds(seconds) => Some(seconds - before.total - begun.elapsed().as_secs_f64()),
            Budget::Evaluations(_) | Budget::Generations(_) | Budget::Compute(_) => None,
        };
        let stop = Arc::new(Stop::after(seconds));
        let watch = Watch::new(stop.clone(), observer.clone());
        let given: Vec<Given> = store.database.fact_or_default("given")?;
        let initial = feasible_initial(&config, &data, architectures(&given), &store.database, &watch)?;
        let setting = Arc::new(setting(&config, initial)?);
        let reference = store.database.fact("reference")?;
        let strategy = strategy::new(setting.clone())?;
        let mut search = Self {
            individuals: Vec::new(),
            known: BTreeMap::new(),
            given,
            stop,
            watch,
            phases: before,
            store,
            images: Images::of(&data, &config.recipe),
            data,
            setting,
            strategy,
            reference,
            observer,
            before,
            begun,
        };
        for individual in search.store.database.individuals()? {
            search.remember(individual);
        }
        search.tell_whole_generations()?;
        Ok(search)
    }

    /// Whoever holds this can stop the search.
    pub fn stop(&self) -> Arc<Stop> {
        self.stop.clone()
    }

    /// The run folder.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Searches until the budget is used up or somebody asks to stop, then tests the front.
    ///
    /// # Errors
    /// If the run folder cannot be written or a training fails for a reason other than divergence.
    pub fn run(&mut self) -> Result<EndReason> {
        let workers = worker_count(self.setting.config.workers);
        self.observer.observe(&Event::SearchStarted {
            strategy: self.setting.config.strategy.clone(),
            data: self.data.name.clone(),
            workers,
            budget: self.setting.config.budget,
            generation: self.individuals.last().map_or(0, |last| last.generation),
            trained: self.individuals.len(),
            elapsed_s: self.elapsed(),
            compute: self.compute(),
            resumed: self.before.total > 0.0,
        });
        let workshop = Arc::new(Workshop {
            data: self.data.clone(),
            recipe: self.setting.config.recipe.clone(),
            device: crate::device::open(&self.setting.config)?,
            blobs: self.store.blobs.clone(),
            stop: self.stop.clone(),
            observer: self.observer.clone(),
        });
        let executor = Local::new(workshop, workers)?;
        let reason = loop {
            match self.generation(&executor)? {
                Some(reason) => break reason,
                None => self.save_phases()?,
            }
        };
        self.observer.observe(&Event::SearchDone { reason: reason.to_string() });
        self.test_front()?;
        if reason != EndReason::Interrupted && self.phases.training > self.before.training {
            self.measure_again()?;
        }
        self.store.database.set_meta("state", &reason.state())?;
        self.save_phases()?;
        Ok(reason)
    }

    /// One generation; the reason if it was the last.
    fn generation(&mut self, executor: &dyn Executor) -> Result<Option<EndReason>> {
        let generation = self.next_generation()?;
        if let Some(reason) = self.over(generation)? {
            return Ok(Some(reason));
        }
        let proposing = Instant::now();
        let mut rows = self.store.database.jobs(generation)?;
        if rows.is_empty() {
            match self.plan(generation)? {
                Ok(jobs) => {
                    self.store.database.plan(generation, &jobs)?;
                    rows = jobs.into_iter().map(|job| JobRow { job, result: None }).collect();
                }
                Err(reason) => return Ok(Some(reason)),
            }
        }
        self.phases.proposing += proposing.elapsed().as_secs_f64();
        self.train(executor, generation, &mut rows)?;
        self.commit(generation, &rows)?;
        self.over(self.next_generation()?)
    }

    /// The first generation that is not complete.
    fn next_generation(&self) -> Result<usize> {
        let Some(last) = self.individuals.last() else { return Ok(0) };
        let complete = self.store.database.jobs(last.generation)?.len() == self.committed(last.generation);
        Ok(last.generation + usize::from(complete))
    }

    fn committed(&self, generation: usize) -> usize {
        self.individuals.iter().filter(|individual| individual.generation == generation).count()
    }

    /// Why the search is over, if it is; `next` is the first generation that is not complete.
    fn over(&self, next: usize) -> Result<Option<EndReason>> {
        let budget = self.setting.config.budget;
        let used_up = match budget {
            Budget::Seconds(_) => false,
            Budget::Evaluations(evaluations) => self.individuals.len() >= evaluations,
            Budget::Generations(generations) => next > generations,
            Budget::Compute(_) => {
                let rows = self.store.database.jobs(next)?;
                let allowed = self.allowed(next, &rows);
                allowed < rows.len() && self.committed(next) == allowed
            }
        };
        Ok(self.stopped().or(used_up.then_some(EndReason::Budget(budget))))
    }

    /// Why the search was asked to stop, if it was.
    fn stopped(&self) -> Option<EndReason> {
        match self.stop.is_interrupted() {
            true => Some(EndReason::Interrupted),
            false => self.stop.is_late().then_some(EndReason::Budget(self.setting.config.budget)),
        }
    }

    /// Seconds of the run so far, earlier parts included.
    fn elapsed(&self) -> f64 {
        self.before.total + self.begun.elapsed().as_secs_f64()
    }

    /// Multiply-adds of training so far.
    fn compute(&self) -> f64 {
        self.individuals.iter().map(|individual| individual.compute).sum()
    }

    fn save_phases(&mut self) -> Result<()> {
        self.phases.total = self.elapsed();
        self.store.database.set_fact("phases", &self.phases)
    }
}

/// What a strategy knows of a run.
fn setting(config: &Config, initial: Vec<Architecture>) -> Result<Setting<Networks>> {
    let cheap = objective::ALL.iter().filter(|one| one.is_cheap()).map(|one| one.name.to_string());
    let cheap = cheap.filter(|name| config.objectives.contains(name)).collect();
    Ok(Setting { config: config.clone(), space: Networks::new(config, initial)?, cheap })
}

fn architectures(given: &[Given]) -> Vec<Architecture> {
    given.iter().map(|given| given.architecture.clone()).collect()
}

/// The workers that a setting of 0 stands for: as many as there are cores.
pub fn worker_count(setting: usize) -> usize {
    match setting {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        workers => workers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::QuietObserver;

    /// What is planned from a part of the proposals must not be stored: a resumed run would train it.
    #[test]
    fn a_search_asked_to_stop_while_proposing_plans_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.data.limit = 100;
        let search = Search::start(&config, &folder.path().join("run"), Arc::new(QuietObserver)).unwrap();
        assert_eq!(search.plan(0).unwrap().unwrap().len(), search.setting.space.initial.len());
        search.stop.interrupt();
        assert_eq!(search.plan(1).unwrap().unwrap_err(), EndReason::Interrupted);
        assert!(search.store.database.jobs(1).unwrap().is_empty());
    }

    #[test]
    fn a_run_that_is_open_elsewhere_loses_none_of_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let mut config = Config::default();
        config.data.limit = 100;
        let search = Search::start(&config, &run, Arc::new(QuietObserver)).unwrap();
        let unfinished = run.join("checkpoints/.tmpabc");
        std::fs::write(&unfinished, "").unwrap();
        Store::read(&run).unwrap();
        assert!(Store::open(&run).is_err() && unfinished.exists(), "somebody is at it");
        drop(search);
        Store::open(&run).unwrap();
        assert!(!unfinished.exists() && run.join("run.sqlite").exists());
    }
}
