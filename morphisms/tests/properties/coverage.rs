//! The random networks take every morphism to every kind of layer.

use std::collections::{BTreeMap, BTreeSet};

use morphisms::strategies::{Limits, any_architecture};
use morphisms::{Activation, Architecture, Grouping, Layer, Node, PoolKind, catalog};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

/// Everything a random network is made of.
const KINDS: [&str; 41] = [
    "input",
    "dense",
    "grouped",
    "depthwise",
    "multiplied",
    "strided",
    "dilated",
    "unevenly padded",
    "biased",
    "batch norm",
    "relu",
    "relu6",
    "leaky relu",
    "sigmoid",
    "tanh",
    "silu",
    "gelu",
    "hard sigmoid",
    "hard swish",
    "clip",
    "prelu",
    "layer norm",
    "instance norm",
    "group norm",
    "local response norm",
    "channel shuffle",
    "scale",
    "dropout",
    "max pool",
    "average pool",
    "average pool of pixels",
    "global pool",
    "add",
    "add to itself",
    "multiply",
    "gate",
    "mix",
    "concat",
    "concat to itself",
    "flatten",
    "linear",
];

const CONVOLUTIONS: [&str; 8] =
    ["dense", "grouped", "depthwise", "multiplied", "strided", "dilated", "unevenly padded", "biased"];

/// Whether a morphism can meet a kind of layer, that is, change it or what it reads.
fn meets(morphism: &str, kind: &str) -> bool {
    match morphism {
        // Of a larger or smaller kernel nobody notices anything.
        "widen_kernel" | "shrink_kernel" => CONVOLUTIONS.contains(&kind),
        // Only dense readers change, and a concatenation that is extended.
        "skip_concat" => {
            let others = ["concat", "concat to itself", "linear"];
            let grouped = ["grouped", "depthwise", "multiplied"];
            others.contains(&kind) || (CONVOLUTIONS.contains(&kind) && !grouped.contains(&kind))
        }
        _ => !never(morphism).contains(&kind),
    }
}

fn never(morphism: &str) -> &'static [&'static str] {
    match morphism {
        // Their channels cannot change.
        "widen" | "prune" => &["input", "local response norm", "channel shuffle"],
        "skip_add" | "drop_skip" => &["input"],
        // What is put behind a map, or taken from there, is read as a map.
        "deepen" | "drop_layer" | "separate" | "branch" => &["input", "linear"],
        "deepen_residual" => &["input"],
        _ => &[],
    }
}

fn kinds(architecture: &Architecture, node: &Node) -> Vec<&'static str> {
    let twice = node.inputs.len() > 1 && node.inputs.iter().all(|input| *input == node.inputs[0]);
    match node.layer {
        Layer::Input => vec!["input"],
        Layer::Conv(conv) => {
            let channels = architecture.input_shape(node).channels();
            let mut kinds = vec![match conv.groups {
                1 => "dense",
                _ if !conv.is_depthwise(channels) => "grouped",
                _ if conv.out_channels == channels => "depthwise",
                _ => "multiplied",
            }];
            kinds.extend((conv.window.stride != (1, 1)).then_some("strided"));
            kinds.extend((conv.dilation != (1, 1)).then_some("dilated"));
            kinds.extend((!conv.window.padding.is_even()).then_some("unevenly padded"));
            kinds.extend(conv.bias.then_some("biased"));
            kinds
        }
        Layer::BatchNorm { .. } => vec!["batch norm"],
        Layer::Activation(function) => vec![activation(function)],
        Layer::Prelu => vec!["prelu"],
        Layer::GroupNorm { grouping: Grouping::All, .. } => vec!["layer norm"],
        Layer::GroupNorm { grouping: Grouping::Each, .. } => vec!["instance norm"],
        Layer::GroupNorm { grouping: Grouping::Groups(_), .. } => vec!["group norm"],
        Layer::LocalResponseNorm { .. } => vec!["local response norm"],
        Layer::ChannelShuffle { .. } => vec!["channel shuffle"],
        Layer::Scale { .. } => vec!["scale"],
        Layer::Dropout { .. } => vec!["dropout"],
        Layer::Multiply if node.inputs.iter().any(|input| architecture.shape(*input) != node.shape) => {
            vec!["gate"]
        }
        Layer::Multiply => vec!["multiply"],
        Layer::Pool { kind: PoolKind::Max, .. } => vec!["max pool"],
        Layer::Pool { kind: PoolKind::Average, .. } => vec!["average pool"],
        Layer::Pool { kind: PoolKind::AverageExcludingPadding, .. } => vec!["average pool of pixels"],
        Layer::GlobalAveragePool => vec!["global pool"],
        Layer::Add if twice => vec!["add to itself"],
        Layer::Add => vec!["add"],
        Layer::Mix => vec!["mix"],
        Layer::Concat if twice => vec!["concat to itself"],
        Layer::Concat => vec!["concat"],
        Layer::Flatten => vec!["flatten"],
        Layer::Linear { .. } => vec!["linear"],
    }
}

fn activation(function: Activation) -> &'static str {
    match function {
        Activation::Relu => "relu",
        Activation::Relu6 => "relu6",
        Activation::LeakyRelu { .. } => "leaky relu",
        Activation::Sigmoid => "sigmoid",
        Activation::Tanh => "tanh",
        Activation::Silu => "silu",
        Activation::Gelu => "gelu",
        Activation::HardSigmoid => "hard sigmoid",
        Activation::HardSwish => "hard swish",
        Activation::Clip { .. } => "clip",
    }
}

/// The layers of the parent that the child has not, or has with another shape, other inputs or inputs of another shape.
fn changed(parent: &Architecture, child: &Architecture) -> BTreeSet<&'static str> {
    let differs = |node: &&Node| {
        let same = |other: &Node| other == *node && child.input_shape(other) == parent.input_shape(node);
        !child.get(node.id).is_some_and(same)
    };
    parent.nodes().filter(differs).flat_map(|node| kinds(parent, node)).collect()
}

#[test]
fn every_morphism_meets_every_kind_of_layer_it_can() {
    let mut runner = TestRunner::deterministic();
    let strategy = any_architecture(Limits::default());
    let mut met: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for _ in 0..4000 {
        let parent = strategy.new_tree(&mut runner).unwrap().current();
        for morphism in catalog::all() {
            for site in morphism.sites(&parent) {
                let child = morphism.rewrite(&parent, &site, 0).unwrap().architecture;
                for kind in changed(&parent, &child) {
                    *met.entry((morphism.name(), kind)).or_default() += 1;
                }
            }
        }
    }
    let mut wrong = Vec::new();
    for morphism in catalog::all() {
        for kind in KINDS {
            let count = met.get(&(morphism.name(), kind)).copied().unwrap_or(0);
            let expected = meets(morphism.name(), kind);
            if (count > 0) != expected {
                wrong.push(format!("{} meets {kind} {count} times", morphism.name()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("; "));
}
