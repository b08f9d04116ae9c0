//! `fuzz`: morphisms on random networks.

mod failure;
mod table;

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device};
use indicatif::{ProgressBar, ProgressStyle};
use morphisms::fuzz::{Settings, Summary};
use morphisms::{Morphism, catalog};

use super::search::stop_on_ctrl_c;
use super::{FuzzArgs, print};
use crate::config::{Config, one_of};
use crate::fuzz::{Campaign, Outcome, THREAD};
use crate::search::worker_count;
use crate::stop::Stop;
use crate::store::write_atomically;
use crate::{Error, Result, device};

/// Redraws of the progress bar: in so many cases.
const STRIDE: u64 = 50;

pub(super) fn fuzz(args: &FuzzArgs) -> Result<()> {
    silence_cases();
    let device = device::open(&Config { device: args.device.clone(), ..Config::default() })?;
    match &args.replay {
        Some(file) => failure::replay(file, &device),
        None => run(args, device),
    }
}

fn run(args: &FuzzArgs, device: Device) -> Result<()> {
    let campaign = Campaign {
        settings: settings(args, device)?,
        seed: args.seed,
        cases: args.cases,
        workers: worker_count(args.workers),
    };
    let stop = Arc::new(Stop::default());
    stop_on_ctrl_c(Arc::clone(&stop))?;
    let bar = bar(args.cases);
    let outcome = campaign.run(&stop, |summary| advance(&bar, summary))?;
    bar.finish_and_clear();
    print(&if args.json { json(&outcome)? } else { table::text(&outcome, &campaign) })?;
    outcome.failure.map_or(Ok(()), |failure| failure::report(&failure, &args.out, args.json))
}

fn settings(args: &FuzzArgs, device: Device) -> Result<Settings> {
    let dtype = if args.dtype == "f32" { DType::F32 } else { DType::F64 };
    if args.train_mode && dtype == DType::F32 {
        let problem =
            "--train-mode compares in f64: no bound is promised for the rounding of f32 in training mode";
        return Err(Error::Usage(problem.into()));
    }
    if args.chain == 0 {
        return Err(Error::Usage("--chain: expected 1 or more, found 0".into()));
    }
    let morphisms = named(&args.morphisms)?;
    Ok(Settings {
        chain: args.chain,
        morphisms,
        dtype,
        device,
        train_mode: args.train_mode,
        ..Settings::default()
    })
}

/// The morphisms of these names; none: all of them.
fn named(names: &[String]) -> Result<Vec<&'static dyn Morphism>> {
    let known: Vec<&str> = catalog::all().iter().map(|morphism| morphism.name()).collect();
    for name in names {
        one_of("morphism", name, &known).map_err(|error| match error {
            Error::Config { key, expected, found, hint, .. } => {
                Error::Config { origin: "--morphism".into(), key, expected, found, hint }
            }
            other => other,
        })?;
    }
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    Ok(catalog::all().iter().copied().filter(|morphism| wanted(morphism.name())).collect())
}

/// A morphism that panics is a failure, reported once and shrunk; its hundreds of messages would hide that.
fn silence_cases() {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() != Some(THREAD) {
            loud(panic);
        }
    }));
}

/// On a terminal only.
fn bar(cases: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{spinner:.cyan} {bar:28.cyan/dim} {percent:>3} %  {pos} of {len} cases, {msg}  {eta} left",
    );
    let bar = ProgressBar::new(cases).with_message("no rewrite yet");
    bar.set_style(style.expect("the template is well formed").progress_chars("━━─"));
    bar
}

fn advance(bar: &ProgressBar, summary: &Summary) {
    if summary.cases.is_multiple_of(STRIDE) {
        bar.set_position(summary.cases);
        bar.set_message(format!("{} rewrites", summary.rewrites));
    }
}

fn json(outcome: &Outcome) -> Result<String> {
    let text = serde_json::to_string_pretty(outcome);
    Ok(format!("{}\n", text.map_err(|source| Error::Json { what: "the summary".into(), source })?))
}

/// Creates a folder and writes a file into it.
fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    write_atomically(path, text.as_bytes())
}
