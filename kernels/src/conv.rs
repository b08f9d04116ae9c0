//! Two-dimensional convolution, grouped and depthwise included.

mod correlate;
mod forward;
mod geometry;
mod input_gradient;
mod planes;
mod tile;
mod weight_gradient;

use crate::reduce::channel_sums;
use crate::tensor::{check_dtypes, check_shape, values, with_float};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, WithDType};
use forward::{forward, input_planes, input_taps};
use geometry::Geometry;
use input_gradient::input_gradient;
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
