//! Sources: where one parameter comes from, an expression over the parent's parameters.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::architecture::ParamKey;
use crate::init::Seed;
use crate::layer::LayerId;

/// Where a tensor comes from: an expression over the parent's parameters.
///
/// The variants from [`Source::Factor`] on are symbolic: they depend on the parent's numbers, and
/// [`Inheritance::resolve`](crate::Inheritance::resolve) replaces them by plain ones.
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
    /// Those of the channels that a [`Selection`](crate::Selection) of the inheritance keeps (symbolic).
    Selected {
        /// Place in [`Inheritance::selections`](crate::Inheritance::selections).
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

impl Source {
    /// Slices of `self` along an axis.
    pub fn gather(self, axis: usize, index: Vec<usize>, scale: Option<Vec<f64>>) -> Self {
        Self::Gather { of: Box::new(self), axis, index: Index::Fixed(index), scale }
    }

    pub(super) fn is_closed(&self) -> bool {
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
    pub(super) fn map(self, change: &mut dyn FnMut(Self) -> Result<Self>) -> Result<Self> {
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
}
