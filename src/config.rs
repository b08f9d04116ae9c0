//! The settings of a run: one value, written in TOML, stored resolved in the run folder.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Everything that decides a run. [`Default`] is the search of `experiments/digits.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Seed of every random choice of the run.
    pub seed: u64,
    /// Children trained side by side, one thread each; 0: as many as the machine has cores.
    pub workers: usize,
    /// "cpu" or "cuda:N".
    pub device: String,
    /// "lemonade", "random" (inherits nothing) or "random_inherit".
    pub strategy: String,
    /// When the search ends.
    pub budget: Budget,
    /// What is minimised, by name; the first is the one that training lowers.
    pub objectives: Vec<String>,
    /// Hard upper bounds, by objective name.
    pub max: BTreeMap<String, f64>,
    /// Where the images come from and how they are split.
    pub data: DataConfig,
    /// LEMONADE's own settings.
    pub lemonade: LemonadeConfig,
    /// How a network is trained.
    pub recipe: Recipe,
    /// How the members of the front are trained by `finish`.
    pub finish: FinishConfig,
    /// How latency is measured.
    pub latency: LatencyConfig,
    /// Weights kept on disk: "front" (of the members of a front) or "all".
    pub keep_weights: String,
}

/// The end of a search. Text form: `10m`, `90s`, `1.5h`, `200evals`, `30gens`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Budget {
    /// Wall-clock seconds since the search began, resumed parts added up.
    Seconds(f64),
    /// Trained and evaluated networks, the initial population included.
    Evaluations(usize),
    /// Generations after the initial population.
    Generations(usize),
}

/// Where the images come from and how they are split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// "digits", "fashion-mnist", "mnist", "cifar10", or "images" (a folder with one sub-folder per class).
    pub name: String,
    /// The data set's folder; without it each data set looks where its Debian package puts it.
    pub dir: Option<PathBuf>,
    /// Share of the training set that is held out for validation, stratified by class.
    pub validation: f64,
    /// Training images used at most (stratified, by seed), before the validation split; 0: all.
    pub limit: usize,
    /// Height and width that images are resized to (area average); 0: as they are.
    /// A folder of images of several sizes needs it.
    pub size: usize,
}

/// LEMONADE's own settings (Elsken, Metzen, Hutter, ICLR 2019, section 4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LemonadeConfig {
    /// n_pc: children proposed in a generation, on their architecture alone.
    pub proposals: usize,
    /// n_ac: children accepted for training in a generation.
    pub accepted: usize,
    /// Most morphisms that make one child; their number is drawn uniformly from 1 to this.
    pub max_morphisms: usize,
    /// Share of proposals that train their parent on unchanged ("continue").
    pub continue_share: f64,
    /// The morphisms used; empty: the whole catalogue.
    pub morphisms: Vec<String>,
}

/// How a network is trained: SGD with Nesterov momentum, cosine schedule, augmentation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// Epochs of a child.
    pub epochs: usize,
    /// Epochs of a network that inherits nothing: the initial population, random search from scratch.
    pub initial_epochs: usize,
    /// Images a step.
    pub batch: usize,
    /// First learning rate of a child; the cosine schedule falls from it to `lr_end`.
    pub lr: f64,
    /// First learning rate of a network that inherits nothing.
    pub initial_lr: f64,
    /// Last learning rate.
    pub lr_end: f64,
    /// Nesterov momentum.
    pub momentum: f64,
    /// Weight decay, on the weights of convolutions and linear layers.
    pub weight_decay: f64,
    /// Share of the target spread evenly over the classes.
    pub label_smoothing: f64,
    /// Random shift by up to this many pixels (zero-padded crop); 0: off.
    pub crop: usize,
    /// Random horizontal flip.
    pub flip: bool,
    /// Side of a square that is blanked at a random place (DeVries and Taylor 2017); 0: off.
    pub cutout: usize,
    /// Mixup's Beta parameter alpha (Zhang et al. 2018); 0: off.
    pub mixup: f64,
    /// Share of a child's epochs spent on distillation from the parent after an approximate morphism.
    pub distill_share: f64,
    /// Softmax temperature of the distillation.
    pub distill_temperature: f64,
}

/// How the members of the front are trained by `finish`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FinishConfig {
    /// Epochs.
    pub epochs: usize,
    /// First learning rate when training goes on from the weights of the search.
    pub lr: f64,
}

/// How latency is measured: batch 1, one thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LatencyConfig {
    /// Forward passes before the first that counts.
    pub warmup: usize,
    /// Forward passes that count; their median is the latency.
    pub repeats: usize,
}
