//! Carrying out a generation: from jobs to committed individuals.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{Phases, Search, hypervolume, load_network, reported_front, test_errors};
use crate::config::Budget;
use crate::executor::{Executor, Job, JobResult, Start};
use crate::fidelity::{self, Progress};
use crate::individual::{Individual, front};
use crate::progress::Event;
use crate::store::{JobRow, TestRow};
use crate::strategy::Member;
use crate::train::error_rate;
use crate::{Result, machine};

impl Search {
    /// Trains what has no result yet, as far as the budget goes; children that compete, rung by rung.
    pub(super) fn train(
        &mut self,
        executor: &dyn Executor,
        generation: usize,
        rows: &mut [JobRow],
    ) -> Result<()> {
        let allowed = self.allowed(generation, rows);
        let rows = &mut rows[..allowed];
        // What is committed is not trained any further, though it may have been given up for want of time.
        let first = self.committed(generation).min(allowed);
        for row in rows.iter().filter(|row| row.result.is_some() && !row.competes()) {
            // Left by a process that was killed after it had stored the result.
            self.store.blobs.remove_checkpoint(&row.job.plan.name)?;
        }
        let mut open = open_children(rows, first)?;
        self.observer.observe(&Event::GenerationStarted { generation, children: open.len() });
        let training = Instant::now();
        let planned = rows.iter().map(|row| row.job.architecture.clone()).collect();
        self.measuring(planned, || {
            while !open.is_empty() && !self.stop.is_asked() {
                self.train_to(executor, rows, &open)?;
                if self.stop.is_asked() {
                    // Who rests may have to go on.
                    break;
                }
                let left = open_children(rows, first)?;
                let goes_on = |child: usize| left.iter().any(|&(other, _)| other == child);
                for row in open.iter().filter(|one| !goes_on(one.0)).map(|one| &rows[one.0]) {
                    if row.competes() {
                        self.settle(row)?;
                    }
                }
                open = left;
            }
            Ok(())
        })?;
        self.phases.training += training.elapsed().as_secs_f64();
        Ok(())
    }

    /// Trains these children to these epochs, if they compete, and else as far as they go.
    fn train_to(
        &self,
        executor: &dyn Executor,
        rows: &mut [JobRow],
        open: &[(usize, Option<usize>)],
    ) -> Result<()> {
        let job = |&(child, until): &(usize, Option<usize>)| {
            let mut job = rows[child].job.clone();
            job.course.until = until.or(job.course.until);
            job
        };
        let jobs: Vec<Job> = open.iter().map(job).collect();
        executor.run(&jobs, &mut |place, mut result| {
            let row = &mut rows[open[place].0];
            result.add_seconds(row.result.as_ref().map_or(0.0, JobResult::seconds));
            self.store.database.add_result(row.job.generation, row.job.child, &result)?;
            row.result = Some(result);
            let total = self.before.total + self.begun.elapsed().as_secs_f64();
            self.store.database.set_fact("phases", &Phases { total, ..self.phases })?;
            if row.competes() { Ok(()) } else { self.settle(row) }
        })
    }

    /// Of a child that is trained no further: there is nothing to go on with, and those who watch are told.
    fn settle(&self, row: &JobRow) -> Result<()> {
        let Job { generation, child, plan, architecture, .. } = &row.job;
        self.store.blobs.remove_checkpoint(&plan.name)?;
        let error = match &row.result {
            Some(JobResult::Trained { error, .. }) => Some(*error),
            Some(JobResult::Diverged { .. } | JobResult::OutOfMemory { .. }) | None => None,
        };
        let (generation, child, params) = (*generation, *child, architecture.parameter_count());
        self.observer.observe(&Event::ChildTrained { id: None, generation, child, error, params });
        Ok(())
    }
    /// How many children of a generation, from its first, a budget of evaluations or of compute allows.
    pub(super) fn allowed(&self, generation: usize, rows: &[JobRow]) -> usize {
        let earlier = self.individuals.iter().filter(|individual| individual.generation < generation);
        match self.setting.config.budget {
            Budget::Evaluations(evaluations) => rows.len().min(evaluations.saturating_sub(earlier.count())),
            Budget::Compute(macs) => {
                // Of those that were given up something is left, which may do for the next ones.
                let begun = self.committed(generation).min(rows.len());
                let jobs: Vec<&Job> = rows[begun..].iter().map(|row| &row.job).collect();
                let left = macs as f64 - self.compute();
                begun + (1..=jobs.len()).take_while(|&count| self.images.most(&jobs[..count]) <= left).count()
            }
            Budget::Seconds(_) | Budget::Generations(_) => rows.len(),
        }
    }

    /// Commits the children in order, up to the first without a result or a measurement. Under an earlier budget some may have been
    /// trained that this one does not allow.
    pub(super) fn commit(&mut self, generation: usize, rows: &[JobRow]) -> Result<()> {
        let begun = self.committed(generation);
        let mut new = Vec::new();
        let allowed = &rows[..self.allowed(generation, rows).max(begun)];
        // When time is up, what competed is taken as it is.
        let undecided = !self.stop.is_late() && !open_children(allowed, begun)?.is_empty();
        for row in &allowed[begun..] {
            let JobRow { job, result: Some(result) } = row else { break };
            if undecided && row.competes() {
                break;
            }
            let Some(costs) = self.costs().known(&job.architecture)? else { break };
            new.push(self.individual((self.individuals.len() + new.len()) as u64, job, result, costs));
        }
        self.store.database.commit(&new)?;
        let is_whole = begun + new.len() == rows.len();
        new.into_iter().for_each(|individual| self.remember(individual));
        if is_whole {
            for row in rows {
                self.store.blobs.remove_checkpoint(&row.job.plan.name)?;
            }
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

    fn individual(
        &self,
        id: u64,
        job: &Job,
        result: &JobResult,
        mut objectives: BTreeMap<String, f64>,
    ) -> Individual {
        let (weights, first_error, seconds, epochs, readings) = match result {
            JobResult::Trained { weights, error, first_error, seconds, epochs, readings } => {
                objectives.insert("error".into(), *error);
                (Some(weights.clone()), *first_error, *seconds, *epochs, readings.clone())
            }
            JobResult::Diverged { epoch, first_error, seconds } => {
                (None, *first_error, *seconds, *epoch, Vec::new())
            }
            JobResult::OutOfMemory { seconds } => (None, None, *seconds, 0, Vec::new()),
        };
        let (parent, edits) = match &job.start {
            Start::Scratch { .. } | Start::Given { .. } => (None, Vec::new()),
            Start::Inherit { parent, edits, .. } => (Some(*parent), edits.clone()),
        };
        Individual {
            id,
            generation: job.generation,
            child: job.child,
            parent,
            edits,
            fingerprint: job.architecture.fingerprint(),
            architecture: job.architecture.clone(),
            objectives,
            weights,
            first_error,
            epochs,
            planned: job.plan.epochs,
            readings,
            seconds,
            compute: self.images.compute(job, epochs),
            committed_at: self.elapsed(),
        }
    }

    pub(super) fn remember(&mut self, individual: Individual) {
        self.known.entry(individual.fingerprint).or_default().push(individual.architecture.clone());
        self.individuals.push(individual);
    }

    fn tell(&mut self, generation: usize) -> Result<()> {
        let whole = self.individuals.iter().filter(|individual| individual.generation == generation);
        let member = |individual: &Individual| Member {
            id: individual.id,
            parent: individual.parent,
            design: individual.architecture.clone(),
            objectives: individual.objectives.clone(),
        };
        self.strategy.tell(&whole.map(member).collect::<Vec<_>>())
    }

    pub(super) fn tell_whole_generations(&mut self) -> Result<()> {
        (0..self.next_generation()?).try_for_each(|generation| self.tell(generation))
    }

    /// Removes the weights that nobody can become a parent with or be shown in the report, if the settings say so.
    pub(super) fn drop_weights(&self) -> Result<()> {
        if self.setting.config.keep_weights == "all" {
            return Ok(());
        }
        // While no network keeps the bounds, the population is the front of those that do not.
        let all = front(&self.individuals, &self.setting.config.objectives)?;
        let reported = reported_front(&self.individuals, &self.setting.config)?;
        let hashes = all.iter().chain(&reported).filter_map(|individual| individual.weights.clone());
        let finished = self.store.database.finished()?.into_iter().map(|row| row.weights);
        // Before they are committed, the networks that were brought along are nobody's.
        let waiting = if self.next_generation()? == 0 { self.given.as_slice() } else { &[] };
        let waiting = waiting.iter().map(|given| given.weights.clone());
        self.store.blobs.retain(&hashes.chain(finished).chain(waiting).collect())
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
            compute: self.compute(),
        })
    }

    /// The members of the front that were never tested are tested, once.
    pub(super) fn test_front(&mut self) -> Result<()> {
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
}

/// The children from `first` on that have no result, or compete and are to have more epochs than they had; and to how many epochs
/// they are trained now, if they compete.
fn open_children(rows: &[JobRow], first: usize) -> Result<Vec<(usize, Option<usize>)>> {
    let children: Vec<_> = rows.iter().map(|row| (&row.job.course, progress(row))).collect();
    let targets = fidelity::targets(&children)?.into_iter().enumerate().skip(first);
    let is_open = |&(child, target): &(usize, Option<usize>)| match &rows[child].result {
        None => true,
        Some(JobResult::Trained { epochs, .. }) => target.is_some_and(|target| *epochs < target),
        Some(JobResult::Diverged { .. } | JobResult::OutOfMemory { .. }) => false,
    };
    Ok(targets.filter(is_open).collect())
}

fn progress(row: &JobRow) -> Progress<'_> {
    match &row.result {
        None => Progress::Open,
        Some(JobResult::Trained { readings, .. }) => Progress::Read(readings),
        Some(JobResult::Diverged { .. } | JobResult::OutOfMemory { .. }) => Progress::Lost,
    }
}
