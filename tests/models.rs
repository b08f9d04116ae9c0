//! Networks that leave the program as ONNX models, and come in: `export`, `inspect`, `morph`, `search --from`.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use candle_core::{DType, Tensor};
use common::*;
use morphisms::onnx::{ExportOptions, Import, ImportOptions};
use morphisms::{Network, Shape, catalog};
use paretomorph::data::Dataset;
use paretomorph::individual::{Edit, Individual};
use paretomorph::search::{load_data, load_network};
use paretomorph::store::Store;
use serde_json::Value;
use tempfile::TempDir;

/// A search of a few seconds, read by all tests and changed by none.
static RUN: LazyLock<PathBuf> = LazyLock::new(|| {
    let run = Path::new(env!("CARGO_TARGET_TMPDIR")).join("models");
    if run.exists() {
        fs::remove_dir_all(&run).unwrap();
    }
    search(&run, &[TINY, &["--set=keep_weights=all", "--budget=8evals"]].concat());
    run
});

fn network(run: &Path, id: u64) -> Network {
    load_network(&Store::read(run).unwrap(), &individuals(run)[id as usize]).unwrap()
}

fn data() -> Dataset {
    load_data(&Store::read(&RUN).unwrap()).unwrap()
}

/// The largest difference of two networks' logits, by the largest logit.
fn moved(a: &Network, on_a: &Tensor, b: &Network, on_b: &Tensor) -> f32 {
    let largest = |tensor: &Tensor| tensor.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    let (a, b) = (a.logits(on_a).unwrap(), b.logits(on_b).unwrap());
    largest(&(&a - b).unwrap()) / largest(&a)
}

fn norms(network: &Network) -> usize {
    network.architecture().nodes().filter(|node| node.layer.to_string() == "batch norm").count()
}

fn metadata(import: &Import, key: &str) -> Value {
    serde_json::from_str(&import.metadata[key]).unwrap()
}

#[test]
fn an_exported_model_says_what_it_is_and_computes_the_same() {
    let (folder, data) = (TempDir::new().unwrap(), data());
    let individual = &individuals(&RUN)[5];
    let original = network(&RUN, 5);
    let pixels = &data.validation.pixels[..16 * data.shape.volume()];
    let images = data.normalisation.tensor(pixels, data.shape).unwrap();
    let (height, width) = (data.shape.height, data.shape.width);
    let raw: Vec<f32> = pixels.iter().map(|&byte| byte.into()).collect();
    let raw = Tensor::from_vec(raw, (16, data.shape.channels, height, width), images.device()).unwrap();
    for (options, input, images) in [
        (&[][..], "images", &images),
        (&["--no-fold"], "images", &images),
        (&["--normalise"], "pixels", &raw),
    ] {
        let dir = folder.path().join(options.concat());
        ok(&[&["export", text(&RUN), "5", text(&dir), "--format=onnx"], options].concat());
        let import = Import::load(dir.join("network-5.onnx"), &ImportOptions::default()).unwrap();
        assert_eq!((import.input_name.as_str(), import.output_name.as_str()), (input, "logits"));
        let normal = data.normalisation.tensor(pixels, data.shape).unwrap();
        let moved = moved(&original, &normal, &import.network, images);
        assert!(moved < 1e-5, "{options:?}: {moved}");
        let folded = original.fold_batch_norms().unwrap();
        let expected = if options == ["--no-fold"] { norms(&original) } else { norms(&folded) };
        assert_eq!(norms(&import.network), expected);
        assert_eq!(metadata(&import, "classes"), serde_json::to_value(&data.classes).unwrap());
        assert_eq!(metadata(&import, "id"), 5);
        assert_eq!(metadata(&import, "seed"), 0);
        assert_eq!(metadata(&import, "objectives"), serde_json::to_value(&individual.objectives).unwrap());
    }
}

#[test]
fn the_whole_front_is_exported_with_a_list() {
    let folder = TempDir::new().unwrap();
    for format in ["onnx", "safetensors"] {
        let dir = folder.path().join(format);
        let printed = ok(&["export", text(&RUN), "--front", text(&dir), "--format", format]);
        let list: Value = serde_json::from_str(&fs::read_to_string(dir.join("front.json")).unwrap()).unwrap();
        let (list, front) = (list.as_array().unwrap(), front(&RUN));
        assert!(printed.contains(&format!("{} networks", list.len())), "{printed}");
        assert_eq!(list.len(), front.as_array().unwrap().len());
        for (entry, member) in list.iter().zip(front.as_array().unwrap()) {
            assert_eq!((&entry["id"], &entry["objectives"]), (&member["id"], &member["objectives"]));
            assert!(entry["test_error"].is_f64());
            let path = dir.join(entry["path"].as_str().unwrap());
            let loaded = if format == "onnx" { Network::load_onnx(path) } else { Network::load(path) };
            let id = entry["id"].as_u64().unwrap();
            let images = morphisms::check::images(Shape::map(1, 8, 8), 4, 0, DType::F32).unwrap();
            assert!(moved(&network(&RUN, id), &images, &loaded.unwrap(), &images) < 1e-5);
        }
    }
    fails(&["export", text(&RUN), "0", text(folder.path()), "--normalise"], &["--format onnx"]);
}

/// A small model in a file.
fn model(folder: &TempDir) -> PathBuf {
    let builder = Network::builder(Shape::map(3, 12, 10));
    let network = builder.conv_bn_relu(6, 3).max_pool(2).conv_bn_relu(8, 3).head(5).init(3).unwrap();
    let path = folder.path().join("model.onnx");
    network.save_onnx(&path, &ExportOptions { softmax: true, ..ExportOptions::default() }).unwrap();
    path
}

#[test]
fn a_model_is_inspected_and_drawn() {
    let folder = TempDir::new().unwrap();
    let path = model(&folder);
    for (name, begins) in [("a.svg", &b"<svg"[..]), ("a.png", b"\x89PNG")] {
        let drawing = folder.path().join(name);
        let printed = ok(&["inspect", text(&path), "--draw", text(&drawing)]);
        let layers = ["conv 3x3, 6", "max pool 2x2", "linear 5", "9 layers, images of 3x12x10, 5 classes"];
        let morphisms = catalog::all().iter().map(|morphism| morphism.name());
        for part in layers.into_iter().chain(morphisms).chain(["softmax"]) {
            assert!(printed.contains(part), "{part} is not in {printed}");
        }
        assert!(fs::read(drawing).unwrap().starts_with(begins));
    }
    fails(&["inspect", text(&path), "--draw=picture.gif"], &["picture.gif", ".svg or .png"]);
}

#[test]
fn morphisms_are_applied_by_hand_or_at_random() {
    let folder = TempDir::new().unwrap();
    let path = model(&folder);
    let listed = ok(&["morph", text(&path), "widen"]);
    assert!(listed.contains("Where widen applies") && listed.contains("fresh"), "{listed}");
    let out = folder.path().join("out.onnx");
    let by_hand = ["morph", text(&path), "widen", "deepen", "--site=0", "--site=1", "-o", text(&out)];
    let at_random = ["morph", text(&path), "--random=20", "--exact", "--seed=4", "-o", text(&out)];
    let load = |path: &Path| Import::load(path, &ImportOptions::default()).unwrap();
    let before = load(&path);
    let images = morphisms::check::images(Shape::map(3, 12, 10), 4, 0, DType::F32).unwrap();
    for (args, steps) in [(&by_hand[..], 2), (&at_random, 20)] {
        let printed = ok(args);
        assert!(
            printed.contains(&format!("\n{steps}. ")) && !printed.contains(&format!("\n{}. ", steps + 1))
        );
        let after = load(&out);
        assert!(after.softmax, "the file written is the same model around another network");
        let (small, large) = (before.network.architecture(), after.network.architecture());
        assert!(large.parameter_count() > small.parameter_count());
        assert!(moved(&before.network, &images, &after.network, &images) < 1e-5);
    }
    let dir = folder.path().join("folder");
    ok(&["morph", text(&path), "prune", "--site=0", "-o", text(&dir)]);
    assert!(
        Network::load(dir).unwrap().architecture().parameter_count()
            < before.network.architecture().parameter_count()
    );
}

#[test]
fn what_cannot_be_morphed_is_told_and_nothing_is_written() {
    let folder = TempDir::new().unwrap();
    let path = model(&folder);
    let out = folder.path().join("out.onnx");
    let to = ["-o", text(&out)];
    let morph = |args: &[&'static str]| [&["morph", text(&path)], args, &to].concat();
    fails(&morph(&["wide", "--site=0"]), &["unknown morphism `wide`", "widen"]);
    fails(&morph(&["widen", "--site=999"]), &["--site 999", "the sites 0 to"]);
    fails(&morph(&["widen", "deepen", "--site=0"]), &["one for each of 2 morphisms, found 1"]);
    fails(&morph(&[]), &["which morphism?"]);
    fails(&morph(&["prune", "--random=1", "--exact"]), &["no morphism applies"]);
    let junk = folder.path().join("junk.onnx");
    fs::write(&junk, "no model").unwrap();
    fails(&["inspect", text(&junk)], &["junk.onnx", "not a complete model"]);
    fails(&["inspect", "nowhere.onnx"], &["nowhere.onnx"]);
    fails(&["inspect", text(&path), "--input-shape=1x12x10"], &["model.onnx", "but 1x12x10 is asked for"]);
    assert!(!out.exists());
}

/// Exports the network 4 of the run, as a model for other searches.
fn exported(folder: &TempDir) -> PathBuf {
    ok(&["export", text(&RUN), "4", text(folder.path()), "--format=onnx", "--no-fold"]);
    folder.path().join("network-4.onnx")
}

#[test]
fn a_search_starts_from_given_networks_as_they_are() {
    let folder = TempDir::new().unwrap();
    let (model, out) = (exported(&folder), folder.path().join("run"));
    let from = ["--from", text(&model)];
    search(&out, &[TINY, &from, &["--budget=1evals"]].concat());
    let first = &individuals(&out)[0];
    let error = individuals(&RUN)[4].objectives["error"];
    assert_eq!((first.epochs, first.parent, first.objectives["error"]), (0, None, error));
    let lineage = ok(&["lineage", text(&out), "0"]);
    assert!(lineage.contains("given, ") && lineage.contains("network-4.onnx"), "{lineage}");
    // The file is not needed any more, and a search that was interrupted finds what one that was not does.
    let whole = folder.path().join("whole");
    search(&whole, &[TINY, &from, &["--budget=10evals"]].concat());
    fs::remove_file(&model).unwrap();
    ok(&["resume", text(&out), "--budget=10evals", "--quiet"]);
    assert_eq!(individuals(&out), individuals(&whole));
    let params = |id: usize| individuals(&out)[id].architecture.parameter_count();
    assert!((1..10).any(|id| params(id) < params(0)), "nothing smaller than what was given was tried");
    assert!(individuals(&out)[1..].iter().all(|child| child.parent.is_some()), "all descend from it");
}

#[test]
fn a_given_network_on_pixels_is_brought_to_unit_scale_and_decides_the_same() {
    let folder = TempDir::new().unwrap();
    let (out, dir) = (folder.path().join("run"), folder.path().join("model"));
    ok(&["export", text(&RUN), "4", text(&dir), "--format=onnx", "--normalise"]);
    let model = dir.join("network-4.onnx");
    let from = ["--from", text(&model), "--set=data.normalise=raw", "--set=keep_weights=all"];
    search(&out, &[TINY, &from, &["--budget=8evals"]].concat());
    let std = Store::read(&out).unwrap().config.data.std;
    let times = std[0] * 255.0;
    let power = times.log2();
    assert!(
        power >= 4.0 && (power - power.round()).abs() < 1e-6,
        "pixels are divided by a power of two: {std:?}"
    );
    let (all, error) = (individuals(&out), individuals(&RUN)[4].objectives["error"]);
    assert_eq!((all[0].epochs, all[0].objectives["error"]), (0, error));
    let inherited = |one: &&Individual| one.edits.iter().all(Edit::is_exact) && one.parent == Some(0);
    assert!(all[1..].iter().filter(inherited).all(|one| one.first_error == Some(error)));
    // What leaves takes pixels again.
    ok(&["export", text(&out), "0", text(&dir), "--format=onnx", "--normalise"]);
    let load = |name: &str| Import::load(dir.join(name), &ImportOptions::default()).unwrap().network;
    let pixels = data().validation.pixels[..64].iter().map(|&byte| f32::from(byte)).collect();
    let pixels = Tensor::from_vec(pixels, (1, 1, 8, 8), &candle_core::Device::Cpu).unwrap();
    let difference = moved(&load("network-4.onnx"), &pixels, &load("network-0.onnx"), &pixels);
    assert!(difference < 1e-5, "{difference}");
}

#[test]
fn given_networks_that_do_not_suit_the_data_are_refused_before_anything_is_written() {
    let folder = TempDir::new().unwrap();
    let (other, own) = (model(&folder), exported(&folder));
    let out = folder.path().join("run");
    let refused = |args: &[&str], parts: &[&str]| {
        fails(&[&["search", "--out", text(&out)], TINY, args].concat(), parts);
        assert!(!out.exists());
    };
    refused(&["--from", text(&other)], &["model.onnx", "shape of an image", "1x8x8", "3x12x10"]);
    refused(
        &["--from", text(&own), "--set=data.normalise=unit"],
        &["network-4.onnx", "metadata `mean`", "data.mean"],
    );
    refused(&["--from=nowhere.onnx"], &["nowhere.onnx"]);
    refused(&["--set=data.normalise=none"], &["data.normalise", "standard, unit, raw"]);
    refused(&["--set=data.mean=[0.5,0.5]", "--set=data.std=[1,1]"], &["data.mean", "each of 1 channels"]);
    refused(&["--set=data.mean=[0.5]"], &["data.std", "1 numbers"]);
}
