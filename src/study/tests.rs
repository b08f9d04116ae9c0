use std::fmt::Write;
use std::path::PathBuf;

use super::*;
use crate::strategy;

/// A table of 3^5 designs whose error falls and whose cost grows with the digits, roughly.
fn table() -> String {
    let mut rows = Vec::new();
    for code in 0..243u32 {
        let digits: Vec<u32> = (0..5).map(|place| code / 3u32.pow(place) % 3).collect();
        let name: String = digits.iter().map(u32::to_string).collect();
        let sum: u32 = digits.iter().sum();
        let quirk = f64::from(code * 7919 % 101) / 40.0;
        let accuracy = 50.0 + 4.0 * f64::from(sum) - quirk;
        let flops = 1000.0 * f64::from(1 + sum) + f64::from(code);
        let row = format!(
            r#""{name}": {{"test_acc": [{accuracy}, {accuracy}, {accuracy}], "mean_acc": {accuracy}, "std": 0.0, "params": 1, "flops": {flops}}}"#
        );
        rows.push(row);
    }
    format!("{{{}}}", rows.join(",\n"))
}

fn text(methods: &[&str], evaluations: usize, seeds: u64) -> String {
    let mut text = format!(
        r#"
title = "A made-up table"
seeds = {seeds}
budget = "{evaluations}evals"
[table]
file = "table.json"
format = "nas-bench-macro"
initial = 5
[[objective]]
name = "error"
ideal = 0.1
reference = 0.6
[[objective]]
name = "flops"
ideal = 900
reference = 12000
scale = "log"
bounds = [4000]
[settings]
evolution = {{ population = 8, tournament = 4 }}
"#
    );
    for method in methods {
        let _ = write!(text, "[[method]]\nname = \"{method}\"\nsettings.strategy = \"{method}\"\n");
    }
    text
}

/// The study, its folder, and the folder that holds both.
fn study(text: &str) -> (Prepared, PathBuf, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("table.json"), table()).unwrap();
    let prepared = Prepared::new(Study::parse(text, "study.toml", home.path()).unwrap()).unwrap();
    let folder = home.path().join("study");
    (prepared, folder, home)
}

fn run(prepared: &Prepared, folder: &std::path::Path, workers: usize) -> bool {
    let folder = StudyFolder::open(folder, &prepared.study.text).unwrap();
    prepared.run(&folder, workers, &Arc::new(Stop::after(None)), &|_| {}).unwrap()
}

fn traces(prepared: &Prepared, folder: &std::path::Path) -> Vec<Trace> {
    let folder = StudyFolder::open(folder, &prepared.study.text).unwrap();
    let mut all: Vec<Trace> = folder.traces().unwrap().into_values().flatten().collect();
    for trace in &mut all {
        trace.seconds = 0.0;
        trace.evaluations.iter_mut().for_each(|one| one.seconds = 0.0);
    }
    all
}

fn every_strategy() -> Vec<&'static str> {
    [strategy::NAMES, strategy::GENETIC_NAMES].concat()
}

#[test]
fn every_strategy_searches_a_table_and_is_the_same_for_any_number_of_workers() {
    let text = text(&every_strategy(), 60, 3);
    let (prepared, folder, _home) = study(&text);
    assert!(run(&prepared, &folder, 2));
    let first = traces(&prepared, &folder);
    assert_eq!(first.len(), 3 * every_strategy().len());
    for trace in &first {
        let designs: BTreeSet<&str> = trace.evaluations.iter().map(|one| one.design.as_str()).collect();
        assert_eq!(designs.len(), trace.evaluations.len(), "{}: nothing is evaluated twice", trace.method);
        let whole = trace.evaluations.len() == 60;
        assert!(whole || trace.end.contains("nothing new"), "{}: {}", trace.method, trace.end);
    }
    let (again, folder, _home) = study(&text);
    assert!(run(&again, &folder, 1));
    assert_eq!(traces(&again, &folder), first);
}

#[test]
fn all_rows_asked_for_give_the_true_front() {
    let (prepared, folder, _home) = study(&text(&["random"], 243, 1));
    assert!(run(&prepared, &folder, 1));
    let folder = StudyFolder::open(&folder, &prepared.study.text).unwrap();
    let view = figures::of(&prepared, &folder).unwrap();
    let figure = |name: &str| {
        let found = view.methods[0].figures.iter().find(|figure| figure.name.contains(name));
        found.unwrap_or_else(|| panic!("{name}")).values[0]
    };
    assert!(view.reference_known && figure("regret").abs() < 1e-12 && figure("IGD+") == 0.0);
    assert_eq!(figure("best found") as usize, view.front.len());
    // The least error with at most 4,000 multiply-adds, by hand.
    let least = (0..243u32).filter_map(|code| {
        let sum: u32 = (0..5).map(|place| code / 3u32.pow(place) % 3).sum();
        let within = 1000 * (1 + sum) + code <= 4000;
        within.then(|| 1.0 - (50.0 + 4.0 * f64::from(sum) - f64::from(code * 7919 % 101) / 40.0) / 100.0)
    });
    assert!((figure("up to") - least.fold(1.0, f64::min)).abs() < 1e-12);
}

#[test]
fn a_study_that_was_stopped_goes_on_and_one_that_was_changed_does_not() {
    let text = text(&["random", "lemonade"], 40, 4);
    let (prepared, path, _home) = study(&text);
    let stop = Arc::new(Stop::after(None));
    {
        let folder = StudyFolder::open(&path, &prepared.study.text).unwrap();
        let finished = prepared.run(&folder, 1, &stop, &|_| stop.interrupt()).unwrap();
        assert!(!finished && folder.ended().unwrap().len() == 1);
        let view = figures::of(&prepared, &folder).unwrap();
        let page = crate::report::write_study(&view, &path).unwrap();
        assert!(std::fs::read_to_string(page).unwrap().contains("1 of 8 runs"));
        let refused = StudyFolder::open(&path, &prepared.study.text).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("another process"), "{refused}");
    }
    assert!(run(&prepared, &path, 2));
    let (whole, other, _home) = study(&text);
    assert!(run(&whole, &other, 2));
    assert_eq!(traces(&prepared, &path), traces(&whole, &other));
    let refused = StudyFolder::open(&path, "title = 1").map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("another study"), "{refused}");
}

#[test]
fn a_report_has_every_part_and_tells_methods_apart() {
    let text = text(&["random", "lemonade"], 60, 6).replace("seeds", "baseline = \"random\"\nseeds");
    let (prepared, path, _home) = study(&text);
    assert!(run(&prepared, &path, 2));
    let folder = StudyFolder::open(&path, &prepared.study.text).unwrap();
    let view = figures::of(&prepared, &folder).unwrap();
    let page = std::fs::read_to_string(crate::report::write_study(&view, &path).unwrap()).unwrap();
    for part in ["figures", "hypervolume", "attainment", "share", "tests", "front", "checklist", "settings"] {
        assert!(page.contains(&format!("<section id=\"{part}\">")), "{part}");
    }
    assert!(page.contains("lemonade has the largest median hypervolume"), "{:?}", view.tests);
    assert_eq!((view.tests.len(), view.shares.len()), (1, 1));
    let share = &view.shares[0];
    assert!(
        share.share < 1.0 && share.interval.0 <= share.share && share.share <= share.interval.1,
        "{share:?}"
    );
    // What was tuned is told nowhere in this study.
    assert!(view.checklist.iter().any(|check| check.question.contains("tuned") && check.answer.is_none()));
    for file in ["final.csv", "curves.csv", "tests.csv", "front.csv", "plots/attainment.svg"] {
        assert!(path.join(file).metadata().unwrap().len() > 100, "{file}");
    }
    let tests = std::fs::read_to_string(path.join("tests.csv")).unwrap();
    assert!(tests.starts_with("a,b,difference_of_medians,p,p_holm\nrandom,lemonade,-"), "{tests}");
}

#[test]
fn a_study_that_makes_no_sense_is_refused_with_its_key() {
    let good = text(&["random", "lemonade"], 40, 2);
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("table.json"), table()).unwrap();
    for (from, to, expected) in [
        ("seeds = 2", "seeds = [1, 1]", "seeds"),
        ("seeds = 2", "seeds = 0", "seeds"),
        ("seeds = 2", "seed = 2", "unknown field `seed`"),
        ("40evals", "40s", "600evals"),
        ("40evals", "40", "budget `40`"),
        ("ideal = 0.1", "ideal = 0.7", "error from 0.7 to 0.6"),
        ("ideal = 900", "ideal = 0", "flops from 0 to 12000"),
        ("\"flops\"", "\"latency\"", "objective.name"),
        ("\"nas-bench-macro\"", "\"nas-bench-1\"", "nas-bench-201"),
        ("table.json", "none.json", "none.json"),
        ("name = \"lemonade\"", "name = \"Random\"", "`random` twice"),
        ("strategy = \"lemonade\"", "strategy = \"lemon\"", "lemonade"),
        ("strategy = \"lemonade\"", "stratagem = \"lemonade\"", "the settings of `lemonade`"),
        ("initial = 5", "initial = 5\naccuracy = \"acc\"", "table.accuracy"),
        ("title =", "baseline = \"best\"\ntitle =", "one of the methods random, lemonade"),
    ] {
        let wrong = good.replacen(from, to, 1);
        assert_ne!(wrong, good, "{from}");
        let study = Study::parse(&wrong, "study.toml", home.path()).and_then(Prepared::new);
        let message = study.map(|_| ()).expect_err(to).to_string();
        assert!(message.contains(expected), "{to}: {message}");
    }
}

#[test]
fn every_study_of_the_experiments_is_stated_right() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments/studies");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let study = Study::load(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            // Tables are the user's to bring.
            if study.table.is_none() {
                study.problem().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            }
            seen += 1;
        }
    }
    assert!(seen >= 3);
}

/// A table of cells whose accuracy rises with the epochs, and whose order after few is nearly that after many.
fn graded_table() -> String {
    const OPERATIONS: [&str; 5] = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"];
    let mut text = String::from("cell,cost,acc_1ep,acc_3ep,acc_9ep\n");
    for code in 0..3000usize {
        let edge = |place: u32, from: usize| format!("{}~{from}", OPERATIONS[code / 5usize.pow(place) % 5]);
        let cell = format!(
            "|{}|+|{}|{}|+|{}|{}|{}|",
            edge(0, 0),
            edge(1, 0),
            edge(2, 1),
            edge(3, 0),
            edge(4, 1),
            edge(5, 2)
        );
        let (worth, quirk) = ((code * 7919 % 3000) as f64 / 100.0, (code % 7) as f64 / 10.0);
        let _ = writeln!(
            text,
            "{cell},{},{},{},{}",
            1 + code % 11,
            20.0 + worth + quirk,
            40.0 + worth,
            60.0 + worth
        );
    }
    text
}

#[test]
fn in_a_table_with_several_epochs_trainings_can_be_given_up() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("table.csv"), graded_table()).unwrap();
    let head = r#"
title = "A made-up table with epochs"
seeds = 6
budget = "40evals"
[table]
file = "table.csv"
format = "nas-bench-201"
accuracy = "acc_9ep"
initial = 5
[[objective]]
name = "error"
ideal = 0.1
reference = 0.6
"#;
    let methods = crate::config::SCHEDULES.iter().map(|schedule| {
        format!(
            "[[method]]\nname = \"{schedule}\"\nsettings.strategy = \"random\"\nsettings.lemonade.accepted = 9\n\
             settings.fidelity = {{ schedule = \"{schedule}\", interval = 10 }}\n"
        )
    });
    let text = format!("{head}{}", methods.collect::<String>());
    let prepared = Prepared::new(Study::parse(&text, "study.toml", home.path()).unwrap()).unwrap();
    let folder = home.path().join("study");
    assert!(run(&prepared, &folder, 2));
    let mut best = std::collections::BTreeMap::new();
    for trace in traces(&prepared, &folder) {
        let spent = trace.evaluations.last().unwrap().spent;
        assert!(spent <= 40.0 + 1e-6 && spent > 36.0, "{}: {spent}", trace.method);
        let grows = trace.evaluations.windows(2).all(|pair| pair[0].spent < pair[1].spent);
        let given_up = trace.evaluations.windows(2).any(|pair| pair[1].spent - pair[0].spent < 0.9);
        assert!(grows && given_up == (trace.method != "full"), "{}", trace.method);
        assert_eq!(trace.evaluations.len() > 40, given_up, "{}", trace.method);
        let errors = trace.evaluations.iter().filter_map(|one| one.values.as_ref()).map(|values| values[0]);
        *best.entry(trace.method.clone()).or_insert(0.0) += errors.fold(1.0, f64::min) / 6.0;
    }
    // As many epochs on more designs find better ones, where few epochs tell which are good.
    for schedule in ["halving", "hyperband", "asha"] {
        assert!(best[schedule] < best["full"] - 0.003, "{schedule}: {best:?}");
    }
}

#[test]
fn where_a_table_knows_one_number_of_epochs_nothing_is_given_up() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("table.json"), table()).unwrap();
    let text = text(&["random"], 20, 1) + "settings.fidelity = { schedule = \"asha\" }\n";
    let error = Prepared::new(Study::parse(&text, "study.toml", home.path()).unwrap()).err().unwrap();
    let error = error.to_string();
    assert!(
        error.contains("fidelity.schedule") && error.contains("table.json") && error.contains("asha"),
        "{error}"
    );
}

/// On an objective, on another column, and on the error, which nobody knows before a design is trained.
#[test]
fn bounds_hold_in_a_table_and_for_its_true_front() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("table.csv"), graded_table()).unwrap();
    let text = r#"
title = "Bounds"
seeds = 1
budget = "60evals"
[table]
file = "table.csv"
format = "nas-bench-201"
accuracy = "acc_9ep"
[[objective]]
name = "error"
ideal = 0.1
reference = 0.6
[[objective]]
name = "cost"
ideal = 0
reference = 12
[settings]
strategy = "random"
max = { cost = 6, acc_1ep = 45.0, error = 0.25 }
min = { acc_3ep = 50.0 }
[[method]]
name = "random"
"#;
    let prepared = Prepared::new(Study::parse(text, "study.toml", home.path()).unwrap()).unwrap();
    let folder = home.path().join("study");
    assert!(run(&prepared, &folder, 1));
    let traces = traces(&prepared, &folder);
    let answers = prepared.answers.as_ref().unwrap();
    let column = |name: &str| answers.table.columns().iter().position(|column| column == name).unwrap();
    let (mut kept, mut over) = (0, 0);
    // The first ten are random designs, within bounds or not.
    for evaluation in &traces[0].evaluations[10..] {
        let row =
            (0..answers.table.len()).find(|&row| answers.table.label(row) == evaluation.design).unwrap();
        let value = |name| answers.table.value(row, column(name));
        assert!(value("cost") <= 6.0 && value("acc_1ep") <= 45.0 && value("acc_3ep") >= 50.0);
        match value("acc_9ep") >= 75.0 {
            true => kept += usize::from(evaluation.values.is_some()),
            false => over += usize::from(evaluation.values.is_none()),
        }
    }
    assert!(kept > 0 && over > 0 && kept + over == 50, "{kept} {over}");
    let front = prepared.true_front(&traces).unwrap();
    assert!(front.known && front.rows.iter().all(|row| row[0] <= 0.25 && row[1] <= 6.0), "{:?}", front.rows);
}
