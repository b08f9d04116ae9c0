//! Convolutions on a [`Tape`](crate::Tape), with the batch norm behind them: what one computes for another, while the numbers
//! are in the cache, is never written.

use super::algorithm::{Backward, Forward, Then};
use super::geometry::Geometry;
use crate::norm::{
    self, BatchNormOutput, Channel, Epilogue, Follows, Halves, Held, NormGradient, Observer, Sums, moments,
    normalise_in_place,
};
use crate::op::Run;
use crate::reduce::ChannelSums;
use crate::simd::Float;
use crate::source::Source;
use crate::tape::{Gradient, Value};
use crate::tensor::{host, with_float};
use candle_core::{Device, Result, Tensor, WithDType};
use std::rc::Rc;

const OP: &str = "conv2d";

/// A convolution on the CPU; the arguments are contiguous and fit together.
pub(crate) fn convolve(x: &Value, weight: &Value, bias: Option<&Value>, geometry: Geometry) -> Result<Value> {
    let conv = Conv { geometry, x: x.held().read_by_one_more(), weight: weight.as_tensor().clone() };
    let y = with_float!(OP, conv.weight.dtype(), T => {
        let bias = bias.map(|bias| host(bias.as_tensor()));
        conv.forward::<T>(bias.as_ref().map(|host| host.values()).transpose()?, Then::Nothing)
    })?;
    let inputs: Vec<&Value> = [Some(x), Some(weight), bias].into_iter().flatten().collect();
    Ok(Value::record(Held::Whole(y), &inputs, move |dy, wanted| {
        let dy = dy.tensor.contiguous()?;
        let [dx, dw] = with_float!(OP, dy.dtype(), T => {
            conv.gradients::<T>(&Source::Plain(host(&dy).values()?), [wanted[0], wanted[1]])
        })?;
        let db = wanted.get(2).is_some_and(|&wanted| wanted).then(|| ChannelSums.run([&dy])).transpose()?;
        Ok(vec![dx, dw, db.map(Gradient::from)])
    }))
}

/// What a convolution reads.
struct Conv {
    geometry: Geometry,
    x: Held,
    weight: Tensor,
}

impl Conv {
    fn forward<T: Float>(&self, bias: Option<&[T]>, then: Then<'_, T>) -> Result<Tensor> {
        let (g, weight) = (&self.geometry, host(&self.weight));
        let weight = weight.values::<T>()?;
        let y = self.x.read(|x| Forward { g, x, weight, bias, then }.run())?;
        Tensor::from_vec(y, &g.output_shape(), &Device::Cpu)
    }

    /// Those of the gradients of `x` and of the weights that are wanted.
    fn gradients<T: Float>(&self, dy: &Source<'_, T>, wanted: [bool; 2]) -> Result<[Option<Gradient>; 2]> {
        let (g, weight) = (&self.geometry, host(&self.weight));
        let weight = if wanted[0] { Some(weight.values::<T>()?) } else { None };
        let (both, sums) = self.x.sum(wanted[0], |sums| {
            self.x.read(|x| Backward { g, x: wanted[1].then_some(x), weight, dy, sums }.run())
        })?;
        let (dx, dw) = both?;
        let tensor = |values, shape: [usize; 4]| Tensor::from_vec(values, &shape, &Device::Cpu);
        let dx = wanted[0].then(|| tensor(dx, g.input_shape())).transpose()?;
        let dw = wanted[1].then(|| tensor(dw, g.weight_shape())).transpose()?;
        Ok([dx.map(|tensor| Gradient { tensor, sums }), dw.map(Gradient::from)])
    }
}

/// A batch norm to come.
pub(crate) struct Norm<'a> {
    pub gamma: &'a Value,
    pub beta: &'a Value,
    pub eps: f64,
    pub epilogue: Epilogue,
}

/// A convolution on the CPU and the batch norm behind it in one step; the arguments are contiguous and fit together.
pub(crate) fn convolve_and_normalise(
    x: &Value,
    weight: &Value,
    geometry: Geometry,
    norm: &Norm<'_>,
) -> Result<BatchNormOutput<Value>> {
    let conv = Conv { geometry, x: x.held().read_by_one_more(), weight: weight.as_tensor().clone() };
    let (dims, dtype) = (geometry.output_shape(), conv.weight.dtype());
    let pooling = norm.epilogue == Epilogue::ReluMaxPool;
    let (y, channels, pooled) = with_float!(OP, dtype, T => {
        let (gamma, beta) = (host(norm.gamma.as_tensor()), host(norm.beta.as_tensor()));
        let (gamma, beta) = (gamma.values::<T>()?, beta.values::<T>()?);
        let convolve = |observer: &Observer<'_, T>| conv.forward(None, Then::Observe(observer));
        let (y, moments, mut pooled) = Observer::observe(&dims, gamma, pooling, convolve);
        let channel = |(moments, (gamma, beta)): (_, (&T, &T))| {
            Channel::new(moments, norm.eps, gamma.to_f64(), beta.to_f64())
        };
        let channels: Rc<[Channel]> = moments.into_iter().zip(gamma.iter().zip(beta)).map(channel).collect();
        let (y, shape) = (y?, Halves::output(&dims));
        normalise_in_place(&mut pooled, shape[2] * shape[3], &channels);
        let pooled = pooling.then(|| Tensor::from_vec(pooled, &shape, &Device::Cpu)).transpose()?;
        Ok((y, channels, pooled))
    })?;
    let [mean, variance] = moments(&channels, dtype)?;
    let epilogue = norm.epilogue;
    let output = match &pooled {
        Some(pooled) => Held::Whole(pooled.clone()),
        None => Held::normalised(y.clone(), channels.clone(), epilogue == Epilogue::Relu),
    };
    let step = Step { conv, y, channels, epilogue, pooled };
    let output = Value::record(
        output,
        &[x, weight, norm.gamma, norm.beta],
        move |dy, wanted| with_float!(OP, dtype, T => step.gradients::<T>(dy, wanted)),
    );
    Ok(BatchNormOutput { output, mean, variance, count: dims[0] * dims[2] * dims[3] })
}

/// What the backward pass of both needs.
struct Step {
    conv: Conv,
    /// What the convolution gave.
    y: Tensor,
    channels: Rc<[Channel]>,
    epilogue: Epilogue,
    /// What the pooling gave.
    pooled: Option<Tensor>,
}

impl Step {
    fn gradients<T: Float>(&self, dy: Gradient, wanted: &[bool]) -> Result<Vec<Option<Gradient>>> {
        let (y, pooled) = (host(&self.y), self.pooled.as_ref().map(host));
        let pooled = pooled.as_ref().map(|host| host.values()).transpose()?.unwrap_or_default();
        let tensor = dy.tensor.contiguous()?;
        let gradient = host(&tensor);
        let gradient = gradient.values::<T>()?;
        let dims = self.y.dims();
        let norm = norm::Backward {
            x: y.values::<T>()?,
            pixels: dims[2..].iter().product(),
            channels: &self.channels,
            follows: Follows::new(self.epilogue, dims, pooled),
        };
        let sums = dy.sums.unwrap_or_else(|| norm.all_sums(gradient));
        let source = Source::Gradient(NormGradient::new(norm, gradient, &sums));
        let [dx, dw] = self.conv.gradients(&source, [wanted[0], wanted[1]])?;
        let parameter = |wanted: bool, of: &dyn Fn(&Channel, Sums) -> f64| {
            let gradient = self.channels.iter().zip(&sums).map(|(channel, &sums)| T::of(of(channel, sums)));
            let tensor = || Tensor::from_vec(gradient.collect(), self.channels.len(), &Device::Cpu);
            wanted.then(tensor).transpose().map(|tensor| tensor.map(Gradient::from))
        };
        let dgamma = parameter(wanted[2], &|channel, (_, products)| channel.gamma_gradient(products))?;
        let dbeta = parameter(wanted[3], &|_, (dbeta, _)| dbeta)?;
        Ok(vec![dx, dw, dgamma, dbeta])
    }
}
