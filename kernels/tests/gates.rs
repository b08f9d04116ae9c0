//! Activations, gates, group norm and dropout: f32 against f64, company, threads, NaN and infinity.

mod common;

use candle_convnet::*;
use candle_core::{DType, Device, Tensor};
use common::{ACTIVATIONS, Numbers, cases, check_f32, distance, gradients, numbers};
use proptest::prelude::*;

/// With a bias so small that the responses count.
const KRIZHEVSKY: LocalResponseNormConfig =
    LocalResponseNormConfig { size: 5, alpha: 1.0, beta: 0.75, bias: 0.1 };

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn group_norm_in_f32(
        (batch, groups, members) in (1..=4usize, 1..=4usize, 1..=5usize),
        (h, w) in (1..=40usize, 2..=40usize),
        offset in -10.0..10.0f64,
        seed in any::<u64>(),
    ) {
        let (mut random, channels) = (Numbers(seed), groups * members);
        let x = (random.tensor(&[batch, channels, h, w]) + offset).unwrap();
        let arguments = [x, random.tensor(&[channels]), random.tensor(&[channels])];
        check_f32(&arguments, |a| group_norm(&a[0], &a[1], &a[2], groups, 1e-2));
    }

    #[test]
    fn gates_in_f32(
        (batch, channels, h, w) in (1..=4usize, 1..=9usize, 1..=40usize, 1..=40usize),
        seed in any::<u64>(),
    ) {
        let mut random = Numbers(seed);
        let x = random.tensor(&[batch, channels, h, w]);
        check_f32(&[x.clone(), random.tensor(&[batch, channels, 1, 1])], |a| multiply(&a[0], &a[1]));
        check_f32(&[x.clone(), random.tensor(&[channels])], |a| prelu(&a[0], &a[1]));
        for beta in [0.75, 1.2] {
            let cfg = LocalResponseNormConfig { beta, ..KRIZHEVSKY };
            check_f32(std::slice::from_ref(&x), |a| local_response_norm(&a[0], &cfg));
        }
    }
}

/// Every value of an activation, not only the largest, has the accuracy of its type.
#[test]
fn activations_in_f32_are_exact_up_to_rounding() {
    let points: Vec<f32> = (-4000..=4000).map(|i| i as f32 * 0.0033).collect();
    let single = Tensor::from_vec(points, 8001, &Device::Cpu).unwrap();
    let double = single.to_dtype(DType::F64).unwrap();
    for function in ACTIVATIONS {
        let f = |a: &[Tensor]| activation(&a[0], function);
        let results = |x: &Tensor| (numbers(&activation(x, function).unwrap()), slopes(x, f));
        let ((found, slope), (expected, exact_slope)) = (results(&single), results(&double));
        for (found, expected) in found.iter().zip(&expected) {
            // Three roundings, and what f32 has no number for.
            let off = (found - expected).abs();
            assert!(off <= 2.5e-7 * expected.abs() + 1e-45, "{function:?}: {found:e}, {expected:e}");
        }
        assert!(distance(&slope, &exact_slope) <= 2e-7, "{function:?}");
    }
}

/// The gradient of a function of one tensor.
fn slopes(x: &Tensor, f: impl Fn(&[Tensor]) -> candle_core::Result<Tensor>) -> Tensor {
    gradients(std::slice::from_ref(x), f).unwrap().remove(0)
}

/// Groups of many pieces with a large offset, where a one-pass formula in f32 has no digit left.
#[test]
fn group_statistics_survive_an_offset() {
    let x = ((Numbers(4).tensor(&[2, 4, 50, 49]) * 0.1).unwrap() + 1000.0).unwrap();
    let x = x.to_dtype(DType::F32).unwrap();
    let exact = x.to_dtype(DType::F64).unwrap().reshape((2, 2, ())).unwrap();
    let centred = exact.broadcast_sub(&exact.mean_keepdim(2).unwrap()).unwrap();
    let deviation = (centred.sqr().unwrap().mean_keepdim(2).unwrap() + 1e-5).unwrap().sqrt().unwrap();
    let expected = centred.broadcast_div(&deviation).unwrap().reshape(x.shape()).unwrap();
    let gamma = Tensor::ones(4, DType::F32, &Device::Cpu).unwrap();
    let beta = gamma.zeros_like().unwrap();
    // What the mean loses when it is rounded to f32, in deviations.
    let off = distance(&group_norm(&x, &gamma, &beta, 2, 1e-5).unwrap(), &expected);
    assert!(off < 3.1e-5 / 0.057, "off by {off:e}");
}

/// A sample's output has the same bits alone as in a batch, whatever the number of its groups.
#[test]
fn group_norm_does_not_depend_on_company() {
    for (shape, groups) in [([9, 6, 5, 7], 3), ([9, 6, 30, 31], 1), ([9, 6, 1, 1], 2), ([9, 6, 5, 7], 6)] {
        let mut random = Numbers(5);
        let arguments = [random.tensor(&shape), random.tensor(&[6]), random.tensor(&[6])];
        let [x, gamma, beta] = arguments.map(|t| t.to_dtype(DType::F32).unwrap());
        let all = group_norm(&x, &gamma, &beta, groups, 1e-5).unwrap();
        let alone = group_norm(&x.narrow(0, 7, 1).unwrap(), &gamma, &beta, groups, 1e-5).unwrap();
        assert_eq!(numbers(&all.narrow(0, 7, 1).unwrap()), numbers(&alone));
    }
}

/// Group norm, gates, PReLU, local responses, a shuffle, activations and dropout: several jobs each, the same bits in pools of 1 and 3
/// threads.
#[test]
fn bits_of_gates_do_not_depend_on_threads() {
    let mut random = Numbers(10);
    let shapes: [&[usize]; 5] = [&[19, 6, 31, 29], &[6], &[6], &[19, 6, 1, 1], &[6]];
    let arguments = shapes.map(|s| random.tensor(s).to_dtype(DType::F32).unwrap());
    let layers = |a: &[Tensor]| {
        let x = multiply(&group_norm(&a[0], &a[1], &a[2], 2, 1e-5)?, &a[3])?;
        let x = dropout(&prelu(&x, &a[4])?, 0.3, 5)?;
        let x = channel_shuffle(&local_response_norm(&x, &KRIZHEVSKY)?, 3)?;
        ACTIVATIONS.into_iter().try_fold(x.clone(), |sum, f| sum + activation(&x, f)?)
    };
    let bits = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut all = pool.install(|| gradients(&arguments, layers).unwrap());
        all.push(pool.install(|| layers(&arguments).unwrap()));
        all.iter().flat_map(numbers).map(f64::to_bits).collect::<Vec<u64>>()
    };
    assert!(bits(1) == bits(3));
}

/// The share that is dropped, the factor of the rest, and that seeds are not one another's shift.
#[test]
fn dropout_drops_its_share_by_the_seed_alone() {
    let count = 100_000;
    let ones = Tensor::ones(count, DType::F32, &Device::Cpu).unwrap();
    let dropped = |seed| {
        let y = numbers(&dropout(&ones, 0.2, seed).unwrap());
        assert!(y.iter().all(|&v| v == 0.0 || v == 1.25));
        y.iter().map(|&v| v == 0.0).collect::<Vec<bool>>()
    };
    let agreement = |a: &[bool], b: &[bool]| {
        a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / a.len().min(b.len()) as f64
    };
    let (first, second) = (dropped(1), dropped(1u64.wrapping_add(0x9e37_79b9_7f4a_7c15)));
    assert!(first == dropped(1));
    // Five standard deviations of a fair draw.
    let off = |share: f64, expected: f64| {
        (share - expected).abs() > 5.0 * (expected * (1.0 - expected) / count as f64).sqrt()
    };
    for mask in [&first, &second] {
        assert!(!off(mask.iter().filter(|&&d| d).count() as f64 / count as f64, 0.2));
    }
    // Two masks that know nothing of each other agree in 0.2^2 + 0.8^2 of the places.
    assert!(!off(agreement(&first, &second), 0.68));
    assert!(!off(agreement(&first[1..], &second), 0.68) && !off(agreement(&first, &second[1..]), 0.68));
    assert!(!off(agreement(&first, &first[1..]), 0.68));
    let double = numbers(&dropout(&ones.to_dtype(DType::F64).unwrap(), 0.2, 1).unwrap());
    assert!(double.iter().zip(&first).all(|(&v, &dropped)| (v == 0.0) == dropped));
    assert_eq!(numbers(&dropout(&ones, 0.0, 3).unwrap()), vec![1.0; count]);
}

/// NaN and the ends of the number line, as in PyTorch 2.15.
#[test]
fn activations_of_what_is_not_finite() {
    let (n, inf) = (f64::NAN, f64::INFINITY);
    let expected = |function| match function {
        Activation::Relu => [n, inf, 0.0],
        Activation::Relu6 => [n, 6.0, 0.0],
        Activation::LeakyRelu { .. } => [n, inf, -inf],
        Activation::Sigmoid | Activation::HardSigmoid => [n, 1.0, 0.0],
        Activation::Tanh => [n, 1.0, -1.0],
        Activation::Clip { low, high } => [n, high, low],
        // Minus infinity times 0.
        Activation::Silu | Activation::Gelu | Activation::HardSwish => [n, inf, n],
    };
    for dtype in [DType::F32, DType::F64] {
        let x = Tensor::new(&[n, inf, -inf], &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        for function in ACTIVATIONS {
            let found = numbers(&activation(&x, function).unwrap());
            let same = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan());
            assert!(found.iter().zip(&expected(function)).all(same), "{function:?}, {dtype:?}: {found:?}");
        }
    }
}

/// A NaN stays in its group, its channel, its place; a dropped one is one.
#[test]
fn nan_passes_through_gates() {
    let mut values = vec![1f32; 2 * 4 * 2 * 3];
    values[24 + 7] = f32::NAN; // Channel 1 of the second sample.
    let x = Tensor::from_vec(values, (2, 4, 2, 3), &Device::Cpu).unwrap();
    let nans = |t: Tensor| -> Vec<usize> {
        numbers(&t).iter().enumerate().filter(|(_, v)| v.is_nan()).map(|(i, _)| i).collect()
    };
    let ones = Tensor::ones(4, DType::F32, &Device::Cpu).unwrap();
    assert_eq!(nans(group_norm(&x, &ones, &ones, 2, 1e-5).unwrap()), (24..36).collect::<Vec<_>>());
    assert_eq!(nans(group_norm(&x, &ones, &ones, 4, 1e-5).unwrap()), (30..36).collect::<Vec<_>>());
    assert_eq!(nans(prelu(&x, &ones).unwrap()), [31]);
    assert_eq!(nans(multiply(&x, &x).unwrap()), [31]);
    let gate = Tensor::ones((2, 4, 1, 1), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(nans(multiply(&x, &gate).unwrap()), [31]);
    assert_eq!(nans(multiply(&x.ones_like().unwrap(), &(gate * f64::NAN).unwrap()).unwrap()).len(), 48);
    // Of four channels in two groups the second becomes the third, and a response reaches one channel to each side.
    assert_eq!(nans(channel_shuffle(&x, 2).unwrap()), [37]);
    let three = LocalResponseNormConfig { size: 3, ..KRIZHEVSKY };
    assert_eq!(nans(local_response_norm(&x, &three).unwrap()), [25, 31, 37]);
    for seed in 0..20 {
        assert_eq!(nans(dropout(&x, 0.5, seed).unwrap()), [31]);
    }
}

/// An even number of channels is one more behind than before, as ONNX's operator `LRN` has it.
#[test]
fn local_responses_of_even_size_look_ahead() {
    let x = Tensor::new(&[1f64, 2.0, 3.0], &Device::Cpu).unwrap().reshape((1, 3, 1, 1)).unwrap();
    let cfg = |size| LocalResponseNormConfig { size, alpha: 2.0, beta: 1.0, bias: 1.0 };
    let close = |found: Vec<f64>, expected: [f64; 3]| {
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15), "{found:?} {expected:?}");
    };
    let two = numbers(&local_response_norm(&x, &cfg(2)).unwrap());
    close(two, [1.0 / (1.0 + 5.0), 2.0 / (1.0 + 13.0), 3.0 / (1.0 + 9.0)]);
    let four = numbers(&local_response_norm(&x, &cfg(4)).unwrap());
    close(four, [1.0 / (1.0 + 7.0), 2.0 / (1.0 + 7.0), 3.0 / (1.0 + 6.5)]);
    assert_eq!(local_response_norm(&x, &cfg(usize::MAX)).unwrap().dims(), [1, 3, 1, 1]);
}
