//! Outputs and gradients against PyTorch's, from `pytorch/reference.json`; `pytorch/reference.py` made it.

mod common;

use candle_convnet::*;
use candle_core::{DType, Device, Result, Tensor, Var};
use common::distance;
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    op: String,
    shapes: Vec<Vec<usize>>,
    settings: Settings,
    output_shape: Vec<usize>,
    output: Vec<f64>,
    gradients: Vec<Vec<f64>>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(default)]
struct Settings {
    stride: (usize, usize),
    /// (height, width), or top, left, bottom and right.
    padding: Vec<usize>,
    dilation: (usize, usize),
    groups: usize,
    kernel: (usize, usize),
    eps: f64,
    relu: bool,
    activation: String,
    size: usize,
    alpha: f64,
    beta: f64,
    bias: f64,
}

impl Settings {
    fn padding(&self) -> Padding {
        match self.padding[..] {
            [] => Padding::NONE,
            [height, width] => Padding::even(height, width),
            [top, left, bottom, right] => Padding { top, left, bottom, right },
            _ => panic!("the reference has a padding {:?} that this test does not know", self.padding),
        }
    }
}

/// PyTorch's name of a function.
fn function(name: &str) -> Activation {
    match name {
        "relu" => Activation::Relu,
        "relu6" => Activation::Relu6,
        "leaky_relu" => Activation::LeakyRelu { slope: 0.01 },
        "sigmoid" => Activation::Sigmoid,
        "tanh" => Activation::Tanh,
        "silu" => Activation::Silu,
        "gelu" => Activation::Gelu,
        "hard_sigmoid" => Activation::HardSigmoid,
        "hard_swish" => Activation::HardSwish,
        "clip" => Activation::Clip { low: -1.5, high: 4.0 },
        other => panic!("the reference has an activation {other} that this test does not know"),
    }
}

/// The script's tensor number `number`.
fn tensor(number: usize, shape: &[usize]) -> Tensor {
    let value = |i: usize| {
        let x = i as f64;
        (0.37 * x + 0.11 * x * x + 1.3 * number as f64).sin()
    };
    let values: Vec<f64> = (0..shape.iter().product()).map(value).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

impl Case {
    fn run(&self, a: &[Tensor]) -> Result<Tensor> {
        let s = &self.settings;
        let epilogue = if s.relu { Epilogue::Relu } else { Epilogue::None };
        let pool = Pool2dConfig { kernel: s.kernel, stride: s.stride, padding: s.padding() };
        match self.op.as_str() {
            "conv2d" => {
                let (stride, padding, dilation, groups) = (s.stride, s.padding(), s.dilation, s.groups);
                conv2d(
                    &a[0],
                    &a[1],
                    a.get(2),
                    &Conv2dConfig { stride, padding, dilation, groups, algorithm: ConvAlgorithm::Auto },
                )
            }
            "max_pool2d" => max_pool2d(&a[0], &pool),
            "avg_pool2d" => avg_pool2d(&a[0], &pool),
            "avg_pool2d_excluding_padding" => avg_pool2d_excluding_padding(&a[0], &pool),
            "global_avg_pool2d" => global_avg_pool2d(&a[0]),
            "batch_norm_train" => Ok(batch_norm_train(&a[0], &a[1], &a[2], s.eps, epilogue)?.output),
            "batch_norm_eval" => {
                let channels = &self.shapes[1];
                let mean = tensor(5, channels).to_dtype(a[0].dtype())?;
                let variance = ((tensor(6, channels).abs()? + 0.5)?).to_dtype(a[0].dtype())?;
                batch_norm_eval(&a[0], &a[1], &a[2], &mean, &variance, s.eps, epilogue)
            }
            "relu" => relu(&a[0]),
            "linear" => linear(&a[0], &a[1], a.get(2)),
            "cross_entropy" => {
                let targets = tensor(4, &self.shapes[0]).abs()?;
                let targets = targets.broadcast_div(&targets.sum_keepdim(1)?)?;
                cross_entropy(&(&a[0] * 10.0)?, &targets.to_dtype(a[0].dtype())?)
            }
            "activation" => activation(&(&a[0] * 8.0)?, function(&s.activation)),
            "group_norm" => group_norm(&a[0], &a[1], &a[2], s.groups, s.eps),
            "multiply" => multiply(&a[0], &a[1]),
            "prelu" => prelu(&a[0], &a[1]),
            "channel_shuffle" => channel_shuffle(&a[0], s.groups),
            "local_response_norm" => {
                let (size, alpha, beta, bias) = (s.size, s.alpha, s.beta, s.bias);
                local_response_norm(&a[0], &LocalResponseNormConfig { size, alpha, beta, bias })
            }
            "mix" => mix(&a[0], &a[1], &a[2]),
            other => panic!("the reference has an operation {other} that this test does not know"),
        }
    }

    fn check(&self, dtype: DType, tolerance: f64) -> Result<()> {
        let arguments = self
            .shapes
            .iter()
            .enumerate()
            .map(|(k, shape)| Var::from_tensor(&tensor(k, shape).to_dtype(dtype).unwrap()).unwrap());
        let arguments: Vec<Var> = arguments.collect();
        let tensors: Vec<Tensor> = arguments.iter().map(|v| v.as_tensor().clone()).collect();
        let output = self.run(&tensors)?;
        let compare = |what: &str, found: &Tensor, values: &[f64], shape: &[usize]| {
            let expected = Tensor::from_slice(values, shape, &Device::Cpu).unwrap();
            let distance = distance(found, &expected);
            assert!(distance <= tolerance, "{} {:?}: {what} is off by {distance:e}", self.op, self.settings);
        };
        compare("output", &output, &self.output, &self.output_shape);
        let weights = tensor(9, output.dims()).to_dtype(dtype)?;
        let gradients = (output * weights)?.sum_all()?.backward()?;
        for ((variable, expected), shape) in arguments.iter().zip(&self.gradients).zip(&self.shapes) {
            compare("gradient", gradients.get(variable).unwrap(), expected, shape);
        }
        Ok(())
    }
}

fn check(dtype: DType, tolerance: f64) {
    let reference: Reference = serde_json::from_str(include_str!("pytorch/reference.json")).unwrap();
    assert_eq!(reference.cases.len(), 56);
    for case in reference.cases {
        case.check(dtype, tolerance).unwrap();
    }
}

#[test]
fn agrees_in_f64() {
    check(DType::F64, 1e-9);
}

#[test]
fn agrees_in_f32() {
    check(DType::F32, 2e-5);
}
