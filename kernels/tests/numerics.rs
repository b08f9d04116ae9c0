//! f32 against f64, candle's own convolution, other numbers of threads, NaN and infinity.

mod common;

use candle_convnet::*;
use candle_core::{D, DType, Device, Tensor, Var};
use common::{Numbers, cases, check_f32, distance, gradients, numbers};
use proptest::prelude::*;

const SAME: Conv2dConfig = Conv2dConfig {
    stride: (1, 1),
    padding: Padding::even(1, 1),
    dilation: (1, 1),
    groups: 1,
    algorithm: ConvAlgorithm::Auto,
};
const HALVE: Pool2dConfig = Pool2dConfig { kernel: (2, 2), stride: (2, 2), padding: Padding::NONE };

prop_compose! {
    fn square_conv()(
        (batch, channels, outputs, groups) in (1..=9usize, 1..=9usize, 1..=14usize, 1..=2usize),
        (h, w, kernel) in (1..=20usize, 1..=20usize, 1..=5usize),
        (stride, dilation) in (1..=3usize, 1..=2usize),
        seed in any::<u64>(),
    ) -> (Vec<Tensor>, Conv2dConfig) {
        let padding = dilation * (kernel - 1) / 2 + 1;
        let mut random = Numbers(seed);
        let x = random.tensor(&[batch, groups * channels, h, w]);
        let weight = random.tensor(&[groups * outputs, channels, kernel, kernel]);
        let (stride, dilation) = ((stride, stride), (dilation, dilation));
        let padding = Padding::even(padding, padding);
        (vec![x, weight], Conv2dConfig { stride, padding, dilation, groups, algorithm: ConvAlgorithm::Auto })
    }
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn convolution_is_candles((arguments, cfg) in square_conv()) {
        let (x, weight) = (&arguments[0], &arguments[1]);
        #[allow(clippy::disallowed_methods)] // candle's own is the reference here
        let expected = x.conv2d(weight, cfg.padding.top, cfg.stride.0, cfg.dilation.0, cfg.groups).unwrap();
        prop_assert!(distance(&conv2d(x, weight, None, &cfg).unwrap(), &expected) <= 1e-12);
    }

    /// Several chunks of samples, panels of channels and strips of pixels.
    #[test]
    fn pointwise_convolution_is_candles(
        (batch, channels, outputs) in (1..=40usize, 4..=40usize, 4..=40usize),
        (h, w) in (1..=16usize, 1..=16usize),
        seed in any::<u64>(),
    ) {
        let mut random = Numbers(seed);
        let arguments = [random.tensor(&[batch, channels, h, w]), random.tensor(&[outputs, channels, 1, 1])];
        let own = |a: &[Tensor]| conv2d(&a[0], &a[1], None, &Conv2dConfig::default());
        #[allow(clippy::disallowed_methods)] // candle's own is the reference here
        let candles = |a: &[Tensor]| a[0].conv2d(&a[1], 0, 1, 1, 1);
        prop_assert!(distance(&own(&arguments).unwrap(), &candles(&arguments).unwrap()) <= 1e-12);
        let (found, expected) = (gradients(&arguments, own).unwrap(), gradients(&arguments, candles).unwrap());
        for (found, expected) in found.iter().zip(&expected) {
            prop_assert!(distance(found, expected) <= 1e-12);
        }
    }

    #[test]
    fn convolution_in_f32((arguments, cfg) in square_conv()) {
        check_f32(&arguments, |a| conv2d(&a[0], &a[1], None, &cfg));
    }

    #[test]
    fn batch_norm_in_f32(
        (batch, channels, h, w) in (1..=16usize, 1..=5usize, 1..=20usize, 2..=20usize),
        offset in -10.0..10.0f64,
        seed in any::<u64>(),
    ) {
        let mut random = Numbers(seed);
        let x = (random.tensor(&[batch, channels, h, w]) + offset).unwrap();
        let arguments = [x, random.tensor(&[channels]), random.tensor(&[channels])];
        let plain = |a: &[Tensor]| Ok(batch_norm_train(&a[0], &a[1], &a[2], 1e-2, Epilogue::None)?.output);
        check_f32(&arguments, plain);
    }

    #[test]
    fn linear_and_loss_in_f32((batch, inputs, outputs) in (1..=70usize, 1..=70usize, 1..=12usize), seed in any::<u64>()) {
        let mut random = Numbers(seed);
        let arguments = [random.tensor(&[batch, inputs]), random.tensor(&[outputs, inputs])];
        check_f32(&arguments, |a| linear(&a[0], &a[1], None));
        let targets = softmax(&random.tensor(&[batch, outputs]));
        check_f32(&arguments, |a| {
            cross_entropy(&linear(&a[0], &a[1], None)?, &targets.to_dtype(a[0].dtype())?)
        });
    }
}

/// [`SAME`] by one algorithm.
fn same(algorithm: ConvAlgorithm) -> Conv2dConfig {
    Conv2dConfig { algorithm, ..SAME }
}

/// L2 norm of the difference over that of the expected values.
fn relative_error(found: &Tensor, expected: &Tensor) -> f64 {
    let (found, expected) = (numbers(found), numbers(expected));
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    norm(&mut found.iter().zip(&expected).map(|(a, b)| a - b)) / norm(&mut expected.iter().copied())
}

/// Output and gradients of a padded convolution.
fn conv_results(arguments: &[Tensor], algorithm: ConvAlgorithm) -> Vec<Tensor> {
    let conv = |a: &[Tensor]| conv2d(&a[0], &a[1], None, &same(algorithm));
    let mut results = gradients(arguments, conv).unwrap();
    results.push(conv(arguments).unwrap());
    results
}

/// Batches of several chunks and blocks, channels of several panels.
#[test]
fn winograd_is_direct_convolution() {
    let shapes =
        [[70, 5, 9, 7, 11], [3, 17, 40, 33, 30], [130, 9, 2, 4, 3], [9, 33, 20, 28, 28], [1, 8, 16, 1, 1]];
    for (i, [batch, channels, outputs, h, w]) in shapes.into_iter().enumerate() {
        let mut random = Numbers(i as u64);
        let arguments = [random.tensor(&[batch, channels, h, w]), random.tensor(&[outputs, channels, 3, 3])];
        let expected = conv_results(&arguments, ConvAlgorithm::Direct);
        for (found, expected) in conv_results(&arguments, ConvAlgorithm::Winograd).iter().zip(&expected) {
            let off = distance(found, expected);
            assert!(off <= 1e-12, "{:?}: off by {off:e}", shapes[i]);
        }
    }
}

/// The documented accuracy of both algorithms in f32 with some room, against the direct sums in f64.
#[test]
fn accuracy_of_algorithms_in_f32() {
    for (batch, channels, outputs, size) in
        [(16, 16, 16, 28), (8, 64, 64, 16), (8, 64, 128, 8), (32, 32, 32, 7)]
    {
        let mut random = Numbers(size as u64);
        let x = random.tensor(&[batch, channels, size, size]).to_dtype(DType::F32).unwrap();
        let weight = random.tensor(&[outputs, channels, 3, 3]).to_dtype(DType::F32).unwrap();
        let exact = [x.to_dtype(DType::F64).unwrap(), weight.to_dtype(DType::F64).unwrap()];
        let exact = conv_results(&exact, ConvAlgorithm::Direct);
        let single = [x, weight];
        for (algorithm, bound) in [(ConvAlgorithm::Direct, 1e-6), (ConvAlgorithm::Winograd, 4e-6)] {
            for (i, (found, exact)) in conv_results(&single, algorithm).iter().zip(&exact).enumerate() {
                let off = relative_error(found, exact);
                assert!(off <= bound, "{algorithm:?}, result {i}: off by {off:e}");
            }
        }
    }
}

/// With enough channels; f64 is for checks.
#[test]
fn auto_is_winograd_in_f32_alone() {
    let mut random = Numbers(3);
    let double = [random.tensor(&[2, 16, 9, 9]), random.tensor(&[16, 16, 3, 3])];
    let single = double.each_ref().map(|t| t.to_dtype(DType::F32).unwrap());
    let bits = |arguments, algorithm| numbers(&conv_results(arguments, algorithm)[2]);
    let (direct, winograd) = (ConvAlgorithm::Direct, ConvAlgorithm::Winograd);
    assert_eq!(bits(&single, ConvAlgorithm::Auto), bits(&single, winograd));
    assert_eq!(bits(&double, ConvAlgorithm::Auto), bits(&double, direct));
    assert_ne!(bits(&single, direct), bits(&single, winograd));
}

/// An image has the same output alone as in a batch, and a gradient the same bits alone as with the other.
#[test]
fn winograd_does_not_depend_on_company() {
    let mut random = Numbers(4);
    let x = random.tensor(&[21, 16, 10, 9]).to_dtype(DType::F32).unwrap();
    let weight = random.tensor(&[24, 16, 3, 3]).to_dtype(DType::F32).unwrap();
    let cfg = same(ConvAlgorithm::Winograd);
    let all = conv2d(&x, &weight, None, &cfg).unwrap();
    let alone = conv2d(&x.narrow(0, 17, 1).unwrap(), &weight, None, &cfg).unwrap();
    assert_eq!(numbers(&all.narrow(0, 17, 1).unwrap()), numbers(&alone));

    let both = conv_results(&[x.clone(), weight.clone()], ConvAlgorithm::Winograd);
    let dx = gradients(std::slice::from_ref(&x), |a| conv2d(&a[0], &weight, None, &cfg)).unwrap();
    let dw = gradients(std::slice::from_ref(&weight), |a| conv2d(&x, &a[0], None, &cfg)).unwrap();
    assert_eq!(numbers(&both[0]), numbers(&dx[0]));
    assert_eq!(numbers(&both[1]), numbers(&dw[0]));
}

fn softmax(x: &Tensor) -> Tensor {
    let e = x.exp().unwrap();
    e.broadcast_div(&e.sum_keepdim(D::Minus1).unwrap()).unwrap()
}

/// Mean and variance of values with a large offset, where a one-pass formula in f32 has no digit left.
#[test]
fn batch_statistics_survive_an_offset() {
    let x = ((Numbers(3).tensor(&[64, 2, 17, 19]) * 0.1).unwrap() + 1000.0).unwrap();
    let x = x.to_dtype(DType::F32).unwrap();
    let exact = x.to_dtype(DType::F64).unwrap().transpose(0, 1).unwrap().flatten_from(1).unwrap();
    let mean = exact.mean(1).unwrap();
    let variance = exact.broadcast_sub(&mean.unsqueeze(1).unwrap()).unwrap().sqr().unwrap().mean(1).unwrap();
    let (gamma, beta) = (
        Tensor::ones(2, DType::F32, &Device::Cpu).unwrap(),
        Tensor::zeros(2, DType::F32, &Device::Cpu).unwrap(),
    );
    let found = batch_norm_train(&x, &gamma, &beta, 1e-5, Epilogue::None).unwrap();
    assert!(distance(&found.mean, &mean) < 1e-7);
    assert!(distance(&found.variance, &variance) < 1e-3);
    assert!(!found.mean.track_op() && !found.variance.track_op());
}

/// A small network: all of it has the same bits in pools of 1, 2 and 3 threads.
#[test]
fn bits_do_not_depend_on_threads() {
    let mut random = Numbers(8);
    let shapes: [&[usize]; 8] =
        [&[37, 3, 13, 11], &[8, 3, 3, 3], &[8], &[8], &[8, 1, 3, 3], &[10, 8], &[10], &[1]];
    let arguments: Vec<Tensor> =
        shapes.iter().map(|s| random.tensor(s).to_dtype(DType::F32).unwrap()).collect();
    let network = |a: &[Tensor]| {
        let x = conv2d(&a[0], &a[1], Some(&a[3]), &SAME)?;
        let x = batch_norm_train(&x, &a[2], &a[3], 1e-5, Epilogue::Relu)?.output;
        let y = conv2d(&x, &a[4], None, &Conv2dConfig { groups: 8, ..SAME })?;
        let x = relu(&mix(&x, &y, &a[7])?)?;
        let x = avg_pool2d(
            &max_pool2d(&x, &HALVE)?,
            &Pool2dConfig { kernel: (3, 3), stride: (2, 2), padding: Padding::even(1, 1) },
        )?;
        linear(&global_avg_pool2d(&x)?.flatten_from(1)?, &a[5], Some(&a[6]))
    };
    let bits = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut all = gradients(&arguments, network).unwrap();
            all.push(network(&arguments).unwrap());
            let bits =
                |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits);
            all.iter().flat_map(bits).collect::<Vec<u32>>()
        })
    };
    let one = bits(1);
    assert!(one == bits(2) && one == bits(3));
}

/// Likewise of Winograd and 1x1 convolutions, with several chunks of partial gradients.
///
/// That [`ConvAlgorithm::Auto`] is Winograd here shows in [`auto_is_winograd_in_f32_alone`].
#[test]
fn bits_of_wide_convolutions_do_not_depend_on_threads() {
    let mut random = Numbers(9);
    let shapes: [&[usize]; 3] = [&[67, 16, 13, 11], &[20, 16, 3, 3], &[9, 20, 1, 1]];
    let arguments = shapes.map(|s| random.tensor(s).to_dtype(DType::F32).unwrap());
    let layers =
        |a: &[Tensor]| conv2d(&conv2d(&a[0], &a[1], None, &SAME)?, &a[2], None, &Conv2dConfig::default());
    let bits = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut all = pool.install(|| gradients(&arguments, layers).unwrap());
        all.push(pool.install(|| layers(&arguments).unwrap()));
        all.iter().flat_map(numbers).map(f64::to_bits).collect::<Vec<u64>>()
    };
    let one = bits(1);
    assert!(one == bits(2) && one == bits(3));
}

/// The same bits as one operation after the other, ties, NaN and infinity included; up to rounding the same
/// gradients.
#[test]
fn batch_norm_with_max_pooling_is_both() -> candle_core::Result<()> {
    for (case, (h, w)) in [(16, 16), (13, 17), (9, 30), (14, 11), (40, 8)].into_iter().enumerate() {
        let mut random = Numbers(case as u64);
        // Few different values: most windows have ties.
        let mut values = numbers(&(random.tensor(&[3, 2, h, w]) * 3.0)?.round()?);
        let gamma = Tensor::new(&[1.5f32, -0.5], &Device::Cpu)?;
        let beta = Tensor::new(&[0.25f32, -0.5], &Device::Cpu)?;
        for special in [None, Some(f64::NAN), Some(f64::NEG_INFINITY)] {
            values[w + 3] = special.unwrap_or(values[w + 3]);
            let x = Tensor::from_vec(values.clone(), (3, 2, h, w), &Device::Cpu)?.to_dtype(DType::F32)?;
            let arguments = [x, gamma.clone(), beta.clone()];
            let together =
                |a: &[Tensor]| Ok(batch_norm_train(&a[0], &a[1], &a[2], 1e-5, Epilogue::ReluMaxPool)?.output);
            let apart = |a: &[Tensor]| {
                max_pool2d(&batch_norm_train(&a[0], &a[1], &a[2], 1e-5, Epilogue::Relu)?.output, &HALVE)
            };
            let (found, expected) = (together(&arguments)?, apart(&arguments)?);
            assert_eq!(found.dims(), expected.dims());
            let bits = |t: &Tensor| -> Vec<u64> { numbers(t).iter().map(|v| v.to_bits()).collect() };
            assert_eq!(bits(&found), bits(&expected), "{h}x{w}, {special:?}");
            let pairs = gradients(&arguments, together)?.into_iter().zip(gradients(&arguments, apart)?);
            for (found, expected) in pairs {
                let nans = |t: &Tensor| numbers(t).iter().map(|v| v.is_nan()).collect::<Vec<_>>();
                assert_eq!(nans(&found), nans(&expected), "{h}x{w}, {special:?}");
                assert!(special.is_some() || distance(&found, &expected) < 1e-6, "{h}x{w}");
            }
        }
    }
    Ok(())
}

/// NaN in: NaN out where PyTorch has one, and nowhere else.
#[test]
fn nan_passes_through() {
    let nan = f32::NAN;
    let x = Tensor::new(&[[[[nan, 1.0], [2.0, 3.0]], [[-1.0f32, 1.0], [2.0, 3.0]]]], &Device::Cpu).unwrap();
    let found = |t: Tensor| numbers(&t);
    let same = |found: Vec<f64>, expected: &[f64]| {
        let equal = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan());
        assert!(
            found.len() == expected.len() && found.iter().zip(expected).all(equal),
            "{found:?} {expected:?}"
        );
    };
    let n = f64::NAN;
    same(found(relu(&x).unwrap()), &[n, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0, 3.0]);
    same(found(max_pool2d(&x, &HALVE).unwrap()), &[n, 3.0]);
    let window = Pool2dConfig { kernel: (2, 1), stride: (1, 1), padding: Padding::NONE };
    same(found(max_pool2d(&x, &window).unwrap()), &[n, 3.0, 2.0, 3.0]);
    same(found(avg_pool2d(&x, &HALVE).unwrap()), &[n, 1.25]);
    let one = Tensor::ones((1, 1, 1, 1), DType::F32, &Device::Cpu).unwrap();
    let first = x.narrow(1, 0, 1).unwrap();
    same(found(conv2d(&first, &one, None, &Conv2dConfig::default()).unwrap()), &[n, 1.0, 2.0, 3.0]);
    let (gamma, beta) = (
        Tensor::ones(2, DType::F32, &Device::Cpu).unwrap(),
        Tensor::zeros(2, DType::F32, &Device::Cpu).unwrap(),
    );
    let y = batch_norm_train(&x, &gamma, &beta, 1e-5, Epilogue::Relu).unwrap().output;
    assert!(found(y.narrow(1, 0, 1).unwrap()).iter().all(|v| v.is_nan()));
    assert!(found(y.narrow(1, 1, 1).unwrap()).iter().all(|v| v.is_finite()));
}

/// Winograd spreads a NaN over the tiles that read it, and over nothing else.
#[test]
fn nan_passes_through_winograd() {
    let mut random = Numbers(6);
    let weight = random.tensor(&[9, 5, 3, 3]);
    let mut values = numbers(&random.tensor(&[2, 5, 13, 14]));
    values[((5 + 2) * 13 + 6) * 14 + 5] = f64::NAN; // Row 6, column 5 of a channel of the second image.
    let x = Tensor::from_vec(values, (2, 5, 13, 14), &Device::Cpu).unwrap();
    let nan = |algorithm| -> Vec<bool> {
        let y = conv2d(&x, &weight, None, &same(algorithm)).unwrap();
        numbers(&y).iter().map(|v| v.is_nan()).collect()
    };
    let (direct, winograd) = (nan(ConvAlgorithm::Direct), nan(ConvAlgorithm::Winograd));
    assert!(direct.iter().zip(&winograd).all(|(direct, winograd)| winograd >= direct));
    assert_eq!(direct.iter().filter(|nan| **nan).count(), 9 * 9);
    // The tile with rows and columns 4 to 7 alone reads row 6 and column 5; all nine outputs have it.
    assert_eq!(winograd.iter().filter(|nan| **nan).count(), 9 * 16);
}

#[test]
fn large_logits_do_not_overflow() {
    let logits = Var::new(&[[1000f32, 0.0, -1000.0], [-1e30, 1e30, 0.0]], &Device::Cpu).unwrap();
    let targets = Tensor::new(&[[0f32, 1.0, 0.0], [0.0, 1.0, 0.0]], &Device::Cpu).unwrap();
    let loss = cross_entropy(logits.as_tensor(), &targets).unwrap();
    assert_eq!(loss.to_scalar::<f32>().unwrap(), 500.0);
    let gradients = loss.backward().unwrap();
    assert_eq!(numbers(gradients.get(&logits).unwrap()), [0.5, -0.5, 0.0, 0.0, 0.0, 0.0]);
}

/// Infinity passes a convolution and a pooling like any other number.
#[test]
fn infinity_stays_where_it_is() {
    let mut values = vec![1f32; 9 * 9];
    values[4 * 9 + 4] = f32::INFINITY;
    let x = Tensor::from_vec(values, (1, 1, 9, 9), &Device::Cpu).unwrap();
    let kernel = Tensor::ones((1, 1, 3, 3), DType::F32, &Device::Cpu).unwrap();
    let y = conv2d(&x, &kernel, None, &SAME).unwrap();
    assert_eq!(numbers(&y).iter().filter(|v| v.is_infinite()).count(), 9);
    assert!(numbers(&y).iter().all(|v| !v.is_nan()));
    let y = max_pool2d(&x, &HALVE).unwrap();
    assert_eq!(numbers(&y).iter().filter(|v| v.is_infinite()).count(), 1);
}
