//! Drawing cases.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::Settings;
use crate::network::Network;
use crate::strategies::{Edit, any_dead_network, any_edits, any_network};

/// One case in so many starts from a dead network.
const DEAD: u64 = 16;

/// What a case starts from.
#[derive(Debug, Clone)]
pub(super) struct Start {
    pub(super) edits: Vec<Edit>,
    /// The seed of the images.
    pub(super) images: u64,
    pub(super) network: Network,
}

/// Case `index` of `seed`, with what it shrinks to: first to fewer and simpler edits, then to a simpler network.
pub(super) fn tree(settings: &Settings, seed: u64, index: u64) -> impl ValueTree<Value = Start> + use<> {
    let config = Config { failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, rng(seed, index));
    any_start(settings, index % DEAD == DEAD - 1)
        .new_tree(&mut runner)
        .unwrap_or_else(|reason| panic!("no network within {:?}: {reason}", settings.limits))
}

fn any_start(settings: &Settings, dead: bool) -> impl Strategy<Value = Start> + use<> {
    let network = match dead {
        true => any_dead_network(settings.limits, settings.dtype).boxed(),
        false => any_network(settings.limits, settings.dtype).boxed(),
    };
    (any_edits(1..=settings.chain.max(1)), 0..1000u64, network).prop_map(|(edits, images, network)| Start {
        edits,
        images,
        network,
    })
}

/// A stream of its own for every case.
fn rng(seed: u64, index: u64) -> TestRng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&index.to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &key)
}
