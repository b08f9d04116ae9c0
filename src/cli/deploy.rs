//! `evaluate`, `predict`, `export`: networks at work.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::D;
use serde::Serialize;

use super::{ExportArgs, Format, print, show};
use crate::data::{Dataset, Normalisation, read_image};
use crate::package::{Description, Package, Provenance};
use crate::search::{load_data, load_network, reported_front, test_errors};
use crate::store::{Store, TestRow, write_atomically};
use crate::train::error_rate;
use crate::{Error, Result, machine, report};

/// Classes shown for an image.
const SHOWN: usize = 3;

pub(super) fn evaluate(run: &Path, id: Option<u64>, test: bool) -> Result<()> {
    match id {
        Some(id) => evaluate_individual(run, id, test),
        None if Package::is_at(run) => evaluate_package(run, test),
        None => Err(Error::Usage(format!(
            "{}: which individual? Give its id; `paretomorph front` lists them",
            run.display()
        ))),
    }
}

fn evaluate_individual(run: &Path, id: u64, test: bool) -> Result<()> {
    // Recording a use of the test set takes the lock; looking at the validation set does not.
    let store = if test { Store::open(run)? } else { Store::read(run)? };
    let individuals = store.database.individuals()?;
    let individual = show::find(&store, &individuals, id)?;
    let network = load_network(&store, individual)?;
    let data = load_data(&store)?;
    if !test {
        return print_error(
            "validation",
            error_rate(&network, &data, &data.validation)?,
            data.validation.len(),
        );
    }
    let error = error_rate(&network, &data, data.test())?;
    let row = TestRow {
        individual: id,
        weights: individual.weights.clone().unwrap_or_default(),
        time: machine::now(),
        error,
        why: "evaluate --test".into(),
    };
    store.database.add_tests(&[row])?;
    show::write_report(&store)?;
    print_error("test", error, data.test().len())
}

fn evaluate_package(folder: &Path, test: bool) -> Result<()> {
    if test {
        let problem = "--test is for a network of a run, where the use of the test set is recorded";
        return Err(Error::Usage(problem.into()));
    }
    let Package { network, description } = Package::load(folder)?;
    let data = Dataset::load(&description.data, description.provenance.seed)?;
    if data.digest != description.data_digest {
        let expected = format!("that of the search, with the digest {}", description.data_digest);
        return Err(Error::data(folder, format!("data set {}", data.name), expected, data.digest));
    }
    print_error("validation", error_rate(&network, &data, &data.validation)?, data.validation.len())
}

fn print_error(split: &str, error: f64, images: usize) -> Result<()> {
    print(&format!("{split} error {} ({images} images)\n", report::format_value("%", error)))
}

pub(super) fn predict(run: &Path, id: u64, images: &[PathBuf]) -> Result<()> {
    let Package { network, description } = package(&Store::read(run)?, id)?;
    for path in images {
        let pixels = read_image(path, description.image)?;
        let image = description.normalisation.tensor(&pixels, description.image)?;
        let scores =
            candle_nn::ops::softmax(&network.logits(&image)?, D::Minus1)?.squeeze(0)?.to_vec1::<f32>()?;
        let mut ranked: Vec<(f32, &String)> = scores.into_iter().zip(&description.classes).collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        let shown = ranked.iter().take(SHOWN).map(|(score, class)| format!("{class} {:.1} %", 100.0 * score));
        print(&format!("{}: {}\n", path.display(), shown.collect::<Vec<_>>().join(", ")))?;
    }
    Ok(())
}

pub(super) fn export(args: &ExportArgs) -> Result<()> {
    if args.format == Format::Safetensors && (args.normalise || args.no_fold) {
        return Err(Error::Usage("--normalise and --no-fold are for --format onnx".into()));
    }
    let store = Store::read(&args.run)?;
    match (&args.front, args.id, &args.dir) {
        (Some(dir), _, _) => export_front(&store, args, dir),
        (None, Some(id), Some(dir)) => {
            let name = match args.format {
                Format::Onnx => write_network(&store, args, id, dir, &onnx_name(id))?,
                Format::Safetensors => write_network(&store, args, id, dir, "")?,
            };
            print(&format!("Wrote {name} to {}\n", dir.display()))
        }
        (None, _, _) => Err(Error::Usage("give an id and a folder, or --front and a folder".into())),
    }
}

fn onnx_name(id: u64) -> String {
    format!("network-{id}.onnx")
}

/// Writes a network into `dir`, under `name`; what was written, in words.
fn write_network(store: &Store, args: &ExportArgs, id: u64, dir: &Path, name: &str) -> Result<String> {
    let package = package(store, id)?;
    let path = dir.join(name);
    match args.format {
        Format::Onnx => {
            std::fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
            package.save_onnx(&path, args.normalise, !args.no_fold)?;
            Ok(name.into())
        }
        Format::Safetensors => {
            package.save(&path)?;
            Ok("architecture.json and weights.safetensors".into())
        }
    }
}

/// An exported member of the front.
#[derive(Serialize)]
struct Exported<'a> {
    id: u64,
    /// Beside the list: a file, or a folder.
    path: String,
    objectives: &'a BTreeMap<String, f64>,
    test_error: Option<f64>,
}

fn export_front(store: &Store, args: &ExportArgs, dir: &Path) -> Result<()> {
    let individuals = store.database.individuals()?;
    let tests = test_errors(&store.database)?;
    let mut list = Vec::new();
    for member in reported_front(&individuals, &store.config)? {
        let path = match args.format {
            Format::Onnx => onnx_name(member.id),
            Format::Safetensors => format!("network-{}", member.id),
        };
        write_network(store, args, member.id, dir, &path)?;
        let test_error = member.weights.as_ref().and_then(|weights| tests.get(weights)).copied();
        list.push(Exported { id: member.id, path, objectives: &member.objectives, test_error });
    }
    if list.is_empty() {
        return Err(Error::Run { path: store.path.clone(), problem: "its front is empty".into() });
    }
    let what = || "the list of the front".to_string();
    let text = serde_json::to_string_pretty(&list).map_err(|source| Error::Json { what: what(), source })?;
    write_atomically(&dir.join("front.json"), text.as_bytes())?;
    print(&format!("Wrote {} networks and front.json to {}\n", list.len(), dir.display()))
}

/// A network of a run with what it needs to leave it.
fn package(store: &Store, id: u64) -> Result<Package> {
    let individuals = store.database.individuals()?;
    let individual = show::find(store, &individuals, id)?;
    let network = load_network(store, individual)?;
    let normalisation: Normalisation = store.database.fact("normalisation")?;
    let input = individual.architecture.input();
    let (height, width) = input.spatial();
    let description = Description {
        architecture: individual.architecture.clone(),
        image: crate::data::ImageShape { channels: input.channels(), height, width },
        normalisation,
        classes: store.database.fact("classes")?,
        data: store.config.data.clone(),
        data_digest: store.database.meta("data_digest")?.unwrap_or_default(),
        provenance: Provenance {
            paretomorph: machine::version(),
            seed: store.config.seed,
            id,
            objectives: individual.objectives.clone(),
            weights: individual.weights.clone().unwrap_or_default(),
        },
    };
    Ok(Package { network, description })
}
