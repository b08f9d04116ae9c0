//! Forward and backward pass of single layers, batch 64, f32, on a tape.
//!
//! `cargo bench -p candle-convnet` runs everything in pools of one and of two threads; add a filter to run
//! less, for example `cargo bench -p candle-convnet -- 'conv.*/2 threads'`.

use candle_convnet::*;
use candle_core::{Device, Result, Tensor};
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;

const BATCH: usize = 64;

/// Values that look random to the arithmetic, the same in every run.
fn tensor(shape: &[usize], scale: f64) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| ((i as f64 * 0.754_877).sin() * scale) as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("the shape has as many values")
}

type Layer = Box<dyn Fn(&[Value]) -> Result<Value> + Sync>;

/// A layer as a function of its variables, the input first.
struct Case {
    name: &'static str,
    variables: Vec<Tensor>,
    layer: Layer,
}

fn conv(name: &'static str, x: [usize; 3], out: usize, kernel: usize, groups: usize) -> Case {
    let [channels, h, w] = x;
    let weight = tensor(&[out, channels / groups, kernel, kernel], 0.1);
    let padding = Padding::even(kernel / 2, kernel / 2);
    let cfg = Conv2dConfig { padding, groups, ..Default::default() };
    Case {
        name,
        variables: vec![tensor(&[BATCH, channels, h, w], 1.0), weight],
        layer: Box::new(move |v| conv2d(&v[0], &v[1], None, &cfg)),
    }
}

fn norm(name: &'static str, x: [usize; 3], epilogue: Epilogue) -> Case {
    let [channels, h, w] = x;
    let parameters = [tensor(&[channels], 1.0), tensor(&[channels], 0.1)];
    Case {
        name,
        variables: [tensor(&[BATCH, channels, h, w], 1.0)].into_iter().chain(parameters).collect(),
        layer: Box::new(move |v| Ok(batch_norm_train(&v[0], &v[1], &v[2], 1e-5, epilogue)?.output)),
    }
}

fn halve(x: &Value) -> Result<Value> {
    max_pool2d(x, &Pool2dConfig { kernel: (2, 2), stride: (2, 2), padding: Padding::NONE })
}

fn pool(name: &'static str, x: [usize; 3]) -> Case {
    let [channels, h, w] = x;
    let variables = vec![tensor(&[BATCH, channels, h, w], 1.0)];
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
        norm("batch norm + ReLU, 32, 32x32", [32, 32, 32], Epilogue::Relu),
        norm("batch norm + ReLU + pool, 32, 32x32", [32, 32, 32], Epilogue::ReluMaxPool),
        norm("batch norm + ReLU, 32, 7x7", [32, 7, 7], Epilogue::Relu),
        norm("batch norm + ReLU, 128, 1x1", [128, 1, 1], Epilogue::Relu),
        pool("max pool 2x2, 32, 32x32", [32, 32, 32]),
    ]
}

fn bench(group: &mut BenchmarkGroup<'_, WallTime>, pool: &rayon::ThreadPool, case: &Case) {
    let forward = || {
        let constants: Vec<Value> = case.variables.iter().map(|tensor| tensor.clone().into()).collect();
        black_box((case.layer)(&constants).expect("a valid layer"))
    };
    group.bench_function("forward", |b| pool.install(|| b.iter(forward)));
    let ready = || {
        let tape = Tape::new();
        let variables: Vec<Value> = case.variables.iter().map(|v| tape.variable(v.clone())).collect();
        let y = (case.layer)(&variables).expect("a valid layer");
        let gradient = y.as_tensor().ones_like().expect("a plain tensor");
        (tape, y, gradient)
    };
    group.bench_function("backward", |b| {
        pool.install(|| {
            b.iter_batched(
                ready,
                |(tape, y, gradient)| black_box(tape.backward_from(&y, gradient).expect("gradients")),
                BatchSize::PerIteration,
            )
        })
    });
}

fn group<'a>(criterion: &'a mut Criterion, name: &str, threads: usize) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(format!("{name}/{threads} threads"));
    group.sample_size(10).warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_millis(700));
    group
}

fn ops(criterion: &mut Criterion) {
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
        for case in cases() {
            bench(&mut group(criterion, case.name, threads), &pool, &case);
        }
    }
}

criterion_group!(benches, ops);
criterion_main!(benches);
