//! The search: generation after generation, from proposals to committed individuals.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use morphisms::{Architecture, Fingerprint, Shape};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::config::{Budget, Config};
use crate::data::Dataset;
use crate::executor::{Executor, Job, JobResult, Local, Start, Workshop};
use crate::individual::{CONTINUE, Edit, Individual, front};
use crate::objective::{Costs, Kind};
use crate::progress::{Event, Observer};
use crate::stop::Stop;
use crate::store::{Database, JobRow, Store, TestRow};
use crate::strategy::{self, Candidate, Setting, Strategy, keeps_bounds};
use crate::train::{Plan, error_rate};
use crate::{Error, Result, machine, pareto, rng, space};

/// Attempts for each wanted proposal before a search gives up.
const ATTEMPTS: usize = 50;
/// How much larger than the largest initial network a network may be, in every cheap objective: the reference point
/// of the hypervolume, beyond which nothing counts.
const ROOM: f64 = 5.0;

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

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Budget(budget) => write!(f, "finished: the budget of {budget} is used up"),
            Self::Interrupted => write!(f, "interrupted"),
            Self::Exhausted { attempts, found } => {
                write!(f, "finished: {attempts} proposals held only {found} new networks within the bounds")
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
    setting: Arc<Setting>,
    strategy: Box<dyn Strategy>,
    individuals: Vec<Individual>,
    /// What was trained already, to know duplicates.
    known: BTreeMap<Fingerprint, Vec<Arc<Architecture>>>,
    reference: Vec<f64>,
    observer: Arc<dyn Observer>,
    stop: Arc<Stop>,
    before: Phases,
    phases: Phases,
    begun: Instant,
}

impl Search {
    /// Starts a search in a new run folder. Nothing is written before data, settings and bounds are known to be good.
    ///
    /// # Errors
    /// For settings and data that cannot be used, a bound that no initial network meets, or a folder that cannot be
    /// written.
    pub fn start(config: &Config, out: &Path, observer: Arc<dyn Observer>) -> Result<Self> {
        let begun = Instant::now();
        Store::vacant(out)?;
        let data = Arc::new(Dataset::load(&config.data, config.seed)?);
        let scratch = Database::in_memory()?;
        let setting = Setting::new(config, feasible_initial(config, &data, &scratch)?)?;
        let reference = reference_point(&setting, &data, &scratch)?;
        let facts = [
            ("data_digest", data.digest.clone()),
            ("data", describe_data(&data)),
            ("reference", encode(&reference)?),
            ("classes", encode(&data.classes)?),
            ("normalisation", encode(&data.normalisation)?),
            ("started", machine::now()),
            ("machine", encode(&machine::describe())?),
            ("state", "running".into()),
        ];
        let store = Store::create(out, config, &facts, &scratch)?;
        Self::new(store, data, observer, begun)
    }

    /// Goes on with a run.
    ///
    /// # Errors
    /// If the run folder cannot be used, or the data are not the ones it began with.
    pub fn resume(store: Store, observer: Arc<dyn Observer>) -> Result<Self> {
        let begun = Instant::now();
        let data = Arc::new(load_data(&store)?);
        store.database.set_meta("state", "running")?;
        Self::new(store, data, observer, begun)
    }

    fn new(store: Store, data: Arc<Dataset>, observer: Arc<dyn Observer>, begun: Instant) -> Result<Self> {
        let config = store.config.clone();
        let initial = feasible_initial(&config, &data, &store.database)?;
        let setting = Arc::new(Setting::new(&config, initial)?);
        let reference = decode(&store.database, "reference")?;
        let before: Phases = decode_or_default(&store.database, "phases")?;
        let seconds = match config.budget {
            Budget::Seconds(seconds) => Some(seconds - before.total - begun.elapsed().as_secs_f64()),
            Budget::Evaluations(_) | Budget::Generations(_) => None,
        };
        let strategy = strategy::new(setting.clone())?;
        let mut search = Self {
            individuals: Vec::new(),
            known: BTreeMap::new(),
            stop: Arc::new(Stop::after(seconds)),
            phases: before,
            store,
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
        });
        let workshop = Arc::new(Workshop {
            data: self.data.clone(),
            recipe: self.setting.config.recipe.clone(),
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
        self.store.database.set_meta("state", &reason.to_string())?;
        self.save_phases()?;
        Ok(reason)
    }

    /// One generation; the reason if it was the last.
    fn generation(&mut self, executor: &dyn Executor) -> Result<Option<EndReason>> {
        let generation = self.next_generation()?;
        if let Some(reason) = self.over(generation) {
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
        Ok(self.over(self.next_generation()?))
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
    fn over(&self, next: usize) -> Option<EndReason> {
        let budget = self.setting.config.budget;
        let used_up = match budget {
            Budget::Seconds(_) => false,
            Budget::Evaluations(evaluations) => self.individuals.len() >= evaluations,
            Budget::Generations(generations) => next > generations,
        };
        self.stopped().or(used_up.then_some(EndReason::Budget(budget)))
    }

    /// Why the search was asked to stop, if it was.
    fn stopped(&self) -> Option<EndReason> {
        match self.stop.is_interrupted() {
            true => Some(EndReason::Interrupted),
            false => self.stop.is_late().then_some(EndReason::Budget(self.setting.config.budget)),
        }
    }

    /// The jobs of a new generation, or why there are none.
    fn plan(&self, generation: usize) -> Result<std::result::Result<Vec<Job>, EndReason>> {
        if generation == 0 {
            let jobs = self.setting.initial.iter().enumerate();
            return Ok(Ok(jobs
                .map(|(child, architecture)| self.scratch_job(0, child, architecture))
                .collect()));
        }
        let mut rng = rng::stream(self.setting.config.seed, "propose", &[generation as u64]);
        let (candidates, attempts) = self.candidates(&mut rng)?;
        if let Some(reason) = self.stopped() {
            // A choice among a part of the proposals is not the one of a search that nobody stopped.
            return Ok(Err(reason));
        }
        if candidates.len() < self.setting.config.lemonade.accepted.min(self.strategy.proposals()) {
            return Ok(Err(EndReason::Exhausted { attempts, found: candidates.len() }));
        }
        let chosen = self.strategy.screen(&candidates, &mut rng)?;
        let job = |(child, &place): (usize, &usize)| self.job(generation, child, &candidates[place]);
        Ok(Ok(chosen.iter().enumerate().map(job).collect::<Result<_>>()?))
    }

    /// Proposals that are new and keep all bounds, with the number of attempts it took; fewer if asked to stop.
    fn candidates(&self, rng: &mut ChaCha8Rng) -> Result<(Vec<Candidate>, usize)> {
        let wanted = self.strategy.proposals();
        let costs = Costs::new(&self.setting.config, &self.store.database);
        let limits = self.limits();
        let mut candidates: Vec<Candidate> = Vec::new();
        let mut seen: BTreeSet<(Fingerprint, bool)> = BTreeSet::new();
        for attempt in 0..ATTEMPTS.saturating_mul(wanted) {
            if candidates.len() == wanted || self.stop.is_asked() {
                return Ok((candidates, attempt));
            }
            let Some(proposal) = self.strategy.propose(rng)? else { continue };
            let trains_on = proposal.edits.iter().any(|edit| edit.morphism == CONTINUE);
            let fingerprint = proposal.architecture.fingerprint();
            let known = !trains_on && self.is_known(fingerprint, &proposal.architecture);
            if known || !seen.insert((fingerprint, trains_on)) {
                continue;
            }
            if self.is_below_floor(&proposal.architecture)? {
                continue;
            }
            if let Ok(costs) = costs.within(&proposal.architecture, &limits)? {
                candidates.push(Candidate { proposal, costs });
            }
        }
        Ok((candidates, ATTEMPTS.saturating_mul(wanted)))
    }

    fn is_known(&self, fingerprint: Fingerprint, architecture: &Architecture) -> bool {
        let known = self.known.get(&fingerprint);
        known.is_some_and(|alike| alike.iter().any(|other| other.is_isomorphic(architecture)))
    }

    /// Whether a network is smaller than every initial one in an objective that is counted. Density draws a search to
    /// the ends of its front, and at the lower end are networks of a few dozen parameters that guess.
    fn is_below_floor(&self, architecture: &Architecture) -> Result<bool> {
        for name in &self.setting.cheap {
            if let Kind::Counted(count) = crate::objective::named(name)?.kind {
                let smallest = self.setting.initial.iter().map(count).fold(f64::INFINITY, f64::min);
                if count(architecture) < smallest {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The bounds of the run and, for the cheap objectives without one, the reference point.
    fn limits(&self) -> BTreeMap<String, f64> {
        let reference = self.setting.config.objectives.iter().cloned().zip(self.reference.iter().copied());
        let mut limits: BTreeMap<String, f64> = reference.collect();
        limits.extend(self.setting.config.max.clone());
        limits
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
        Job { generation, child, architecture: architecture.clone(), start, plan }
    }

    fn job(&self, generation: usize, child: usize, candidate: &Candidate) -> Result<Job> {
        let proposal = &candidate.proposal;
        let Some(parent) = proposal.parent else {
            return Ok(self.scratch_job(generation, child, &proposal.architecture));
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
        let architecture = Box::new((*parent.architecture).clone());
        let start =
            Start::Inherit { parent: parent.id, architecture, weights, edits: proposal.edits.clone() };
        Ok(Job { generation, child, architecture: proposal.architecture.clone(), start, plan })
    }

    /// Trains what has no result yet, as far as the budget goes.
    fn train(&mut self, executor: &dyn Executor, generation: usize, rows: &mut [JobRow]) -> Result<()> {
        let open = self.open_children(generation, rows);
        self.observer.observe(&Event::GenerationStarted { generation, children: open.len() });
        let training = Instant::now();
        let jobs: Vec<Job> = open.iter().map(|&child| rows[child].job.clone()).collect();
        executor.run(&jobs, &mut |place, result| {
            let (child, job) = (open[place], &jobs[place]);
            self.store.database.add_result(generation, child, &result)?;
            self.store.blobs.remove_checkpoint(&job.plan.name)?;
            let error = match &result {
                JobResult::Trained { error, .. } => Some(*error),
                JobResult::Diverged { .. } => None,
            };
            let params = job.architecture.parameter_count();
            self.observer.observe(&Event::ChildTrained { id: None, generation, child, error, params });
            rows[child].result = Some(result);
            let total = self.before.total + self.begun.elapsed().as_secs_f64();
            self.store.database.set_meta("phases", &encode(&Phases { total, ..self.phases })?)
        })?;
        self.phases.training += training.elapsed().as_secs_f64();
        Ok(())
    }

    /// The children without a result that the budget of evaluations still allows.
    fn open_children(&self, generation: usize, rows: &[JobRow]) -> Vec<usize> {
        let allowed = rows.len().min(self.allowed(generation));
        (0..allowed).filter(|&child| rows[child].result.is_none()).collect()
    }

    /// How many children of a generation, from its first, the budget of evaluations allows.
    fn allowed(&self, generation: usize) -> usize {
        match self.setting.config.budget {
            Budget::Evaluations(evaluations) => {
                evaluations.saturating_sub(self.individuals.len()) + self.committed(generation)
            }
            Budget::Seconds(_) | Budget::Generations(_) => usize::MAX,
        }
    }

    /// Commits the children in order, up to the first without a result. Under an earlier budget some may have been
    /// trained that this one does not allow.
    fn commit(&mut self, generation: usize, rows: &[JobRow]) -> Result<()> {
        let begun = self.committed(generation);
        let mut new = Vec::new();
        for JobRow { job, result } in &rows[begun..rows.len().min(self.allowed(generation))] {
            let Some(result) = result else { break };
            new.push(self.individual((self.individuals.len() + new.len()) as u64, job, result)?);
        }
        self.store.database.commit(&new)?;
        let is_whole = begun + new.len() == rows.len();
        new.into_iter().for_each(|individual| self.remember(individual));
        if is_whole {
            self.tell(generation)?;
            self.drop_weights()?;
        }
        if self.committed(generation) > begun {
            let done = self.generation_done(generation)?;
            self.store.database.add_event(self.elapsed(), &done)?;
            self.observer.observe(&done);
        }
        Ok(())
    }

    fn individual(&self, id: u64, job: &Job, result: &JobResult) -> Result<Individual> {
        let costs = Costs::new(&self.setting.config, &self.store.database);
        let mut objectives = costs.within(&job.architecture, &BTreeMap::new())?.unwrap_or_default();
        let (weights, first_error, seconds, epochs) = match result {
            JobResult::Trained { weights, error, first_error, seconds } => {
                objectives.insert("error".into(), *error);
                (Some(weights.clone()), *first_error, *seconds, job.plan.epochs)
            }
            JobResult::Diverged { epoch, first_error, seconds } => (None, *first_error, *seconds, *epoch),
        };
        let (parent, edits) = match &job.start {
            Start::Scratch { .. } => (None, Vec::new()),
            Start::Inherit { parent, edits, .. } => (Some(*parent), edits.clone()),
        };
        Ok(Individual {
            id,
            generation: job.generation,
            child: job.child,
            parent,
            edits,
            fingerprint: job.architecture.fingerprint(),
            architecture: Arc::new(job.architecture.clone()),
            objectives,
            weights,
            first_error,
            epochs,
            seconds,
            committed_at: self.elapsed(),
        })
    }

    fn remember(&mut self, individual: Individual) {
        self.known.entry(individual.fingerprint).or_default().push(individual.architecture.clone());
        self.individuals.push(individual);
    }

    fn tell(&mut self, generation: usize) -> Result<()> {
        let whole: Vec<Individual> = self
            .individuals
            .iter()
            .filter(|individual| individual.generation == generation)
            .cloned()
            .collect();
        self.strategy.tell(&whole)
    }

    fn tell_whole_generations(&mut self) -> Result<()> {
        (0..self.next_generation()?).try_for_each(|generation| self.tell(generation))
    }

    /// Removes the weights that nobody can become a parent with or be shown in the report, if the settings say so.
    fn drop_weights(&self) -> Result<()> {
        if self.setting.config.keep_weights == "all" {
            return Ok(());
        }
        // While no network keeps the bounds, the population is the front of those that do not.
        let all = front(&self.individuals, &self.setting.config.objectives)?;
        let reported = reported_front(&self.individuals, &self.setting.config)?;
        let hashes = all.iter().chain(&reported).filter_map(|individual| individual.weights.clone());
        let finished = self.store.database.finished()?.into_iter().map(|row| row.weights);
        self.store.blobs.retain(&hashes.chain(finished).collect())
    }

    fn generation_done(&self, generation: usize) -> Result<Event> {
        let members = reported_front(&self.individuals, &self.setting.config)?;
        let errors = members.iter().filter_map(|member| member.objectives.get("error").copied());
        Ok(Event::GenerationDone {
            generation,
            trained: self.individuals.len(),
            front_size: members.len(),
            best_error: errors.fold(1.0, f64::min),
            hypervolume: hypervolume(&members, &self.setting.config, &self.reference)?,
            elapsed_s: self.elapsed(),
        })
    }

    /// The members of the front that were never tested are tested, once.
    fn test_front(&mut self) -> Result<()> {
        let testing = Instant::now();
        let tested = test_errors(&self.store.database)?;
        let mut rows = Vec::new();
        for member in reported_front(&self.individuals, &self.setting.config)? {
            let Some(weights) = member.weights.clone() else { continue };
            if !tested.contains_key(&weights) {
                let network = load_network(&self.store, member)?;
                let error = error_rate(&network, &self.data, self.data.test())?;
                let why = "the end of the search".to_string();
                rows.push(TestRow { individual: member.id, weights, time: machine::now(), error, why });
            }
        }
        self.store.database.add_tests(&rows)?;
        self.phases.testing += testing.elapsed().as_secs_f64();
        Ok(())
    }

    /// Seconds of the run so far, earlier parts included.
    fn elapsed(&self) -> f64 {
        self.before.total + self.begun.elapsed().as_secs_f64()
    }

    fn save_phases(&mut self) -> Result<()> {
        self.phases.total = self.elapsed();
        self.store.database.set_meta("phases", &encode(&self.phases)?)
    }
}

/// The test error of every network that was tested, by the content hash of its weights: the first use of the test set
/// is the honest one, later ones may have been looked at in between.
///
/// # Errors
/// If the database cannot be read.
pub fn test_errors(database: &Database) -> Result<BTreeMap<String, f64>> {
    Ok(database.tests()?.into_iter().rev().map(|row| (row.weights, row.error)).collect())
}

/// The workers that a setting of 0 stands for: as many as there are cores.
pub fn worker_count(setting: usize) -> usize {
    match setting {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        workers => workers,
    }
}

/// The members of the front that keep every bound.
///
/// # Errors
/// If an objective value is not a finite number.
pub fn reported_front<'a>(individuals: &'a [Individual], config: &Config) -> Result<Vec<&'a Individual>> {
    let feasible: Vec<Individual> = individuals.iter().filter(|i| keeps_bounds(i, config)).cloned().collect();
    let ids: BTreeSet<u64> = front(&feasible, &config.objectives)?.iter().map(|member| member.id).collect();
    Ok(individuals.iter().filter(|individual| ids.contains(&individual.id)).collect())
}

/// The hypervolume between the reference point and these individuals: the error as it is, every cheap objective by
/// its logarithm to the base 10.
///
/// # Errors
/// If an objective value is not a finite number.
pub fn hypervolume(members: &[&Individual], config: &Config, reference: &[f64]) -> Result<f64> {
    let scale = |values: &[f64]| -> Vec<f64> {
        let of =
            |(name, value): (&String, &f64)| if name == "error" { *value } else { value.max(1e-9).log10() };
        config.objectives.iter().zip(values).map(of).collect()
    };
    let points: Vec<Vec<f64>> = members
        .iter()
        .filter_map(|member| member.values(&config.objectives))
        .map(|values| scale(&values))
        .collect();
    pareto::hypervolume(&points, &scale(reference))
}

/// The network of an individual.
///
/// # Errors
/// If its weights were not kept, or their file is damaged.
pub fn load_network(store: &Store, individual: &Individual) -> Result<morphisms::Network> {
    let missing = |why: &str| Error::Run {
        path: store.path.clone(),
        problem: format!("the weights of individual {} are not there: {why}", individual.id),
    };
    let hash = individual.weights.as_ref().ok_or_else(|| missing("its training diverged"))?;
    if !store.blobs.path(hash).exists() {
        return Err(missing(
            "it is not on the front (keep_weights = \"all\" keeps those of every individual)",
        ));
    }
    let weights = store.blobs.get(hash, &candle_core::Device::Cpu)?;
    Ok(morphisms::Network::new(individual.architecture.clone(), weights)?)
}

/// The data set that a run began with.
///
/// # Errors
/// If it cannot be read, or is not the same any more.
pub fn load_data(store: &Store) -> Result<Dataset> {
    let data = Dataset::load(&store.config.data, store.config.seed)?;
    let expected = store.database.meta("data_digest")?.unwrap_or_default();
    if data.digest != expected {
        let problem = format!(
            "the data set {} is not the one the run began with (expected digest {expected}, found {})",
            data.name, data.digest
        );
        return Err(Error::Run { path: store.path.clone(), problem });
    }
    Ok(data)
}

/// The initial networks that keep all cheap bounds.
fn feasible_initial(config: &Config, data: &Dataset, database: &Database) -> Result<Vec<Architecture>> {
    let shape = Shape::map(data.shape.channels, data.shape.height, data.shape.width);
    let all = space::initial(shape, data.classes.len())?;
    let costs = Costs::new(config, database);
    for (name, &bound) in &config.max {
        if !crate::objective::named(name)?.is_cheap() {
            continue;
        }
        let only = BTreeMap::from([(name.clone(), bound)]);
        let mut smallest = f64::INFINITY;
        for architecture in &all {
            smallest = smallest.min(match costs.within(architecture, &only)? {
                Ok(costs) => costs[name],
                Err((_, value)) => value,
            });
        }
        if smallest > bound {
            return Err(Error::Bound { name: name.clone(), bound, smallest });
        }
    }
    let mut feasible = Vec::new();
    for architecture in &all {
        if costs.within(architecture, &config.max)?.is_ok() {
            feasible.push(architecture.clone());
        }
    }
    if feasible.is_empty() {
        let bounds: Vec<String> = config.max.iter().map(|(name, bound)| format!("{name}={bound}")).collect();
        let problem = format!("no initial network meets all of the bounds {} together", bounds.join(", "));
        return Err(Error::Usage(problem));
    }
    Ok(feasible)
}

/// The error of guessing, and for every cheap objective its bound or five times the largest initial value.
fn reference_point(setting: &Setting, data: &Dataset, database: &Database) -> Result<Vec<f64>> {
    let costs = Costs::new(&setting.config, database);
    let mut largest: BTreeMap<String, f64> = BTreeMap::new();
    for architecture in &setting.initial {
        for (name, value) in costs.within(architecture, &BTreeMap::new())?.unwrap_or_default() {
            let entry = largest.entry(name).or_insert(value);
            *entry = entry.max(value);
        }
    }
    let of = |name: &String| match (setting.config.max.get(name), largest.get(name)) {
        (Some(&bound), _) => bound,
        (None, Some(largest)) => ROOM * largest,
        (None, None) => 1.0 - 1.0 / data.classes.len() as f64,
    };
    Ok(setting.config.objectives.iter().map(of).collect())
}

fn describe_data(data: &Dataset) -> String {
    format!(
        "{}, {}, {} classes: {} training, {} validation, {} test images",
        data.name,
        data.shape,
        data.classes.len(),
        data.train.len(),
        data.validation.len(),
        data.test().len()
    )
}

fn job_name(generation: usize, child: usize) -> String {
    format!("g{generation:04}-c{child:02}")
}

fn draw_seed(mut rng: ChaCha8Rng) -> u64 {
    rand::RngExt::random::<u64>(&mut rng) >> 1
}

pub(crate) fn encode(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|source| Error::Json { what: "a value for the database".into(), source })
}

pub(crate) fn decode<T: serde::de::DeserializeOwned>(database: &Database, key: &str) -> Result<T> {
    let text = database.meta(key)?.unwrap_or_default();
    serde_json::from_str(&text).map_err(|source| Error::Json { what: format!("`{key}` of the run"), source })
}

fn decode_or_default<T: serde::de::DeserializeOwned + Default>(database: &Database, key: &str) -> Result<T> {
    match database.meta(key)? {
        Some(_) => decode(database, key),
        None => Ok(T::default()),
    }
}
