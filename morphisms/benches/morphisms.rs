//! What rewriting costs, on paper and with weights. `cargo bench --workspace --bench morphisms`; figures in the README.

use candle_core::{DType, Device};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mimalloc::MiMalloc;
use morphisms::{Architecture, Channels, Conv, Draft, LayerId, Morphism, Network, Shape, Site, catalog};

/// That of the program. The system's gives memory back after a child or keeps it, as chance has it, and fetching it anew takes
/// longer than all else.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Convolution, batch norm and ReLU so many times over, 16 channels of 8x8, poolings in between, and a classifier.
fn chain(blocks: usize) -> Architecture {
    let mut draft = Draft::new(Shape::map(3, 16, 16));
    let mut x = draft.conv_bn_relu(draft.input(), Conv::same(16, 3));
    x = draft.max_pool(x, 2);
    for _ in 1..blocks {
        x = draft.conv_bn_relu(x, Conv::same(16, 3));
    }
    draft.head(x, 10);
    draft.build().expect("a valid chain")
}

/// 100 layers: the input, 32 blocks of three, a pooling and the head of three make 101.
fn hundred() -> Architecture {
    chain(32)
}

/// The convolution that is widened.
const WIDENED: LayerId = LayerId(1);

/// 128 channels between the first two convolutions, which a child doubles, and blocks of 16 channels behind.
fn wide_chain(blocks: usize) -> Architecture {
    let mut draft = Draft::new(Shape::map(16, 16, 16));
    let mut x = draft.conv_bn_relu(draft.input(), Conv::same(128, 3));
    x = draft.conv_bn_relu(x, Conv::same(16, 3));
    for _ in 2..blocks {
        x = draft.conv_bn_relu(x, Conv::same(16, 3));
    }
    draft.head(x, 10);
    draft.build().expect("a valid chain")
}

/// A site in the middle of the list.
fn site(morphism: &dyn Morphism, architecture: &Architecture) -> Option<Site> {
    let sites = morphism.sites(architecture);
    sites.get(sites.len() / 2).cloned()
}

fn on_paper(c: &mut Criterion) {
    let architecture = hundred();
    let mut counts = c.benchmark_group("100-layers");
    counts.bench_function("parameters", |b| b.iter(|| architecture.parameter_count()));
    counts.bench_function("multiply-adds", |b| b.iter(|| architecture.macs()));
    counts.bench_function("activation-memory", |b| b.iter(|| architecture.activation_memory()));
    counts.bench_function("fingerprint", |b| b.iter(|| architecture.fingerprint()));
    counts.bench_function("channel-groups", |b| b.iter(|| Channels::of(&architecture)));
    counts.finish();
    let mut sites = c.benchmark_group("sites");
    for morphism in catalog::all() {
        sites.bench_function(morphism.name(), |b| b.iter(|| morphism.sites(&architecture)));
    }
    sites.finish();
    let mut rewrites = c.benchmark_group("rewrite");
    for morphism in catalog::all() {
        if let Some(site) = site(*morphism, &architecture) {
            rewrites
                .bench_function(morphism.name(), |b| b.iter(|| morphism.rewrite(&architecture, &site, 0)));
        }
    }
    rewrites.finish();
}

/// As many bytes in as many allocations as the tensors that a child does not share with its parent.
fn changed_bytes(parent: &Network, child: &Network) -> Vec<Vec<u8>> {
    let shared = |key, tensor| {
        parent.weights().get(key).is_ok_and(|before| morphisms::check::shares_storage(before, tensor))
    };
    let changed = child.weights().iter().filter(|(key, tensor)| !shared(*key, *tensor));
    changed.map(|(_, tensor)| vec![1u8; 4 * tensor.elem_count()]).collect()
}

/// Against copying the bytes that change, and with ever more layers that do not. Both allocate what they write and free it
/// again.
fn children(c: &mut Criterion) {
    let mut group = c.benchmark_group("child");
    for blocks in [3, 33, 333] {
        let parent = Network::init(wide_chain(blocks), 0, DType::F32, &Device::Cpu).expect("weights");
        let layers = parent.architecture().nodes().len();
        let rewrite = |variant| {
            let site = Site::new(&[WIDENED], 128).variant(variant);
            catalog::Widen.rewrite(parent.architecture(), &site, 0).expect("a site")
        };
        let copies = rewrite("replicate");
        group.bench_function(BenchmarkId::new("widen", layers), |b| b.iter(|| parent.child(&copies, None)));
        let child = parent.child(&copies, None).expect("a child");
        let bytes = changed_bytes(&parent, &child);
        group.bench_function(BenchmarkId::new("memcpy", layers), |b| b.iter(|| bytes.clone()));
        // A quarter of its new numbers are draws from a normal distribution.
        let fresh = rewrite("fresh");
        group.bench_function(BenchmarkId::new("fresh", layers), |b| b.iter(|| parent.child(&fresh, None)));
    }
    group.finish();
}

criterion_group!(benches, on_paper, children);
criterion_main!(benches);
