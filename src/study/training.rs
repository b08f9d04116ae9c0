//! A run that trains networks: a search in a run folder of its own.

use std::path::Path;
use std::sync::Arc;

use super::config::Method;
use super::trace::{Evaluation, Trace};
use crate::Result;
use crate::individual::Individual;
use crate::progress::QuietObserver;
use crate::search::{EndReason, Phases, Search};
use crate::stop::Stop;
use crate::store::Store;
use crate::strategy::keeps_bounds;

/// Carries out a run, or goes on with it; none if asked to stop.
pub(super) fn run(method: &Method, seed: u64, folder: &Path, stop: &Arc<Stop>) -> Result<Option<Trace>> {
    let mut search = match folder.join("run.sqlite").exists() {
        true => Search::resume(Store::open(folder)?, Arc::new(QuietObserver))?,
        false => {
            let mut config = method.config.clone();
            config.seed = seed;
            Search::start(&config, folder, Arc::new(QuietObserver))?
        }
    };
    search.stop().follow(stop.clone());
    let reason = search.run()?;
    if reason == EndReason::Interrupted {
        return Ok(None);
    }
    let individuals = search.store().database.individuals()?;
    let mut compute = 0.0;
    let evaluation = |(place, one): (usize, &Individual)| {
        compute += one.compute;
        let kept = keeps_bounds(&one.objectives, &method.config);
        Evaluation {
            design: one.fingerprint.to_string(),
            values: one.values(&method.config.objectives).filter(|_| kept),
            spent: (place + 1) as f64,
            compute,
            seconds: one.committed_at,
        }
    };
    let evaluations: Vec<Evaluation> = individuals.iter().enumerate().map(evaluation).collect();
    // Earlier parts of a run that was resumed included.
    let seconds = search.store().database.fact::<Phases>("phases")?.total;
    Ok(Some(Trace { method: method.name.clone(), seed, seconds, end: reason.to_string(), evaluations }))
}
