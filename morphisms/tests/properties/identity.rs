//! What is the same architecture, and what survives being written down.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Device};
use morphisms::strategies::{Limits, any_architecture, any_network};
use morphisms::{
    Activation, Architecture, Conv, Draft, Fingerprint, Layer, LayerId, Padding, PoolKind, Shape, Weights,
    Window,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::common::cases;

/// The architecture under other ids, its layers listed in another order and the terms of its sums shuffled.
fn relabelled(architecture: &Architecture, keys: &[u32]) -> Architecture {
    let mut document = serde_json::to_value(architecture).unwrap();
    let key = |place: usize| keys[place % keys.len()];
    let old: Vec<u64> = architecture.nodes().map(|node| u64::from(node.id.0)).collect();
    let mut order: Vec<usize> = (0..old.len()).collect();
    order.sort_by_key(|&place| (key(place), place));
    let new: BTreeMap<u64, u64> = order.iter().zip(7..).map(|(&place, id)| (old[place], 3 * id)).collect();
    let rename = |value: &mut Value| *value = json!(new[&value.as_u64().unwrap()]);
    rename(&mut document["output"]);
    document["next_id"] = json!(0);
    let layers = document["layers"].as_array_mut().unwrap();
    for (place, layer) in layers.iter_mut().enumerate() {
        rename(&mut layer["id"]);
        let is_sum = layer["type"] == "add";
        if let Some(inputs) = layer.get_mut("inputs").and_then(Value::as_array_mut) {
            inputs.iter_mut().for_each(rename);
            if is_sum {
                inputs.rotate_left(key(place) as usize % 2);
            }
        }
    }
    layers.sort_by_key(|layer| key(layer["id"].as_u64().unwrap() as usize));
    serde_json::from_value(document).unwrap()
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn other_ids_and_orders_are_the_same_architecture(
        architecture in any_architecture(Limits::default()), keys in proptest::collection::vec(any::<u32>(), 1..40),
    ) {
        let other = relabelled(&architecture, &keys);
        prop_assert_eq!(other.fingerprint(), architecture.fingerprint());
        prop_assert!(other.is_isomorphic(&architecture));
        prop_assert_eq!(other.macs(), architecture.macs());
        prop_assert_eq!(other.parameter_count(), architecture.parameter_count());
    }

    #[test]
    fn architectures_and_weights_survive_files(network in any_network(Limits::default(), DType::F32)) {
        let architecture: &Architecture = network.architecture();
        let text = serde_json::to_string(architecture).unwrap();
        let copy: Architecture = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&copy, architecture);
        prop_assert_eq!(serde_json::to_string(&copy).unwrap(), text);
        let bytes = network.weights().to_safetensors().unwrap();
        let weights = Weights::from_safetensors(&bytes, &Device::Cpu).unwrap();
        weights.check(&copy).unwrap();
        prop_assert_eq!(weights.to_safetensors().unwrap(), bytes);
        let fingerprint = copy.fingerprint();
        prop_assert_eq!(serde_json::to_value(fingerprint).unwrap(), json!(fingerprint.to_string()));
        prop_assert_eq!(fingerprint.to_string().parse::<Fingerprint>().unwrap(), fingerprint);
    }

    #[test]
    fn one_changed_layer_is_another_architecture(
        architecture in any_architecture(Limits::default()), place in any::<prop::sample::Index>(),
    ) {
        let nodes: Vec<_> = architecture.nodes().map(|node| node.id).collect();
        let mut draft = architecture.draft();
        let changed = match draft.layer_mut(*place.get(&nodes)).unwrap() {
            Layer::Conv(conv) => { conv.bias = !conv.bias; true }
            Layer::Linear { bias, .. } => { *bias = !*bias; true }
            Layer::BatchNorm { eps } => { *eps *= 2.0; true }
            Layer::GroupNorm { eps, .. } => { *eps *= 2.0; true }
            Layer::Scale { factor } => { *factor *= 2.0; true }
            Layer::LocalResponseNorm { alpha, .. } => { *alpha *= 2.0; true }
            Layer::ChannelShuffle { groups } => { *groups = 1; true }
            Layer::Dropout { probability } => { *probability /= 2.0; true }
            layer @ Layer::Activation(_) => { *layer = other_activation(*layer); true }
            layer @ Layer::Prelu => { *layer = Layer::RELU; true }
            layer @ Layer::Mix => { *layer = Layer::Add; true }
            Layer::Input | Layer::Pool { .. } | Layer::GlobalAveragePool | Layer::Add | Layer::Multiply
            | Layer::Concat | Layer::Flatten => false,
        };
        let other = draft.build().unwrap();
        prop_assert_eq!(other.fingerprint() != architecture.fingerprint(), changed);
        prop_assert_eq!(other.is_isomorphic(&architecture), !changed);
    }
}

/// The next activation in the list.
fn other_activation(layer: Layer) -> Layer {
    let place = Activation::ALL.iter().position(|function| Layer::Activation(*function) == layer);
    Layer::Activation(Activation::ALL[place.map_or(0, |place| (place + 1) % Activation::ALL.len())])
}

/// What an architecture computes, written down another way: equal layers of equal inputs share a number, over all
/// architectures seen.
#[derive(Default)]
struct Unfolded(BTreeMap<(String, Vec<usize>), usize>);

impl Unfolded {
    /// The number of the logits, and the number of layers: isomorphic architectures agree in both.
    fn of(&mut self, architecture: &Architecture) -> (usize, usize) {
        let mut numbers: BTreeMap<LayerId, usize> = BTreeMap::new();
        for node in architecture.nodes() {
            let mut inputs: Vec<usize> = node.inputs.iter().map(|input| numbers[input]).collect();
            if matches!(node.layer, Layer::Add) {
                inputs.sort_unstable();
            }
            let next = self.0.len();
            let number = *self.0.entry((format!("{:?} {}", node.layer, node.shape), inputs)).or_insert(next);
            numbers.insert(node.id, number);
        }
        (numbers[&architecture.output()], architecture.nodes().len())
    }
}

#[test]
fn ten_thousand_architectures_do_not_collide() {
    let mut runner = TestRunner::deterministic();
    let strategy = any_architecture(Limits::default());
    let (mut unfolded, mut seen, mut distinct) = (Unfolded::default(), BTreeMap::new(), 0);
    while distinct < 10_000 {
        let architecture = strategy.new_tree(&mut runner).unwrap().current();
        let description = unfolded.of(&architecture);
        let first = seen.entry(architecture.fingerprint()).or_insert_with(|| (distinct += 1, description).1);
        assert_eq!(
            *first, description,
            "two architectures with one fingerprint, the second {architecture:?}"
        );
    }
}

/// Two convolutions of the image, and what `merge` makes of them.
fn two_paths(merge: impl Fn(&mut Draft, LayerId, LayerId) -> LayerId) -> Architecture {
    let mut draft = Draft::new(Shape::map(1, 4, 4));
    let [a, b] = [1, 1].map(|kernel| draft.push(Layer::Conv(Conv::same(2, kernel)), &[LayerId(0)]));
    let c = draft.push(Layer::RELU, &[b]);
    let x = merge(&mut draft, a, c);
    draft.head(x, 2);
    draft.build().unwrap()
}

#[test]
fn the_order_of_a_concatenation_and_of_a_mix_matters_and_that_of_a_sum_does_not() {
    for (layer, same) in [(Layer::Concat, false), (Layer::Mix, false), (Layer::Add, true)] {
        let [ab, ba] = [false, true]
            .map(|swap| two_paths(|draft, a, b| draft.push(layer, &if swap { [b, a] } else { [a, b] })));
        assert_eq!(ab.fingerprint() == ba.fingerprint(), same, "{layer}");
        assert_eq!(ab.is_isomorphic(&ba), same, "{layer}");
    }
}

/// A map, two equal poolings of it if `twice`, else one, and their sum.
fn sum_of_two(twice: bool) -> Architecture {
    let mut draft = Draft::new(Shape::map(1, 4, 4));
    let conv = |draft: &mut Draft| draft.push(Layer::Conv(Conv::same(2, 3)), &[LayerId(0)]);
    let a = conv(&mut draft);
    let b = if twice { conv(&mut draft) } else { a };
    let sum = draft.push(Layer::Add, &[a, b]);
    draft.head(sum, 2);
    draft.build().unwrap()
}

#[test]
fn a_tensor_added_to_itself_is_not_the_sum_of_two_alike() {
    assert_ne!(sum_of_two(false).fingerprint(), sum_of_two(true).fingerprint());
}

/// One of [`every_number_of_a_layer_counts`], whose windows all make a 1x1 map: one stride leads out of the image.
fn only(layer: Layer) -> Fingerprint {
    let mut draft = Draft::new(Shape::map(2, 8, 8));
    let x = draft.push(layer, &[LayerId(0)]);
    let flat = draft.push(Layer::Flatten, &[x]);
    draft.set_output(flat);
    draft.build().unwrap().fingerprint()
}

/// Layers that leave the size of a map, each with numbers of its own.
fn without_window() -> Vec<Layer> {
    let response = |size, [alpha, beta, bias]: [f64; 3]| Layer::LocalResponseNorm { size, alpha, beta, bias };
    let clip = |low, high| Layer::Activation(Activation::Clip { low, high });
    vec![
        response(2, [1.0, 1.0, 1.0]),
        response(3, [1.0, 1.0, 1.0]),
        response(2, [2.0, 1.0, 1.0]),
        response(2, [1.0, 2.0, 1.0]),
        response(2, [1.0, 1.0, 2.0]),
        clip(0.0, 1.0),
        clip(0.0, 2.0),
        clip(-1.0, 1.0),
        Layer::ChannelShuffle { groups: 1 },
        Layer::ChannelShuffle { groups: 2 },
    ]
}

#[test]
fn every_number_of_a_layer_counts() {
    let window = Window { kernel: (3, 3), stride: (9, 9), padding: Padding::NONE };
    let windows = [
        window,
        Window { kernel: (2, 3), ..window },
        Window { kernel: (3, 2), ..window },
        Window { stride: (8, 9), ..window },
        Window { stride: (9, 8), ..window },
        Window { padding: Padding::even(1, 0), ..window },
        Window { padding: Padding::even(0, 1), ..window },
        Window { padding: Padding { top: 1, ..Padding::NONE }, ..window },
        Window { padding: Padding { left: 1, ..Padding::NONE }, ..window },
        Window { padding: Padding { bottom: 1, ..Padding::NONE }, ..window },
        Window { padding: Padding { right: 1, ..Padding::NONE }, ..window },
    ];
    let conv = Conv { out_channels: 2, window, dilation: (1, 1), groups: 1, bias: false };
    let mut layers: Vec<Layer> = windows.map(|window| Layer::Conv(Conv { window, ..conv })).to_vec();
    layers.extend([
        Layer::Conv(Conv { dilation: (2, 1), ..conv }),
        Layer::Conv(Conv { dilation: (1, 2), ..conv }),
        Layer::Conv(Conv { groups: 2, ..conv }),
        Layer::Conv(Conv { bias: true, ..conv }),
        Layer::Conv(Conv { out_channels: 3, ..conv }),
        Layer::GlobalAveragePool,
    ]);
    layers.extend(without_window());
    for kind in [PoolKind::Max, PoolKind::Average, PoolKind::AverageExcludingPadding] {
        layers.extend(windows.map(|window| Layer::Pool { kind, window }));
    }
    let fingerprints: BTreeSet<Fingerprint> = layers.iter().map(|layer| only(*layer)).collect();
    assert_eq!(fingerprints.len(), layers.len());
}

/// Two convolutions alike, the first read by a ReLU, the second by a pooling, and a batch norm of one of them. Looking back
/// only, every layer sees the same whichever it is.
fn sharing(first: bool) -> Architecture {
    let mut draft = Draft::new(Shape::map(1, 4, 4));
    let [a, b] = [0, 1].map(|_| draft.push(Layer::Conv(Conv::same(2, 3)), &[LayerId(0)]));
    let relu = draft.push(Layer::RELU, &[a]);
    let pool = draft.push(Layer::Pool { kind: PoolKind::Max, window: Window::same(3) }, &[b]);
    let norm = draft.push(Layer::BATCH_NORM, &[if first { a } else { b }]);
    let all = draft.push(Layer::Concat, &[relu, pool, norm]);
    draft.head(all, 2);
    draft.build().unwrap()
}

#[test]
fn it_matters_who_else_reads_a_tensor() {
    assert_ne!(sharing(true).fingerprint(), sharing(false).fingerprint());
    assert!(!sharing(true).is_isomorphic(&sharing(false)));
}

/// Two convolutions alike, each read by two ReLUs, which are added in pairs: those of one convolution, or across.
fn pairs(across: bool) -> Architecture {
    let mut draft = Draft::new(Shape::map(1, 4, 4));
    let convs = [0, 1].map(|_| draft.push(Layer::Conv(Conv::same(2, 3)), &[LayerId(0)]));
    let relus = convs.map(|conv| [0, 1].map(|_| draft.push(Layer::RELU, &[conv])));
    let pairs = match across {
        false => [[relus[0][0], relus[0][1]], [relus[1][0], relus[1][1]]],
        true => [[relus[0][0], relus[1][0]], [relus[0][1], relus[1][1]]],
    };
    let sums = pairs.map(|pair| draft.push(Layer::Add, &pair));
    let all = draft.push(Layer::Concat, &sums);
    draft.head(all, 2);
    draft.build().unwrap()
}

/// Looking back and looking ahead, every layer of these two sees the same; only the comparison of graphs tells them
/// apart. So an equal fingerprint is a hint, to be confirmed.
#[test]
fn isomorphism_tells_apart_what_a_fingerprint_may_not() {
    assert!(!pairs(false).is_isomorphic(&pairs(true)));
    assert!(pairs(true).is_isomorphic(&relabelled(&pairs(true), &[5, 2, 9, 1])));
}
