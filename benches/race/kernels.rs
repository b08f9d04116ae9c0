//! Single operations: convolutions, and batch norm with ReLU.

use std::time::Duration;

use candle_convnet::{Conv2dConfig, Epilogue, Operand, Tape, Value, batch_norm_train, conv2d};
use candle_core::Tensor;

use crate::Result;
use crate::cases::{BATCH, Case, ConvSpec, Pass, Work};
use crate::work::{Run, timed, values};

const EPS: f64 = 1e-5;
const BYTES: f64 = size_of::<f32>() as f64;

/// Every operation, forward and backward.
pub fn cases() -> Vec<Case> {
    let dense =
        [(3, 32, 32), (32, 32, 32), (32, 64, 16), (64, 64, 16), (64, 128, 8), (128, 128, 8), (16, 16, 28)];
    let mut cases = Vec::new();
    for (channels, out, size) in dense {
        cases.extend(conv("dense", channels, out, 3, 1, size));
    }
    cases.extend(conv("dense", 64, 64, 1, 1, 16));
    for (channels, size) in [(64, 16), (32, 28)] {
        cases.extend(conv("depthwise", channels, channels, 3, channels, size));
    }
    cases.extend(norm(32, 32));
    cases
}

fn conv(kind: &str, channels: usize, out: usize, kernel: usize, groups: usize, size: usize) -> [Case; 2] {
    let input = [BATCH, channels, size, size];
    // Three channels are a picture's, whose gradient nobody needs.
    let spec = ConvSpec { input, out_channels: out, kernel, groups, input_gradient: channels != 3 };
    [Pass::Forward, Pass::Backward].map(|pass| {
        let macs = (BATCH * size * size * out * channels / groups * kernel * kernel) as f64;
        let weights = (out * channels / groups * kernel * kernel) as f64;
        let (x, y) = ((BATCH * channels * size * size) as f64, (BATCH * out * size * size) as f64);
        let products = 1.0 + f64::from(u8::from(spec.input_gradient));
        let (flops, numbers) = match pass {
            Pass::Forward => (2.0 * macs, x + weights + y),
            Pass::Backward => (2.0 * macs * products, x * products + 2.0 * weights + y),
        };
        Case {
            name: format!("{kind} {kernel}x{kernel}, {channels}->{out}, {size}x{size}, {}", label(pass)),
            section: "kernels",
            flops: Some(flops),
            bytes: Some(numbers * BYTES),
            detail: match (pass, spec.input_gradient) {
                (Pass::Backward, false) => "weight gradient only".into(),
                _ => String::new(),
            },
            work: Work::Conv { spec, pass },
        }
    })
}

fn norm(channels: usize, size: usize) -> [Case; 2] {
    let input = [BATCH, channels, size, size];
    [Pass::Forward, Pass::Backward].map(|pass| {
        // Forward reads the input once for the statistics and once to apply them; backward reads input and gradient twice.
        let passes = match pass {
            Pass::Forward => 3.0,
            Pass::Backward => 5.0,
        };
        Case {
            name: format!("batch norm + ReLU, {channels}, {size}x{size}, {}", label(pass)),
            section: "kernels",
            flops: None,
            bytes: Some(passes * input.iter().product::<usize>() as f64 * BYTES),
            detail: String::new(),
            work: Work::Norm { input, pass },
        }
    })
}

fn label(pass: Pass) -> &'static str {
    match pass {
        Pass::Forward => "forward",
        Pass::Backward => "backward",
    }
}

/// One convolution, ready to run.
pub fn prepare_conv(spec: &ConvSpec, pass: Pass) -> Result<Run> {
    let ConvSpec { input, out_channels, kernel, groups, input_gradient } = *spec;
    let image = values(&input, 1.0)?;
    let weight = values(&[out_channels, input[1] / groups, kernel, kernel], 0.1)?;
    let padding = (kernel / 2, kernel / 2).into();
    let config = Conv2dConfig { padding, groups, ..Default::default() };
    match pass {
        Pass::Forward => Ok(Box::new(move || timed(|| Ok(conv2d(&image, &weight, None, &config)?)))),
        Pass::Backward => {
            let gradient = conv2d(&image, &weight, None, &config)?.ones_like()?;
            Ok(Box::new(move || {
                let tape = Tape::new();
                let image =
                    if input_gradient { tape.variable(image.clone()) } else { Value::from(image.clone()) };
                let output = conv2d(&image, &tape.variable(weight.clone()), None, &config)?;
                backward(tape, &output, &gradient)
            }))
        }
    }
}

/// Batch norm with ReLU, ready to run.
pub fn prepare_norm(input: [usize; 4], pass: Pass) -> Result<Run> {
    let (image, gamma, beta) = (values(&input, 1.0)?, values(&[input[1]], 1.0)?, values(&[input[1]], 0.1)?);
    match pass {
        Pass::Forward => Ok(Box::new(move || timed(|| norm_relu(&image, &gamma, &beta)))),
        Pass::Backward => {
            let gradient = image.ones_like()?;
            Ok(Box::new(move || {
                let tape = Tape::new();
                let variable = |tensor: &Tensor| tape.variable(tensor.clone());
                let output = norm_relu(&variable(&image), &variable(&gamma), &variable(&beta))?;
                backward(tape, &output, &gradient)
            }))
        }
    }
}

fn norm_relu<V: Operand>(image: &V, gamma: &V, beta: &V) -> Result<V> {
    Ok(batch_norm_train(image, gamma, beta, EPS, Epilogue::Relu)?.output)
}

/// The backward pass alone, from a gradient that is there. A tape serves once, so the forward pass is done again each
/// time, and not timed; PyTorch's side does the same.
fn backward(tape: Tape, output: &Value, gradient: &Tensor) -> Result<Duration> {
    timed(|| Ok(tape.backward_from(output, gradient.clone())?))
}
