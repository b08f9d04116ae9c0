//! Trainings that are given up early: by every schedule, the same ones whatever happens to the process.

mod common;

use std::path::Path;
use std::time::Instant;

use common::*;
use paretomorph::config::SCHEDULES;
use tempfile::TempDir;

/// Epochs of a child.
const EPOCHS: usize = 9;

fn search<'a>(out: &'a Path, schedule: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    let settings = [
        "data.limit=150",
        "recipe.epochs=9",
        "recipe.initial_epochs=9",
        "lemonade.accepted=4",
        "lemonade.proposals=12",
        "fidelity.interval=8",
        "fidelity.audit=0.5",
        "fidelity.caution=0.6",
    ];
    let settings = settings.into_iter().flat_map(|setting| ["--set", setting]);
    let head = ["search", "--out", text(out), "--quiet", "--set", schedule].into_iter().chain(settings);
    let budget: &[&str] = if rest.contains(&"--budget") { &[] } else { &["--budget", "40evals"] };
    head.chain(budget.iter().copied()).chain(rest.iter().copied()).collect()
}

/// The names of the files of a run.
fn names(run: &Path) -> Vec<std::path::PathBuf> {
    contents(run).into_keys().map(|path| path.strip_prefix(run).unwrap().to_owned()).collect()
}

#[test]
fn every_schedule_gives_the_same_however_often_it_is_killed() {
    let folder = TempDir::new().unwrap();
    for schedule in SCHEDULES {
        let setting = format!("fidelity.schedule=\"{schedule}\"");
        let (whole, begun) = (folder.path().join(schedule), Instant::now());
        ok(&search(&whole, &setting, &["--workers", "1"]));
        let duration = begun.elapsed();
        let all = individuals(&whole);
        assert_eq!(all.len(), 40);
        assert!(all.iter().all(|one| one.planned == EPOCHS && one.epochs <= EPOCHS), "{schedule}");
        let given_up = all.iter().filter(|one| one.outcome() == "given up").count();
        assert_eq!(given_up > 0, *schedule != "full", "{schedule}: {given_up}");
        // A training ends at a rung, or at its last epoch.
        let rungs: &[usize] = if *schedule == "curve" { &[1, 2, 3, 4, 5, 6, 7, 8, 9] } else { &[1, 3, 9] };
        assert!(all.iter().all(|one| rungs.contains(&one.epochs)), "{schedule}");
        let killed = folder.path().join(format!("{schedule}-killed"));
        for (share, workers) in [(0.5, "2"), (0.3, "1"), (0.2, "2")] {
            let args = match killed.join("run.sqlite").exists() {
                true => vec!["resume", text(&killed), "--quiet", "--workers", workers],
                false => search(&killed, &setting, &["--workers", workers]),
            };
            let running = Running::start(&args);
            std::thread::sleep(duration.mul_f64(share));
            running.kill();
        }
        ok(&["resume", text(&killed), "--quiet"]);
        assert_eq!(individuals(&killed), all, "{schedule}");
        assert_eq!(front(&killed), front(&whole));
        assert_eq!(names(&killed), names(&whole), "something was left behind");
    }
}

/// What is read on the way is paid for, and what is not trained is not.
#[test]
fn giving_up_saves_compute() {
    let folder = TempDir::new().unwrap();
    let of = |schedule: &str| {
        let out = folder.path().join(schedule);
        let setting = format!("fidelity.schedule=\"{schedule}\"");
        ok(&search(&out, &setting, &["--set", "strategy=\"random\"", "--set", "fidelity.first=3"]));
        individuals(&out)
    };
    let (full, halving) = (of("full"), of("halving"));
    // Random search from scratch proposes the same networks whatever came of the ones before.
    let pairs: Vec<_> = full.iter().zip(&halving).skip(4).collect();
    assert!(pairs.iter().all(|(a, b)| a.fingerprint == b.fingerprint));
    let kept: Vec<_> = pairs.iter().filter(|(_, b)| b.epochs == EPOCHS).collect();
    // One of four in each of nine generations.
    assert_eq!((pairs.len(), kept.len()), (36, 9));
    for (a, b) in &kept {
        assert_eq!((&a.weights, &a.objectives), (&b.weights, &b.objectives), "resting changed the training");
        assert!(b.compute > a.compute, "it was looked at once more");
    }
    let given_up = pairs.iter().filter(|(_, b)| b.epochs == 3);
    assert!(given_up.clone().count() == 27 && given_up.clone().all(|(a, b)| b.compute < 0.5 * a.compute));
}

/// What is left of a generation whose trainings were given up is spent on the next one, and nothing is spent that is not there.
#[test]
fn a_budget_of_compute_is_used_up_and_kept() {
    let folder = TempDir::new().unwrap();
    for schedule in SCHEDULES {
        let out = folder.path().join(schedule);
        let setting = format!("fidelity.schedule=\"{schedule}\"");
        // A whole training of the largest network allowed is 6 % of the budget.
        let random = ["--set", "strategy=\"random\"", "--max", "macs=100000", "--budget", "5Gmacs"];
        ok(&search(&out, &setting, &random));
        let spent: f64 = individuals(&out).iter().map(|one| one.compute).sum();
        assert!(spent <= 5e9 && spent > 4.6e9, "{schedule}: {spent:e}");
    }
}
