//! Asking a strategy for candidates.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;

use super::{Candidate, Proposal, Space, Strategy};
use crate::Result;

/// Proposals for each wanted one, after which a strategy is taken to have no more.
const ATTEMPTS: usize = 50;

/// What came of asking.
pub(crate) struct Asked<S: Space> {
    /// Feasible proposals.
    pub(crate) candidates: Vec<Candidate<S>>,
    /// Proposals looked at.
    pub(crate) attempts: usize,
}

/// As many proposals as a strategy wants that `admit` gives costs to; fewer if it has no more, or if `stopped`.
pub(crate) fn ask<S: Space>(
    strategy: &dyn Strategy<S>,
    mut admit: impl FnMut(&Proposal<S>) -> Result<Option<BTreeMap<String, f64>>>,
    stopped: impl Fn() -> bool,
    rng: &mut ChaCha8Rng,
) -> Result<Asked<S>> {
    let (wanted, most) = (strategy.wanted(), most_attempts(strategy));
    let mut asked = Asked { candidates: Vec::new(), attempts: 0 };
    while asked.attempts < most && asked.candidates.len() < wanted && !stopped() {
        if let Some(proposal) = strategy.propose(rng)?
            && let Some(costs) = admit(&proposal)?
        {
            asked.candidates.push(Candidate { proposal, costs });
        }
        asked.attempts += 1;
    }
    Ok(asked)
}

/// After how many proposals `strategy` is taken to have no more.
pub(crate) fn most_attempts<S: Space>(strategy: &dyn Strategy<S>) -> usize {
    ATTEMPTS.saturating_mul(strategy.wanted())
}
