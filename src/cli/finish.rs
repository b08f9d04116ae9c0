//! `finish`: members of the front, trained longer.

use std::sync::Arc;

use super::{FinishArgs, print, show};
use crate::executor::{Executor, Job, JobResult, Local, Start, Workshop};
use crate::individual::{Edit, Individual};
use crate::progress::for_stderr;
use crate::search::{load_data, reported_front, worker_count};
use crate::stop::Stop;
use crate::store::{FinishedRow, Store, TestRow};
use crate::train::{Plan, error_rate};
use crate::{Error, Result, machine, report};

pub(super) fn finish(args: FinishArgs) -> Result<()> {
    let store = Store::open(&args.run)?;
    let individuals = store.database.individuals()?;
    let chosen = chosen(&store, &individuals, &args.ids)?;
    let epochs = args.epochs.unwrap_or(store.config.finish.epochs);
    let jobs: Vec<Job> = chosen
        .iter()
        .enumerate()
        .map(|(place, member)| job(&store, place, member, epochs, args.from_scratch))
        .collect::<Result<_>>()?;
    let data = Arc::new(load_data(&store)?);
    let workshop = Workshop {
        data: data.clone(),
        recipe: store.config.recipe.clone(),
        blobs: store.blobs.clone(),
        stop: Arc::new(Stop::default()),
        observer: Arc::from(for_stderr()),
    };
    let executor = Local::new(Arc::new(workshop), worker_count(args.workers))?;
    executor.run(&jobs, &mut |place, result| {
        let (member, job) = (chosen[place], &jobs[place]);
        store.blobs.remove_checkpoint(&job.plan.name)?;
        let JobResult::Trained { weights, error, seconds, .. } = result else {
            return print(&format!("{}: training diverged\n", member.id));
        };
        let network = morphisms::Network::new(
            member.architecture.clone(),
            store.blobs.get(&weights, &candle_core::Device::Cpu)?,
        )?;
        let test_error = error_rate(&network, &data, data.test())?;
        let time = machine::now();
        let how = if args.from_scratch { "from scratch" } else { "trained on" };
        let why = format!("finish: {epochs} epochs, {how}");
        store.database.add_tests(&[TestRow {
            individual: member.id,
            time: time.clone(),
            error: test_error,
            why,
        }])?;
        let percent = |share| report::format_value("%", share);
        print(&format!(
            "{}: {epochs} epochs {how}: validation error {}, test error {}\n",
            member.id,
            percent(error),
            percent(test_error)
        ))?;
        store.database.add_finished(&FinishedRow {
            individual: member.id,
            from_scratch: args.from_scratch,
            epochs,
            weights,
            validation_error: error,
            test_error,
            seconds,
            time,
        })
    })?;
    print(&format!("Report: {}\n", show::write_report(&store)?.display()))
}

fn chosen<'a>(store: &Store, individuals: &'a [Individual], ids: &[u64]) -> Result<Vec<&'a Individual>> {
    if ids.is_empty() {
        return reported_front(individuals, &store.config);
    }
    ids.iter().map(|&id| show::find(store, individuals, id)).collect()
}

fn job(store: &Store, child: usize, member: &Individual, epochs: usize, from_scratch: bool) -> Result<Job> {
    let config = &store.config;
    let start = if from_scratch {
        Start::Scratch { seed: config.seed }
    } else {
        let weights = member.weights.clone();
        let diverged =
            || Error::Usage(format!("individual {} diverged, there is nothing to train on", member.id));
        Start::Inherit {
            parent: member.id,
            architecture: Box::new((*member.architecture).clone()),
            weights: weights.ok_or_else(diverged)?,
            edits: vec![Edit::keep_training()],
        }
    };
    let lr = if from_scratch { config.recipe.initial_lr } else { config.finish.lr };
    let how = if from_scratch { "scratch" } else { "on" };
    let name = format!("finish-{}-{how}-{epochs}", member.id);
    let plan = Plan { seed: config.seed, name, epochs, distill_epochs: 0, lr };
    Ok(Job { generation: 0, child, architecture: (*member.architecture).clone(), start, plan })
}
