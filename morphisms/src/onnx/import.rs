//! From an ONNX model to a network.
//!
//! A model's nodes are visited in order. What does not depend on the images is computed at once; what does becomes a
//! layer, or a [`View`] of one. Reasons for which a node cannot be taken are collected, so that a reader hears of all
//! of them at once.

mod affine;
mod fold;
mod gelu;
mod inputs;
mod joins;
mod layers;
mod node;
mod shape;
mod spatial;
mod view;
mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bytes::Bytes;
use candle_core::Tensor;
use prost::Message;

use super::constant::Constant;
use super::schema::tensor_shape_proto::dimension;
use super::schema::{GraphProto, ModelProto, NodeProto, ValueInfoProto, type_proto};
use super::tensor::{self, Beside};
use crate::architecture::{Draft, ParamKey, bounded, bounded_shape};
use crate::layer::{Layer, LayerId, Role, Shape};
use crate::network::Network;
use crate::weights::Weights;
use crate::{Error, Result};
use node::Operator;
use view::View;

/// The oldest operator set whose operators mean what they mean today.
const OLDEST_OPSET: i64 = 7;
/// Reasons that are listed before the rest are counted.
const MOST_REASONS: usize = 40;
/// Numbers that may be computed from constants, for each that the model holds; real models compute most of theirs once
/// or twice.
const COMPUTED_EACH: usize = 16;
/// Numbers that may be computed by a model that holds none.
const COMPUTED: usize = 1 << 22;

/// How a model is read.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportOptions {
    /// The shape of an image, for models that leave it open; those that don't must agree.
    pub input: Option<Shape>,
    /// The output that yields the logits, for models with several.
    pub output: Option<String>,
    /// Where files with weights may lie, for models that keep them outside.
    pub folder: Option<PathBuf>,
    /// The most parameters that are taken: a file of a few bytes can ask for any number.
    pub largest: usize,
}

impl Default for ImportOptions {
    /// Networks of at most 2^28 parameters (1 GiB), nothing else given.
    fn default() -> Self {
        Self { input: None, output: None, folder: None, largest: 1 << 28 }
    }
}

/// What a model became.
#[derive(Debug, Clone)]
pub struct Import {
    /// The network, in f32 on the CPU. Its output is the logits.
    pub network: Network,
    /// Whether the model goes on with a softmax, which is left out.
    pub softmax: bool,
    /// Whether the model takes images as `[batch, height, width, channels]`. The network takes `[batch, channels, height,
    /// width]`.
    pub channels_last: bool,
    /// The name of the model's input.
    pub input_name: String,
    /// The name of the model's output.
    pub output_name: String,
    /// What else goes with the model, by key.
    pub metadata: BTreeMap<String, String>,
}

/// Why a node cannot be taken.
#[derive(Debug)]
pub(super) struct Reason(String);

impl From<&str> for Reason {
    fn from(reason: &str) -> Self {
        Self(reason.into())
    }
}

impl From<String> for Reason {
    fn from(reason: String) -> Self {
        Self(reason)
    }
}

impl From<candle_core::Error> for Reason {
    fn from(error: candle_core::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<Error> for Reason {
    fn from(error: Error) -> Self {
        match error {
            Error::Architecture(reason) => Self(reason),
            other => Self(other.to_string()),
        }
    }
}

/// Reads an ONNX model of operator set 7 or newer: one input, images; one output, a vector of logits a sample.
///
/// Taken are Add, AveragePool, BatchNormalization, Clip, Concat, Conv, Div, Dropout, Flatten, Gemm, GlobalAveragePool,
/// GlobalMaxPool, GroupNormalization, HardSigmoid, HardSwish, Identity, InstanceNormalization, LRN, LeakyRelu, MatMul, MaxPool, Mul, PRelu, Pad, ReduceMean over
/// space, Relu, Reshape, Sigmoid, Softmax at the end, Squeeze, Sub, Sum, Tanh, Transpose and Unsqueeze, where they are layers of a
/// [`Network`], and shape arithmetic on constants.
///
/// A number a channel that is multiplied or added becomes a part of the layer before it, if nothing else reads that
/// one, else a depthwise convolution of 1x1.
///
/// # Errors
/// [`Error::Onnx`] if the bytes are no ONNX model, or with every node that cannot be taken: its name, operator and the
/// reason.
pub fn import(bytes: &[u8], options: &ImportOptions) -> Result<Import> {
    import_owned(Bytes::copy_from_slice(bytes), options)
}

/// [`import`] without copying the weights once more.
pub(super) fn import_owned(bytes: Bytes, options: &ImportOptions) -> Result<Import> {
    let invalid = |reason: String| Error::Onnx(reason);
    let model =
        ModelProto::decode(bytes).map_err(|error| invalid(format!("not a complete model ({error})")))?;
    let graph = model.graph.as_ref().ok_or_else(|| invalid("the file holds no graph".into()))?;
    let is_default = |domain: &str| domain.is_empty() || domain == "ai.onnx";
    let opset = model.opset_import.iter().find(|set| is_default(set.domain())).map_or(1, |set| set.version());
    if opset < OLDEST_OPSET {
        return Err(invalid(format!("expected operator set {OLDEST_OPSET} or newer, found {opset}")));
    }
    let mut importer = Importer::new(graph, options, opset)?;
    let output_name = importer.output_name(&options.output)?;
    importer.initializers(options)?;
    importer.nodes(&output_name)?;
    importer.finish(&model, output_name)
}

/// A tensor of the model.
#[derive(Debug, Clone)]
enum Value {
    Constant(Constant),
    Activation(Activation),
    /// It comes from a node that cannot be taken.
    Unknown,
}

/// A tensor that depends on the images.
#[derive(Debug, Clone)]
struct Activation {
    /// The layer that holds its numbers.
    layer: LayerId,
    /// How the model looks at them.
    view: View,
    /// Whether the same numbers are read elsewhere, under another name.
    shared: bool,
    /// Whether a softmax was left out.
    softmax: bool,
}

struct Importer<'a> {
    graph: &'a GraphProto,
    opset: i64,
    /// The batch that shapes are computed for; one if the model leaves it open.
    batch: usize,
    channels_last: bool,
    input_name: String,
    draft: Draft,
    shapes: BTreeMap<LayerId, Shape>,
    weights: Weights,
    /// Parameters that may still be made.
    room: usize,
    /// Numbers that may still be computed from constants: every node makes new ones.
    computable: usize,
    values: BTreeMap<String, Value>,
    /// How often the nodes that the output needs read each tensor.
    readers: BTreeMap<&'a str, usize>,
    /// The maps that vectors were made, nothing where that cannot be.
    maps: BTreeMap<LayerId, Option<LayerId>>,
    /// The first reasons, and how many more there are.
    problems: (Vec<String>, usize),
}

impl<'a> Importer<'a> {
    fn new(graph: &'a GraphProto, options: &ImportOptions, opset: i64) -> Result<Self> {
        let stored: BTreeSet<&str> = graph.initializer.iter().map(|tensor| tensor.name()).collect();
        let inputs: Vec<_> = graph.input.iter().filter(|input| !stored.contains(input.name())).collect();
        let [input] = inputs[..] else {
            let names: Vec<_> = inputs.iter().map(|input| input.name()).collect();
            let (found, names) = (names.len(), some(&names));
            return Err(Error::Onnx(format!("expected one input, found {found}: {names}")));
        };
        if input.name().is_empty() {
            return Err(Error::Onnx("an input without a name, which no node can read".into()));
        }
        let channels_last = is_transposed(graph, input.name());
        let (batch, shape) = image(input, options.input, channels_last)?;
        let draft = Draft::new(shape);
        let view = if channels_last { View::ChannelsLast } else { View::Plain };
        let activation = Activation { layer: draft.input(), view, shared: false, softmax: false };
        Ok(Self {
            graph,
            opset,
            batch,
            channels_last,
            input_name: input.name().into(),
            shapes: BTreeMap::from([(draft.input(), shape)]),
            draft,
            weights: Weights::default(),
            room: options.largest,
            computable: COMPUTED,
            values: BTreeMap::from([(input.name().into(), Value::Activation(activation))]),
            readers: BTreeMap::new(),
            maps: BTreeMap::new(),
            problems: (Vec::new(), 0),
        })
    }

    fn output_name(&self, chosen: &Option<String>) -> Result<String> {
        let names: Vec<&str> = self.graph.output.iter().map(|output| output.name()).collect();
        let known = some(&names);
        match (chosen, names.as_slice()) {
            (_, names) if names.contains(&"") => Err(Error::Onnx("an output without a name".into())),
            (Some(name), names) if names.contains(&name.as_str()) => Ok(name.clone()),
            (Some(name), _) => Err(Error::Onnx(format!("output: expected one of {known}, found {name}"))),
            (None, [name]) => Ok(name.to_string()),
            (None, _) => Err(Error::Onnx(format!("expected one output, found {}: {known}", names.len()))),
        }
    }

    fn initializers(&mut self, options: &ImportOptions) -> Result<()> {
        if !self.graph.sparse_initializer.is_empty() {
            return Err(Error::Onnx("sparse initialisers".into()));
        }
        let mut beside = Beside { folder: options.folder.as_deref(), room: options.largest };
        for stored in &self.graph.initializer {
            let value = match tensor::read(stored, &mut beside) {
                Ok(constant) => {
                    self.may_compute_from(&constant);
                    Value::Constant(constant)
                }
                Err(Reason(reason)) => {
                    self.problem(|| format!("tensor `{}`: {reason}", stored.name()));
                    Value::Unknown
                }
            };
            self.values.insert(stored.name().into(), value);
        }
        Ok(())
    }

    fn problem(&mut self, problem: impl FnOnce() -> String) {
        let (listed, more) = &mut self.problems;
        match listed.len() < MOST_REASONS {
            true => listed.push(problem()),
            false => *more += 1,
        }
    }

    /// Visits the nodes that the output needs.
    fn nodes(&mut self, output: &str) -> Result<()> {
        let mut needed = BTreeSet::from([output]);
        let mut order: Vec<&NodeProto> = Vec::new();
        for node in self.graph.node.iter().rev() {
            if node.output.iter().any(|output| needed.contains(output.as_str())) {
                needed.extend(node.input.iter().map(String::as_str));
                order.push(node);
            }
        }
        for name in order.iter().flat_map(|node| &node.input) {
            *self.readers.entry(name).or_insert(0) += 1;
        }
        for node in order.into_iter().rev() {
            self.visit(node);
        }
        let (listed, more) = &self.problems;
        let list = listed.join("\n  ");
        match (listed.len(), more) {
            (0, _) => Ok(()),
            (_, 0) => Err(Error::Onnx(format!("this model cannot be taken:\n  {list}"))),
            (_, more) => {
                Err(Error::Onnx(format!("this model cannot be taken:\n  {list}\n  and {more} more")))
            }
        }
    }

    fn visit(&mut self, node: &'a NodeProto) {
        let operator = Operator::new(node);
        let value = self.inputs(&operator).and_then(|inputs| match inputs {
            Some(inputs) => self.operator(&operator, &inputs),
            None if layers::is_known(&operator) => Ok(Value::Unknown),
            None => Err(layers::unknown()),
        });
        let value = value.unwrap_or_else(|Reason(reason)| {
            self.problem(|| format!("node `{}` ({}): {reason}", operator.name(), node.op_type()));
            Value::Unknown
        });
        if let Some(output) = node.output.first() {
            self.values.insert(output.clone(), value);
        }
    }

    /// The tensors that a node reads, none for those that it leaves out; nothing if one is unknown.
    fn inputs(&self, operator: &Operator<'a>) -> std::result::Result<Option<Vec<Option<Value>>>, Reason> {
        let mut inputs = Vec::new();
        for name in &operator.proto.input {
            match self.values.get(name) {
                _ if name.is_empty() => inputs.push(None),
                Some(Value::Unknown) => return Ok(None),
                Some(value) => inputs.push(Some(value.clone())),
                None => return Err(format!("reads `{name}`, which nothing before it makes").into()),
            }
        }
        for (input, name) in inputs.iter_mut().zip(&operator.proto.input) {
            if let Some(Value::Activation(activation)) = input {
                activation.shared |= self.readers.get(name.as_str()).is_some_and(|&readers| readers > 1);
            }
        }
        Ok(Some(inputs))
    }

    fn finish(mut self, model: &ModelProto, output_name: String) -> Result<Import> {
        let wrong = |reason: String| Error::Onnx(format!("output `{output_name}`: {reason}"));
        let activation = match self.values.get(&output_name) {
            Some(Value::Activation(activation)) => activation.clone(),
            Some(_) => return Err(wrong("it does not depend on the images".into())),
            None => return Err(wrong("nothing makes it".into())),
        };
        let softmax = activation.softmax;
        let logits = match self.shapes[&activation.layer] {
            shape if shape.spatial() == (1, 1) => self.vector(&activation),
            shape => Err(format!("expected a vector of logits, found a map of {shape}").into()),
        };
        self.draft.set_output(logits.map_err(|Reason(reason)| wrong(reason))?);
        let invalid = |error: Error| Error::Onnx(Reason::from(error).0);
        self.draft.keep_needed();
        let architecture = self.draft.build().map_err(invalid)?;
        let needed = |(key, _): &(ParamKey, &Tensor)| architecture.get(key.layer).is_some();
        let weights = self.weights.iter().filter(needed).map(|(key, tensor)| (key, tensor.clone())).collect();
        let network = Network::new(architecture, weights).map_err(invalid)?;
        let entry =
            |entry: &super::schema::StringStringEntryProto| (entry.key().into(), entry.value().into());
        Ok(Import {
            network,
            softmax,
            channels_last: self.channels_last,
            input_name: self.input_name,
            output_name,
            metadata: model.metadata_props.iter().map(entry).collect(),
        })
    }

    /// Adds a layer.
    fn push(&mut self, layer: Layer, inputs: &[LayerId]) -> std::result::Result<LayerId, Reason> {
        let shapes: Vec<Shape> = inputs.iter().map(|input| self.shapes[input]).collect();
        let shape = bounded_shape(&layer, &shapes)?;
        let id = self.draft.push(layer, inputs);
        self.shapes.insert(id, shape);
        Ok(id)
    }

    /// Asks for room for numbers that are computed from constants.
    fn compute(&mut self, count: usize) -> std::result::Result<(), Reason> {
        let left = self.computable.checked_sub(count);
        self.computable = left.unwrap_or(0);
        left.map(drop).ok_or_else(|| "more numbers are computed from constants than are taken".into())
    }

    fn may_compute_from(&mut self, stored: &Constant) {
        let more = stored.held().saturating_mul(COMPUTED_EACH);
        self.computable = self.computable.saturating_add(more);
    }

    /// Sets a parameter of a layer.
    fn set(&mut self, layer: LayerId, role: Role, tensor: &Tensor) -> std::result::Result<(), Reason> {
        let count = tensor.elem_count();
        let room = self.room.checked_sub(count);
        self.room = room.ok_or("the model has more parameters than are taken")?;
        self.weights.insert(ParamKey::new(layer, role), tensor.contiguous()?);
        Ok(())
    }
}

/// The names in a message: not all, if there are many.
fn some(names: &[&str]) -> String {
    let more = if names.len() > MOST_REASONS { ", ..." } else { "" };
    names.iter().take(MOST_REASONS).copied().collect::<Vec<_>>().join(", ") + more
}

/// Whether all that is done with the input is to put its channels first.
fn is_transposed(graph: &GraphProto, input: &str) -> bool {
    let mut readers = graph.node.iter().filter(|node| node.input.iter().any(|name| name == input)).peekable();
    let puts_first = |node: &NodeProto| {
        node.op_type() == "Transpose" && Operator::new(node).ints("perm") == Some(vec![0, 3, 1, 2])
    };
    readers.peek().is_some() && readers.all(puts_first)
}

/// The batch and the shape of an image.
fn image(input: &ValueInfoProto, given: Option<Shape>, channels_last: bool) -> Result<(usize, Shape)> {
    let name = input.name();
    let kind = input.r#type.as_ref().and_then(|kind| kind.value.as_ref());
    let Some(type_proto::Value::TensorType(tensor)) = kind else {
        return Err(Error::Onnx(format!("input `{name}` is not a tensor")));
    };
    let dims = tensor.shape.as_ref().map_or(&[][..], |shape| &shape.dim);
    let size = |dim: &super::schema::tensor_shape_proto::Dimension| match dim.value {
        Some(dimension::Value::DimValue(size)) => usize::try_from(size).ok().filter(|&size| size > 0),
        _ => None,
    };
    let sizes: Vec<Option<usize>> = dims.iter().map(size).collect();
    let (batch, sizes) = match (sizes.as_slice(), given) {
        (&[batch, height, width, channels], _) if channels_last => (batch, [channels, height, width]),
        (&[batch, channels, height, width], _) => (batch, [channels, height, width]),
        ([], Some(_)) => (None, [None; 3]),
        (sizes, _) => {
            let found = sizes.len();
            return Err(Error::Onnx(format!("input `{name}`: expected 4 axes (images), found {found}")));
        }
    };
    let found = || sizes.map(|size| size.map_or("?".into(), |size| size.to_string())).join("x");
    let shape = match (sizes, given) {
        ([Some(channels), Some(height), Some(width)], None) => Shape::map(channels, height, width),
        (sizes, Some(given @ Shape::Map { channels, height, width }))
            if sizes
                .iter()
                .zip([channels, height, width])
                .all(|(size, given)| size.is_none_or(|size| size == given)) =>
        {
            given
        }
        (_, Some(given)) => {
            return Err(Error::Onnx(format!(
                "input `{name}`: images of {}, but {given} is asked for",
                found()
            )));
        }
        (_, None) => {
            let found = found();
            return Err(Error::Onnx(format!(
                "input `{name}` takes images of {found}: give the shape that the network is for"
            )));
        }
    };
    let shape =
        bounded(shape).map_err(|error| Error::Onnx(format!("input `{name}`: {}", Reason::from(error).0)))?;
    Ok((batch.unwrap_or(1), shape))
}
