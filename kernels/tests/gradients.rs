//! Every gradient against central finite differences in f64, over random shapes.

mod common;

use candle_convnet::*;
use candle_core::{DType, Result, Tensor};
use common::{Numbers, cases, check_gradients, gradients, numbers};
use proptest::prelude::*;

/// A convolution that fits its input.
#[derive(Debug, Clone)]
struct Conv {
    x: [usize; 4],
    weight: [usize; 4],
    bias: bool,
    cfg: Conv2dConfig,
    seed: u64,
}

/// Padding along one axis, on each side up to `most`; every other time alike on both.
fn padding(most: usize) -> impl Strategy<Value = (usize, usize)> {
    (0..=most, 0..=most, any::<bool>()).prop_map(|(start, end, even)| (start, if even { start } else { end }))
}

fn sides((top, bottom): (usize, usize), (left, right): (usize, usize)) -> Padding {
    Padding { top, left, bottom, right }
}

/// (input, kernel, stride, padding, dilation) of one axis, the dilated kernel inside the padded input.
fn axis() -> impl Strategy<Value = (usize, usize, usize, (usize, usize), usize)> {
    (1..=5usize, 1..=3usize, padding(3), 1..=2usize).prop_flat_map(|(kernel, stride, padding, dilation)| {
        let smallest = (dilation * (kernel - 1) + 1).saturating_sub(padding.0 + padding.1).max(1);
        (smallest..smallest + 10).prop_map(move |input| (input, kernel, stride, padding, dilation))
    })
}

prop_compose! {
    fn conv()(
        (h, kh, sh, ph, dh) in axis(),
        (w, kw, sw, pw, dw) in axis(),
        (batch, groups, channels, outputs) in (1..=3usize, 1..=3usize, 1..=3usize, 1..=6usize),
        depthwise in any::<bool>(),
        bias in any::<bool>(),
        seed in any::<u64>(),
    ) -> Conv {
        let channels = if depthwise { 1 } else { channels };
        Conv {
            x: [batch, groups * channels, h, w],
            weight: [groups * outputs, channels, kh, kw],
            bias,
            cfg: Conv2dConfig { stride: (sh, sw), padding: sides(ph, pw), dilation: (dh, dw), groups, algorithm: Default::default() },
            seed,
        }
    }
}

/// An axis of any size, so that tiles are cut off everywhere; channels that fill no vector, or several.
fn winograd_conv() -> impl Strategy<Value = Conv> {
    let axis = || {
        padding(4).prop_flat_map(|padding| {
            let smallest = 3usize.saturating_sub(padding.0 + padding.1).max(1);
            (smallest..smallest + 14).prop_map(move |input| (input, padding))
        })
    };
    let channels = (1..=3usize, 1..=2usize, 1..=20usize, 1..=35usize);
    (axis(), axis(), channels, any::<bool>(), any::<u64>()).prop_map(
        |((h, ph), (w, pw), (batch, groups, channels, outputs), bias, seed)| Conv {
            x: [batch, groups * channels, h, w],
            weight: [groups * outputs, channels, 3, 3],
            bias,
            cfg: Conv2dConfig {
                padding: sides(ph, pw),
                groups,
                algorithm: ConvAlgorithm::Winograd,
                ..Default::default()
            },
            seed,
        },
    )
}

/// 1x1 kernels on images of less than a strip, of several, and of more than are turned round together.
fn pointwise_conv() -> impl Strategy<Value = Conv> {
    let sizes = (1..=3usize, 1..=2usize, 4..=13usize, 4..=35usize, 1..=13usize, 1..=13usize);
    (sizes, any::<bool>(), any::<u64>()).prop_map(|((batch, groups, channels, outputs, h, w), bias, seed)| {
        Conv {
            x: [batch, groups * channels, h, w],
            weight: [groups * outputs, channels, 1, 1],
            bias,
            cfg: Conv2dConfig { groups, ..Default::default() },
            seed,
        }
    })
}

impl Conv {
    fn arguments(&self) -> Vec<Tensor> {
        let mut random = Numbers(self.seed);
        let mut arguments = vec![random.tensor(&self.x), random.tensor(&self.weight)];
        if self.bias {
            arguments.push(random.tensor(&self.weight[..1]));
        }
        arguments
    }

    fn run(&self, arguments: &[Tensor]) -> Result<Tensor> {
        conv2d(&arguments[0], &arguments[1], arguments.get(2), &self.cfg)
    }
}

/// (input, kernel, stride, padding) of one axis of a pooling that fits.
fn pool_axis() -> impl Strategy<Value = (usize, usize, usize, (usize, usize))> {
    (1..=4usize, 1..=4usize, 1..=12usize).prop_flat_map(|(kernel, stride, extra)| {
        padding(kernel - 1).prop_map(move |padding| {
            let smallest = kernel.saturating_sub(padding.0 + padding.1).max(1);
            (smallest + extra - 1, kernel, stride, padding)
        })
    })
}

prop_compose! {
    fn pooling()(
        (h, kh, sh, ph) in pool_axis(),
        (w, kw, sw, pw) in pool_axis(),
        (batch, channels) in (1..=2usize, 1..=3usize),
        seed in any::<u64>(),
    ) -> (Pool2dConfig, Tensor) {
        let cfg = Pool2dConfig { kernel: (kh, kw), stride: (sh, sw), padding: sides(ph, pw) };
        (cfg, Numbers(seed).distinct(&[batch, channels, h, w]))
    }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn of_convolutions(conv in conv()) {
        check_gradients(&conv.arguments(), |a| conv.run(a));
    }

    #[test]
    fn of_max_pooling((cfg, x) in pooling()) {
        check_gradients(&[x], |a| max_pool2d(&a[0], &cfg));
    }

    #[test]
    fn of_average_pooling((cfg, x) in pooling()) {
        check_gradients(&[x], |a| avg_pool2d(&a[0], &cfg));
    }

    #[test]
    fn of_average_pooling_without_padding((cfg, x) in pooling()) {
        check_gradients(&[x], |a| avg_pool2d_excluding_padding(&a[0], &cfg));
    }
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn of_winograd_convolutions(conv in winograd_conv()) {
        check_gradients(&conv.arguments(), |a| conv.run(a));
    }

    #[test]
    fn of_pointwise_convolutions(conv in pointwise_conv()) {
        check_gradients(&conv.arguments(), |a| conv.run(a));
    }

    /// On plain tensors it is one step, which has no gradient; on variables two.
    #[test]
    fn convolutions_with_an_epilogue_are_both_steps(
        conv in prop_oneof![conv(), winograd_conv(), pointwise_conv()],
        epilogue in prop::sample::select(vec![Epilogue::None, Epilogue::Relu, Epilogue::ReluMaxPool]),
        dtype in prop::sample::select(vec![DType::F32, DType::F64]),
    ) {
        let arguments = conv.arguments();
        let arguments: Vec<Tensor> = arguments.iter().map(|a| a.to_dtype(dtype).unwrap()).collect();
        let halve = Pool2dConfig { kernel: (2, 2), stride: (2, 2), padding: Padding::NONE };
        let fused = |a: &[Tensor]| conv2d_epilogue(&a[0], &a[1], a.get(2), &conv.cfg, epilogue);
        let both = |a: &[Tensor]| match epilogue {
            Epilogue::None => conv.run(a),
            Epilogue::Relu => relu(&conv.run(a)?),
            Epilogue::ReluMaxPool => max_pool2d(&relu(&conv.run(a)?)?, &halve),
        };
        let Ok(expected) = both(&arguments) else {
            prop_assert!(fused(&arguments).is_err());
            return Ok(());
        };
        let found = fused(&arguments).unwrap();
        prop_assert_eq!(found.dims(), expected.dims());
        prop_assert_eq!(numbers(&found), numbers(&expected));
        let of_both = gradients(&arguments, both).unwrap();
        for (found, expected) in gradients(&arguments, fused).unwrap().iter().zip(&of_both) {
            prop_assert_eq!(numbers(found), numbers(expected));
        }
    }

    #[test]
    fn of_halving_max_pooling(h in 2..=19usize, w in 2..=35usize, seed in any::<u64>()) {
        let cfg = Pool2dConfig { kernel: (2, 2), stride: (2, 2), padding: Padding::NONE };
        check_gradients(&[Numbers(seed).distinct(&[2, 2, h, w])], |a| max_pool2d(&a[0], &cfg));
    }

    #[test]
    fn of_global_pooling(h in 1..=9usize, w in 1..=9usize, seed in any::<u64>()) {
        check_gradients(&[Numbers(seed).tensor(&[2, 3, h, w])], |a| global_avg_pool2d(&a[0]));
    }

    #[test]
    fn of_batch_norm(
        (batch, channels, h, w) in (1..=4usize, 1..=3usize, 1..=6usize, 2..=7usize),
        epilogue in prop::sample::select(vec![Epilogue::None, Epilogue::Relu]),
        seed in any::<u64>(),
    ) {
        let mut random = Numbers(seed);
        let x = random.distinct(&[batch, channels, h, w]);
        let (gamma, beta) = (random.tensor(&[channels]), random.tensor(&[channels]));
        let arguments = [x, gamma, beta];
        check_gradients(&arguments, |a| Ok(batch_norm_train(&a[0], &a[1], &a[2], 1e-2, epilogue)?.output));
        let (mean, variance) = (random.tensor(&[channels]), random.tensor(&[channels]).sqr().unwrap());
        check_gradients(&arguments, |a| batch_norm_eval(&a[0], &a[1], &a[2], &mean, &variance, 1e-3, epilogue));
    }

    #[test]
    fn of_batch_norm_with_max_pooling(
        (batch, channels, h, w) in (1..=2usize, 1..=2usize, 2..=19usize, 6..=35usize),
        seed in any::<u64>(),
    ) {
        let mut random = Numbers(seed);
        let x = random.distinct(&[batch, channels, h, w]);
        let arguments = [x, random.tensor(&[channels]), random.tensor(&[channels])];
        let epilogue = Epilogue::ReluMaxPool;
        check_gradients(&arguments, |a| Ok(batch_norm_train(&a[0], &a[1], &a[2], 1e-2, epilogue)?.output));
        let (mean, variance) = (random.tensor(&[channels]), random.tensor(&[channels]).sqr().unwrap());
        check_gradients(&arguments, |a| batch_norm_eval(&a[0], &a[1], &a[2], &mean, &variance, 1e-3, epilogue));
    }

    #[test]
    fn of_relu(shape in prop::collection::vec(1..=5usize, 1..=4), seed in any::<u64>()) {
        check_gradients(&[Numbers(seed).distinct(&shape)], |a| relu(&a[0]));
    }

    #[test]
    fn of_activations(
        function in prop::sample::select(common::ACTIVATIONS.to_vec()),
        shape in prop::collection::vec(1..=5usize, 1..=4),
        seed in any::<u64>(),
    ) {
        // From -8 to 8 and farther than a step from every kink, which are at 0, 3 and 6 of either sign.
        let x = (Numbers(seed).distinct(&shape) * 8.0).unwrap();
        let clear = |x: f64| if (x - x.round()).abs() < 1e-3 { x + 0.01 } else { x };
        let x: Vec<f64> = common::numbers(&x).into_iter().map(clear).collect();
        let x = Tensor::from_vec(x, shape, &candle_core::Device::Cpu).unwrap();
        check_gradients(&[x], |a| activation(&a[0], function));
    }

    #[test]
    fn of_prelu(
        (batch, channels, h, w) in (1..=4usize, 1..=5usize, 1..=6usize, 1..=7usize),
        image in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut random = Numbers(seed);
        let x = random.distinct(&[batch, channels, h, w][..if image { 4 } else { 2 }]);
        check_gradients(&[x, random.tensor(&[channels])], |a| prelu(&a[0], &a[1]));
    }

    #[test]
    fn of_group_norm(
        (batch, groups, members) in (1..=3usize, 1..=3usize, 1..=4usize),
        (h, w) in (1..=6usize, 2..=7usize),
        image in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let (mut random, channels) = (Numbers(seed), groups * members);
        let x = random.tensor(&[batch, channels, h, w][..if image { 4 } else { 2 }]);
        let arguments = [x, random.tensor(&[channels]), random.tensor(&[channels])];
        check_gradients(&arguments, |a| group_norm(&a[0], &a[1], &a[2], groups, 1e-2));
    }

    #[test]
    fn of_channel_shuffles(
        (batch, groups, members) in (1..=3usize, 1..=4usize, 1..=4usize),
        (h, w) in (1..=4usize, 1..=4usize),
        image in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let x = Numbers(seed).tensor(&[batch, groups * members, h, w][..if image { 4 } else { 2 }]);
        check_gradients(&[x], |a| channel_shuffle(&a[0], groups));
    }

    #[test]
    fn of_local_responses(
        (batch, channels, h, w) in (1..=2usize, 1..=9usize, 1..=4usize, 1..=5usize),
        (size, alpha) in (1..=12usize, 0.0..4.0f64),
        beta in prop_oneof![Just(0.75), -1.0..2.0f64],
        bias in 0.2..3.0f64,
        seed in any::<u64>(),
    ) {
        let cfg = LocalResponseNormConfig { size, alpha, beta, bias };
        check_gradients(&[Numbers(seed).tensor(&[batch, channels, h, w])], |a| local_response_norm(&a[0], &cfg));
    }

    #[test]
    fn of_products(shape in prop::collection::vec(1..=5usize, 1..=4), seed in any::<u64>()) {
        let mut random = Numbers(seed);
        check_gradients(&[random.tensor(&shape), random.tensor(&shape)], |a| multiply(&a[0], &a[1]));
    }

    #[test]
    fn of_gated_channels(
        (batch, channels, h, w) in (1..=3usize, 1..=5usize, 1..=6usize, 1..=7usize),
        seed in any::<u64>(),
    ) {
        let mut random = Numbers(seed);
        let arguments = [random.tensor(&[batch, channels, h, w]), random.tensor(&[batch, channels, 1, 1])];
        check_gradients(&arguments, |a| multiply(&a[0], &a[1]));
    }

    #[test]
    fn of_dropout(
        shape in prop::collection::vec(1..=5usize, 1..=4),
        probability in 0.0..0.9f64,
        seed in any::<u64>(),
    ) {
        check_gradients(&[Numbers(seed).tensor(&shape)], |a| dropout(&a[0], probability, seed));
    }

    #[test]
    fn of_linear(
        (batch, inputs, outputs) in (1..=20usize, 1..=30usize, 1..=12usize),
        bias in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut random = Numbers(seed);
        let mut arguments = vec![random.tensor(&[batch, inputs]), random.tensor(&[outputs, inputs])];
        arguments.extend(bias.then(|| random.tensor(&[outputs])));
        check_gradients(&arguments, |a| linear(&a[0], &a[1], a.get(2)));
    }

    #[test]
    fn of_cross_entropy((batch, classes) in (1..=6usize, 1..=10usize), seed in any::<u64>()) {
        let mut random = Numbers(seed);
        let targets = random.tensor(&[batch, classes]).abs().unwrap();
        let targets = targets.broadcast_div(&targets.sum_keepdim(1).unwrap()).unwrap();
        let logits = (random.tensor(&[batch, classes]) * 5.0).unwrap();
        check_gradients(&[logits], |a| cross_entropy(&a[0], &targets));
    }

    #[test]
    fn of_mix(
        shape in prop::collection::vec(1..=5usize, 1..=4),
        scalar in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut random = Numbers(seed);
        let lambda = random.tensor(if scalar { &[] } else { &[1] });
        let arguments = [random.tensor(&shape), random.tensor(&shape), lambda];
        check_gradients(&arguments, |a| mix(&a[0], &a[1], &a[2]));
    }

    /// Arguments and output gradients that are not contiguous.
    #[test]
    fn through_transposed_tensors(conv in conv()) {
        let arguments = conv.arguments();
        let turned: Vec<Tensor> = arguments
            .iter()
            .map(|a| if a.rank() == 4 { a.permute((1, 3, 2, 0)).unwrap().contiguous().unwrap() } else { a.clone() })
            .collect();
        check_gradients(&turned, |a| {
            let back = |t: &Tensor| if t.rank() == 4 { t.permute((3, 0, 2, 1)) } else { Ok(t.clone()) };
            let arguments = a.iter().map(back).collect::<Result<Vec<_>>>()?;
            conv.run(&arguments)?.permute((2, 0, 3, 1))
        });
    }
}

/// A gradient nobody asked for is not there, and its absence harms nobody.
#[test]
fn of_the_image_is_not_computed() {
    let mut random = Numbers(1);
    let (x, weight) = (random.tensor(&[2, 3, 6, 7]), random.tensor(&[4, 3, 3, 3]));
    let weight = candle_core::Var::from_tensor(&weight).unwrap();
    let y = conv2d(&x, &weight, None, &Conv2dConfig::default()).unwrap();
    let gradients = y.sum_all().unwrap().backward().unwrap();
    assert!(gradients.get(&x).is_none());
    assert_eq!(gradients.get(&weight).unwrap().dims(), weight.dims());
}

/// The first of several maxima gets the whole gradient.
#[test]
fn of_ties_goes_to_the_first_maximum() {
    let x = Tensor::new(&[[[[1f64, 2.0, 2.0], [2.0, 0.0, 2.0], [3.0, 3.0, 3.0]]]], &candle_core::Device::Cpu)
        .unwrap();
    let check = |kernel, stride, expected: [f64; 9]| {
        let cfg = Pool2dConfig { kernel: (kernel, kernel), stride: (stride, stride), padding: Padding::NONE };
        let x = candle_core::Var::from_tensor(&x).unwrap();
        let y = max_pool2d(x.as_tensor(), &cfg).unwrap();
        let gradient = y.sum_all().unwrap().backward().unwrap().get(&x).unwrap().clone();
        assert_eq!(common::numbers(&gradient), expected);
    };
    check(2, 2, [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    check(2, 1, [0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0]);
    check(3, 1, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn of_relu_at_zero_is_zero() {
    let x = Tensor::new(&[-1f32, -0.0, 0.0, 2.0], &candle_core::Device::Cpu).unwrap();
    let x = candle_core::Var::from_tensor(&x).unwrap();
    let gradients = relu(x.as_tensor()).unwrap().sum_all().unwrap().backward().unwrap();
    assert_eq!(common::numbers(gradients.get(&x).unwrap()), [0.0, 0.0, 0.0, 1.0]);
    assert_eq!(x.dtype(), DType::F32);
}

/// PyTorch's choices where a derivative does not exist.
#[test]
fn of_activations_at_their_kinks() {
    let points = [-3.0, -0.0, 0.0, 3.0, 6.0];
    let check = |function, expected: [f64; 5]| {
        for dtype in [DType::F32, DType::F64] {
            let x = Tensor::new(&points, &candle_core::Device::Cpu).unwrap().to_dtype(dtype).unwrap();
            let x = candle_core::Var::from_tensor(&x).unwrap();
            let y = activation(x.as_tensor(), function).unwrap();
            let gradients = y.sum_all().unwrap().backward().unwrap();
            let expected = Tensor::new(&expected, &candle_core::Device::Cpu).unwrap();
            let off = common::distance(gradients.get(&x).unwrap(), &expected);
            assert!(off < 1e-7, "{function:?}, {dtype:?}: off by {off:e}");
        }
    };
    check(Activation::Relu, [0.0, 0.0, 0.0, 1.0, 1.0]);
    check(Activation::Relu6, [0.0, 0.0, 0.0, 1.0, 0.0]);
    check(Activation::LeakyRelu { slope: 0.25 }, [0.25, 0.25, 0.25, 1.0, 1.0]);
    check(Activation::HardSigmoid, [0.0, 1.0 / 6.0, 1.0 / 6.0, 0.0, 0.0]);
    check(Activation::HardSwish, [0.0, 0.5, 0.5, 1.0, 1.0]);
    check(Activation::Clip { low: -3.0, high: 3.0 }, [1.0, 1.0, 1.0, 1.0, 0.0]);
    check(Activation::Clip { low: 3.0, high: 3.0 }, [0.0, 0.0, 0.0, 1.0, 0.0]);
}
