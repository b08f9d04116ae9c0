//! Training steps and inference of the networks that `benches/pytorch/run.py` races, ours alone, to notice regressions.
//!
//!     cargo bench --bench steps
//!     cargo bench --bench steps -- 'five blocks/.*/1 thread'

#[path = "race/networks.rs"]
mod networks;

use std::time::Duration;

use candle_core::{DType, Device, Tensor};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use morphisms::Network;
use networks::{CLASSES, Named};
use paretomorph::config::Recipe;
use paretomorph::train::{State, Step};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// As in the program that is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 64;
const STEP: Step = Step { lr: 1e-3, dropout: 0 };

/// Images that look random to the arithmetic, the same in every run.
fn images(network: &Network, batch: usize) -> Tensor {
    let mut shape = vec![batch];
    shape.extend(Vec::from(network.architecture().input()));
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| (i as f32 * 0.754_877).sin()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("as many values as the shape has")
}

fn step(group: &mut BenchmarkGroup<'_, WallTime>, pool: &ThreadPool, network: &Network) {
    let images = images(network, BATCH);
    let targets = Tensor::full(1.0 / CLASSES as f32, (BATCH, CLASSES), &Device::Cpu).expect("targets");
    let mut training = State::new(network.weights(), &Device::Cpu).expect("a training");
    let recipe = Recipe::default();
    let mut step =
        || training.step(network.architecture(), &recipe, None, (&images, &targets), STEP).expect("a step");
    group.bench_function(format!("step/{}", threads(pool)), |b| pool.install(|| b.iter(&mut step)));
}

fn inference(group: &mut BenchmarkGroup<'_, WallTime>, pool: &ThreadPool, network: &Network, batch: usize) {
    let images = images(network, batch);
    group.bench_function(format!("batch {batch}/{}", threads(pool)), |b| {
        pool.install(|| b.iter(|| network.logits(&images).expect("logits")));
    });
}

fn threads(pool: &ThreadPool) -> String {
    match pool.current_num_threads() {
        1 => "1 thread".into(),
        threads => format!("{threads} threads"),
    }
}

fn bench(criterion: &mut Criterion) {
    paretomorph::machine::keep_freed_memory();
    for Named { name, architecture } in networks::all().expect("valid networks") {
        let network = Network::init(architecture, 0, DType::F32, &Device::Cpu).expect("weights");
        let folded = network.fold_batch_norms().expect("a network to fold");
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).warm_up_time(Duration::from_millis(300));
        group.measurement_time(Duration::from_secs(1));
        for threads in [1, 2] {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            step(&mut group, &pool, &network);
            [1, BATCH].into_iter().for_each(|batch| inference(&mut group, &pool, &folded, batch));
        }
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
