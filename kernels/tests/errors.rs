//! Bad arguments are errors that name the operation, what it expects and what it found.

use candle_convnet::*;
use candle_core::{DType, Device, Result, Tensor};

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()
}

fn fails(result: Result<Tensor>, parts: &[&str]) {
    let message = result.expect_err("an error").to_string();
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

#[test]
fn convolution() {
    let cfg = Conv2dConfig::default();
    let conv = |x: &[usize], w: &[usize], cfg: &Conv2dConfig| conv2d(&zeros(x), &zeros(w), None, cfg);
    fails(
        conv(&[3, 5, 5], &[2, 3, 3, 3], &cfg),
        &["conv2d", "[batch, channels, height, width]", "[3, 5, 5]"],
    );
    fails(conv(&[0, 3, 5, 5], &[2, 3, 3, 3], &cfg), &["conv2d", "no size zero", "[0, 3, 5, 5]"]);
    fails(conv(&[1, 3, 5, 5], &[2, 4, 3, 3], &cfg), &["conv2d", "3 / 1 input channels", "[2, 4, 3, 3]"]);
    fails(conv(&[1, 3, 5, 5], &[2, 3, 7, 3], &cfg), &["conv2d", "padded input (5x5", "found 7x3"]);
    let grouped = Conv2dConfig { groups: 2, ..cfg };
    fails(conv(&[1, 3, 5, 5], &[2, 3, 3, 3], &grouped), &["conv2d", "divisible by 2 groups", "3 in, 2 out"]);
    for bad in [
        Conv2dConfig { groups: 0, ..cfg },
        Conv2dConfig { stride: (0, 1), ..cfg },
        Conv2dConfig { dilation: (1, 0), ..cfg },
    ] {
        fails(conv(&[1, 3, 5, 5], &[2, 3, 3, 3], &bad), &["conv2d", "at least 1"]);
    }
    let (x, w) = (zeros(&[1, 3, 5, 5]), zeros(&[2, 3, 3, 3]));
    fails(conv2d(&x, &w, Some(&zeros(&[3])), &cfg), &["conv2d", "bias of shape [2]", "[3]"]);
    let double = w.to_dtype(DType::F64).unwrap();
    fails(conv2d(&x, &double, None, &cfg), &["conv2d", "weight of dtype f32", "f64"]);
    let half = x.to_dtype(DType::F16).unwrap();
    fails(conv2d(&half, &w, None, &cfg), &["conv2d", "f32 or f64", "f16"]);
}

#[test]
fn pooling() {
    let pool = |kernel, stride, [padding, end]: [usize; 2]| {
        let cfg = Pool2dConfig {
            kernel: (kernel, 1),
            stride: (stride, 1),
            padding: Padding { bottom: end, ..Padding::even(padding, 0) },
        };
        max_pool2d(&zeros(&[1, 1, 3, 3]), &cfg)
    };
    fails(pool(4, 1, [0, 0]), &["max_pool2d", "padded input, 0 + 3 + 0", "found 4"]);
    fails(pool(7, 1, [1, 2]), &["max_pool2d", "padded input, 1 + 3 + 2", "found 7"]);
    fails(pool(2, 1, [2, 2]), &["max_pool2d", "padding below the kernel's 2", "found 2"]);
    // Behind the image alone too: the last window would lie behind the last pixel.
    fails(pool(2, 1, [0, 2]), &["max_pool2d", "padding below the kernel's 2", "found 2"]);
    fails(pool(0, 1, [0, 0]), &["max_pool2d", "at least 1", "kernel 0"]);
    fails(pool(1, 0, [0, 0]), &["max_pool2d", "at least 1", "stride 0"]);
    fails(global_avg_pool2d(&zeros(&[2, 3])), &["global_avg_pool2d", "[2, 3]"]);
    let integers = Tensor::zeros((1, 1, 2, 2), DType::U8, &Device::Cpu).unwrap();
    fails(global_avg_pool2d(&integers), &["avg_pool2d", "f32 or f64", "u8"]);
}

#[test]
fn batch_norm() {
    let (x, two, three) = (zeros(&[2, 3, 4, 4]), zeros(&[2]), zeros(&[3]));
    let train = |gamma: &Tensor, beta: &Tensor, eps| {
        batch_norm_train(&x, gamma, beta, eps, Epilogue::Relu).map(|o| o.output)
    };
    fails(train(&two, &three, 1e-5), &["batch_norm_train", "gamma of shape [3]", "[2]"]);
    fails(train(&three, &two, 1e-5), &["batch_norm_train", "beta of shape [3]", "[2]"]);
    fails(train(&three, &three, -1.0), &["batch_norm_train", "eps of at least 0", "-1"]);
    let eval = |mean, variance| batch_norm_eval(&x, &three, &three, mean, variance, 1e-5, Epilogue::None);
    fails(eval(&two, &three), &["batch_norm_eval", "mean of shape [3]", "[2]"]);
    fails(eval(&three, &two), &["batch_norm_eval", "variance of shape [3]", "[2]"]);
    let empty = batch_norm_train(&zeros(&[0, 3, 4, 4]), &three, &three, 1e-5, Epilogue::None);
    fails(empty.map(|o| o.output), &["batch_norm_train", "no size zero"]);
}

#[test]
fn the_rest() {
    let (x, w) = (zeros(&[2, 3]), zeros(&[4, 5]));
    fails(linear(&x, &w, None), &["linear", "[2, 3] and [4, 5]"]);
    fails(linear(&x, &zeros(&[4, 3]), Some(&zeros(&[3]))), &["linear", "bias of shape [4]", "[3]"]);
    fails(cross_entropy(&x, &w), &["cross_entropy", "targets of shape [2, 3]", "[4, 5]"]);
    fails(cross_entropy(&zeros(&[0, 3]), &zeros(&[0, 3])), &["cross_entropy", "no size zero"]);
    fails(mix(&x, &w, &zeros(&[1])), &["mix", "b of shape [2, 3]", "[4, 5]"]);
    fails(mix(&x, &x, &zeros(&[2])), &["mix", "lambda of shape [] or [1]", "[2]"]);
    fails(relu(&Tensor::zeros(3, DType::U32, &Device::Cpu).unwrap()), &["relu", "f32 or f64", "u32"]);
}

#[test]
fn group_normalisation() {
    let (x, four, six) = (zeros(&[2, 6, 4, 4]), zeros(&[4]), zeros(&[6]));
    let norm = |gamma, beta, groups, eps| group_norm(&x, gamma, beta, groups, eps);
    fails(norm(&four, &six, 2, 1e-5), &["group_norm", "gamma of shape [6]", "[4]"]);
    fails(norm(&six, &four, 2, 1e-5), &["group_norm", "beta of shape [6]", "[4]"]);
    fails(norm(&six, &six, 4, 1e-5), &["group_norm", "groups that divide the 6 channels", "found 4"]);
    fails(norm(&six, &six, 0, 1e-5), &["group_norm", "groups that divide the 6 channels", "found 0"]);
    fails(norm(&six, &six, 2, f64::NAN), &["group_norm", "eps of at least 0", "NaN"]);
    let sequence = group_norm(&zeros(&[2, 6, 4]), &six, &six, 2, 1e-5);
    fails(sequence, &["group_norm", "[batch, channels, height, width]", "[2, 6, 4]"]);
    let empty = group_norm(&zeros(&[2, 6, 0, 4]), &six, &six, 2, 1e-5);
    fails(empty, &["group_norm", "no size zero", "[2, 6, 0, 4]"]);
}

#[test]
fn gates_and_activations() {
    let image = zeros(&[2, 3, 4, 5]);
    let gate = |shape: &[usize]| multiply(&image, &zeros(shape));
    let both = "gate of shape [2, 3, 4, 5] or [2, 3, 1, 1]";
    fails(gate(&[2, 4, 1, 1]), &["multiply", both, "[2, 4, 1, 1]"]);
    fails(gate(&[2, 3]), &["multiply", both, "[2, 3]"]);
    fails(gate(&[2, 3, 4, 1]), &["multiply", both, "[2, 3, 4, 1]"]);
    let vectors = multiply(&zeros(&[2, 3]), &zeros(&[2, 1]));
    fails(vectors, &["multiply", "gate of shape [2, 3]", "[2, 1]"]);
    let double = image.to_dtype(DType::F64).unwrap();
    fails(multiply(&image, &double), &["multiply", "gate of dtype f32", "f64"]);
    fails(prelu(&image, &zeros(&[4])), &["prelu", "slope of shape [3]", "[4]"]);
    fails(prelu(&zeros(&[2, 3, 4]), &zeros(&[3])), &["prelu", "[batch, channels]", "[2, 3, 4]"]);
    fails(prelu(&zeros(&[0, 3]), &zeros(&[3])), &["prelu", "no size zero", "[0, 3]"]);
    for bad in [1.0, -0.1, f64::NAN] {
        fails(dropout(&image, bad, 1), &["dropout", "at least 0 and below 1", &bad.to_string()]);
    }
    for [low, high] in [[1.0, 0.5], [f64::NAN, 1.0], [0.0, f64::NAN]] {
        let clipped = activation(&image, Activation::Clip { low, high });
        fails(clipped, &["activation", "a low end of at most the high one", &format!("{low} and {high}")]);
    }
    let integers = Tensor::zeros(3, DType::U32, &Device::Cpu).unwrap();
    fails(activation(&integers, Activation::Tanh), &["activation", "f32 or f64", "u32"]);
    fails(activation(&integers, Activation::Relu), &["relu", "f32 or f64", "u32"]);
    fails(dropout(&integers, 0.5, 1), &["dropout", "f32 or f64", "u32"]);
}

#[test]
fn across_channels() {
    let image = zeros(&[2, 6, 4, 5]);
    for groups in [0, 4, 7] {
        let expected = ["channel_shuffle", "groups that divide the 6 channels", &format!("found {groups}")];
        fails(channel_shuffle(&image, groups), &expected);
    }
    fails(channel_shuffle(&zeros(&[2, 3, 4]), 3), &["channel_shuffle", "[batch, channels]", "[2, 3, 4]"]);
    fails(channel_shuffle(&zeros(&[0, 3]), 3), &["channel_shuffle", "no size zero", "[0, 3]"]);
    let cfg = LocalResponseNormConfig { size: 5, alpha: 1e-4, beta: 0.75, bias: 1.0 };
    for bad in [
        LocalResponseNormConfig { size: 0, ..cfg },
        LocalResponseNormConfig { alpha: -1.0, ..cfg },
        LocalResponseNormConfig { alpha: f64::INFINITY, ..cfg },
        LocalResponseNormConfig { beta: f64::NAN, ..cfg },
        LocalResponseNormConfig { bias: 0.0, ..cfg },
    ] {
        let found = format!("{bad:?}");
        fails(local_response_norm(&image, &bad), &["local_response_norm", "bias above 0", &found]);
    }
    fails(local_response_norm(&zeros(&[2, 3]), &cfg), &["local_response_norm", "[2, 3]"]);
    let integers = Tensor::zeros((1, 2, 3, 3), DType::U32, &Device::Cpu).unwrap();
    fails(channel_shuffle(&integers, 2), &["channel_shuffle", "f32 or f64", "u32"]);
    fails(local_response_norm(&integers, &cfg), &["local_response_norm", "f32 or f64", "u32"]);
}
