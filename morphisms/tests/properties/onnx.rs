//! Networks that go out as ONNX and come back. That other runtimes compute the same is checked by tests/onnx of the
//! workspace.

use candle_core::DType;
use morphisms::check::{drift, images};
use morphisms::onnx::{ExportOptions, export, import};
use morphisms::strategies::{Limits, any_network};
use morphisms::{Architecture, Grouping, Layer, Network};
use proptest::prelude::*;

use crate::common::cases;

/// Weights are the same numbers, but for a scale that meets another, and mixing factors.
const DRIFT: f64 = 1e-5;

/// Whether every layer has an operator that means it and nothing else.
fn is_plain(architecture: &Architecture) -> bool {
    architecture.nodes().all(|node| match node.layer {
        // Left out, and made a constant.
        Layer::Dropout { .. } | Layer::Mix => false,
        // A scale next to another layer, and a product with a sigmoid, are read as what they amount to; an average
        // over the whole map is a global one.
        Layer::Scale { .. } | Layer::Multiply | Layer::Pool { .. } => false,
        // One group is all channels, and one channel a group is each.
        Layer::GroupNorm { grouping: Grouping::Groups(groups), .. } => {
            groups > 1 && groups < node.shape.channels()
        }
        Layer::GroupNorm { grouping: Grouping::Each, .. } => node.shape.channels() > 1,
        _ => true,
    })
}

fn back(network: &Network, fold_batch_norms: bool) -> Network {
    let options = ExportOptions { fold_batch_norms, ..ExportOptions::default() };
    Network::from_onnx(&export(network, &options).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn what_comes_back_computes_the_same(network in any_network(Limits::default(), DType::F32), seed in 0..99u64) {
        let images = images(network.architecture().input(), 2, seed, DType::F32).unwrap();
        let found = back(&network, false);
        let moved = drift(&network, &found, &images).unwrap();
        prop_assert!(moved.relative <= DRIFT, "{:?} from\n{:?}", moved, network.architecture());
        if is_plain(network.architecture()) {
            prop_assert!(found.architecture().is_isomorphic(network.architecture()));
            prop_assert_eq!(moved.absolute, 0.0);
        }
        let folded = drift(&network.fold_batch_norms().unwrap(), &back(&network, true), &images).unwrap();
        prop_assert!(folded.relative <= DRIFT, "{:?} folded", folded);
    }

    #[test]
    fn a_changed_byte_is_an_error_or_a_network(
        network in any_network(Limits::default(), DType::F32), place in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = export(&network, &ExportOptions::default()).unwrap();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        if let Ok(found) = import(&bytes, &morphisms::onnx::ImportOptions::default()) {
            prop_assert!(found.network.architecture().classes() > 0);
        }
    }
}
