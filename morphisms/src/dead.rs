//! Which channels nobody would miss.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use crate::Result;
use crate::activation::Activation;
use crate::architecture::{Node, ParamKey};
use crate::channels::{Channels, Tie};
use crate::layer::{Grouping, Layer, LayerId, PoolKind, Role};
use crate::network::Network;

/// For each channel of the group at `place`: whether the logits provably do not depend on it in evaluation mode, for
/// any image, because wherever a kernel reads it, it is zero or the kernel is.
pub(crate) fn dead_channels(network: &Network, channels: &Channels, place: usize) -> Result<Vec<bool>> {
    let group = &channels.groups[place];
    if group.even {
        // A mean over the channels notices each of them.
        return Ok(vec![false; group.channels]);
    }
    let constants = Constants::of(network)?;
    let mut dead = vec![true; group.channels];
    for &(layer, tie) in &group.ties {
        if !matches!(tie, Tie::Reads | Tie::ReadsInBlocks { .. }) {
            continue;
        }
        let input = network.architecture().node(layer).inputs[0];
        let ignored = constants.ignored(layer)?;
        let mut start = 0;
        for segment in channels.layout(input) {
            if segment.group == Some(place) {
                let slices = ignored[start..start + segment.len()].chunks(segment.repeat);
                dead.iter_mut()
                    .zip(slices)
                    .for_each(|(dead, slices)| *dead &= slices.iter().all(|&zero| zero));
            }
            start += segment.len();
        }
    }
    Ok(dead)
}

/// The slices of every tensor that are one and the same number for any image and at any place, in evaluation mode.
struct Constants<'a> {
    network: &'a Network,
    of: BTreeMap<LayerId, Vec<Option<f64>>>,
}

impl<'a> Constants<'a> {
    fn of(network: &'a Network) -> Result<Self> {
        let mut constants = Self { network, of: BTreeMap::new() };
        for node in network.architecture().nodes() {
            let output = constants.output(node)?;
            constants.of.insert(node.id, output);
        }
        Ok(constants)
    }

    fn output(&self, node: &Node) -> Result<Vec<Option<f64>>> {
        let input = |at: usize| &self.of[&node.inputs[at]];
        Ok(match node.layer {
            Layer::Input => vec![None; node.shape.channels()],
            Layer::Conv(_) | Layer::Linear { .. } => self.product(node)?,
            Layer::BatchNorm { eps } => self.normalised(node, eps)?,
            Layer::GroupNorm { grouping, .. } => self.centred(node, grouping)?,
            Layer::Activation(function) => activated(input(0), function)?,
            Layer::Prelu => {
                let slopes = self.numbers(node.id, Role::Slope)?;
                let bend = |(slice, slope): (&Option<f64>, f64)| {
                    slice.map(|value| if value > 0.0 { value } else { slope * value })
                };
                input(0).iter().zip(slopes).map(bend).collect()
            }
            Layer::Scale { factor } => {
                input(0).iter().map(|slice| slice.map(|value| factor * value)).collect()
            }
            Layer::Dropout { .. } => input(0).clone(),
            Layer::Pool { kind: PoolKind::Max | PoolKind::AverageExcludingPadding, .. }
            | Layer::GlobalAveragePool => input(0).clone(),
            // Padding counts as zeros.
            Layer::Pool { kind: PoolKind::Average, .. } => {
                input(0).iter().map(|slice| slice.filter(|&value| value == 0.0)).collect()
            }
            Layer::Add => (0..input(0).len())
                .map(|slice| (0..node.inputs.len()).map(|at| input(at)[slice]).sum())
                .collect(),
            Layer::Multiply => input(0).iter().zip(input(1)).map(product).collect(),
            Layer::Mix => {
                let lambda = self.numbers(node.id, Role::Lambda)?[0];
                let mixed =
                    |(a, b): (&Option<f64>, &Option<f64>)| Some((1.0 - lambda) * (*a)? + lambda * (*b)?);
                input(0).iter().zip(input(1)).map(mixed).collect()
            }
            Layer::Concat => (0..node.inputs.len()).flat_map(|at| input(at).clone()).collect(),
            // Zero stays zero; any other number is divided by what is beside it.
            Layer::LocalResponseNorm { .. } => {
                input(0).iter().map(|slice| slice.filter(|&value| value == 0.0)).collect()
            }
            Layer::ChannelShuffle { groups } => {
                let members = input(0).len() / groups;
                (0..input(0).len()).map(|to| input(0)[to % groups * members + to / groups]).collect()
            }
            Layer::Flatten => {
                let (height, width) = self.network.architecture().input_shape(node).spatial();
                input(0).iter().flat_map(|&slice| std::iter::repeat_n(slice, height * width)).collect()
            }
        })
    }

    /// A row that reads nothing yields its bias.
    fn product(&self, node: &Node) -> Result<Vec<Option<f64>>> {
        let weights = self.weights(node.id)?;
        let out = node.shape.channels();
        let bias = match self.network.weights().get(ParamKey::new(node.id, Role::Bias)) {
            Ok(_) => self.numbers(node.id, Role::Bias)?,
            Err(_) => vec![0.0; out],
        };
        let input = &self.of[&node.inputs[0]];
        let reads = |row: usize| {
            let first = row * groups(&node.layer) / out * weights[row].len();
            weights[row]
                .iter()
                .zip(&input[first..])
                .any(|(&weight, slice)| weight != 0.0 && *slice != Some(0.0))
        };
        Ok((0..out).map(|row| (!reads(row)).then_some(bias[row])).collect())
    }

    fn normalised(&self, node: &Node, eps: f64) -> Result<Vec<Option<f64>>> {
        let [gamma, beta, mean, variance] =
            [Role::Gamma, Role::Beta, Role::Mean, Role::Variance].map(|role| self.numbers(node.id, role));
        let (gamma, beta, mean, variance) = (gamma?, beta?, mean?, variance?);
        let output = |(channel, slice): (usize, &Option<f64>)| match slice {
            _ if gamma[channel] == 0.0 => Some(beta[channel]),
            Some(value) => {
                let standard = (value - mean[channel]) / (variance[channel] + eps).sqrt();
                Some(gamma[channel] * standard + beta[channel])
            }
            None => None,
        };
        Ok(self.of[&node.inputs[0]].iter().enumerate().map(output).collect())
    }

    /// A group norm shifts what a scale of zero leaves; what is the same everywhere is its own mean.
    fn centred(&self, node: &Node, grouping: Grouping) -> Result<Vec<Option<f64>>> {
        let (gamma, beta) = (self.numbers(node.id, Role::Gamma)?, self.numbers(node.id, Role::Beta)?);
        let output = |(channel, slice): (usize, &Option<f64>)| {
            let alone = grouping == Grouping::Each && slice.is_some();
            (gamma[channel] == 0.0 || alone).then_some(beta[channel])
        };
        Ok(self.of[&node.inputs[0]].iter().enumerate().map(output).collect())
    }

    /// Of a convolution or linear layer: for each slice of its input whether it is zero or met by zeros alone.
    fn ignored(&self, layer: LayerId) -> Result<Vec<bool>> {
        let node = self.network.architecture().node(layer);
        let weights = self.weights(layer)?;
        let input = &self.of[&node.inputs[0]];
        let rows = weights.len() / groups(&node.layer);
        let columns = weights[0].len();
        let unread = |slice: usize| {
            let readers = &weights[slice / columns * rows..][..rows];
            readers.iter().all(|row| row[slice % columns] == 0.0)
        };
        Ok((0..input.len()).map(|slice| input[slice] == Some(0.0) || unread(slice)).collect())
    }

    /// The largest absolute weight for each output and each input channel of its group.
    fn weights(&self, layer: LayerId) -> Result<Vec<Vec<f64>>> {
        let weight = self.network.weights().get(ParamKey::new(layer, Role::Weight))?;
        let taps = weight.reshape((weight.dim(0)?, weight.dim(1)?, ()))?;
        Ok(taps.to_dtype(DType::F64)?.abs()?.max(2)?.to_vec2()?)
    }

    fn numbers(&self, layer: LayerId, role: Role) -> Result<Vec<f64>> {
        let tensor: &Tensor = self.network.weights().get(ParamKey::new(layer, role))?;
        Ok(tensor.to_dtype(DType::F64)?.to_vec1()?)
    }
}

/// Constants behind an activation.
fn activated(slices: &[Option<f64>], function: Activation) -> Result<Vec<Option<f64>>> {
    let values: Vec<f64> = slices.iter().map(|slice| slice.unwrap_or(0.0)).collect();
    let values = Tensor::from_vec(values, slices.len(), &Device::Cpu)?;
    let values: Vec<f64> = candle_convnet::activation(&values, function.operation())?.to_vec1()?;
    Ok(slices.iter().zip(values).map(|(slice, value)| slice.map(|_| value)).collect())
}

/// Zero times anything is zero.
fn product((a, b): (&Option<f64>, &Option<f64>)) -> Option<f64> {
    if [a, b].contains(&&Some(0.0)) { Some(0.0) } else { Some((*a)? * (*b)?) }
}

/// Groups of channels that do not see each other; a linear layer has one.
fn groups(layer: &Layer) -> usize {
    if let Layer::Conv(conv) = layer { conv.groups } else { 1 }
}

#[cfg(test)]
mod tests;
