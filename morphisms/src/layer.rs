//! Layers: what a node of an architecture computes, its shapes, parameters and cost.

mod padding;
mod shape;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::activation::Activation;
use crate::{Error, Result};

pub use candle_convnet::Padding;
pub use shape::{Shape, Window};

/// A layer's identity. A child keeps the identities of its parent's layers; new layers get new ones, and none
/// is used twice in a line of descent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LayerId(pub u32);

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A convolution over a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv {
    /// Channels of the output.
    pub out_channels: usize,
    /// Kernel, stride, padding.
    pub window: Window,
    /// Distance between kernel taps, (height, width).
    pub dilation: (usize, usize),
    /// Groups of channels that do not see each other; equal to the input's channels: a depthwise convolution.
    pub groups: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

impl Conv {
    /// A dense convolution without bias that keeps the size of a map.
    pub fn same(out_channels: usize, kernel: usize) -> Self {
        Self { out_channels, window: Window::same(kernel), dilation: (1, 1), groups: 1, bias: false }
    }

    /// A depthwise convolution without bias that keeps the size of a map.
    pub fn depthwise(channels: usize, kernel: usize) -> Self {
        Self { groups: channels, ..Self::same(channels, kernel) }
    }

    /// Whether each input channel is convolved on its own. A dense convolution of a one-channel map counts as
    /// dense.
    pub fn is_depthwise(&self, in_channels: usize) -> bool {
        self.groups == in_channels && in_channels > 1
    }
}

/// How a pooling window is reduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolKind {
    /// The largest value; padding never wins.
    Max,
    /// The mean; padding counts as zeros.
    Average,
    /// The mean of what is no padding: ONNX's default, PyTorch's `count_include_pad=False`.
    AverageExcludingPadding,
}

/// Which channels of a group normalisation share their statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grouping {
    /// All of them: layer normalisation (Ba et al. 2016).
    All,
    /// None: instance normalisation (Ulyanov et al. 2016).
    Each,
    /// Those of one of so many groups of neighbours, all of one size.
    Groups(usize),
}

impl Grouping {
    /// The number of groups among `channels`.
    pub fn count(self, channels: usize) -> usize {
        match self {
            Self::All => 1,
            Self::Each => channels,
            Self::Groups(groups) => groups,
        }
    }
}

/// What a node of an architecture computes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Layer {
    /// The images.
    Input,
    /// Convolution.
    Conv(Conv),
    /// Batch normalisation over a channel: `gamma (x - mean) / sqrt(variance + eps) + beta`.
    BatchNorm {
        /// Added to the variance.
        eps: f64,
    },
    /// Normalisation of each sample over groups of channels and all places, of a map or a vector: `gamma (x - mean) /
    /// sqrt(variance + eps) + beta` with a gamma and a beta a channel (Wu and He, "Group normalization", ECCV 2018).
    GroupNorm {
        /// Which channels share their statistics.
        grouping: Grouping,
        /// Added to the variance.
        eps: f64,
    },
    /// Each number divided by a power of the mean square of its neighbours in the channels beside it:
    /// `x / (bias + alpha / size * sum x'^2)^beta`, the sum over the channels from `(size - 1) / 2`, rounded down, before to
    /// as many, rounded up, behind (Krizhevsky et al., NIPS 2012, section 3.3; ONNX's operator `LRN`).
    LocalResponseNorm {
        /// Channels of the sum; at least 1.
        size: usize,
        /// The factor of the mean square; finite and not negative.
        alpha: f64,
        /// The exponent; finite.
        beta: f64,
        /// What is added to the mean square; finite and positive.
        bias: f64,
    },
    /// A function of each number.
    Activation(Activation),
    /// x where it is positive, elsewhere x times a learnable slope of its channel (He et al. 2015).
    Prelu,
    /// x times a constant.
    Scale {
        /// The constant; finite.
        factor: f64,
    },
    /// In training, zeroes each number with this probability and scales the others by `1 / (1 - probability)`
    /// (Srivastava et al. 2014); else the identity.
    Dropout {
        /// From 0 up to, but not including, 1.
        probability: f64,
    },
    /// Pooling over a window.
    Pool {
        /// Maximum or one of the averages.
        kind: PoolKind,
        /// Kernel, stride, padding.
        window: Window,
    },
    /// The mean of each channel: a map of 1x1.
    GlobalAveragePool,
    /// The sum of its inputs, two or more.
    Add,
    /// `(1 - lambda) a + lambda b`, lambda learnable and unconstrained.
    Mix,
    /// The product of its two inputs, number by number; of a map and a map of 1x1 with as many channels, every place is
    /// multiplied by the number of its channel, as in squeeze-and-excite (Hu et al., CVPR 2018).
    Multiply,
    /// Its inputs, two or more, side by side along the channels.
    Concat,
    /// The first channel of each of its groups of neighbours, then the second of each, and so on: channel
    /// `i * groups + k` is channel `k * channels / groups + i` of the input (Zhang et al., "ShuffleNet", CVPR 2018).
    ChannelShuffle {
        /// How many; they divide the channels.
        groups: usize,
    },
    /// A map as a vector, `[channels, height, width]` row by row.
    Flatten,
    /// A fully connected layer on a vector.
    Linear {
        /// Features of the output.
        out_features: usize,
        /// Whether a bias is added.
        bias: bool,
    },
}

/// What a parameter of a layer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Kernel `[out, in / groups, height, width]` of a convolution, matrix `[out, in]` of a linear layer.
    Weight,
    /// Bias `[out]`.
    Bias,
    /// Scale `[channels]` of a normalisation.
    Gamma,
    /// Shift `[channels]` of a normalisation.
    Beta,
    /// Running mean `[channels]` of a batch norm; not trained.
    Mean,
    /// Running variance `[channels]` of a batch norm; not trained.
    Variance,
    /// Mixing factor `[1]` of a [`Layer::Mix`].
    Lambda,
    /// Slopes `[channels]` of a [`Layer::Prelu`].
    Slope,
}

impl Role {
    /// Every role, in order.
    pub const ALL: [Self; 8] = [
        Self::Weight,
        Self::Bias,
        Self::Gamma,
        Self::Beta,
        Self::Mean,
        Self::Variance,
        Self::Lambda,
        Self::Slope,
    ];

    /// The name used in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Bias => "bias",
            Self::Gamma => "gamma",
            Self::Beta => "beta",
            Self::Mean => "mean",
            Self::Variance => "variance",
            Self::Lambda => "lambda",
            Self::Slope => "slope",
        }
    }

    /// Whether gradient descent changes it; running statistics are not trained.
    pub fn is_trained(self) -> bool {
        !matches!(self, Self::Mean | Self::Variance)
    }

    /// Whether weight decay applies: to kernels and matrices only.
    pub fn decays(self) -> bool {
        self == Self::Weight
    }
}

impl Layer {
    /// The usual epsilon of a batch norm.
    pub const EPS: f64 = 1e-5;
    /// A batch norm with the usual epsilon.
    pub const BATCH_NORM: Self = Self::BatchNorm { eps: Self::EPS };
    /// `max(x, 0)`.
    pub const RELU: Self = Self::Activation(Activation::Relu);

    /// The shape of the output.
    ///
    /// # Errors
    /// When the layer cannot take inputs of these shapes; the message says what it takes.
    pub fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let wrong = |expected: &str| {
            let found: Vec<_> = inputs.iter().map(Shape::to_string).collect();
            Error::Architecture(format!("{self} takes {expected}, found [{}]", found.join(", ")))
        };
        match (self, inputs) {
            (Self::Conv(conv), [Shape::Map { channels, height, width }]) => {
                let zero = conv.groups == 0 || conv.out_channels == 0;
                if zero || channels % conv.groups != 0 || conv.out_channels % conv.groups != 0 {
                    return Err(wrong("channels that its groups divide"));
                }
                conv.window
                    .output(conv.dilation, (*height, *width))
                    .map(|(height, width)| Shape::map(conv.out_channels, height, width))
                    .ok_or_else(|| wrong("a map that its kernel fits into, a stride and a dilation"))
            }
            (Self::Pool { window, .. }, [Shape::Map { channels, height, width }]) => {
                // So every window sees a pixel.
                let (most, Padding { top, left, bottom, right }) = (window.kernel, window.padding);
                let fits = top.max(bottom) < most.0 && left.max(right) < most.1;
                window
                    .output((1, 1), (*height, *width))
                    .filter(|_| fits)
                    .map(|(height, width)| Shape::map(*channels, height, width))
                    .ok_or_else(|| wrong("a map that its kernel fits into, padded by less than the kernel"))
            }
            (Self::BatchNorm { eps }, [shape @ Shape::Map { .. }]) if is_epsilon(*eps) => Ok(*shape),
            (Self::GroupNorm { grouping, eps }, [shape]) if is_epsilon(*eps) => {
                let channels = shape.channels();
                let divides = channels.checked_rem(grouping.count(channels)) == Some(0);
                divides.then_some(*shape).ok_or_else(|| wrong("channels that its groups divide"))
            }
            (Self::LocalResponseNorm { size, alpha, beta, bias }, [shape @ Shape::Map { .. }]) => {
                let finite = [alpha, beta, bias].iter().all(|number| number.is_finite());
                let fine = *size > 0 && finite && *alpha >= 0.0 && *bias > 0.0;
                fine.then_some(*shape).ok_or_else(|| {
                    wrong("a size of at least 1 and finite numbers, alpha not negative and the bias positive")
                })
            }
            (Self::ChannelShuffle { groups }, [shape]) => {
                let divides = shape.channels().checked_rem(*groups) == Some(0);
                divides.then_some(*shape).ok_or_else(|| wrong("channels that its groups divide"))
            }
            (Self::Activation(function), [shape]) => match function.problem() {
                Some(expected) => Err(wrong(expected)),
                None => Ok(*shape),
            },
            (Self::Scale { factor }, [_]) if !factor.is_finite() => Err(wrong("a finite factor")),
            (Self::Dropout { probability }, [_]) if !(0.0..1.0).contains(probability) => {
                Err(wrong("a probability of at least 0 and less than 1"))
            }
            (Self::Prelu | Self::Scale { .. } | Self::Dropout { .. }, [shape]) => Ok(*shape),
            (Self::GlobalAveragePool, [Shape::Map { channels, .. }]) => Ok(Shape::map(*channels, 1, 1)),
            (Self::Flatten, [shape @ Shape::Map { .. }]) => Ok(Shape::Vector(shape.elements())),
            (Self::Linear { out_features, .. }, [Shape::Vector(_)]) if *out_features > 0 => {
                Ok(Shape::Vector(*out_features))
            }
            (Self::Add, [first, second, rest @ ..]) => {
                let equal = second == first && rest.iter().all(|shape| shape == first);
                equal.then_some(*first).ok_or_else(|| wrong("inputs of one shape"))
            }
            (Self::Mix, [first, second]) if first == second => Ok(*first),
            (Self::Multiply, [x, gate]) if gate == x => Ok(*x),
            (Self::Multiply, [x @ Shape::Map { channels, .. }, gate])
                if *gate == Shape::map(*channels, 1, 1) =>
            {
                Ok(*x)
            }
            (Self::Concat, [first, _, ..]) => {
                let fits = inputs.iter().all(|shape| shape.same_space(first));
                let channels = inputs.iter().map(Shape::channels).fold(0, usize::saturating_add);
                fits.then(|| first.with_channels(channels))
                    .ok_or_else(|| wrong("inputs of one height and width"))
            }
            (Self::Input, _) => Err(wrong("no inputs")),
            (
                Self::Conv(_)
                | Self::Pool { .. }
                | Self::GlobalAveragePool
                | Self::LocalResponseNorm { .. }
                | Self::Flatten,
                _,
            ) => Err(wrong("one map")),
            (Self::BatchNorm { .. }, _) => Err(wrong("one map, and a positive, finite epsilon")),
            (Self::GroupNorm { .. }, _) => Err(wrong("one input, and a positive, finite epsilon")),
            (
                Self::Activation(_)
                | Self::Prelu
                | Self::Scale { .. }
                | Self::Dropout { .. }
                | Self::ChannelShuffle { .. },
                _,
            ) => Err(wrong("one input")),
            (Self::Multiply, _) => Err(wrong("two inputs of one shape, or a map and one of 1x1")),
            (Self::Linear { .. }, _) => Err(wrong("one vector, and at least one output feature")),
            (Self::Mix, _) => Err(wrong("two inputs of one shape")),
            (Self::Add | Self::Concat, _) => Err(wrong("two inputs or more")),
        }
    }

    /// The parameters and their shapes, in the order of [`Role`], for an input with `channels` channels.
    pub fn parameters(&self, channels: usize) -> Vec<(Role, Vec<usize>)> {
        let mut parameters = Vec::new();
        self.each_parameter(channels, &mut |role, shape| parameters.push((role, shape.to_vec())));
        parameters
    }

    /// Visits what [`Layer::parameters`] lists.
    pub(crate) fn each_parameter(&self, channels: usize, visit: &mut dyn FnMut(Role, &[usize])) {
        match *self {
            Self::Conv(Conv { out_channels, window, groups, bias, .. }) => {
                visit(Role::Weight, &[out_channels, channels / groups, window.kernel.0, window.kernel.1]);
                if bias {
                    visit(Role::Bias, &[out_channels]);
                }
            }
            Self::Linear { out_features, bias } => {
                visit(Role::Weight, &[out_features, channels]);
                if bias {
                    visit(Role::Bias, &[out_features]);
                }
            }
            Self::BatchNorm { .. } => [Role::Gamma, Role::Beta, Role::Mean, Role::Variance]
                .into_iter()
                .for_each(|role| visit(role, &[channels])),
            Self::GroupNorm { .. } => {
                [Role::Gamma, Role::Beta].into_iter().for_each(|role| visit(role, &[channels]))
            }
            Self::Mix => visit(Role::Lambda, &[1]),
            Self::Prelu => visit(Role::Slope, &[channels]),
            Self::Input
            | Self::Activation(_)
            | Self::Scale { .. }
            | Self::Dropout { .. }
            | Self::Multiply
            | Self::Pool { .. }
            | Self::GlobalAveragePool
            | Self::Add
            | Self::Concat
            | Self::LocalResponseNorm { .. }
            | Self::ChannelShuffle { .. }
            | Self::Flatten => {}
        }
    }

    /// Multiply-adds for one sample: those of convolutions and linear layers; everything else counts as free.
    pub fn macs(&self, input: &Shape, output: &Shape) -> u64 {
        match *self {
            Self::Conv(conv) => {
                let taps = conv.window.kernel.0 * conv.window.kernel.1 * (input.channels() / conv.groups);
                (output.elements() as u64).saturating_mul(taps as u64)
            }
            Self::Linear { .. } => input.channels() as u64 * output.channels() as u64,
            Self::Input
            | Self::BatchNorm { .. }
            | Self::GroupNorm { .. }
            | Self::Activation(_)
            | Self::Prelu
            | Self::Scale { .. }
            | Self::Dropout { .. }
            | Self::Pool { .. }
            | Self::GlobalAveragePool
            | Self::Add
            | Self::Multiply
            | Self::Mix
            | Self::Concat
            | Self::LocalResponseNorm { .. }
            | Self::ChannelShuffle { .. }
            | Self::Flatten => 0,
        }
    }

    /// Whether the order of the inputs matters.
    pub fn is_ordered(&self) -> bool {
        matches!(self, Self::Concat | Self::Mix | Self::Multiply)
    }

    /// Whether it works on each number by itself and has no parameters: what comes out of a channel comes from that
    /// channel alone.
    pub(crate) fn is_pointwise(&self) -> bool {
        matches!(self, Self::Activation(_) | Self::Scale { .. } | Self::Dropout { .. })
    }

    /// Whether it normalises, shifts and scales.
    pub(crate) fn is_norm(&self) -> bool {
        matches!(self, Self::BatchNorm { .. } | Self::GroupNorm { .. })
    }

    /// Whether deployed networks compute it in place.
    pub(crate) fn is_in_place(&self) -> bool {
        self.is_pointwise() || self.is_norm() || matches!(self, Self::Prelu | Self::Flatten)
    }
}

/// Whether dividing by a deviation that this was added to is safe, and JSON can hold it.
fn is_epsilon(eps: f64) -> bool {
    eps > 0.0 && eps.is_finite()
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pair = |(a, b): (usize, usize)| format!("{a}x{b}");
        match self {
            Self::Input => write!(f, "input"),
            Self::Conv(conv) => {
                write!(f, "conv {}, {}", pair(conv.window.kernel), conv.out_channels)?;
                if conv.window.stride != (1, 1) {
                    write!(f, ", stride {}", pair(conv.window.stride))?;
                }
                if conv.dilation != (1, 1) {
                    write!(f, ", dilation {}", pair(conv.dilation))?;
                }
                match conv.groups {
                    1 => Ok(()),
                    groups => write!(f, ", groups {groups}"),
                }
            }
            Self::BatchNorm { .. } => write!(f, "batch norm"),
            Self::GroupNorm { grouping: Grouping::All, .. } => write!(f, "layer norm"),
            Self::GroupNorm { grouping: Grouping::Each, .. } => write!(f, "instance norm"),
            Self::GroupNorm { grouping: Grouping::Groups(groups), .. } => {
                write!(f, "group norm, groups {groups}")
            }
            Self::Activation(function) => write!(f, "{function}"),
            Self::Prelu => write!(f, "prelu"),
            Self::Scale { factor } => write!(f, "scale {factor}"),
            Self::Dropout { probability } => write!(f, "dropout {probability}"),
            Self::Pool { kind: PoolKind::Max, window } => write!(f, "max pool {}", pair(window.kernel)),
            Self::Pool { kind: PoolKind::Average | PoolKind::AverageExcludingPadding, window } => {
                write!(f, "average pool {}", pair(window.kernel))
            }
            Self::GlobalAveragePool => write!(f, "global average pool"),
            Self::Add => write!(f, "add"),
            Self::Multiply => write!(f, "multiply"),
            Self::Mix => write!(f, "mix"),
            Self::Concat => write!(f, "concat"),
            Self::LocalResponseNorm { size, .. } => write!(f, "local response norm {size}"),
            Self::ChannelShuffle { groups } => write!(f, "channel shuffle, groups {groups}"),
            Self::Flatten => write!(f, "flatten"),
            Self::Linear { out_features, .. } => write!(f, "linear {out_features}"),
        }
    }
}
