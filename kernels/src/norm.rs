//! Batch normalisation (Ioffe and Szegedy, 2015), with the ReLU and the pooling that often follow fused in.
//!
//! One channel at a time: its values are read for the mean and the variance and again for the result,
//! while they are still in the cache. Small planes are worked on several channels at a time.

mod channel;
mod group;
mod halved;
mod pending;
mod plane;
mod small;

use crate::activation::relu;
use crate::op::{Argument, Compute, Op, Run};
use crate::operand::Operand;
use crate::padding::Padding;
use crate::parallel::{self, Shared};
use crate::pool::{Pool2dConfig, max_pool2d};
use crate::simd::{Float, dispatch};
use crate::tensor::{check_dtypes, check_shape, mismatch, values, with_float};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Device, Result, Shape, Tensor, WithDType};
pub(crate) use channel::Channel;
use channel::{ChannelMoments, Normalise, Place};
pub use group::group_norm;
use halved::NormaliseHalves;
pub(crate) use halved::{Halves, Halving};
pub(crate) use pending::Held;
use plane::ChannelGradient;
pub(crate) use plane::{
    Backward, Follows, NormGradient, Normalised, Observer, Sums, SumsOnTheWay, normalise_in_place,
};
use small::{Block, BlockGradient, BlockMoments, NormaliseBlock};
use std::sync::{Arc, OnceLock};

/// What follows a batch normalisation or a convolution in the same pass over memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Epilogue {
    /// Nothing.
    #[default]
    None,
    /// [`relu`](crate::relu).
    Relu,
    /// [`relu`](crate::relu) and [`max_pool2d`] with windows of 2x2 and stride 2; the input must be an image,
    /// `[batch, channels, height, width]`.
    ReluMaxPool,
}

impl Epilogue {
    fn rectifies(self) -> bool {
        self != Self::None
    }

    /// It alone.
    pub(crate) fn apply<V: Operand>(self, x: V) -> Result<V> {
        match self {
            Self::None => Ok(x),
            Self::Relu => relu(&x),
            Self::ReluMaxPool => max_pool2d(&relu(&x)?, &HALVE),
        }
    }

    /// Whether planes of these dimensions are large enough to be normalised one by one.
    pub(crate) fn goes_by_plane(self, dims: &[usize]) -> bool {
        !small(dims) && (self != Self::ReluMaxPool || Halves::fit(dims))
    }
}

/// What [`batch_norm_train`] computes.
#[derive(Debug, Clone)]
pub struct BatchNormOutput<V = Tensor> {
    /// The normalised values, in the shape of the input unless they were pooled. Gradients flow through it.
    pub output: V,
    /// `[channels]`, the batch's mean, detached.
    pub mean: Tensor,
    /// `[channels]`, the batch's variance (the sum of squares divided by the count, not by one less),
    /// detached.
    pub variance: Tensor,
    /// How many values a channel has.
    pub count: usize,
}

/// Normalises each channel of `x` `[batch, channels, ...]` by the mean and variance of this batch:
/// `gamma * (x - mean) / sqrt(variance + eps) + beta`, then what the epilogue says.
///
/// `gamma` and `beta` have shape `[channels]`. The gradient of `x` includes its part in the mean and the
/// variance. A channel with a single value has variance 0 and becomes `beta`. Running averages are the
/// caller's, from [`BatchNormOutput::mean`] and [`BatchNormOutput::variance`].
///
/// # Errors
/// If shapes or number types do not fit together, a size is zero, or `eps` is negative.
pub fn batch_norm_train<V: Operand>(
    x: &V,
    gamma: &V,
    beta: &V,
    eps: f64,
    epilogue: Epilogue,
) -> Result<BatchNormOutput<V>> {
    let op = "batch_norm_train";
    check(op, x.tensor(), x.tensor().dims(), [gamma.tensor(), beta.tensor()], eps)?;
    if splits(x.tensor(), epilogue) {
        let mut whole = batch_norm_train(x, gamma, beta, eps, Epilogue::Relu)?;
        whole.output = max_pool2d(&whole.output, &HALVE)?;
        return Ok(whole);
    }
    let saved = Arc::new(OnceLock::new());
    let norm = BatchNorm { op, eps, epilogue, given: None, saved: saved.clone() };
    let output = V::apply([&x.contiguous()?, &gamma.contiguous()?, &beta.contiguous()?], norm)?;
    let saved: &Saved = saved.get().ok_or_else(|| mismatch(op, "a forward pass", "none"))?;
    let [mean, variance] = saved.moments(x.tensor().dtype())?;
    let count = x.tensor().elem_count() / mean.elem_count();
    Ok(BatchNormOutput { output, mean, variance, count })
}

/// Normalises each channel of `x` `[batch, channels, ...]` by a given `mean` and `variance`
/// `[channels]`, as [`batch_norm_train`] does by the batch's own.
///
/// Gradients flow to `x`, `gamma` and `beta`; `mean` and `variance` are constants.
///
/// # Errors
/// If shapes or number types do not fit together, a size is zero, or `eps` is negative.
pub fn batch_norm_eval<V: Operand>(
    x: &V,
    gamma: &V,
    beta: &V,
    mean: &Tensor,
    variance: &Tensor,
    eps: f64,
    epilogue: Epilogue,
) -> Result<V> {
    let op = "batch_norm_eval";
    let channels = check(op, x.tensor(), x.tensor().dims(), [gamma.tensor(), beta.tensor()], eps)?;
    check_dtypes(op, &[("x", x.tensor()), ("mean", mean), ("variance", variance)])?;
    check_shape(op, "mean", mean, &[channels])?;
    check_shape(op, "variance", variance, &[channels])?;
    if splits(x.tensor(), epilogue) {
        let whole = batch_norm_eval(x, gamma, beta, mean, variance, eps, Epilogue::Relu)?;
        return max_pool2d(&whole, &HALVE);
    }
    let given = Some([mean.contiguous()?, variance.contiguous()?]);
    let norm = BatchNorm { op, eps, epilogue, given, saved: Arc::default() };
    V::apply([&x.contiguous()?, &gamma.contiguous()?, &beta.contiguous()?], norm)
}

pub(crate) const HALVE: Pool2dConfig =
    Pool2dConfig { kernel: (2, 2), stride: (2, 2), padding: Padding::NONE };

/// Whether normalisation and pooling are better done one after the other.
fn splits(x: &Tensor, epilogue: Epilogue) -> bool {
    epilogue == Epilogue::ReluMaxPool && !(x.device().is_cpu() && epilogue.goes_by_plane(x.dims()))
}

/// The number of channels of what is normalised, `dims`, of the number type and on the device of `like`.
pub(crate) fn check(
    op: &str,
    like: &Tensor,
    dims: &[usize],
    [gamma, beta]: [&Tensor; 2],
    eps: f64,
) -> Result<usize> {
    check_dtypes(op, &[("x", like), ("gamma", gamma), ("beta", beta)])?;
    let channels = match dims {
        [_, channels, ..] if !dims.contains(&0) => *channels,
        other => {
            let expected = "x of shape [batch, channels, ...], no size zero";
            return Err(mismatch(op, expected, format!("{other:?}")));
        }
    };
    check_shape(op, "gamma", gamma, &[channels])?;
    check_shape(op, "beta", beta, &[channels])?;
    if eps.is_nan() || eps < 0.0 {
        return Err(mismatch(op, "eps of at least 0", eps));
    }
    Ok(channels)
}

struct BatchNorm {
    op: &'static str,
    eps: f64,
    epilogue: Epilogue,
    /// Mean and variance, if they are not to be the batch's own.
    given: Option<[Tensor; 2]>,
    /// The channels, filled in by the forward pass for the backward pass and the caller.
    saved: Arc<OnceLock<Saved>>,
}

/// What is known of the channels after the forward pass.
enum Saved {
    Host(Vec<Channel>),
    /// And the batch's moments, `[2, channels]`, if they were computed.
    #[cfg(feature = "cuda")]
    Cuda(crate::cuda::Channels, Option<Tensor>),
}

impl Saved {
    /// Mean and variance of each channel.
    fn moments(&self, dtype: DType) -> Result<[Tensor; 2]> {
        match self {
            Self::Host(channels) => moments(channels, dtype),
            #[cfg(feature = "cuda")]
            Self::Cuda(_, Some(moments)) => Ok([moments.get(0)?, moments.get(1)?]),
            #[cfg(feature = "cuda")]
            Self::Cuda(_, None) => Err(mismatch("batch_norm", "moments of the batch", "given ones")),
        }
    }
}

/// Mean and variance of each channel.
pub(crate) fn moments(channels: &[Channel], dtype: DType) -> Result<[Tensor; 2]> {
    let tensor = |value: fn(&Channel) -> f64| {
        let values: Vec<f64> = channels.iter().map(value).collect();
        Tensor::from_vec(values, channels.len(), &Device::Cpu)?.to_dtype(dtype)
    };
    Ok([tensor(|c| c.mean)?, tensor(|c| c.variance)?])
}

impl BatchNorm {
    /// Writes all of `y`, returns the channels.
    fn forward<T: Float>(
        &self,
        dims: &[usize],
        x: &[T],
        (gamma, beta): (&[T], &[T]),
        given: Option<&[(f64, f64)]>,
        y: &mut [T],
    ) -> Vec<Channel> {
        let y = Shared::new(y);
        let channel =
            |c: usize, moments| Channel::new(moments, self.eps, gamma[c].to_f64(), beta[c].to_f64());
        let relu = self.epilogue.rectifies();
        if small(dims) {
            let blocks = Block::all(dims);
            let parts = parallel::map(blocks.len(), |i| {
                let block = &blocks[i];
                let moments = match given {
                    Some(given) => given[block.own.clone()].to_vec(),
                    None => dispatch(BlockMoments { x, block }),
                };
                let channels: Vec<_> = block.own.clone().zip(moments).map(|(c, m)| channel(c, m)).collect();
                dispatch(NormaliseBlock { x, y: &y, block, channels: &channels, relu });
                channels
            });
            return parts.concat();
        }
        parallel::map(gamma.len(), |c| {
            let place = Place::of(dims, c);
            let moments = match given {
                Some(given) => given[c],
                None => dispatch(ChannelMoments { x, place }),
            };
            let channel = channel(c, moments);
            let affine = channel.affine::<T>();
            if self.epilogue == Epilogue::ReluMaxPool {
                let (halves, to) = (Halves::of(dims), Place::of(&Halves::output(dims), c));
                dispatch(NormaliseHalves { x, y: &y, halves, from: place, to, affine });
            } else {
                dispatch(Normalise { x, y: &y, place, affine, relu });
            }
            channel
        })
    }
}

/// Whether planes are too small to be worked on one by one.
fn small(dims: &[usize]) -> bool {
    dims[2..].iter().product::<usize>() < small::PIXELS
}

impl Compute<3> for BatchNorm {
    fn name(&self) -> &'static str {
        self.op
    }

    fn cpu(&self, [x, gamma, beta]: [Argument<CpuStorage>; 3]) -> Result<(CpuStorage, Shape)> {
        let dims = x.1.dims();
        with_float!(self.op, x.0.dtype(), T => {
            let x = values::<T>(self.op, x)?;
            let (gamma, beta) = (values::<T>(self.op, gamma)?, values::<T>(self.op, beta)?);
            let given = self.given.as_ref().map(host_numbers).transpose()?;
            let mut channels = Vec::new();
            let shape = match self.epilogue {
                Epilogue::ReluMaxPool => Shape::from(&Halves::output(dims)[..]),
                Epilogue::None | Epilogue::Relu => Shape::from(dims),
            };
            let y = parallel::build(shape.elem_count(), |y| {
                channels = self.forward(dims, x, (gamma, beta), given.as_deref(), y);
            });
            // Set once: an op is applied once.
            let _ = self.saved.set(Saved::Host(channels));
            Ok((T::to_cpu_storage_owned(y), shape))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x, gamma, beta]: [Argument<CudaStorage>; 3]) -> Result<(CudaStorage, Shape)> {
        let how = (self.eps, self.epilogue.rectifies());
        let (y, channels, moments) = match &self.given {
            None => {
                let (y, channels, moments) = crate::cuda::norm_train(self.op, x, gamma, beta, how)?;
                (y, channels, Some(moments))
            }
            Some(given) => {
                let (y, channels) = crate::cuda::norm_eval(self.op, x, gamma, beta, given, how)?;
                (y, channels, None)
            }
        };
        // Set once: an op is applied once.
        let _ = self.saved.set(Saved::Cuda(channels, moments));
        Ok((y, x.1.shape().clone()))
    }
}

/// Mean and variance of each channel.
fn host_numbers([mean, variance]: &[Tensor; 2]) -> Result<Vec<(f64, f64)>> {
    let numbers = |tensor: &Tensor| tensor.to_dtype(DType::F64)?.to_vec1::<f64>();
    Ok(numbers(mean)?.into_iter().zip(numbers(variance)?).collect())
}

impl Op<3> for BatchNorm {
    fn gradients(
        &self,
        [x, gamma, beta]: [&Tensor; 3],
        y: &Tensor,
        dy: &Tensor,
        wanted: [bool; 3],
    ) -> Result<[Option<Tensor>; 3]> {
        let backward = BatchNormGradient {
            op: self.op,
            saved: self.saved.clone(),
            epilogue: self.epilogue,
            batch_statistics: self.given.is_none(),
        };
        let packed = backward.run([x, y, dy])?;
        let (size, channels) = (x.elem_count(), gamma.elem_count());
        let part =
            |start, tensor: &Tensor| packed.narrow(0, start, tensor.elem_count())?.reshape(tensor.shape());
        let dx = wanted[0].then(|| part(0, x)).transpose()?;
        let dgamma = wanted[1].then(|| part(size, gamma)).transpose()?;
        let dbeta = wanted[2].then(|| part(size + channels, beta)).transpose()?;
        Ok([dx, dgamma, dbeta])
    }
}

/// (x, y, dy) -> dx, dgamma and dbeta, one behind the other.
struct BatchNormGradient {
    op: &'static str,
    saved: Arc<OnceLock<Saved>>,
    epilogue: Epilogue,
    /// Mean and variance depend on `x`.
    batch_statistics: bool,
}

impl BatchNormGradient {
    /// Writes all of `dx`, returns dgamma and dbeta of every channel.
    fn gradient<T: Float>(
        &self,
        dims: &[usize],
        channels: &[Channel],
        [x, y, dy]: [&[T]; 3],
        dx: &mut [T],
    ) -> Vec<(f64, f64)> {
        let Self { epilogue, batch_statistics, .. } = *self;
        let relu = epilogue.rectifies();
        let dx = &Shared::new(dx);
        if small(dims) {
            let blocks = Block::all(dims);
            let parts = parallel::map(blocks.len(), |i| {
                let (block, channels) = (&blocks[i], &channels[blocks[i].own.clone()]);
                dispatch(BlockGradient { x, dy, dx, block, channels, relu, batch_statistics })
            });
            return parts.concat();
        }
        let follows = Follows::new(epilogue, dims, y);
        let norm = &Backward { x, pixels: dims[2..].iter().product(), channels, follows };
        parallel::map(channels.len(), |channel| {
            dispatch(ChannelGradient { norm, dy, dx, channel, batch_statistics })
        })
    }
}

impl Compute<3> for BatchNormGradient {
    fn name(&self) -> &'static str {
        self.op
    }

    fn cpu(&self, [x, y, dy]: [Argument<CpuStorage>; 3]) -> Result<(CpuStorage, Shape)> {
        let dims = x.1.dims();
        let Some(Saved::Host(channels)) = self.saved.get() else {
            return Err(mismatch(self.op, "a forward pass before the backward pass", "none"));
        };
        with_float!(self.op, x.0.dtype(), T => {
            let (x, y, dy) = (values::<T>(self.op, x)?, values::<T>(self.op, y)?, values::<T>(self.op, dy)?);
            let length = x.len() + 2 * channels.len();
            let packed = parallel::build(length, |packed| {
                let (dx, rest) = packed.split_at_mut(x.len());
                let (dgamma, dbeta) = rest.split_at_mut(channels.len());
                let parameters = self.gradient(dims, channels, [x, y, dy], dx);
                for (c, (gamma, beta)) in parameters.into_iter().enumerate() {
                    (dgamma[c], dbeta[c]) = (T::from_f64(gamma), T::from_f64(beta));
                }
            });
            Ok((T::to_cpu_storage_owned(packed), Shape::from(length)))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x, _, dy]: [Argument<CudaStorage>; 3]) -> Result<(CudaStorage, Shape)> {
        let Some(Saved::Cuda(channels, _)) = self.saved.get() else {
            return Err(mismatch(self.op, "a forward pass before the backward pass", "none"));
        };
        let length = x.1.shape().elem_count() + 2 * x.1.dims()[1];
        let packed = crate::cuda::norm_gradient(
            self.op,
            x,
            dy,
            channels,
            (self.epilogue.rectifies(), self.batch_statistics),
        )?;
        Ok((packed, Shape::from(length)))
    }
}
