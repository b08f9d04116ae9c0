//! Measured latency: in this process, by ONNX Runtime, or by a command that reaches whatever device counts.

mod bench;
mod command;
mod here;
mod onnxruntime;
mod process;

use morphisms::Architecture;

use super::{Kind, Objective};
use crate::Result;
use crate::config::{Config, LatencyConfig};
use crate::store::Outcome;

/// Milliseconds to classify one image, on one thread of this machine, on the GPU that the search trains on, or wherever a
/// command measures, batch norms folded as they would be deployed.
/// It needs no trained weights, so it is measured before training, while no worker runs; or, by a command on another device,
/// beside it.
pub const LATENCY: Objective = Objective {
    name: "latency",
    unit: "ms",
    summary: "milliseconds to classify one image: batch 1, one thread, batch norms folded, median",
    kind: Kind::Measured(measure),
};

/// What measures.
enum Source {
    Here,
    OnnxRuntime,
    Command,
}

fn source(config: &LatencyConfig) -> Source {
    match config.with.as_str() {
        "onnxruntime" => Source::OnnxRuntime,
        _ if config.command.trim().is_empty() => Source::Here,
        _ => Source::Command,
    }
}

fn measure(architecture: &Architecture, config: &Config, is_stopped: &dyn Fn() -> bool) -> Result<Outcome> {
    let settings = &config.latency;
    match source(settings) {
        Source::Here => here::measure(architecture, config),
        Source::OnnxRuntime => bench::measure(architecture, settings, onnxruntime::bench, is_stopped),
        Source::Command => bench::measure(architecture, settings, command::bench, is_stopped),
    }
}

/// Checks that what is to measure is there, as far as that can be told without a network.
///
/// # Errors
/// If latency is asked for, of ONNX Runtime, and the Python of the settings has none.
pub fn probe(config: &Config) -> Result<()> {
    let asked = super::cheap(config).iter().any(|objective| objective.name == LATENCY.name);
    match source(&config.latency) {
        Source::OnnxRuntime if asked => bench::probe(&config.latency),
        Source::Here | Source::OnnxRuntime | Source::Command => Ok(()),
    }
}

/// What measures, for reports.
pub fn described(config: &Config) -> String {
    match source(&config.latency) {
        Source::Here => format!("this program on {}", config.device),
        Source::OnnxRuntime => bench::name(&config.latency, onnxruntime::bench),
        Source::Command => bench::name(&config.latency, command::bench),
    }
}
