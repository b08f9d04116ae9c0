//! Several networks trained side by side, as a search trains its children.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device};
use morphisms::{Architecture, Network};
use paretomorph::config::{DataConfig, Recipe};
use paretomorph::data::Dataset;
use paretomorph::fidelity::Course;
use paretomorph::stop::Stop;
use paretomorph::train::{End, Plan, Trainer};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::work::{Run, Settings, timed};
use crate::{Result, cases};

/// The share of the images read that the training does not see; the other side reads only what it trains on.
const HELD_OUT: f64 = 0.2;

/// An epoch of every network, one thread a network, as many networks at a time as there are threads. A worker takes the
/// largest network that is left.
pub fn prepare(architectures: &[Architecture], images: usize, settings: &Settings) -> Result<Run> {
    let read = (images as f64 / (1.0 - HELD_OUT)).round() as usize;
    let config = DataConfig {
        name: "fashion-mnist".into(),
        dir: settings.data.clone(),
        validation: HELD_OUT,
        limit: read,
        size: 0,
        ..DataConfig::default()
    };
    let data = Dataset::load(&config, 0)?;
    if data.train.len() != images {
        let found = data.train.len();
        return Err(format!("population: expected {images} training images, found {found}").into());
    }
    let mut networks = architectures.to_vec();
    networks.sort_by_key(|network| std::cmp::Reverse(network.macs()));
    let pool = |_| ThreadPoolBuilder::new().num_threads(1).build();
    let pools = (0..settings.threads).map(pool).collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(Box::new(move || timed(|| train_all(&networks, &pools, &data))))
}

fn train_all(networks: &[Architecture], pools: &[ThreadPool], data: &Dataset) -> Result<()> {
    let queue = Mutex::new(networks.iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    std::thread::scope(|scope| {
        let work = |pool: &ThreadPool| {
            while let Some(network) = next() {
                pool.install(|| train(network, data))?;
            }
            Ok(())
        };
        let workers: Vec<_> = pools.iter().map(|pool| scope.spawn(move || work(pool))).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a worker panicked")?)
    })
}

/// One epoch from fresh weights, without augmentation.
fn train(architecture: &Architecture, data: &Dataset) -> Result<()> {
    let recipe = Recipe { batch: cases::BATCH, crop: 0, ..Recipe::default() };
    let plan = Plan { seed: 0, name: "race".into(), epochs: 1, distill_epochs: 0, lr: recipe.initial_lr };
    let network = Network::init(architecture.clone(), 0, DType::F32, &Device::Cpu)?;
    let trainer = Trainer {
        data,
        recipe: &recipe,
        plan: &plan,
        course: &Course::default(),
        checkpoint: Path::new("never written: there is one epoch"),
        stop: &Stop::default(),
        on_epoch: &|_, _| (),
    };
    match trainer.train(&network, None)? {
        End::Done(_) => Ok(()),
        End::Diverged { epoch, .. } => Err(format!("diverged in epoch {epoch}").into()),
        End::Stopped => Err("stopped, though nobody asked".into()),
    }
}
