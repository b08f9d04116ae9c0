//! What a configuration must satisfy before anything is started or written.

use std::fmt::Display;

use super::{
    Config, DataConfig, EvolutionConfig, FidelityConfig, FinishConfig, LatencyConfig, LemonadeConfig, Recipe,
};
use crate::error::{Error, Result};

/// Schedules of epochs, for `fidelity.schedule`.
pub const SCHEDULES: &[&str] = &["full", "halving", "hyperband", "asha", "hurdles", "curve"];

/// The names that a configuration may use. [`Default`] is what this crate brings along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names<'a> {
    /// Objectives, for `objectives` and `max`.
    pub objectives: &'a [&'a str],
    /// Those of them that are counted on an architecture, for `min`.
    pub counted: &'a [&'a str],
    /// Those of them that training lowers; the first objective is one of them.
    pub trained: &'a [&'a str],
    /// Search strategies.
    pub strategies: &'a [&'a str],
    /// Data sets.
    pub data: &'a [&'a str],
    /// Morphisms, for `lemonade.morphisms`.
    pub morphisms: &'a [&'a str],
}

impl Default for Names<'static> {
    fn default() -> Self {
        Self {
            objectives: &["error", "params", "macs", "activation_memory", "latency"],
            counted: &["params", "macs", "activation_memory"],
            trained: &["error"],
            strategies: &["lemonade", "random", "random_inherit", "aging", "nsga2", "sms_emoa", "nash"],
            data: &["digits", "fashion-mnist", "mnist", "cifar10", "images"],
            morphisms: &[
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
            ],
        }
    }
}

impl Config {
    /// Checks ranges and names; the first violation is the error.
    ///
    /// # Errors
    /// [`Error::Config`] with the key, what it takes and what it has.
    pub fn validate(&self, names: &Names<'_>) -> Result<()> {
        let largest = i64::MAX as u64; // the largest whole number of TOML, in which the run is stored
        require(self.seed <= largest, "seed", format!("at most {largest}"), self.seed)?;
        device(&self.device)?;
        let most = u64::MAX >> 20; // MiB that are a number of bytes
        require(self.cuda.memory <= most, "cuda.memory", format!("at most {most}"), self.cuda.memory)?;
        one_of("strategy", &self.strategy, names.strategies)?;
        one_of("keep_weights", &self.keep_weights, &["front", "all"])?;
        self.validate_objectives(names)?;
        self.data.validate(names.data)?;
        self.lemonade.validate(names.morphisms)?;
        self.evolution.validate()?;
        self.recipe.validate()?;
        self.fidelity.validate()?;
        self.finish.validate()?;
        self.latency.validate()
    }

    fn validate_objectives(&self, names: &Names<'_>) -> Result<()> {
        distinct("objectives", &self.objectives, names.objectives)?;
        let Some(first) = self.objectives.first() else {
            return Err(violation("objectives", "at least one objective", "none", None));
        };
        let lowered = names.trained.contains(&first.as_str());
        let expected = || format!("a first objective that training lowers ({})", names.trained.join(", "));
        require(lowered, "objectives", expected(), first)?;
        for (name, &bound) in &self.max {
            one_of(&format!("max.{name}"), name, names.objectives)?;
            not_negative(&format!("max.{name}"), bound)?;
        }
        for (name, &bound) in &self.min {
            one_of(&format!("min.{name}"), name, names.counted)?;
            let most = self.max.get(name).copied().unwrap_or(f64::INFINITY);
            let inside = (0.0..=most).contains(&bound);
            require(inside, &format!("min.{name}"), "a number from 0 to the upper bound", bound)?;
        }
        Ok(())
    }
}

impl DataConfig {
    fn validate(&self, names: &[&str]) -> Result<()> {
        one_of("data.name", &self.name, names)?;
        let inside = self.validation > 0.0 && self.validation < 1.0;
        require(inside, "data.validation", "a share above 0 and below 1", self.validation)?;
        let located = self.name != "images" || self.dir.is_some();
        require(located, "data.dir", "the folder of the images, as data.name is \"images\"", "nothing")?;
        one_of("data.normalise", &self.normalise, &["standard", "unit", "raw"])?;
        let finite = self.mean.iter().all(|mean| mean.is_finite());
        require(finite, "data.mean", "finite numbers", format!("{:?}", self.mean))?;
        let positive = self.std.iter().all(|&std| std > 0.0 && std.is_finite());
        require(positive, "data.std", "numbers above 0", format!("{:?}", self.std))?;
        let paired = format!("{} numbers, as data.mean has", self.mean.len());
        require(self.mean.len() == self.std.len(), "data.std", paired, format!("{:?}", self.std))
    }
}

impl EvolutionConfig {
    fn validate(&self) -> Result<()> {
        positive_count("evolution.population", self.population)?;
        positive_count("evolution.tournament", self.tournament)
    }
}

impl LemonadeConfig {
    fn validate(&self, names: &[&str]) -> Result<()> {
        positive_count("lemonade.proposals", self.proposals)?;
        positive_count("lemonade.accepted", self.accepted)?;
        one_of("lemonade.variant", &self.variant, &["", "fresh", "replicate", "noise", "twins"])?;
        let most = format!("at most lemonade.proposals ({})", self.proposals);
        require(self.accepted <= self.proposals, "lemonade.accepted", most, self.accepted)?;
        positive_count("lemonade.max_morphisms", self.max_morphisms)?;
        share("lemonade.continue_share", self.continue_share)?;
        let thrift = (0.0..=4.0).contains(&self.thrift);
        require(thrift, "lemonade.thrift", "from 0 to 4".to_string(), self.thrift)?;
        distinct("lemonade.morphisms", &self.morphisms, names)
    }
}

impl Recipe {
    fn validate(&self) -> Result<()> {
        positive_count("recipe.epochs", self.epochs)?;
        positive_count("recipe.initial_epochs", self.initial_epochs)?;
        positive_count("recipe.batch", self.batch)?;
        positive("recipe.lr", self.lr)?;
        positive("recipe.initial_lr", self.initial_lr)?;
        not_negative("recipe.lr_end", self.lr_end)?;
        share("recipe.momentum", self.momentum)?;
        not_negative("recipe.weight_decay", self.weight_decay)?;
        share("recipe.label_smoothing", self.label_smoothing)?;
        not_negative("recipe.mixup", self.mixup)?;
        share("recipe.distill_share", self.distill_share)?;
        positive("recipe.distill_temperature", self.distill_temperature)
    }
}

impl FidelityConfig {
    fn validate(&self) -> Result<()> {
        one_of("fidelity.schedule", &self.schedule, SCHEDULES)?;
        positive_count("fidelity.first", self.first)?;
        require(self.eta >= 2, "fidelity.eta", "2 or more".to_string(), self.eta)?;
        positive_count("fidelity.interval", self.interval)?;
        let caution = (0.5..1.0).contains(&self.caution);
        require(caution, "fidelity.caution", "a share of 0.5 or more and below 1", self.caution)?;
        share("fidelity.audit", self.audit)
    }
}

impl FinishConfig {
    fn validate(&self) -> Result<()> {
        positive_count("finish.epochs", self.epochs)?;
        positive("finish.lr", self.lr)
    }
}

impl LatencyConfig {
    fn validate(&self) -> Result<()> {
        one_of("latency.with", &self.with, &["self", "onnxruntime", "command"])?;
        positive_count("latency.runs", self.runs)?;
        positive_count("latency.repeats", self.repeats)?;
        let interpreter = !self.python.trim().is_empty();
        require(interpreter, "latency.python", "the name or path of a Python", "nothing")?;
        self.validate_command()?;
        self.validate_sharing()
    }

    fn validate_command(&self) -> Result<()> {
        let found = || format!("\"{}\"", self.command);
        match (self.with.as_str(), self.command.trim().is_empty()) {
            ("command", true) => {
                let expected = "a command, as latency.with is \"command\": ./bench {onnx}";
                Err(violation("latency.command", expected, "nothing", None))
            }
            ("onnxruntime", false) => {
                let expected = "nothing, as latency.with is \"onnxruntime\"";
                Err(violation("latency.command", expected, found(), None))
            }
            (_, true) => Ok(()),
            (_, false) => {
                let expected = "a command that takes the network's file, as in ./bench {onnx}";
                require(self.command.contains("{onnx}"), "latency.command", expected, found())
            }
        }
    }

    /// Measuring beside training is sound on another device only, and only where children are chosen without it.
    fn validate_sharing(&self) -> Result<()> {
        let elsewhere = !self.command.trim().is_empty();
        let expected =
            "true, as the latency is that of the cores that train: a latency.command may be elsewhere";
        require(self.exclusive || elsewhere, "latency.exclusive", expected, self.exclusive)?;
        let expected =
            "true without a latency.predictor, as every proposal is measured before children are chosen";
        require(self.exclusive || self.predictor > 0, "latency.exclusive", expected, self.exclusive)
    }
}

fn violation(key: &str, expected: impl Into<String>, found: impl Display, hint: Option<String>) -> Error {
    let (expected, found) = (expected.into(), found.to_string());
    Error::Config { origin: "settings".into(), key: key.into(), expected, found, hint }
}

fn require(holds: bool, key: &str, expected: impl Into<String>, found: impl Display) -> Result<()> {
    if holds { Ok(()) } else { Err(violation(key, expected, found, None)) }
}

fn share(key: &str, value: f64) -> Result<()> {
    require((0.0..1.0).contains(&value), key, "a share: 0 or more, below 1", value)
}

fn positive(key: &str, value: f64) -> Result<()> {
    require(value > 0.0 && value.is_finite(), key, "a finite number above 0", value)
}

fn not_negative(key: &str, value: f64) -> Result<()> {
    require(value >= 0.0 && value.is_finite(), key, "a finite number, 0 or more", value)
}

fn positive_count(key: &str, value: usize) -> Result<()> {
    require(value > 0, key, "1 or more", value)
}

/// An error with the nearest of the `known` names, if `name` is none of them.
pub(crate) fn one_of(key: &str, name: &str, known: &[&str]) -> Result<()> {
    if known.contains(&name) {
        return Ok(());
    }
    let similarity = |known: &str| strsim::normalized_damerau_levenshtein(name, known);
    let nearest = known.iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    let hint = nearest.map(|nearest| format!("the nearest is \"{nearest}\""));
    Err(violation(key, format!("one of {}", known.join(", ")), format!("\"{name}\""), hint))
}

fn distinct(key: &str, names: &[String], known: &[&str]) -> Result<()> {
    for (index, name) in names.iter().enumerate() {
        one_of(key, name, known)?;
        require(!names[..index].contains(name), key, "each name once", format!("\"{name}\" twice"))?;
    }
    Ok(())
}

fn device(device: &str) -> Result<()> {
    let cuda = device.strip_prefix("cuda:").is_some_and(|index| index.parse::<usize>().is_ok());
    require(device == "cpu" || cuda, "device", "cpu or cuda:N", format!("\"{device}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validate(sets: &[&str]) -> Result<()> {
        let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
        Config::load(None, &sets).unwrap().validate(&Names::default())
    }

    #[test]
    fn the_presets_are_valid() {
        for name in ["digits", "mnist", "fashion-mnist", "cifar10", "some/folder"] {
            Config::for_data(name).validate(&Names::default()).unwrap();
        }
        validate(&["device=cuda:1", "max.params=0", "lemonade.morphisms=['widen']", "latency.warmup=0"])
            .unwrap();
    }

    #[test]
    fn each_violation_names_its_key_and_what_it_has() {
        for (set, found) in [
            ("device=gpu", "\"gpu\""),
            ("device=cuda:x", "\"cuda:x\""),
            ("strategy=lemonad", "the nearest is \"lemonade\""),
            ("keep_weights=some", "front, all"),
            ("objectives=[]", "none"),
            ("objectives=['params']", "params"),
            ("objectives=['error', 'latncy']", "the nearest is \"latency\""),
            ("objectives=['error', 'error']", "twice"),
            ("max.latncy=1", "the nearest is \"latency\""),
            ("max.params=inf", "inf"),
            ("max.params=nan", "NaN"),
            ("max.params=-1", "-1"),
            ("data.name=digit", "the nearest is \"digits\""),
            ("data.validation=0", "found 0"),
            ("data.validation=1.0", "found 1"),
            ("lemonade.proposals=0", "found 0"),
            ("lemonade.accepted=61", "at most lemonade.proposals (60)"),
            ("lemonade.max_morphisms=0", "found 0"),
            ("lemonade.continue_share=1.0", "found 1"),
            ("lemonade.thrift=-1", "from 0 to 4"),
            ("lemonade.morphisms=['wide']", "the nearest is \"widen\""),
            ("recipe.epochs=0", "found 0"),
            ("recipe.initial_epochs=0", "found 0"),
            ("recipe.batch=0", "found 0"),
            ("recipe.lr=0", "found 0"),
            ("recipe.initial_lr=inf", "found inf"),
            ("recipe.lr_end=-0.1", "found -0.1"),
            ("recipe.momentum=1", "found 1"),
            ("recipe.weight_decay=nan", "found NaN"),
            ("recipe.label_smoothing=-0.1", "found -0.1"),
            ("recipe.mixup=-1", "found -1"),
            ("recipe.distill_share=1", "found 1"),
            ("recipe.distill_temperature=0", "found 0"),
            ("finish.epochs=0", "found 0"),
            ("finish.lr=0", "found 0"),
            ("latency.repeats=0", "found 0"),
            ("latency.runs=0", "found 0"),
            ("latency.with=onnxruntim", "the nearest is \"onnxruntime\""),
            ("latency.python=''", "found nothing"),
            ("latency.command=./bench", "{onnx}"),
            ("latency.exclusive=false", "the cores that train"),
        ] {
            let (key, message) = (set.split_once('=').unwrap().0, validate(&[set]).unwrap_err().to_string());
            assert!(message.contains(&format!("`{key}`")) && message.contains(found), "{set}: {message}");
        }
    }

    #[test]
    fn settings_of_latency_that_do_not_go_together_are_refused() {
        let (command, beside) = ("latency.command=./bench {onnx}", "latency.exclusive=false");
        validate(&[command]).unwrap();
        validate(&[command, "latency.with=command"]).unwrap();
        validate(&["latency.with=onnxruntime"]).unwrap();
        validate(&[command, beside, "latency.predictor=20"]).unwrap();
        for (sets, key, found) in [
            (&["latency.with=command"][..], "latency.command", "found nothing"),
            (&[command, "latency.with=onnxruntime"], "latency.command", "./bench"),
            (&[command, beside], "latency.exclusive", "without a latency.predictor"),
            (&["latency.with=onnxruntime", beside, "latency.predictor=9"], "latency.exclusive", "cores"),
        ] {
            let message = validate(sets).unwrap_err().to_string();
            assert!(message.contains(&format!("`{key}`")) && message.contains(found), "{sets:?}: {message}");
        }
    }

    #[test]
    fn a_seed_beyond_toml_and_images_without_a_folder_are_refused() {
        let config = Config { seed: u64::MAX, ..Config::default() };
        assert!(config.validate(&Names::default()).unwrap_err().to_string().contains("`seed`"));
        assert!(validate(&["data.name=images"]).unwrap_err().to_string().contains("`data.dir`"));
    }
}
