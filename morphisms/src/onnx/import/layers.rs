//! Operators, one after the other.

use super::affine::Affine;
use super::inputs::{Inputs, activation, constant, exact, input, optional};
use super::node::Operator;
use super::view::View;
use super::{Activation, Importer, Reason, Value};
use crate::activation::Activation as Function;
use crate::layer::{Grouping, Layer, LayerId, Role, Shape};

/// The operators that are taken.
const KNOWN: &[&str] = &[
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "Div",
    "Dropout",
    "Erf",
    "Flatten",
    "Gather",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNormalization",
    "LRN",
    "LeakyRelu",
    "LogSoftmax",
    "MatMul",
    "MaxPool",
    "Mul",
    "PRelu",
    "Pad",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Shape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Squeeze",
    "Sub",
    "Sum",
    "Tanh",
    "Transpose",
    "Unsqueeze",
];

pub(super) fn is_known(operator: &Operator) -> bool {
    let default = matches!(operator.proto.domain(), "" | "ai.onnx");
    default && KNOWN.contains(&operator.proto.op_type())
}

pub(super) fn unknown() -> Reason {
    "this operator is not supported".into()
}

impl Importer<'_> {
    /// What a node yields.
    pub fn operator(&mut self, node: &Operator, inputs: Inputs<'_>) -> Result<Value, Reason> {
        if !is_known(node) {
            return Err(unknown());
        }
        let depends = inputs.iter().flatten().any(|value| matches!(value, Value::Activation(_)));
        if !depends {
            return self.fold(node, inputs).map(Value::Constant);
        }
        if let Some(value) = self.gelu(node.proto.op_type(), inputs)? {
            return Ok(value);
        }
        let function = |function| Layer::Activation(function);
        match node.proto.op_type() {
            "Identity" => Ok(input(inputs, 0)?.clone()),
            "Cast" => match node.int("to") {
                Some(1 | 10 | 11 | 16) => Ok(input(inputs, 0)?.clone()),
                other => Err(format!("a cast of images to the type {other:?}").into()),
            },
            "Shape" => self.shape_of(node, activation(inputs, 0)?).map(Value::Constant),
            "Reshape" => {
                let target = constant(inputs, 1)?.as_ints()?;
                self.reshape(activation(inputs, 0)?, target, node.int("allowzero") == Some(1))
            }
            "Flatten" => self.flatten(node, activation(inputs, 0)?),
            "Squeeze" | "Unsqueeze" => self.squeeze(node, inputs),
            "Transpose" => self.transpose(node, activation(inputs, 0)?),
            "Softmax" | "LogSoftmax" => self.softmax(node, activation(inputs, 0)?),
            "Pad" => self.pad(node, inputs),
            "InstanceNormalization" => self.instance_norm(node, inputs),
            "Conv" => self.made(|it| it.conv(node, inputs)),
            "Gemm" => self.made(|it| it.gemm(node, inputs)),
            "MatMul" => self.made(|it| it.matmul(inputs)),
            "BatchNormalization" => self.made(|it| it.batch_norm(node, inputs)),
            "GroupNormalization" => self.made(|it| it.group_norm(node, inputs)),
            "MaxPool" | "AveragePool" => self.made(|it| it.pool(node, activation(inputs, 0)?)),
            "GlobalAveragePool" => self.pointwise(Layer::GlobalAveragePool, inputs),
            "GlobalMaxPool" => self.made(|it| it.global_max(activation(inputs, 0)?)),
            "ReduceMean" => self.reduce_mean(node, inputs),
            "LRN" => self.pointwise(local_response_norm(node)?, inputs),
            "Relu" => self.pointwise(Layer::RELU, inputs),
            "LeakyRelu" => {
                let slope = exact(node.float("alpha").unwrap_or(0.01));
                self.pointwise(function(Function::LeakyRelu { slope }), inputs)
            }
            "Sigmoid" => self.pointwise(function(Function::Sigmoid), inputs),
            "Tanh" => self.pointwise(function(Function::Tanh), inputs),
            "HardSwish" => self.pointwise(function(Function::HardSwish), inputs),
            "Gelu" => match node.text("approximate").unwrap_or("none") {
                "none" => self.pointwise(function(Function::Gelu), inputs),
                other => Err(format!("the approximation `{other}`").into()),
            },
            "HardSigmoid" => self.made(|it| it.hard_sigmoid(node, activation(inputs, 0)?)),
            "Clip" => self.made(|it| it.clip(node, inputs)),
            "PRelu" => self.made(|it| it.prelu(inputs)),
            "Dropout" => self.pointwise(dropout(node, inputs)?, inputs),
            "Add" | "Sum" => self.made(|it| it.sum(inputs)),
            "Sub" => self.made(|it| it.difference(inputs)),
            "Mul" => self.made(|it| it.product(inputs)),
            "Div" => self.made(|it| it.quotient(inputs)),
            "Concat" => self.made(|it| it.concat(node, inputs)),
            _ => Err("taken on constants only".into()),
        }
    }

    /// A tensor that is a layer's output as it is.
    pub fn made(&mut self, make: impl FnOnce(&mut Self) -> Result<LayerId, Reason>) -> Result<Value, Reason> {
        let layer = make(self)?;
        Ok(Value::Activation(Activation { layer, view: View::Plain, shared: false, softmax: false }))
    }

    /// A layer that reads the first input.
    fn pointwise(&mut self, layer: Layer, inputs: Inputs<'_>) -> Result<Value, Reason> {
        let x = self.plain(activation(inputs, 0)?)?;
        self.made(|it| it.push(layer, &[x]))
    }

    fn gemm(&mut self, node: &Operator, inputs: Inputs<'_>) -> Result<LayerId, Reason> {
        let x = activation(inputs, 0)?;
        if node.int("transA").unwrap_or(0) != 0 {
            return Err("its first operand is transposed".into());
        }
        let matrix = constant(inputs, 1)?.as_floats()?;
        let &[_, _] = matrix.dims() else {
            return Err(format!("a matrix of shape {:?}", matrix.dims()).into());
        };
        let mut weight = if node.int("transB").unwrap_or(0) != 0 { matrix.clone() } else { matrix.t()? };
        let alpha = exact(node.float("alpha").unwrap_or(1.0));
        if alpha != 1.0 {
            self.compute(weight.elem_count())?;
            weight = (weight * alpha)?;
        }
        let layer = self.linear(x, &weight, inputs.get(2).is_some_and(Option::is_some))?;
        if let Some(bias) = optional(inputs, 2)? {
            let beta = exact(node.float("beta").unwrap_or(1.0));
            let bias = bias.as_floats()?;
            let outputs = weight.dim(0)?;
            if bias.elem_count() != 1 && bias.elem_count() != outputs {
                return Err(format!("a bias of shape {:?} for {outputs} outputs", bias.dims()).into());
            }
            let bias = bias.flatten_all()?.broadcast_as(outputs)?.contiguous()?;
            self.set(layer, Role::Bias, &(bias * beta)?)?;
        }
        Ok(layer)
    }

    fn matmul(&mut self, inputs: Inputs<'_>) -> Result<LayerId, Reason> {
        let matrix = constant(inputs, 1)?.as_floats()?;
        let &[_, _] = matrix.dims() else {
            return Err(format!("a matrix of shape {:?}", matrix.dims()).into());
        };
        let weight = matrix.t()?;
        self.linear(activation(inputs, 0)?, &weight, false)
    }

    fn linear(
        &mut self,
        x: &Activation,
        weight: &candle_core::Tensor,
        bias: bool,
    ) -> Result<LayerId, Reason> {
        let x = self.plain(x)?;
        let (out_features, columns) = weight.dims2()?;
        let shape = self.shapes[&x];
        if shape != Shape::Vector(columns) {
            return Err(format!("a matrix with {columns} columns on an input of {shape}").into());
        }
        let layer = self.push(Layer::Linear { out_features, bias }, &[x])?;
        self.set(layer, Role::Weight, weight)?;
        Ok(layer)
    }

    fn batch_norm(&mut self, node: &Operator, inputs: Inputs<'_>) -> Result<LayerId, Reason> {
        let x = activation(inputs, 0)?;
        if node.int("training_mode") == Some(1) || node.int("spatial") == Some(0) {
            return Err("in training mode, or not over space".into());
        }
        let eps = exact(node.float("epsilon").unwrap_or(1e-5));
        let layer = self.plain(x)?;
        let numbers = |place| constant(inputs, place)?.as_floats();
        if let Shape::Vector(features) = self.shapes[&layer] {
            let [gamma, beta, mean, variance] = [numbers(1)?, numbers(2)?, numbers(3)?, numbers(4)?];
            if [gamma, beta, mean, variance].iter().any(|tensor| tensor.dims() != [features]) {
                return Err(format!("parameters that are not of shape [{features}]").into());
            }
            self.compute(features)?;
            let scale = gamma.div(&(variance + eps)?.sqrt()?)?;
            let shift = (beta - (mean * &scale)?)?;
            return self.affine(x, &Affine { scale: Some(scale), shift: Some(shift) });
        }
        let norm = self.push(Layer::BatchNorm { eps }, &[layer])?;
        for (place, role) in [Role::Gamma, Role::Beta, Role::Mean, Role::Variance].into_iter().enumerate() {
            self.set(norm, role, numbers(place + 1)?)?;
        }
        Ok(norm)
    }

    fn instance_norm(&mut self, node: &Operator, inputs: Inputs<'_>) -> Result<Value, Reason> {
        let x = activation(inputs, 0)?;
        let channels = self.shapes[&x.layer].channels();
        let groups = match x.view {
            View::Groups(groups) => groups,
            _ if matches!(self.shapes[&self.plain(x)?], Shape::Map { .. }) => channels,
            _ => return Err("on a vector".into()),
        };
        let layer = self.norm(node, x.layer, groups, inputs)?;
        Ok(Value::Activation(Activation { layer, view: x.view, shared: false, softmax: false }))
    }

    fn group_norm(&mut self, node: &Operator, inputs: Inputs<'_>) -> Result<LayerId, Reason> {
        let x = self.plain(activation(inputs, 0)?)?;
        let groups = node.int("num_groups").and_then(|groups| usize::try_from(groups).ok());
        self.norm(node, x, groups.ok_or("no num_groups")?, inputs)
    }

    /// A group norm with a scale and a shift for each channel or each group.
    fn norm(
        &mut self,
        node: &Operator,
        x: LayerId,
        groups: usize,
        inputs: Inputs<'_>,
    ) -> Result<LayerId, Reason> {
        let channels = self.shapes[&x].channels();
        let grouping = match groups {
            1 => Grouping::All,
            _ if groups == channels => Grouping::Each,
            _ => Grouping::Groups(groups),
        };
        let eps = exact(node.float("epsilon").unwrap_or(1e-5));
        self.compute(channels)?;
        let layer = self.push(Layer::GroupNorm { grouping, eps }, &[x])?;
        for (place, role) in [(1, Role::Gamma), (2, Role::Beta)] {
            let tensor = constant(inputs, place)?.as_floats()?;
            let spread = match *tensor.dims() {
                [count] if count == channels => tensor.clone(),
                [count] if count == groups => {
                    let each = tensor.reshape((groups, 1))?.broadcast_as((groups, channels / groups))?;
                    each.flatten_all()?
                }
                _ => return Err(format!("{} of shape {:?}", role.name(), tensor.dims()).into()),
            };
            self.set(layer, role, &spread)?;
        }
        Ok(layer)
    }

    /// `min(max(alpha x + beta, 0), 1)`; ours has alpha 1/6 and beta 1/2.
    fn hard_sigmoid(&mut self, node: &Operator, x: &Activation) -> Result<LayerId, Reason> {
        let (alpha, beta) = (node.float("alpha").unwrap_or(0.2), node.float("beta").unwrap_or(0.5));
        if beta != 0.5 {
            return Err(format!("beta of {beta}, not 0.5").into());
        }
        let x = if alpha == 1.0 / 6.0 { self.plain(x)? } else { self.factor(x, 6.0 * exact(alpha))? };
        self.push(Layer::Activation(Function::HardSigmoid), &[x])
    }

    fn clip(&mut self, node: &Operator, inputs: Inputs<'_>) -> Result<LayerId, Reason> {
        let x = self.plain(activation(inputs, 0)?)?;
        let bound = |place, name, open: f64| -> Result<f64, Reason> {
            match optional(inputs, place)? {
                Some(bound) => bound.as_scalar().ok_or_else(|| format!("{name} is not one number").into()),
                None => Ok(node.float(name).map_or(open, exact)),
            }
        };
        let (low, high) = (bound(1, "min", f64::NEG_INFINITY)?, bound(2, "max", f64::INFINITY)?);
        let open = f64::from(f32::MAX);
        let function = match (low, high) {
            (0.0, 6.0) => Function::Relu6,
            (0.0, high) if high >= open => Function::Relu,
            (low, high) if low.is_finite() && high.is_finite() => Function::Clip { low, high },
            _ => return Err(format!("bounds of {low} and {high}").into()),
        };
        self.push(Layer::Activation(function), &[x])
    }

    fn prelu(&mut self, inputs: Inputs<'_>) -> Result<LayerId, Reason> {
        let x = activation(inputs, 0)?;
        let slope = self.per_channel(x, constant(inputs, 1)?)?;
        let x = self.plain(x)?;
        let layer = self.push(Layer::Prelu, &[x])?;
        self.set(layer, Role::Slope, &slope)?;
        Ok(layer)
    }
}

fn local_response_norm(node: &Operator) -> Result<Layer, Reason> {
    let size = node.int("size").and_then(|size| usize::try_from(size).ok()).ok_or("no size")?;
    Ok(Layer::LocalResponseNorm {
        size,
        alpha: exact(node.float("alpha").unwrap_or(1e-4)),
        beta: exact(node.float("beta").unwrap_or(0.75)),
        bias: exact(node.float("bias").unwrap_or(1.0)),
    })
}

fn dropout(node: &Operator, inputs: Inputs<'_>) -> Result<Layer, Reason> {
    let probability = match optional(inputs, 1)? {
        Some(ratio) => ratio.as_scalar().ok_or("its ratio is not one number")?,
        None => exact(node.float("ratio").unwrap_or(0.5)),
    };
    Ok(Layer::Dropout { probability })
}
