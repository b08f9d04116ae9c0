//! ONNX Runtime on this machine, on one core, in a Python process of its own: one that hangs or crashes can be killed.

use std::path::Path;

use super::bench::Bench;
use crate::config::LatencyConfig;

/// Prints the milliseconds of each pass.
const SCRIPT: &str = include_str!("onnxruntime.py");
/// How to mend a Python without it.
pub(super) const HINT: &str =
    "`python3 -m venv venv && venv/bin/pip install onnxruntime`, then --set latency.python=venv/bin/python";

/// The measurement of a network's file.
pub(super) fn bench(config: &LatencyConfig, file: &Path) -> Bench {
    let (warmup, repeats) = (config.warmup.to_string(), config.repeats.to_string());
    let arguments = [&config.python, "-c", SCRIPT, &file.display().to_string(), &warmup, &repeats];
    let arguments = arguments.map(String::from).to_vec();
    Bench { name: "ONNX Runtime".into(), arguments, times: config.repeats, runs: 1 }
}

/// Whether it is there: the same script without a file says 1.
pub(super) fn probe(config: &LatencyConfig) -> Bench {
    let arguments = [&config.python, "-c", SCRIPT].map(String::from).to_vec();
    Bench { name: format!("`{}`", config.python), arguments, times: 1, runs: 1 }
}
