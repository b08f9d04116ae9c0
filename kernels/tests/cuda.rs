//! Every operation on a CUDA device against the same operation on the CPU in f64, forward and gradients, in f64
//! and in f32.
//!
//! `cargo test --release --workspace --features cuda --test cuda -- --nocapture --test-threads 1` prints the
//! largest differences. Without a CUDA device every test says so and passes: nothing was checked then.
#![cfg(feature = "cuda")]

mod common;

use candle_convnet::*;
use candle_core::{DType, Device, Result, Tensor};
use common::{ACTIVATIONS, Numbers, distance, gradients};

/// What a sum of a few thousand rounded products may be off, relative to the largest value.
const LIMITS: [(DType, f64); 2] = [(DType::F64, 1e-12), (DType::F32, 2e-5)];

fn cuda() -> Option<Device> {
    if cuda::device_count() == 0 {
        eprintln!("no CUDA device was found: nothing was checked");
        return None;
    }
    Some(cuda::device(0).expect("there is a device"))
}

/// The largest differences of an operation over all its cases.
struct Row {
    name: &'static str,
    cases: usize,
    /// Of the output and of the gradients, for each of [`LIMITS`].
    worst: [[f64; 2]; 2],
}

impl Row {
    fn new(name: &'static str) -> Self {
        Self { name, cases: 0, worst: [[0.0; 2]; 2] }
    }

    /// Both sides see the same numbers, exact in f32.
    fn check(
        &mut self,
        device: &Device,
        arguments: &[Tensor],
        case: &dyn std::fmt::Debug,
        f: impl Fn(&[Tensor]) -> Result<Tensor>,
    ) -> Result<()> {
        self.cases += 1;
        let exact = |t: &Tensor| t.to_dtype(DType::F32)?.to_dtype(DType::F64);
        let arguments: Vec<Tensor> = arguments.iter().map(exact).collect::<Result<_>>()?;
        let (expected, expected_gradients) = (f(&arguments)?, gradients(&arguments, &f)?);
        for ((dtype, limit), worst) in LIMITS.into_iter().zip(&mut self.worst) {
            let there = |t: &Tensor| t.to_device(device)?.to_dtype(dtype);
            let arguments: Vec<Tensor> = arguments.iter().map(there).collect::<Result<_>>()?;
            let output = distance(&f(&arguments)?, &expected);
            let found = gradients(&arguments, &f)?;
            let off: Vec<f64> = found.iter().zip(&expected_gradients).map(|(a, b)| distance(a, b)).collect();
            let gradient = off.iter().fold(0.0f64, |worst, &d| worst.max(d));
            *worst = [worst[0].max(output), worst[1].max(gradient)];
            let name = self.name;
            assert!(
                output <= limit && gradient <= limit,
                "{name}, {dtype:?}, {case:?}: the output is off by {output:e}, the gradients by {off:?}"
            );
        }
        Ok(())
    }

    fn print(&self) {
        let [[y64, g64], [y32, g32]] = self.worst;
        eprintln!("{:24} {:5} {y64:9.1e} {g64:9.1e} {y32:9.1e} {g32:9.1e}", self.name, self.cases);
    }
}

fn print_header() {
    eprintln!("largest difference from the CPU in f64, relative to the largest value");
    eprintln!("{:24} {:>5} {:>9} {:>9} {:>9} {:>9}", "", "cases", "y f64", "grad f64", "y f32", "grad f32");
}

/// A number from `low` to `high`.
fn between(random: &mut Numbers, low: usize, high: usize) -> usize {
    low + random.integer() as usize % (high - low + 1)
}

fn pair(random: &mut Numbers, low: usize, high: usize) -> (usize, usize) {
    (between(random, low, high), between(random, low, high))
}

/// Up to `most`, (height, width), on each side, each side by itself every other time.
fn padding(random: &mut Numbers, most: (usize, usize)) -> Padding {
    let [top, bottom] = [0; 2].map(|_| between(random, 0, most.0));
    let [left, right] = [0; 2].map(|_| between(random, 0, most.1));
    if random.integer().is_multiple_of(2) {
        Padding::even(top, left)
    } else {
        Padding { top, left, bottom, right }
    }
}

/// Sizes, kernels, strides, paddings, dilations and groups at random; depthwise every fourth time.
fn convolution(random: &mut Numbers, case: usize) -> (Vec<Tensor>, Conv2dConfig) {
    let groups = if case.is_multiple_of(4) { between(random, 2, 8) } else { between(random, 1, 3) };
    let (channels, outputs) = if case.is_multiple_of(4) { (1, 1) } else { pair(random, 1, 8) };
    let kernel = pair(random, 1, 5);
    let (stride, dilation) = (pair(random, 1, 3), pair(random, 1, 2));
    let padding = padding(random, kernel);
    let reach = |kernel, dilation| (kernel - 1) * dilation + 1;
    let h = reach(kernel.0, dilation.0) + between(random, 0, 20);
    let w = reach(kernel.1, dilation.1) + between(random, 0, 20);
    let batch = between(random, 1, 5);
    let x = random.tensor(&[batch, groups * channels, h, w]);
    let weight = random.tensor(&[groups * outputs, channels, kernel.0, kernel.1]);
    let bias = random.tensor(&[groups * outputs]);
    (vec![x, weight, bias], Conv2dConfig { stride, padding, dilation, groups, ..Default::default() })
}

#[test]
fn convolution_agrees_with_the_cpu() -> Result<()> {
    let Some(device) = cuda() else { return Ok(()) };
    print_header();
    let mut random = Numbers(1);
    let mut row = Row::new("conv2d");
    for case in 0..60 {
        let (arguments, cfg) = convolution(&mut random, case);
        let shapes = (arguments[0].dims(), arguments[1].dims(), cfg);
        row.check(&device, &arguments[..2], &shapes, |a| conv2d(&a[0], &a[1], None, &cfg))?;
        row.check(&device, &arguments, &shapes, |a| conv2d(&a[0], &a[1], Some(&a[2]), &cfg))?;
    }
    row.print();
    let mut row = Row::new("conv2d, usual sizes");
    for (channels, outputs, size, groups) in
        [(3, 32, 32, 1), (32, 64, 16, 1), (64, 64, 8, 1), (32, 32, 16, 32)]
    {
        for kernel in [1, 3] {
            let x = random.tensor(&[8, channels, size, size]);
            let weight = random.tensor(&[outputs, channels / groups, kernel, kernel]);
            let cfg =
                Conv2dConfig { padding: Padding::even(kernel / 2, kernel / 2), groups, ..Default::default() };
            row.check(&device, &[x, weight], &cfg, |a| conv2d(&a[0], &a[1], None, &cfg))?;
        }
    }
    row.print();
    let mut row = Row::new("linear");
    for _ in 0..20 {
        let (inputs, outputs) = pair(&mut random, 1, 70);
        let batch = between(&mut random, 1, 70);
        let arguments =
            [random.tensor(&[batch, inputs]), random.tensor(&[outputs, inputs]), random.tensor(&[outputs])];
        row.check(&device, &arguments, &(batch, inputs, outputs), |a| linear(&a[0], &a[1], Some(&a[2])))?;
    }
    row.print();
    Ok(())
}

#[test]
fn pooling_agrees_with_the_cpu() -> Result<()> {
    let Some(device) = cuda() else { return Ok(()) };
    print_header();
    let mut random = Numbers(2);
    let (mut max, mut average) = (Row::new("max_pool2d"), Row::new("avg_pool2d"));
    let mut of_pixels = Row::new("avg_pool2d_excluding_padding");
    for _ in 0..60 {
        let (kernel, stride) = (pair(&mut random, 1, 7), pair(&mut random, 1, 4));
        let padding = padding(&mut random, (kernel.0 - 1, kernel.1 - 1));
        let (h, w) = (kernel.0 + between(&mut random, 0, 12), kernel.1 + between(&mut random, 0, 12));
        let (batch, channels) = pair(&mut random, 1, 5);
        let cfg = Pool2dConfig { kernel, stride, padding };
        let case = ([batch, channels, h, w], cfg);
        // Equal maxima are frequent among few values, and the first one must have the gradient.
        let few = (random.tensor(&case.0) * 2.0)?.round()?;
        max.check(&device, &[few], &case, |a| max_pool2d(&a[0], &cfg))?;
        max.check(&device, &[random.distinct(&case.0)], &case, |a| max_pool2d(&a[0], &cfg))?;
        average.check(&device, &[random.tensor(&case.0)], &case, |a| avg_pool2d(&a[0], &cfg))?;
        let x = random.tensor(&case.0);
        of_pixels.check(&device, &[x], &case, |a| avg_pool2d_excluding_padding(&a[0], &cfg))?;
    }
    max.print();
    average.print();
    let mut row = Row::new("global_avg_pool2d");
    for size in [1, 3, 7, 8, 33] {
        let x = random.tensor(&[3, 5, size, size + 1]);
        row.check(&device, &[x], &size, |a| global_avg_pool2d(&a[0]))?;
    }
    row.print();
    Ok(())
}

#[test]
fn batch_norm_agrees_with_the_cpu() -> Result<()> {
    let Some(device) = cuda() else { return Ok(()) };
    print_header();
    let mut random = Numbers(3);
    let (mut train, mut eval) = (Row::new("batch_norm_train"), Row::new("batch_norm_eval"));
    let mut moments = Row::new("mean, variance");
    for case in 0..40 {
        let (batch, channels) = (between(&mut random, 2, 40), between(&mut random, 1, 40));
        let shape = match case % 4 {
            0 if case % 3 != 2 => vec![batch, channels],
            1 => vec![batch, channels, 32, 32],
            2 => vec![1, channels, 90, 101],
            _ => vec![batch, channels, between(&mut random, 2, 12), between(&mut random, 2, 12)],
        };
        let epilogue = [Epilogue::None, Epilogue::Relu, Epilogue::ReluMaxPool][case % 3];
        let (x, gamma, beta) =
            (random.tensor(&shape), random.tensor(&[channels]), random.tensor(&[channels]));
        let x = (x + 0.5)?;
        train.check(&device, &[x.clone(), gamma.clone(), beta.clone()], &(&shape, epilogue), |a| {
            Ok(batch_norm_train(&a[0], &a[1], &a[2], 1e-5, epilogue)?.output)
        })?;
        let (mean, variance) = (random.tensor(&[channels]), (random.tensor(&[channels]) + 1.5)?);
        eval.check(&device, &[x.clone(), gamma.clone(), beta.clone()], &(&shape, epilogue), |a| {
            let there = |t: &Tensor| t.to_device(a[0].device())?.to_dtype(a[0].dtype());
            batch_norm_eval(&a[0], &a[1], &a[2], &there(&mean)?, &there(&variance)?, 1e-5, epilogue)
        })?;
        let expected = batch_norm_train(&x, &gamma, &beta, 1e-5, epilogue)?;
        for ((dtype, limit), worst) in LIMITS.into_iter().zip(&mut moments.worst) {
            let there = |t: &Tensor| t.to_device(&device)?.to_dtype(dtype);
            let found = batch_norm_train(&there(&x)?, &there(&gamma)?, &there(&beta)?, 1e-5, epilogue)?;
            let off =
                distance(&found.mean, &expected.mean).max(distance(&found.variance, &expected.variance));
            assert!(off <= limit, "moments of {shape:?}, {dtype:?}: off by {off:e}");
            worst[0] = worst[0].max(off);
        }
        moments.cases += 1;
    }
    train.print();
    eval.print();
    moments.print();
    Ok(())
}

/// A mean that is a thousand times the deviation, and a channel of equal values.
#[test]
fn batch_norm_survives_a_large_mean() -> Result<()> {
    let Some(device) = cuda() else { return Ok(()) };
    let x = (Numbers(4).tensor(&[16, 3, 9, 9]) + 1000.0)?.to_dtype(DType::F32)?;
    let expected = x.to_dtype(DType::F64)?.transpose(0, 1)?.flatten_from(1)?.var(1)?;
    let count = (16 * 9 * 9) as f64;
    let expected = (expected * ((count - 1.0) / count))?;
    let (gamma, beta) = (Tensor::ones(3, DType::F32, &device)?, Tensor::zeros(3, DType::F32, &device)?);
    let found = batch_norm_train(&x.to_device(&device)?, &gamma, &beta, 0.0, Epilogue::None)?;
    let off = distance(&found.variance, &expected);
    assert!(off < 1e-6, "the variance is off by {off:e}");
    let constant = Tensor::full(0.1f32, (4, 3, 5, 5), &device)?;
    let found = batch_norm_train(&constant, &gamma, &beta, 1e-5, Epilogue::None)?;
    assert_eq!(found.variance.to_vec1::<f32>()?, [0.0; 3]);
    assert!(common::numbers(&found.output).iter().all(|y| y.abs() < 1e-4));
    Ok(())
}

#[test]
fn the_rest_agrees_with_the_cpu() -> Result<()> {
    let Some(device) = cuda() else { return Ok(()) };
    print_header();
    let mut random = Numbers(5);
    let (mut rectified, mut mixed, mut loss) = (Row::new("relu"), Row::new("mix"), Row::new("cross_entropy"));
    for _ in 0..20 {
        let shape = [between(&mut random, 1, 9), between(&mut random, 1, 50), between(&mut random, 1, 60)];
        let (a, b, lambda) = (random.tensor(&shape), random.tensor(&shape), random.tensor(&[1]));
        rectified.check(&device, std::slice::from_ref(&a), &shape, |a| relu(&a[0]))?;
        mixed.check(&device, &[a, b, lambda], &shape, |a| mix(&a[0], &a[1], &a[2]))?;
        let (batch, classes) = (between(&mut random, 1, 90), between(&mut random, 1, 120));
        let logits = (random.tensor(&[batch, classes]) * 30.0)?;
        let targets = random.tensor(&[batch, classes]).abs()?;
        loss.check(&device, &[logits], &[batch, classes], |a| {
            cross_entropy(&a[0], &targets.to_device(a[0].device())?.to_dtype(a[0].dtype())?)
        })?;
    }
    [rectified, mixed, loss].iter().for_each(Row::print);
    Ok(())
}

/// Groups of fewer and of more values than a block has threads.
#[test]
fn group_norm_agrees_with_the_cpu() -> Result<()> {
    let Some(device) = cuda() else { return Ok(()) };
    print_header();
    let mut random = Numbers(10);
    let mut row = Row::new("group_norm");
    for case in 0..40 {
        // Of a group of one value all gradients of x are rounding.
        let (groups, members) = (between(&mut random, 1, 8), between(&mut random, 2, 8));
        let (batch, channels) = (between(&mut random, 1, 6), groups * members);
        let shape = match case % 3 {
            0 => vec![batch, channels],
            1 => vec![batch, channels, 32, 31],
            _ => vec![batch, channels, between(&mut random, 1, 12), between(&mut random, 1, 12)],
        };
        let x = (random.tensor(&shape) + 0.5)?;
        let arguments = [x, random.tensor(&[channels]), random.tensor(&[channels])];
        row.check(&device, &arguments, &(&shape, groups), |a| group_norm(&a[0], &a[1], &a[2], groups, 1e-2))?;
    }
    row.print();
    Ok(())
}

#[test]
fn activations_and_gates_agree_with_the_cpu() -> Result<()> {
    let Some(device) = cuda() else { return Ok(()) };
    print_header();
    let mut random = Numbers(11);
    let (mut functions, mut slopes) = (Row::new("activation"), Row::new("prelu"));
    let (mut products, mut gates) = (Row::new("multiply"), Row::new("multiply, by channel"));
    let mut dropped = Row::new("dropout");
    for _ in 0..20 {
        let (batch, channels) = pair(&mut random, 1, 12);
        let (h, w) = pair(&mut random, 1, 30);
        let shape = [batch, channels, h, w];
        let x = random.distinct(&shape);
        for function in ACTIVATIONS {
            let x = (&x * 8.0)?;
            functions.check(&device, &[x], &(shape, function), |a| activation(&a[0], function))?;
        }
        let arguments = [x.clone(), random.tensor(&[channels])];
        slopes.check(&device, &arguments, &shape, |a| prelu(&a[0], &a[1]))?;
        let arguments = [x.clone(), random.tensor(&shape)];
        products.check(&device, &arguments, &shape, |a| multiply(&a[0], &a[1]))?;
        let arguments = [x.clone(), random.tensor(&[batch, channels, 1, 1])];
        gates.check(&device, &arguments, &shape, |a| multiply(&a[0], &a[1]))?;
        let seed = random.integer();
        dropped.check(&device, &[x], &(shape, seed), |a| dropout(&a[0], 0.3, seed))?;
    }
    [functions, slopes, products, gates, dropped].iter().for_each(Row::print);
    Ok(())
}

#[test]
fn operations_across_channels_agree_with_the_cpu() -> Result<()> {
    let Some(device) = cuda() else { return Ok(()) };
    print_header();
    let mut random = Numbers(12);
    let (mut shuffles, mut responses) = (Row::new("channel_shuffle"), Row::new("local_response_norm"));
    for case in 0..30usize {
        let (batch, groups) = pair(&mut random, 1, 5);
        let (members, (h, w)) = (between(&mut random, 1, 5), pair(&mut random, 1, 12));
        let shape = [batch, groups * members, h, w];
        let x = random.tensor(&shape);
        shuffles
            .check(&device, std::slice::from_ref(&x), &(shape, groups), |a| channel_shuffle(&a[0], groups))?;
        let (size, beta) = (between(&mut random, 1, 9), if case.is_multiple_of(2) { 0.75 } else { 1.3 });
        let cfg = LocalResponseNormConfig { size, alpha: 1.5, beta, bias: 0.5 };
        responses.check(&device, &[x], &(shape, cfg), |a| local_response_norm(&a[0], &cfg))?;
    }
    [shuffles, responses].iter().for_each(Row::print);
    Ok(())
}

#[test]
fn sgd_agrees_with_the_cpu() -> Result<()> {
    let Some(device) = cuda() else { return Ok(()) };
    let mut random = Numbers(6);
    for nesterov in [true, false] {
        let cfg = SgdConfig { lr: 0.1, momentum: 0.9, weight_decay: 0.01, nesterov };
        for (dtype, limit) in LIMITS {
            let start = random.tensor(&[7, 3, 11]).to_dtype(dtype)?;
            let (here, there) = (Parameter::new(&start)?, Parameter::new(&start.to_device(&device)?)?);
            for _ in 0..10 {
                let gradient = random.tensor(&[7, 3, 11]).to_dtype(dtype)?;
                here.step(&gradient, &cfg)?;
                there.step(&gradient.to_device(&device)?, &cfg)?;
            }
            let off = distance(&there.value()?, &here.value()?);
            let off = off.max(distance(&there.velocity()?, &here.velocity()?));
            eprintln!("sgd, 10 steps, {dtype:?}, nesterov {nesterov}: off by {off:.1e}");
            assert!(off <= limit);
        }
    }
    Ok(())
}

#[test]
fn nan_goes_in_and_comes_out() -> Result<()> {
    let Some(device) = cuda() else { return Ok(()) };
    let mut values = vec![1f32; 2 * 2 * 4 * 4];
    values[5] = f32::NAN;
    let x = Tensor::from_vec(values, (2, 2, 4, 4), &device)?;
    let nans = |t: Tensor| common::numbers(&t).iter().filter(|v| v.is_nan()).count();
    assert_eq!(nans(relu(&x)?), 1);
    for function in ACTIVATIONS {
        assert_eq!(nans(activation(&x, function)?), 1, "{function:?}");
    }
    assert_eq!(nans(multiply(&x, &x)?), 1);
    assert_eq!(nans(dropout(&x, 0.5, 1)?), 1);
    let window = Pool2dConfig { kernel: (2, 2), stride: (2, 2), padding: Padding::NONE };
    assert_eq!(nans(max_pool2d(&x, &window)?), 1);
    assert_eq!(nans(max_pool2d(&x, &Pool2dConfig { stride: (1, 1), ..window })?), 4);
    let (gamma, beta) = (Tensor::ones(2, DType::F32, &device)?, Tensor::zeros(2, DType::F32, &device)?);
    assert_eq!(nans(batch_norm_train(&x, &gamma, &beta, 1e-5, Epilogue::Relu)?.output), 2 * 16);
    assert_eq!(nans(group_norm(&x, &gamma, &beta, 2, 1e-5)?), 16);
    assert_eq!(nans(prelu(&x, &gamma)?), 1);
    let weight = Tensor::ones((1, 2, 3, 3), DType::F32, &device)?;
    let same = Conv2dConfig { padding: Padding::even(1, 1), ..Default::default() };
    assert_eq!(nans(conv2d(&x, &weight, None, &same)?), 9);
    Ok(())
}

/// Conv-BN-ReLU twice, pooling, a linear layer; the losses of some steps and the parameters after them.
fn train(device: &Device, dtype: DType, steps: usize) -> Result<Vec<Tensor>> {
    let mut random = Numbers(8);
    let shapes: [&[usize]; 8] =
        [&[16, 3, 3, 3], &[16], &[16], &[24, 16, 3, 3], &[24], &[24], &[10, 24 * 36], &[10]];
    let start = |(i, shape): (usize, &&[usize])| {
        let scale = [0.3, 1.0, 0.2, 0.1, 1.0, 0.2, 0.05, 0.1][i];
        let shift = if i % 3 == 1 && i < 6 { 1.0 } else { 0.0 };
        Parameter::new(&random.tensor(shape).affine(scale, shift)?.to_dtype(dtype)?.to_device(device)?)
    };
    let parameters: Vec<Parameter> = shapes.iter().enumerate().map(start).collect::<Result<_>>()?;
    let mut random = Numbers(9);
    let cfg = SgdConfig { lr: 0.02, momentum: 0.9, weight_decay: 1e-3, nesterov: true };
    let same = Conv2dConfig { padding: Padding::even(1, 1), ..Default::default() };
    let halve = Pool2dConfig { kernel: (2, 2), stride: (2, 2), padding: Padding::NONE };
    let mut results = Vec::new();
    for _ in 0..steps {
        let x = random.tensor(&[20, 3, 12, 12]).to_dtype(dtype)?.to_device(device)?;
        let targets = random.tensor(&[20, 10]).abs()?.to_dtype(dtype)?.to_device(device)?;
        let tape = Tape::new();
        let p: Vec<Value> =
            parameters.iter().map(|p| Ok(tape.variable(p.value()?))).collect::<Result<_>>()?;
        let x = conv2d(&x.into(), &p[0], None, &same)?;
        let x = batch_norm_train(&x, &p[1], &p[2], 1e-5, Epilogue::Relu)?.output;
        let x = conv2d(&x, &p[3], None, &same)?;
        let x = max_pool2d(&batch_norm_train(&x, &p[4], &p[5], 1e-5, Epilogue::Relu)?.output, &halve)?;
        let loss = cross_entropy(&linear(&flatten(&x)?, &p[6], Some(&p[7]))?, &targets)?;
        results.push(loss.as_tensor().reshape(1)?);
        let mut gradients = tape.backward(&loss)?;
        for (parameter, value) in parameters.iter().zip(&p) {
            parameter.step(&gradients.take(value).expect("every parameter counts"), &cfg)?;
        }
    }
    for parameter in &parameters {
        results.push(parameter.value()?.flatten_all()?);
    }
    Ok(results)
}

#[test]
fn training_goes_the_same_way() -> Result<()> {
    let Some(device) = cuda() else { return Ok(()) };
    let expected = train(&Device::Cpu, DType::F64, 10)?;
    for (dtype, limit) in [(DType::F64, 1e-10), (DType::F32, 2e-4)] {
        let found = train(&device, dtype, 10)?;
        let worst = found.iter().zip(&expected).map(|(a, b)| distance(a, b)).fold(0.0f64, f64::max);
        eprintln!("ten training steps, {dtype:?}: losses and parameters off by {worst:.1e}");
        assert!(worst <= limit);
    }
    Ok(())
}

/// Alone, again, and in four threads at a time on one device.
#[test]
fn training_repeats_to_the_last_bit() -> Result<()> {
    let Some(device) = cuda() else { return Ok(()) };
    let run = || -> Result<Vec<u32>> {
        let results = train(&device, DType::F32, 10)?;
        Ok(Tensor::cat(&results, 0)?.to_vec1::<f32>()?.iter().map(|v| v.to_bits()).collect())
    };
    let alone = run()?;
    assert!(alone == run()?, "the second run differs");
    let together: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    for other in together {
        assert!(alone == other?, "a run beside others differs");
    }
    Ok(())
}

#[test]
fn too_large_a_tensor_is_an_error_that_does_no_harm() -> Result<()> {
    let Some(device) = cuda() else { return Ok(()) };
    let error = Tensor::zeros(1usize << 44, DType::F32, &device).expect_err("64 TiB");
    assert!(cuda::is_out_of_memory(&error), "{error:?}");
    assert_eq!(relu(&Tensor::new(&[-1f32, 2.0], &device)?)?.to_vec1::<f32>()?, [0.0, 2.0]);
    let before = cuda::memory_use(&device)?;
    let tensor = Tensor::zeros(1usize << 20, DType::F32, &device)?;
    let during = cuda::memory_use(&device)?;
    assert!(during.used >= before.used + (4 << 20) && during.peak >= during.used, "{before:?}, {during:?}");
    drop(tensor);
    device.synchronize()?;
    assert!(cuda::memory_use(&device)?.used < during.used);
    Ok(())
}
