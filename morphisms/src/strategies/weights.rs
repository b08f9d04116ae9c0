//! Weights that keep a random network alive, and weights that kill it.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Device, Tensor};
use rand::RngExt;

use super::probes;
use crate::Result;
use crate::architecture::{Architecture, Node, ParamKey};
use crate::forward::{self, Mode};
use crate::init::{Seed, he_std};
use crate::layer::{Layer, LayerId, Role};
use crate::network::Network;
use crate::weights::Weights;

/// Random weights in f64. Layer by layer they are scaled by what the images make of them, so that signals neither
/// vanish nor explode and no ReLU is shut, and yet no batch norm is the identity: scales of either sign, some near 0,
/// means and variances off those of the images.
pub(super) fn lively(architecture: &Architecture, seed: u64) -> Result<Weights> {
    let images = probes(architecture, DType::F64)?;
    let mut growing = Growing { architecture, images, weights: Weights::default(), seed };
    for node in architecture.nodes() {
        match node.layer {
            Layer::Conv(_) | Layer::Linear { .. } => growing.kernel(node)?,
            Layer::BatchNorm { .. } | Layer::GroupNorm { .. } => growing.norm(node)?,
            Layer::Mix => growing.mix(node)?,
            Layer::Prelu => growing.slopes(node)?,
            Layer::Input
            | Layer::Activation(_)
            | Layer::Scale { .. }
            | Layer::Dropout { .. }
            | Layer::Multiply
            | Layer::Pool { .. }
            | Layer::GlobalAveragePool
            | Layer::LocalResponseNorm { .. }
            | Layer::ChannelShuffle { .. }
            | Layer::Add
            | Layer::Concat
            | Layer::Flatten => {}
        }
    }
    Ok(growing.weights)
}

struct Growing<'a> {
    architecture: &'a Architecture,
    images: Tensor,
    weights: Weights,
    seed: u64,
}

/// Of a channel over the images.
struct Channel {
    mean: f64,
    deviation: f64,
    largest: f64,
}

impl Growing<'_> {
    /// A kernel whose outputs have about unit deviation, and more positive than negative ones where there is no bias
    /// to centre them.
    fn kernel(&mut self, node: &Node) -> Result<()> {
        let key = |role| ParamKey::new(node.id, role);
        let shapes: BTreeMap<Role, Vec<usize>> =
            node.layer.parameters(self.architecture.input_shape(node).channels()).into_iter().collect();
        let shape = &shapes[&Role::Weight];
        let draws = self.stream(node.id, Role::Weight).normal(he_std(shape), shape.iter().product());
        self.set(key(Role::Weight), draws, shape)?;
        let biases = shapes.get(&Role::Bias);
        if let Some(shape) = biases {
            self.set(key(Role::Bias), vec![0.0; shape[0]], shape)?;
        }
        let channels = self.measure(node.id)?;
        let jitter = self.stream(node.id, Role::Gamma).normal(0.3, channels.len());
        let scale: Vec<f64> = channels
            .iter()
            .zip(&jitter)
            .map(|(channel, jitter)| {
                let unit = jitter.exp() / if channel.deviation > 1e-6 { channel.deviation } else { 1.0 };
                if channel.largest <= 0.0 { -unit } else { unit }
            })
            .collect();
        let weight = self.weights.get(key(Role::Weight))?;
        let column: Vec<usize> =
            (0..weight.rank()).map(|axis| if axis == 0 { scale.len() } else { 1 }).collect();
        let scaled = weight.broadcast_mul(&Tensor::from_vec(scale.clone(), column, &Device::Cpu)?)?;
        self.weights.insert(key(Role::Weight), scaled);
        if let Some(shape) = biases {
            let offsets = self.stream(node.id, Role::Bias).normal(0.5, shape[0]);
            let bias = channels.iter().zip(&scale).zip(offsets);
            let bias = bias.map(|((channel, scale), offset)| 0.5 * offset - 0.8 * channel.mean * scale);
            self.set(key(Role::Bias), bias.collect(), shape)?;
        }
        Ok(())
    }

    fn norm(&mut self, node: &Node) -> Result<()> {
        let channels = self.measure(node.inputs[0])?;
        let normal = |role, std| self.stream(node.id, role).normal(std, channels.len());
        let (size, shift) = (normal(Role::Gamma, 0.4), normal(Role::Beta, 0.5));
        let (mean, variance) = (normal(Role::Mean, 0.3), normal(Role::Variance, 0.4));
        let mut rng = self.stream(node.id, Role::Lambda).rng();
        let shape = [channels.len()];
        // One scale in eight is nearly zero, one in three negative.
        let gamma = |size: &f64| {
            let near_zero = if rng.random_bool(0.125) { 0.02 } else { 1.0 };
            let sign = if rng.random_bool(0.33) { -1.0 } else { 1.0 };
            near_zero * sign * size.exp()
        };
        let gamma = size.iter().map(gamma).collect();
        let deviation = |channel: &Channel| channel.deviation.max(1e-3);
        let mean =
            channels.iter().zip(mean).map(|(channel, z)| channel.mean + z * deviation(channel)).collect();
        let variance =
            channels.iter().zip(variance).map(|(channel, z)| deviation(channel).powi(2) * z.exp()).collect();
        let roles = node.layer.parameters(channels.len());
        for (role, values) in [
            (Role::Gamma, gamma),
            (Role::Beta, shift.iter().map(|z| 0.2 + z).collect()),
            (Role::Mean, mean),
            (Role::Variance, variance),
        ] {
            // Only batch norms keep statistics.
            if roles.iter().any(|(has, _)| *has == role) {
                self.set(ParamKey::new(node.id, role), values, &shape)?;
            }
        }
        Ok(())
    }

    /// Slopes of either sign, some above 1.
    fn slopes(&mut self, node: &Node) -> Result<()> {
        let channels = node.shape.channels();
        let slopes = self.stream(node.id, Role::Slope).normal(0.7, channels);
        self.set(ParamKey::new(node.id, Role::Slope), slopes, &[channels])
    }

    /// A factor in [-0.5, 1.5], away from 0 and 1.
    fn mix(&mut self, node: &Node) -> Result<()> {
        let draw: f64 = self.stream(node.id, Role::Lambda).rng().random();
        let lambda = if draw < 0.2 { -0.5 + draw } else { draw };
        let lambda = if draw > 0.8 { 0.7 + draw } else { lambda };
        self.set(ParamKey::new(node.id, Role::Lambda), vec![lambda], &[1])
    }

    fn set(&mut self, key: ParamKey, values: Vec<f64>, shape: &[usize]) -> Result<()> {
        self.weights.insert(key, Tensor::from_vec(values, shape, &Device::Cpu)?);
        Ok(())
    }

    fn stream(&self, layer: LayerId, role: Role) -> Seed {
        Seed::of(self.seed, ParamKey::new(layer, role))
    }

    /// The channels of a layer whose weights, and those before it, are set.
    fn measure(&self, layer: LayerId) -> Result<Vec<Channel>> {
        let param = |key| self.weights.get(key).map_err(|error| candle_core::Error::Msg(error.to_string()));
        let output = forward::activation(self.architecture, &param, &self.images, layer, Mode::Eval)?;
        let channels = self.architecture.shape(layer).channels();
        let rows = output.transpose(0, 1)?.contiguous()?.reshape((channels, ()))?.to_vec2::<f64>()?;
        Ok(rows.iter().map(|values| Channel::of(values)).collect())
    }
}

impl Channel {
    fn of(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Self { mean, deviation: variance.sqrt(), largest }
    }
}

/// The same network with kernels and scales of batch norms set to zero, one after another from the `first` on, until
/// no path from the image to the logits is left.
pub(super) fn killed(network: &Network, first: usize) -> Result<Network> {
    let mut weights = network.weights().clone();
    let kills = |key: &ParamKey| matches!(key.role, Role::Weight | Role::Gamma);
    let keys: Vec<ParamKey> = weights.iter().map(|(key, _)| key).filter(kills).collect();
    let mut dead = BTreeSet::new();
    for place in 0..keys.len() {
        if is_constant(network.architecture(), &dead) {
            break;
        }
        let key = keys[(first + place) % keys.len()];
        weights.insert(key, weights.get(key)?.zeros_like()?);
        dead.insert(key.layer);
    }
    Network::new(network.architecture().clone(), weights)
}

/// Whether the logits do not depend on the image when the layers `dead` yield constants.
fn is_constant(architecture: &Architecture, dead: &BTreeSet<LayerId>) -> bool {
    let mut constant = dead.clone();
    for node in architecture.nodes() {
        if !node.inputs.is_empty() && node.inputs.iter().all(|input| constant.contains(input)) {
            constant.insert(node.id);
        }
    }
    constant.contains(&architecture.output())
}
