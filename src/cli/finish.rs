//! `finish`: members of the front, trained longer.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{FinishArgs, print, show};
use crate::data::Dataset;
use crate::executor::{Executor, Job, JobResult, Local, Start, Workshop};
use crate::fidelity::Course;
use crate::individual::{Edit, Individual};
use crate::progress::for_stderr;
use crate::search::{load_data, load_network, reported_front, worker_count};
use crate::stop::Stop;
use crate::store::{FinishedRow, Store, TestRow};
use crate::train::{Plan, error_rate};
use crate::{Error, Result, machine, report};

pub(super) fn finish(args: FinishArgs) -> Result<()> {
    let store = Store::open(&args.run)?;
    let individuals = store.database.individuals()?;
    let chosen = chosen(&store, &individuals, &args.ids)?;
    let epochs = epochs(&store, args.epochs)?;
    let jobs = chosen.iter().enumerate();
    let jobs: Vec<Job> = jobs
        .map(|(place, member)| job(&store, place, member, epochs, args.from_scratch))
        .collect::<Result<_>>()?;
    let data = Arc::new(load_data(&store)?);
    let workshop = Workshop {
        data: data.clone(),
        recipe: store.config.recipe.clone(),
        device: crate::device::open(&store.config)?,
        blobs: store.blobs.clone(),
        stop: Arc::new(Stop::default()),
        observer: Arc::from(for_stderr()),
    };
    let executor = Local::new(Arc::new(workshop), worker_count(args.workers))?;
    executor.run(&jobs, &mut |place, result| {
        let (member, job) = (chosen[place], &jobs[place]);
        match result {
            JobResult::Trained { weights, error, seconds, .. } => {
                record(&store, &data, member, args.from_scratch, (epochs, weights, error, seconds))?;
            }
            JobResult::Diverged { .. } => print(&format!("{}: training diverged\n", member.id))?,
            JobResult::OutOfMemory { .. } => print(&format!("{}: the device's memory is full\n", member.id))?,
        }
        // Last, so that a process killed in between need not train again.
        store.blobs.remove_checkpoint(&job.plan.name)
    })?;
    print(&format!("Report: {}\n", show::write_report(&store)?.display()))
}

/// Tests a finished network, and keeps and prints what came out.
fn record(
    store: &Store,
    data: &Dataset,
    member: &Individual,
    from_scratch: bool,
    (epochs, weights, validation_error, seconds): (usize, String, f64, f64),
) -> Result<()> {
    let tensors = store.blobs.get(&weights, &candle_core::Device::Cpu)?;
    let network = morphisms::Network::new(member.architecture.clone(), tensors)?;
    let test_error = error_rate(&network, data, data.test())?;
    let how = if from_scratch { "from scratch" } else { "trained on" };
    let finished = FinishedRow {
        individual: member.id,
        from_scratch,
        epochs,
        weights: weights.clone(),
        validation_error,
        test_error,
        seconds,
        time: machine::now(),
    };
    let test = TestRow {
        individual: member.id,
        weights,
        time: finished.time.clone(),
        error: test_error,
        why: format!("finish: {epochs} epochs, {how}"),
    };
    store.database.add_tests(&[test])?;
    store.database.add_finished(&finished)?;
    let percent = |share| report::format_value("%", share);
    let (validation, test) = (percent(validation_error), percent(test_error));
    print(&format!(
        "{}: {epochs} epochs {how}: validation error {validation}, test error {test}\n",
        member.id
    ))
}

/// Each of the wanted individuals once; without any, the front.
fn chosen<'a>(store: &Store, individuals: &'a [Individual], ids: &[u64]) -> Result<Vec<&'a Individual>> {
    if ids.is_empty() {
        return reported_front(individuals, &store.config);
    }
    let mut seen = BTreeSet::new();
    let once = ids.iter().filter(|&&id| seen.insert(id));
    once.map(|&id| show::find(store, individuals, id)).collect()
}

fn epochs(store: &Store, wanted: Option<usize>) -> Result<usize> {
    match wanted {
        None => Ok(store.config.finish.epochs),
        Some(0) => Err(Error::Config {
            origin: "--epochs".into(),
            key: "finish.epochs".into(),
            expected: "1 or more".into(),
            found: "0".into(),
            hint: None,
        }),
        Some(epochs) => Ok(epochs),
    }
}

fn job(store: &Store, child: usize, member: &Individual, epochs: usize, from_scratch: bool) -> Result<Job> {
    let config = &store.config;
    let start = if from_scratch {
        Start::Scratch { seed: config.seed }
    } else {
        // Says why there are no weights, before anything is trained.
        load_network(store, member)?;
        Start::Inherit {
            parent: member.id,
            architecture: member.architecture.clone(),
            weights: member.weights.clone().unwrap_or_default(),
            edits: vec![Edit::keep_training()],
        }
    };
    let lr = if from_scratch { config.recipe.initial_lr } else { config.finish.lr };
    let how = if from_scratch { "scratch" } else { "on" };
    let name = format!("finish-{}-{how}-{epochs}", member.id);
    let plan = Plan { seed: config.seed, name, epochs, distill_epochs: 0, lr };
    let architecture = member.architecture.clone();
    Ok(Job { generation: 0, child, architecture, start, plan, course: Course::default() })
}
