//! The file that states a study: methods, seeds, a problem, a budget, and how fronts are measured.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::table::Table;
use crate::config::{Budget, Config, Names};
use crate::{Error, Result, search, strategy};

/// A study.
#[derive(Debug, Clone)]
pub struct Study {
    /// Its heading.
    pub title: String,
    /// Every method is run with each of them.
    pub seeds: Vec<u64>,
    /// What each run may spend.
    pub budget: Budget,
    /// What is minimised, and how it is measured.
    pub objectives: Vec<Objective>,
    /// The table that answers instead of training; none: networks are trained.
    pub table: Option<TableSource>,
    /// What is compared.
    pub methods: Vec<Method>,
    /// What the methods' settings were tuned on and what that cost, in words.
    pub tuning: Option<String>,
    /// Which parts of a method were taken away, in words.
    pub ablations: Option<String>,
    /// The method whose final hypervolume the others are timed by.
    pub baseline: Option<String>,
    /// The file as it was written.
    pub text: String,
}

/// An objective, and the interval in which fronts are measured.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objective {
    /// Its name: "error", or a cost.
    pub name: String,
    /// The value that counts as 0, as good as it can be hoped for.
    pub ideal: f64,
    /// The value that counts as 1: the reference point of the hypervolume, beyond which nothing counts.
    pub reference: f64,
    /// Whether the interval is divided evenly in the values ("linear") or in their logarithms ("log").
    #[serde(default)]
    pub scale: Scale,
    /// Bounds under which the least value of the first objective is told.
    #[serde(default)]
    pub bounds: Vec<f64>,
}

/// How an interval is divided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// Evenly.
    #[default]
    Linear,
    /// Evenly in the logarithm.
    Log,
}

impl Objective {
    /// A value as a share of the way from the ideal to the reference.
    pub fn normalised(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => (value - self.ideal) / (self.reference - self.ideal),
            Scale::Log => {
                (value.max(f64::MIN_POSITIVE) / self.ideal).ln() / (self.reference / self.ideal).ln()
            }
        }
    }
}

/// Where a table is, and how it is read.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSource {
    /// The file; a relative path starts at the folder of the study.
    pub file: PathBuf,
    /// "nas-bench-macro", "nas-bench-201" or "nas-bench-101".
    pub format: String,
    /// The column with the accuracy that strategies see, of which the objective "error" is made.
    pub accuracy: Option<String>,
    /// Random designs that every run starts with.
    #[serde(default = "initial")]
    pub initial: usize,
}

fn initial() -> usize {
    10
}

/// A method of a study.
#[derive(Debug, Clone)]
pub struct Method {
    /// What it is called in the study.
    pub name: String,
    /// Its settings; the seed is the run's.
    pub config: Config,
}

impl Method {
    /// Its name as part of a file's name.
    pub fn file_name(&self) -> String {
        file_name(&self.name)
    }
}

fn file_name(name: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    name.chars().map(kept).collect()
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    title: String,
    seeds: Seeds,
    budget: Budget,
    tuning: Option<String>,
    ablations: Option<String>,
    baseline: Option<String>,
    #[serde(rename = "objective")]
    objectives: Vec<Objective>,
    table: Option<TableSource>,
    #[serde(default)]
    settings: toml::Table,
    #[serde(rename = "method")]
    methods: Vec<FileMethod>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileMethod {
    name: String,
    #[serde(default)]
    settings: toml::Table,
}

/// So many from 0 on, or these.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seeds {
    Count(u64),
    List(Vec<u64>),
}

impl Study {
    /// Reads the file of a study.
    ///
    /// # Errors
    /// If it cannot be read, is no TOML, or states something that does not make sense.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::parse(&text, &path.display().to_string(), folder)
    }

    /// Reads the text of a study; `origin` names it in errors, and relative paths start at `folder`.
    ///
    /// # Errors
    /// Those of [`Study::load`].
    pub fn parse(text: &str, origin: &str, folder: &Path) -> Result<Self> {
        let file: File = toml::from_str(text)
            .map_err(|error| Error::Usage(format!("{origin}: {}", error.to_string().trim_end())))?;
        let table = file.table.map(|table| TableSource { file: folder.join(&table.file), ..table });
        let seeds = match file.seeds {
            Seeds::Count(count) => (0..count).collect(),
            Seeds::List(seeds) => seeds,
        };
        let (budget, objectives, settings) = (file.budget, file.objectives, file.settings);
        let method = |method: FileMethod| {
            let config = config(&settings, &method, (budget, &objectives), origin)?;
            Ok(Method { name: method.name, config })
        };
        let methods = file.methods.into_iter().map(method).collect::<Result<_>>()?;
        let study = Self {
            title: file.title,
            seeds,
            budget,
            objectives,
            table,
            methods,
            tuning: file.tuning,
            ablations: file.ablations,
            baseline: file.baseline,
            text: text.into(),
        };
        study.check(origin)?;
        Ok(study)
    }

    fn check(&self, origin: &str) -> Result<()> {
        let wrong = |key: &str, expected: &str, found: String| Error::Config {
            origin: origin.into(),
            key: key.into(),
            expected: expected.into(),
            found,
            hint: None,
        };
        let twice = |names: &[String]| {
            let again = |place: &usize| names[..*place].contains(&names[*place]);
            (0..names.len()).find(again).map(|place| names[place].clone())
        };
        let seeds: Vec<String> = self.seeds.iter().map(u64::to_string).collect();
        if seeds.is_empty() || twice(&seeds).is_some() {
            return Err(wrong(
                "seeds",
                "a number of seeds, or different ones",
                format!("[{}]", seeds.join(", ")),
            ));
        }
        let names: Vec<String> = self.methods.iter().map(|method| method.name.clone()).collect();
        if names.is_empty() || names.iter().any(String::is_empty) {
            return Err(wrong("method", "methods with a name", format!("{names:?}")));
        }
        if let Some(name) = twice(&names.iter().map(|name| file_name(name)).collect::<Vec<_>>()) {
            let expected = "names that differ in their letters and digits";
            return Err(wrong("method.name", expected, format!("`{name}` twice")));
        }
        if let Some(name) = self.baseline.as_ref().filter(|name| !names.contains(name)) {
            return Err(wrong("baseline", &format!("one of the methods {}", names.join(", ")), name.clone()));
        }
        for objective in &self.objectives {
            let Objective { name, ideal, reference, scale, .. } = objective;
            let positive = *scale == Scale::Linear || *ideal > 0.0;
            if !(ideal.is_finite() && reference.is_finite() && ideal < reference && positive) {
                let expected = "an ideal below the reference, and above 0 on a scale of logarithms";
                let found = format!("{name} from {ideal} to {reference}");
                return Err(wrong("objective", expected, found));
            }
        }
        if self.table.is_some() && !matches!(self.budget, Budget::Evaluations(_)) {
            let expected = "a number of evaluations where a table answers, such as 600evals";
            return Err(wrong("budget", expected, self.budget.to_string()));
        }
        Ok(())
    }

    /// The names of the objectives.
    pub fn names(&self) -> Vec<String> {
        self.objectives.iter().map(|objective| objective.name.clone()).collect()
    }

    /// Reads the table, if one answers, and checks every method's settings against the problem.
    ///
    /// # Errors
    /// If the table cannot be read, or a method asks for what the problem does not have.
    pub fn problem(&self) -> Result<Option<Table>> {
        let Some(source) = &self.table else {
            self.methods.iter().try_for_each(|method| search::validate(&method.config))?;
            return Ok(None);
        };
        let table = Table::read(&source.file, &source.format)?;
        let columns: Vec<&str> = table.columns().iter().map(String::as_str).collect();
        let accuracy = source.accuracy.as_deref().unwrap_or(table.format().accuracy);
        let known = |key: &str, name: &str, more: &[&str]| {
            let all = [more, &columns].concat();
            crate::config::one_of(key, name, &all)
        };
        known("table.accuracy", accuracy, &[])?;
        for objective in &self.objectives {
            known("objective.name", &objective.name, &["error"])?;
        }
        let objectives = [&["error"], columns.as_slice()].concat();
        let strategies = [strategy::NAMES, strategy::GENETIC_NAMES].concat();
        for method in &self.methods {
            method.config.validate(&Names {
                objectives: &objectives,
                counted: &columns,
                trained: &objectives,
                strategies: &strategies,
                ..Names::default()
            })?;
            let graded = table.fidelities(accuracy).len() > 1 && self.objectives[0].name == "error";
            if method.config.fidelity.schedule != "full" && !graded {
                return Err(Error::Config {
                    origin: format!("the settings of `{}`", method.name),
                    key: "fidelity.schedule".into(),
                    expected: format!(
                        "\"full\", unless the first objective is the error and {} has `{accuracy}` after fewer epochs too",
                        source.file.display()
                    ),
                    found: method.config.fidelity.schedule.clone(),
                    hint: None,
                });
            }
        }
        Ok(Some(table))
    }
}

/// The settings of a method: what suits the data, what all methods share, its own, and what the study states.
fn config(
    shared: &toml::Table,
    method: &FileMethod,
    (budget, objectives): (Budget, &[Objective]),
    origin: &str,
) -> Result<Config> {
    let data = |table: &toml::Table| Some(table.get("data")?.get("name")?.as_str()?.to_string());
    let name = data(&method.settings).or_else(|| data(shared));
    let mut config = name.map_or_else(Config::default, |name| Config::for_data(&name));
    config.apply(shared, &format!("{origin}, [settings]"))?;
    config.apply(&method.settings, &format!("{origin}, the settings of `{}`", method.name))?;
    config.objectives = objectives.iter().map(|objective| objective.name.clone()).collect();
    config.budget = budget;
    // Runs stand side by side, not the trainings of one.
    config.workers = 1;
    Ok(config)
}
