//! A number a channel, multiplied or added: into the layer before it, or a layer of its own.

use candle_core::{Device, Tensor};

use super::super::constant::Constant;
use super::{Activation, Importer, Reason, View};
use crate::architecture::ParamKey;
use crate::layer::{Conv, Layer, LayerId, Role, Shape};

/// `scale x + shift`, each a number or a number a channel.
#[derive(Debug, Clone, Default)]
pub(super) struct Affine {
    pub scale: Option<Tensor>,
    pub shift: Option<Tensor>,
}

impl Importer<'_> {
    /// The vector `[channels]` of a constant that stretches over the numbers of `x`, a number a channel or one for all.
    pub fn per_channel(&mut self, x: &Activation, constant: &Constant) -> Result<Tensor, Reason> {
        let dims = self.dims(x);
        let channels = self.shapes[&x.layer].channels();
        self.compute(channels)?;
        let tensor = constant.as_floats()?;
        if tensor.elem_count() == 1 {
            return Ok(tensor.flatten_all()?.broadcast_as(channels)?);
        }
        // Aligned at the last axis; the channels are the axis behind the batch.
        let axis = (tensor.rank() + 1).checked_sub(dims.len());
        let alone = |axis: usize| tensor.dims()[axis] == channels && tensor.elem_count() == channels;
        match axis {
            Some(axis) if axis < tensor.rank() && alone(axis) => Ok(tensor.flatten_all()?),
            _ => Err(format!("a constant of shape {:?} on a tensor of shape {dims:?}", tensor.dims()).into()),
        }
    }

    /// What multiplies or shifts a tensor.
    pub fn affine(&mut self, x: &Activation, affine: &Affine) -> Result<LayerId, Reason> {
        let layer = self.plain(x)?;
        let of = self.draft.get(layer).map(|(layer, _)| layer);
        match of {
            Some(Layer::Conv(_) | Layer::Linear { .. }) if !x.shared => self.fold_into_weights(layer, affine),
            Some(Layer::BatchNorm { .. } | Layer::GroupNorm { .. }) if !x.shared => {
                self.fold_into_roles(layer, affine, &[Role::Gamma], Role::Beta)
            }
            _ => self.as_layer(x, affine),
        }
    }

    /// A constant factor.
    pub fn factor(&mut self, x: &Activation, factor: f64) -> Result<LayerId, Reason> {
        if !(factor as f32).is_finite() {
            return Err(format!("a factor of {factor:e}").into());
        }
        let layer = self.plain(x)?;
        self.push(Layer::Scale { factor }, &[layer])
    }

    fn fold_into_weights(&mut self, layer: LayerId, affine: &Affine) -> Result<LayerId, Reason> {
        if let Some(Layer::Conv(Conv { bias, .. }) | Layer::Linear { bias, .. }) = self.draft.layer_mut(layer)
            && affine.shift.is_some()
            && !std::mem::replace(bias, true)
        {
            let rows = self.weights.get(ParamKey::new(layer, Role::Weight))?.dim(0)?;
            self.set(layer, Role::Bias, &Tensor::new(0f32, &Device::Cpu)?.broadcast_as(rows)?)?;
        }
        let has_bias = self.weights.get(ParamKey::new(layer, Role::Bias)).is_ok();
        let scaled: &[Role] = if has_bias { &[Role::Weight, Role::Bias] } else { &[Role::Weight] };
        self.fold_into_roles(layer, affine, scaled, Role::Bias)
    }

    /// Multiplies some parameters of a layer along their first axis, and adds to one of them.
    fn fold_into_roles(
        &mut self,
        layer: LayerId,
        affine: &Affine,
        scaled: &[Role],
        shifted: Role,
    ) -> Result<LayerId, Reason> {
        if let Some(scale) = &affine.scale {
            // The shift is scaled too: what was added before is multiplied now.
            for &role in scaled.iter().chain((!scaled.contains(&shifted)).then_some(&shifted)) {
                let key = ParamKey::new(layer, role);
                let Ok(tensor) = self.weights.get(key).cloned() else { continue };
                self.compute(tensor.elem_count())?;
                let rows = [vec![scale.elem_count()], vec![1; tensor.rank() - 1]].concat();
                let tensor = tensor.broadcast_mul(&scale.reshape(rows)?)?;
                self.weights.insert(key, tensor);
            }
        }
        if let Some(shift) = &affine.shift {
            let key = ParamKey::new(layer, shifted);
            let tensor = (self.weights.get(key)? + shift)?;
            self.weights.insert(key, tensor);
        }
        Ok(layer)
    }

    /// On a map, a depthwise convolution of 1x1.
    fn as_layer(&mut self, x: &Activation, affine: &Affine) -> Result<LayerId, Reason> {
        let shape = self.shapes[&x.layer];
        let channels = shape.channels();
        if let Shape::Vector(_) = shape {
            return Err("a number a feature, on a vector that no linear layer makes for it alone".into());
        }
        debug_assert_eq!(x.view, View::Plain);
        let conv = Conv { bias: affine.shift.is_some(), ..Conv::depthwise(channels, 1) };
        let id = self.push(Layer::Conv(conv), &[x.layer])?;
        let one = Tensor::new(1f32, &Device::Cpu)?.broadcast_as(channels)?;
        let weight = affine.scale.as_ref().unwrap_or(&one).reshape((channels, 1, 1, 1))?;
        self.set(id, Role::Weight, &weight)?;
        if let Some(shift) = &affine.shift {
            self.set(id, Role::Bias, shift)?;
        }
        Ok(id)
    }
}
