//! From a network to an ONNX model.

use std::collections::BTreeMap;

use prost::Message;

use super::build::{GraphBuilder, float, int, ints, value};
use super::schema::{AttributeProto, ModelProto, OperatorSetIdProto, StringStringEntryProto};
use crate::activation::Activation;
use crate::architecture::{Node, ParamKey};
use crate::layer::{Conv, Grouping, Layer, LayerId, PoolKind, Role, Shape, Window};
use crate::network::Network;
use crate::{Error, Result};

/// The operator set that models are written in.
const OPSET: i64 = 17;
/// The oldest version of the format that has this operator set.
const IR_VERSION: i64 = 8;

/// What an exported model holds beside the network. By default batch norms are folded and nothing is added.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportOptions {
    /// Whether batch norms are folded into the convolutions that they alone read
    /// ([`Network::fold_batch_norms`]).
    pub fold_batch_norms: bool,
    /// What is done to the images first.
    pub input: Option<InputAffine>,
    /// Whether the model takes images as `[batch, height, width, channels]`.
    pub channels_last: bool,
    /// Whether a softmax makes probabilities of the logits.
    pub softmax: bool,
    /// The name of the model's input, images `[batch, channels, height, width]`.
    pub input_name: String,
    /// The name of the model's output, `[batch, classes]`.
    pub output_name: String,
    /// Who writes the model, such as a program's name.
    pub producer: String,
    /// Anything else that goes with the model, by key.
    pub metadata: BTreeMap<String, String>,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self {
            fold_batch_norms: true,
            input: None,
            channels_last: false,
            softmax: false,
            input_name: "images".into(),
            output_name: "logits".into(),
            producer: "morphisms".into(),
            metadata: BTreeMap::new(),
        }
    }
}

/// `scale x + shift` with a scale and a shift a channel: normalisation that is a part of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct InputAffine {
    /// Factors.
    pub scale: Vec<f64>,
    /// What is added.
    pub shift: Vec<f64>,
}

/// An ONNX model (operator set 17, batch of any size, f32) that computes the network's logits in evaluation mode.
/// Dropout is left out, the mixing factor of a [`Layer::Mix`] becomes a constant, and group norms, for which the
/// operator set has nothing, become an InstanceNormalization between two Reshapes.
///
/// Nodes are called by what they do and their layer, such as `conv_12`; so are their outputs. Parameters are called
/// as in files of weights, `12.weight`.
///
/// # Errors
/// [`Error::Onnx`] if `options.input` does not have a scale and a shift for each channel, a name is empty or taken by a layer, or
/// the factor of a layer is no finite number of f32; or when a tensor cannot be read back from its device.
pub fn export(network: &Network, options: &ExportOptions) -> Result<Vec<u8>> {
    let folded = options.fold_batch_norms.then(|| network.fold_batch_norms()).transpose()?;
    let network = folded.as_ref().unwrap_or(network);
    let mut exporter = Exporter { network, builder: GraphBuilder::default(), names: BTreeMap::new() };
    exporter.graph(options)?;
    let entry = |(key, value): (&String, &String)| StringStringEntryProto {
        key: Some(key.clone()),
        value: Some(value.clone()),
    };
    let model = ModelProto {
        ir_version: Some(IR_VERSION),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }],
        producer_name: Some(options.producer.clone()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        graph: Some(exporter.builder.graph),
        metadata_props: options.metadata.iter().map(entry).collect(),
        ..ModelProto::default()
    };
    Ok(model.encode_to_vec())
}

struct Exporter<'a> {
    network: &'a Network,
    builder: GraphBuilder,
    /// The tensor that holds each layer's output.
    names: BTreeMap<LayerId, String>,
}

impl Exporter<'_> {
    fn graph(&mut self, options: &ExportOptions) -> Result<()> {
        let architecture = self.network.architecture().clone();
        let ExportOptions { input_name, output_name, .. } = options;
        let mut image = sizes(architecture.input());
        if options.channels_last {
            image.rotate_left(1);
        }
        self.builder.graph.name = Some("network".into());
        self.builder.graph.input.push(value(input_name, &image));
        self.builder.graph.output.push(value(output_name, &[architecture.classes()]));
        for node in architecture.nodes() {
            let name = match node.layer {
                Layer::Input => self.input(architecture.input(), options)?,
                _ => self.layer(node)?,
            };
            self.names.insert(node.id, name);
        }
        self.output(&self.names[&architecture.output()].clone(), options);
        self.check_names(input_name)
    }

    /// Whether every tensor has a name, and one of its own.
    fn check_names(&self, input_name: &str) -> Result<()> {
        let graph = &self.builder.graph;
        let made = graph.node.iter().flat_map(|node| &node.output).map(String::as_str);
        let mut taken: Vec<&str> = made.chain(graph.initializer.iter().map(|stored| stored.name())).collect();
        taken.push(input_name);
        taken.sort_unstable();
        if taken[0].is_empty() {
            return Err(Error::Onnx("a tensor of the model would have no name".into()));
        }
        match taken.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Error::Onnx(format!("two tensors of the model would be called `{}`", pair[0]))),
            None => Ok(()),
        }
    }

    /// The last node yields the model's output under the output's name.
    fn output(&mut self, logits: &str, options: &ExportOptions) {
        let name = &options.output_name;
        if options.softmax {
            self.builder.node("Softmax", name, &[logits], vec![int("axis", 1)]);
        } else if *logits == options.input_name {
            self.builder.node("Identity", name, &[logits], vec![]);
        } else {
            for node in &mut self.builder.graph.node {
                let tensors = node.input.iter_mut().chain(&mut node.output);
                tensors.filter(|tensor| *tensor == logits).for_each(|tensor| tensor.clone_from(name));
            }
        }
    }

    fn input(&mut self, shape: Shape, options: &ExportOptions) -> Result<String> {
        let mut image = options.input_name.clone();
        if options.channels_last {
            let first = vec![ints("perm", &[0, 3, 1, 2])];
            image = self.builder.node("Transpose", "input_channels_first", &[image], first);
        }
        let Some(InputAffine { scale, shift }) = &options.input else { return Ok(image) };
        if [scale.len(), shift.len()] != [shape.channels(); 2] {
            let found = format!("{} and {}", scale.len(), shift.len());
            let expected = shape.channels();
            return Err(Error::Onnx(format!(
                "input: expected a scale and a shift for each of {expected} channels, found {found}"
            )));
        }
        let single = |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Vec<_>>();
        let per_channel = channel_dims(shape);
        let scale = self.builder.floats("input.scale", &per_channel, &single(scale));
        let scaled = self.builder.node("Mul", "input_scaled", &[image, scale], vec![]);
        let shift = self.builder.floats("input.shift", &per_channel, &single(shift));
        Ok(self.builder.node("Add", "input_normalised", &[scaled, shift], vec![]))
    }

    /// Adds what computes a layer; returns the tensor with its output.
    fn layer(&mut self, node: &Node) -> Result<String> {
        let name = format!("{}_{}", label(&node.layer), node.id);
        let inputs: Vec<String> = node.inputs.iter().map(|input| self.names[input].clone()).collect();
        let shape = self.network.architecture().input_shape(node);
        let x = &inputs[0];
        match node.layer {
            Layer::Input => Ok(inputs[0].clone()),
            Layer::Conv(conv) => {
                let inputs = self.with_parameters(node, x, conv.bias)?;
                Ok(self.builder.node("Conv", &name, &inputs, conv_attributes(&conv)))
            }
            Layer::Linear { bias, .. } => {
                let inputs = self.with_parameters(node, x, bias)?;
                Ok(self.builder.node("Gemm", &name, &inputs, vec![int("transB", 1)]))
            }
            Layer::BatchNorm { eps } => {
                let roles = [Role::Gamma, Role::Beta, Role::Mean, Role::Variance];
                let parameters = roles.map(|role| self.parameter(node.id, role));
                let mut inputs = vec![x.clone()];
                inputs.extend(parameters.into_iter().collect::<Result<Vec<_>>>()?);
                Ok(self.builder.node("BatchNormalization", &name, &inputs, vec![float("epsilon", eps)]))
            }
            Layer::GroupNorm { grouping, eps } => self.group_norm(node, &name, x, grouping, eps),
            Layer::Activation(function) => self.activation(function, &name, x),
            Layer::Prelu => {
                let slope = self.channel_parameter(node.id, Role::Slope, shape)?;
                Ok(self.builder.node("PRelu", &name, &[x, &slope], vec![]))
            }
            Layer::Scale { factor } => {
                let factor = self.scalar(&format!("{}.factor", node.id), factor)?;
                Ok(self.builder.node("Mul", &name, &[x, &factor], vec![]))
            }
            Layer::Dropout { .. } => Ok(x.clone()),
            Layer::Pool { kind, window } => {
                let (operator, mut attributes) = pool(kind);
                attributes.extend(window_attributes(&window));
                Ok(self.builder.node(operator, &name, &[x], attributes))
            }
            Layer::GlobalAveragePool => Ok(self.builder.node("GlobalAveragePool", &name, &[x], vec![])),
            Layer::Add => Ok(self.builder.node("Sum", &name, &inputs, vec![])),
            Layer::Multiply => Ok(self.builder.node("Mul", &name, &inputs, vec![])),
            Layer::Mix => self.mix(node, &name, &inputs),
            Layer::Concat => Ok(self.builder.node("Concat", &name, &inputs, vec![int("axis", 1)])),
            Layer::LocalResponseNorm { size, alpha, beta, bias } => {
                let mut attributes = vec![int("size", size)];
                attributes.extend([float("alpha", alpha), float("beta", beta), float("bias", bias)]);
                Ok(self.builder.node("LRN", &name, &[x], attributes))
            }
            Layer::ChannelShuffle { groups } => Ok(self.channel_shuffle(&name, x, node.shape, groups)),
            Layer::Flatten => Ok(self.builder.node("Flatten", &name, &[x], vec![int("axis", 1)])),
        }
    }

    fn parameter(&mut self, layer: LayerId, role: Role) -> Result<String> {
        let key = ParamKey::new(layer, role);
        self.builder.tensor(&key.to_string(), self.network.weights().get(key)?)
    }

    /// A parameter with a number a channel, shaped so that it stretches over a tensor of `shape`.
    fn channel_parameter(&mut self, layer: LayerId, role: Role, shape: Shape) -> Result<String> {
        let key = ParamKey::new(layer, role);
        let tensor = self.network.weights().get(key)?.reshape(channel_dims(shape))?;
        self.builder.tensor(&key.to_string(), &tensor)
    }

    fn with_parameters(&mut self, node: &Node, x: &str, bias: bool) -> Result<Vec<String>> {
        let mut inputs = vec![x.to_string(), self.parameter(node.id, Role::Weight)?];
        if bias {
            inputs.push(self.parameter(node.id, Role::Bias)?);
        }
        Ok(inputs)
    }

    fn scalar(&mut self, name: &str, value: f64) -> Result<String> {
        match (value as f32).is_finite() {
            true => Ok(self.builder.floats(name, &[], &[value as f32])),
            false => Err(Error::Onnx(format!("`{name}`: {value:e} is no finite number of f32"))),
        }
    }

    fn activation(&mut self, function: Activation, name: &str, x: &str) -> Result<String> {
        Ok(match function {
            Activation::Relu => self.builder.node("Relu", name, &[x], vec![]),
            Activation::Relu6 => self.clip(name, x, 0.0, 6.0)?,
            Activation::Clip { low, high } => self.clip(name, x, low, high)?,
            Activation::LeakyRelu { slope } => {
                self.builder.node("LeakyRelu", name, &[x], vec![float("alpha", slope)])
            }
            Activation::Sigmoid => self.builder.node("Sigmoid", name, &[x], vec![]),
            Activation::Tanh => self.builder.node("Tanh", name, &[x], vec![]),
            Activation::Silu => {
                let gate = self.builder.node("Sigmoid", &format!("{name}_gate"), &[x], vec![]);
                self.builder.node("Mul", name, &[x, &gate], vec![])
            }
            Activation::Gelu => self.gelu(name, x)?,
            Activation::HardSigmoid => {
                let line = vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)];
                self.builder.node("HardSigmoid", name, &[x], line)
            }
            Activation::HardSwish => self.builder.node("HardSwish", name, &[x], vec![]),
        })
    }

    fn clip(&mut self, name: &str, x: &str, low: f64, high: f64) -> Result<String> {
        let low = self.scalar(&format!("{name}.low"), low)?;
        let high = self.scalar(&format!("{name}.high"), high)?;
        Ok(self.builder.node("Clip", name, &[x, &low, &high], vec![]))
    }

    /// `x (1 + erf(x / sqrt 2)) / 2`: the operator Gelu is of set 20.
    fn gelu(&mut self, name: &str, x: &str) -> Result<String> {
        let part = |part: &str| format!("{name}_{part}");
        let root = self.scalar(&format!("{name}.root"), std::f64::consts::SQRT_2)?;
        let scaled = self.builder.node("Div", &part("scaled"), &[x, &root], vec![]);
        let erf = self.builder.node("Erf", &part("erf"), &[scaled], vec![]);
        let one = self.scalar(&format!("{name}.one"), 1.0)?;
        let gate = self.builder.node("Add", &part("gate"), &[erf, one], vec![]);
        let product = self.builder.node("Mul", &part("product"), &[x, &gate], vec![]);
        let half = self.scalar(&format!("{name}.half"), 0.5)?;
        Ok(self.builder.node("Mul", name, &[product, half], vec![]))
    }

    /// Instance norm over `[batch, groups, rest]`, then a scale and a shift a channel.
    fn group_norm(
        &mut self,
        node: &Node,
        name: &str,
        x: &str,
        grouping: Grouping,
        eps: f64,
    ) -> Result<String> {
        let part = |part: &str| format!("{name}_{part}");
        let groups = grouping.count(node.shape.channels());
        let split = self.builder.ints(&format!("{name}.groups"), &[0, groups as i64, -1]);
        let split = self.builder.node("Reshape", &part("split"), &[x, &split], vec![]);
        let one = self.builder.floats(&format!("{name}.one"), &[groups], &vec![1.0; groups]);
        let zero = self.builder.floats(&format!("{name}.zero"), &[groups], &vec![0.0; groups]);
        let eps = vec![float("epsilon", eps)];
        let normed = self.builder.node("InstanceNormalization", &part("normed"), &[split, one, zero], eps);
        let mut shape = vec![0];
        shape.extend(sizes(node.shape).iter().map(|&size| size as i64));
        let shape = self.builder.ints(&format!("{name}.shape"), &shape);
        let joined = self.builder.node("Reshape", &part("joined"), &[normed, shape], vec![]);
        let gamma = self.channel_parameter(node.id, Role::Gamma, node.shape)?;
        let scaled = self.builder.node("Mul", &part("scaled"), &[joined, gamma], vec![]);
        let beta = self.channel_parameter(node.id, Role::Beta, node.shape)?;
        Ok(self.builder.node("Add", name, &[scaled, beta], vec![]))
    }

    /// `[groups, channels / groups]` swapped.
    fn channel_shuffle(&mut self, name: &str, x: &str, shape: Shape, groups: usize) -> String {
        let plain: Vec<i64> = sizes(shape).iter().map(|&size| size as i64).collect();
        let (groups, each) = (groups as i64, (shape.channels() / groups) as i64);
        let axes = |channels: &[i64]| [&[0], channels, &plain[1..]].concat();
        let split = self.builder.ints(&format!("{name}.split"), &axes(&[groups, each]));
        let split = self.builder.node("Reshape", &format!("{name}_split"), &[x, &split], vec![]);
        let swap: Vec<usize> = [0, 2, 1].into_iter().chain(3..plain.len() + 2).collect();
        let swap = vec![ints("perm", &swap)];
        let swapped = self.builder.node("Transpose", &format!("{name}_swapped"), &[split], swap);
        let joined = self.builder.ints(&format!("{name}.joined"), &axes(&plain[..1]));
        self.builder.node("Reshape", name, &[swapped, joined], vec![])
    }

    fn mix(&mut self, node: &Node, name: &str, inputs: &[String]) -> Result<String> {
        let lambda = self.network.weights().get(ParamKey::new(node.id, Role::Lambda))?;
        let lambda = lambda.to_dtype(candle_core::DType::F64)?.to_vec1::<f64>()?[0];
        let mut parts = Vec::new();
        for (part, factor, input) in [("old", 1.0 - lambda, &inputs[0]), ("skip", lambda, &inputs[1])] {
            let factor = self.scalar(&format!("{}.{part}", node.id), factor)?;
            parts.push(self.builder.node("Mul", &format!("{name}_{part}"), &[input, &factor], vec![]));
        }
        Ok(self.builder.node("Add", name, &parts, vec![]))
    }
}

/// What nodes of a layer are called.
fn label(layer: &Layer) -> &'static str {
    match layer {
        Layer::Input => "input",
        Layer::Conv(_) => "conv",
        Layer::BatchNorm { .. } => "batch_norm",
        Layer::GroupNorm { .. } => "group_norm",
        Layer::Activation(function) => match function {
            Activation::Relu => "relu",
            Activation::Relu6 => "relu6",
            Activation::Clip { .. } => "clip",
            Activation::LeakyRelu { .. } => "leaky_relu",
            Activation::Sigmoid => "sigmoid",
            Activation::Tanh => "tanh",
            Activation::Silu => "silu",
            Activation::Gelu => "gelu",
            Activation::HardSigmoid => "hard_sigmoid",
            Activation::HardSwish => "hard_swish",
        },
        Layer::Prelu => "prelu",
        Layer::LocalResponseNorm { .. } => "local_response_norm",
        Layer::ChannelShuffle { .. } => "channel_shuffle",
        Layer::Scale { .. } => "scale",
        Layer::Dropout { .. } => "dropout",
        Layer::Pool { kind: PoolKind::Max, .. } => "max_pool",
        Layer::Pool { kind: PoolKind::Average | PoolKind::AverageExcludingPadding, .. } => "average_pool",
        Layer::GlobalAveragePool => "global_average_pool",
        Layer::Add => "add",
        Layer::Multiply => "multiply",
        Layer::Mix => "mix",
        Layer::Concat => "concat",
        Layer::Flatten => "flatten",
        Layer::Linear { .. } => "linear",
    }
}

fn sizes(shape: Shape) -> Vec<usize> {
    shape.into()
}

/// The shape of a number a channel that stretches over a tensor of `shape`.
fn channel_dims(shape: Shape) -> Vec<usize> {
    match shape {
        Shape::Map { channels, .. } => vec![channels, 1, 1],
        Shape::Vector(features) => vec![features],
    }
}

fn pool(kind: PoolKind) -> (&'static str, Vec<AttributeProto>) {
    match kind {
        PoolKind::Max => ("MaxPool", vec![]),
        PoolKind::Average => ("AveragePool", vec![int("count_include_pad", 1)]),
        PoolKind::AverageExcludingPadding => ("AveragePool", vec![int("count_include_pad", 0)]),
    }
}

fn conv_attributes(conv: &Conv) -> Vec<AttributeProto> {
    let mut attributes = window_attributes(&conv.window);
    attributes.push(ints("dilations", &[conv.dilation.0, conv.dilation.1]));
    attributes.push(int("group", conv.groups));
    attributes
}

fn window_attributes(window: &Window) -> Vec<AttributeProto> {
    let Window { kernel, stride, padding } = *window;
    vec![
        ints("kernel_shape", &[kernel.0, kernel.1]),
        ints("strides", &[stride.0, stride.1]),
        ints("pads", &[padding.top, padding.left, padding.bottom, padding.right]),
    ]
}
