//! The command line.

mod deploy;
mod finish;
mod fuzz;
mod model;
mod search;
mod show;
mod study;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use clap::{Args, Parser, Subcommand};
use morphisms::Shape;

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
    /// Write a network of a run, or the whole front, into a folder: as ONNX, or as weights.safetensors and
    /// architecture.json.
    Export(ExportArgs),
    /// Print a network's layers, shapes, costs, channel groups and the morphisms that apply, and draw it.
    Inspect(InspectArgs),
    /// Apply morphisms to a network by hand, and print how far its outputs drift.
    #[command(long_about = MORPH)]
    Morph(MorphArgs),
    /// Print how a network came about, from the initial population on.
    Lineage(IndividualArgs),
    /// List the morphisms.
    Morphisms,
    /// Compare search methods on equal terms: methods and seeds on one problem, with statistics and a report.
    #[command(long_about = STUDY)]
    Study(StudyArgs),
    /// Look for broken promises of the morphisms, on random networks and chains of random edits.
    #[command(long_about = FUZZ)]
    Fuzz(FuzzArgs),
}

const MORPH: &str = "Apply morphisms to a network by hand, one after the other, and print how far its outputs drift.

Without --site the places are listed where the first of them applies. With --random so many morphisms are drawn, each \
at a place of its own; together with --exact they keep the function.";

const STUDY: &str = "Compare search methods on equal terms: methods and seeds on one problem, with statistics and a report.

A study is a TOML file: its methods (settings of a search each), its seeds, what a run may spend, the objectives with the \
interval in which fronts are measured, and a table of trained networks, if networks are to be looked up instead of trained. \
experiments/studies holds commented ones.

Runs stand side by side. One that has ended is kept, and one that trains networks is a run folder of its own: stop with \
Ctrl-C, or kill it, and the same command goes on. The folder gets study.html, plots as SVG and PNG, and CSV files.";

const FUZZ: &str = "Look for broken promises of the morphisms, on random networks and chains of random edits.

After each edit: the child takes the parent's images and yields its classes; an exact morphism keeps the logits of the \
parent and of the first network of its stretch of exact edits within the promised bounds; an approximate one costs \
less; the parent is unchanged, and what the child keeps is shared with it. One network in sixteen computes a constant. \
Each case follows from the seed and its index alone. The first failure ends the command: it is made as small as it can \
be, drawn, and saved as a file for --replay.";

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
    /// Start from a network of your own, an ONNX file, instead of small fresh ones; give it once for each.
    #[arg(long, value_name = "FILE")]
    from: Vec<PathBuf>,
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
    #[arg(required_unless_present = "front")]
    id: Option<u64>,
    /// The folder to write.
    #[arg(required_unless_present = "front")]
    dir: Option<PathBuf>,
    /// Write every member of the front into this folder, with a list of them, front.json.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["id", "dir"])]
    front: Option<PathBuf>,
    /// onnx: one file, for ONNX Runtime and the like; safetensors: what `evaluate` and the crate `morphisms` read.
    #[arg(long, default_value = "safetensors")]
    format: Format,
    /// Let the ONNX model take pixels from 0 to 255, and normalise them itself.
    #[arg(long)]
    normalise: bool,
    /// Keep batch norms in the ONNX model, instead of folding them into the convolutions before them.
    #[arg(long)]
    no_fold: bool,
}

/// What a network is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Safetensors,
    Onnx,
}

/// A network in a file.
#[derive(Debug, Args)]
struct ModelArg {
    /// An ONNX file, or the folder of an exported network.
    model: PathBuf,
    /// The shape of an image, such as 3x224x224, for ONNX models that leave it open.
    #[arg(long, value_name = "CxHxW", value_parser = parse_shape)]
    input_shape: Option<Shape>,
    /// The output with the logits, for ONNX models with several.
    #[arg(long, value_name = "NAME")]
    output: Option<String>,
}

#[derive(Debug, Args)]
struct InspectArgs {
    #[command(flatten)]
    model: ModelArg,
    /// Draw the network into this file, SVG or PNG by its ending.
    #[arg(long, value_name = "FILE")]
    draw: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct MorphArgs {
    #[command(flatten)]
    model: ModelArg,
    /// Morphisms, applied in this order; `paretomorph morphisms` lists them.
    morphisms: Vec<String>,
    /// The place of each morphism, by its number in the list of its places; give it once for each.
    #[arg(long = "site", value_name = "N")]
    sites: Vec<usize>,
    /// Draw so many morphisms and places at random; of those that are named, if any are.
    #[arg(long, value_name = "K", conflicts_with = "sites")]
    random: Option<usize>,
    /// Draw exact morphisms only.
    #[arg(long, requires = "random")]
    exact: bool,
    /// Seed of every random choice.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Where to write the result: an ONNX file, or else a folder.
    #[arg(long, short, value_name = "FILE|DIR")]
    out: Option<PathBuf>,
}

fn parse_shape(text: &str) -> std::result::Result<Shape, String> {
    let sizes: Option<Vec<usize>> = text.split('x').map(|size| size.parse().ok()).collect();
    match sizes.as_deref() {
        Some(&[channels, height, width]) => Ok(Shape::map(channels, height, width)),
        _ => Err("expected CHANNELSxHEIGHTxWIDTH, such as 3x224x224".into()),
    }
}

#[derive(Debug, Args)]
struct StudyArgs {
    /// The study's file; see experiments/studies/*.toml for commented ones.
    study: PathBuf,
    /// The study's folder; a study that was begun there goes on [default: runs/study-NAME].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Runs side by side, each on one thread; 0: one a core. Results do not depend on it, but for a budget of time.
    #[arg(long)]
    workers: Option<usize>,
    /// Print nothing but the result.
    #[arg(long)]
    quiet: bool,
}

#[derive(Debug, Args)]
struct FuzzArgs {
    /// Networks that a chain of edits starts from; two cores run some three thousand a second.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    cases: u64,
    /// The most edits of a chain.
    #[arg(long, value_name = "K", default_value_t = 12)]
    chain: usize,
    /// Seed of every random choice.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// A morphism to fuzz; give it once for each [default: all of them].
    #[arg(long = "morphism", value_name = "NAME")]
    morphisms: Vec<String>,
    /// The number format of the weights: bounds are 1e-10 of the largest logit in f64, and the parent's own rounding
    /// in f32.
    #[arg(long, default_value = "f64", value_parser = ["f32", "f64"])]
    dtype: String,
    /// Where networks are run: cpu or cuda:N.
    #[arg(long, value_name = "cpu|cuda:N", default_value = "cpu")]
    device: String,
    /// Compare in training mode too, where batch norms use the statistics of the batch.
    #[arg(long)]
    train_mode: bool,
    /// Cases run side by side; 0: one a core. The result does not depend on it.
    #[arg(long, value_name = "N", default_value_t = 0)]
    workers: usize,
    /// Print the summary as JSON for programs.
    #[arg(long)]
    json: bool,
    /// The folder for a failure.
    #[arg(long, value_name = "DIR", default_value = "fuzz-failures")]
    out: PathBuf,
    /// Run a saved failure again, and nothing else; the exit status tells whether it still fails.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cases", "chain", "seed", "morphisms", "dtype", "train_mode", "workers", "json", "out"])]
    replay: Option<PathBuf>,
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
            Command::Export(args) => in_run(&args.run, deploy::export(&args)),
            Command::Inspect(args) => model::inspect(&args),
            Command::Morph(args) => model::morph(&args),
            Command::Lineage(args) => in_run(&args.run, show::lineage(&args.run, args.id)),
            Command::Morphisms => show::morphisms(),
            Command::Study(args) => study::study(&args),
            Command::Fuzz(args) => fuzz::fuzz(&args),
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
