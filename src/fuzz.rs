//! A fuzzing campaign: many cases of [`morphisms::fuzz`] on worker threads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::Instant;

use morphisms::fuzz::{self, Failure, Record, Settings, Summary};
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::Serialize;

use crate::stop::Stop;
use crate::{Error, Result};

/// The name of the threads on which cases run.
pub const THREAD: &str = "fuzz";

/// Which cases are run, and on how many threads.
pub struct Campaign {
    /// What is fuzzed.
    pub settings: Settings,
    /// The seed of all cases.
    pub seed: u64,
    /// The number of cases.
    pub cases: u64,
    /// The number of threads; the outcome does not depend on it.
    pub workers: usize,
}

/// What came of a campaign.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The seed of all cases.
    pub seed: u64,
    /// Seconds that the cases took.
    pub seconds: f64,
    /// Networks a second, those that chains start from and their descendants.
    pub networks_per_second: f64,
    /// The cases before the first failure, all of them if there is none.
    #[serde(flatten)]
    pub summary: Summary,
    /// The first failure, shrunk.
    pub failure: Option<Failure>,
}

type Found = std::result::Result<Record, Box<Failure>>;

impl Campaign {
    /// Runs the cases in order, as far as anybody can tell, until one fails or `stop` is asked for; `tell` hears how far
    /// they are.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn run(&self, stop: &Stop, tell: impl Fn(&Summary)) -> Result<Outcome> {
        let begun = Instant::now();
        let pools = (0..self.workers.max(1)).map(|_| pool()).collect::<Result<Vec<_>>>()?;
        let (summary, failing) = self.cases(&pools, stop, tell);
        let seconds = begun.elapsed().as_secs_f64();
        let failure = failing.map(|failure| self.shrunk(&pools[0], failure));
        let networks = (summary.cases + summary.rewrites) as f64;
        Ok(Outcome { seed: self.seed, seconds, networks_per_second: networks / seconds, summary, failure })
    }

    fn cases(
        &self,
        pools: &[ThreadPool],
        stop: &Stop,
        tell: impl Fn(&Summary),
    ) -> (Summary, Option<Box<Failure>>) {
        // Cases behind the first failure are of no interest.
        let (next, end) = (AtomicU64::new(0), AtomicU64::new(self.cases));
        std::thread::scope(|scope| {
            let (sender, found) = mpsc::channel();
            for pool in pools {
                let (sender, next, end) = (sender.clone(), &next, &end);
                scope.spawn(move || self.work(pool, next, end, stop, &sender));
            }
            drop(sender);
            in_order(found, tell)
        })
    }

    fn work(
        &self,
        pool: &ThreadPool,
        next: &AtomicU64,
        end: &AtomicU64,
        stop: &Stop,
        sender: &mpsc::Sender<(u64, Found)>,
    ) {
        while !stop.is_asked() {
            let index = next.fetch_add(1, Relaxed);
            if index >= end.load(Relaxed) {
                break;
            }
            let found = pool.install(|| fuzz::run(&self.settings, self.seed, index));
            if found.is_err() {
                end.fetch_min(index, Relaxed);
            }
            if sender.send((index, found)).is_err() {
                break;
            }
        }
    }

    fn shrunk(&self, pool: &ThreadPool, failure: Box<Failure>) -> Failure {
        pool.install(|| fuzz::shrink(&self.settings, self.seed, failure.index)).unwrap_or(*failure)
    }
}

/// A pool of one thread, as trainings have.
fn pool() -> Result<ThreadPool> {
    let pool = ThreadPoolBuilder::new().num_threads(1).thread_name(|_| THREAD.into()).build();
    pool.map_err(|error| Error::Usage(format!("worker threads: {error}")))
}

/// Adds cases up in the order of their indices, up to the first one that fails or is missing.
fn in_order(found: mpsc::Receiver<(u64, Found)>, tell: impl Fn(&Summary)) -> (Summary, Option<Box<Failure>>) {
    let (mut summary, mut failure) = (Summary::default(), None);
    let mut waiting = BTreeMap::new();
    for (index, case) in found {
        waiting.insert(index, case);
        while let Some(case) = waiting.remove(&summary.cases).filter(|_| failure.is_none()) {
            match case {
                Ok(record) => summary.add(summary.cases, &record),
                Err(broken) => failure = Some(broken),
            }
        }
        tell(&summary);
    }
    (summary, failure)
}
