//! Two-dimensional convolution, grouped and depthwise included.

mod algorithm;
mod by_sample;
mod cells;
mod correlate;
mod depthwise;
mod forward;
mod geometry;
mod input_gradient;
mod interleave;
mod planes;
mod pointwise;
mod product;
pub(crate) mod taped;
mod tile;
mod weight_gradient;
mod winograd;

use crate::norm::{self, BatchNormOutput, Epilogue, HALVE, Halves, Halving, batch_norm_train};
use crate::op::{Argument, Compute, Op, Run};
use crate::operand::Operand;
use crate::padding::Padding;
use crate::pool::max_pool2d;
use crate::reduce::ChannelSums;
use crate::source::Source;
use crate::tensor::{check_dtypes, check_shape, host, values, with_float};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Device, Result, Shape, Tensor, WithDType};
pub(crate) use geometry::Geometry;

pub use algorithm::ConvAlgorithm;
use algorithm::{Backward, Forward, Then};

const OP: &str = "conv2d";

/// How a convolution walks over its input. Pairs are (height, width).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dConfig {
    /// Distance between neighbouring outputs, in pixels of the input.
    pub stride: (usize, usize),
    /// Zeros around the input.
    pub padding: Padding,
    /// Distance between neighbouring taps of the kernel, in pixels of the input.
    pub dilation: (usize, usize),
    /// Input and output channels are cut into this many independent groups; as many groups as channels
    /// is a depthwise convolution.
    pub groups: usize,
    /// How it is computed on CPUs.
    pub algorithm: ConvAlgorithm,
}

impl Default for Conv2dConfig {
    /// Stride 1, no padding, dilation 1, one group, the fastest algorithm.
    fn default() -> Self {
        let algorithm = ConvAlgorithm::Auto;
        Self { stride: (1, 1), padding: Padding::NONE, dilation: (1, 1), groups: 1, algorithm }
    }
}

/// Convolves `x` `[batch, channels, height, width]` with `weight`
/// `[out, channels / groups, kernel height, kernel width]` and adds `bias` `[out]`.
///
/// As everywhere in deep learning this is a cross-correlation: the kernel is not flipped. The result is
/// `[batch, out, out height, out width]` with
/// `out height = (height + top + bottom - dilation (kernel height - 1) - 1) / stride + 1`, rounded down.
///
/// 3x3 kernels in f32 usually go by Winograd's algorithm, which see under [`ConvAlgorithm`].
///
/// Gradients flow to all three arguments; that of an `x` that depends on no variable (the image) is not
/// computed.
///
/// # Errors
/// If shapes or number types do not fit together, a size is zero, or the dilated kernel is larger than
/// the padded input.
///
/// ```
/// use candle_convnet::{Conv2dConfig, Padding, conv2d};
/// use candle_core::{DType, Device, Tensor};
///
/// let x = Tensor::ones((1, 2, 5, 7), DType::F32, &Device::Cpu)?;
/// let weight = Tensor::ones((4, 2, 3, 3), DType::F32, &Device::Cpu)?;
/// let cfg = Conv2dConfig { stride: (2, 2), padding: Padding::even(1, 1), ..Default::default() };
/// let y = conv2d(&x, &weight, None, &cfg)?;
/// assert_eq!(y.dims(), [1, 4, 3, 4]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn conv2d<V: Operand>(x: &V, weight: &V, bias: Option<&V>, cfg: &Conv2dConfig) -> Result<V> {
    let (geometry, [x, weight], bias) = arguments(x, weight, bias, cfg)?;
    V::convolve(&x, &weight, bias.as_ref(), geometry)
}

/// [`conv2d`] and what follows it: the same bits as one after the other, but on a CPU, where no gradient is wanted, one step.
/// What a pooling reads is then never written to memory.
///
/// # Errors
/// Those of [`conv2d`], and of the pooling if the output is less than two pixels high or wide.
///
/// ```
/// use candle_convnet::{Conv2dConfig, Epilogue, conv2d_epilogue};
/// use candle_core::{Device, Tensor};
///
/// let x = Tensor::new(&[[[[1f32, -2.0]]]], &Device::Cpu)?;
/// let weight = Tensor::new(&[[[[-3f32]]]], &Device::Cpu)?;
/// let y = conv2d_epilogue(&x, &weight, None, &Conv2dConfig::default(), Epilogue::Relu)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [0.0, 6.0]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn conv2d_epilogue<V: Operand>(
    x: &V,
    weight: &V,
    bias: Option<&V>,
    cfg: &Conv2dConfig,
    epilogue: Epilogue,
) -> Result<V> {
    let (geometry, [x, weight], bias) = arguments(x, weight, bias, cfg)?;
    match V::convolve_then((&x, &weight, bias.as_ref()), geometry, epilogue)? {
        Some(output) => Ok(output),
        None => epilogue.apply(V::convolve(&x, &weight, bias.as_ref(), geometry)?),
    }
}

/// The arguments of [`conv2d`], found to fit together and made contiguous.
fn arguments<V: Operand>(
    x: &V,
    weight: &V,
    bias: Option<&V>,
    cfg: &Conv2dConfig,
) -> Result<(Geometry, [V; 2], Option<V>)> {
    check_dtypes(OP, &[("x", x.like()), ("weight", weight.like())])?;
    let geometry = Geometry::new(OP, x.like(), weight.like(), cfg)?;
    if let Some(bias) = bias {
        check_dtypes(OP, &[("x", x.like()), ("bias", bias.like())])?;
        check_shape(OP, "bias", bias.like(), &[geometry.groups * geometry.outputs])?;
    }
    let bias = bias.map(|bias| bias.contiguous()).transpose()?;
    Ok((geometry, [x.contiguous()?, weight.contiguous()?], bias))
}

/// [`conv2d`] without a bias, then [`batch_norm_train`] of its output: the same up to rounding, but on a
/// [`Tape`](crate::Tape) on a CPU one step that moves less memory.
///
/// The convolution takes the moments of what it writes, and the gradient of its output is computed where the
/// convolution's own gradients read it, which saves a tensor in each direction. Without pooling the normalised values are not
/// written either: a convolution that reads them normalises on the way, and whatever else reads them has them computed once.
///
/// # Errors
/// Those of [`conv2d`] and [`batch_norm_train`].
pub fn conv2d_batch_norm_train<V: Operand>(
    x: &V,
    weight: &V,
    cfg: &Conv2dConfig,
    (gamma, beta): (&V, &V),
    eps: f64,
    epilogue: Epilogue,
) -> Result<BatchNormOutput<V>> {
    check_dtypes(OP, &[("x", x.like()), ("weight", weight.like())])?;
    let geometry = Geometry::new(OP, x.like(), weight.like(), cfg)?;
    norm::check(OP, x.like(), &geometry.output_shape(), [gamma.like(), beta.like()], eps)?;
    let (gamma, beta) = (gamma.contiguous()?, beta.contiguous()?);
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    match V::convolve_and_normalise(&x, &weight, geometry, (&gamma, &beta), (eps, epilogue))? {
        Some(output) => Ok(output),
        None => batch_norm_train(&V::convolve(&x, &weight, None, geometry)?, &gamma, &beta, eps, epilogue),
    }
}

/// A convolution as an operation like any other.
pub(crate) fn untaped<V: Operand>(x: &V, weight: &V, bias: Option<&V>, geometry: Geometry) -> Result<V> {
    match bias {
        None => V::apply([x, weight], Conv2d { geometry }),
        Some(bias) => V::apply([x, weight, bias], Conv2d { geometry }),
    }
}

/// A convolution on the CPU that nobody wants a gradient of, and what follows it.
pub(crate) fn without_gradient(
    arguments: (&Tensor, &Tensor, Option<&Tensor>),
    geometry: Geometry,
    epilogue: Epilogue,
) -> Result<Tensor> {
    if epilogue == Epilogue::ReluMaxPool && !Halves::fit(&geometry.output_shape()) {
        return max_pool2d(&without_gradient(arguments, geometry, Epilogue::Relu)?, &HALVE);
    }
    let (x, weight, bias) = arguments;
    with_float!(OP, x.dtype(), T => {
        let (x, weight, bias) = (host(x), host(weight), bias.map(host));
        let bias = bias.as_ref().map(|bias| bias.values::<T>()).transpose()?;
        let (g, x, weight) = (&geometry, &Source::Plain(x.values()?), weight.values()?);
        let of = Forward { g, x, weight, bias, then: Then::Nothing };
        let shape = g.output_shape();
        let (y, shape) = match epilogue {
            Epilogue::None => (of.run(), shape),
            Epilogue::Relu => (Forward { then: Then::Rectify, ..of }.run(), shape),
            Epilogue::ReluMaxPool => {
                let halve = |halving: &Halving<'_, T>| drop(Forward { then: Then::Halve(halving), ..of }.run());
                (Halving::maxima(&shape, halve), Halves::output(&shape))
            }
        };
        Tensor::from_vec(y, &shape, &Device::Cpu)
    })
}

#[derive(Clone)]
struct Conv2d {
    geometry: Geometry,
}

impl Conv2d {
    fn forward(
        &self,
        [x, weight]: [Argument<CpuStorage>; 2],
        bias: Option<Argument<CpuStorage>>,
    ) -> Result<(CpuStorage, Shape)> {
        with_float!(OP, x.0.dtype(), T => {
            let bias = bias.map(|bias| values::<T>(OP, bias)).transpose()?;
            let (g, x) = (&self.geometry, &Source::Plain(values::<T>(OP, x)?));
            let y = Forward { g, x, weight: values::<T>(OP, weight)?, bias, then: Then::Nothing }.run();
            Ok((T::to_cpu_storage_owned(y), Shape::from(&self.geometry.output_shape()[..])))
        })
    }

    /// The gradients of `x` and `weight` together, which share work, on the CPU.
    fn both_gradients(&self, x: &Tensor, weight: &Tensor, dy: &Tensor) -> Result<Option<[Tensor; 2]>> {
        if !x.device().is_cpu() {
            return Ok(None);
        }
        let g = &self.geometry;
        with_float!(OP, x.dtype(), T => {
            let (x, weight, dy) = (host(x), host(weight), host(dy));
            let (x, weight, dy) = (x.values::<T>()?, weight.values::<T>()?, dy.values::<T>()?);
            let (x, dy) = (&Source::Plain(x), &Source::Plain(dy));
            let (dx, dw) = Backward { g, x: Some(x), weight: Some(weight), dy, sums: None }.run();
            let dx = Tensor::from_vec(dx, &g.input_shape(), &Device::Cpu)?;
            Ok(Some([dx, Tensor::from_vec(dw, &g.weight_shape(), &Device::Cpu)?]))
        })
    }
}

impl Compute<2> for Conv2d {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu(&self, inputs: [Argument<CpuStorage>; 2]) -> Result<(CpuStorage, Shape)> {
        self.forward(inputs, None)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x, weight]: [Argument<CudaStorage>; 2]) -> Result<(CudaStorage, Shape)> {
        let y = crate::cuda::conv_forward(OP, &self.geometry, x, weight, None)?;
        Ok((y, Shape::from(&self.geometry.output_shape()[..])))
    }
}

impl Op<2> for Conv2d {
    /// That of an `x` that depends on no variable (the image) is not wanted.
    fn gradients(
        &self,
        [x, weight]: [&Tensor; 2],
        _y: &Tensor,
        dy: &Tensor,
        wanted: [bool; 2],
    ) -> Result<[Option<Tensor>; 2]> {
        let geometry = self.geometry;
        if wanted == [true; 2]
            && let Some(both) = self.both_gradients(x, weight, dy)?
        {
            return Ok(both.map(Some));
        }
        let dx = wanted[0].then(|| InputGradient { geometry }.run([weight, dy])).transpose()?;
        let dw = wanted[1].then(|| WeightGradient { geometry }.run([x, dy])).transpose()?;
        Ok([dx, dw])
    }
}

impl Compute<3> for Conv2d {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu(&self, [x, weight, bias]: [Argument<CpuStorage>; 3]) -> Result<(CpuStorage, Shape)> {
        self.forward([x, weight], Some(bias))
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x, weight, bias]: [Argument<CudaStorage>; 3]) -> Result<(CudaStorage, Shape)> {
        let y = crate::cuda::conv_forward(OP, &self.geometry, x, weight, Some(bias))?;
        Ok((y, Shape::from(&self.geometry.output_shape()[..])))
    }
}

impl Op<3> for Conv2d {
    fn gradients(
        &self,
        [x, weight, _bias]: [&Tensor; 3],
        y: &Tensor,
        dy: &Tensor,
        wanted: [bool; 3],
    ) -> Result<[Option<Tensor>; 3]> {
        let [dx, dw] = Op::<2>::gradients(self, [x, weight], y, dy, [wanted[0], wanted[1]])?;
        let db = wanted[2].then(|| ChannelSums.run([dy])).transpose()?;
        Ok([dx, dw, db])
    }
}

/// (weight, dy) -> dx
struct InputGradient {
    geometry: Geometry,
}

impl Compute<2> for InputGradient {
    fn name(&self) -> &'static str {
        "conv2d-input-gradient"
    }

    fn cpu(&self, [weight, dy]: [Argument<CpuStorage>; 2]) -> Result<(CpuStorage, Shape)> {
        with_float!(OP, weight.0.dtype(), T => {
            let (weight, dy) = (values::<T>(OP, weight)?, values::<T>(OP, dy)?);
            let (g, dy) = (&self.geometry, &Source::Plain(dy));
            let (dx, _) = Backward { g, x: None, weight: Some(weight), dy, sums: None }.run();
            Ok((T::to_cpu_storage_owned(dx), Shape::from(&self.geometry.input_shape()[..])))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [weight, dy]: [Argument<CudaStorage>; 2]) -> Result<(CudaStorage, Shape)> {
        let dx = crate::cuda::conv_input_gradient(OP, &self.geometry, weight, dy)?;
        Ok((dx, Shape::from(&self.geometry.input_shape()[..])))
    }
}

/// (x, dy) -> dweight
struct WeightGradient {
    geometry: Geometry,
}

impl Compute<2> for WeightGradient {
    fn name(&self) -> &'static str {
        "conv2d-weight-gradient"
    }

    fn cpu(&self, [x, dy]: [Argument<CpuStorage>; 2]) -> Result<(CpuStorage, Shape)> {
        let g = &self.geometry;
        with_float!(OP, x.0.dtype(), T => {
            let (x, dy) = (Source::Plain(values::<T>(OP, x)?), Source::Plain(values::<T>(OP, dy)?));
            let (_, dw) = Backward { g, x: Some(&x), weight: None, dy: &dy, sums: None }.run();
            Ok((T::to_cpu_storage_owned(dw), Shape::from(&g.weight_shape()[..])))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x, dy]: [Argument<CudaStorage>; 2]) -> Result<(CudaStorage, Shape)> {
        let dw = crate::cuda::conv_weight_gradient(OP, &self.geometry, x, dy)?;
        Ok((dw, Shape::from(&self.geometry.weight_shape()[..])))
    }
}
