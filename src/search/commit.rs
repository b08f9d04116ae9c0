//! Carrying out a generation: from jobs to committed individuals.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{Phases, Search, hypervolume, load_network, reported_front, test_errors};
use crate::config::Budget;
use crate::executor::{Executor, Job, JobResult, Start};
use crate::individual::{Individual, front};
use crate::progress::Event;
use crate::store::{JobRow, TestRow};
use crate::strategy::Member;
use crate::train::error_rate;
use crate::{Result, machine};

impl Search {
    /// Trains what has no result yet, as far as the budget goes.
    pub(super) fn train(
        &mut self,
        executor: &dyn Executor,
        generation: usize,
        rows: &mut [JobRow],
    ) -> Result<()> {
        for row in rows.iter().filter(|row| row.result.is_some()) {
            // Left by a process that was killed after it had stored the result.
            self.store.blobs.remove_checkpoint(&row.job.plan.name)?;
        }
        let open = self.open_children(generation, rows);
        self.observer.observe(&Event::GenerationStarted { generation, children: open.len() });
        let training = Instant::now();
        let jobs: Vec<Job> = open.iter().map(|&child| rows[child].job.clone()).collect();
        let planned = self.allowed(generation, rows);
        let planned = rows[..planned].iter().map(|row| row.job.architecture.clone()).collect();
        self.measuring(planned, || {
            executor.run(&jobs, &mut |place, result| {
                let (child, job) = (open[place], &jobs[place]);
                self.store.database.add_result(generation, child, &result)?;
                self.store.blobs.remove_checkpoint(&job.plan.name)?;
                let error = match &result {
                    JobResult::Trained { error, .. } => Some(*error),
                    JobResult::Diverged { .. } | JobResult::OutOfMemory { .. } => None,
                };
                let params = job.architecture.parameter_count();
                self.observer.observe(&Event::ChildTrained { id: None, generation, child, error, params });
                rows[child].result = Some(result);
                let total = self.before.total + self.begun.elapsed().as_secs_f64();
                self.store.database.set_fact("phases", &Phases { total, ..self.phases })
            })
        })?;
        self.phases.training += training.elapsed().as_secs_f64();
        Ok(())
    }

    /// The children without a result that the budget of evaluations still allows.
    fn open_children(&self, generation: usize, rows: &[JobRow]) -> Vec<usize> {
        (0..self.allowed(generation, rows)).filter(|&child| rows[child].result.is_none()).collect()
    }

    /// How many children of a generation, from its first, a budget of evaluations or of compute allows.
    pub(super) fn allowed(&self, generation: usize, rows: &[JobRow]) -> usize {
        let earlier = self.individuals.iter().filter(|individual| individual.generation < generation);
        match self.setting.config.budget {
            Budget::Evaluations(evaluations) => rows.len().min(evaluations.saturating_sub(earlier.count())),
            Budget::Compute(macs) => {
                let mut spent: f64 = earlier.map(|individual| individual.compute).sum();
                let fits = |row: &&JobRow| {
                    spent += self.images.compute(&row.job, row.job.plan.epochs);
                    spent <= macs as f64
                };
                rows.iter().take_while(fits).count()
            }
            Budget::Seconds(_) | Budget::Generations(_) => rows.len(),
        }
    }

    /// Commits the children in order, up to the first without a result or a measurement. Under an earlier budget some may have been
    /// trained that this one does not allow.
    pub(super) fn commit(&mut self, generation: usize, rows: &[JobRow]) -> Result<()> {
        let begun = self.committed(generation);
        let mut new = Vec::new();
        for JobRow { job, result } in &rows[begun..self.allowed(generation, rows).max(begun)] {
            let Some(result) = result else { break };
            let Some(costs) = self.costs().known(&job.architecture)? else { break };
            new.push(self.individual((self.individuals.len() + new.len()) as u64, job, result, costs));
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

    fn individual(
        &self,
        id: u64,
        job: &Job,
        result: &JobResult,
        mut objectives: BTreeMap<String, f64>,
    ) -> Individual {
        let (weights, first_error, seconds, epochs) = match result {
            JobResult::Trained { weights, error, first_error, seconds } => {
                objectives.insert("error".into(), *error);
                (Some(weights.clone()), *first_error, *seconds, job.plan.epochs)
            }
            JobResult::Diverged { epoch, first_error, seconds } => (None, *first_error, *seconds, *epoch),
            JobResult::OutOfMemory { seconds } => (None, None, *seconds, 0),
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
