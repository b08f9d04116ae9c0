//! `surgery` keeps the function of models that are written by hand, on random tensors in f64, with the operations of
//! candle-convnet.

use candle_convnet::{
    Conv2dConfig, Epilogue, batch_norm_eval, batch_norm_train, concat, conv2d, flatten, linear, relu,
};
use candle_core::{DType, Device, Result, Tensor};
use morphisms::Seed;
use morphisms::surgery::{self, BatchNorm, Separable};
use proptest::prelude::*;

const EPS: f64 = 1e-3;

/// Noise of a given name.
fn noise(shape: &[usize], seed: u64, stream: u64) -> Tensor {
    let values = Seed { seed, stream }.normal(1.0, shape.iter().product());
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn same(kernel: usize, groups: usize) -> Conv2dConfig {
    Conv2dConfig { padding: (kernel / 2, kernel / 2).into(), groups, ..Default::default() }
}

fn conv(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let groups = x.dim(1)? / weight.dim(1)?;
    conv2d(x, weight, bias, &same(weight.dim(2)?, groups))
}

fn normalised(x: &Tensor, norm: &BatchNorm) -> Result<Tensor> {
    batch_norm_eval(x, &norm.gamma, &norm.beta, &norm.mean, &norm.variance, EPS, Epilogue::None)
}

/// A batch norm as training leaves it.
fn norm(channels: usize, seed: u64) -> BatchNorm {
    let vector = |stream| noise(&[channels], seed, stream);
    let variance = vector(13).abs().unwrap();
    BatchNorm { gamma: vector(10), beta: vector(11), mean: vector(12), variance }
}

fn each(norm: &BatchNorm, change: impl Fn(&Tensor) -> morphisms::Result<Tensor>) -> BatchNorm {
    BatchNorm {
        gamma: change(&norm.gamma).unwrap(),
        beta: change(&norm.beta).unwrap(),
        mean: change(&norm.mean).unwrap(),
        variance: change(&norm.variance).unwrap(),
    }
}

/// conv - batch norm - relu - depthwise conv - flatten - linear.
struct Model {
    first: Tensor,
    bias: Tensor,
    norm: BatchNorm,
    depthwise: Tensor,
    last: Tensor,
}

impl Model {
    fn draw(inputs: usize, channels: usize, size: usize, seed: u64) -> Self {
        Self {
            first: noise(&[channels, inputs, 3, 3], seed, 1),
            bias: noise(&[channels], seed, 2),
            norm: norm(channels, seed),
            depthwise: noise(&[channels, 1, 3, 3], seed, 3),
            last: noise(&[3, channels * size * size], seed, 4),
        }
    }

    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let x = conv(images, &self.first, Some(&self.bias))?;
        let x = relu(&normalised(&x, &self.norm)?)?;
        linear(&flatten(&conv(&x, &self.depthwise, None)?)?, &self.last, None)
    }
}

/// The largest difference is rounding.
#[track_caller]
fn close(after: &Tensor, before: &Tensor) {
    let largest = |tensor: &Tensor| tensor.abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
    let (difference, scale) = (largest(&(after - before).unwrap()), largest(before));
    assert!(difference <= 1e-10 * scale, "{difference:e} of {scale:e}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn copies_with_shares_keep_a_model(
        (inputs, channels, more, size) in (1..4usize, 1..5usize, 0..9usize, 1..5usize), seed in any::<u64>()
    ) {
        let model = Model::draw(inputs, channels, size, seed);
        let images = noise(&[2, inputs, size, size], seed, 0);
        let wider = surgery::replication(channels, channels + more, seed)?;
        let columns = wider.repeated(size * size);
        let out = |tensor: &Tensor| surgery::gather_out(tensor, &wider.of);
        let grown = Model {
            first: out(&model.first)?,
            bias: out(&model.bias)?,
            norm: each(&model.norm, out),
            depthwise: out(&model.depthwise)?,
            last: surgery::gather_in(&model.last, &columns.of, Some(&columns.share))?,
        };
        close(&grown.forward(&images)?, &model.forward(&images)?);
    }

    #[test]
    fn fresh_channels_keep_a_model(
        (inputs, channels, more, size) in (1..4usize, 1..5usize, 0..9usize, 1..5usize), seed in any::<u64>()
    ) {
        let model = Model::draw(inputs, channels, size, seed);
        let images = noise(&[2, inputs, size, size], seed, 0);
        let drawn = |tensor: &Tensor, stream| surgery::fresh_out(tensor, more, Seed { seed, stream });
        let grown = Model {
            first: drawn(&model.first, 20)?,
            bias: surgery::pad_out(&model.bias, more, 0.0)?,
            norm: each(&model.norm, |tensor| surgery::pad_out(tensor, more, 1.0)),
            depthwise: drawn(&model.depthwise, 21)?,
            last: surgery::pad_in_zeros(&model.last, more * size * size)?,
        };
        close(&grown.forward(&images)?, &model.forward(&images)?);
    }

    #[test]
    fn a_concatenated_tensor_is_read_with_zeros(
        (channels, more, size) in (1..5usize, 1..5usize, 1..6usize), seed in any::<u64>()
    ) {
        let (x, skip) = (noise(&[2, channels, size, size], seed, 0), noise(&[2, more, size, size], seed, 1));
        let weight = noise(&[3, channels, 3, 3], seed, 2);
        let both = concat(&[&x, &skip])?;
        let after = conv(&both, &surgery::pad_in_zeros(&weight, more)?, None)?;
        close(&after, &conv(&x, &weight, None)?);
    }

    #[test]
    fn inserted_layers_change_nothing(
        (channels, size, half) in (1..5usize, 1..6usize, 0..3usize), seed in any::<u64>()
    ) {
        let x = relu(&noise(&[3, channels, size, size], seed, 0))?;
        let kernel = 2 * half + 1;
        let y = conv(&x, &surgery::dirac(channels, (kernel, kernel), DType::F64, &Device::Cpu)?, None)?;
        close(&y, &x);
        let (mean, variance) = surgery::channel_statistics(&y)?;
        let norm = surgery::identity_batch_norm(&mean, &variance, EPS)?;
        close(&relu(&normalised(&y, &norm)?)?, &x);
        // Calibrated on this very batch, it is the identity in training mode too.
        close(&batch_norm_train(&y, &norm.gamma, &norm.beta, EPS, Epilogue::Relu)?.output, &x);
        let flat = flatten(&x)?;
        let matrix = surgery::identity_linear(flat.dim(1)?, DType::F64, &Device::Cpu)?;
        close(&linear(&flat, &matrix, None)?, &flat);
    }

    #[test]
    fn a_kernel_with_zeros_around_it_computes_the_same(
        (inputs, out, size, more) in (1..4usize, 1..4usize, 1..6usize, 0..3usize), seed in any::<u64>()
    ) {
        let (x, weight) = (noise(&[2, inputs, size, size], seed, 0), noise(&[out, inputs, 3, 3], seed, 1));
        let larger = surgery::pad_kernel(&weight, (3 + 2 * more, 3 + 2 * more))?;
        close(&conv(&x, &larger, None)?, &conv(&x, &weight, None)?);
        close(&surgery::crop_kernel(&larger, (3, 3))?, &weight);
    }

    #[test]
    fn a_folded_batch_norm_is_in_the_layer_before_it(
        (inputs, out, size, biased) in (1..4usize, 1..5usize, 1..5usize, any::<bool>()), seed in any::<u64>()
    ) {
        let (x, weight) = (noise(&[2, inputs, size, size], seed, 0), noise(&[out, inputs, 3, 3], seed, 1));
        let (bias, norm) = (noise(&[out], seed, 2), norm(out, seed));
        let bias = biased.then_some(&bias);
        let (folded, shift) = surgery::fold_batch_norm(&weight, bias, &norm, EPS)?;
        close(&conv(&x, &folded, Some(&shift))?, &normalised(&conv(&x, &weight, bias)?, &norm)?);
    }

    #[test]
    fn a_separable_kernel_is_separated_without_loss(
        (inputs, out, size) in (1..4usize, 1..5usize, 1..5usize), seed in any::<u64>()
    ) {
        let (depthwise, pointwise) = (noise(&[inputs, 1, 3, 3], seed, 1), noise(&[out, inputs, 1, 1], seed, 2));
        let dense = pointwise.broadcast_mul(&depthwise.transpose(0, 1)?)?;
        let x = noise(&[2, inputs, size, size], seed, 0);
        let Separable { depthwise, pointwise } = surgery::separate(&dense)?;
        close(&conv(&conv(&x, &depthwise, None)?, &pointwise, None)?, &conv(&x, &dense, None)?);
    }
}
