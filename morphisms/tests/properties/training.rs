//! Exact morphisms keep the function in training mode too, where batch norms use the statistics of the batch.

use candle_core::{DType, Tensor};
use morphisms::check::{calibrated, images};
use morphisms::strategies::any_network;
use morphisms::{Mode, Network, Promise, Rewrite, Source};
use proptest::prelude::*;

use crate::common::{SMALL, at, cases, child, distance, largest, promising, rewritten};

/// Relative to the largest output. Looser than in evaluation mode: a batch norm magnifies the rounding of a channel
/// that hardly varies over the batch by up to `1 / sqrt(eps)`, 300, and several may follow each other.
const TOLERANCE: f64 = 1e-8;

fn training_logits(network: &Network, images: &Tensor) -> Tensor {
    network.forward(images, Mode::TRAIN).unwrap().logits
}

proptest! {
    #![proptest_config(cases(250))]

    #[test]
    fn without_a_calibrated_batch_norm_nothing_changes(
        parent in any_network(SMALL, DType::F64), seed in 0..1000u64,
    ) {
        let images = images(parent.architecture().input(), 8, seed, DType::F64).unwrap();
        let expected = training_logits(&parent, &images);
        for morphism in promising(Promise::Exact) {
            for site in morphism.sites(parent.architecture()) {
                if is_calibrated(&rewritten(morphism, parent.architecture(), &site, seed)?) {
                    continue;
                }
                let child = child(&parent, morphism, &site, seed, None)?;
                let drift = distance(&training_logits(&child, &images), &expected);
                let scale = largest(&expected);
                if drift > TOLERANCE * scale {
                    return Err(at(morphism, &site, format!("{drift:e} of {scale:e}")));
                }
            }
        }
    }

    #[test]
    fn a_new_batch_norm_is_calibrated(parent in any_network(SMALL, DType::F64), seed in 0..1000u64) {
        let images = images(parent.architecture().input(), 8, seed, DType::F64).unwrap();
        let parent = calibrated(&parent, &images).unwrap();
        let expected = parent.logits(&images).unwrap();
        for morphism in promising(Promise::Exact) {
            for site in morphism.sites(parent.architecture()) {
                if !is_calibrated(&rewritten(morphism, parent.architecture(), &site, seed)?) {
                    continue;
                }
                let child = child(&parent, morphism, &site, seed, Some(&images))?;
                let scale = largest(&expected);
                let drift = distance(&child.logits(&images).unwrap(), &expected);
                let training_drift = distance(&training_logits(&child, &images), &expected);
                if drift > 1e-10 * scale || training_drift > TOLERANCE * scale {
                    return Err(at(morphism, &site, format!("{drift:e}, {training_drift:e} of {scale:e}")));
                }
            }
        }
    }
}

/// Whether a batch norm was inserted that must undo on a batch what it does.
fn is_calibrated(rewrite: &Rewrite) -> bool {
    rewrite.inheritance.sources.values().any(|source| matches!(source, Source::Statistic { .. }))
}
