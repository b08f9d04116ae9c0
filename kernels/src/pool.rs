//! Pooling: maximum, average, and the average of whole channels.

mod average;
mod halves;
mod max;
mod rows;

use crate::op::{Argument, Compute, Op, Run};
use crate::operand::Operand;
use crate::padding::Padding;
use crate::parallel;
use crate::simd::{Float, Isa, Kernel, dispatch};
use crate::tensor::{check_dtypes, image_dims, mismatch, values, with_float};
use average::{average, average_gradient, average_of_pixels, average_of_pixels_gradient};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Shape, Tensor, WithDType};
pub(crate) use halves::{HALF, Pixels, eights, maximum, route};
use std::ops::Range;

/// How a pooling window walks over its input. Pairs are (height, width).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool2dConfig {
    /// Size of the window.
    pub kernel: (usize, usize),
    /// Distance between neighbouring windows, in pixels of the input.
    pub stride: (usize, usize),
    /// Pixels around the input, on each side fewer than the kernel has.
    pub padding: Padding,
}

/// The maximum of each window of `x` `[batch, channels, height, width]`; padding never wins.
///
/// The result is `[batch, channels, out height, out width]` with
/// `out height = (height + top + bottom - kernel height) / stride + 1`, rounded down. The gradient goes to the
/// first maximum of a window, in reading order; a window with a NaN gives NaN.
///
/// # Errors
/// If `x` is no image in f32 or f64, or the windows do not fit: a size of zero, padding as large as the
/// kernel, a kernel larger than the padded input.
pub fn max_pool2d<V: Operand>(x: &V, cfg: &Pool2dConfig) -> Result<V> {
    pool(x, cfg, Mode::Max)
}

/// The average of each window of `x` `[batch, channels, height, width]`, with shapes as in [`max_pool2d`].
///
/// Padding counts as zeros, also in the divisor: PyTorch's default, `count_include_pad=True`. (ONNX's
/// default is the opposite, [`avg_pool2d_excluding_padding`].)
///
/// # Errors
/// As [`max_pool2d`].
pub fn avg_pool2d<V: Operand>(x: &V, cfg: &Pool2dConfig) -> Result<V> {
    pool(x, cfg, Mode::Average)
}

/// The average of the pixels of each window of `x` `[batch, channels, height, width]`, with shapes as in
/// [`max_pool2d`].
///
/// Padding does not count, neither as a number nor in the divisor: ONNX's default, PyTorch's
/// `count_include_pad=False`. Without padding it is [`avg_pool2d`].
///
/// # Errors
/// As [`max_pool2d`].
pub fn avg_pool2d_excluding_padding<V: Operand>(x: &V, cfg: &Pool2dConfig) -> Result<V> {
    pool(x, cfg, if cfg.padding == Padding::NONE { Mode::Average } else { Mode::AverageOfPixels })
}

/// The average of each channel of `x` `[batch, channels, height, width]`, as `[batch, channels, 1, 1]`.
///
/// # Errors
/// If `x` is no image in f32 or f64, or has a size of zero.
pub fn global_avg_pool2d<V: Operand>(x: &V) -> Result<V> {
    let [_, _, h, w] = image_dims("global_avg_pool2d", "x", x.tensor())?;
    avg_pool2d(x, &Pool2dConfig { kernel: (h, w), stride: (h, w), padding: Padding::NONE })
}

fn pool<V: Operand>(x: &V, cfg: &Pool2dConfig, mode: Mode) -> Result<V> {
    check_dtypes(mode.op(), &[("x", x.tensor())])?;
    let [batch, channels, h, w] = image_dims(mode.op(), "x", x.tensor())?;
    let axis = |input, kernel, stride, padding| Axis::new(mode.op(), input, kernel, stride, padding);
    let height = axis(h, cfg.kernel.0, cfg.stride.0, cfg.padding.vertical())?;
    let width = axis(w, cfg.kernel.1, cfg.stride.1, cfg.padding.horizontal())?;
    V::apply([&x.contiguous()?], Pool { mode, batch, channels, windows: Windows { height, width } })
}

#[derive(Debug, Clone, Copy)]
enum Mode {
    Max,
    Average,
    /// Without the padding.
    AverageOfPixels,
}

impl Mode {
    fn op(self) -> &'static str {
        match self {
            Self::Max => "max_pool2d",
            Self::Average => "avg_pool2d",
            Self::AverageOfPixels => "avg_pool2d_excluding_padding",
        }
    }
}

/// The windows along one axis.
#[derive(Debug, Clone, Copy)]
struct Axis {
    input: usize,
    output: usize,
    kernel: usize,
    stride: usize,
    /// Before the first pixel; what is behind the last one counts in `output` alone.
    padding: usize,
}

impl Axis {
    fn new(
        op: &str,
        input: usize,
        kernel: usize,
        stride: usize,
        (padding, end): (usize, usize),
    ) -> Result<Self> {
        if kernel == 0 || stride == 0 {
            let found = format!("kernel {kernel}, stride {stride}");
            return Err(mismatch(op, "kernel and stride of at least 1", found));
        }
        // So every window sees a pixel.
        if padding.max(end) >= kernel {
            return Err(mismatch(op, format!("padding below the kernel's {kernel}"), padding.max(end)));
        }
        match (input + padding + end).checked_sub(kernel) {
            Some(room) => Ok(Self { input, output: room / stride + 1, kernel, stride, padding }),
            None => {
                let expected =
                    format!("a kernel no larger than the padded input, {padding} + {input} + {end}");
                Err(mismatch(op, expected, kernel))
            }
        }
    }

    /// Windows of two pixels that tile it from the first pixel on, none of them in the padding.
    fn halves(self) -> bool {
        (self.kernel, self.stride, self.padding) == (2, 2, 0) && 2 * self.output <= self.input
    }

    /// The pixels of window `i` that are not padding; never empty.
    #[inline(always)]
    fn window(self, i: usize) -> Range<usize> {
        let start = i * self.stride;
        start.saturating_sub(self.padding)..(start + self.kernel - self.padding).min(self.input)
    }
}

#[derive(Debug, Clone, Copy)]
struct Windows {
    height: Axis,
    width: Axis,
}

impl Windows {
    fn input_len(&self) -> usize {
        self.height.input * self.width.input
    }

    fn output_len(&self) -> usize {
        self.height.output * self.width.output
    }

    /// Window (row, column) without padding, for every output in order.
    #[inline(always)]
    fn iter(self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let Self { height, width } = self;
        let row = move |r| (0..width.output).map(move |q| (height.window(r), width.window(q)));
        (0..height.output).flat_map(row)
    }

    /// One window that is the whole plane.
    fn whole(self) -> bool {
        let whole = |axis: Axis| (axis.kernel, axis.output, axis.padding) == (axis.input, 1, 0);
        whole(self.height) && whole(self.width)
    }

    /// Non-overlapping 2x2 windows that start at the first pixel, in rows of half a vector or more: the usual
    /// case, worth its own loop.
    fn halves(self) -> bool {
        self.height.halves() && self.width.halves() && self.width.output >= HALF
    }
}

#[derive(Debug, Clone, Copy)]
struct Pool {
    mode: Mode,
    batch: usize,
    channels: usize,
    windows: Windows,
}

#[cfg(feature = "cuda")]
impl Pool {
    fn on_cuda(&self) -> Result<(&'static str, crate::cuda::PoolKind, crate::cuda::Windows)> {
        use crate::cuda::{PoolKind, Windows};
        let kind = match self.mode {
            Mode::Max => PoolKind::Max,
            Mode::Average => PoolKind::Average,
            Mode::AverageOfPixels => PoolKind::AverageOfPixels,
        };
        let sizes = |axis: Axis| [axis.input, axis.output, axis.kernel, axis.stride, axis.padding];
        let windows = Windows::new(self.mode.op(), sizes(self.windows.height), sizes(self.windows.width))?;
        Ok((self.mode.op(), kind, windows))
    }
}

impl Compute<1> for Pool {
    fn name(&self) -> &'static str {
        self.mode.op()
    }

    fn cpu(&self, [x]: [Argument<CpuStorage>; 1]) -> Result<(CpuStorage, Shape)> {
        let windows = self.windows;
        let (from, to) = (self.channels * windows.input_len(), self.channels * windows.output_len());
        with_float!(self.name(), x.0.dtype(), T => {
            let x = values::<T>(self.name(), x)?;
            let y = parallel::build_chunks(self.batch * to, to, |i, y| {
                dispatch(Forward { mode: self.mode, windows, x: &x[i * from..(i + 1) * from], y })
            });
            let shape = (self.batch, self.channels, windows.height.output, windows.width.output);
            Ok((T::to_cpu_storage_owned(y), Shape::from(shape)))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x]: [Argument<CudaStorage>; 1]) -> Result<(CudaStorage, Shape)> {
        let Windows { height, width } = self.windows;
        let shape = (self.batch, self.channels, height.output, width.output);
        Ok((crate::cuda::pool(self.on_cuda()?, x)?, Shape::from(shape)))
    }
}

impl Op<1> for Pool {
    fn gradients(
        &self,
        [x]: [&Tensor; 1],
        _y: &Tensor,
        dy: &Tensor,
        _: [bool; 1],
    ) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(PoolGradient(*self).run([x, dy])?)])
    }
}

/// One sample.
struct Forward<'a, T> {
    mode: Mode,
    windows: Windows,
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Float> Kernel for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let line = &mut vec![T::ZERO; self.windows.width.input];
        let planes = self.x.chunks_exact(self.windows.input_len());
        for (x, y) in planes.zip(self.y.chunks_exact_mut(self.windows.output_len())) {
            match self.mode {
                Mode::Max if self.windows.halves() => max::halves::<I, T>(self.windows, x, y),
                Mode::Max => max::any(self.windows, x, line, y),
                Mode::Average => average::<I, T>(self.windows, x, line, y),
                Mode::AverageOfPixels => average_of_pixels(self.windows, x, line, y),
            }
        }
    }
}

/// (x, dy) -> dx
struct PoolGradient(Pool);

impl Compute<2> for PoolGradient {
    fn name(&self) -> &'static str {
        self.0.mode.op()
    }

    fn cpu(&self, [x, dy]: [Argument<CpuStorage>; 2]) -> Result<(CpuStorage, Shape)> {
        let shape = x.1.shape();
        let Pool { mode, channels, windows, .. } = self.0;
        let (from, to) = (channels * windows.input_len(), channels * windows.output_len());
        with_float!(Compute::<2>::name(self), x.0.dtype(), T => {
            let (x, dy) = (values::<T>(self.name(), x)?, values::<T>(self.name(), dy)?);
            let dx = parallel::build_chunks(x.len(), from, |i, dx| {
                let (x, dy) = (&x[i * from..(i + 1) * from], &dy[i * to..(i + 1) * to]);
                dispatch(Backward { mode, windows, x, dy, dx })
            });
            Ok((T::to_cpu_storage_owned(dx), shape.clone()))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x, dy]: [Argument<CudaStorage>; 2]) -> Result<(CudaStorage, Shape)> {
        Ok((crate::cuda::pool_gradient(self.0.on_cuda()?, x, dy)?, x.1.shape().clone()))
    }
}

/// One sample.
struct Backward<'a, T> {
    mode: Mode,
    windows: Windows,
    x: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
}

impl<T: Float> Kernel for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let (from, to) = (self.windows.input_len(), self.windows.output_len());
        let line = &mut vec![T::ZERO; self.windows.width.input];
        let shares = &mut vec![T::ZERO; self.windows.width.output];
        let planes = self.x.chunks_exact(from).zip(self.dy.chunks_exact(to));
        for ((x, dy), dx) in planes.zip(self.dx.chunks_exact_mut(from)) {
            match self.mode {
                Mode::Max if self.windows.halves() => max::halves_gradient::<I, T>(self.windows, x, dy, dx),
                Mode::Max => max::any_gradient(self.windows, x, dy, dx),
                Mode::Average => average_gradient(self.windows, dy, line, dx),
                Mode::AverageOfPixels => average_of_pixels_gradient(self.windows, dy, (line, shares), dx),
            }
        }
    }
}

#[cfg(test)]
mod tests;
