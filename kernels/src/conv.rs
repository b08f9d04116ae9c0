//! Two-dimensional convolution, grouped and depthwise included.

mod correlate;
mod geometry;
mod planes;
mod weight_gradient;

use crate::reduce::channel_sums;
use crate::simd::Float;
use crate::tensor::{check_dtypes, check_shape, values, with_float};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, WithDType};
use correlate::{Correlator, PackedWeights, Pass};
use geometry::{Axis, Geometry};
use planes::{Planes, Window};
use weight_gradient::WeightGradient;

const OP: &str = "conv2d";

/// How a convolution walks over its input. Pairs are (height, width).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dConfig {
    /// Distance between neighbouring outputs, in pixels of the input.
    pub stride: (usize, usize),
    /// Zeros added on each side of the input.
    pub padding: (usize, usize),
    /// Distance between neighbouring taps of the kernel, in pixels of the input.
    pub dilation: (usize, usize),
    /// Input and output channels are cut into this many independent groups; as many groups as channels
    /// is a depthwise convolution.
    pub groups: usize,
}

impl Default for Conv2dConfig {
    /// Stride 1, no padding, dilation 1, one group.
    fn default() -> Self {
        Self { stride: (1, 1), padding: (0, 0), dilation: (1, 1), groups: 1 }
    }
}

/// Convolves `x` `[batch, channels, height, width]` with `weight`
/// `[out, channels / groups, kernel height, kernel width]` and adds `bias` `[out]`.
///
/// As everywhere in deep learning this is a cross-correlation: the kernel is not flipped. The result is
/// `[batch, out, out height, out width]` with
/// `out height = (height + 2 padding - dilation (kernel height - 1) - 1) / stride + 1`, rounded down.
///
/// Gradients flow to all three arguments; that of an `x` that depends on no variable (the image) is not
/// computed.
///
/// # Errors
/// If shapes or number types do not fit together, a size is zero, or the dilated kernel is larger than
/// the padded input.
///
/// ```
/// use candle_convnet::{Conv2dConfig, conv2d};
/// use candle_core::{DType, Device, Tensor};
///
/// let x = Tensor::ones((1, 2, 5, 7), DType::F32, &Device::Cpu)?;
/// let weight = Tensor::ones((4, 2, 3, 3), DType::F32, &Device::Cpu)?;
/// let cfg = Conv2dConfig { stride: (2, 2), padding: (1, 1), ..Default::default() };
/// let y = conv2d(&x, &weight, None, &cfg)?;
/// assert_eq!(y.dims(), [1, 4, 3, 4]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, cfg: &Conv2dConfig) -> Result<Tensor> {
    check_dtypes(OP, &[("x", x), ("weight", weight)])?;
    let geometry = Geometry::new(OP, x, weight, cfg)?;
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    let Some(bias) = bias else {
        return x.apply_op2(&weight, Conv2d { geometry });
    };
    check_dtypes(OP, &[("x", &x), ("bias", bias)])?;
    check_shape(OP, "bias", bias, &[geometry.groups * geometry.outputs])?;
    x.apply_op3(&weight, &bias.contiguous()?, Conv2d { geometry })
}

/// The planes of the input: one phase for every position of a tap between two outputs.
fn input_planes(g: &Geometry) -> Planes {
    let window = |row, column| Window {
        row: row as isize - g.height.padding as isize,
        row_step: g.height.stride,
        column: column as isize - g.width.padding as isize,
        column_step: g.width.stride,
    };
    let columns = g.width.phases();
    let windows = g.height.phases().into_iter().flat_map(|r| columns.iter().map(move |&c| window(r, c)));
    Planes {
        source: (g.height.input, g.width.input),
        windows: windows.collect(),
        rows: g.height.output + g.height.reach(),
        columns: g.width.output + g.width.reach(),
    }
}

/// The offsets of all taps into a channel of [`input_planes`], row by row of the kernel.
fn input_taps(g: &Geometry, planes: &Planes) -> Vec<usize> {
    let (row_phases, column_phases) = (g.height.phases(), g.width.phases());
    let index = |phases: &[usize], phase| phases.partition_point(|&p| p < phase);
    let offset = |ky, kx| {
        let (row, column) = (g.height.tap(ky), g.width.tap(kx));
        let window =
            index(&row_phases, row.phase) * column_phases.len() + index(&column_phases, column.phase);
        window * planes.window_len() + row.quotient * planes.columns + column.quotient
    };
    (0..g.taps()).map(|t| offset(t / g.width.kernel, t % g.width.kernel)).collect()
}

fn forward<T: Float>(g: &Geometry, x: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    let planes = input_planes(g);
    let (taps, per_output) = (input_taps(g, &planes), g.channels * g.taps());
    let pack = |group: usize| {
        let weight = &weight[group * g.outputs * per_output..];
        let at = |o, c, t| weight[o * per_output + c * g.taps() + t];
        PackedWeights::new(g.outputs, g.channels, g.taps(), at)
    };
    let weights = (0..g.groups).map(pack).collect();
    let result = (g.height.output, g.width.output);
    let correlator = Correlator {
        groups: g.groups,
        channels: g.channels,
        outputs: g.outputs,
        planes,
        result,
        passes: vec![Pass { taps, weights, row: 0, column: 0 }],
        target: result,
        step: (1, 1),
        bias,
    };
    correlator.run(g.batch, x)
}

/// The gradient of the input: for every phase of the input a correlation of the output's gradient with
/// the taps that read this phase, the kernel turned round.
fn input_gradient<T: Float>(g: &Geometry, weight: &[T], dy: &[T]) -> Vec<T> {
    let (rows, columns) = (g.height.inside(), g.width.inside());
    let extent = |(first, end): (isize, isize)| (end - first).max(0) as usize;
    let window = Window {
        row: rows.0 - g.height.reach() as isize,
        row_step: 1,
        column: columns.0 - g.width.reach() as isize,
        column_step: 1,
    };
    let planes = Planes {
        source: (g.height.output, g.width.output),
        windows: vec![window],
        rows: extent(rows) + g.height.reach(),
        columns: extent(columns) + g.width.reach(),
    };
    let column_phases = g.width.phases();
    let phases = g.height.phases().into_iter().flat_map(|r| column_phases.iter().map(move |&c| (r, c)));
    let passes = phases.map(|phase| input_gradient_pass(g, weight, &planes, phase, (rows.0, columns.0)));
    let correlator = Correlator {
        groups: g.groups,
        channels: g.outputs,
        outputs: g.channels,
        result: (extent(rows), extent(columns)),
        passes: passes.collect(),
        planes,
        target: (g.height.input, g.width.input),
        step: (g.height.stride, g.width.stride),
        bias: None,
    };
    correlator.run(g.batch, dy)
}

fn input_gradient_pass<T: Float>(
    g: &Geometry,
    weight: &[T],
    planes: &Planes,
    (row_phase, column_phase): (usize, usize),
    (first_row, first_column): (isize, isize),
) -> Pass<T> {
    let taps_of = |axis: Axis, phase| (0..axis.kernel).filter(move |&k| axis.tap(k).phase == phase);
    let taps: Vec<_> = taps_of(g.height, row_phase)
        .flat_map(|ky| taps_of(g.width, column_phase).map(move |kx| (ky, kx)))
        .collect();
    let offset = |&(ky, kx): &(usize, usize)| {
        let row = g.height.reach() - g.height.tap(ky).quotient;
        row * planes.columns + g.width.reach() - g.width.tap(kx).quotient
    };
    let kernel = |t: usize| taps[t].0 * g.width.kernel + taps[t].1;
    let pack = |group: usize| {
        let weight = &weight[group * g.outputs * g.channels * g.taps()..];
        let at = |c, o, t| weight[(o * g.channels + c) * g.taps() + kernel(t)];
        PackedWeights::new(g.channels, g.outputs, taps.len(), at)
    };
    let place = |axis: Axis, first: isize, phase: usize| {
        first * axis.stride as isize + phase as isize - axis.padding as isize
    };
    Pass {
        taps: taps.iter().map(offset).collect(),
        weights: (0..g.groups).map(pack).collect(),
        row: place(g.height, first_row, row_phase),
        column: place(g.width, first_column, column_phase),
    }
}

#[derive(Clone)]
struct Conv2d {
    geometry: Geometry,
}

impl Conv2d {
    fn cpu(
        &self,
        (x, x_layout): (&CpuStorage, &Layout),
        (weight, weight_layout): (&CpuStorage, &Layout),
        bias: Option<(&CpuStorage, &Layout)>,
    ) -> Result<(CpuStorage, Shape)> {
        with_float!(OP, x.dtype(), T => {
            let x = values::<T>(OP, x, x_layout)?;
            let weight = values::<T>(OP, weight, weight_layout)?;
            let bias = bias.map(|(bias, layout)| values::<T>(OP, bias, layout)).transpose()?;
            let y = forward(&self.geometry, x, weight, bias);
            Ok((T::to_cpu_storage_owned(y), Shape::from(&self.geometry.output_shape()[..])))
        })
    }

    /// The gradients of `x` and `weight` that somebody needs.
    fn gradients(
        &self,
        x: &Tensor,
        weight: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let geometry = self.geometry;
        let dx = x.track_op().then(|| weight.apply_op2_no_bwd(dy, &InputGradientOp { geometry }));
        let dw = weight.track_op().then(|| x.apply_op2_no_bwd(dy, &WeightGradientOp { geometry }));
        Ok((dx.transpose()?, dw.transpose()?))
    }
}

impl CustomOp2 for Conv2d {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.cpu((x, lx), (w, lw), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.gradients(x, w, &dy.contiguous()?)
    }
}

impl CustomOp3 for Conv2d {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.cpu((x, lx), (w, lw), Some((b, lb)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let (dx, dw) = self.gradients(x, w, &dy)?;
        let db = b.track_op().then(|| channel_sums(&dy)).transpose()?;
        Ok((dx, dw, db))
    }
}

/// (weight, dy) -> dx
struct InputGradientOp {
    geometry: Geometry,
}

impl CustomOp2 for InputGradientOp {
    fn name(&self) -> &'static str {
        "conv2d-input-gradient"
    }

    fn cpu_fwd(
        &self,
        w: &CpuStorage,
        lw: &Layout,
        dy: &CpuStorage,
        ldy: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        with_float!(OP, w.dtype(), T => {
            let dx = input_gradient(&self.geometry, values::<T>(OP, w, lw)?, values::<T>(OP, dy, ldy)?);
            Ok((T::to_cpu_storage_owned(dx), Shape::from(&self.geometry.input_shape()[..])))
        })
    }
}

/// (x, dy) -> dweight
struct WeightGradientOp {
    geometry: Geometry,
}

impl CustomOp2 for WeightGradientOp {
    fn name(&self) -> &'static str {
        "conv2d-weight-gradient"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        dy: &CpuStorage,
        ldy: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let g = &self.geometry;
        with_float!(OP, x.dtype(), T => {
            let planes = input_planes(g);
            let taps = input_taps(g, &planes);
            let (x, dy) = (values::<T>(OP, x, lx)?, values::<T>(OP, dy, ldy)?);
            let dw = WeightGradient::new(g, planes, &taps, x, dy).run();
            Ok((T::to_cpu_storage_owned(dw), Shape::from(&g.weight_shape()[..])))
        })
    }
}
