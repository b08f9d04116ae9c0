//! Every morphism keeps the contract; folding keeps the function.

use candle_core::DType;
use morphisms::strategies::any_network;
use morphisms::{Layer, catalog, check};
use proptest::prelude::*;

use crate::common::{SMALL, batch, cases, distance, largest};

proptest! {
    #![proptest_config(cases(80))]

    #[test]
    fn is_kept_in_f64(parent in any_network(SMALL, DType::F64)) {
        for morphism in catalog::all() {
            check::contract(*morphism, std::slice::from_ref(&parent))
                .map_err(|error| TestCaseError::fail(error.to_string()))?;
        }
    }

    #[test]
    fn is_kept_in_f32(parent in any_network(SMALL, DType::F32)) {
        for morphism in catalog::all() {
            check::contract(*morphism, std::slice::from_ref(&parent))
                .map_err(|error| TestCaseError::fail(error.to_string()))?;
        }
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn folded_batch_norms_keep_the_function(parent in any_network(SMALL, DType::F64), seed in 0..1000u64) {
        let folded = parent.fold_batch_norms().unwrap();
        let images = batch(&parent, seed);
        let expected = parent.logits(&images).unwrap();
        let drift = distance(&expected, &folded.logits(&images).unwrap());
        prop_assert!(drift <= 1e-10 * largest(&expected), "{drift:e}");
        for node in folded.architecture().nodes() {
            if let Layer::BatchNorm { .. } = node.layer {
                let before = parent.architecture().node(parent.architecture().node(node.id).inputs[0]);
                let alone = parent.architecture().only_consumer(before.id).is_some();
                prop_assert!(!(alone && matches!(before.layer, Layer::Conv(_))), "{} is left", node.id);
            }
        }
    }
}
