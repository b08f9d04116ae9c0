//! The command line.

mod deploy;
mod finish;
mod search;
mod show;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use clap::{Args, Parser, Subcommand};

use crate::config::{Budget, documentation};
use crate::{Error, Result};

/// The crate and the commit.
static VERSION: LazyLock<String> = LazyLock::new(crate::machine::version);

/// Multi-objective neural architecture search: a Pareto front of trained convolutional networks, evolved by network
/// morphisms that inherit their parents' weights.
#[derive(Debug, Parser)]
#[command(name = "paretomorph", version = VERSION.as_str(), max_term_width = 110)]
#[command(
    after_help = "Start with `paretomorph search`: it needs no data and ends by itself within three minutes."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Search for networks; without arguments on the embedded digits, for less than three minutes.
    #[command(after_long_help = key_help())]
    Search(SearchArgs),
    /// Go on with a run that was interrupted or killed, or give it a larger budget.
    Resume(ResumeArgs),
    /// Print the Pareto front of a run.
    Front(FrontArgs),
    /// Write the report of a run again: report.html and plots.
    Report(RunArg),
    /// Train members of the front longer, and test them.
    Finish(FinishArgs),
    /// Compute the error of a network of a run, or of an exported one.
    Evaluate(EvaluateArgs),
    /// Classify image files with a network of a run.
    Predict(PredictArgs),
    /// Write a network of a run into a folder: weights.safetensors and architecture.json.
    Export(ExportArgs),
    /// Print how a network came about, from the initial population on.
    Lineage(IndividualArgs),
    /// List the morphisms.
    Morphisms,
}

#[derive(Debug, Args)]
struct SearchArgs {
    /// Settings; see experiments/*.toml for commented ones.
    config: Option<PathBuf>,
    /// A data set's name, or a folder of IDX files, of CIFAR-10 binaries, or with a sub-folder per class.
    #[arg(long, value_name = "NAME|DIR")]
    data: Option<String>,
    /// The run folder, which must not hold a run yet [default: runs/DATA-TIME].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Seed of every random choice.
    #[arg(long)]
    seed: Option<u64>,
    /// Networks trained side by side; 0: one a core. The result does not depend on it.
    #[arg(long)]
    workers: Option<usize>,
    /// When to end: wall-clock time (90s, 10m, 1.5h), networks trained (200evals), or generations (30gens).
    #[arg(long)]
    budget: Option<Budget>,
    /// What to minimise; give it once for each [default: error, params]. Known: error, params, macs,
    /// activation_memory, latency.
    #[arg(long = "objective", value_name = "NAME")]
    objectives: Vec<String>,
    /// A hard upper bound on any objective, such as params=50000 or latency=0.5 (ms).
    #[arg(long, value_name = "NAME=VALUE")]
    max: Vec<String>,
    /// Any setting, such as recipe.epochs=20; `search --help` lists them.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Where to train: cpu or cuda:N.
    #[arg(long, value_name = "cpu|cuda:N")]
    device: Option<String>,
    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Debug, Args)]
struct RunArg {
    /// The run folder.
    run: PathBuf,
}

#[derive(Debug, Args)]
struct ResumeArgs {
    /// The run folder.
    run: PathBuf,
    /// Networks trained side by side; 0: one a core.
    #[arg(long)]
    workers: Option<usize>,
    /// A new budget, counted from the beginning of the run.
    #[arg(long)]
    budget: Option<Budget>,
    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Debug, Args)]
struct FrontArgs {
    /// The run folder.
    run: PathBuf,
    /// Print a JSON array for programs.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct FinishArgs {
    /// The run folder.
    run: PathBuf,
    /// Members of the front; none: all of them.
    ids: Vec<u64>,
    /// Epochs [default: finish.epochs of the run's settings].
    #[arg(long)]
    epochs: Option<usize>,
    /// Draw the weights anew instead of training on, as the paper does for its final figures.
    #[arg(long)]
    from_scratch: bool,
    /// Networks trained side by side; 0: one a core.
    #[arg(long, default_value_t = 0)]
    workers: usize,
}

#[derive(Debug, Args)]
struct IndividualArgs {
    /// The run folder.
    run: PathBuf,
    /// The individual.
    id: u64,
}

#[derive(Debug, Args)]
struct EvaluateArgs {
    /// The run folder, or the folder of an exported network.
    run: PathBuf,
    /// The individual; none for an exported network.
    id: Option<u64>,
    /// Use the test set, not the validation set. The use is recorded and shown in the report.
    #[arg(long)]
    test: bool,
}

#[derive(Debug, Args)]
struct PredictArgs {
    /// The run folder.
    run: PathBuf,
    /// The individual.
    id: u64,
    /// Image files.
    #[arg(required = true)]
    images: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// The run folder.
    run: PathBuf,
    /// The individual.
    id: u64,
    /// The folder to write.
    dir: PathBuf,
}

impl Cli {
    /// Carries out the command.
    ///
    /// # Errors
    /// Whatever went wrong, in words for the person at the terminal.
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Search(args) => search::search(args),
            Command::Resume(args) => in_run(&args.run.clone(), search::resume(args)),
            Command::Front(args) => in_run(&args.run, show::front(&args.run, args.json)),
            Command::Report(args) => in_run(&args.run, show::report(&args.run)),
            Command::Finish(args) => in_run(&args.run.clone(), finish::finish(args)),
            Command::Evaluate(args) => in_run(&args.run, deploy::evaluate(&args.run, args.id, args.test)),
            Command::Predict(args) => in_run(&args.run, deploy::predict(&args.run, args.id, &args.images)),
            Command::Export(args) => in_run(&args.run, deploy::export(&args.run, args.id, &args.dir)),
            Command::Lineage(args) => in_run(&args.run, show::lineage(&args.run, args.id)),
            Command::Morphisms => show::morphisms(),
        }
    }
}

/// SQLite does not say which file it could not use.
fn in_run(run: &Path, result: Result<()>) -> Result<()> {
    result.map_err(|error| match error {
        Error::Database(problem) => {
            Error::Run { path: run.into(), problem: format!("its run.sqlite cannot be used ({problem})") }
        }
        other => other,
    })
}

/// Prints to standard output; a reader that has gone away (`| head`) is no error.
fn print(text: &str) -> Result<()> {
    use std::io::Write;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::io("write", "standard output")(error))
        }
        _ => Ok(()),
    }
}

fn key_help() -> String {
    let line =
        |entry: &crate::config::KeyDoc| format!("  {} = {}\n      {}", entry.key, entry.default, entry.doc);
    let keys: Vec<String> = documentation().iter().map(line).collect();
    format!("Settings, for --set and for TOML files, with their defaults:\n{}", keys.join("\n"))
}
