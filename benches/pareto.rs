//! The cases that `benches/pareto/run.py` races against moocore, ours alone, to notice regressions.
//!
//!     cargo bench --bench pareto
//!     cargo bench --bench pareto -- 'hypervolume 100x5'

#[path = "pareto/cases.rs"]
mod cases;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

/// As in the program that is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn bench(criterion: &mut Criterion) {
    paretomorph::machine::keep_freed_memory();
    for case in cases::all() {
        let prepared = case.prepare().expect("finite points");
        criterion.bench_function(&case.name, |b| b.iter(|| prepared.run().expect("points that fit")));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = bench
}
criterion_main!(benches);
