//! Studies: methods compared on equal terms, seed by seed, on one problem.
//!
//! A study is stated in a file ([`Study`]). Its runs stand side by side on the workers; each one that has ended is kept in the
//! study's folder ([`StudyFolder`]), and a search that was interrupted goes on where it stopped. What is reported follows from
//! the traces of the runs alone ([`figures`]).

mod checklist;
mod config;
pub mod figures;
mod measured;
pub mod statistics;
pub mod table;
mod tabular;
mod trace;
mod training;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

pub use config::{Method, Objective, Scale, Study, TableSource};
pub use trace::{Evaluation, StudyFolder, Trace};

use crate::Result;
use crate::pareto::Points;
use crate::search::worker_count;
use crate::stop::Stop;
use tabular::Answers;

/// The front that fronts are compared with.
pub struct TrueFront {
    /// Objective values, in the order of the study.
    pub rows: Vec<Vec<f64>>,
    /// Whether it is known from a table; else it is the union of what was found.
    pub known: bool,
}

/// A study with its problem at hand.
pub struct Prepared {
    /// The study.
    pub study: Study,
    answers: Option<Answers>,
}

impl Prepared {
    /// Checks everything that can be known before anything runs, and reads the table.
    ///
    /// # Errors
    /// Those of [`Study::problem`].
    pub fn new(study: Study) -> Result<Self> {
        let table = study.problem()?;
        let answers = study.table.as_ref().zip(table);
        let answers = answers.map(|(source, table)| Answers::new(&study, source, table));
        Ok(Self { study, answers })
    }

    /// Carries out the runs that have not ended, side by side; `told` hears of each one that ends. Whether all have ended: not if
    /// asked to stop.
    ///
    /// # Errors
    /// If a run fails, or the folder cannot be written.
    pub fn run(
        &self,
        folder: &StudyFolder,
        workers: usize,
        stop: &Arc<Stop>,
        told: &(dyn Fn(&Trace) + Sync),
    ) -> Result<bool> {
        let ended: BTreeSet<(String, u64)> = folder.ended()?.into_iter().collect();
        // Seed by seed, so that an unfinished study compares what it has on equal terms.
        let open: Vec<(&Method, u64)> = self
            .study
            .seeds
            .iter()
            .flat_map(|&seed| self.study.methods.iter().map(move |method| (method, seed)))
            .filter(|(method, seed)| !ended.contains(&(method.name.clone(), *seed)))
            .collect();
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
        let work = || {
            while let Some(&(method, seed)) = open.get(next.fetch_add(1, Ordering::Relaxed)) {
                match self.one(folder, method, seed, stop, told) {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => {
                        // What is under way elsewhere is kept; nothing new is begun.
                        next.store(open.len(), Ordering::Relaxed);
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                        return;
                    }
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..worker_count(workers).min(open.len()) {
                scope.spawn(work);
            }
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(folder.ended()?.len() >= self.study.methods.len() * self.study.seeds.len()),
        }
    }

    /// One run; whether it ended.
    fn one(
        &self,
        folder: &StudyFolder,
        method: &Method,
        seed: u64,
        stop: &Arc<Stop>,
        told: &(dyn Fn(&Trace) + Sync),
    ) -> Result<bool> {
        if stop.is_asked() {
            return Ok(false);
        }
        let trace = match &self.answers {
            Some(answers) => tabular::run(method, seed, answers, stop)?,
            None => training::run(method, seed, &run_folder(folder, method, seed), stop)?,
        };
        let Some(trace) = trace else { return Ok(false) };
        folder.add(&trace)?;
        told(&trace);
        Ok(true)
    }

    /// The front of what the table has within the bounds of any method, or of all that was found.
    ///
    /// # Errors
    /// If a value is not a finite number.
    pub fn true_front<'a>(&self, traces: impl IntoIterator<Item = &'a Trace>) -> Result<TrueFront> {
        let rows: Vec<Vec<f64>> = match &self.answers {
            Some(answers) => {
                let allowed = |row: &usize| {
                    self.study.methods.iter().any(|method| answers.allows(*row, &method.config))
                };
                (0..answers.table.len()).filter(allowed).map(|row| answers.values(row)).collect()
            }
            None => traces
                .into_iter()
                .flat_map(|trace| trace.evaluations.iter().filter_map(|one| one.values.clone()))
                .collect(),
        };
        let places = crate::pareto::non_dominated(&Points::new(&rows)?);
        let mut rows: Vec<Vec<f64>> = places.into_iter().map(|place| rows[place].clone()).collect();
        rows.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        rows.dedup();
        Ok(TrueFront { rows, known: self.answers.is_some() })
    }
}

/// Where the search of a run lives: `runs/METHOD-SEED`.
fn run_folder(folder: &StudyFolder, method: &Method, seed: u64) -> PathBuf {
    folder.path.join("runs").join(format!("{}-{seed}", method.file_name()))
}

#[cfg(test)]
mod tests;
