//! Random valid networks for property tests (feature `proptest`).
//!
//! The networks are built layer by layer, never by a morphism of the catalogue, so that they can hold the catalogue
//! to its promises: branches and joins, a tensor concatenated or added to itself, strides on maps that are not
//! square, grouped, depthwise and dilated convolutions, batch norms with statistics of their own, mixing factors
//! other than 0. They shrink towards few and plain layers.
//!
//! A careless deep random network often computes a constant, which any rewrite preserves. Those of [`any_network`]
//! are alive, see [`is_alive`]; dead ones are drawn apart, by [`any_dead_network`]. [`any_edits`] draws what is done to
//! them.
//!
//! ```
//! use candle_core::DType;
//! use morphisms::check::images;
//! use morphisms::strategies::{Limits, any_network};
//! use proptest::prelude::*;
//!
//! proptest!(ProptestConfig::with_cases(8), |(network in any_network(Limits::default(), DType::F64))| {
//!     let images = images(network.architecture().input(), 2, 0, DType::F64).unwrap();
//!     let logits = network.logits(&images).unwrap();
//!     prop_assert_eq!(logits.dims(), [2, network.architecture().classes()]);
//! });
//! ```

mod edits;
mod recipe;
mod weights;

pub use edits::{Edit, any_edits};

use candle_core::{DType, Tensor};
use proptest::prelude::*;

use crate::Result;
use crate::architecture::Architecture;
use crate::check::{images, is_alive};
use crate::network::Network;

/// Images on which aliveness is judged.
const PROBES: usize = 8;

/// How large random networks get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most layers on a path from the image to the logits; the last 7 may be the head's, however small this is.
    pub depth: usize,
    /// The most building steps; one adds up to three layers.
    pub steps: usize,
    /// The most channels of a map.
    pub channels: usize,
    /// The most features of a vector.
    pub features: usize,
    /// The most logits.
    pub classes: usize,
}

impl Default for Limits {
    /// Depth 30, 14 steps, 8 channels, 96 features, 4 classes: a few milliseconds a network.
    fn default() -> Self {
        Self { depth: 30, steps: 14, channels: 8, features: 96, classes: 4 }
    }
}

/// Valid architectures.
pub fn any_architecture(limits: Limits) -> impl Strategy<Value = Architecture> {
    recipe::any_recipe(limits).prop_map(move |recipe| recipe.architecture(&limits))
}

/// Networks that are alive on [`images`] of any seed used for them, with weights of number format `dtype`.
pub fn any_network(limits: Limits, dtype: DType) -> impl Strategy<Value = Network> {
    any_candidate(limits).prop_filter_map("the logits hardly depend on the image", move |network| {
        let alive = logits_on_probes(&network).and_then(|logits| is_alive(&logits)).unwrap_or(false);
        alive.then(|| network.to_dtype(dtype).ok()).flatten()
    })
}

/// Networks whose logits are the same for every image.
pub fn any_dead_network(limits: Limits, dtype: DType) -> impl Strategy<Value = Network> {
    (any_candidate(limits), any::<u16>()).prop_filter_map("no way to kill it", move |(network, first)| {
        let dead = weights::killed(&network, usize::from(first)).ok()?;
        dead.to_dtype(dtype).ok()
    })
}

/// Networks in f64, nearly all of them alive.
fn any_candidate(limits: Limits) -> impl Strategy<Value = Network> {
    (any_architecture(limits), any::<u32>()).prop_map(|(architecture, seed)| {
        let weights =
            weights::lively(&architecture, u64::from(seed)).expect("random architectures can be run");
        Network::new(architecture, weights).expect("a weight for every parameter")
    })
}

/// The logits of a network on the images on which its aliveness is judged.
fn logits_on_probes(network: &Network) -> Result<Tensor> {
    network.logits(&probes(network.architecture(), network.dtype())?)
}

fn probes(architecture: &Architecture, dtype: DType) -> Result<Tensor> {
    images(architecture.input(), PROBES, u64::MAX, dtype)
}

#[cfg(test)]
mod tests {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    use super::*;

    #[test]
    fn nearly_all_candidates_are_alive() {
        let mut runner = TestRunner::deterministic();
        let candidates = any_candidate(Limits::default());
        let mut alive = 0;
        for _ in 0..200 {
            let network = candidates.new_tree(&mut runner).unwrap().current();
            alive += usize::from(is_alive(&logits_on_probes(&network).unwrap()).unwrap());
        }
        eprintln!("{alive} of 200 alive");
        assert!(alive >= 180, "{alive} of 200");
    }

    #[test]
    fn depth_reaches_the_limit() {
        let mut runner = TestRunner::deterministic();
        let strategy = any_architecture(Limits { steps: 30, ..Limits::default() });
        let deepest = (0..200).map(|_| depth(&strategy.new_tree(&mut runner).unwrap().current())).max();
        assert!(deepest >= Some(28) && deepest <= Some(30), "{deepest:?}");
    }

    /// Layers on the longest path.
    fn depth(architecture: &Architecture) -> usize {
        let mut depths = std::collections::BTreeMap::new();
        for node in architecture.nodes() {
            let before = node.inputs.iter().map(|input| depths[input]).max();
            depths.insert(node.id, before.map_or(0, |depth: usize| depth + 1));
        }
        depths[&architecture.output()]
    }
}
