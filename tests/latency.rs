//! Latency that other programs measure, with commands of the shell for a board: some that work, and some that do not.
//!
//! The usual one calls a byte of the network's file a millisecond, so that a search with it is repeatable.

#![cfg(unix)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::*;
use paretomorph::individual::Individual;
use paretomorph::store::{MeasurementRow, Store};
use tempfile::TempDir;

const LATENCY: &[&str] = &["--objective", "error", "--objective", "latency"];

/// A command that appends a line to `log` when it has measured.
fn logged(log: &Path) -> String {
    format!("latency.command=wc -c < {{onnx}} | tee -a '{}'", log.display())
}

/// The arguments of a short search that minimises latency.
fn short<'a>(budget: &'a str, settings: &[&'a str]) -> Vec<&'a str> {
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    TINY.iter().chain(LATENCY).copied().chain(["--budget", budget]).chain(settings).collect()
}

fn lines(file: &Path) -> usize {
    fs::read_to_string(file).unwrap_or_default().lines().count()
}

/// What was measured of a run, and what was measured again.
fn measurements(run: &Path) -> (Vec<MeasurementRow>, Vec<MeasurementRow>) {
    let database = Store::read(run).unwrap().database;
    (database.measurements("latency").unwrap(), database.repeated_measurements("latency").unwrap())
}

/// Every individual has the latency that was measured of its architecture.
#[track_caller]
fn assert_measured(individuals: &[Individual], rows: &[MeasurementRow]) {
    assert!(!individuals.is_empty());
    for individual in individuals {
        let same = |row: &&MeasurementRow| row.architecture.fingerprint() == individual.fingerprint;
        let row = rows.iter().find(same).expect("measured");
        assert_eq!(row.value(), individual.objectives.get("latency").copied(), "{}", individual.id);
    }
}

/// A search that must fail with these words, and leave nothing behind.
#[track_caller]
fn no_search(settings: &[&str], parts: &[&str]) {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    fails(&[&["search", "--out", text(&out)], &short("6evals", settings)[..]].concat(), parts);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{settings:?} left something behind");
}

/// Whether nobody writes into `file` any more, soon.
fn falls_silent(file: &Path) -> bool {
    let size = || fs::metadata(file).unwrap().len();
    (0..100).any(|_| {
        let before = size();
        std::thread::sleep(std::time::Duration::from_millis(200));
        size() == before
    })
}

#[test]
fn a_command_measures_each_network_once_and_a_few_again_at_the_end() {
    let folder = TempDir::new().unwrap();
    let (run, log) = (folder.path().join("run"), folder.path().join("log"));
    let command = logged(&log);
    let out = search(&run, &short("10evals", &[&command]));
    let (rows, again) = measurements(&run);
    assert_measured(&individuals(&run), &rows);
    assert!(rows.len() > 10 && rows.iter().all(|row| row.seconds > 0.0 && row.predicted.is_none()));
    assert_eq!(lines(&log), rows.len() + again.len());
    let values: BTreeSet<u64> = again.iter().map(|row| row.value().unwrap() as u64).collect();
    assert_eq!(values.len(), 3, "the fastest, the middle and the slowest");
    let initial: Vec<_> = rows[..4].iter().map(|row| row.value().unwrap() as u64).collect();
    assert!(values.first() == initial.iter().min() && values.last() == initial.iter().max());
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    for text in [&out, &page, &ok(&["front", text(&run)])] {
        let text = text.replace('\u{a0}', " ");
        let measured = format!("Latency of {} networks was measured by `wc -c", rows.len());
        assert!(text.contains(&measured) && text.contains("% of the run"), "{text}");
        assert!(text.contains("differed from the first value by 0.00 % in the median"), "{text}");
    }
}

#[test]
fn several_runs_of_a_command_keep_their_spread() {
    let folder = TempDir::new().unwrap();
    let (run, log) = (folder.path().join("run"), folder.path().join("log"));
    // 1, 2, 3, ...: whatever is measured is measured differently.
    let file = log.display();
    let command = format!("latency.command=: {{onnx}}; echo x >> {file}; grep -c x {file}");
    search(&run, &short("4evals", &[&command, "latency.runs=5"]));
    let spread = measurements(&run).0[0].outcome.clone().unwrap();
    assert_eq!((spread.low, spread.value, spread.high), (2.0, 3.0, 4.0));
}

#[test]
fn a_command_that_never_works_ends_the_search_with_its_own_words() {
    let all = "any of the 4 initial networks";
    let fails = "latency.command=: {onnx}; echo no route to the board >&2; exit 7";
    no_search(&[fails], &["latency", all, "exit status: 7", "no route to the board"]);
    let hangs = "latency.command=echo held up >&2; sleep 1000 # {onnx}";
    let timeout = ["latency.timeout=0.2s", "latency.retries=0"];
    no_search(&[&[hangs], &timeout[..]].concat(), &[all, "killed after latency.timeout = 0.2s", "held up"]);
    no_search(&["latency.command=echo fast {onnx}"], &[all, "`fast /", "not a number of milliseconds"]);
    no_search(&["latency.command=: {onnx}"], &[all, "printed nothing"]);
    no_search(&["latency.command=: {onnx}; echo 0"], &[all, "above 0: `0`"]);
    no_search(&["latency.command=/no/such/bench {onnx}"], &[all, "exit status: 127", "/no/such/bench"]);
}

#[test]
fn a_wrong_setting_names_its_key() {
    no_search(&["latency.command=./bench"], &["`latency.command`", "{onnx}", "./bench"]);
    no_search(&["latency.with=board"], &["`latency.with`", "board", "onnxruntime"]);
    no_search(&["latency.with=command"], &["`latency.command`", "nothing"]);
    no_search(&["latency.timeout=soon"], &["`latency.timeout`", "a duration", "soon"]);
    no_search(&["latency.exclusive=false"], &["`latency.exclusive`"]);
    no_search(&["latency.runs=0"], &["`latency.runs`", "1 or more"]);
    no_search(&["latency.predictor=-1"], &["`latency.predictor`", "0 or more"]);
}

#[test]
fn a_failed_attempt_is_repeated() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let second = "latency.command=[ -e {onnx}.tried ] || { touch {onnx}.tried; exit 1; }; wc -c < {onnx}";
    no_search(&[second, "latency.retries=0"], &["exit status: 1"]);
    search(&run, &short("6evals", &[second]));
    assert!(measurements(&run).0.iter().all(|row| row.outcome.is_ok()));
}

/// Fails for every third network or so.
fn fickle(log: &Path) -> String {
    format!(
        "latency.command=n=$(wc -c < {{onnx}}); echo $n >> '{}'; \
         [ $((n / 4 % 3)) -gt 0 ] || {{ echo too large for the board >&2; exit 9; }}; echo $n",
        log.display()
    )
}

#[test]
fn a_network_that_cannot_be_measured_is_left_out_and_recorded() {
    let folder = TempDir::new().unwrap();
    let (run, log) = (folder.path().join("run"), folder.path().join("log"));
    let command = fickle(&log);
    let args: Vec<&str> = short("12evals", &[&command, "latency.retries=0"])
        .into_iter()
        .filter(|arg| *arg != "--quiet")
        .collect();
    let outcome = common::run(&[&["search", "--out", text(&run)], &args[..]].concat());
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    let (rows, again) = measurements(&run);
    let failed: Vec<_> = rows.iter().filter(|row| row.outcome.is_err()).collect();
    assert!(!failed.is_empty() && failed.len() < rows.len());
    let all = individuals(&run);
    assert_measured(&all, &rows);
    for row in &failed {
        let why = row.outcome.clone().unwrap_err();
        assert!(why.contains("exit status: 9") && why.contains("too large for the board"), "{why}");
        assert!(
            all.iter().all(|one| one.fingerprint != row.architecture.fingerprint()),
            "it was not trained"
        );
    }
    assert_eq!(lines(&log), rows.len() + again.len(), "what failed was asked once");
    let told = outcome.err.matches("it said: too large for the board").count();
    assert_eq!(told, failed.len(), "{}", outcome.err);
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains("could not be measured") && page.contains("too large for the board"));
}

#[test]
fn a_device_that_is_gone_ends_the_search() {
    let folder = TempDir::new().unwrap();
    for (name, rest) in [("measured", &[][..]), ("late", &["latency.predictor=4", "latency.exclusive=false"])]
    {
        let (run, log) = (folder.path().join(name), folder.path().join(name).with_extension("log"));
        let file = log.display();
        let command = format!(
            "latency.command=: {{onnx}}; echo x >> {file}; \
             [ $(grep -c x {file}) -le 6 ] || {{ echo gone >&2; exit 1; }}; echo 5"
        );
        let settings = [&[&*command, "latency.retries=0", "lemonade.proposals=60"], rest].concat();
        fails(
            &[&["search", "--out", text(&run)], &short("90evals", &settings)[..]].concat(),
            &["latency", "the last 20 networks", "gone"],
        );
        assert_eq!(lines(&log), 26, "{name}");
    }
}

#[test]
fn a_search_killed_while_measuring_goes_on_as_if_nothing_had_happened() {
    let folder = TempDir::new().unwrap();
    let (whole, log) = (folder.path().join("whole"), folder.path().join("log"));
    // What was measured of whatever length: failures are kept too.
    let command = fickle(&log);
    search(&whole, &short("16evals", &[&command, "latency.retries=0"]));
    let (rows, again) = measurements(&whole);
    let undisturbed = lines(&log);
    assert_eq!(undisturbed, rows.len() + again.len());

    fs::remove_file(&log).unwrap();
    let run = folder.path().join("killed");
    let args = [&["search", "--out", text(&run)], &short("16evals", &[&command, "latency.retries=0"])[..]];
    let mut kills = 0;
    for share in [0.4, 0.6, 0.8] {
        let resume = vec!["resume", text(&run), "--quiet"];
        let mut started =
            Running::start(&if run.join("run.sqlite").exists() { resume } else { args.concat() });
        let enough = (undisturbed as f64 * share) as usize;
        started.wait_until("so many measurements", || lines(&log) >= enough);
        kills += usize::from(started.kill());
    }
    assert!(kills > 0 && run.join("run.sqlite").exists());
    ok(&["resume", text(&run), "--quiet"]);
    let asked = lines(&log);
    assert!(asked <= undisturbed + kills, "{asked} of {undisturbed} after {kills} kills");
    assert_eq!(individuals(&whole), individuals(&run));
    assert_eq!(front(&whole), front(&run));
    let outcomes = |run| measurements(run).0.into_iter().map(|row| row.outcome).collect::<Vec<_>>();
    assert_eq!(outcomes(&whole), outcomes(&run));
}

/// A command that goes on for ever, with a sign of life in `log`, while there is a file `hang`.
fn hanging(log: &Path, hang: &Path) -> String {
    let (log, hang) = (log.display(), hang.display());
    format!("latency.command=while [ -e {hang} ]; do echo x >> {log}; sleep 0.02; done; wc -c < {{onnx}}")
}

#[test]
fn a_killed_search_leaves_no_command_behind() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (run, log, hang) = (path("run"), path("log"), path("hang"));
    fs::write(&hang, "").unwrap();
    let command = hanging(&log, &hang);
    let args = [&["search", "--out", text(&run)], &short("6evals", &[&command])[..]].concat();
    let mut started = Running::start(&args);
    started.wait_until("a measurement", || log.exists());
    assert!(started.kill());
    assert!(falls_silent(&log), "the command goes on");
}

#[test]
fn an_interrupted_measurement_is_no_failure() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (run, log, hang) = (path("run"), path("log"), path("hang"));
    let command = hanging(&log, &hang);
    let args = [&["search", "--out", text(&run)], &short("40evals", &[&command])[..]].concat();
    let mut started = Running::start(&args);
    started.wait_until("a run", || run.join("run.sqlite").exists());
    fs::write(&hang, "").unwrap();
    started.wait_until("a measurement", || log.exists());
    let pid = started.0.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert!(started.0.wait().unwrap().success(), "it ends in good order");
    assert!(falls_silent(&log), "the command goes on");
    let (rows, again) = measurements(&run);
    assert!(rows.iter().all(|row| row.outcome.is_ok()) && again.is_empty());
    fs::remove_file(&hang).unwrap();
    let trained = individuals(&run).len() + 4;
    ok(&["resume", text(&run), "--quiet", "--budget", &format!("{trained}evals")]);
    assert_measured(&individuals(&run), &measurements(&run).0);
}

#[test]
fn a_predictor_spares_measurements_and_never_stands_in_for_one() {
    let folder = TempDir::new().unwrap();
    let (run, log) = (folder.path().join("run"), folder.path().join("log"));
    let command = logged(&log);
    let settings = [command.as_str(), "latency.predictor=8", "lemonade.proposals=40"];
    let out = search(&run, &short("22evals", &settings));
    let (rows, again) = measurements(&run);
    assert_eq!(lines(&log), rows.len() + again.len());
    assert!(rows.len() < 40, "{} measurements", rows.len());
    assert!(rows[..8].iter().all(|row| row.predicted.is_none()));
    assert!(rows[8..].iter().all(|row| row.predicted.is_some_and(|value| value > 0.0)));
    assert_measured(&individuals(&run), &rows);
    assert!(
        out.contains(&format!("ranked {} networks", rows.len() - 8)) && out.contains("Spearman"),
        "{out}"
    );
}

#[test]
fn a_bound_holds_whether_latency_is_measured_predicted_or_measured_late() {
    let folder = TempDir::new().unwrap();
    let command = "latency.command=wc -c < {onnx}";
    let (early, late) = ("latency.exclusive=true", "latency.exclusive=false");
    for (name, settings) in [
        ("measured", vec![command]),
        ("predicted", vec![command, "latency.predictor=8", early]),
        ("late", vec![command, "latency.predictor=8", late]),
    ] {
        let run = folder.path().join(name);
        search(&run, &[&short("20evals", &settings)[..], &["--max", "latency=30000"]].concat());
        let (rows, _) = measurements(&run);
        let far_over =
            rows[4..].iter().filter(|row| row.predicted.is_some_and(|value| value > 1.25 * 30_000.0));
        assert_eq!(
            far_over.count(),
            0,
            "{name}: a prediction this far over the bound is not worth measuring"
        );
        let all = individuals(&run);
        assert_measured(&all, &rows);
        let within = |one: &Individual| one.objectives["latency"] <= 30_000.0;
        assert!(name == "late" || all.iter().all(within), "{name}: trained over its bound");
        let front = front(&run);
        let front = front.as_array().unwrap();
        assert!(!front.is_empty(), "{name}");
        assert!(front.iter().all(|one| one["objectives"]["latency"].as_f64().unwrap() <= 30_000.0), "{name}");
    }
}

#[test]
fn training_goes_on_while_another_device_measures() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (run, log, hang) = (path("run"), path("log"), path("hang"));
    let command = hanging(&log, &hang);
    let settings =
        [command.as_str(), "latency.predictor=4", "latency.exclusive=false", "latency.timeout=10m"];
    let args = [&["search", "--out", text(&run)], &short("10evals", &settings)[..]].concat();
    let mut started = Running::start(&args);
    started.wait_until("a run", || run.join("run.sqlite").exists());
    fs::write(&hang, "").unwrap();
    started.wait_until("a measurement", || log.exists());
    let generation = individuals(&run).last().map_or(1, |last| last.generation + 1);
    let trained = || {
        let jobs = Store::read(&run).unwrap().database.jobs(generation).unwrap();
        !jobs.is_empty() && jobs.iter().all(|row| row.result.is_some())
    };
    started.wait_until("trained children", trained);
    let committed = individuals(&run).len();
    assert!(committed < 10, "children without their latency are not committed");
    fs::remove_file(&hang).unwrap();
    assert!(started.0.wait().unwrap().success());
    let all = individuals(&run);
    assert_eq!(all.len(), 10);
    assert_measured(&all, &measurements(&run).0);
}

/// A stand-in for a Python: a script of the shell, called with `-c SCRIPT FILE WARMUP REPEATS`, or without the last three.
fn python(folder: &Path, times: &str) -> PathBuf {
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = -c ] || exit 3\nif [ $# = 2 ]; then echo 1; exit; fi\n\
         [ $# = 5 ] && [ -s \"$3\" ] && [ $4 = 2 ] && [ $5 = 3 ] || exit 4\necho noise\n{times}\n"
    );
    let file = folder.join("python");
    fs::write(&file, script).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    file
}

#[test]
fn onnx_runtime_gets_the_file_and_the_counts_and_gives_a_spread() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let interpreter = python(folder.path(), "n=$(wc -c < \"$3\"); echo $((n + 2)) $n $((n + 1))");
    let interpreter = format!("latency.python={}", interpreter.display());
    let counts = ["latency.with=onnxruntime", "latency.warmup=2", "latency.repeats=3", interpreter.as_str()];
    let out = search(&run, &short("5evals", &counts));
    assert!(out.contains("measured by ONNX Runtime"), "{out}");
    let (rows, _) = measurements(&run);
    for row in &rows {
        let spread = row.outcome.clone().unwrap();
        assert_eq!((spread.low, spread.high), (spread.value, spread.value + 1.0));
    }
}

#[test]
fn a_python_without_onnx_runtime_is_refused_before_anything_begins() {
    let without = ["latency.with=onnxruntime", "latency.python=/no/such/python"];
    no_search(&without, &["`latency.python`", "/no/such/python", "pip install onnxruntime"]);
    let without = ["latency.with=onnxruntime", "latency.python='false'"];
    no_search(&without, &["`latency.python`", "`false`", "exit status: 1"]);
    // Nobody asks for latency: nobody asks for Python.
    let folder = TempDir::new().unwrap();
    search(&folder.path().join("run"), &[TINY, &["--budget=2evals", "--set", without[0]]].concat());
}
