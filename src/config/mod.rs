//! The settings of a run: one value, written in TOML, stored resolved in the run folder.

mod budget;
mod load;
mod preset;
mod setting;
mod timeout;
mod validate;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use budget::Budget;
pub use setting::KeyDoc;
pub use timeout::Timeout;
pub(crate) use validate::one_of;
pub use validate::{Names, SCHEDULES};

use setting::{Setting, settings};

settings! {
    /// Everything that decides a run. [`Default`] is the search of `experiments/digits.toml`.
    pub struct Config {
        /// Seed of every random choice of the run.
        pub seed: u64 = 0,
        /// Children trained side by side, one thread each; 0: as many as the machine has cores.
        pub workers: usize = 0,
        /// "cpu" or "cuda:N".
        pub device: String = "cpu".into(),
        /// "lemonade"; "random" (inherits nothing), "random_inherit"; "aging" (aging evolution, Real et al. 2019), "nsga2" (Deb et al.
        /// 2002) and "sms_emoa" (Beume et al. 2007), which inherit nothing; "nash" (hill climbing by morphisms, Elsken et al. 2017).
        pub strategy: String = "lemonade".into(),
        /// When the search ends: 90s, 10m or 1.5h of wall-clock time, 200evals (the initial population
        /// included), 30gens, or 25Tmacs of multiply-adds spent in training and evaluation.
        pub budget: Budget = Budget::Seconds(160.0),
        /// What is minimised: error, params, macs, activation_memory, latency. The first is the one that training
        /// lowers.
        pub objectives: Vec<String> = vec!["error".into(), "params".into()],
        /// Hard upper bounds, by objective name: max.params = 20000.
        pub max: BTreeMap<String, f64> = BTreeMap::new(),
        /// Lower ends of what is of interest, by counted objective, below which nothing is proposed: min.params = 5000.
        pub min: BTreeMap<String, f64> = BTreeMap::new(),
        /// Trained networks to start from instead of small fresh ones: ONNX files, or folders of exported networks.
        pub from: Vec<PathBuf> = Vec::new(),
        /// Where the images come from and how they are split.
        pub data: DataConfig = DataConfig::default(),
        /// LEMONADE's own settings.
        pub lemonade: LemonadeConfig = LemonadeConfig::default(),
        /// Settings of the evolutionary strategies.
        pub evolution: EvolutionConfig = EvolutionConfig::default(),
        /// How a network is trained.
        pub recipe: Recipe = Recipe::default(),
        /// When a training is given up before its last epoch.
        pub fidelity: FidelityConfig = FidelityConfig::default(),
        /// How the members of the front are trained by `finish`.
        pub finish: FinishConfig = FinishConfig::default(),
        /// How latency is measured.
        pub latency: LatencyConfig = LatencyConfig::default(),
        /// How a GPU is used.
        pub cuda: CudaConfig = CudaConfig::default(),
        /// Weights kept on disk: "front" (of the members of a front) or "all".
        pub keep_weights: String = "front".into(),
    }
}

settings! {
    /// Where the images come from and how they are split.
    pub struct DataConfig {
        /// "digits", "fashion-mnist", "mnist", "cifar10", or "images" (a folder with one sub-folder per
        /// class).
        pub name: String = "digits".into(),
        /// The data set's folder; without it each data set looks where its Debian package puts it.
        pub dir: Option<PathBuf> = None,
        /// Share of the training set that is held out for validation, stratified by class.
        pub validation: f64 = 0.3,
        /// Training images used at most (stratified, by seed), before the validation split; 0: all.
        pub limit: usize = 0,
        /// Height and width that images are resized to (area average); 0: as they are.
        /// A folder of images of several sizes needs it.
        pub size: usize = 0,
        /// What networks see: "standard" (zero mean and unit variance in each channel, measured on the training images),
        /// "unit" (pixels from 0 to 1) or "raw" (from 0 to 255). A network to start from needs what it was trained on.
        pub normalise: String = "standard".into(),
        /// Means of pixels from 0 to 1 by channel, instead of the measured ones: [0.485, 0.456, 0.406] for ImageNet.
        pub mean: Vec<f64> = Vec::new(),
        /// Standard deviations that go with data.mean.
        pub std: Vec<f64> = Vec::new(),
    }
}

settings! {
    /// LEMONADE's own settings (Elsken, Metzen, Hutter, ICLR 2019, section 4).
    pub struct LemonadeConfig {
        /// n_pc: children proposed in a generation, on their architecture alone.
        pub proposals: usize = 60,
        /// n_ac: children accepted for training in a generation.
        pub accepted: usize = 6,
        /// Most morphisms that make one child; their number is drawn uniformly from 1 to this.
        pub max_morphisms: usize = 3,
        /// Share of proposals that train their parent on unchanged ("continue").
        pub continue_share: f64 = 0.1,
        /// How much children that are cheap to train are preferred: the probability to be accepted is divided by a child's
        /// multiply-adds to this power; 0: not at all, as in the paper; 1: every order of magnitude of a front gets as much compute.
        pub thrift: f64 = 1.0,
        /// The morphisms used; empty: the whole catalogue.
        pub morphisms: Vec<String> = vec![],
        /// Whether morphisms are used that change the function a little: drop_layer, prune, separate and others.
        pub approximate: bool = true,
        /// How morphisms that have several ways are done, where that way is offered: "fresh", "replicate", "noise" or "twins" (copies
        /// that nothing tells apart, for comparison) of widen; empty: the way that learns best.
        pub variant: String = String::new(),
        /// Whether children start from their parents' weights; false: each is trained from scratch, for initial_epochs.
        pub inherit: bool = true,
        /// Whether sparse regions of the front are favoured, when parents are drawn and when children are accepted; false: all alike.
        pub density: bool = true,
    }
}

settings! {
    /// Settings of the evolutionary strategies "aging", "nsga2", "sms_emoa" and "de".
    pub struct EvolutionConfig {
        /// Networks of the population.
        pub population: usize = 20,
        /// "aging": networks of a tournament, whose best becomes a parent.
        pub tournament: usize = 5,
    }
}

settings! {
    /// How a network is trained: SGD with Nesterov momentum, cosine schedule, augmentation.
    pub struct Recipe {
        /// Epochs of a child.
        pub epochs: usize = 8,
        /// Epochs of a network that inherits nothing: the initial population, random search from scratch.
        pub initial_epochs: usize = 20,
        /// Images a step.
        pub batch: usize = 64,
        /// First learning rate of a child; the cosine schedule falls from it to `lr_end`.
        pub lr: f64 = 0.03,
        /// First learning rate of a network that inherits nothing.
        pub initial_lr: f64 = 0.05,
        /// Last learning rate.
        pub lr_end: f64 = 0.0,
        /// Nesterov momentum.
        pub momentum: f64 = 0.9,
        /// Weight decay, on the weights of convolutions and linear layers.
        pub weight_decay: f64 = 5e-4,
        /// Share of the target spread evenly over the classes.
        pub label_smoothing: f64 = 0.0,
        /// Random shift by up to this many pixels (zero-padded crop); 0: off.
        pub crop: usize = 1,
        /// Random horizontal flip.
        pub flip: bool = false,
        /// Side of a square that is blanked at a random place (DeVries and Taylor 2017); 0: off.
        pub cutout: usize = 0,
        /// Mixup's Beta parameter alpha (Zhang et al. 2018); 0: off.
        pub mixup: f64 = 0.0,
        /// Whether batch norms that a morphism inserts are calibrated on a batch, and all of them after an approximate morphism.
        pub calibrate: bool = true,
        /// Share of a child's epochs spent on distillation from the parent after an approximate morphism.
        pub distill_share: f64 = 0.25,
        /// Softmax temperature of the distillation.
        pub distill_temperature: f64 = 3.0,
    }
}

settings! {
    /// When a training is given up before its last epoch; any strategy can use any schedule.
    pub struct FidelityConfig {
        /// "full": never; "halving" (successive halving, Jamieson and Talwalkar 2016) and "hyperband" (Li et al. 2018) among the children
        /// of a generation; "asha" (Li et al. 2020) and "hurdles" (progressive dynamic hurdles, So et al. 2019) by the generations
        /// before; "curve": when the learning curve does not lead to the front. Where there are several objectives, the best
        /// are those of the first fronts with most room around them.
        pub schedule: String = "full".into(),
        /// Epochs of the first rung, after which it is decided for the first time.
        pub first: usize = 1,
        /// eta: how many times as many epochs the next rung has, and, with "halving", "hyperband" and "asha", one in how many
        /// trainings goes on to it.
        pub eta: usize = 3,
        /// "hurdles": children after which a hurdle is set and trainings may go on to the next rung.
        pub interval: usize = 30,
        /// "curve": how sure it must be that the front will not be reached: the share of earlier trainings whose error fell by less.
        pub caution: f64 = 0.9,
        /// "curve": share of trainings that are not given up, so that the rule's own error can be measured.
        pub audit: f64 = 0.1,
    }
}

settings! {
    /// How the members of the front are trained by `finish`.
    pub struct FinishConfig {
        /// Epochs.
        pub epochs: usize = 60,
        /// First learning rate when training goes on from the weights of the search.
        pub lr: f64 = 0.05,
    }
}

settings! {
    /// How latency is measured: batch 1, one thread.
    pub struct LatencyConfig {
        /// What measures: "self" (this program, on the device it trains on), "onnxruntime" (ONNX Runtime on this
        /// machine) or "command" (latency.command, which implies it).
        pub with: String = "self".into(),
        /// A shell command that prints the milliseconds of one pass on its last line; {onnx} is the network's file:
        /// ssh board ./bench /dev/stdin < {onnx}.
        pub command: String = String::new(),
        /// Times that the command is run for a network; their median is the latency.
        pub runs: usize = 1,
        /// The Python with onnxruntime for latency.with = "onnxruntime".
        pub python: String = "python3".into(),
        /// Forward passes before the first that counts; a command gets the number as {warmup}.
        pub warmup: usize = 10,
        /// Forward passes that count; their median is the latency. A command gets the number as {repeats}.
        pub repeats: usize = 50,
        /// How long a command, or ONNX Runtime, may take for a network before it is killed: 30s, 10m.
        pub timeout: Timeout = Timeout::seconds(60),
        /// Further attempts after one that failed or hung.
        pub retries: usize = 1,
        /// Whether training pauses while latency is measured; false, for a command that measures on another device: the
        /// chosen children are measured while they train. It needs latency.predictor.
        pub exclusive: bool = true,
        /// Measurements from which on a predictor that is fitted to them stands in while children are chosen, so that
        /// only chosen ones are measured; 0: every proposal is measured.
        pub predictor: usize = 0,
    }
}

settings! {
    /// How a GPU is used.
    pub struct CudaConfig {
        /// MiB of the device that the run takes at most, all workers together; a child that needs more is recorded as
        /// out of memory. 0: all there is.
        pub memory: u64 = 0,
    }
}

/// Every key of the configuration with its default and its meaning, in the order of the structs.
pub fn documentation() -> Vec<KeyDoc> {
    let mut keys = Vec::new();
    Config::default().document("", "", &mut keys);
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The dotted keys of a table's values; an empty table (`max`) is a value.
    fn leaves(prefix: &str, value: &toml::Value, out: &mut Vec<String>) {
        match value {
            toml::Value::Table(table) if !table.is_empty() => {
                table.iter().for_each(|(name, value)| leaves(&setting::dotted(prefix, name), value, out));
            }
            _ => out.push(prefix.into()),
        }
    }

    #[test]
    fn documentation_covers_every_key_of_the_serialised_default() {
        let mut expected = vec!["data.dir".to_string()]; // unset, so not serialised
        leaves("", &toml::Value::try_from(Config::default()).unwrap(), &mut expected);
        let mut documented: Vec<_> = documentation().into_iter().map(|entry| entry.key).collect();
        expected.sort();
        documented.sort();
        assert_eq!(documented, expected);
    }

    #[test]
    fn documented_texts_are_single_sentences_and_defaults_are_the_values() {
        let keys = documentation();
        for entry in &keys {
            assert!(entry.doc.ends_with('.') && !entry.doc.contains('\n'), "{}: {}", entry.key, entry.doc);
        }
        let default = |key: &str| keys.iter().find(|entry| entry.key == key).unwrap().default.clone();
        assert_eq!(default("budget"), "\"160s\"");
        assert_eq!(default("recipe.weight_decay"), "0.0005");
        assert_eq!(default("data.dir"), "unset");
    }

    #[test]
    fn a_documented_default_can_be_assigned_as_it_is_printed() {
        let mut config = Config::default();
        for entry in documentation().iter().filter(|entry| entry.default != "unset") {
            config.set(&format!("{}={}", entry.key, entry.default)).unwrap();
        }
        assert_eq!(config, Config::default());
    }

    fn experiment(name: &str) -> String {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments").join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    #[test]
    fn every_experiment_loads_and_is_valid() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments");
        let mut seen = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                Config::load(Some(&path), &[]).unwrap().validate(&Names::default()).unwrap();
                seen.push(path.file_stem().unwrap().to_string_lossy().into_owned());
            }
        }
        for name in ["cifar10", "digits", "fashion-mnist", "fashion-mnist-latency"] {
            assert!(seen.iter().any(|seen| seen == name), "experiments/{name}.toml is missing");
        }
    }

    #[test]
    fn digits_toml_is_the_default_and_shows_every_key() {
        let text = experiment("digits.toml");
        assert_eq!(Config::from_toml(&text, "digits.toml").unwrap(), Config::default());
        let mut shown = vec!["data.dir".to_string()]; // a comment in the file, having no default
        leaves("", &text.parse::<toml::Table>().unwrap().into(), &mut shown);
        for entry in documentation() {
            assert!(shown.contains(&entry.key), "experiments/digits.toml lacks {}", entry.key);
        }
        assert!(text.contains("\n# dir ="));
    }
}
