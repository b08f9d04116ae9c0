//! Applying a chain of edits, with every check after each.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use serde::Serialize;

use super::case::CaseEdit;
use super::problem::Problem;
use super::yardstick::{Distance, Way, Yardstick};
use crate::architecture::{Architecture, Node, ParamKey};
use crate::check::contract::{bits, costs_less, ensure, same_interface, shared};
use crate::check::{Violation, calibrated, images};
use crate::morphism::{Morphism, Promise, Site};
use crate::network::Network;
use crate::{Error, Result};

/// Images of a batch in f64; the seed picks one. Two are the fewest on which a network can be seen to be alive.
const BATCHES: [usize; 4] = [4, 2, 3, 7];
/// In f32: the parent's rounding, a maximum over the images, must say something.
const BATCH_F32: usize = 32;
/// In training mode: statistics of few images are those of no channel.
const BATCH_TRAINING: usize = 8;

/// A result, or what is wrong with the morphism.
type Checked<T> = std::result::Result<T, Problem>;

/// How a chain is applied.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conditions {
    pub(super) macs: u64,
    pub(super) train_mode: bool,
}

/// An edit that was applied, and what was seen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// The morphism.
    pub morphism: &'static str,
    /// How far the child's logits are from its parent's, relative to the largest of those. Of an approximate morphism
    /// that is no error.
    pub drift: f64,
    /// The same from the network with which the stretch of exact edits began; none for an approximate morphism.
    pub drift_along: Option<f64>,
    /// The larger drift of the two as a part of its bound; none for an approximate morphism.
    pub share: Option<f64>,
    /// Seconds that the rewrite and the child's weights took.
    pub seconds: f64,
    /// The types of layers that the edit changed, removed, or gave other inputs, with how many.
    pub layers: BTreeMap<String, u64>,
}

/// A network on its way along a chain.
pub(super) struct Walk {
    conditions: Conditions,
    ways: Vec<Way>,
    images: Tensor,
    /// Whether inserted batch norms are calibrated on the images.
    calibrates: bool,
    network: Network,
    /// The network's numbers, as they must stay.
    numbers: BTreeMap<ParamKey, Vec<u64>>,
    /// Of the network; in f32 that of the network with which the stretch began.
    yardstick: Yardstick,
    /// Of the network with which the stretch of exact edits began, and the edits since.
    stretch: (Yardstick, usize),
    pub(super) steps: Vec<Step>,
    pub(super) edits: Vec<CaseEdit>,
}

impl Walk {
    /// At a chain's first network; `seed` is that of the images.
    pub(super) fn start(
        network: &Network,
        seed: u64,
        conditions: Conditions,
        device: &Device,
    ) -> Result<Self> {
        let weights = network.weights().iter().map(|(key, tensor)| Ok((key, tensor.to_device(device)?)));
        let mut network = Network::new(network.architecture().clone(), weights.collect::<Result<_>>()?)?;
        let (dtype, train_mode) = (network.dtype(), conditions.train_mode);
        let batch = match dtype {
            _ if train_mode => BATCH_TRAINING,
            DType::F32 => BATCH_F32,
            _ => BATCHES[(seed % 4) as usize],
        };
        let images = images(network.architecture().input(), batch, seed, dtype)?.to_device(device)?;
        if train_mode {
            network = calibrated(&network, &images)?;
        }
        let ways = Way::all(dtype, train_mode);
        let logits = ways.iter().map(|way| way.logits(&network, &images)).collect::<Result<Vec<_>>>()?;
        if !are_finite(&logits)? {
            return Err(Error::Weights("the logits are not finite".into()));
        }
        let yardstick = Yardstick::of(&network, &images, &ways, &logits)?;
        Ok(Self {
            conditions,
            ways,
            images,
            calibrates: train_mode || (seed / 4).is_multiple_of(2),
            numbers: numbers(&network)?,
            network,
            stretch: (yardstick.clone(), 0),
            yardstick,
            steps: Vec::new(),
            edits: Vec::new(),
        })
    }

    pub(super) fn architecture(&self) -> &Architecture {
        self.network.architecture()
    }

    /// Applies an edit, unless its child would be too large.
    pub(super) fn edit(&mut self, morphism: &dyn Morphism, site: &Site, seed: u64) -> Checked<()> {
        let begun = Instant::now();
        let rewrite = morphism.rewrite(self.network.architecture(), site, seed)?;
        if rewrite.architecture.macs() > self.conditions.macs {
            return Ok(());
        }
        let child = self.network.child(&rewrite, self.calibrates.then_some(&self.images))?;
        let seconds = begun.elapsed().as_secs_f64();
        same_interface(&self.network, &child)?;
        shared(&self.network, &rewrite.inheritance, &child)?;
        ensure(numbers(&self.network)? == self.numbers, Violation::ParentChanged)?;
        let layers = changed(self.network.architecture(), child.architecture())?;
        let drifts = match morphism.promise() {
            Promise::Exact => self.follow(child)?,
            Promise::Approximate => self.set_out(child)?,
        };
        let Drifts { drift, drift_along, share } = drifts;
        self.steps.push(Step { morphism: morphism.name(), drift, drift_along, share, seconds, layers });
        self.edits.push(CaseEdit::new(morphism, site, seed));
        Ok(())
    }

    /// Goes on to an exact child.
    fn follow(&mut self, child: Network) -> Checked<Drifts> {
        let logits = self.logits(&child)?;
        let (step, along) = (self.yardstick.distances(&logits)?, self.stretch.0.distances(&logits)?);
        let broken = step.iter().copied().find(|one| !one.is_allowed());
        if let Some(Distance { way, found, allowed, .. }) = broken {
            return Err(match way {
                Way::Evaluation(_) => Violation::Drift { found, allowed }.into(),
                Way::Training => Problem::DriftInTraining { found, allowed },
            });
        }
        let edits = self.stretch.1 + 1;
        if let Some(Distance { found, allowed, .. }) = along.iter().find(|one| !one.is_allowed()) {
            return Err(Problem::DriftAlong { edits, found: *found, allowed: *allowed });
        }
        let share = step.iter().chain(&along).map(Distance::share).fold(0.0, f64::max);
        // The running statistics of a fresh batch norm are those of nothing. Behind it the two modes see different numbers,
        // and a batch norm that is inserted there cannot be calibrated for both.
        let (child, logits) = match self.conditions.train_mode {
            true => self.settled(&child)?,
            false => (child, logits),
        };
        // To measure the rounding of a network in f32 takes ten forward passes: there each step is held to the network
        // with which the stretch began.
        if child.dtype() != DType::F32 {
            self.yardstick = Yardstick::of(&child, &self.images, &self.ways, &logits)?;
        }
        self.arrive(child)?;
        self.stretch.1 = edits;
        Ok(Drifts { drift: furthest(&step), drift_along: Some(furthest(&along)), share: Some(share) })
    }

    /// Begins a new stretch with an approximate child.
    fn set_out(&mut self, child: Network) -> Checked<Drifts> {
        costs_less(self.network.architecture(), child.architecture())?;
        let drift = furthest(&self.yardstick.distances(&self.logits(&child)?)?);
        let (child, logits) = match self.conditions.train_mode {
            true => self.settled(&child)?,
            false => (child.clone(), self.logits(&child)?),
        };
        self.yardstick = Yardstick::of(&child, &self.images, &self.ways, &logits)?;
        self.stretch = (self.yardstick.clone(), 0);
        self.arrive(child)?;
        Ok(Drifts { drift, drift_along: None, share: None })
    }

    /// The network with the statistics of the images as its running ones, and its logits.
    fn settled(&self, network: &Network) -> Checked<(Network, Vec<Tensor>)> {
        let network = calibrated(network, &self.images)?;
        let logits = self.logits(&network)?;
        Ok((network, logits))
    }

    /// By every way; finite.
    fn logits(&self, network: &Network) -> Checked<Vec<Tensor>> {
        let logits = self.ways.iter().map(|way| way.logits(network, &self.images));
        let logits = logits.collect::<Result<Vec<_>>>()?;
        if are_finite(&logits)? { Ok(logits) } else { Err(Problem::NotFinite) }
    }

    fn arrive(&mut self, child: Network) -> Result<()> {
        self.numbers = numbers(&child)?;
        self.network = child;
        Ok(())
    }
}

/// A sum, unlike a maximum, is not finite if one of its terms is not.
fn are_finite(logits: &[Tensor]) -> Result<bool> {
    let sums = logits.iter().map(|tensor| Ok(tensor.abs()?.sum_all()?.to_scalar::<f64>()?));
    Ok(sums.collect::<Result<Vec<_>>>()?.iter().all(|sum| sum.is_finite()))
}

/// The drifts of a [`Step`].
struct Drifts {
    drift: f64,
    drift_along: Option<f64>,
    share: Option<f64>,
}

fn furthest(distances: &[Distance]) -> f64 {
    distances.iter().map(Distance::relative).fold(0.0, f64::max)
}

/// Every number of a network, bit for bit.
fn numbers(network: &Network) -> Result<BTreeMap<ParamKey, Vec<u64>>> {
    network.weights().iter().map(|(key, tensor)| Ok((key, bits(tensor)?))).collect()
}

/// The parent's layers that the child has not, or has with another shape, other inputs or inputs of another shape, by
/// their types in JSON.
fn changed(parent: &Architecture, child: &Architecture) -> Result<BTreeMap<String, u64>> {
    let same = |node: &Node| {
        let same = |other: &Node| other == node && child.input_shape(other) == parent.input_shape(node);
        child.get(node.id).is_some_and(same)
    };
    let mut counts = BTreeMap::new();
    for node in parent.nodes().filter(|node| !same(node)) {
        let layer = serde_json::to_value(node.layer)?;
        let kind = layer["type"].as_str().unwrap_or_default();
        *counts.entry(kind.to_string()).or_default() += 1;
    }
    Ok(counts)
}

/// Runs `work`; its panic is a problem like another.
pub(super) fn caught<T>(work: impl FnOnce() -> Checked<T>) -> Checked<T> {
    // A walk that panicked is not used any more.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Problem::Panics(text.unwrap_or("without a text").to_string()))
    })
}
