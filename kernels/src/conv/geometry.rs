//! The sizes of a convolution, and how a strided one becomes several with stride 1.
//!
//! A tap `k` of an axis reads input position `o * stride + k * dilation - padding` for output `o`.
//! With `k * dilation = quotient * stride + phase` that is element `o + quotient` of the *phase*, the
//! input positions `phase - padding, phase - padding + stride, ...`. So over phases every convolution
//! is a plain correlation, whose vectors of neighbouring outputs read vectors of neighbouring inputs.

use super::{Conv2dConfig, ConvAlgorithm};
use crate::tensor::{image_dims, mismatch};
use candle_core::{Result, Tensor};
use std::collections::BTreeSet;

/// One spatial axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Axis {
    pub input: usize,
    pub output: usize,
    pub kernel: usize,
    pub stride: usize,
    /// Before the first pixel.
    pub padding: usize,
    /// Behind the last one. It counts in `output` alone: every algorithm reads zeros wherever there is no pixel.
    pub padding_end: usize,
    pub dilation: usize,
}

/// Where a tap reads: element `output + quotient` of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tap {
    pub phase: usize,
    pub quotient: usize,
}

impl Axis {
    /// `None` if the dilated kernel is larger than the padded input.
    pub fn new(
        input: usize,
        kernel: usize,
        stride: usize,
        (padding, padding_end): (usize, usize),
        dilation: usize,
    ) -> Option<Self> {
        let room = (input + padding + padding_end).checked_sub((kernel - 1) * dilation + 1)?;
        Some(Self { input, output: room / stride + 1, kernel, stride, padding, padding_end, dilation })
    }

    pub fn tap(&self, k: usize) -> Tap {
        Tap { phase: k * self.dilation % self.stride, quotient: k * self.dilation / self.stride }
    }

    /// The phases some tap reads, ascending.
    pub fn phases(&self) -> Vec<usize> {
        let phases: BTreeSet<_> = (0..self.kernel).map(|k| self.tap(k).phase).collect();
        phases.into_iter().collect()
    }

    /// Whether every output sees a single pixel and every pixel has an output.
    pub fn is_pointwise(&self) -> bool {
        (self.kernel, self.stride, self.padding, self.padding_end) == (1, 1, 0, 0)
    }

    /// The largest quotient of a tap.
    pub fn reach(&self) -> usize {
        (self.kernel - 1) * self.dilation / self.stride
    }

    /// The elements `first..end` of the phases that lie inside the input, for the phases together.
    pub fn inside(&self) -> (isize, isize) {
        let (padding, stride) = (self.padding as isize, self.stride as isize);
        let first = |phase: isize| -(phase - padding).div_euclid(stride);
        let end = |phase: isize| (self.input as isize - 1 + padding - phase).div_euclid(stride) + 1;
        let phases = self.phases();
        let firsts = phases.iter().map(|&p| first(p as isize));
        let ends = phases.iter().map(|&p| end(p as isize));
        (firsts.min().unwrap_or(0), ends.max().unwrap_or(0))
    }
}

/// The sizes of a two-dimensional convolution. Nobody outside can name it; it is `pub` because the sealed trait of operands is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Geometry {
    pub batch: usize,
    pub groups: usize,
    /// Input channels of a group.
    pub channels: usize,
    /// Output channels of a group.
    pub outputs: usize,
    pub height: Axis,
    pub width: Axis,
    pub algorithm: ConvAlgorithm,
}

impl Geometry {
    pub fn new(op: &str, x: &Tensor, weight: &Tensor, cfg: &Conv2dConfig) -> Result<Self> {
        let [batch, channels, h, w] = image_dims(op, "x", x)?;
        let [outputs, group_channels, kh, kw] = image_dims(op, "weight", weight)?;
        let Conv2dConfig { stride, padding, dilation, groups, algorithm } = *cfg;
        if [stride.0, stride.1, dilation.0, dilation.1, groups].contains(&0) {
            return Err(mismatch(op, "stride, dilation and groups of at least 1", format!("{cfg:?}")));
        }
        if channels % groups != 0 || outputs % groups != 0 {
            let expected = format!("channels divisible by {groups} groups");
            return Err(mismatch(op, expected, format!("{channels} in, {outputs} out")));
        }
        if group_channels != channels / groups {
            let expected = format!("weight with {channels} / {groups} input channels");
            return Err(mismatch(op, expected, format!("{:?}", weight.dims())));
        }
        let height = Axis::new(h, kh, stride.0, padding.vertical(), dilation.0);
        let width = Axis::new(w, kw, stride.1, padding.horizontal(), dilation.1);
        let (Some(height), Some(width)) = (height, width) else {
            let expected = format!("a kernel no larger than the padded input ({h}x{w}, {cfg:?})");
            return Err(mismatch(op, expected, format!("{kh}x{kw}")));
        };
        let outputs = outputs / groups;
        Ok(Self { batch, groups, channels: group_channels, outputs, height, width, algorithm })
    }

    /// Whether the padding is alike on opposite sides.
    #[cfg(feature = "cuda")]
    pub fn is_evenly_padded(&self) -> bool {
        [self.height, self.width].iter().all(|axis| axis.padding == axis.padding_end)
    }

    /// The same convolution of an input that has its padding already.
    #[cfg(feature = "cuda")]
    pub fn framed(&self) -> Self {
        let framed = |axis: Axis| Axis {
            input: axis.padding + axis.input + axis.padding_end,
            padding: 0,
            padding_end: 0,
            ..axis
        };
        Self { height: framed(self.height), width: framed(self.width), ..*self }
    }

    pub fn taps(&self) -> usize {
        self.height.kernel * self.width.kernel
    }

    pub fn input_plane(&self) -> usize {
        self.height.input * self.width.input
    }

    pub fn output_plane(&self) -> usize {
        self.height.output * self.width.output
    }

    pub fn output_shape(&self) -> [usize; 4] {
        [self.batch, self.groups * self.outputs, self.height.output, self.width.output]
    }

    pub fn input_shape(&self) -> [usize; 4] {
        [self.batch, self.groups * self.channels, self.height.input, self.width.input]
    }

    pub fn weight_shape(&self) -> [usize; 4] {
        [self.groups * self.outputs, self.channels, self.height.kernel, self.width.kernel]
    }
}
