//! Worker threads in this process.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{Executor, Job, JobResult, Workshop};
use crate::{Error, Result};

/// Trains children side by side, each in a pool of one thread, so that no result depends on how many there are.
pub struct Local {
    workshop: Arc<Workshop>,
    pools: Vec<ThreadPool>,
}

impl Local {
    /// An executor with this many workers.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn new(workshop: Arc<Workshop>, workers: usize) -> Result<Self> {
        let pool = |_| ThreadPoolBuilder::new().num_threads(1).build();
        let pools = (0..workers.max(1)).map(pool).collect::<std::result::Result<_, _>>();
        Ok(Self { workshop, pools: pools.map_err(|error| Error::Usage(format!("worker threads: {error}")))? })
    }
}

impl Executor for Local {
    fn run(&self, jobs: &[Job], report: &mut dyn FnMut(usize, JobResult) -> Result<()>) -> Result<()> {
        let queue = Mutex::new(longest_first(jobs));
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        std::thread::scope(|scope| {
            let (sender, results) = mpsc::channel();
            for pool in &self.pools {
                let (sender, next, workshop) = (sender.clone(), &next, &self.workshop);
                scope.spawn(move || {
                    while let Some(place) = next().filter(|_| !workshop.stop.is_asked()) {
                        let result = pool.install(|| workshop.perform(&jobs[place]));
                        if sender.send((place, result)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            for (place, result) in results {
                let reported =
                    result.and_then(|result| result.map_or(Ok(()), |result| report(place, result)));
                if reported.is_err() {
                    // Nobody needs what the other workers are at.
                    self.workshop.stop.interrupt();
                    return reported;
                }
            }
            Ok(())
        })
    }
}

/// The longest trainings come first, so that no worker is left with one at the end.
fn longest_first(jobs: &[Job]) -> VecDeque<usize> {
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_by_key(|&place| {
        std::cmp::Reverse(jobs[place].architecture.macs() * jobs[place].plan.epochs as u64)
    });
    order.into()
}
