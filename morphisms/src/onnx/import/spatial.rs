//! Layers that look around: convolutions, pooling, padding.

use super::super::constant::list;
use super::inputs::{Inputs, activation, constant, optional, place};
use super::node::Operator;
use super::view::View;
use super::window::{Windows, operand_or_attribute, pad, pair};
use super::{Activation, Importer, Reason, Value};
use crate::layer::{Conv, Layer, LayerId, Padding, PoolKind, Role, Shape, Window};

impl Importer<'_> {
    pub fn pad(&mut self, node: &Operator, inputs: Inputs<'_>) -> Result<Value, Reason> {
        let x = activation(inputs, 0)?;
        let layer = self.plain(x)?;
        let padding = pad(node, inputs)?;
        let Shape::Map { height, width, .. } = self.shapes[&layer] else {
            return Err("a vector is padded".into());
        };
        // No convolution has a use for more, and sizes are added later on.
        if padding.iter().any(|&side| side > 4 * height.max(width)) {
            return Err(format!("pads a map of {height}x{width} by {padding:?}").into());
        }
        Ok(Value::Activation(Activation { view: View::Padded(padding), ..x.clone() }))
    }

    pub fn conv(&mut self, node: &Operator, inputs: Inputs<'_>) -> Result<LayerId, Reason> {
        let x = activation(inputs, 0)?;
        let (x, before) = match x.view {
            View::Padded(padding) => (x.layer, padding),
            _ => (self.plain(x)?, [0; 4]),
        };
        let weight = constant(inputs, 1)?.as_floats()?.clone();
        let &[out_channels, each, height, width] = weight.dims() else {
            return Err(format!("a kernel of shape {:?}; images have two axes", weight.dims()).into());
        };
        if pair(node, "kernel_shape")?.is_some_and(|kernel| kernel != [height, width]) {
            return Err(format!("kernel_shape differs from the kernel's {height}x{width}").into());
        }
        let shape = self.shapes[&x];
        let groups = usize::try_from(node.int("group").unwrap_or(1)).map_err(|_| "a negative group")?;
        if each.checked_mul(groups) != Some(shape.channels()) {
            let found = shape.channels();
            return Err(format!("{groups} groups of {each} channels on a map of {found}").into());
        }
        let size = |place: usize, size: usize| size + before[place] + before[place + 2];
        let (rows, columns) = shape.spatial();
        let windows = Windows::of(node, [height, width], (size(0, rows), size(1, columns)))?;
        let bias = optional(inputs, 2)?;
        let conv = Conv {
            out_channels,
            window: window(&windows, before),
            dilation: (windows.dilation[0], windows.dilation[1]),
            groups,
            bias: bias.is_some(),
        };
        let layer = self.push(Layer::Conv(conv), &[x])?;
        self.set(layer, Role::Weight, &weight)?;
        if let Some(bias) = bias {
            self.set(layer, Role::Bias, bias.as_floats()?)?;
        }
        Ok(layer)
    }

    pub fn pool(&mut self, node: &Operator, x: &Activation) -> Result<LayerId, Reason> {
        let layer = self.plain(x)?;
        let kernel = pair(node, "kernel_shape")?.ok_or("no kernel_shape")?;
        let size = self.shapes[&layer].spatial();
        let windows = Windows::of(node, kernel, size)?;
        if windows.dilation != [1, 1] {
            return Err("dilated pooling".into());
        }
        let padded = windows.padding != [0; 4];
        let counts = padded && node.int("count_include_pad").unwrap_or(0) != 0;
        let kind = match node.proto.op_type() {
            "MaxPool" => PoolKind::Max,
            _ if counts && windows.rounding != [0; 2] => {
                return Err("an average that counts its padding and is rounded up".into());
            }
            _ if counts || !(padded || windows.rounding != [0; 2]) => PoolKind::Average,
            _ => PoolKind::AverageExcludingPadding,
        };
        let window = window(&windows, [0; 4]);
        let whole = window.padding == Padding::NONE && window.kernel == size;
        match kind {
            PoolKind::Average if whole => self.push(Layer::GlobalAveragePool, &[layer]),
            _ => self.push(Layer::Pool { kind, window }, &[layer]),
        }
    }

    pub fn global_max(&mut self, x: &Activation) -> Result<LayerId, Reason> {
        let layer = self.plain(x)?;
        let kernel = self.shapes[&layer].spatial();
        let window = Window { kernel, stride: (1, 1), padding: Padding::NONE };
        self.push(Layer::Pool { kind: PoolKind::Max, window }, &[layer])
    }

    pub fn reduce_mean(&mut self, node: &Operator, inputs: Inputs<'_>) -> Result<Value, Reason> {
        let x = activation(inputs, 0)?;
        let layer = self.plain(x)?;
        let rank = self.dims(x).len();
        let axes = operand_or_attribute(node, inputs, 1, "axes")?.unwrap_or_default();
        let mut axes = axes.iter().map(|&axis| place(axis, rank)).collect::<Result<Vec<_>, _>>()?;
        axes.sort_unstable();
        if axes != [2, 3] {
            let axes = list(&axes);
            return Err(format!("the mean over the axes {axes}, not over height and width").into());
        }
        let pooled = self.made(|it| it.push(Layer::GlobalAveragePool, &[layer]))?;
        match (pooled, node.int("keepdims").unwrap_or(1)) {
            (Value::Activation(pooled), 0) => self.made(|it| it.vector(&pooled)),
            (pooled, _) => Ok(pooled),
        }
    }
}

fn window(windows: &Windows, before: [usize; 4]) -> Window {
    let side = |place: usize| {
        let rounding = if place >= 2 { windows.rounding[place - 2] } else { 0 };
        windows.padding[place].saturating_add(before[place]).saturating_add(rounding)
    };
    Window {
        kernel: (windows.kernel[0], windows.kernel[1]),
        stride: (windows.stride[0], windows.stride[1]),
        padding: Padding { top: side(0), left: side(1), bottom: side(2), right: side(3) },
    }
}
