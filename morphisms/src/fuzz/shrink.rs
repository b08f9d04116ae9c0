//! From a failure to a small one.

use proptest::strategy::ValueTree;

use super::draw::{Start, tree};
use super::{Broken, Failure, Settings, attempt};

/// Cases that are tried; each takes about a millisecond.
const TRIES: usize = 3_000;

/// The failure of case `index` of `seed`, with the simplest network and the shortest chain that were found to break the
/// same promise of the same morphism; none if the case does not fail. Equal arguments give the same failure.
///
/// # Panics
/// As [`run`](super::run).
pub fn shrink(settings: &Settings, seed: u64, index: u64) -> Option<Failure> {
    let mut tree = tree(settings, seed, index);
    let start = tree.current();
    let mut best = (attempt(settings, &start, index).err()?, start);
    let mut fails = true;
    for _ in 0..TRIES {
        let goes_on = if fails { tree.simplify() } else { tree.complicate() };
        if !goes_on {
            break;
        }
        let start = tree.current();
        let found = attempt(settings, &start, index).err().filter(|broken| same(broken, &best.0));
        fails = found.is_some();
        best = found.map_or(best, |broken| (broken, start));
    }
    let (broken, start): (Box<Broken>, Start) = best;
    Some(broken.failure(settings, &start, seed, index))
}

fn same(a: &Broken, b: &Broken) -> bool {
    a.morphism.name() == b.morphism.name() && a.problem.kind() == b.problem.kind()
}
