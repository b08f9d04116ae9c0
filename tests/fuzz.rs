//! `paretomorph fuzz`, from the outside.

mod common;

use std::fs;
use std::path::PathBuf;

use candle_core::{DType, Device};
use morphisms::fuzz::{Case, CaseEdit, Failure, Values};
use morphisms::{Conv, Draft, Network, Shape, catalog};
use serde_json::{Value, json};
use tempfile::TempDir;

use common::{PROGRAM, fails, ok, text};

/// A summary without the times, which no two calls have in common.
fn timeless(args: &[&str]) -> Value {
    let mut summary: Value = serde_json::from_str(&ok(&[&["fuzz", "--json"], args].concat())).unwrap();
    for key in ["seconds", "networks_per_second"] {
        assert!(summary.as_object_mut().unwrap().remove(key).unwrap().as_f64() > Some(0.0));
    }
    for tally in summary["morphisms"].as_object_mut().unwrap().values_mut() {
        for key in ["slowest", "seconds"] {
            assert!(tally.as_object_mut().unwrap().remove(key).is_some());
        }
    }
    summary
}

#[test]
fn the_summary_is_the_same_for_any_number_of_workers() {
    let summary = |workers| timeless(&["--cases", "60", "--seed", "3", "--workers", workers]);
    let one = summary("1");
    assert_eq!(one, summary("3"));
    assert_eq!((&one["cases"], &one["failure"]), (&json!(60), &json!(null)));
    let counts =
        one["morphisms"].as_object().unwrap().values().map(|tally| tally["rewrites"].as_u64().unwrap());
    assert_eq!(Some(counts.sum()), one["rewrites"].as_u64());
    assert_ne!(one, timeless(&["--cases", "60", "--seed", "4"]));
}

#[test]
fn the_table_has_a_row_for_each_morphism_that_was_asked_for() {
    let out = ok(&["fuzz", "--cases", "30", "--morphism", "widen", "--morphism", "prune", "--dtype", "f32"]);
    for part in ["widen", "prune", "of its bound", "30 cases"] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(!out.contains("deepen"), "{out}");
    let training = ok(&["fuzz", "--cases", "30", "--train-mode", "--chain", "3"]);
    catalog::all().iter().for_each(|morphism| assert!(training.contains(morphism.name()), "{training}"));
}

#[test]
fn options_that_make_no_sense_are_named() {
    fails(&["fuzz", "--morphism", "wide"], &["--morphism", "one of", "\"wide\"", "the nearest is \"widen\""]);
    fails(&["fuzz", "--chain", "0"], &["--chain", "found 0"]);
    fails(&["fuzz", "--train-mode", "--dtype", "f32"], &["--train-mode", "f64"]);
    fails(&["fuzz", "--device", "tpu"], &["cpu or cuda:N", "`tpu`"]);
    fails(&["fuzz", "--dtype", "f16"], &["f16", "f32"]);
    fails(&["fuzz", "--replay", "x.json", "--seed", "1"], &["--replay", "--seed"]);
}

/// A failure by hand: a widened convolution, in which nothing is wrong.
fn failure() -> Failure {
    let mut draft = Draft::new(Shape::map(1, 4, 4));
    let x = draft.conv_bn_relu(draft.input(), Conv::same(2, 3));
    draft.head(x, 3);
    let network = Network::init(draft.build().unwrap(), 0, DType::F64, &Device::Cpu).unwrap();
    let sites = catalog::named("widen").unwrap().sites(network.architecture());
    let site = sites.into_iter().find(|site| site.variant == "replicate").unwrap();
    let weights = network.weights().iter().map(|(key, tensor)| {
        let values = tensor.flatten_all().unwrap().to_vec1().unwrap();
        (key, Values { shape: tensor.dims().to_vec(), values })
    });
    let case = Case {
        dtype: DType::F64,
        train_mode: false,
        images: 0,
        edits: vec![CaseEdit { morphism: "widen".into(), site: site.clone(), seed: 0 }],
        architecture: network.architecture().clone(),
        weights: weights.collect(),
    };
    let problem = "the logits differ".into();
    Failure { seed: 0, index: 0, morphism: "widen".into(), site: Some(site), problem, case }
}

/// A file with the failure by hand, changed.
fn saved(folder: &TempDir, change: impl FnOnce(&mut Value)) -> PathBuf {
    let mut document = serde_json::to_value(failure()).unwrap();
    change(&mut document);
    let file = folder.path().join("failure.json");
    fs::write(&file, document.to_string()).unwrap();
    file
}

#[test]
fn a_mended_failure_passes_and_one_that_cannot_be_followed_fails() {
    let folder = TempDir::new().unwrap();
    let replay = |change: fn(&mut Value)| saved(&folder, change);
    assert!(ok(&["fuzz", "--replay", text(&replay(|_| {}))]).contains("every promise is kept"));
    let gone = replay(|failure| failure["case"]["edits"][0]["site"]["amount"] = json!(1000));
    assert!(ok(&["fuzz", "--replay", text(&gone)]).contains("no site at"));
    // Twins that cancel each other: halves of 1e12 times a number no longer do.
    let fails_again = replay(|failure| {
        let weights = &mut failure["case"]["weights"];
        let kernel = weights["1.weight"]["values"].as_array_mut().unwrap();
        let twin: Vec<Value> = kernel[..9].iter().chain(&kernel[..9]).cloned().collect();
        *kernel = twin;
        weights["6.weight"]["values"] = json!([1e12, -1e12, 1e12, -1e12, 1e12, -1e12]);
    });
    let parts = [text(&fails_again), "still fails: widen at 1", "the logits differ by"];
    fails(&["fuzz", "--replay", text(&fails_again)], &parts);
}

#[test]
fn a_bad_file_is_named_with_its_key_and_what_is_there() {
    let folder = TempDir::new().unwrap();
    let refused = |parts: &[&str], change: fn(&mut Value)| {
        let file = saved(&folder, change);
        fails(&["fuzz", "--replay", text(&file)], &[&[text(&file)], parts].concat());
    };
    refused(&["key `case.edits[0].seed`", "expected u64", "found invalid type: string \"x\""], |failure| {
        failure["case"]["edits"][0]["seed"] = json!("x");
    });
    refused(&["key `case.dtype`", "`f32`", "unknown variant `f16`"], |failure| {
        failure["case"]["dtype"] = json!("f16");
    });
    refused(&["key `case", "missing field `images`"], |failure| {
        failure["case"].as_object_mut().unwrap().remove("images");
    });
    refused(&["key `case.weights", "parameter name: expected LAYER.ROLE"], |failure| {
        failure["case"]["weights"]["colour"] = json!({ "shape": [], "values": [] });
    });
    refused(&["case", "1.weight", "1 values for the shape"], |failure| {
        failure["case"]["weights"]["1.weight"]["values"] = json!([1.0]);
    });
    refused(&["case", "the logits are not finite"], |failure| {
        failure["case"]["weights"]["6.bias"]["values"][0] = json!(f64::MAX);
        failure["case"]["weights"]["6.weight"]["values"][0] = json!(f64::MAX);
    });
    refused(&["case", "expected one of deepen", "`wide`"], |failure| {
        failure["case"]["edits"][0]["morphism"] = json!("wide");
    });
    fails(&["fuzz", "--replay", "no/such.json"], &["cannot read no/such.json"]);
}

#[test]
fn help_says_what_is_checked() {
    // However the terminal wraps it.
    let help = ok(&["fuzz", "--help"]).split_whitespace().collect::<Vec<_>>().join(" ");
    for part in ["promised bounds", "--replay <FILE>", "fuzz-failures", "exit status"] {
        assert!(help.contains(part), "{part}: {help}");
    }
}

/// The first Ctrl-C ends the cases, and the summary so far is printed.
#[cfg(unix)]
#[test]
fn ctrl_c_prints_the_summary_so_far() {
    use std::process::{Command, Stdio};
    let mut program = Command::new(PROGRAM);
    program.args(["fuzz", "--cases", "100000000", "--json", "--workers", "1"]);
    let child = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(2));
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success() && summary["cases"].as_u64() < Some(100_000_000), "{summary}");
}
