//! Every command on a search that went to its end, and what the library makes of what they leave behind.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use candle_core::{Device, Tensor};
use common::*;
use morphisms::{Architecture, Network, Shape, Weights, catalog};
use paretomorph::config::{Config, DataConfig, documentation};
use paretomorph::data::Dataset;
use paretomorph::individual::{CONTINUE, Edit, Individual};
use paretomorph::package::Package;
use paretomorph::search::{load_data, load_network};
use paretomorph::store::Store;
use paretomorph::{objective, report, space};
use serde_json::Value;
use tempfile::TempDir;

/// A search of some seconds whose best network gets most digits right; read by all tests and changed by none.
static RUN: LazyLock<PathBuf> = LazyLock::new(|| {
    let run = Path::new(env!("CARGO_TARGET_TMPDIR")).join("commands");
    if run.exists() {
        fs::remove_dir_all(&run).unwrap();
    }
    let settings = [
        "--set=data.limit=600",
        "--set=recipe.epochs=3",
        "--set=recipe.initial_epochs=8",
        "--set=lemonade.accepted=4",
        "--set=lemonade.proposals=12",
        "--set=keep_weights=all",
        "--budget=16evals",
        "--quiet",
    ];
    let printed = search(&run, &settings);
    assert!(printed.contains("Search finished: the budget of 16evals is used up."), "{printed}");
    assert!(
        printed.trim_end().ends_with(&format!("Report: {}", run.join("report.html").display())),
        "{printed}"
    );
    run
});

/// The member of the front with the least error.
fn best() -> u64 {
    let error = |member: &Individual| member.objectives["error"];
    let all = individuals(&RUN);
    all.iter().min_by(|a, b| error(a).total_cmp(&error(b))).unwrap().id
}

/// The network of an individual, from its run folder.
fn network(run: &Path, id: u64) -> Network {
    let store = Store::read(run).unwrap();
    load_network(&store, &individuals(run)[id as usize]).unwrap()
}

fn logits(network: &Network, images: &Tensor) -> Vec<Vec<f32>> {
    network.logits(images).unwrap().to_vec2().unwrap()
}

/// All test images as the networks see them, and their labels.
fn test_images(run: &Path) -> (Tensor, Vec<u32>, Dataset) {
    let data = load_data(&Store::read(run).unwrap()).unwrap();
    let images = data.normalisation.tensor(&data.test().pixels, data.shape).unwrap();
    (images, data.test().labels.clone(), data)
}

fn percent(share: f64) -> String {
    report::format_value("%", share)
}

#[test]
fn the_front_as_json_has_the_promised_fields_and_weights_that_load() {
    let front = front(&RUN);
    let members = front.as_array().unwrap();
    assert!(members.len() >= 2, "{}", members.len());
    for member in members {
        let member = member.as_object().unwrap();
        let fields: BTreeSet<&str> = member.keys().map(String::as_str).collect();
        assert_eq!(fields, BTreeSet::from(["id", "objectives", "fingerprint", "weights", "architecture"]));
        let id = member["id"].as_u64().unwrap();
        let objectives = member["objectives"].as_object().unwrap();
        assert_eq!(objectives.keys().collect::<Vec<_>>(), ["error", "params"]);
        let architecture: Architecture = serde_json::from_value(member["architecture"].clone()).unwrap();
        assert_eq!(objectives["params"].as_f64().unwrap(), architecture.parameter_count() as f64);
        assert_eq!(member["fingerprint"], architecture.fingerprint().to_string());
        let hash = member["weights"].as_str().unwrap();
        let file = RUN.join("weights").join(format!("{hash}.safetensors"));
        assert_eq!(blake3::hash(&fs::read(&file).unwrap()).to_hex().as_str(), hash);
        let loaded = Network::new(architecture, Weights::load(&file, &Device::Cpu).unwrap()).unwrap();
        let (images, labels, data) = test_images(&RUN);
        assert_eq!(logits(&loaded, &images), logits(&network(&RUN, id), &images));
        assert_eq!((labels.len(), data.classes.len()), (359, 10));
    }
    // Nobody dominates anybody, and nobody outside dominates a member.
    let values = |value: &Value| ["error", "params"].map(|name| value["objectives"][name].as_f64().unwrap());
    let of = |individual: &Individual| ["error", "params"].map(|name| individual.objectives[name]);
    for member in members.iter().map(values) {
        let dominates = |other: &[f64; 2]| other[0] <= member[0] && other[1] <= member[1] && *other != member;
        assert!(!individuals(&RUN).iter().map(of).any(|other| dominates(&other)));
    }
}

#[test]
fn the_report_is_one_page_with_the_whole_front_and_plots() {
    let page = fs::read_to_string(RUN.join("report.html")).unwrap();
    for outside in ["src=\"http", "href=\"http", "@import", "url(http"] {
        assert!(!page.contains(outside), "the page needs the network: {outside}");
    }
    let mut plots = vec!["front-error-params", "hypervolume-evaluations", "hypervolume-time", "family"];
    let front = front(&RUN);
    let ids: Vec<String> =
        front.as_array().unwrap().iter().map(|member| format!("network-{}", member["id"])).collect();
    plots.extend(ids.iter().map(String::as_str));
    for plot in plots {
        if let Some(id) = plot.strip_prefix("network-") {
            assert!(page.contains(&format!("data-id=\"{id}\"")), "{id} is not in the page");
        }
        let file = RUN.join("plots").join(plot);
        let svg = fs::read_to_string(file.with_extension("svg")).unwrap();
        assert!(svg.trim_start().starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{plot}");
        let png = image::open(file.with_extension("png")).unwrap();
        assert!(png.width() >= 200 && png.height() >= 50, "{plot}: {}x{}", png.width(), png.height());
    }
    let again = TempDir::new().unwrap();
    let copied = copy(&RUN, &again.path().join("run"));
    fs::remove_file(copied.join("report.html")).unwrap();
    assert!(ok(&["report", text(&copied)]).contains("report.html"));
    assert_eq!(fs::read_to_string(copied.join("report.html")).unwrap(), page);
}

#[test]
fn an_exported_network_computes_the_same_everywhere() {
    let folder = TempDir::new().unwrap();
    let (images, _, data) = test_images(&RUN);
    for individual in individuals(&RUN) {
        let id = individual.id.to_string();
        let dir = folder.path().join(&id).join("deeper");
        ok(&["export", text(&RUN), &id, text(&dir)]);
        let (error, count) = (percent(individual.objectives["error"]), data.validation.len());
        let expected = format!("validation error {error} ({count} images)\n");
        assert_eq!(ok(&["evaluate", text(&RUN), &id]), expected);
        assert_eq!(ok(&["evaluate", text(&dir)]), expected);
        let package = Package::load(&dir).unwrap();
        assert_eq!(logits(&package.network, &images), logits(&network(&RUN, individual.id), &images));
        let description = package.description;
        assert_eq!((&description.normalisation, &description.classes), (&data.normalisation, &data.classes));
        assert_eq!(description.provenance.objectives, individual.objectives);
    }
}

#[test]
fn every_use_of_the_test_set_is_recorded_and_shown() {
    let folder = TempDir::new().unwrap();
    let run = copy(&RUN, &folder.path().join("run"));
    let tests = || Store::read(&run).unwrap().database.tests().unwrap();
    let before = tests();
    let members: BTreeSet<u64> =
        front(&run).as_array().unwrap().iter().map(|member| member["id"].as_u64().unwrap()).collect();
    assert_eq!(before.iter().map(|row| row.individual).collect::<BTreeSet<_>>(), members);
    assert_eq!(before.len(), members.len(), "each member once");
    let page = || fs::read_to_string(run.join("report.html")).unwrap();
    assert!(!page().contains("evaluate --test"));

    let id = before[0].individual;
    ok(&["evaluate", text(&run), &id.to_string()]);
    assert_eq!(tests().len(), before.len(), "the validation set is not the test set");
    let printed = ok(&["evaluate", text(&run), &id.to_string(), "--test"]);
    assert_eq!(printed, format!("test error {} (359 images)\n", percent(before[0].error)));
    let after = tests();
    assert_eq!((after.len(), after[..before.len()] == before), (before.len() + 1, true));
    let last = after.last().unwrap();
    assert_eq!((last.individual, last.error, last.why.as_str()), (id, before[0].error, "evaluate --test"));
    assert!(page().contains("evaluate --test"));
    ok(&["resume", text(&run), "--quiet"]);
    assert_eq!(tests(), after, "a front that was tested is not tested again");
}

#[test]
fn finished_networks_are_told_apart_from_those_of_the_search() {
    let folder = TempDir::new().unwrap();
    let run = copy(&RUN, &folder.path().join("run"));
    let (table, all, id) = (ok(&["front", text(&run)]), individuals(&run), best().to_string());
    let printed = ok(&["finish", text(&run), &id, &id, "--epochs", "3"]);
    assert_eq!(printed.matches("3 epochs trained on").count(), 1, "{printed}");
    let printed = ok(&["finish", text(&run), &id, "0", "--epochs", "4", "--from-scratch", "--workers", "2"]);
    assert_eq!(printed.matches("4 epochs from scratch").count(), 2, "{printed}");

    let store = Store::read(&run).unwrap();
    let (finished, (images, labels, data)) = (store.database.finished().unwrap(), test_images(&run));
    let of = |row: &paretomorph::store::FinishedRow| (row.individual, row.from_scratch, row.epochs);
    let best: u64 = id.parse().unwrap();
    let rows: BTreeSet<_> = finished.iter().map(of).collect();
    assert_eq!(rows, BTreeSet::from([(best, false, 3), (best, true, 4), (0, true, 4)]));
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    for row in &finished {
        let weights = store.blobs.get(&row.weights, &Device::Cpu).unwrap();
        let network = Network::new(all[row.individual as usize].architecture.clone(), weights).unwrap();
        assert_eq!(row.test_error, error(&network, &images, &labels), "{row:?}");
        let images = data.normalisation.tensor(&data.validation.pixels, data.shape).unwrap();
        assert_eq!(row.validation_error, error(&network, &images, &data.validation.labels), "{row:?}");
        let line = format!(
            "validation error {}, test error {}",
            percent(row.validation_error),
            percent(row.test_error)
        );
        assert!(!row.from_scratch || printed.contains(&line), "{line} is not in {printed}");
        assert!(page.contains(&percent(row.test_error)), "{row:?}");
    }
    assert!(page.contains("finish: 3 epochs, trained on") && page.contains("finish: 4 epochs, from scratch"));
    assert_eq!(individuals(&run), all, "the search is as it was");
    assert_eq!(ok(&["front", text(&run)]), table);
}

/// The share of images that a network gets wrong, counted here.
fn error(network: &Network, images: &Tensor, labels: &[u32]) -> f64 {
    let best = |row: &Vec<f32>| (0..row.len()).rev().max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
    let wrong =
        logits(network, images).into_iter().zip(labels).filter(|(row, label)| best(row) != **label as usize);
    wrong.count() as f64 / labels.len() as f64
}

/// A search that was killed has tested nothing; finishing a network then must not pass for a test of the searched one.
#[test]
fn a_finished_networks_test_error_is_not_the_searched_ones() {
    let folder = TempDir::new().unwrap();
    let run = copy(&RUN, &folder.path().join("run"));
    let before = ok(&["front", text(&run)]);
    let tests = || Store::read(&run).unwrap().database.tests().unwrap();
    let tested: Vec<(u64, f64)> = tests().iter().map(|row| (row.individual, row.error)).collect();
    let connection = rusqlite::Connection::open(run.join("run.sqlite")).unwrap();
    connection.execute("DELETE FROM tests", []).unwrap();
    drop(connection);
    ok(&["finish", text(&run), "--epochs", "1", "--from-scratch"]);
    let table = ok(&["front", text(&run)]);
    let rows = |table: &str| table.lines().skip(3).take(tested.len()).map(String::from).collect::<Vec<_>>();
    let percents = |row: &String| row.matches('%').count();
    assert!(rows(&before).iter().all(|row| percents(row) == 2), "validation and test error: {before}");
    assert!(rows(&table).iter().all(|row| percents(row) == 1), "not tested: {table}");
    ok(&["resume", text(&run), "--quiet"]);
    let later: Vec<(u64, f64)> =
        tests()[tested.len()..].iter().map(|row| (row.individual, row.error)).collect();
    assert_eq!(later, tested);
    assert_eq!(ok(&["front", text(&run)]), before);
}

#[test]
fn finished_weights_outlive_a_search_that_goes_on() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    search(&run, &[TINY, &["--budget", "4evals"]].concat());
    ok(&["finish", text(&run), "--epochs", "1"]);
    ok(&["resume", text(&run), "--budget", "10evals", "--quiet"]);
    let store = Store::read(&run).unwrap();
    for row in store.database.finished().unwrap() {
        store.blobs.get(&row.weights, &Device::Cpu).unwrap();
    }
}

#[test]
fn a_lineage_goes_back_to_the_initial_population() {
    let all = individuals(&RUN);
    let mut longest = 0;
    for individual in &all {
        let mut line = vec![individual];
        while let Some(parent) = line[line.len() - 1].parent {
            line.push(&all[parent as usize]);
        }
        let printed = ok(&["lineage", text(&RUN), &individual.id.to_string()]);
        let rows: Vec<Vec<&str>> = printed.lines().map(|row| row.split_whitespace().collect()).collect();
        let starts = |row: &&Vec<&str>| row.len() > 2 && row[0].parse::<u64>().is_ok();
        let ids: Vec<u64> = rows.iter().filter(starts).map(|row| row[0].parse().unwrap()).collect();
        let expected: Vec<u64> = line.iter().rev().map(|individual| individual.id).collect();
        assert_eq!(ids, expected, "{printed}");
        assert!(ids[0] < 4 && printed.contains("trained from scratch"), "{printed}");
        for edit in &individual.edits {
            assert!(printed.contains(&edit.morphism), "{edit} is not in {printed}");
        }
        longest = longest.max(ids.len());
    }
    assert!(longest >= 3, "{longest}");
    assert!(all.iter().all(|individual| individual.parent.is_none() == (individual.generation == 0)));
}

#[test]
fn most_pictures_of_digits_are_recognised() {
    let folder = TempDir::new().unwrap();
    let (images, labels, data) = test_images(&RUN);
    let (id, count) = (best(), 60);
    let expected = logits(&network(&RUN, id), &images);
    let mut args: Vec<String> = ["predict", text(&RUN), &id.to_string()].map(String::from).into();
    for index in 0..count {
        let path = folder.path().join(format!("{index}.png"));
        image::GrayImage::from_raw(8, 8, data.test().image(index).to_vec()).unwrap().save(&path).unwrap();
        args.push(text(&path).into());
    }
    let printed = ok(&args);
    let mut right = 0;
    for (index, line) in printed.lines().enumerate() {
        let (path, classes) = line.rsplit_once(": ").unwrap();
        assert_eq!(path, args[3 + index]);
        let shown: Vec<(&str, f64)> = classes.split(", ").map(class_and_share).collect();
        assert_eq!(shown.len(), 3);
        let row = &expected[index];
        let sum: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
        for (class, share) in &shown {
            let exact = 100.0 * f64::from(row[class.parse::<usize>().unwrap()]).exp() / sum;
            assert!((share - exact).abs() < 0.06, "{line}: {exact}");
        }
        assert!(shown[0].1 >= shown[1].1 && shown[1].1 >= shown[2].1);
        right += usize::from(shown[0].0 == data.classes[labels[index] as usize]);
    }
    assert_eq!(printed.lines().count(), count);
    assert!(right * 4 >= count * 3, "{right} of {count} are right");
}

/// `7 98.1 %`
fn class_and_share(text: &str) -> (&str, f64) {
    let mut parts = text.split(' ');
    (parts.next().unwrap(), parts.next().unwrap().parse().unwrap())
}

/// A bound is on every network that was trained or planned, the initial population included, whether or not its
/// objective is one of the search's.
#[test]
fn bounds_hold_for_everything_that_is_trained() {
    let folder = TempDir::new().unwrap();
    let initial = space::initial(Shape::map(1, 8, 8), 10).unwrap();
    for (name, cost) in
        [("params", Architecture::parameter_count as fn(&Architecture) -> u64), ("macs", Architecture::macs)]
    {
        let mut costs: Vec<u64> = initial.iter().map(cost).collect();
        costs.sort_unstable();
        let bound = costs[1];
        let run = folder.path().join(name);
        let max = format!("{name}={bound}");
        search(&run, &[TINY, &["--budget", "11evals", "--max", &max]].concat());
        let all = individuals(&run);
        assert_eq!(all.iter().filter(|individual| individual.generation == 0).count(), 2, "{name}");
        assert!(
            all.iter().all(|one| cost(&one.architecture) <= bound && one.objectives[name] <= bound as f64)
        );
        let store = Store::read(&run).unwrap();
        let generations = all.last().unwrap().generation;
        let jobs = (0..=generations).flat_map(|generation| store.database.jobs(generation).unwrap());
        assert!(jobs.into_iter().all(|row| cost(&row.job.architecture) <= bound));
    }
}

#[test]
fn all_five_objectives_can_be_minimised_at_once() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let names: Vec<&str> = objective::ALL.iter().map(|objective| objective.name).collect();
    assert_eq!(names.len(), 5);
    let objectives: Vec<&str> = names.iter().flat_map(|name| ["--objective", name]).collect();
    let quick = ["--set", "latency.repeats=5", "--set", "latency.warmup=2", "--max", "latency=1000"];
    search(&run, &[TINY, &["--budget", "8evals"], &quick, &objectives].concat());
    let front = front(&run);
    for member in front.as_array().unwrap() {
        let objectives: BTreeMap<String, f64> = serde_json::from_value(member["objectives"].clone()).unwrap();
        assert_eq!(
            objectives.keys().map(String::as_str).collect::<BTreeSet<_>>(),
            names.iter().copied().collect()
        );
        assert!(objectives.values().all(|value| value.is_finite() && *value > 0.0), "{objectives:?}");
        let measured = Store::read(&run).unwrap();
        let fingerprint = member["fingerprint"].as_str().unwrap();
        let row = measured.database.measurement(fingerprint, "latency").unwrap().unwrap().unwrap();
        assert!(
            row.value == objectives["latency"] && row.low <= row.value && row.value <= row.high,
            "{row:?}"
        );
    }
    for across in 1..5 {
        for up in 0..across {
            let plot = format!("plots/front-{}-{}.svg", names[up], names[across]);
            assert!(run.join(&plot).exists(), "{plot}");
        }
    }
}

#[test]
fn every_strategy_keeps_the_same_accounts() {
    let folder = TempDir::new().unwrap();
    for (strategy, inherits) in [
        ("random", false),
        ("random_inherit", true),
        ("lemonade", true),
        ("aging", false),
        ("nsga2", false),
        ("nash", true),
    ] {
        let run = folder.path().join(strategy);
        let setting = format!("strategy={strategy}");
        search(&run, &[TINY, &["--budget", "9evals", "--set", &setting]].concat());
        let all = individuals(&run);
        assert_eq!((all.len(), all[3].generation, all[4].generation), (9, 0, 1), "{strategy}");
        assert!(all[4..].iter().all(|one| one.parent.is_some() == inherits), "{strategy}");
        assert!(all[4..].iter().all(|one| one.first_error.is_some() == inherits), "{strategy}");
        assert!(!front(&run).as_array().unwrap().is_empty(), "{strategy}");
        let page = fs::read_to_string(run.join("report.html")).unwrap();
        assert!(page.contains(strategy), "{strategy}");
    }
}

#[test]
fn weights_are_kept_as_the_settings_say() {
    let hashes = |run: &Path| -> BTreeSet<String> {
        weight_files(run).iter().map(|file| file.file_stem().unwrap().to_str().unwrap().to_string()).collect()
    };
    let all: BTreeSet<String> = individuals(&RUN).into_iter().filter_map(|one| one.weights).collect();
    assert_eq!((hashes(&RUN), all.len()), (all, 16), "keep_weights = \"all\"");
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    search(&run, &[TINY, &["--budget", "3gens"]].concat());
    let front = front(&run);
    let members = front.as_array().unwrap().iter();
    let kept: BTreeSet<String> = members.map(|member| member["weights"].as_str().unwrap().into()).collect();
    assert!(kept.len() < individuals(&run).len());
    assert_eq!(hashes(&run), kept, "keep_weights = \"front\"");
    assert_eq!(fs::read_dir(run.join("checkpoints")).unwrap().count(), 0);
}

#[test]
fn evaluations_are_counted_from_the_first_network_on() {
    let folder = TempDir::new().unwrap();
    for budget in [1, 4, 5, 8] {
        let run = folder.path().join(budget.to_string());
        search(&run, &[TINY, &["--budget", &format!("{budget}evals")]].concat());
        assert_eq!(individuals(&run).len(), budget);
    }
    let run = folder.path().join("generations");
    search(&run, &[TINY, &["--budget", "2gens"]].concat());
    assert_eq!(individuals(&run).len(), 4 + 3 + 3);
}

#[test]
fn the_edits_of_every_individual_lead_from_its_parent_to_it() {
    let all = individuals(&RUN);
    let initial = space::initial(Shape::map(1, 8, 8), 10).unwrap();
    let mut used = BTreeSet::new();
    for individual in &all {
        let Some(parent) = individual.parent else {
            assert!(individual.edits.is_empty() && individual.architecture == initial[individual.child]);
            continue;
        };
        assert!((1..=3).contains(&individual.edits.len()));
        assert!(parent < individual.id && all[parent as usize].generation < individual.generation);
        let mut architecture = all[parent as usize].architecture.clone();
        for edit in &individual.edits {
            used.insert(edit.morphism.clone());
            if let Some(rewrite) = edit.rewrite(&architecture).unwrap() {
                architecture = rewrite.architecture;
            }
        }
        assert_eq!(architecture, individual.architecture, "individual {}", individual.id);
        assert_eq!(architecture.fingerprint(), individual.fingerprint);
    }
    assert!(used.len() >= 4, "{used:?}");
    let new = |individual: &&Individual| individual.edits.iter().all(|edit| edit.morphism != CONTINUE);
    let new: Vec<&Individual> = all.iter().filter(new).collect();
    for (place, one) in new.iter().enumerate() {
        assert!(
            !new[..place].iter().any(|other| other.architecture.is_isomorphic(&one.architecture)),
            "{} was trained before",
            one.id
        );
    }
}

/// Children of exact morphisms compute what their parents do. The numbers are rounded on another way, so an image whose
/// two best logits all but tie may fall to the other side.
#[test]
fn exact_children_begin_with_their_parents_error() {
    let data = load_data(&Store::read(&RUN).unwrap()).unwrap();
    let (all, image) = (individuals(&RUN), 1.0 / data.validation.len() as f64);
    let mut largest: f64 = 0.0;
    let (mut exact, mut approximate) = (0, 0);
    for child in &all {
        let (Some(parent), Some(first)) = (child.parent, child.first_error) else { continue };
        let difference = (first - all[parent as usize].objectives["error"]).abs();
        if child.edits.iter().all(Edit::is_exact) {
            exact += 1;
            largest = largest.max(difference);
            assert!(difference <= image + 1e-12, "{}: {difference} after {}", child.id, child.edits_text());
        } else {
            approximate += 1;
        }
    }
    println!("{exact} exact children, largest difference {largest}; {approximate} approximate ones");
    assert!(exact >= 2, "{exact}");
}

#[test]
fn pictures_in_folders_are_searched_on_from_anywhere() {
    let folder = TempDir::new().unwrap();
    let data = Dataset::load(&DataConfig::default(), 0).unwrap();
    let names = ["zero & co", "one"];
    for (label, name) in names.iter().enumerate() {
        let class = folder.path().join("photos").join(name);
        fs::create_dir_all(&class).unwrap();
        let of = (0..data.train.len()).filter(|&index| data.train.labels[index] == label as u32);
        for (place, index) in of.take(30).enumerate() {
            let small = image::GrayImage::from_raw(8, 8, data.train.image(index).to_vec()).unwrap();
            // Of several sizes, some grey and some coloured: the data set is coloured then.
            let side = 16 + 4 * (place as u32 % 3);
            let large = image::imageops::resize(&small, side, side, image::imageops::FilterType::Nearest);
            let file = class.join(format!("{place:02}.png"));
            match place % 2 {
                0 => large.save(file).unwrap(),
                _ => image::DynamicImage::from(large).into_rgb8().save(file).unwrap(),
            }
        }
    }
    let settings = [
        "--set=recipe.initial_epochs=6",
        "--set=data.size=16",
        "--set=recipe.flip=false",
        "--set=keep_weights=all",
        "--quiet",
    ];
    let start = ["search", "--data", "./photos", "--out", "run", "--budget", "2evals"];
    let status =
        Command::new(PROGRAM).current_dir(folder.path()).args(start).args(settings).output().unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    // From another folder than the one it was started in.
    let run = folder.path().join("run");
    ok(&["resume", text(&run), "--budget", "4evals", "--quiet"]);
    let dir = folder.path().join("exported");
    ok(&["export", text(&run), "0", text(&dir)]);
    assert_eq!(ok(&["evaluate", text(&dir)]), ok(&["evaluate", text(&run), "0"]));
    let package = Package::load(&dir).unwrap().description;
    assert_eq!((package.image.channels, package.image.height, package.image.width), (3, 16, 16));
    assert_eq!(package.classes, ["one", "zero & co"]);
    let picture = folder.path().join("photos/one/02.png");
    let printed = ok(&["predict", text(&run), "0", text(&picture)]);
    assert!(printed.contains("one ") && printed.contains("zero & co "), "{printed}");
}

#[test]
fn files_then_sets_then_options_make_the_settings_of_a_run() {
    let folder = TempDir::new().unwrap();
    let (run, toml) = (folder.path().join("run"), folder.path().join("my.toml"));
    let settings = "seed = 5\nbudget = \"9evals\"\nworkers = 2\n[recipe]\nlr = 0.5\nbatch = 32\nepochs = 1\n";
    fs::write(&toml, settings).unwrap();
    let args =
        [&[text(&toml)], TINY, &["--set", "recipe.lr=0.25", "--seed", "6", "--budget", "1evals"]].concat();
    search(&run, &args);
    let written = fs::read_to_string(run.join("config.toml")).unwrap();
    let config = Config::from_toml(&written, "config.toml").unwrap();
    let found =
        (config.seed, config.budget.to_string(), config.workers, config.recipe.lr, config.recipe.batch);
    assert_eq!(found, (6, "1evals".to_string(), 2, 0.25, 32));
    let printed = ok(&["search", "--help"]);
    for entry in documentation() {
        assert!(printed.contains(&format!("{} = {}", entry.key, entry.default)), "{}", entry.key);
    }
}

#[test]
fn the_morphisms_and_the_version_are_told() {
    let printed = ok(&["morphisms"]);
    for morphism in catalog::all() {
        assert!(printed.contains(morphism.name()), "{}", morphism.name());
    }
    for name in [
        "deepen",
        "widen",
        "skip_concat",
        "skip_add",
        "drop_layer",
        "drop_skip",
        "prune",
        "separate",
        "widen_kernel",
        "shrink_kernel",
        "branch",
        "deepen_residual",
    ] {
        assert!(printed.contains(name), "{name}");
    }
    assert!(ok(&["--version"]).starts_with(&format!("paretomorph {}", env!("CARGO_PKG_VERSION"))));
    for command in
        ["search", "resume", "front", "report", "finish", "evaluate", "predict", "export", "lineage"]
    {
        assert!(ok(&["--help"]).contains(command) && ok(&[command, "--help"]).contains("Usage"), "{command}");
    }
}
