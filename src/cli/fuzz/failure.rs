//! Failures: saved, drawn, and run again.

use std::path::Path;

use candle_core::Device;
use morphisms::Architecture;
use morphisms::catalog;
use morphisms::fuzz::{self, Failure, Replayed};

use super::super::{print, show};
use super::write;
use crate::{Error, Result, overview, report};

/// Saves and draws a failure; the error that the command ends with.
pub(super) fn report(failure: &Failure, out: &Path, json: bool) -> Result<()> {
    let name = format!("{}-seed-{}-case-{}", failure.morphism, failure.seed, failure.index);
    let (file, drawing) = (out.join(format!("{name}.json")), out.join(format!("{name}.svg")));
    write(&file, &failure.to_json()?)?;
    write(&drawing, &report::draw_svg(&overview::layers(&failure.case.architecture)))?;
    if !json {
        print(&text(failure))?;
    }
    Err(Error::Usage(format!(
        "{failure}\n  run it again with `paretomorph fuzz --replay {}`; the network is drawn in {}",
        file.display(),
        drawing.display()
    )))
}

/// The smallest case that was found, for a person.
fn text(failure: &Failure) -> String {
    let edits: Vec<String> = failure
        .case
        .edits
        .iter()
        .map(|edit| format!("  {} at {}, seed {}\n", edit.morphism, edit.site, edit.seed))
        .collect();
    format!(
        "\nThe smallest network that was found to show it:\n{}\nand what is done to it:\n{}",
        layers(&failure.case.architecture),
        edits.concat()
    )
}

fn layers(architecture: &Architecture) -> String {
    let mut table = show::table();
    table.set_header(["id", "layer", "reads", "shape"]);
    for node in architecture.nodes() {
        let inputs: Vec<String> = node.inputs.iter().map(ToString::to_string).collect();
        table.add_row([
            node.id.to_string(),
            node.layer.to_string(),
            inputs.join(", "),
            node.shape.to_string(),
        ]);
    }
    table.to_string()
}

/// Runs a saved failure again; an error while it still fails.
pub(super) fn replay(file: &Path, device: &Device) -> Result<()> {
    let failure = read(file)?;
    let again = fuzz::replay(&failure.case, catalog::all(), device)
        .map_err(|error| Error::data(file, "case", "one that can be run", error.to_string()))?;
    match again {
        Replayed::Passes => print("It passes: every promise is kept.\n"),
        Replayed::NoSite { morphism, site } => {
            print(&format!("It passes: {morphism} has no site at {site} any more.\n"))
        }
        Replayed::Fails { morphism, site, problem } => {
            let at = site.map(|site| format!(" at {site}")).unwrap_or_default();
            Err(Error::Usage(format!("{}: still fails: {morphism}{at}: {problem}", file.display())))
        }
    }
}

fn read(file: &Path) -> Result<Failure> {
    let text = std::fs::read_to_string(file).map_err(Error::io("read", file))?;
    let mut reader = serde_json::Deserializer::from_str(&text);
    let failure: Failure = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let (key, problem) = (error.path().to_string(), error.inner().to_string());
        mismatch(file, &key, &problem)
    })?;
    reader.end().map_err(|error| mismatch(file, ".", &error.to_string()))?;
    Ok(failure)
}

/// What serde says, `invalid type: FOUND, expected EXPECTED at line 3`, in the words of our other errors.
fn mismatch(file: &Path, key: &str, problem: &str) -> Error {
    let what = if key == "." { "the file".to_string() } else { format!("key `{key}`") };
    let (found, expected) = match problem.split_once(", expected ") {
        Some((found, expected)) => (found.to_string(), expected.to_string()),
        None => (problem.to_string(), "a failure that `paretomorph fuzz` saved".to_string()),
    };
    let place =
        expected.split_once(" at line ").map(|(expected, line)| (expected.to_string(), line.to_string()));
    match place {
        Some((expected, line)) => Error::data(file, what, expected, format!("{found} at line {line}")),
        None => Error::data(file, what, expected, found),
    }
}
