//! Shapes of activations, and windows that slide over them.

use std::fmt;

use candle_convnet::Padding;
use serde::{Deserialize, Serialize};

use super::padding;

/// The shape of one sample's activation, without the batch axis. In JSON `[channels, height, width]` or `[features]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<usize>", into = "Vec<usize>")]
pub enum Shape {
    /// A feature map, `[channels, height, width]`.
    Map {
        /// Channels.
        channels: usize,
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// A vector, `[features]`.
    Vector(usize),
}

impl Shape {
    /// A feature map.
    pub fn map(channels: usize, height: usize, width: usize) -> Self {
        Self::Map { channels, height, width }
    }

    /// Channels of a map, features of a vector: the axis that convolutions and linear layers mix.
    pub fn channels(&self) -> usize {
        match *self {
            Self::Map { channels, .. } => channels,
            Self::Vector(features) => features,
        }
    }

    /// Height and width; a vector has one position.
    pub fn spatial(&self) -> (usize, usize) {
        match *self {
            Self::Map { height, width, .. } => (height, width),
            Self::Vector(_) => (1, 1),
        }
    }

    /// Whether two shapes agree in all but their channels.
    pub fn same_space(&self, other: &Self) -> bool {
        matches!(self, Self::Map { .. }) == matches!(other, Self::Map { .. })
            && self.spatial() == other.spatial()
    }

    /// Numbers in one sample's activation.
    pub fn elements(&self) -> usize {
        let (height, width) = self.spatial();
        self.channels() * height * width
    }

    pub(super) fn with_channels(&self, channels: usize) -> Self {
        match *self {
            Self::Map { height, width, .. } => Self::Map { channels, height, width },
            Self::Vector(_) => Self::Vector(channels),
        }
    }
}

impl From<Shape> for Vec<usize> {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Map { channels, height, width } => vec![channels, height, width],
            Shape::Vector(features) => vec![features],
        }
    }
}

impl TryFrom<Vec<usize>> for Shape {
    type Error = String;

    fn try_from(sizes: Vec<usize>) -> std::result::Result<Self, String> {
        match *sizes {
            [channels, height, width] => Ok(Self::Map { channels, height, width }),
            [features] => Ok(Self::Vector(features)),
            _ => Err(format!("a shape has 1 or 3 sizes, found {}", sizes.len())),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Map { channels, height, width } => write!(f, "{channels}x{height}x{width}"),
            Self::Vector(features) => write!(f, "{features}"),
        }
    }
}

/// A sliding window: kernel and stride, each (height, width), and zero padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Size.
    pub kernel: (usize, usize),
    /// Step.
    pub stride: (usize, usize),
    /// Padding; in JSON `[height, width]` or `[top, left, bottom, right]`.
    #[serde(with = "padding")]
    pub padding: Padding,
}

impl Window {
    /// A square window that keeps the size of a map: odd `kernel`, stride 1, "same" padding.
    pub fn same(kernel: usize) -> Self {
        Self { kernel: (kernel, kernel), stride: (1, 1), padding: Padding::even(kernel / 2, kernel / 2) }
    }

    /// A square window that tiles a map: `kernel` by `kernel`, stride `kernel`.
    pub fn tiles(kernel: usize) -> Self {
        Self { kernel: (kernel, kernel), stride: (kernel, kernel), padding: Padding::NONE }
    }

    pub(super) fn output(
        &self,
        dilation: (usize, usize),
        (height, width): (usize, usize),
    ) -> Option<(usize, usize)> {
        let axis = |size: usize, kernel: usize, stride: usize, padding: (usize, usize), dilation: usize| {
            // Taps in one place would be a smaller kernel in disguise.
            let dilation = (dilation > 0).then_some(dilation)?;
            let reach = kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
            let padded = size.checked_add(padding.0)?.checked_add(padding.1)?;
            Some(padded.checked_sub(reach)?.checked_div(stride)? + 1)
        };
        Some((
            axis(height, self.kernel.0, self.stride.0, self.padding.vertical(), dilation.0)?,
            axis(width, self.kernel.1, self.stride.1, self.padding.horizontal(), dilation.1)?,
        ))
    }
}
