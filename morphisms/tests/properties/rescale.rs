//! Powers of two through a network change no decision.

use candle_core::{DType, Tensor};
use morphisms::check::images;
use morphisms::strategies::{Limits, any_network};
use morphisms::{Network, Rescaled, Role, Weights};
use proptest::prelude::*;

/// The network with every kernel and matrix multiplied.
fn louder(network: &Network, factor: f64) -> Network {
    let weights = network.weights().iter().map(|(key, tensor)| {
        let factor = if key.role == Role::Weight { factor } else { 1.0 };
        (key, (tensor * factor).unwrap())
    });
    Network::new(network.architecture().clone(), weights.collect::<Weights>()).unwrap()
}

fn times(tensor: &Tensor, power: i32) -> Tensor {
    (tensor * f64::exp2(power.into())).unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

proptest! {
    #[test]
    fn the_logits_are_the_same_but_for_a_power_of_two(
        network in any_network(Limits::default(), DType::F64), loudness in 0..12, brightness in 0..9, keep in any::<bool>()
    ) {
        let network = louder(&network, f64::exp2(f64::from(loudness)));
        let batch = images(network.architecture().input(), 4, 0, DType::F64).unwrap();
        let batch = times(&batch, brightness);
        let Rescaled { network: rescaled, images, logits } = network.rescaled(&batch, keep).unwrap();
        prop_assert!(!keep || images == 0);
        let expected = numbers(&times(&network.logits(&batch).unwrap(), logits));
        // Zeros may differ in their sign, which `==` does not see.
        prop_assert_eq!(numbers(&rescaled.logits(&times(&batch, images)).unwrap()), expected);
        // Once is enough, but for what rounding to whole powers leaves at the edge of what is comfortable.
        let again = rescaled.rescaled(&times(&batch, images), keep).unwrap();
        prop_assert!(again.images.abs() <= 1 && again.logits.abs() <= 1, "{} {}", again.images, again.logits);
    }
}
