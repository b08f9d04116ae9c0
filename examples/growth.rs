//! Which way of growing a trained network learns best? `cargo run --release --example growth`
//!
//! Each seed trains one small parent. Every method makes its child from that same parent, and the children, and the parent
//! for comparison, train on for as long, by the same schedule, on the same images in the same order. What is measured:
//! the child's function at insertion, in evaluation and in training mode, and its validation error before and after
//! further training. Without options it takes seconds on the built-in digits; `experiments/results/growth/` has the
//! results on Fashion-MNIST and their command.

#[path = "growth/measure.rs"]
mod measure;
#[path = "growth/tables.rs"]
mod tables;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use clap::Parser;
use morphisms::{LayerId, Site};
use paretomorph::config::DataConfig;
use paretomorph::data::Dataset;
use paretomorph::individual::Edit;
use rayon::ThreadPoolBuilder;

use measure::{Row, WIDTHS};

/// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Compares ways of growing a trained network.
#[derive(Parser)]
struct Options {
    /// Parents, each of a seed of its own.
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// The first of these seeds.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// Training images, the same for all seeds; half as many more validate. 0: all there are.
    #[arg(long, default_value_t = 0)]
    images: usize,
    /// Height and width that the images are resized to; 0: as they are.
    #[arg(long, default_value_t = 0)]
    size: usize,
    /// The data set, by name.
    #[arg(long, default_value = "digits")]
    data: String,
    /// Seeds worked on side by side, on one thread each; no result depends on it.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// A folder for growth.csv and growth.md.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// A way from the parent to its child.
#[derive(Debug)]
struct Method {
    name: &'static str,
    edit: Edit,
    /// Whether a batch of training images calibrates inserted batch norms.
    calibrated: bool,
}

/// The second convolution, whose channels are doubled.
const WIDENED: LayerId = LayerId(5);
/// The last ReLU, which gets a convolution behind it, or a residual branch around one.
const DEEPENED: LayerId = LayerId(11);

fn methods(seed: u64) -> Vec<Method> {
    let edit = |morphism: &str, site| Edit { morphism: morphism.into(), site, seed };
    let widen = |variant| edit("widen", Site::new(&[WIDENED], WIDTHS[1]).variant(variant));
    let deepen = |morphism| edit(morphism, Site::new(&[DEEPENED], 3));
    let method = |name, edit, calibrated| Method { name, edit, calibrated };
    vec![
        method(tables::REPLICATE, widen("replicate"), true),
        method(tables::NOISE, widen("noise"), true),
        method(tables::FRESH, widen("fresh"), true),
        method(tables::CALIBRATED, deepen("deepen"), true),
        method(tables::UNCALIBRATED, deepen("deepen"), false),
        method(tables::RESIDUAL, deepen("deepen_residual"), true),
        method(tables::PARENT, Edit::keep_training(), true),
    ]
}

fn main() -> Result<()> {
    paretomorph::machine::keep_freed_memory();
    let options = Options::parse();
    let (limit, validation) = (options.images * 3 / 2, 1.0 / 3.0);
    let name = options.data.clone();
    let config = DataConfig { name, validation, limit, size: options.size, ..DataConfig::default() };
    let data = Dataset::load(&config, 0)?;
    println!("{}: {} images train, {} validate.", data.name, data.train.len(), data.validation.len());
    let rows = Mutex::new(Vec::new());
    let finished = |seed, new| {
        let mut rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.extend(new);
        rows.sort_by_key(|row: &Row| row.seed);
        println!("Seed {seed} is done.");
        options.out.as_deref().map_or(Ok(()), |out| keep(out, &rows, &data))
    };
    work(&options, &data, &finished)?;
    let rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("\n{}", tables::markdown(&rows, data.validation.len()));
    rows.iter().try_for_each(check)
}

/// Takes seeds one after the other on each worker, and hands over what came of each.
fn work(
    options: &Options,
    data: &Dataset,
    finished: &(dyn Fn(u64, Vec<Row>) -> Result<()> + Sync),
) -> Result<()> {
    let queue = Mutex::new(options.first_seed..options.first_seed + options.seeds);
    let worker = || -> Result<()> {
        let pool = ThreadPoolBuilder::new().num_threads(1).build()?;
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        while let Some(seed) = next() {
            finished(seed, pool.install(|| measure::seed(data, seed, &methods(seed)))?)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..options.workers.max(1)).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })
}

/// Writes what there is so far.
fn keep(out: &Path, rows: &[Row], data: &Dataset) -> Result<()> {
    std::fs::create_dir_all(out)?;
    std::fs::write(out.join("growth.csv"), tables::csv(rows, data.validation.len()))?;
    Ok(std::fs::write(out.join("growth.md"), tables::markdown(rows, data.validation.len()))?)
}

/// Whatever learns best, the child computes its parent's function when it is made.
fn check(row: &Row) -> Result<()> {
    match row.drift < 1e-3 {
        true => Ok(()),
        false => {
            Err(format!("{}, seed {}: the function moved by {:e}", row.method, row.seed, row.drift).into())
        }
    }
}
