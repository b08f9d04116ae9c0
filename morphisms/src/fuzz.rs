//! Fuzzing of morphisms, those of the catalogue and an embedder's own (feature `proptest`).
//!
//! A case is a random living network and a chain of random edits; which, follows from a seed and the case's index
//! alone. [`run`] applies the chain edit by edit and checks after each one that
//!
//! - the child takes the parent's images, yields its classes and finite logits;
//! - an exact child computes the function of its parent, and that of the network with which the stretch of exact edits
//!   began: in f64 to 1e-10 of the largest logit (1e-9 where the logits are the same for every image; 1e-14 at least), or to 16 times
//!   what moving its weights by two units in the last place does, and 1e-7, where a network magnifies rounding that much; in
//!   f32 to the [`rounding`](crate::check::rounding) of the latter (1e-6 at least), by direct convolution and by Winograd; on request in training
//!   mode too, from a calibrated batch;
//! - an approximate child costs no more than its parent in anything, and less in something;
//! - the parent's numbers are what they were, and what the child keeps is shared with it;
//! - nothing panics.
//!
//! A broken promise is shrunk by [`shrink`] to a small network and a short chain. The [`Failure`] is plain data that
//! reads well as JSON, and [`replay`] runs its [`Case`] again.
//!
//! ```
//! use morphisms::fuzz::{self, Settings, Summary};
//!
//! let settings = Settings::default();
//! let mut summary = Summary::default();
//! for index in 0..20 {
//!     match fuzz::run(&settings, 0, index) {
//!         Ok(record) => summary.add(index, &record),
//!         Err(failure) => panic!("{}", fuzz::shrink(&settings, 0, index).unwrap_or(*failure)),
//!     }
//! }
//! assert_eq!(summary.cases, 20);
//! ```

mod case;
mod draw;
mod problem;
mod replay;
mod shrink;
mod summary;
mod walk;
mod yardstick;

pub use case::{Case, CaseEdit, Failure, Values};
pub use problem::Problem;
pub use replay::{Replayed, replay};
pub use shrink::shrink;
pub use summary::{Decades, Extreme, Summary, Tally};
pub use walk::Step;

use candle_core::{DType, Device};
use proptest::strategy::ValueTree;

use crate::catalog;
use crate::morphism::{Morphism, Promise, Site};
use crate::strategies::{Edit, Limits};
use draw::Start;
use walk::{Conditions, Walk, caught};

/// What is fuzzed, and on what.
#[derive(Clone)]
pub struct Settings {
    /// The most edits of a chain, at least 1.
    pub chain: usize,
    /// How large the networks are that chains start from.
    pub limits: Limits,
    /// The most multiply-adds of a network: an edit that would make more is left out.
    pub macs: u64,
    /// The morphisms; there must be some. Every other chain is of the exact ones among them alone, so that their
    /// drifts add up.
    pub morphisms: Vec<&'static dyn Morphism>,
    /// The number format of the weights, f32 or f64.
    pub dtype: DType,
    /// Where networks are run.
    pub device: Device,
    /// Whether forward passes in training mode are compared too. That is done in f64 alone: no bound is promised for
    /// the rounding of f32 there.
    pub train_mode: bool,
}

impl Default for Settings {
    /// The catalogue, in f64 on the CPU, in evaluation mode: chains of up to 12 edits on networks of up to 5 steps, 6
    /// channels and 24 features, of at most 50,000 multiply-adds. Nearly every failure of a large network has a small
    /// one beside it, which runs ten times as often.
    fn default() -> Self {
        Self {
            chain: 12,
            limits: Limits { depth: 24, steps: 5, channels: 6, features: 24, classes: 3 },
            macs: 50_000,
            morphisms: catalog::all().to_vec(),
            dtype: DType::F64,
            device: Device::Cpu,
            train_mode: false,
        }
    }
}

impl Settings {
    fn conditions(&self) -> Conditions {
        Conditions { macs: self.macs, train_mode: self.train_mode }
    }

    /// The morphisms of a case.
    fn pool(&self, index: u64) -> Vec<&'static dyn Morphism> {
        let exact = self.morphisms.iter().copied().filter(|morphism| morphism.promise() == Promise::Exact);
        let exact: Vec<_> = exact.collect();
        if index.is_multiple_of(2) && !exact.is_empty() { exact } else { self.morphisms.clone() }
    }
}

/// What a case was seen to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The edits that were applied.
    pub steps: Vec<Step>,
    /// The edits that were left out: no morphism had a site, or the child would have been too large.
    pub left_out: usize,
}

/// Runs case `index` of `seed`: the same arguments give the same case and, times aside, the same answer.
///
/// # Errors
/// The first broken promise, as it was found; [`shrink`] finds a smaller one.
///
/// # Panics
/// If there is no morphism, or the limits admit no living network.
pub fn run(settings: &Settings, seed: u64, index: u64) -> Result<Record, Box<Failure>> {
    let start = draw::tree(settings, seed, index).current();
    attempt(settings, &start, index).map_err(|broken| Box::new(broken.failure(settings, &start, seed, index)))
}

/// [`run`] with these edits in the place of the case's own: for a fuzzer that mutates them.
///
/// # Errors
/// The first broken promise.
///
/// # Panics
/// As [`run`].
pub fn run_edits(settings: &Settings, seed: u64, index: u64, edits: &[Edit]) -> Result<Record, Box<Failure>> {
    let start = Start { edits: edits.to_vec(), ..draw::tree(settings, seed, index).current() };
    attempt(settings, &start, index).map_err(|broken| Box::new(broken.failure(settings, &start, seed, index)))
}

/// A broken promise, with the edits up to and with the one that broke it.
struct Broken {
    morphism: &'static dyn Morphism,
    site: Option<Site>,
    problem: Problem,
    edits: Vec<CaseEdit>,
}

impl Broken {
    fn failure(self, settings: &Settings, start: &Start, seed: u64, index: u64) -> Failure {
        let case = Case::new(&start.network, start.images, settings.train_mode, self.edits)
            .expect("the numbers of a random network can be read");
        Failure {
            seed,
            index,
            morphism: self.morphism.name().into(),
            site: self.site,
            problem: self.problem.text(),
            case,
        }
    }
}

/// Applies a chain to its network.
fn attempt(settings: &Settings, start: &Start, index: u64) -> Result<Record, Box<Broken>> {
    let pool = settings.pool(index);
    let mut walk = Walk::start(&start.network, start.images, settings.conditions(), &settings.device)
        .expect("random networks can be run");
    let places: Vec<usize> = (0..pool.len()).collect();
    for edit in &start.edits {
        // Where the morphism has no site, the next one takes its place, so that chains are as long as they are said to be.
        let first = *edit.pick_morphism(&places);
        for &morphism in pool[first..].iter().chain(&pool[..first]) {
            let broken = |site: Option<&Site>, problem, walk: &Walk| {
                let mut edits = walk.edits.clone();
                edits.extend(site.map(|site| CaseEdit::new(morphism, site, edit.seed())));
                Box::new(Broken { morphism, site: site.cloned(), problem, edits })
            };
            let sites = caught(|| Ok(morphism.sites(walk.architecture())))
                .map_err(|problem| broken(None, problem, &walk))?;
            if let Some(site) = edit.pick_site(&sites) {
                let applied = caught(|| walk.edit(morphism, site, edit.seed()));
                applied.map_err(|problem| broken(Some(site), problem, &walk))?;
                break;
            }
        }
    }
    Ok(Record { left_out: start.edits.len() - walk.steps.len(), steps: walk.steps })
}
