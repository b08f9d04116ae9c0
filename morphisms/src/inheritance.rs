//! Inheritance: where each parameter of a child comes from, as plain data.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::architecture::{Architecture, ParamKey};
use crate::extent::Extents;
use crate::init::Seed;
use crate::layer::{LayerId, Role};
use crate::network::Network;
use crate::select::Selection;
use crate::surgery::Separable;
use crate::weights::{Weights, check_shape, superfluous};
use crate::{Error, Result, surgery};

/// Where a tensor comes from: an expression over the parent's parameters.
///
/// The variants from [`Source::Factor`] on are symbolic: they depend on the parent's numbers, and
/// [`Inheritance::resolve`] replaces them by plain ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The parent's tensor itself; the child shares its storage.
    Parent(ParamKey),
    /// Slices of a tensor along an axis, each one scaled.
    Gather {
        /// The tensor that is gathered from.
        of: Box<Source>,
        /// The axis.
        axis: usize,
        /// Which slices, in the child's order.
        index: Index,
        /// A factor for each slice; none: all 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scale: Option<Vec<f64>>,
    },
    /// Tensors side by side along an axis.
    Join {
        /// The tensors.
        of: Vec<Source>,
        /// The axis.
        axis: usize,
    },
    /// The sum, number by number, of tensors of one shape.
    Sum {
        /// The tensors.
        of: Vec<Source>,
    },
    /// The kernel `[channels, channels, height, width]`, odd sizes, that convolves every channel with a unit
    /// impulse: the identity under "same" padding.
    Dirac {
        /// Channels in and out.
        channels: usize,
        /// Height and width.
        kernel: (usize, usize),
    },
    /// One value everywhere.
    Constant {
        /// Shape.
        shape: Vec<usize>,
        /// Value.
        value: f64,
    },
    /// Draws from a normal distribution, by name.
    Normal {
        /// Shape.
        shape: Vec<usize>,
        /// Standard deviation.
        std: f64,
        /// The stream.
        seed: Seed,
    },
    /// Numbers; what resolving a symbolic source leaves.
    Values {
        /// Shape.
        shape: Vec<usize>,
        /// Numbers, row by row.
        values: Vec<f64>,
    },
    /// Half of the least-squares depthwise-separable factorisation of a dense kernel (symbolic).
    Factor {
        /// The dense kernel `[out, in, height, width]`.
        of: Box<Source>,
        /// Which half.
        part: FactorPart,
    },
    /// A statistic of the output of a parent's layer over the calibration batch (symbolic). Without a batch it is
    /// that of standardised activations: mean 0, variance `1 - eps`, so that with `gamma` 1 the batch norm is the
    /// identity.
    Statistic {
        /// The layer.
        layer: LayerId,
        /// Which statistic.
        of: Statistic,
        /// The epsilon of the batch norm that is calibrated.
        eps: f64,
    },
}

/// Which slices a gather takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Index {
    /// These.
    Fixed(Vec<usize>),
    /// Those of the channels that a [`Selection`] of the inheritance keeps (symbolic).
    Selected {
        /// Place in [`Inheritance::selections`].
        selection: usize,
        /// The axis, piece by piece.
        pieces: Vec<Piece>,
    },
}

/// A piece of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Piece {
    /// Slices that all stay.
    All {
        /// The first.
        start: usize,
        /// How many.
        length: usize,
    },
    /// Slices of selectable channels, `repeat` a channel.
    Chosen {
        /// The first slice of the first channel.
        start: usize,
        /// Slices a channel.
        repeat: usize,
    },
    /// Slices of selectable channels of which those of one block are listed (the input axis of a grouped
    /// convolution's kernel): the channels kept in the first block.
    ChosenInBlock {
        /// Blocks, that is groups of the convolution.
        blocks: usize,
    },
}

/// The halves of a depthwise-separable convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactorPart {
    /// `[in, 1, height, width]`.
    Depthwise,
    /// `[out, in, 1, 1]`.
    Pointwise,
}

impl FactorPart {
    /// The shape of this half for a dense kernel.
    pub(crate) fn shape(self, out: usize, channels: usize, (height, width): (usize, usize)) -> Vec<usize> {
        match self {
            Self::Depthwise => vec![channels, 1, height, width],
            Self::Pointwise => vec![out, channels, 1, 1],
        }
    }
}

/// A statistic of activations, by channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    /// The mean.
    Mean,
    /// The biased variance.
    Variance,
    /// `sqrt(variance + eps)`: the scale that undoes the normalisation.
    Deviation,
}

/// Where every parameter of a child comes from. Plain data: it can be printed, stored, sent elsewhere and applied
/// there to the same bits, once it is closed, that is, free of symbolic sources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inheritance {
    /// A source for each parameter of the child.
    pub sources: BTreeMap<ParamKey, Source>,
    /// The channel selections that symbolic indices refer to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selections: Vec<Selection>,
}

impl Source {
    /// Slices of `self` along an axis.
    pub fn gather(self, axis: usize, index: Vec<usize>, scale: Option<Vec<f64>>) -> Self {
        Self::Gather { of: Box::new(self), axis, index: Index::Fixed(index), scale }
    }

    fn is_closed(&self) -> bool {
        match self {
            Self::Parent(_)
            | Self::Dirac { .. }
            | Self::Constant { .. }
            | Self::Normal { .. }
            | Self::Values { .. } => true,
            Self::Gather { of, index, .. } => matches!(index, Index::Fixed(_)) && of.is_closed(),
            Self::Join { of, .. } | Self::Sum { of } => of.iter().all(Self::is_closed),
            Self::Factor { .. } | Self::Statistic { .. } => false,
        }
    }

    /// Rebuilds the expression bottom up.
    fn map(self, change: &mut dyn FnMut(Self) -> Result<Self>) -> Result<Self> {
        let mut all = |of: Vec<Self>| of.into_iter().map(|source| source.map(change)).collect::<Result<_>>();
        let inner = match self {
            Self::Gather { of, axis, index, scale } => {
                Self::Gather { of: Box::new(of.map(change)?), axis, index, scale }
            }
            Self::Join { of, axis } => Self::Join { of: all(of)?, axis },
            Self::Sum { of } => Self::Sum { of: all(of)? },
            Self::Factor { of, part } => Self::Factor { of: Box::new(of.map(change)?), part },
            leaf @ (Self::Parent(_)
            | Self::Dirac { .. }
            | Self::Constant { .. }
            | Self::Normal { .. }
            | Self::Values { .. }
            | Self::Statistic { .. }) => leaf,
        };
        change(inner)
    }

    fn evaluate(&self, parent: &Weights, dtype: DType, device: &Device) -> Result<Tensor> {
        let tensor = |values: Vec<f64>, shape: &[usize]| -> Result<Tensor> {
            Ok(Tensor::from_vec(values, shape, device)?.to_dtype(dtype)?)
        };
        let all = |of: &[Self]| -> Result<Vec<Tensor>> {
            of.iter().map(|part| part.evaluate(parent, dtype, device)).collect()
        };
        match self {
            Self::Parent(key) => Ok(parent.get(*key)?.clone()),
            Self::Gather { of, axis, index: Index::Fixed(index), scale } => {
                let all = of.evaluate(parent, dtype, device)?;
                surgery::gather("inheritance", &all, *axis, index, scale.as_deref())
            }
            Self::Join { of, axis } => Ok(Tensor::cat(&all(of)?, *axis)?),
            Self::Sum { of } => {
                let each = |part: &Self| part.evaluate(parent, dtype, device);
                let sum = of.iter().map(each).reduce(|sum, next| Ok((sum? + next?)?));
                sum.ok_or_else(|| Error::Weights("nothing to add".into()))?
            }
            Self::Dirac { channels, kernel } => surgery::dirac(*channels, *kernel, dtype, device),
            Self::Constant { shape, value } => tensor(vec![*value; shape.iter().product()], shape),
            Self::Normal { shape, std, seed } => tensor(seed.normal(*std, shape.iter().product()), shape),
            Self::Values { shape, values } => tensor(values.clone(), shape),
            Self::Gather { index: Index::Selected { .. }, .. }
            | Self::Factor { .. }
            | Self::Statistic { .. } => {
                Err(Error::Weights("a symbolic inheritance must be resolved before it is applied".into()))
            }
        }
    }
}

impl Inheritance {
    /// Every parameter of `child` that `parent` has too, in the same shape, is kept; the rest is to be set.
    pub fn keep(parent: &Architecture, child: &Architecture) -> Self {
        let mut sources = Vec::new();
        for node in child.nodes_by_id() {
            let Some(before) = parent.get(node.id) else { continue };
            let [from, to] =
                [(parent, before), (child, node)].map(|(of, node)| of.input_shape(node).channels());
            let same = (before.layer, from) == (node.layer, to);
            let before = if same { Vec::new() } else { before.layer.parameters(from) };
            node.layer.each_parameter(to, &mut |role, shape| {
                if same || before.iter().any(|(other, old)| (*other, &old[..]) == (role, shape)) {
                    let key = ParamKey::new(node.id, role);
                    sources.push((key, Source::Parent(key)));
                }
            });
        }
        Self { sources: sources.into_iter().collect(), selections: Vec::new() }
    }

    /// Sets the source of a parameter.
    pub fn set(&mut self, layer: LayerId, role: Role, source: Source) {
        self.sources.insert(ParamKey::new(layer, role), source);
    }

    /// Wraps the source of a parameter, the parent's tensor if none is set yet.
    pub fn change(&mut self, key: ParamKey, wrap: impl FnOnce(Source) -> Source) {
        let source = self.sources.remove(&key).unwrap_or(Source::Parent(key));
        self.sources.insert(key, wrap(source));
    }

    /// A batch norm that changes nothing where it is inserted, behind layer `at`: normalised by the statistics
    /// there, then scaled and shifted back.
    pub fn identity_norm(&mut self, norm: LayerId, at: LayerId, eps: f64) {
        let of = |of| Source::Statistic { layer: at, of, eps };
        self.set(norm, Role::Gamma, of(Statistic::Deviation));
        self.set(norm, Role::Beta, of(Statistic::Mean));
        self.set(norm, Role::Mean, of(Statistic::Mean));
        self.set(norm, Role::Variance, of(Statistic::Variance));
    }

    /// Whether no source is symbolic.
    pub fn is_closed(&self) -> bool {
        self.sources.values().all(Source::is_closed)
    }

    /// The parent's parameters that the child keeps untouched.
    pub fn kept(&self) -> impl Iterator<Item = ParamKey> {
        self.sources.iter().filter(|(_, source)| matches!(source, Source::Parent(_))).map(|(&key, _)| key)
    }

    /// Replaces symbolic sources by what they stand for in `parent`. `batch` is what [`Source::Statistic`] is
    /// measured on, `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// When a source does not fit the parent.
    pub fn resolve(&self, parent: &Network, batch: Option<&Tensor>) -> Result<Self> {
        let extents = Extents::new(parent.weights(), Some((parent, &self.selections)));
        Ok(self.resolved(parent, batch, &extents)?.into_owned())
    }

    /// The weights of a child of this architecture. What is computed has the shapes that it asks for, which is known before
    /// anything is allocated.
    pub(crate) fn child(
        &self,
        parent: &Network,
        child: &Architecture,
        batch: Option<&Tensor>,
    ) -> Result<Weights> {
        let weights = parent.weights();
        let extents = Extents::new(weights, Some((parent, &self.selections))).of_child(child);
        let closed = self.resolved(parent, batch, &extents)?;
        let extents = Extents::new(weights, None).of_child(child);
        let computed = closed.sources.iter().filter(|(_, source)| !matches!(source, Source::Parent(_)));
        for (key, source) in computed {
            match child.parameter(*key) {
                Some(expected) => check_shape(*key, &extents.of(source)?, &expected)?,
                None => return Err(superfluous(*key)),
            }
        }
        closed.evaluate(weights, parent.dtype(), &parent.device())
    }

    /// As [`Inheritance::resolve`], without a copy of what is closed already.
    fn resolved(&self, parent: &Network, batch: Option<&Tensor>, extents: &Extents) -> Result<Cow<'_, Self>> {
        if self.is_closed() {
            return Ok(Cow::Borrowed(self));
        }
        self.sources.values().try_for_each(|source| extents.of(source).map(drop))?;
        let chosen =
            self.selections.iter().map(|selection| selection.choose(parent)).collect::<Result<Vec<_>>>()?;
        let mut measured = BTreeMap::new();
        let mut close = |source| close(source, parent, batch, &chosen, &mut measured);
        let sources = self.sources.iter().map(|(&key, source)| Ok((key, source.clone().map(&mut close)?)));
        Ok(Cow::Owned(Self { sources: sources.collect::<Result<_>>()?, selections: Vec::new() }))
    }

    /// The child's weights.
    ///
    /// # Errors
    /// When the inheritance is symbolic or does not fit the parent.
    pub fn apply(&self, parent: &Weights, dtype: DType, device: &Device) -> Result<Weights> {
        let extents = Extents::new(parent, None);
        // Most are kept, and what is kept has a shape already.
        let mut computed = self.sources.values().filter(|source| !matches!(source, Source::Parent(_)));
        computed.try_for_each(|source| extents.of(source).map(drop))?;
        self.evaluate(parent, dtype, device)
    }

    /// The weights, of sources whose shapes were checked.
    fn evaluate(&self, parent: &Weights, dtype: DType, device: &Device) -> Result<Weights> {
        let evaluate =
            |(&key, source): (&ParamKey, &Source)| Ok((key, source.evaluate(parent, dtype, device)?));
        self.sources.iter().map(evaluate).collect()
    }

    /// The inheritance of a grandchild from its grandparent: `self` from grandparent to parent, `next` from parent
    /// to child.
    ///
    /// # Errors
    /// When one of the two is symbolic, or `next` reads a parameter that `self` does not make.
    pub fn then(&self, next: &Self) -> Result<Self> {
        if !self.is_closed() || !next.is_closed() {
            return Err(Error::Weights("only resolved inheritances compose".into()));
        }
        let mut substitute = |source| match source {
            Source::Parent(key) => {
                let found = self.sources.get(&key).cloned();
                found.ok_or_else(|| Error::Weights(format!("no parameter {key} to inherit from")))
            }
            other => Ok(other),
        };
        let sources =
            next.sources.iter().map(|(&key, source)| Ok((key, source.clone().map(&mut substitute)?)));
        Ok(Self { sources: sources.collect::<Result<_>>()?, selections: Vec::new() })
    }
}

/// Channel means and variances of a layer's output; without a batch, and only then, they depend on epsilon, here its bits.
type Measured = BTreeMap<(LayerId, Option<u64>), (Vec<f64>, Vec<f64>)>;

fn close(
    source: Source,
    parent: &Network,
    batch: Option<&Tensor>,
    chosen: &[Vec<usize>],
    measured: &mut Measured,
) -> Result<Source> {
    match source {
        Source::Gather { of, axis, index: Index::Selected { selection, pieces }, scale } => {
            let index = expand(&pieces, &chosen[selection]);
            Ok(Source::Gather { of, axis, index: Index::Fixed(index), scale })
        }
        Source::Factor { of, part } => {
            let kernel = of.evaluate(parent.weights(), DType::F64, &parent.device())?.to_dtype(DType::F64)?;
            let Separable { depthwise, pointwise } = surgery::separate(&kernel)?;
            let half = match part {
                FactorPart::Depthwise => depthwise,
                FactorPart::Pointwise => pointwise,
            };
            Ok(Source::Values { shape: half.dims().to_vec(), values: half.flatten_all()?.to_vec1()? })
        }
        Source::Statistic { layer, of, eps } => {
            let key = (layer, batch.is_none().then_some(eps.to_bits()));
            let (mean, variance) = match measured.entry(key) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => place.insert(measure(parent, batch, layer, eps)?),
            };
            let values: Vec<f64> = match of {
                Statistic::Mean => mean.clone(),
                Statistic::Variance => variance.clone(),
                Statistic::Deviation => variance.iter().map(|variance| (variance + eps).sqrt()).collect(),
            };
            Ok(Source::Values { shape: vec![values.len()], values })
        }
        closed => Ok(closed),
    }
}

/// The slices that `pieces` of an axis keep when these channels are kept.
fn expand(pieces: &[Piece], channels: &[usize]) -> Vec<usize> {
    let slices = |piece: &Piece| match *piece {
        Piece::All { start, length } => (start..start + length).collect::<Vec<_>>(),
        Piece::Chosen { start, repeat } => channels
            .iter()
            .flat_map(|channel| (0..repeat).map(move |j| start + channel * repeat + j))
            .collect(),
        Piece::ChosenInBlock { blocks } => channels[..channels.len() / blocks].to_vec(),
    };
    pieces.iter().flat_map(slices).collect()
}

fn measure(
    parent: &Network,
    batch: Option<&Tensor>,
    layer: LayerId,
    eps: f64,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let Some(batch) = batch else {
        let channels = parent.architecture().shape(layer).channels();
        return Ok((vec![0.0; channels], vec![1.0 - eps; channels]));
    };
    let (mean, variance) = surgery::channel_statistics(&parent.activation(batch, layer)?)?;
    Ok((mean.to_vec1()?, variance.to_vec1()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::Draft;
    use crate::layer::{Conv, Layer, Shape};

    fn one_conv(channels: usize) -> Architecture {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let relu = draft.conv_bn_relu(draft.input(), Conv::same(channels, 3));
        draft.head(relu, 2);
        draft.build().unwrap()
    }

    #[test]
    fn what_has_another_shape_is_not_kept() {
        let kept = |channels| Inheritance::keep(&one_conv(4), &one_conv(channels)).kept().count();
        // Of the wider one the bias of the logits is left.
        assert_eq!([kept(4), kept(6)], [one_conv(4).parameters().len(), 1]);
    }

    #[test]
    fn symbolic_inheritances_do_not_compose() {
        let architecture = one_conv(4);
        let closed = Inheritance::keep(&architecture, &architecture);
        let mut symbolic = closed.clone();
        symbolic.identity_norm(LayerId(2), LayerId(1), Layer::EPS);
        assert!(closed.then(&closed).is_ok());
        assert!(closed.then(&symbolic).is_err() && symbolic.then(&closed).is_err());
    }
}
