//! The rule that imports run one way, read off manifests and sources as text: kernels know no morphisms, morphisms know
//! no search, and in the search everything has its place.

use std::fs;
use std::path::{Path, PathBuf};

/// The workspace's folder.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names of all dependencies of a manifest, those for tests and builds included.
fn dependencies(manifest: &str) -> Vec<String> {
    let manifest: toml::Table = fs::read_to_string(root().join(manifest)).unwrap().parse().unwrap();
    let sections = ["dependencies", "dev-dependencies", "build-dependencies"];
    let tables = sections.iter().filter_map(|section| manifest.get(*section)?.as_table());
    tables.flat_map(|table| table.keys().cloned()).collect()
}

/// Every Rust file below a folder or at a path, by name.
fn sources(below: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![root().join(below)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    assert!(!files.is_empty(), "nothing below {below}");
    files
}

/// The code of a file without its comments and its module of tests.
fn code(text: &str) -> String {
    let program = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = program.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether `code` has the name `name`, not as a part of another.
fn mentions(code: &str, name: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(name).any(|(at, _)| {
        let (before, after) = (code[..at].chars().next_back(), code[at + name.len()..].chars().next());
        !(name.starts_with(part) && before.is_some_and(part)
            || name.ends_with(part) && after.is_some_and(part))
    })
}

/// The files below `folders` whose code has one of `names`, as `FILE: NAME`; a file called `tests.rs` has only tests.
fn found(folders: &[&str], names: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for file in folders.iter().flat_map(|folder| sources(folder)).filter(|file| !file.ends_with("tests.rs")) {
        let code = code(&fs::read_to_string(&file).unwrap());
        let relative = file.strip_prefix(root()).unwrap().display().to_string();
        found.extend(
            names.iter().filter(|name| mentions(&code, name)).map(|name| format!("{relative}: {name}")),
        );
    }
    found
}

/// Nothing of the kind is there.
#[track_caller]
fn none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}, but there is\n{}", found.join("\n"));
}

/// Ways to make a variable.
const MAKES_VARIABLES: &[&str] = &[
    "Var::new",
    "Var::zeros",
    "Var::ones",
    "Var::rand",
    "Var::randn",
    "Var::from_tensor",
    "Var::from_vec",
    "Var::from_slice",
    "VarMap",
    "VarBuilder",
    "Parameter::new",
    "Parameter::with_velocity",
];

#[test]
fn the_scanner_sees_what_it_looks_for_and_nothing_else() {
    assert!(mentions("let v = Var::new(1)?;", "Var::new") && mentions("x.relu()", ".relu()"));
    assert!(!mentions("MyVar::new(1)", "Var::new") && !mentions("Var::newer()", "Var::new"));
    assert!(mentions("use paretomorph::x;", "paretomorph") && !mentions("paretomorphs", "paretomorph"));
    assert_eq!(code("let a = 1; // Var::new\n#[cfg(test)]\nmod tests { Var::new }"), "let a = 1; ");
    assert!(code("#[cfg(test)]\nfn one() {}\nfn two() {}").contains("two"));
    let makers = found(&["src"], MAKES_VARIABLES);
    let expected = ["src/train.rs: Parameter::new", "src/train.rs: Parameter::with_velocity"];
    assert_eq!(makers, expected, "the one place where weights are written");
    assert!(
        !found(&["src"], &["morphisms"]).is_empty() && !found(&["morphisms"], &["candle_convnet"]).is_empty()
    );
}

#[test]
fn kernels_know_nothing_of_networks_and_searches() {
    let others = dependencies("kernels/Cargo.toml");
    assert!(others.contains(&"candle-core".to_string()));
    none(&also(&others, &["morphisms", "paretomorph"]), "kernels depend on candle alone");
    none(&found(&["kernels"], &["morphisms", "paretomorph"]), "kernels mention neither of the other crates");
}

#[test]
fn morphisms_know_nothing_of_data_training_and_searches() {
    let others = dependencies("morphisms/Cargo.toml");
    assert!(others.contains(&"candle-convnet".to_string()));
    let foreign = [
        "paretomorph",
        "candle-nn",
        "image",
        "flate2",
        "rusqlite",
        "toml",
        "clap",
        "ctrlc",
        "indicatif",
        "maud",
        "resvg",
        "comfy-table",
        "rayon",
        "blake3",
        "tempfile",
    ];
    none(&also(&others, &foreign), "morphisms can be embedded: no data sets, no databases, no programs");
    let outside = ["paretomorph", "candle_nn", "std::thread"];
    none(&found(&["morphisms/src"], &outside), "morphisms know architectures and weights alone");
    // The check of liveness needs gradients, and throws them and the variables away.
    let variables = found(&["morphisms/src"], MAKES_VARIABLES).into_iter();
    let others: Vec<String> = variables.filter(|line| !line.starts_with("morphisms/src/check/")).collect();
    none(&others, "morphisms train nothing: weights are plain tensors");
}

fn also(dependencies: &[String], forbidden: &[&str]) -> Vec<String> {
    dependencies.iter().filter(|name| forbidden.contains(&name.as_str())).cloned().collect()
}

/// candle's own are wrong or slow; see `candle_convnet`.
#[test]
fn networks_are_computed_by_the_kernels_alone() {
    let own = [
        ".conv2d(",
        ".conv1d(",
        ".max_pool2d(",
        ".max_pool2d_with_stride(",
        ".avg_pool2d(",
        ".avg_pool2d_with_stride(",
        ".relu()",
        "Tensor::conv2d",
        "Tensor::max_pool2d",
        "Tensor::avg_pool2d",
        "Tensor::relu",
        "candle_nn::Conv2d",
        "candle_nn::BatchNorm",
        "candle_nn::conv2d",
        "candle_nn::batch_norm",
        "candle_nn::loss",
        "candle_nn::Linear",
        "candle_nn::linear",
    ];
    none(
        &found(&["src", "morphisms/src"], &own),
        "convolution, pooling and batch norm come from candle-convnet",
    );
}

#[test]
fn strategies_see_no_data_no_tensors_and_no_training() {
    let unseen = [
        "Tensor",
        "Dataset",
        "Network",
        "Weights",
        "candle_core",
        "crate::data",
        "crate::train",
        "crate::store",
        "crate::executor",
    ];
    none(&found(&["src/strategy"], &unseen), "a strategy sees architectures, objective values and lineage");
}

#[test]
fn the_report_and_the_pareto_front_know_nothing_of_the_engine() {
    let engine = [
        "crate::search",
        "crate::store",
        "crate::strategy",
        "crate::individual",
        "crate::executor",
        "crate::train",
        "crate::config",
        "crate::data",
        "crate::overview",
        "morphisms",
        "candle_core",
    ];
    none(&found(&["src/report", "src/pareto"], &engine), "they take plain data");
}

#[test]
fn only_the_program_talks_to_the_terminal() {
    let talk = [
        "println!",
        "print!",
        "eprintln!",
        "eprint!",
        "dbg!",
        "std::process::exit",
        "todo!",
        "unimplemented!",
    ];
    let talkers = found(&["src", "morphisms/src", "kernels/src"], &talk);
    let foreign = |line: &&String| !line.starts_with("src/cli/") && !line.starts_with("src/main.rs");
    none(&talkers.iter().filter(foreign).cloned().collect::<Vec<_>>(), "a library is silent");
}
