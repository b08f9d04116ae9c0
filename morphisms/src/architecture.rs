//! Architectures: directed acyclic graphs of layers, without weights.

mod draft;
mod json;
mod origin;

use std::collections::BTreeMap;
use std::sync::Arc;

use petgraph::Direction::Outgoing;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::{Bfs, EdgeRef};
use serde::{Deserialize, Serialize};

use crate::layer::{Layer, LayerId, Role, Shape};
use crate::{Error, Result};

pub use draft::Draft;
#[cfg(feature = "onnx")]
pub(crate) use draft::{bounded, bounded_shape};

use origin::Origin;

/// A layer in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Identity.
    pub id: LayerId,
    /// What it computes.
    pub layer: Layer,
    /// Where its inputs come from, in order.
    pub inputs: Vec<LayerId>,
    /// The shape of its output.
    pub shape: Shape,
}

/// The name of a parameter: the layer it belongs to and what it is for there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParamKey {
    /// The layer.
    pub layer: LayerId,
    /// What the parameter is for.
    pub role: Role,
}

impl ParamKey {
    /// The parameter of `layer` with this `role`.
    pub fn new(layer: LayerId, role: Role) -> Self {
        Self { layer, role }
    }

    /// A number for the key, in the order of the keys.
    pub(crate) fn number(self) -> u64 {
        u64::from(self.layer.0) * Role::ALL.len() as u64 + self.role as u64
    }

    /// The key that has this number.
    pub(crate) fn numbered(number: u64) -> Self {
        let roles = Role::ALL.len() as u64;
        Self { layer: LayerId((number / roles) as u32), role: Role::ALL[(number % roles) as usize] }
    }
}

impl std::fmt::Display for ParamKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.layer, self.role.name())
    }
}

impl std::str::FromStr for ParamKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (layer, name) = text.split_once('.')?;
            let role = Role::ALL.into_iter().find(|role| role.name() == name)?;
            Some(Self { layer: LayerId(layer.parse().ok()?), role })
        };
        // Nor `+1.weight` or `01.weight`: a file could then hold one parameter twice.
        let key = parse().filter(|key| key.to_string() == text);
        key.ok_or_else(|| Error::Weights(format!("parameter name: expected LAYER.ROLE, found `{text}`")))
    }
}

impl Serialize for ParamKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ParamKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A valid network structure: one input, one output that is a vector of logits, no cycle, every layer on a path
/// from the input to the output, all shapes known. It cannot be changed; [`Architecture::draft`] starts a new one.
/// Cloning copies no layers.
#[derive(Clone)]
pub struct Architecture {
    graph: Arc<Graph>,
    /// Sorted by id.
    index: Arc<[(LayerId, NodeIndex)]>,
    /// Of one that was rewritten from another.
    origin: Option<Arc<Origin>>,
    input: Shape,
    output: LayerId,
    next: u32,
}

/// Nodes are added in topological order, so a node's index is its place in that order. An edge carries the position of
/// its tensor among the consumer's inputs. A child shares the nodes that are as they were.
type Graph = DiGraph<Arc<Node>, usize>;

impl Architecture {
    /// The shape of an image.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// The layer that yields the logits.
    pub fn output(&self) -> LayerId {
        self.output
    }

    /// The number of logits.
    pub fn classes(&self) -> usize {
        self.shape(self.output).channels()
    }

    /// The layers in topological order.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = &Node> + ExactSizeIterator {
        self.shared_nodes().map(|node| &**node)
    }

    /// [`nodes`](Self::nodes), to be held on to.
    fn shared_nodes(&self) -> impl DoubleEndedIterator<Item = &Arc<Node>> + ExactSizeIterator {
        self.graph.raw_nodes().iter().map(|node| &node.weight)
    }

    /// The layers in the order of their ids.
    pub(crate) fn nodes_by_id(&self) -> impl Iterator<Item = &Node> {
        self.index.iter().map(|(_, index)| &*self.graph[*index])
    }

    /// The layer `id`, if there is one.
    pub fn get(&self, id: LayerId) -> Option<&Node> {
        let place = self.index.binary_search_by_key(&id, |entry| entry.0).ok()?;
        Some(&self.graph[self.index[place].1])
    }

    /// The place of layer `id`, which must exist, in topological order.
    pub(crate) fn place(&self, id: LayerId) -> usize {
        self.at(id).index()
    }

    fn at(&self, id: LayerId) -> NodeIndex {
        let place = self.index.binary_search_by_key(&id, |entry| entry.0);
        place.map_or_else(|_| panic!("no layer {id} in this architecture"), |place| self.index[place].1)
    }

    /// The layer `id`.
    ///
    /// # Panics
    /// If there is none: ids come from this architecture, so that is a bug of the caller.
    pub fn node(&self, id: LayerId) -> &Node {
        &self.graph[self.at(id)]
    }

    /// The output shape of the layer `id`, which must exist.
    pub fn shape(&self, id: LayerId) -> Shape {
        self.node(id).shape
    }

    /// The shape of the first input of `node`; of an input layer, the image.
    pub fn input_shape(&self, node: &Node) -> Shape {
        node.inputs.first().map_or(self.input, |&id| self.shape(id))
    }

    /// Who reads the output of layer `id`, in topological order, with the position among the reader's inputs. A
    /// layer that reads it twice is listed twice.
    pub fn consumers(&self, id: LayerId) -> Vec<(LayerId, usize)> {
        let mut consumers: Vec<_> = self
            .graph
            .edges_directed(self.at(id), Outgoing)
            .map(|edge| (edge.target(), *edge.weight()))
            .collect();
        consumers.sort_unstable();
        consumers.into_iter().map(|(node, position)| (self.graph[node].id, position)).collect()
    }

    /// The one layer that reads the output of `id`, if it is read once and is not the logits.
    pub fn only_consumer(&self, id: LayerId) -> Option<&Node> {
        let mut edges = self.graph.edges_directed(self.at(id), Outgoing);
        let first = edges.next()?;
        edges.next().is_none().then(|| &*self.graph[first.target()])
    }

    /// Whether the output of `id` is read more than once.
    pub(crate) fn is_shared(&self, id: LayerId) -> bool {
        self.graph.edges_directed(self.at(id), Outgoing).nth(1).is_some()
    }

    /// The layers whose output depends on layer `id`, itself included.
    pub fn descendants(&self, id: LayerId) -> Vec<LayerId> {
        let mut search = Bfs::new(&*self.graph, self.at(id));
        let mut found: Vec<_> = std::iter::from_fn(|| search.next(&*self.graph)).collect();
        found.sort_unstable();
        found.into_iter().map(|node| self.graph[node].id).collect()
    }

    /// The parameters and their shapes.
    pub fn parameters(&self) -> BTreeMap<ParamKey, Vec<usize>> {
        let of = |node: &Node| {
            let channels = self.input_shape(node).channels();
            let id = node.id;
            node.layer
                .parameters(channels)
                .into_iter()
                .map(move |(role, shape)| (ParamKey::new(id, role), shape))
        };
        self.nodes().flat_map(of).collect()
    }

    /// The shape of one parameter, if there is such a parameter.
    pub fn parameter(&self, key: ParamKey) -> Option<Vec<usize>> {
        let mut found = None;
        if let Some(node) = self.get(key.layer) {
            self.each_parameter(node, &mut |other, shape| {
                if other == key {
                    found = Some(shape.to_vec());
                }
            });
        }
        found
    }

    /// Visits the parameters of a layer and their shapes, in the order of their names.
    pub(crate) fn each_parameter(&self, node: &Node, visit: &mut dyn FnMut(ParamKey, &[usize])) {
        let channels = self.input_shape(node).channels();
        node.layer.each_parameter(channels, &mut |role, shape| visit(ParamKey::new(node.id, role), shape));
    }

    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }
}

impl std::fmt::Debug for Architecture {
    /// A layer a line, in topological order: id, layer, inputs and shape.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for Node { id, layer, inputs, shape } in self.nodes() {
            let inputs: Vec<String> = inputs.iter().map(LayerId::to_string).collect();
            write!(f, "\n{id}: {layer} of [{}] -> {shape}", inputs.join(", "))?;
        }
        Ok(())
    }
}

impl PartialEq for Architecture {
    /// Equal layers under equal ids; see [`Architecture::is_isomorphic`] for equality up to ids.
    fn eq(&self, other: &Self) -> bool {
        (self.input, self.output, self.next) == (other.input, other.output, other.next)
            && self.nodes().eq(other.nodes())
    }
}
