//! What a search costs beside training: proposing children on paper, naming them, weighing them, making them.
//!
//!     cargo bench --bench engine

use candle_core::{DType, Device};
use criterion::{Criterion, criterion_group, criterion_main};
use morphisms::{Architecture, Network, Shape, catalog};
use paretomorph::strategy::kde::Kde;
use paretomorph::{rng, space};
use rand::RngExt;

/// A network that a search would have after a dozen edits.
fn evolved() -> Architecture {
    let mut rng = rng::stream(1, "bench", &[]);
    let mut architecture = space::initial(Shape::map(1, 28, 28), 10).expect("initial networks").remove(0);
    for _ in 0..12 {
        if let Some((_, next)) =
            space::random_edit(&architecture, catalog::all(), "", &mut rng).expect("an edit")
        {
            architecture = next;
        }
    }
    architecture
}

fn on_paper(c: &mut Criterion) {
    let architecture = evolved();
    c.bench_function("random edit", |b| {
        let mut rng = rng::stream(2, "bench", &[]);
        b.iter(|| space::random_edit(&architecture, catalog::all(), "", &mut rng).expect("an edit"));
    });
    c.bench_function("fingerprint", |b| b.iter(|| architecture.fingerprint()));
    c.bench_function("parameters, multiply-adds, memory", |b| {
        b.iter(|| (architecture.parameter_count(), architecture.macs(), architecture.activation_memory()));
    });
}

fn children(c: &mut Criterion) {
    let parent = Network::init(evolved(), 0, DType::F32, &Device::Cpu).expect("weights");
    for morphism in catalog::all() {
        let Some(site) = morphism.sites(parent.architecture()).into_iter().next() else { continue };
        let rewrite = morphism.rewrite(parent.architecture(), &site, 0).expect("a rewrite");
        c.bench_function(&format!("child by {}", morphism.name()), |b| {
            b.iter(|| parent.child(&rewrite, None))
        });
    }
}

fn densities(c: &mut Criterion) {
    let mut rng = rng::stream(3, "bench", &[]);
    let points: Vec<Vec<f64>> = (0..1000).map(|_| (0..3).map(|_| rng.random()).collect()).collect();
    let kde = Kde::fit(&points[..30]).expect("points");
    c.bench_function("densities of 60 proposals", |b| {
        b.iter(|| kde.inverse_density_probabilities(&points[..60]))
    });
}

criterion_group!(benches, on_paper, children, densities);
criterion_main!(benches);
