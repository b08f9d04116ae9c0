//! Whole studies, by the program.

mod common;

use std::fs;

use common::{Running, fails, ok};
use paretomorph::store::Store;

const STUDY: &str = r#"
title = "Tiny"
seeds = 2
budget = "0.9Gmacs"
baseline = "random"
[[objective]]
name = "error"
ideal = 0.0
reference = 0.9
[[objective]]
name = "params"
ideal = 400
reference = 100000
scale = "log"
[settings]
data.limit = 120
recipe = { epochs = 1, initial_epochs = 2 }
lemonade = { accepted = 3, proposals = 6 }
[[method]]
name = "lemonade"
[[method]]
name = "from scratch"
settings.lemonade.inherit = false
[[method]]
name = "random"
settings.strategy = "random"
"#;

/// Compute of every run of a study, and the errors of its networks.
fn runs(folder: &std::path::Path) -> Vec<(String, f64, Vec<f64>)> {
    let mut found: Vec<_> = fs::read_dir(folder.join("runs"))
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let individuals = Store::read(&entry.path()).unwrap().database.individuals().unwrap();
            let errors = individuals.iter().map(|one| one.objectives["error"]).collect();
            let compute = individuals.iter().map(|one| one.compute).sum();
            (entry.file_name().to_string_lossy().into_owned(), compute, errors)
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

#[test]
fn a_study_that_trains_keeps_to_its_compute_and_survives_a_kill() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("tiny.toml");
    fs::write(&file, STUDY).unwrap();
    let (whole, killed) = (home.path().join("whole"), home.path().join("killed"));
    let args = |folder: &std::path::Path, workers: &str| {
        let (file, folder) = (file.display().to_string(), folder.display().to_string());
        ["study", &file, "--out", &folder, "--quiet", "--workers", workers].map(String::from).to_vec()
    };
    let text = ok(&args(&whole, "2"));
    assert!(text.contains("Tiny") && text.contains("from scratch") && text.contains("study.html"), "{text}");

    let killed_args = args(&killed, "1");
    let mut running = Running::start(&killed_args.iter().map(String::as_str).collect::<Vec<_>>());
    // In the middle of the second run.
    running.wait_until("the second run", || killed.join("runs/from-scratch-0/run.sqlite").exists());
    assert!(running.kill());
    ok(&args(&killed, "2"));

    let (of_whole, of_killed) = (runs(&whole), runs(&killed));
    assert_eq!(of_whole, of_killed, "the same runs, whatever the number of workers and kills");
    assert_eq!(of_whole.len(), 6);
    for (name, compute, errors) in &of_whole {
        assert!(*compute <= 0.9e9 && errors.len() >= 4, "{name}: {compute} {}", errors.len());
    }
    let inherits = |name: &str| {
        let store = Store::read(&whole.join("runs").join(name)).unwrap();
        store.database.individuals().unwrap().iter().any(|one| one.parent.is_some())
    };
    assert!(inherits("lemonade-0") && !inherits("from-scratch-0") && !inherits("random-0"));
    let page = fs::read_to_string(whole.join("study.html")).unwrap();
    assert!(page.contains("multiply-adds of training") && page.contains("The union front"));
}

#[test]
fn a_study_that_cannot_be_carried_out_is_refused_before_it_begins() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("study.toml");
    let out = home.path().join("out");
    let args = ["study", file.to_str().unwrap(), "--out", out.to_str().unwrap()];
    fails(&args, &["study.toml"]);
    for (from, to, parts) in [
        ("0.9Gmacs", "1Kmacs", ["budget `1Kmacs`", "25Tmacs"]),
        ("settings.strategy = \"random\"", "settings.strategy = \"de\"", ["strategy", "sms_emoa"]),
        ("data.limit = 120", "data.nme = \"digits\"", ["data.nme", "[settings]"]),
        ("name = \"params\"", "name = \"weight\"", ["objectives", "params"]),
    ] {
        fs::write(&file, STUDY.replace(from, to)).unwrap();
        fails(&args, &parts);
        assert!(!out.exists(), "{to}");
    }
    // A folder that holds something else is left alone.
    fs::write(&file, STUDY).unwrap();
    fs::create_dir(&out).unwrap();
    fs::write(out.join("letter.txt"), "dear").unwrap();
    fails(&args, &["study.sqlite", "--out"]);
}
