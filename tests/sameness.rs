//! A seed and a budget decide a run: not the number of workers, not how often it was stopped or killed.

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use common::*;
use paretomorph::config::Config;
use paretomorph::progress::{Event, Observer};
use paretomorph::search::{EndReason, Search};
use paretomorph::stop::Stop;
use paretomorph::store::Store;
use tempfile::TempDir;

/// Several generations, several epochs a child, in a second.
const SETTINGS: &[&str] = &[
    "data.limit=120",
    "recipe.epochs=3",
    "recipe.initial_epochs=3",
    "lemonade.accepted=4",
    "lemonade.proposals=12",
];
const BUDGET: &str = "22evals";

fn small<'a>(command: &'a str, out: &'a Path, rest: &[&'a str]) -> Vec<&'a str> {
    let settings = SETTINGS.iter().flat_map(|setting| ["--set", setting]);
    [command, "--out", text(out), "--quiet"].into_iter().chain(settings).chain(rest.iter().copied()).collect()
}

/// The run that nobody disturbs, and how long it takes with one worker.
fn undisturbed(folder: &TempDir, budget: &str) -> (std::path::PathBuf, Duration) {
    let (out, begun) = (folder.path().join("undisturbed"), Instant::now());
    ok(&small("search", &out, &["--budget", budget, "--workers", "1"]));
    (out, begun.elapsed())
}

/// The same individuals, the same front, and the same bytes in the front's weight files.
#[track_caller]
fn assert_same(a: &Path, b: &Path) {
    let (fronts, all) = ((front(a), front(b)), (individuals(a), individuals(b)));
    for (a, b) in all.0.iter().zip(&all.1) {
        assert_eq!(a, b);
    }
    assert_eq!(all.0.len(), all.1.len());
    assert_eq!(fronts.0, fronts.1);
    let members = fronts.0.as_array().unwrap();
    assert!(!members.is_empty());
    for member in members {
        let hash = member["weights"].as_str().unwrap();
        let [a, b] =
            [a, b].map(|run| std::fs::read(run.join("weights").join(format!("{hash}.safetensors"))).unwrap());
        assert!(a == b && blake3::hash(&a).to_hex().as_str() == hash, "{hash}");
    }
}

#[test]
fn the_number_of_workers_changes_nothing_and_the_seed_everything() {
    let folder = TempDir::new().unwrap();
    let (one, _) = undisturbed(&folder, BUDGET);
    for workers in ["2", "3"] {
        let out = folder.path().join(workers);
        ok(&small("search", &out, &["--budget", BUDGET, "--workers", workers]));
        assert_same(&one, &out);
    }
    let other = folder.path().join("other");
    ok(&small("search", &other, &["--budget", BUDGET, "--seed", "1"]));
    let weights = |run| individuals(run).into_iter().map(|i| i.weights).collect::<Vec<_>>();
    let (zero, one) = (weights(&one), weights(&other));
    assert!(zero.iter().all(|hash| !one.contains(hash)), "{zero:?} {one:?}");
}

/// Starts the search or goes on with it, whichever applies, and kills it after `delay`; whether it was at work.
fn killed_after(delay: Duration, out: &Path, workers: &str) -> bool {
    let args = match out.join("run.sqlite").exists() {
        true => vec!["resume", text(out), "--workers", workers, "--quiet"],
        false => small("search", out, &["--budget", BUDGET, "--workers", workers]),
    };
    let running = Running::start(&args);
    std::thread::sleep(delay);
    running.kill()
}

/// The files of a run, relative to its folder.
fn names(run: &Path) -> Vec<std::path::PathBuf> {
    contents(run).into_keys().map(|path| path.strip_prefix(run).unwrap().to_owned()).collect()
}

#[test]
fn a_search_killed_again_and_again_ends_as_if_nothing_had_happened() {
    let folder = TempDir::new().unwrap();
    let (whole, duration) = undisturbed(&folder, BUDGET);
    let shares = [0.31, 0.12, 0.07, 0.22, 0.03, 0.17, 0.05, 0.26, 0.11, 0.34];
    for attempt in 0..6 {
        let out = folder.path().join(format!("killed-{attempt}"));
        let mut kills = 0;
        for (share, workers) in shares.iter().zip(["1", "2"].into_iter().cycle()) {
            let delay = duration.mul_f64(share / f64::from(1 << attempt));
            if !killed_after(delay, &out, workers) {
                break;
            }
            kills += 1;
        }
        if out.join("run.sqlite").exists() {
            ok(&["resume", text(&out), "--quiet"]);
            assert_same(&whole, &out);
            assert_eq!(names(&out), names(&whole), "something was left behind");
            if kills >= 4 {
                return;
            }
        }
        // The machine was busy with something else while the duration was measured: again, with shorter delays.
    }
    panic!("the search ended before it could be killed four times");
}

#[test]
fn a_search_killed_while_it_starts_can_be_started_again_or_resumed() {
    let folder = TempDir::new().unwrap();
    let (whole, _) = undisturbed(&folder, BUDGET);
    let out = folder.path().join("killed");
    for milliseconds in 0..30 {
        killed_after(Duration::from_millis(milliseconds), &out, "2");
    }
    match out.join("run.sqlite").exists() {
        true => ok(&["resume", text(&out), "--quiet"]),
        false => ok(&small("search", &out, &["--budget", BUDGET])),
    };
    assert_same(&whole, &out);
}

#[test]
fn finishing_a_network_can_be_killed_too() {
    let folder = TempDir::new().unwrap();
    let whole = folder.path().join("whole");
    ok(&small("search", &whole, &["--budget", "2evals"]));
    let killed = copy(&whole, &folder.path().join("killed"));
    let finish = |run| ["finish", run, "0", "1", "--epochs", "12"];
    let begun = Instant::now();
    ok(&finish(text(&whole)));
    let duration = begun.elapsed();
    for share in [0.6, 0.2, 0.5, 0.1] {
        let running = Running::start(&finish(text(&killed)));
        std::thread::sleep(duration.mul_f64(share));
        running.kill();
    }
    ok(&finish(text(&killed)));
    let results = |run| -> std::collections::BTreeSet<_> {
        let rows = Store::read(run).unwrap().database.finished().unwrap();
        rows.into_iter().map(|row| (row.individual, row.weights, row.test_error.to_bits())).collect()
    };
    assert_eq!(results(&whole).len(), 2);
    assert_eq!(results(&whole), results(&killed));
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_with_front_and_report_and_the_search_can_go_on() {
    let folder = TempDir::new().unwrap();
    let (whole, _) = undisturbed(&folder, BUDGET);
    let out = folder.path().join("interrupted");
    let mut running = Running::start(&small("search", &out, &["--budget", BUDGET, "--workers", "1"]));
    running.wait_until("the initial population", || {
        out.join("run.sqlite").exists() && individuals(&out).len() >= 4
    });
    let pid = running.0.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let (mut printed, mut complaints) = (String::new(), String::new());
    use std::io::Read;
    running.0.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    running.0.stderr.take().unwrap().read_to_string(&mut complaints).unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(0), "{complaints}");
    assert!(printed.contains("Search interrupted."), "{printed}");
    assert!(printed.contains("validation error") && printed.contains("hypervolume"), "{printed}");
    let report = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(report.contains("interrupted"));
    let count = individuals(&out).len();
    assert!((4..22).contains(&count), "{count}");
    ok(&["resume", text(&out), "--quiet"]);
    assert_same(&whole, &out);
}

/// Presses Ctrl-C when it has seen `left` events of the kind.
struct Interrupter {
    kind: fn(&Event) -> bool,
    left: AtomicUsize,
    stop: OnceLock<Arc<Stop>>,
}

impl Observer for Interrupter {
    fn observe(&self, event: &Event) {
        if (self.kind)(event) && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.stop.get().unwrap().interrupt();
        }
    }
}

/// Runs a search to its end, or until `left` events of a `kind` have happened.
fn until(
    left: usize,
    kind: fn(&Event) -> bool,
    start: impl FnOnce(Arc<dyn Observer>) -> Search,
) -> EndReason {
    let observer = Arc::new(Interrupter { kind, left: AtomicUsize::new(left), stop: OnceLock::new() });
    let mut search = start(observer.clone());
    assert!(observer.stop.set(search.stop()).is_ok());
    search.run().unwrap()
}

/// Opens a run whose lock this process has just given back. A program that another test starts at this moment may have
/// a copy of it for an instant, between its fork and its exec.
fn open(run: &Path) -> Store {
    let mut store = None;
    wait_until("the lock", || {
        store = Store::open(run).ok();
        store.is_some()
    });
    store.unwrap()
}

fn is_epoch(event: &Event) -> bool {
    matches!(event, Event::EpochDone { .. })
}

fn is_child(event: &Event) -> bool {
    matches!(event, Event::ChildTrained { .. })
}

fn is_plan(event: &Event) -> bool {
    matches!(event, Event::GenerationStarted { .. })
}

/// In the middle of epochs, of generations, and between them; under a budget of evaluations and one of generations.
#[test]
fn a_search_interrupted_anywhere_goes_on_to_the_same_end() {
    let folder = TempDir::new().unwrap();
    for (budget, generations) in [("10evals", 0..3), ("2gens", 0..3)] {
        let whole = folder.path().join(budget);
        ok(&small("search", &whole, &["--budget", budget, "--workers", "1"]));
        let last = individuals(&whole).last().unwrap().generation;
        assert_eq!(last + 1, generations.len(), "{budget}");
        let sets: Vec<String> = SETTINGS
            .iter()
            .map(|s| s.to_string())
            .chain([format!("budget={budget}"), "workers=2".into()])
            .collect();
        let config = Config::load(None, &sets).unwrap();
        for (kind, moments) in
            [(is_epoch as fn(&Event) -> bool, [1, 11, 20]), (is_child, [1, 5, 9]), (is_plan, [1, 2, 3])]
        {
            for moment in moments {
                let out = folder.path().join(format!("{budget}-{}-{moment}", kind as usize));
                let start = |observer| Search::start(&config, &out, observer).unwrap();
                let reason = until(moment, kind, start);
                assert_eq!(reason, EndReason::Interrupted, "{budget} {moment}");
                let prefix = individuals(&out);
                assert_eq!(prefix, individuals(&whole)[..prefix.len()]);
                // Interrupted once more, soon after.
                for left in [2, usize::MAX] {
                    let resume = |observer| Search::resume(open(&out), observer).unwrap();
                    until(left, is_epoch, resume);
                }
                assert_same(&whole, &out);
            }
        }
    }
}

#[test]
fn a_larger_budget_goes_on_where_a_smaller_one_ended() {
    let folder = TempDir::new().unwrap();
    let (whole, _) = undisturbed(&folder, BUDGET);
    let out = folder.path().join("in-parts");
    // In the middle of the initial population, in the middle of a generation, and at the end of one.
    ok(&small("search", &out, &["--budget", "3evals", "--workers", "2"]));
    for (budget, count) in [("10evals", 10), ("3gens", 16), (BUDGET, 22)] {
        ok(&["resume", text(&out), "--budget", budget, "--workers", "1", "--quiet"]);
        assert_eq!(individuals(&out).len(), count, "{budget}");
    }
    assert_same(&whole, &out);
    let settings = std::fs::read_to_string(out.join("config.toml")).unwrap();
    assert!(settings.contains(&format!("budget = \"{BUDGET}\"")), "{settings}");
}

#[test]
fn a_wall_clock_budget_commits_a_prefix_of_the_same_sequence() {
    let folder = TempDir::new().unwrap();
    let (whole, duration) = undisturbed(&folder, BUDGET);
    let expected = individuals(&whole);
    let mut stopped_early = 0;
    for (share, workers) in [(0.001, "2"), (0.25, "1"), (0.4, "2"), (0.55, "1"), (0.7, "2")] {
        let out = folder.path().join(format!("clock-{share}"));
        let budget = format!("{:.6}s", duration.as_secs_f64() * share);
        ok(&small("search", &out, &["--budget", &budget, "--workers", workers]));
        let found = individuals(&out);
        let both = found.len().min(expected.len());
        assert_eq!(found[..both], expected[..both], "{share}");
        if found.len() < expected.len() {
            stopped_early += 1;
            ok(&["resume", text(&out), "--budget", BUDGET, "--quiet"]);
            assert_same(&whole, &out);
        }
    }
    assert!(stopped_early >= 2, "{stopped_early}");
}
