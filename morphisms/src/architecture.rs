//! Architectures: directed acyclic graphs of layers, without weights.

mod json;

use std::collections::BTreeMap;
#[cfg(feature = "onnx")]
use std::collections::BTreeSet;
use std::sync::Arc;

use petgraph::Direction::Outgoing;
use petgraph::algo::toposort;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::{Bfs, EdgeRef};
use serde::{Deserialize, Serialize};

use crate::layer::{Conv, Layer, LayerId, PoolKind, Role, Shape, Window};
use crate::{Error, Result};

/// Networks with more parameters or activations than this are refused, so that sizes never overflow.
const LARGEST: u128 = 1 << 40;

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
    /// Nodes are added in topological order, so a node's index is its place in that order. An edge carries the
    /// position of its tensor among the consumer's inputs.
    graph: Arc<DiGraph<Node, usize>>,
    /// Sorted by id.
    index: Arc<[(LayerId, NodeIndex)]>,
    input: Shape,
    output: LayerId,
    next: u32,
}

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
        self.graph.node_weights_in_order()
    }

    /// The layers in the order of their ids.
    pub(crate) fn nodes_by_id(&self) -> impl Iterator<Item = &Node> {
        self.index.iter().map(|(_, index)| &self.graph[*index])
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
        edges.next().is_none().then(|| &self.graph[first.target()])
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
        let node = self.get(key.layer)?;
        let parameters = node.layer.parameters(self.input_shape(node).channels());
        parameters.into_iter().find(|(role, _)| *role == key.role).map(|(_, shape)| shape)
    }

    /// A copy to be changed and built anew.
    pub fn draft(&self) -> Draft {
        let layers = self.nodes().map(|node| (node.id, (node.layer, node.inputs.clone()))).collect();
        Draft { input: self.input, layers, output: self.output, next: self.next }
    }

    pub(crate) fn graph(&self) -> &DiGraph<Node, usize> {
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

/// Indices of a graph built in topological order are that order.
trait InOrder {
    fn node_weights_in_order(&self) -> impl DoubleEndedIterator<Item = &Node> + ExactSizeIterator;
}

impl InOrder for DiGraph<Node, usize> {
    fn node_weights_in_order(&self) -> impl DoubleEndedIterator<Item = &Node> + ExactSizeIterator {
        self.raw_nodes().iter().map(|node| &node.weight)
    }
}

impl PartialEq for Architecture {
    /// Equal layers under equal ids; see [`Architecture::is_isomorphic`] for equality up to ids.
    fn eq(&self, other: &Self) -> bool {
        (self.input, self.output, self.next) == (other.input, other.output, other.next)
            && self.nodes().eq(other.nodes())
    }
}

/// An architecture in the making.
///
/// ```
/// use morphisms::{Conv, Draft, Shape};
/// let mut draft = Draft::new(Shape::map(1, 8, 8));
/// let x = draft.conv_bn_relu(draft.input(), Conv::same(16, 3));
/// let x = draft.max_pool(x, 2);
/// let x = draft.conv_bn_relu(x, Conv::same(32, 3));
/// draft.head(x, 10);
/// let architecture = draft.build()?;
/// assert_eq!(architecture.classes(), 10);
/// # Ok::<(), morphisms::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Draft {
    input: Shape,
    layers: BTreeMap<LayerId, (Layer, Vec<LayerId>)>,
    output: LayerId,
    next: u32,
}

impl Draft {
    /// A draft that holds nothing but the input.
    pub fn new(input: Shape) -> Self {
        let id = LayerId(0);
        Self { input, layers: BTreeMap::from([(id, (Layer::Input, Vec::new()))]), output: id, next: 1 }
    }

    /// The id of the input layer.
    pub fn input(&self) -> LayerId {
        let is_input = |(_, (layer, _)): &(&LayerId, &(Layer, Vec<LayerId>))| matches!(layer, Layer::Input);
        self.layers.iter().find(is_input).map_or(LayerId(0), |(&id, _)| id)
    }

    /// Adds a layer that reads `inputs`.
    pub fn push(&mut self, layer: Layer, inputs: &[LayerId]) -> LayerId {
        let id = LayerId(self.next);
        self.next += 1;
        self.layers.insert(id, (layer, inputs.to_vec()));
        id
    }

    /// Adds a convolution, a batch norm and a ReLU, one after the other; returns the last.
    pub fn conv_bn_relu(&mut self, x: LayerId, conv: Conv) -> LayerId {
        let conv = self.push(Layer::Conv(conv), &[x]);
        let norm = self.push(Layer::BATCH_NORM, &[conv]);
        self.push(Layer::RELU, &[norm])
    }

    /// Adds a max pooling whose square windows tile the map.
    pub fn max_pool(&mut self, x: LayerId, kernel: usize) -> LayerId {
        self.push(Layer::Pool { kind: PoolKind::Max, window: Window::tiles(kernel) }, &[x])
    }

    /// Adds a classifier, global average pooling and a linear layer, and makes its logits the output.
    pub fn head(&mut self, x: LayerId, classes: usize) -> LayerId {
        let pooled = self.push(Layer::GlobalAveragePool, &[x]);
        let flat = self.push(Layer::Flatten, &[pooled]);
        let logits = self.push(Layer::Linear { out_features: classes, bias: true }, &[flat]);
        self.set_output(logits);
        logits
    }

    /// Makes the output of `id` the output of the network.
    pub fn set_output(&mut self, id: LayerId) {
        self.output = id;
    }

    /// The layer `id`, to be changed in place.
    pub fn layer_mut(&mut self, id: LayerId) -> Option<&mut Layer> {
        self.layers.get_mut(&id).map(|(layer, _)| layer)
    }

    /// The inputs of layer `id`, to be changed in place.
    pub fn inputs_mut(&mut self, id: LayerId) -> Option<&mut Vec<LayerId>> {
        self.layers.get_mut(&id).map(|(_, inputs)| inputs)
    }

    /// The layer `id` and what it reads.
    #[cfg(feature = "onnx")]
    pub(crate) fn get(&self, id: LayerId) -> Option<(Layer, &[LayerId])> {
        self.layers.get(&id).map(|(layer, inputs)| (*layer, inputs.as_slice()))
    }

    /// Takes out what the output does not depend on.
    #[cfg(feature = "onnx")]
    pub(crate) fn keep_needed(&mut self) {
        let mut needed = BTreeSet::from([self.input()]);
        let mut next = vec![self.output];
        while let Some(id) = next.pop() {
            if needed.insert(id) {
                next.extend(self.layers.get(&id).into_iter().flat_map(|(_, inputs)| inputs));
            }
        }
        self.layers.retain(|id, _| needed.contains(id));
    }

    /// Lets every layer that reads `old` read `new` instead, but for `new` itself; the output follows.
    pub fn redirect(&mut self, old: LayerId, new: LayerId) {
        for (&id, (_, inputs)) in &mut self.layers {
            if id != new {
                inputs.iter_mut().filter(|input| **input == old).for_each(|input| *input = new);
            }
        }
        if self.output == old {
            self.output = new;
        }
    }

    /// Removes the layer `id` that has one input, and lets its readers read that input.
    pub fn bypass(&mut self, id: LayerId) {
        if let Some((_, inputs)) = self.layers.remove(&id) {
            self.redirect(id, inputs[0]);
        }
    }

    /// Checks everything and fixes the shapes.
    ///
    /// # Errors
    /// [`Error::Architecture`] with the layer and the reason.
    pub fn build(self) -> Result<Architecture> {
        let invalid = |problem: String| Err(Error::Architecture(problem));
        let inputs = self.layers.values().filter(|(layer, _)| matches!(layer, Layer::Input)).count();
        if inputs != 1 {
            return invalid(format!("expected one input layer, found {inputs}"));
        }
        if !self.layers.contains_key(&self.output) {
            return invalid(format!("the output, layer {}, does not exist", self.output));
        }
        let order = self.topological_order()?;
        let architecture = self.with_shapes(&order)?;
        if !matches!(architecture.shape(architecture.output), Shape::Vector(_)) {
            let found = architecture.shape(architecture.output);
            return invalid(format!("the output must be a vector of logits, found a map {found}"));
        }
        architecture.check_all_reach_output()?;
        Ok(architecture)
    }

    fn topological_order(&self) -> Result<Vec<LayerId>> {
        let ids: Vec<LayerId> = self.layers.keys().copied().collect();
        let mut graph = DiGraph::<(), ()>::with_capacity(ids.len(), 2 * ids.len());
        for _ in &ids {
            graph.add_node(());
        }
        for (place, (id, (_, inputs))) in self.layers.iter().enumerate() {
            for input in inputs {
                let Ok(from) = ids.binary_search(input) else {
                    return Err(Error::Architecture(format!(
                        "layer {id} reads layer {input}, which does not exist"
                    )));
                };
                graph.add_edge(NodeIndex::new(from), NodeIndex::new(place), ());
            }
        }
        let order = toposort(&graph, None).map_err(|cycle| {
            Error::Architecture(format!("a cycle through layer {}", ids[cycle.node_id().index()]))
        })?;
        Ok(order.into_iter().map(|node| ids[node.index()]).collect())
    }

    fn with_shapes(mut self, order: &[LayerId]) -> Result<Architecture> {
        let mut index: Vec<_> =
            order.iter().enumerate().map(|(place, &id)| (id, NodeIndex::new(place))).collect();
        index.sort_unstable();
        let next = self.next.max(index.last().map_or(0, |(id, _)| id.0 + 1));
        let mut architecture = Architecture {
            graph: Arc::new(DiGraph::with_capacity(order.len(), 2 * order.len())),
            index: index.into(),
            input: self.input,
            output: self.output,
            next,
        };
        for id in order {
            let (layer, inputs) = self.layers.remove(id).expect("the order lists every layer once");
            // Inputs come before their readers, so they are there.
            let shapes: Vec<Shape> = inputs.iter().map(|&input| architecture.shape(input)).collect();
            let shape = self.shape_of(*id, &layer, &shapes)?;
            let sources: Vec<NodeIndex> = inputs.iter().map(|&input| architecture.at(input)).collect();
            // Nobody else has it yet, so nothing is copied.
            let graph = Arc::make_mut(&mut architecture.graph);
            let node = graph.add_node(Node { id: *id, layer, inputs, shape });
            for (position, source) in sources.into_iter().enumerate() {
                graph.add_edge(source, node, position);
            }
        }
        Ok(architecture)
    }

    fn shape_of(&self, id: LayerId, layer: &Layer, inputs: &[Shape]) -> Result<Shape> {
        let shape = match layer {
            Layer::Input if inputs.is_empty() => bounded(self.input),
            _ => bounded_shape(layer, inputs),
        };
        shape.map_err(|error| match error {
            Error::Architecture(problem) => Error::Architecture(format!("layer {id}: {problem}")),
            other => other,
        })
    }
}

/// The output shape of a layer, of a size that can be counted on: it may come from a file.
pub(crate) fn bounded_shape(layer: &Layer, inputs: &[Shape]) -> Result<Shape> {
    let shape = layer.output_shape(inputs)?;
    let mut parameters = 0;
    layer.each_parameter(inputs.first().map_or(1, Shape::channels), &mut |_, sizes| {
        parameters = parameters.max(numbers(sizes));
    });
    if parameters > LARGEST {
        return Err(too_large(parameters));
    }
    bounded(shape)
}

/// A shape that is neither empty nor larger than anything.
pub(crate) fn bounded(shape: Shape) -> Result<Shape> {
    let (height, width) = shape.spatial();
    match numbers(&[shape.channels(), height, width]) {
        0 => Err(Error::Architecture(format!("output shape {shape} is empty"))),
        size if size > LARGEST => Err(too_large(size)),
        _ => Ok(shape),
    }
}

fn numbers(sizes: &[usize]) -> u128 {
    sizes.iter().fold(1u128, |n, &size| n.saturating_mul(size as u128))
}

fn too_large(size: u128) -> Error {
    Error::Architecture(format!("{size} numbers in one tensor, more than {LARGEST}"))
}

impl Architecture {
    fn check_all_reach_output(&self) -> Result<()> {
        let mut reached = vec![false; self.graph.node_count()];
        reached[self.place(self.output)] = true;
        for (place, node) in self.nodes().enumerate().rev() {
            if reached[place] {
                node.inputs.iter().for_each(|&input| reached[self.place(input)] = true);
            }
        }
        match reached.iter().filter(|&&reached| !reached).count() {
            // So nobody reads the output: a reader would have to lead to it, in a cycle.
            0 => Ok(()),
            lost => Err(Error::Architecture(format!(
                "{lost} layers do not lead to the output, layer {}",
                self.output
            ))),
        }
    }
}
