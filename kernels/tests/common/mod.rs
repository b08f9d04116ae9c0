//! Random tensors and comparisons shared by the tests.
#![allow(dead_code)] // Every test file uses a part of it.

use candle_convnet::Activation;
use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::test_runner::{Config, RngSeed};

/// The same cases on every machine and in every run.
pub fn cases(cases: u32) -> Config {
    Config { cases, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..Config::default() }
}

pub const ACTIVATIONS: [Activation; 10] = [
    Activation::Relu,
    Activation::Relu6,
    Activation::LeakyRelu { slope: 0.01 },
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Silu,
    Activation::Gelu,
    Activation::HardSigmoid,
    Activation::HardSwish,
    Activation::Clip { low: -3.0, high: 6.0 },
];

/// SplitMix64 (Steele, Lea and Flood, 2014): numbers that depend on nothing but the seed.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn integer(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between -1 and 1.
    pub fn uniform(&mut self) -> f64 {
        (self.integer() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    pub fn tensor(&mut self, shape: &[usize]) -> Tensor {
        let count = shape.iter().product();
        let values: Vec<f64> = (0..count).map(|_| self.uniform()).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// Values that all differ by at least `1 / count` and are not closer to 0 than half of that.
    pub fn distinct(&mut self, shape: &[usize]) -> Tensor {
        let count: usize = shape.iter().product();
        let mut values: Vec<f64> = (0..count).map(|i| (2.0 * i as f64 + 1.5) / count as f64 - 1.0).collect();
        for i in (1..count).rev() {
            values.swap(i, (self.integer() % (i as u64 + 1)) as usize);
        }
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }
}

pub fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The largest difference, relative to the largest expected value.
pub fn distance(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.dims(), expected.dims());
    let (found, expected) = (numbers(found), numbers(expected));
    let scale = expected.iter().fold(0.0f64, |m, x| m.max(x.abs())).max(1e-30);
    let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
    worst.fold(0.0f64, |m, d| if d.is_nan() { f64::INFINITY } else { m.max(d) }) / scale
}

/// Loss with a different weight for every output, so that no gradient hides behind a symmetry.
fn project(y: &Tensor) -> Result<Tensor> {
    let weights = Numbers(99).tensor(y.dims());
    (y * weights.to_dtype(y.dtype())?.to_device(y.device())?)?.sum_all()
}

/// The gradients of [`project`] of `f` for all arguments.
pub fn gradients(arguments: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) -> Result<Vec<Tensor>> {
    let variables: Vec<Var> = arguments.iter().map(Var::from_tensor).collect::<Result<_>>()?;
    let tensors: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();
    let gradients = project(&f(&tensors)?)?.backward()?;
    Ok(variables.iter().map(|v| gradients.get(v).expect("a gradient for every argument").clone()).collect())
}

/// Compares back-propagation with central finite differences, in f64, at up to 40 places an argument.
pub fn check_gradients(arguments: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let step = 1e-5;
    let found = gradients(arguments, &f).unwrap();
    let loss =
        |arguments: &[Tensor]| -> f64 { project(&f(arguments).unwrap()).unwrap().to_scalar().unwrap() };
    let mut random = Numbers(5);
    for (i, (argument, gradient)) in arguments.iter().zip(&found).enumerate() {
        assert_eq!(argument.dims(), gradient.dims());
        let (values, gradient) = (numbers(argument), numbers(gradient));
        let scale = gradient.iter().fold(1.0f64, |m, g| m.max(g.abs()));
        for k in 0..values.len().min(40) {
            let at = if values.len() <= 40 { k } else { random.integer() as usize % values.len() };
            let moved = |by: f64| {
                let mut values = values.clone();
                values[at] += by;
                let mut arguments = arguments.to_vec();
                arguments[i] = Tensor::from_vec(values, argument.dims(), &Device::Cpu).unwrap();
                loss(&arguments)
            };
            let expected = (moved(step) - moved(-step)) / (2.0 * step);
            let error = (gradient[at] - expected).abs();
            assert!(
                error <= 1e-6 * scale,
                "argument {i}, place {at}: gradient {}, finite difference {expected}",
                gradient[at]
            );
        }
    }
}

/// Output and gradients of one function in f32 against f64.
pub fn check_f32(arguments: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let single: Vec<Tensor> = arguments.iter().map(|a| a.to_dtype(DType::F32).unwrap()).collect();
    // The same numbers: those that f32 can hold.
    let double: Vec<Tensor> = single.iter().map(|a| a.to_dtype(DType::F64).unwrap()).collect();
    let off = distance(&f(&single).unwrap(), &f(&double).unwrap());
    assert!(off <= 3e-6, "output is off by {off:e}");
    let (single, double) = (gradients(&single, &f).unwrap(), gradients(&double, &f).unwrap());
    for (i, (single, double)) in single.iter().zip(&double).enumerate() {
        let off = distance(single, double);
        assert!(off <= 1e-5, "gradient {i} is off by {off:e}");
    }
}
