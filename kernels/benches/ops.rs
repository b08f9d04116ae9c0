//! Forward and backward pass of single layers and of a small network, batch 64, f32, through candle.
//!
//! `cargo bench -p candle-convnet` runs everything in pools of one and of two threads; add a filter to run
//! less, for example `cargo bench -p candle-convnet -- 'conv.*/2 threads'`.

use candle_convnet::*;
use candle_core::{DType, Device, Result, Tensor, Var};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;

const BATCH: usize = 64;

/// Values that look random to the arithmetic, the same in every run.
fn tensor(shape: &[usize], scale: f64) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| ((i as f64 * 0.754_877).sin() * scale) as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("the shape has as many values")
}

fn var(shape: &[usize], scale: f64) -> Var {
    Var::from_tensor(&tensor(shape, scale)).expect("a plain tensor")
}

type Layer = Box<dyn Fn(&[Var]) -> Result<Tensor> + Sync>;

/// A layer as a function of its variables, the input first.
struct Case {
    name: &'static str,
    variables: Vec<Var>,
    layer: Layer,
}

fn conv(name: &'static str, x: [usize; 3], out: usize, kernel: usize, groups: usize) -> Case {
    let [channels, h, w] = x;
    let weight = var(&[out, channels / groups, kernel, kernel], 0.1);
    let padding = (kernel / 2, kernel / 2);
    let cfg = Conv2dConfig { padding, groups, ..Default::default() };
    Case {
        name,
        variables: vec![var(&[BATCH, channels, h, w], 1.0), weight],
        layer: Box::new(move |v| conv2d(&v[0], &v[1], None, &cfg)),
    }
}

fn norm(name: &'static str, x: [usize; 3]) -> Case {
    let [channels, h, w] = x;
    Case {
        name,
        variables: vec![var(&[BATCH, channels, h, w], 1.0), var(&[channels], 1.0), var(&[channels], 0.1)],
        layer: Box::new(
            |v| Ok(batch_norm_train::<Tensor>(&v[0], &v[1], &v[2], 1e-5, Epilogue::Relu)?.output),
        ),
    }
}

fn halve(x: &Tensor) -> Result<Tensor> {
    max_pool2d(x, &Pool2dConfig { kernel: (2, 2), stride: (2, 2), padding: (0, 0) })
}

fn pool(name: &'static str, x: [usize; 3]) -> Case {
    let [channels, h, w] = x;
    let variables = vec![var(&[BATCH, channels, h, w], 1.0)];
    Case { name, variables, layer: Box::new(|v| halve(&v[0])) }
}

fn cases() -> Vec<Case> {
    vec![
        conv("conv 3x3, 3->32, 32x32", [3, 32, 32], 32, 3, 1),
        conv("conv 3x3, 32->32, 32x32", [32, 32, 32], 32, 3, 1),
        conv("conv 3x3, 32->64, 16x16", [32, 16, 16], 64, 3, 1),
        conv("conv 3x3, 64->64, 16x16", [64, 16, 16], 64, 3, 1),
        conv("conv 3x3, 64->128, 8x8", [64, 8, 8], 128, 3, 1),
        conv("conv 3x3, 16->16, 28x28", [16, 28, 28], 16, 3, 1),
        conv("conv 3x3, 16->16, 14x14", [16, 14, 14], 16, 3, 1),
        conv("conv 3x3, 32->32, 7x7", [32, 7, 7], 32, 3, 1),
        conv("conv 3x3, 16->16, 8x8", [16, 8, 8], 16, 3, 1),
        conv("conv 3x3, 32->32, 4x4", [32, 4, 4], 32, 3, 1),
        conv("conv 1x1, 64->64, 16x16", [64, 16, 16], 64, 1, 1),
        conv("depthwise 3x3, 64, 16x16", [64, 16, 16], 64, 3, 64),
        conv("depthwise 3x3, 32, 28x28", [32, 28, 28], 32, 3, 32),
        conv("depthwise 5x5, 64, 16x16", [64, 16, 16], 64, 5, 64),
        conv("depthwise 3x3, 64, 7x7", [64, 7, 7], 64, 3, 64),
        norm("batch norm + ReLU, 32, 32x32", [32, 32, 32]),
        norm("batch norm + ReLU, 32, 7x7", [32, 7, 7]),
        norm("batch norm + ReLU, 128, 1x1", [128, 1, 1]),
        pool("max pool 2x2, 32, 32x32", [32, 32, 32]),
    ]
}

fn bench(group: &mut BenchmarkGroup<'_, WallTime>, pool: &rayon::ThreadPool, case: &Case) {
    let forward = || (case.layer)(&case.variables);
    group.bench_function("forward", |b| b.iter(|| pool.install(|| black_box(forward()))));
    group.bench_function("backward", |b| {
        let y = pool.install(forward).expect("a valid layer");
        b.iter(|| pool.install(|| black_box(y.backward())));
    });
}

/// Five times convolution, batch norm and ReLU (32, 32, pool, 64, 64, pool, 128), global pooling, linear.
struct Network {
    layers: Vec<[Var; 3]>,
    classifier: [Var; 2],
}

impl Network {
    fn new() -> Self {
        let widths = [3, 32, 32, 64, 64, 128];
        let layer = |w: &[usize]| [var(&[w[1], w[0], 3, 3], 0.1), var(&[w[1]], 1.0), var(&[w[1]], 0.1)];
        Self {
            layers: widths.windows(2).map(layer).collect(),
            classifier: [var(&[10, 128], 0.1), var(&[10], 0.1)],
        }
    }

    /// Forward, backward and a step of gradient descent.
    fn step(&self, images: &Tensor, targets: &Tensor) -> Result<()> {
        let same = Conv2dConfig { padding: (1, 1), ..Default::default() };
        let mut x = images.clone();
        for (i, [weight, gamma, beta]) in self.layers.iter().enumerate() {
            let y = conv2d(&x, weight, None, &same)?;
            x = batch_norm_train(&y, gamma, beta, 1e-5, Epilogue::Relu)?.output;
            if i == 1 || i == 3 {
                x = halve(&x)?;
            }
        }
        let x = global_avg_pool2d(&x)?.flatten_from(1)?;
        let logits = linear(&x, &self.classifier[0], Some(&self.classifier[1]))?;
        let gradients = cross_entropy(&logits, targets)?.backward()?;
        for variable in self.layers.iter().flatten().chain(&self.classifier) {
            if let Some(gradient) = gradients.get(variable) {
                variable.set(&(variable.as_tensor() - (gradient * 1e-3)?)?)?;
            }
        }
        Ok(())
    }
}

fn group<'a>(criterion: &'a mut Criterion, name: &str, threads: usize) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(format!("{name}/{threads} threads"));
    group.sample_size(10).warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_millis(700));
    group
}

fn ops(criterion: &mut Criterion) {
    let network = Network::new();
    let images = tensor(&[BATCH, 3, 32, 32], 1.0);
    let targets = Tensor::full(0.1f32, (BATCH, 10), &Device::Cpu).expect("a plain tensor");
    assert_eq!(images.dtype(), DType::F32);
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
        for case in cases() {
            bench(&mut group(criterion, case.name, threads), &pool, &case);
        }
        group(criterion, "network", threads).bench_function("step", |b| {
            b.iter(|| pool.install(|| network.step(&images, &targets).expect("a valid network")));
        });
    }
}

criterion_group!(benches, ops);
criterion_main!(benches);
