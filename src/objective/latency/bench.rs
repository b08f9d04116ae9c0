//! Another program that measures a network's file, once or several times.

use std::path::Path;

use candle_core::{DType, Device};
use morphisms::{Architecture, Network, onnx};

use super::process::{Ending, run};
use super::{command, onnxruntime};
use crate::config::LatencyConfig;
use crate::store::{Outcome, Spread};
use crate::{Error, Result};

/// Characters of a program's own words that a message repeats: the last ones.
const WORDS: usize = 300;

/// A program to be run for a network.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bench {
    /// What it is called in messages.
    pub(super) name: String,
    /// The program and its arguments.
    pub(super) arguments: Vec<String>,
    /// How many numbers are on the last line that it prints.
    pub(super) times: usize,
    /// How often it is run.
    pub(super) runs: usize,
}

/// What came of running a program once.
enum Run {
    Times(Vec<f64>),
    Failed(String),
    Stopped,
}

/// Writes a network into a file and has it measured.
///
/// # Errors
/// If the file cannot be written, or no shell be started.
pub(super) fn measure(
    architecture: &Architecture,
    config: &LatencyConfig,
    bench: fn(&LatencyConfig, &Path) -> Bench,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Outcome> {
    let network = Network::init(architecture.clone(), 0, DType::F32, &Device::Cpu)?;
    let bytes = match onnx::export(&network, &onnx::ExportOptions::default()) {
        Ok(bytes) => bytes,
        Err(error) => return Ok(Outcome::Failed(format!("it has no form in ONNX: {error}"))),
    };
    let folder = tempfile::tempdir().map_err(Error::io("create", std::env::temp_dir()))?;
    let file = folder.path().join("network.onnx");
    std::fs::write(&file, bytes).map_err(Error::io("write", &file))?;
    bench(config, &file).measure(config, is_stopped)
}

/// Asks ONNX Runtime for a sign of life, where it is to measure.
///
/// # Errors
/// If the Python of the settings has none.
pub(super) fn probe(config: &LatencyConfig) -> Result<()> {
    let bench = onnxruntime::probe(config);
    match bench.attempt(config, &|| false)? {
        Run::Times(_) | Run::Stopped => Ok(()),
        Run::Failed(why) => Err(Error::Config {
            origin: "settings".into(),
            key: "latency.python".into(),
            expected: "a Python with ONNX Runtime, as latency.with is \"onnxruntime\"".into(),
            found: why,
            hint: Some(onnxruntime::HINT.into()),
        }),
    }
}

impl Bench {
    /// The times of all runs, each attempted again as often as the settings say.
    fn measure(&self, config: &LatencyConfig, is_stopped: &dyn Fn() -> bool) -> Result<Outcome> {
        let mut times = Vec::new();
        for _ in 0..self.runs {
            match self.with_retries(config, is_stopped)? {
                Run::Times(more) => times.extend(more),
                Run::Failed(why) => return Ok(Outcome::Failed(why)),
                Run::Stopped => return Ok(Outcome::Stopped),
            }
        }
        Ok(Outcome::Measured(Spread::of(times)))
    }

    fn with_retries(&self, config: &LatencyConfig, is_stopped: &dyn Fn() -> bool) -> Result<Run> {
        for _ in 0..config.retries {
            match self.attempt(config, is_stopped)? {
                Run::Failed(_) => {}
                end @ (Run::Times(_) | Run::Stopped) => return Ok(end),
            }
        }
        self.attempt(config, is_stopped)
    }

    fn attempt(&self, config: &LatencyConfig, is_stopped: &dyn Fn() -> bool) -> Result<Run> {
        let ending = run(&self.arguments, config.timeout.duration(), is_stopped);
        let failed = |why: String, err: &str| Run::Failed(format!("{}: {why}{}", self.name, last_words(err)));
        Ok(match ending.map_err(Error::io("start", "sh"))? {
            Ending::Stopped => Run::Stopped,
            Ending::TimedOut { err } => {
                failed(format!("killed after latency.timeout = {}", config.timeout), &err)
            }
            Ending::Exited { status, err, .. } if !status.success() => failed(status.to_string(), &err),
            Ending::Exited { out, err, .. } => match milliseconds(&out, self.times) {
                Ok(times) => Run::Times(times),
                Err(why) => failed(why, &err),
            },
        })
    }
}

/// The numbers on the last line that is not empty.
fn milliseconds(out: &str, expected: usize) -> std::result::Result<Vec<f64>, String> {
    let line = out.lines().map(str::trim).rfind(|line| !line.is_empty());
    let line = line.ok_or("it printed nothing where a number of milliseconds was expected")?;
    let time = |word: &str| word.parse().ok().filter(|time: &f64| time.is_finite() && *time > 0.0);
    let times: Option<Vec<f64>> = line.split_whitespace().map(time).collect();
    let what = if expected == 1 { "a number".into() } else { format!("{expected} numbers") };
    let wrong = || format!("its last line is not {what} of milliseconds above 0: `{}`", end_of(line));
    times.filter(|times| times.len() == expected).ok_or_else(wrong)
}

/// What a program said last on standard error, as the end of a message.
fn last_words(err: &str) -> String {
    let words = err.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.is_empty() { String::new() } else { format!("; it said: {}", end_of(&words)) }
}

/// The last characters of a text.
fn end_of(text: &str) -> String {
    let skipped = text.chars().count().saturating_sub(WORDS);
    let start = if skipped > 0 { "..." } else { "" };
    start.chars().chain(text.chars().skip(skipped)).collect()
}

/// Which program measures, for reports: "ONNX Runtime" or the command.
pub(super) fn name(config: &LatencyConfig, bench: fn(&LatencyConfig, &Path) -> Bench) -> String {
    bench(config, Path::new(command::PLACE)).name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_latency() {
        assert_eq!(milliseconds("loading\n0.5\n 1.25e-1 \n\n", 1).unwrap(), [0.125]);
        assert_eq!(milliseconds("1 2 3\n", 3).unwrap(), [1.0, 2.0, 3.0]);
        for (out, part) in [
            ("", "printed nothing"),
            ("\n \n", "printed nothing"),
            ("1.5\ndone\n", "`done`"),
            ("1.5 ms\n", "`1.5 ms`"),
            ("50 1.5\n", "not a number"),
            ("0\n", "above 0: `0`"),
            ("-3\n", "`-3`"),
            ("nan\n", "`nan`"),
            ("inf\n", "`inf`"),
        ] {
            let why = milliseconds(out, 1).unwrap_err();
            assert!(why.contains(part), "{out:?}: {why}");
        }
        assert!(milliseconds("1 2\n", 3).unwrap_err().contains("not 3 numbers"));
    }

    #[test]
    fn long_words_are_cut_at_their_beginning() {
        assert_eq!(last_words(" \n"), "");
        assert_eq!(last_words("no\n  route\n"), "; it said: no route");
        let cut = last_words(&format!("first {} last", "x".repeat(WORDS)));
        assert!(cut.contains("...") && cut.ends_with(" last") && !cut.contains("first"), "{cut}");
    }
}
