//! Wrong inputs: status 1, a message that helps, no panic, and nothing half-written.

mod common;

use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use common::*;
use flate2::write::GzEncoder;
use morphisms::{Architecture, Shape};
use paretomorph::package::Package;
use paretomorph::{data, space, strategy};
use serde_json::Value;
use tempfile::TempDir;

/// A search that must fail with a message that has `parts`, and without an out folder.
#[track_caller]
fn no_search(args: &[&str], parts: &[&str]) {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("deep/out");
    // Should one of `args` slip through, the search is short.
    let budget: &[&str] = if args[0].starts_with("--budget") { &[] } else { &["--budget", "4evals"] };
    fails(&[&["search", "--out", text(&out)], TINY, budget, args].concat(), parts);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{args:?} left something behind");
}

fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn unknown_keys_and_wrong_types_are_named_with_file_line_and_what_was_meant() {
    let folder = TempDir::new().unwrap();
    let toml = |text: &str| {
        let path = folder.path().join("my.toml");
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_string()
    };
    let path = toml("seed = 1\n[recipe]\nepoch = 3\n");
    no_search(&[&path], &[&format!("{path}:3"), "`recipe.epoch`", "nearest", "`recipe.epochs`"]);
    no_search(&["--set", "lemonade.acepted=3"], &["--set", "`lemonade.acepted`", "`lemonade.accepted`"]);
    let path = toml("[recipe]\nepochs = 12.5\n");
    let parts = ["my.toml:2", "`recipe.epochs`", "expected a whole number", "found 12.5"];
    no_search(&[&path], &parts);
    no_search(&["--set", "recipe.flip=7"], &["`recipe.flip`", "expected true or false", "found 7"]);
    no_search(&["--set", "recipe.lr=-1"], &["`recipe.lr`", "above 0", "found -1"]);
    no_search(&["--set", "recipe.lr"], &["KEY=VALUE"]);
    no_search(&[&toml("seed = \n")], &["my.toml", "line 1"]);
    no_search(&["no/such.toml"], &["cannot read", "no/such.toml"]);
}

#[test]
fn unknown_names_are_answered_with_the_known_ones() {
    no_search(&["--objective", "error", "--objective", "parms"], &["`objectives`", "parms", "params"]);
    no_search(&["--objective", "params"], &["`objectives`", "error"]);
    no_search(&["--max", "parms=5"], &["parms", "params"]);
    no_search(&["--set", "strategy=lemonad"], &["`strategy`", "lemonad", "\"lemonade\""]);
    assert!(strategy::NAMES.contains(&"lemonade"));
    no_search(&["--data", "fashon-mnist"], &["fashon-mnist", "`fashion-mnist`"]);
    no_search(&["--set", "data.name=digit"], &["`data.name`", "digit", "digits"]);
    no_search(&["--set", "lemonade.morphisms=['wide']"], &["`lemonade.morphisms`", "wide", "\"widen\""]);
    no_search(&["--device", "cuda:0"], &["device", "cuda:0", "without CUDA"]);
    no_search(&["--device", "gpu"], &["device", "gpu", "cuda:N"]);
}

#[test]
fn options_that_make_no_sense_say_what_would() {
    for budget in ["soon", "0evals", "10", "-3m", "1.5gens", ""] {
        let option = format!("--budget={budget}");
        no_search(&[&option], &["--budget", budget, "200evals", "30gens", "10m"]);
    }
    for bound in ["params", "params=many"] {
        no_search(&["--max", bound], &["--max", bound]);
    }
    no_search(&["--max", "params=nan"], &["max.params", "NaN"]);
    no_search(&["--seed", "9999999999999999999"], &["seed", "9999999999999999999"]);
    no_search(&["--workers", "many"], &["--workers", "many"]);
    fails(&["serach"], &["serach", "search"]);
}

#[test]
fn a_bound_that_cannot_be_met_says_the_smallest_reachable_value() {
    let initial = space::initial(Shape::map(1, 8, 8), 10).unwrap();
    let least = |cost: fn(&Architecture) -> u64| initial.iter().map(cost).min().unwrap();
    for (name, smallest) in [
        ("params", least(Architecture::parameter_count)),
        ("macs", least(Architecture::macs)),
        ("activation_memory", least(Architecture::activation_memory)),
    ] {
        let bound = format!("{name}={}", smallest - 1);
        no_search(&["--max", &bound], &[&bound, "smallest reachable value", &smallest.to_string()]);
        let folder = TempDir::new().unwrap();
        let met = format!("{name}={smallest}");
        search(&folder.path().join("out"), &[TINY, &["--budget", "1evals", "--max", &met]].concat());
    }
    no_search(&["--max", "latency=1e-9"], &["latency=0.000000001", "smallest reachable value"]);
}

/// A folder of four IDX files with 4 images of 2x2 in 2 classes each.
fn idx(folder: &Path) {
    for part in ["train", "t10k"] {
        let images = [&[0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0, 2][..], &[7; 16]].concat();
        let labels = [0, 0, 8, 1, 0, 0, 0, 4, 0, 1, 0, 1];
        write(&folder.join(format!("{part}-images-idx3-ubyte")), images);
        write(&folder.join(format!("{part}-labels-idx1-ubyte")), labels);
    }
}

#[test]
fn missing_and_damaged_idx_files_are_named_with_what_is_wrong() {
    let folder = TempDir::new().unwrap();
    let dir = folder.path().join("digits of mine");
    let setting = format!("data.dir={}", text(&dir));
    let named = ["--set", "data.name=mnist", "--set", &setting];
    no_search(&named, &[text(&dir), "no such folder"]);
    no_search(&["--data", text(&dir)], &[text(&dir), "neither"]);
    no_search(&["--set", "data.name=mnist"], &["`data.dir`", "mnist"]);

    // The folder in good order, but for one file.
    let change = |file: &str, change: &dyn Fn(&mut Vec<u8>)| {
        idx(&dir);
        let mut bytes = fs::read(dir.join(file)).unwrap();
        change(&mut bytes);
        fs::write(dir.join(file), bytes).unwrap();
    };
    idx(&dir);
    fs::remove_file(dir.join("t10k-labels-idx1-ubyte")).unwrap();
    no_search(&["--data", text(&dir)], &[text(&dir), "t10k-labels-idx1-ubyte", "no such file"]);

    change("train-images-idx3-ubyte", &|bytes| bytes.truncate(20));
    no_search(&named, &["train-images-idx3-ubyte", "expected 32 bytes", "found 20", "truncated"]);
    change("train-images-idx3-ubyte", &|bytes| bytes.truncate(7));
    no_search(&named, &["train-images-idx3-ubyte", "truncated"]);
    change("train-images-idx3-ubyte", &|bytes| {
        let mut gz = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(bytes).unwrap();
        *bytes = gz.finish().unwrap();
        bytes.truncate(bytes.len() - 9);
    });
    no_search(&named, &["train-images-idx3-ubyte", "truncated"]);
    change("train-labels-idx1-ubyte", &|bytes| bytes[10] = 10);
    no_search(&named, &["train-labels-idx1-ubyte", "label of record 2", "expected 0 to 9", "found 10"]);
    change("t10k-labels-idx1-ubyte", &|bytes| bytes[11] = 2);
    no_search(&["--data", text(&dir)], &["t10k-labels-idx1-ubyte", "label of record 3", "0 to 1", "found 2"]);
    change("train-labels-idx1-ubyte", &|bytes| bytes[3] = 9);
    no_search(&named, &["train-labels-idx1-ubyte", "magic number", "0x00000801", "0x00000809"]);
}

#[test]
fn folders_of_images_name_the_class_or_the_file_that_is_wrong() {
    let folder = TempDir::new().unwrap();
    let dir = folder.path().join("photos");
    no_search(&["--set", "data.name=images"], &["`data.dir`"]);
    fs::create_dir_all(&dir).unwrap();
    no_search(&["--data", text(&dir)], &[text(&dir), "data set", "sub-folder per class"]);
    fs::create_dir_all(dir.join("cats")).unwrap();
    no_search(&["--data", text(&dir)], &[text(&dir), "at least 2 sub-folders"]);
    fs::create_dir_all(dir.join("dogs")).unwrap();
    no_search(&["--data", text(&dir)], &["cats", "class folder", "at least one picture"]);
    for class in ["cats", "dogs"] {
        for number in 0..4u8 {
            let picture = image::GrayImage::from_pixel(9, 9, image::Luma([number]));
            picture.save(dir.join(class).join(format!("{number}.png"))).unwrap();
        }
    }
    fs::write(dir.join("dogs/notes.txt"), "no picture").unwrap();
    no_search(&["--data", text(&dir)], &["notes.txt", "picture", "PNG"]);
    fs::remove_file(dir.join("dogs/notes.txt")).unwrap();
    cut(&dir.join("cats/3.png"));
    fs::write(dir.join("cats/3.png"), &fs::read(dir.join("cats/3.png")).unwrap()[..40]).unwrap();
    no_search(&["--data", text(&dir)], &["cats/3.png", "picture"]);
    assert!(data::SOURCES.iter().any(|source| source.name() == "images"));
}

/// Permissions do not bind root, so the folders are ones in which nobody can write.
#[test]
fn an_out_folder_that_cannot_be_written_is_named_before_anything_is_trained() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    let mut outs = vec![file.join("out"), file.clone()];
    if cfg!(target_os = "linux") {
        outs.extend(["/proc/paretomorph", "/proc", "/sys/paretomorph"].map(PathBuf::from));
    }
    let locked = folder.path().join("locked");
    fs::create_dir(&locked).unwrap();
    let mut permissions = fs::metadata(&locked).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&locked, permissions).unwrap();
    match fs::write(locked.join("probe"), "") {
        Ok(()) => println!("as root, for whom a read-only folder is none: not tested with one"),
        Err(_) => outs.extend([locked.join("out"), locked.clone()]),
    }
    for out in outs {
        let args = [&["search", "--out", text(&out), "--budget", "1evals"], TINY].concat();
        fails(&args, &["cannot", text(&out)]);
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "mine");
}

#[test]
fn folders_with_a_run_or_with_files_of_others_are_left_alone() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let args = [&["search", "--out", text(&out), "--budget", "2evals"], TINY].concat();
    ok(&args);
    let before = contents(folder.path());
    fails(&args, &[text(&out), "holds a run already", "resume", "--out"]);
    assert!(before == contents(folder.path()));
    for name in ["config.toml", "report.html"] {
        let other = folder.path().join(name.replace('.', " "));
        write(&other.join(name), "mine");
        let args = [&["search", "--out", text(&other), "--budget", "2evals"], TINY].concat();
        fails(&args, &[text(&other), name, "--out"]);
        assert_eq!(contents(&other).into_values().collect::<Vec<_>>(), [b"mine"]);
        assert_eq!(fs::read_dir(&other).unwrap().count(), 1);
    }
}

/// Every command that reads a run folder, with the folder left out.
fn readers(export: &Path) -> Vec<Vec<&str>> {
    vec![
        vec!["resume"],
        vec!["front"],
        vec!["front", "--json"],
        vec!["report"],
        vec!["finish"],
        vec!["evaluate", "0"],
        vec!["evaluate", "0", "--test"],
        vec!["predict", "0", "digit.png"],
        vec!["export", "0", export.to_str().unwrap()],
        vec!["lineage", "0"],
    ]
}

/// `["export", "0", "DIR"]` and a run folder to `["export", "RUN", "0", "DIR"]`.
fn on<'a>(command: &[&'a str], run: &'a Path) -> Vec<&'a str> {
    [&command[..1], &[text(run)], &command[1..]].concat()
}

#[test]
fn folders_that_are_no_runs_or_runs_of_another_version_are_refused_by_every_command() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    search(&run, &[TINY, &["--budget", "2evals"]].concat());
    let (empty, file) = (folder.path().join("empty"), folder.path().join("file"));
    fs::create_dir(&empty).unwrap();
    fs::write(&file, "mine").unwrap();
    let of = |name: &str, value: Option<&str>| {
        let other = copy(&run, &folder.path().join(name));
        let database = rusqlite::Connection::open(other.join("run.sqlite")).unwrap();
        match value {
            Some(value) => database.execute("UPDATE meta SET value = ?1 WHERE key = 'format'", [value]),
            None => database.execute("DELETE FROM meta WHERE key = 'format'", []),
        }
        .unwrap();
        other
    };
    let (newer, none) = (of("newer", Some("999")), of("without", None));
    let other = ["expected format", "another version"];
    for (path, parts) in [
        (folder.path().join("nothing"), &["does not exist"][..]),
        (empty, &["run.sqlite", "not a run"]),
        (file, &["run.sqlite", "not a run"]),
        (newer, &["found 999", other[0], other[1]]),
        (none, &["found none", other[0], other[1]]),
    ] {
        let export = folder.path().join("exported");
        let before = contents(folder.path());
        for command in readers(&export) {
            fails(&on(&command, &path), &[&[text(&path)], parts].concat());
        }
        assert!(!export.exists() && contents(folder.path()) == before, "{}", path.display());
    }
}

#[test]
fn a_damaged_database_is_named_by_every_command() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    search(&run, &[TINY, &["--budget", "2evals"]].concat());
    let whole = fs::read(run.join("run.sqlite")).unwrap();
    let text_of = |bytes: &[u8]| [b"no database at all", bytes].concat();
    // The header survives in the last one: page 1 is right and everything after it is not.
    let torn = [&whole[..4096], &vec![0xa5; whole.len() - 4096]].concat();
    for (name, bytes) in [
        ("text", text_of(&[])),
        ("empty", Vec::new()),
        ("half", whole[..whole.len() / 2].to_vec()),
        ("torn", torn),
    ] {
        let damaged = copy(&run, &folder.path().join(name));
        fs::write(damaged.join("run.sqlite"), &bytes).unwrap();
        let export = folder.path().join("exported");
        for command in readers(&export) {
            fails(&on(&command, &damaged), &[text(&damaged), "run.sqlite"]);
            assert!(!export.exists(), "{name}");
        }
        assert!(fs::read(damaged.join("run.sqlite")).unwrap() == bytes, "{name} was written to");
    }
}

#[test]
fn weights_that_were_cut_short_are_named_and_not_used() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    search(&run, &[TINY, &["--budget", "4evals"]].concat());
    let id = front(&run)[0]["id"].to_string();
    weight_files(&run).iter().for_each(|file| cut(file));
    let export = folder.path().join("exported");
    let before = contents(&run.join("weights"));
    let parts = [".safetensors", "weights", "expected bytes with the hash"];
    for command in [
        vec!["evaluate", &id],
        vec!["evaluate", &id, "--test"],
        vec!["export", &id, text(&export)],
        vec!["predict", &id, "digit.png"],
        vec!["finish", &id],
        vec!["finish"],
        vec!["resume", "--budget", "8evals", "--quiet"],
    ] {
        fails(&on(&command, &run), &parts);
    }
    assert!(!export.exists() && contents(&run.join("weights")) == before);
    assert_eq!(individuals(&run).len(), 4, "nothing was trained from damaged weights");
}

#[test]
fn ids_epochs_and_weights_that_do_not_exist_are_told_apart() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    search(&run, &[TINY, &["--budget", "7evals"]].concat());
    let export = folder.path().join("exported");
    for command in readers(&export) {
        if let Some(place) = command.iter().position(|&arg| arg == "0") {
            let mut command = command.clone();
            command[place] = "99";
            fails(&on(&command, &run), &[text(&run), "no individual 99", "from 0 to 6"]);
        }
    }
    fails(&["finish", text(&run), "99"], &["no individual 99"]);
    fails(&["finish", text(&run), "--epochs", "0"], &["--epochs", "1 or more", "found 0"]);
    fails(&["evaluate", text(&run)], &[text(&run), "which individual"]);
    fails(&["evaluate", text(&run), "first"], &["first"]);

    let front: Vec<u64> = front(&run).as_array().unwrap().iter().map(|m| m["id"].as_u64().unwrap()).collect();
    let dropped = (0..7).find(|id| !front.contains(id)).expect("a dominated network").to_string();
    for command in
        [vec!["evaluate", &dropped], vec!["export", &dropped, text(&export)], vec!["finish", &dropped]]
    {
        fails(&on(&command, &run), &[&dropped, "not on the front", "keep_weights"]);
    }
    assert!(!export.exists());
}

#[test]
fn a_run_that_a_process_works_on_is_refused_to_others_and_can_be_looked_at() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let start = [&["search", "--out", text(&run), "--budget", "1h"], TINY].concat();
    let mut first = Running::start(&start);
    first.wait_until("the initial population", || {
        run.join("run.sqlite").exists() && individuals(&run).len() >= 4
    });
    let others =
        [vec!["resume", text(&run)], vec!["finish", text(&run)], vec!["evaluate", text(&run), "0", "--test"]];
    for command in others {
        fails(&command, &[text(&run), "another process"]);
    }
    fails(&start, &[text(&run), "holds a run already"]);
    ok(&["front", text(&run)]);
    ok(&["lineage", text(&run), "0"]);
    ok(&["report", text(&run)]);
    assert!(first.kill(), "the search ended by itself");
    ok(&["resume", text(&run), "--budget", "4evals", "--quiet"]);
}

#[test]
fn an_exported_network_that_was_damaged_is_refused_with_the_file() {
    let folder = TempDir::new().unwrap();
    let (run, whole) = (folder.path().join("run"), folder.path().join("whole"));
    search(&run, &[TINY, &["--budget", "1evals"]].concat());
    ok(&["export", text(&run), "0", text(&whole)]);
    let blocked = folder.path().join("file");
    fs::write(&blocked, "mine").unwrap();
    fails(&["export", text(&run), "0", text(&blocked)], &[text(&blocked)]);
    fails(&["export", text(&run), "0", text(&blocked.join("dir"))], &[text(&blocked)]);

    let damaged = copy(&whole, &folder.path().join("cut"));
    cut(&damaged.join("weights.safetensors"));
    fails(&["evaluate", text(&damaged)], &[text(&damaged), "weights.safetensors", "safetensors file"]);
    fs::remove_file(damaged.join("weights.safetensors")).unwrap();
    fails(&["evaluate", text(&damaged)], &[text(&damaged), "weights.safetensors"]);
    cut(&damaged.join("architecture.json"));
    fails(&["evaluate", text(&damaged)], &[text(&damaged), "architecture.json"]);
    fails(&["evaluate", text(&whole), "--test"], &["--test", "recorded"]);

    let edit = |pointer: &str, value: Value, parts: &[&str]| {
        let mut description = description(&whole);
        *description.pointer_mut(pointer).unwrap() = value;
        let edited = copy(&whole, &folder.path().join("edited"));
        fs::write(edited.join("architecture.json"), description.to_string()).unwrap();
        fails(&["evaluate", text(&edited)], &[&[text(&edited)], parts].concat());
    };
    edit(
        "/architecture/layers/1/out_channels",
        9.into(),
        &["weights.safetensors", "expected shape [9, 1, 3, 3]"],
    );
    edit("/architecture/layers/1/type", "magic".into(), &["architecture.json", "magic"]);
    edit("/architecture/output", 99.into(), &["architecture.json", "99"]);
    edit("/classes", vec!["a", "b"].into(), &["architecture.json", "number of classes", "found 2"]);
    edit("/image/width", 9.into(), &["architecture.json", "shape of an image", "found 1x8x9"]);
    edit("/normalisation/std", Vec::<f32>::new().into(), &["architecture.json", "normalisation.std"]);
    edit("/data/limit", 140.into(), &["data set digits", "digest"]);
}

fn description(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("architecture.json")).unwrap()).unwrap()
}

/// Whatever value of an exported architecture is replaced by whatever else, loading it is an error or gives a network
/// that computes something.
#[test]
fn no_edit_of_an_exported_architecture_makes_the_library_panic() {
    let folder = TempDir::new().unwrap();
    let (run, whole) = (folder.path().join("run"), folder.path().join("whole"));
    search(&run, &[TINY, &["--budget", "3evals", "--set", "keep_weights=all"]].concat());
    // The third has depthwise convolutions.
    ok(&["export", text(&run), "2", text(&whole)]);
    let original = description(&whole);
    let image = Package::load(&whole).unwrap().description;
    let pixels = vec![0u8; image.image.volume()];
    let image = image.normalisation.tensor(&pixels, image.image).unwrap();
    let (mut refused, mut edits) = (0, 0);
    for pointer in pointers("", &original).iter().filter(|pointer| pointer.starts_with("/architecture")) {
        for value in
            ["0", "1", "3", "1000000000000000", "18446744073709551615", "-1", "1e300", "null", "\"x\"", "[]"]
        {
            let mut edited = original.clone();
            *edited.pointer_mut(pointer).unwrap() = serde_json::from_str(value).unwrap();
            fs::write(whole.join("architecture.json"), edited.to_string()).unwrap();
            let load = || match Package::load(&whole) {
                Ok(package) => package.network.logits(&image).map(|_| ()).is_err(),
                Err(error) => error.to_string().contains(text(&whole)) || panic!("without a file: {error}"),
            };
            edits += 1;
            refused += usize::from(
                catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|_| panic!("{pointer} = {value}")),
            );
        }
    }
    assert!(2 * refused > edits, "{refused} of {edits} were refused");
}

/// The pointers (RFC 6901) of all values at and below `value`.
fn pointers(prefix: &str, value: &Value) -> Vec<String> {
    let below: Vec<String> = match value {
        Value::Object(entries) => {
            entries.iter().flat_map(|(key, value)| pointers(&format!("{prefix}/{key}"), value)).collect()
        }
        Value::Array(entries) => (0..)
            .zip(entries)
            .flat_map(|(place, value): (usize, _)| pointers(&format!("{prefix}/{place}"), value))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    std::iter::once(prefix.to_string()).chain(below).collect()
}

#[test]
fn files_that_are_no_pictures_are_named_by_predict() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    search(&run, &[TINY, &["--budget", "1evals"]].concat());
    let (letter, missing) = (folder.path().join("letter.png"), folder.path().join("missing.png"));
    fs::write(&letter, "Dear all").unwrap();
    fails(&["predict", text(&run), "0", text(&letter)], &[text(&letter), "picture", "PNG"]);
    fails(&["predict", text(&run), "0", text(&missing)], &[text(&missing)]);
    fails(&["predict", text(&run), "0", text(folder.path())], &[text(folder.path())]);
    fails(&["predict", text(&run), "0"], &["IMAGE"]);
}
