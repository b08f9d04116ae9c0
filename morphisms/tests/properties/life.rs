//! What exact morphisms add can learn.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use candle_core::{DType, Device, Tensor};
use morphisms::check::{Starved, calibrated, images, is_fully_alive, liveness};
use morphisms::strategies::any_network;
use morphisms::{Conv, Layer, Morphism, Network, Node, ParamKey, Promise, Role, Site};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::common::{SMALL, at, cases, child, promising};

/// One class after another, each softened: 0.9 for it, the rest for the next.
fn targets(network: &Network, batch: usize) -> Tensor {
    let classes = network.architecture().classes();
    let row = |image: usize| {
        let mut row = vec![0.0; classes];
        row[image % classes] += 0.9;
        row[(image + 1) % classes] += 0.1;
        row
    };
    let values: Vec<f64> = (0..batch).flat_map(row).collect();
    Tensor::from_vec(values, (batch, classes), &Device::Cpu).unwrap()
}

/// The network with every scale of a batch norm between 0.3 and 1, and with shifts and biases that leave ReLUs mostly
/// open. Next to a scale near 0, whose own gradient is enormous, all others look starved; and of mostly shut units one may
/// be open only where all that read it are shut.
fn open(network: &Network) -> Network {
    let opened = |(key, tensor): (ParamKey, &Tensor)| {
        let change: fn(f64) -> f64 = match key.role {
            Role::Gamma => |gamma| gamma.abs().clamp(0.3, 1.0).copysign(gamma),
            Role::Beta => |_| 1.0,
            Role::Bias => |bias| bias.abs() + 1.0,
            Role::Weight | Role::Mean | Role::Variance | Role::Lambda | Role::Slope => |value| value,
        };
        let values: Vec<f64> = tensor.flatten_all().unwrap().to_vec1().unwrap();
        let values: Vec<f64> = values.into_iter().map(change).collect();
        (key, Tensor::from_vec(values, tensor.dims(), tensor.device()).unwrap())
    };
    Network::new(network.architecture().clone(), network.weights().iter().map(opened).collect()).unwrap()
}

/// Whether every ReLU reads a batch norm or a layer with a bias. Else the places where one unit is open can be exactly
/// those where another is shut: a skip around the first of two ReLUs, `mix(relu(x), x)`, differs from it only where the
/// second is shut, and can never learn; nor can `relu(-x)` where all its readers are open on `x > 0` alone.
fn has_shifted_relus(network: &Network) -> bool {
    let architecture = network.architecture();
    let shifts = |node: &Node| match node.layer {
        Layer::BatchNorm { .. } => true,
        Layer::Conv(Conv { bias, .. }) | Layer::Linear { bias, .. } => bias,
        _ => false,
    };
    let mut relus = architecture.nodes().filter(|node| node.layer == Layer::RELU);
    relus.all(|relu| shifts(architecture.node(relu.inputs[0])))
}

/// The units of the child at a site that do not learn.
fn starved(
    parent: &Network,
    morphism: &dyn Morphism,
    site: &Site,
    seed: u64,
    images: &Tensor,
    targets: &Tensor,
) -> Result<Vec<Starved>, TestCaseError> {
    let child = child(parent, morphism, site, seed, Some(images))?;
    Ok(liveness(parent, &child, images, targets).unwrap())
}

#[test]
fn every_new_active_unit_receives_a_gradient_by_the_second_step() {
    let (drawn, checked) = (AtomicUsize::new(0), AtomicUsize::new(0));
    proptest!(cases(120), |(parent in any_network(SMALL, DType::F64), seed in 0..1000u64)| {
        let images = images(parent.architecture().input(), 12, seed, DType::F64).unwrap();
        let (parent, targets) = (calibrated(&open(&parent), &images).unwrap(), targets(&parent, 12));
        drawn.fetch_add(1, Relaxed);
        if !has_shifted_relus(&parent) || !is_fully_alive(&parent, &images, &targets).unwrap() {
            return Ok(());
        }
        checked.fetch_add(1, Relaxed);
        for morphism in promising(Promise::Exact) {
            for site in morphism.sites(parent.architecture()) {
                // Of what is drawn a unit may be unlucky: shut, or open only where all that read it are shut. But none
                // is each time.
                let mut starved = starved(&parent, morphism, &site, seed, &images, &targets)?;
                for seed in seed + 1..seed + 10 {
                    if starved.is_empty() {
                        break;
                    }
                    let again = self::starved(&parent, morphism, &site, seed, &images, &targets)?;
                    let place = |unit: &Starved| (unit.layer, unit.axis, unit.unit);
                    starved.retain(|unit| again.iter().any(|other| place(other) == place(unit)));
                }
                if !starved.is_empty() {
                    return Err(at(morphism, &site, format!("{starved:?}")));
                }
            }
        }
    });
    let (drawn, checked) = (drawn.into_inner(), checked.into_inner());
    assert!(checked * 10 >= drawn, "only {checked} of {drawn} networks were fully alive");
}
