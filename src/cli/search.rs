//! `search` and `resume`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{ResumeArgs, SearchArgs, print, show};
use crate::config::{Config, DataConfig};
use crate::progress::{Observer, QuietObserver, for_stderr};
use crate::search::{Search, validate};
use crate::stop::Stop;
use crate::store::Store;
use crate::{Error, Result, data, machine};

pub(super) fn search(args: SearchArgs) -> Result<()> {
    let (out, quiet) = (args.out.clone(), args.quiet);
    let config = configure(args)?;
    let out = out.unwrap_or_else(|| default_folder(&config));
    run(Search::start(&config, &out, observer(quiet))?)
}

pub(super) fn resume(args: ResumeArgs) -> Result<()> {
    let mut store = Store::open(&args.run)?;
    if let Some(budget) = args.budget {
        store.set_budget(budget)?;
    }
    if let Some(workers) = args.workers {
        store.config.workers = workers;
    }
    run(Search::resume(store, observer(args.quiet))?)
}

fn run(mut search: Search) -> Result<()> {
    stop_on_ctrl_c(search.stop())?;
    let reason = search.run()?;
    let page = show::write_report(search.store())?;
    print(&format!(
        "\nSearch {}.\n{}\nReport: {}\n",
        reason.state(),
        show::front_text(search.store())?,
        page.display()
    ))
}

/// The first Ctrl-C ends the search with front and report, or the fuzzing with its summary; the second one at once.
pub(super) fn stop_on_ctrl_c(stop: Arc<Stop>) -> Result<()> {
    let handler = move || {
        if stop.is_interrupted() {
            std::process::exit(130);
        }
        stop.interrupt();
    };
    ctrlc::set_handler(handler).map_err(|error| Error::Usage(format!("cannot listen for Ctrl-C: {error}")))
}

fn observer(quiet: bool) -> Arc<dyn Observer> {
    if quiet { Arc::new(QuietObserver) } else { Arc::from(for_stderr()) }
}

/// Defaults that suit the data, then the file, then `--set`, then the other options.
fn configure(args: SearchArgs) -> Result<Config> {
    let chosen = args.data.as_deref().map(named_data).transpose()?;
    let preset = match (&chosen, &args.config) {
        (Some(data), None) => Config::for_data(&data.name),
        (None, _) | (_, Some(_)) => Config::default(),
    };
    let mut config = preset.overlay(args.config.as_deref(), &[])?;
    if let Some(data) = chosen {
        config.data.name = data.name;
        config.data.dir = data.dir;
    }
    let mut config = config.overlay(None, &args.set)?;
    config.seed = args.seed.unwrap_or(config.seed);
    config.workers = args.workers.unwrap_or(config.workers);
    config.budget = args.budget.unwrap_or(config.budget);
    config.device = args.device.unwrap_or(config.device);
    if !args.objectives.is_empty() {
        config.objectives = args.objectives;
    }
    if !args.from.is_empty() {
        config.from = args.from;
    }
    for path in &mut config.from {
        *path = std::path::absolute(&*path).map_err(Error::io("find", &*path))?;
    }
    for bound in &args.max {
        let (name, value) = parse_bound(bound)?;
        config.max.insert(name, value);
    }
    if let Some(dir) = &config.data.dir {
        // The run may be resumed, and its networks exported, from elsewhere.
        config.data.dir = Some(std::path::absolute(dir).map_err(Error::io("find", dir))?);
    }
    validate(&config)?;
    crate::device::open(&config)?;
    Ok(config)
}

/// The data set that `--data` names.
fn named_data(wanted: &str) -> Result<DataConfig> {
    let mut named = DataConfig::default();
    data::resolve(wanted, &mut named)?;
    Ok(named)
}

fn parse_bound(text: &str) -> Result<(String, f64)> {
    let parts =
        text.split_once('=').and_then(|(name, value)| Some((name.trim(), value.trim().parse().ok()?)));
    let wrong = || Error::Config {
        origin: "--max".into(),
        key: text.into(),
        expected: "NAME=VALUE with a number, such as params=50000".into(),
        found: format!("`{text}`"),
        hint: None,
    };
    parts.map(|(name, value)| (name.to_string(), value)).ok_or_else(wrong)
}

/// `runs/DATA-TIME`.
fn default_folder(config: &Config) -> PathBuf {
    let time: String = machine::now().chars().filter(char::is_ascii_alphanumeric).collect();
    Path::new("runs").join(format!("{}-{}", config.data.name, time.to_lowercase()))
}
