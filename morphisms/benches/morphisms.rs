//! What rewriting costs, on paper and with weights. `cargo bench -p morphisms --bench morphisms`; figures in the README.

use candle_core::{DType, Device};
use criterion::{Criterion, criterion_group, criterion_main};
use morphisms::{Architecture, Channels, Conv, Draft, LayerId, Morphism, Network, Shape, Site, catalog};

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

criterion_group!(benches, on_paper);
criterion_main!(benches);
