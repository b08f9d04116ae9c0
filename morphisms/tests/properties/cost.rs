//! Shapes and costs against what running shows and against counting one by one.

use std::collections::BTreeMap;

use candle_core::DType;
use morphisms::check::images;
use morphisms::strategies::{Limits, any_architecture, any_network};
use morphisms::{Architecture, Conv, Layer, LayerId, Node, Padding, Role, Window};
use proptest::prelude::*;

use crate::common::cases;

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn shapes_are_those_of_the_tensors(parent in any_network(Limits::default(), DType::F32), batch in 1..4usize) {
        let images = images(parent.architecture().input(), batch, 0, DType::F32).unwrap();
        for node in parent.architecture().nodes() {
            let output = parent.activation(&images, node.id).unwrap();
            let expected = match node.shape {
                morphisms::Shape::Map { channels, height, width } => vec![batch, channels, height, width],
                morphisms::Shape::Vector(features) => vec![batch, features],
            };
            prop_assert_eq!(output.dims(), &expected[..], "layer {}", node.id);
        }
    }

    #[test]
    fn parameters_are_the_numbers_in_the_trained_tensors(parent in any_network(Limits::default(), DType::F32)) {
        let trained = |role| !matches!(role, Role::Mean | Role::Variance);
        let count = |layer: Option<LayerId>| -> usize {
            let of_layer = parent.weights().iter().filter(|(key, _)| layer.is_none_or(|id| id == key.layer));
            of_layer.filter(|(key, _)| trained(key.role)).map(|(_, tensor)| tensor.elem_count()).sum()
        };
        prop_assert_eq!(parent.architecture().parameter_count(), count(None) as u64);
        for node in parent.architecture().nodes() {
            let found = parent.architecture().layer_parameter_count(node);
            prop_assert_eq!(found, count(Some(node.id)) as u64, "layer {}", node.id);
        }
    }

    #[test]
    fn multiply_adds_are_counted_one_by_one(architecture in any_architecture(Limits::default())) {
        let expected: u64 = architecture.nodes().map(|node| multiply_adds(&architecture, node)).sum();
        prop_assert_eq!(architecture.macs(), expected);
    }

    #[test]
    fn activation_memory_is_that_of_a_simulated_run(architecture in any_architecture(Limits::default())) {
        prop_assert_eq!(architecture.activation_memory(), 4 * peak(&architecture));
    }
}

/// One for every kernel tap at every place a window stands, padding included.
fn multiply_adds(architecture: &Architecture, node: &Node) -> u64 {
    let input = architecture.input_shape(node);
    let mut count = 0;
    match node.layer {
        Layer::Conv(Conv { out_channels, window, dilation, groups, .. }) => {
            let (height, width) = input.spatial();
            let Padding { top, left, bottom, right } = window.padding;
            for _row in places(top + height + bottom, window, dilation, |(height, _)| height) {
                for _column in places(left + width + right, window, dilation, |(_, width)| width) {
                    for _out in 0..out_channels {
                        for _in in 0..input.channels() / groups {
                            count += (window.kernel.0 * window.kernel.1) as u64;
                        }
                    }
                }
            }
        }
        Layer::Linear { out_features, .. } => {
            for _out in 0..out_features {
                count += input.channels() as u64;
            }
        }
        _ => {}
    }
    count
}

/// Where a window stands along one axis: from the left end of the padding on, while its last tap is inside.
fn places(
    padded: usize,
    window: Window,
    dilation: (usize, usize),
    of: impl Fn((usize, usize)) -> usize,
) -> Vec<usize> {
    let last_tap = (of(window.kernel) - 1) * of(dilation);
    (0..padded).step_by(of(window.stride)).filter(|start| start + last_tap < padded).collect()
}

/// The most numbers alive at once. Every tensor is a buffer with a count of those who still have to read it; a layer
/// that may work in place takes over the buffer of its input when it is the last reader.
fn peak(architecture: &Architecture) -> u64 {
    let mut left: BTreeMap<LayerId, usize> = BTreeMap::new();
    for node in architecture.nodes() {
        for input in &node.inputs {
            *left.entry(*input).or_default() += 1;
        }
    }
    let mut buffers: BTreeMap<LayerId, u64> = BTreeMap::new();
    let mut most = 0;
    for node in architecture.nodes() {
        let size = node.shape.elements() as u64;
        for input in &node.inputs {
            *left.get_mut(input).unwrap() -= 1;
        }
        let in_place = matches!(
            node.layer,
            Layer::BatchNorm { .. }
                | Layer::GroupNorm { .. }
                | Layer::Activation(_)
                | Layer::Prelu
                | Layer::Scale { .. }
                | Layer::Dropout { .. }
                | Layer::Flatten
        );
        if in_place && left[&node.inputs[0]] == 0 {
            buffers.remove(&node.inputs[0]);
        }
        buffers.insert(node.id, size);
        most = most.max(buffers.values().sum());
        buffers.retain(|id, _| *id == architecture.output() || left[id] > 0);
    }
    most
}
