//! Fingerprints: equal for architectures that differ only in the names of their layers.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};

use petgraph::algo::is_isomorphic_matching;
use petgraph::graph::DiGraph;
use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::architecture::{Architecture, Node};
use crate::layer::{Grouping, Layer, LayerId, Padding, Window};

/// 128 bits that isomorphic architectures share. Written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u128);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Fingerprint {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(Self)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Architecture {
    /// The fingerprint. Each layer is hashed with everything before it and with everything after it; the sum over
    /// the layers is hashed again. Looking both ways tells `add(a, a)` from `add(a, b)` with a like b. The
    /// inputs of Concat and Mix are ordered, those of Add are not.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut all: Vec<u128> = self.layer_hashes().into_values().collect();
        all.sort_unstable();
        Fingerprint(digest(|hasher| all.hash(hasher)))
    }

    /// Whether two architectures differ only in their layer ids; confirms an equal fingerprint.
    pub fn is_isomorphic(&self, other: &Self) -> bool {
        self.fingerprint() == other.fingerprint()
            && is_isomorphic_matching(
                &self.simple_graph(),
                &other.simple_graph(),
                |a, b| a == b,
                |(), ()| true,
            )
    }

    /// What each layer is, with its ancestors and its descendants.
    fn layer_hashes(&self) -> BTreeMap<LayerId, u128> {
        let mut before: BTreeMap<LayerId, u128> = BTreeMap::new();
        for node in self.nodes() {
            let mut inputs: Vec<u128> = node.inputs.iter().map(|id| before[id]).collect();
            if !node.layer.is_ordered() {
                inputs.sort_unstable();
            }
            before.insert(node.id, digest(|hasher| (hash_layer(node, hasher), inputs.hash(hasher)).1));
        }
        let mut after: BTreeMap<LayerId, u128> = BTreeMap::new();
        for node in self.nodes().rev() {
            let mut readers: Vec<(usize, u128)> = self
                .consumers(node.id)
                .into_iter()
                .map(|(id, position)| {
                    (if self.node(id).layer.is_ordered() { position } else { 0 }, after[&id])
                })
                .collect();
            readers.sort_unstable();
            after.insert(node.id, digest(|hasher| (hash_layer(node, hasher), readers.hash(hasher)).1));
        }
        before.iter().map(|(id, hash)| (*id, digest(|hasher| (hash, after[id]).hash(hasher)))).collect()
    }

    /// The graph with a node for every edge, because petgraph's isomorphism is for graphs without parallel edges.
    fn simple_graph(&self) -> DiGraph<(u128, usize), ()> {
        let hashes = self.layer_hashes();
        let mut simple = DiGraph::new();
        let nodes: BTreeMap<LayerId, _> =
            self.nodes().map(|node| (node.id, simple.add_node((hashes[&node.id], 0)))).collect();
        for edge in self.graph().raw_edges() {
            let (from, to) = (&self.graph()[edge.source()], &self.graph()[edge.target()]);
            let position = if to.layer.is_ordered() { edge.weight } else { 0 };
            let middle = simple.add_node((0, position + 1));
            simple.add_edge(nodes[&from.id], middle, ());
            simple.add_edge(middle, nodes[&to.id], ());
        }
        simple
    }
}

fn digest(write: impl FnOnce(&mut SipHasher13)) -> u128 {
    let mut hasher = SipHasher13::new();
    write(&mut hasher);
    hasher.finish128().as_u128()
}

/// Numbers are hashed one by one and as 64 bits, so that the value does not depend on the machine.
fn hash_layer(node: &Node, hasher: &mut SipHasher13) {
    let mut number = |value: usize| hasher.write_u64(value as u64);
    match node.layer {
        Layer::Input => number(0),
        Layer::Conv(conv) => {
            number(1);
            window_numbers(&conv.window).chain(pair(conv.dilation)).for_each(&mut number);
            [conv.out_channels, conv.groups, usize::from(conv.bias)].into_iter().for_each(&mut number);
            far_sides(conv.window.padding).for_each(&mut number);
        }
        Layer::BatchNorm { eps } => {
            number(2);
            hasher.write_u64(eps.to_bits());
        }
        Layer::Activation(function) => {
            number(3);
            function.code().for_each(|part| hasher.write_u64(part));
        }
        Layer::Pool { kind, window } => {
            number(4);
            number(kind as usize);
            window_numbers(&window).chain(far_sides(window.padding)).for_each(&mut number);
        }
        Layer::GlobalAveragePool => number(5),
        Layer::Add => number(6),
        Layer::Mix => number(7),
        Layer::Concat => number(8),
        Layer::Flatten => number(9),
        Layer::Linear { out_features, bias } => {
            [10, out_features, usize::from(bias)].into_iter().for_each(&mut number)
        }
        Layer::GroupNorm { grouping, eps } => {
            [11, grouping.count(node.shape.channels())].into_iter().for_each(&mut number);
            number(usize::from(grouping == Grouping::Each));
            hasher.write_u64(eps.to_bits());
        }
        Layer::Prelu => number(12),
        Layer::Scale { factor } => {
            number(13);
            hasher.write_u64(factor.to_bits());
        }
        Layer::Dropout { probability } => {
            number(14);
            hasher.write_u64(probability.to_bits());
        }
        Layer::Multiply => number(15),
        Layer::ChannelShuffle { groups } => [16, groups].into_iter().for_each(&mut number),
        Layer::LocalResponseNorm { size, alpha, beta, bias } => {
            [17, size].into_iter().for_each(&mut number);
            [alpha, beta, bias].iter().for_each(|value| hasher.write_u64(value.to_bits()));
        }
    }
    let (height, width) = node.shape.spatial();
    [node.shape.channels(), height, width].into_iter().for_each(|size| hasher.write_u64(size as u64));
}

fn pair((height, width): (usize, usize)) -> impl Iterator<Item = usize> {
    [height, width].into_iter()
}

/// Of the padding only what is above and to the left.
fn window_numbers(window: &Window) -> impl Iterator<Item = usize> {
    pair(window.kernel).chain(pair(window.stride)).chain([window.padding.top, window.padding.left])
}

/// The padding below and to the right, and nothing if it is as above and to the left: so the fingerprints of networks
/// that were stored when all paddings were even still hold.
fn far_sides(padding: Padding) -> impl Iterator<Item = usize> {
    [padding.bottom, padding.right].into_iter().filter(move |_| !padding.is_even())
}
