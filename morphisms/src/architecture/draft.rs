//! Architectures in the making.

#[cfg(feature = "onnx")]
use std::collections::BTreeSet;
use std::sync::Arc;

use petgraph::algo::toposort;
use petgraph::graph::{DiGraph, NodeIndex};

use super::{Architecture, Graph, Node, Origin};
use crate::layer::{Conv, Layer, LayerId, PoolKind, Shape, Window};
use crate::{Error, Result};

/// Networks with more parameters or activations than this are refused, so that sizes never overflow.
const LARGEST: u128 = 1 << 40;

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
    pub(super) input: Shape,
    /// Sorted by id. Those of the parent are shared until they change; of others the shape is not known yet.
    pub(super) nodes: Vec<Arc<Node>>,
    pub(super) output: LayerId,
    /// Larger than every id.
    pub(super) next: u32,
    /// What it is a copy of.
    pub(super) parent: Option<Architecture>,
}

impl Architecture {
    /// A copy to be changed and built anew.
    pub fn draft(&self) -> Draft {
        let nodes = self.index.iter().map(|(_, place)| self.graph[*place].clone()).collect();
        let Self { input, output, next, .. } = *self;
        Draft { input, nodes, output, next, parent: Some(self.clone()) }
    }
}

impl Node {
    /// A layer whose shape is not known yet.
    pub(super) fn new(id: LayerId, layer: Layer, inputs: Vec<LayerId>) -> Self {
        Self { id, layer, inputs, shape: Shape::Vector(0) }
    }
}

impl Draft {
    /// A draft that holds nothing but the input.
    pub fn new(input: Shape) -> Self {
        let id = LayerId(0);
        let nodes = vec![Arc::new(Node::new(id, Layer::Input, Vec::new()))];
        Self { input, nodes, output: id, next: 1, parent: None }
    }

    /// The id of the input layer.
    pub fn input(&self) -> LayerId {
        let input = self.nodes.iter().find(|node| matches!(node.layer, Layer::Input));
        input.map_or(LayerId(0), |node| node.id)
    }

    /// Adds a layer that reads `inputs`.
    pub fn push(&mut self, layer: Layer, inputs: &[LayerId]) -> LayerId {
        let id = LayerId(self.next);
        self.next += 1;
        self.nodes.push(Arc::new(Node::new(id, layer, inputs.to_vec())));
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
        self.node_mut(id).map(|node| &mut node.layer)
    }

    /// The inputs of layer `id`, to be changed in place.
    pub fn inputs_mut(&mut self, id: LayerId) -> Option<&mut Vec<LayerId>> {
        self.node_mut(id).map(|node| &mut node.inputs)
    }

    fn position(&self, id: LayerId) -> Option<usize> {
        self.nodes.binary_search_by_key(&id, |node| node.id).ok()
    }

    fn node_mut(&mut self, id: LayerId) -> Option<&mut Node> {
        let position = self.position(id)?;
        Some(Arc::make_mut(&mut self.nodes[position]))
    }

    /// The layer `id` and what it reads.
    #[cfg(feature = "onnx")]
    pub(crate) fn get(&self, id: LayerId) -> Option<(Layer, &[LayerId])> {
        let node = &self.nodes[self.position(id)?];
        Some((node.layer, &node.inputs))
    }

    /// Takes out what the output does not depend on.
    #[cfg(feature = "onnx")]
    pub(crate) fn keep_needed(&mut self) {
        let mut needed = BTreeSet::from([self.input()]);
        let mut next = vec![self.output];
        while let Some(id) = next.pop() {
            if needed.insert(id) {
                next.extend(self.get(id).into_iter().flat_map(|(_, inputs)| inputs));
            }
        }
        self.nodes.retain(|node| needed.contains(&node.id));
    }

    /// Lets every layer that reads `old` read `new` instead, but for `new` itself; the output follows.
    pub fn redirect(&mut self, old: LayerId, new: LayerId) {
        for node in self.nodes.iter_mut().filter(|node| node.id != new && node.inputs.contains(&old)) {
            let inputs = &mut Arc::make_mut(node).inputs;
            inputs.iter_mut().filter(|input| **input == old).for_each(|input| *input = new);
        }
        if self.output == old {
            self.output = new;
        }
    }

    /// Removes the layer `id` that has one input, and lets its readers read that input.
    pub fn bypass(&mut self, id: LayerId) {
        if let Some(position) = self.position(id) {
            let node = self.nodes.remove(position);
            self.redirect(id, node.inputs[0]);
        }
    }

    /// Checks everything and fixes the shapes.
    ///
    /// # Errors
    /// [`Error::Architecture`] with the layer and the reason.
    pub fn build(self) -> Result<Architecture> {
        let invalid = |problem: String| Err(Error::Architecture(problem));
        let inputs = self.nodes.iter().filter(|node| matches!(node.layer, Layer::Input)).count();
        if inputs != 1 {
            return invalid(format!("expected one input layer, found {inputs}"));
        }
        if self.position(self.output).is_none() {
            return invalid(format!("the output, layer {}, does not exist", self.output));
        }
        let order = self.topological_order()?;
        let architecture = self.in_order(&order)?;
        if !matches!(architecture.shape(architecture.output), Shape::Vector(_)) {
            let found = architecture.shape(architecture.output);
            return invalid(format!("the output must be a vector of logits, found a map {found}"));
        }
        architecture.check_all_reach_output()?;
        Ok(architecture)
    }

    /// Positions in [`Draft::nodes`].
    fn topological_order(&self) -> Result<Vec<usize>> {
        let mut graph = DiGraph::<(), ()>::with_capacity(self.nodes.len(), 2 * self.nodes.len());
        for _ in &self.nodes {
            graph.add_node(());
        }
        for (position, node) in self.nodes.iter().enumerate() {
            for &input in &node.inputs {
                let Some(from) = self.position(input) else {
                    let id = node.id;
                    let problem = format!("layer {id} reads layer {input}, which does not exist");
                    return Err(Error::Architecture(problem));
                };
                graph.add_edge(NodeIndex::new(from), NodeIndex::new(position), ());
            }
        }
        let order = toposort(&graph, None).map_err(|cycle| {
            let id = self.nodes[cycle.node_id().index()].id;
            Error::Architecture(format!("a cycle through layer {id}"))
        })?;
        Ok(order.into_iter().map(NodeIndex::index).collect())
    }

    /// Adds the nodes at these positions, one behind the other.
    fn in_order(mut self, order: &[usize]) -> Result<Architecture> {
        // A thousand children are a thousand graphs: no more room than it takes.
        let edges = self.nodes.iter().map(|node| node.inputs.len()).sum();
        let mut graph = Graph::with_capacity(order.len(), edges);
        let mut index: Vec<_> = self.nodes.iter().map(|node| (node.id, NodeIndex::end())).collect();
        for &position in order {
            let node = &mut self.nodes[position];
            // Inputs come before their readers, so they are there.
            let place = |input: &LayerId| {
                let position = index.binary_search_by_key(input, |entry| entry.0);
                index[position.expect("the order lists every layer")].1
            };
            let sources: Vec<NodeIndex> = node.inputs.iter().map(place).collect();
            let shapes: Vec<Shape> = sources.iter().map(|&source| graph[source].shape).collect();
            let shape = shape_of(node, self.input, &shapes)?;
            if node.shape != shape {
                Arc::make_mut(node).shape = shape;
            }
            index[position].1 = graph.add_node(node.clone());
            for (at, source) in sources.into_iter().enumerate() {
                graph.add_edge(source, index[position].1, at);
            }
        }
        let Self { input, output, next, parent, nodes: _ } = self;
        let next = next.max(index.last().map_or(0, |(id, _)| id.0 + 1));
        let child =
            Architecture { graph: Arc::new(graph), index: index.into(), origin: None, input, output, next };
        let origin = parent.map(|parent| Arc::new(Origin::of(&child, &parent)));
        Ok(Architecture { origin, ..child })
    }
}

/// The shape of what a layer makes of inputs of these shapes; `image` is that of the network's input.
fn shape_of(node: &Node, image: Shape, inputs: &[Shape]) -> Result<Shape> {
    let shape = match &node.layer {
        Layer::Input if inputs.is_empty() => bounded(image),
        layer => bounded_shape(layer, inputs),
    };
    shape.map_err(|error| match error {
        Error::Architecture(problem) => Error::Architecture(format!("layer {}: {problem}", node.id)),
        other => other,
    })
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
