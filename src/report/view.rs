//! What a report shows, as plain data: a report can be written without an engine, and stored as JSON.

use serde::{Deserialize, Serialize};

/// A search, finished or interrupted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RunView {
    /// The page's heading.
    pub title: String,
    /// The data set and its sizes: "digits, 1x8x8, 10 classes: 1150 train, 287 validation, 360 test".
    pub dataset: String,
    /// The strategy's name.
    pub strategy: String,
    /// The seed of every random choice.
    pub seed: u64,
    /// The budget as it was asked for: "200evals".
    pub budget: String,
    /// When the search began, as people write it.
    pub started: String,
    /// How the search stands: "finished: budget reached", "interrupted".
    pub state: String,
    /// Seconds from the first to the last moment of the search, resumed parts added up.
    pub seconds: f64,
    /// Where the time went: name and seconds. Shares are of [`RunView::seconds`].
    pub phases: Vec<(String, f64)>,
    /// What was minimised. The first is the one that training lowers.
    pub objectives: Vec<ObjectiveView>,
    /// Hypervolume reference point, one value per objective.
    pub reference: Vec<f64>,
    /// Every evaluated network, the initial population included.
    pub individuals: Vec<IndividualView>,
    /// The hypervolume as the search went on.
    pub hypervolume: Vec<HypervolumePoint>,
    /// Networks that were trained on after the search.
    pub finished: Vec<FinishedView>,
    /// Every use of the test set.
    pub test_uses: Vec<TestUse>,
    /// How each measured objective was measured.
    pub measuring: Vec<MeasuringView>,
    /// What became of trainings that could be given up; none if all were to have all their epochs.
    pub given_up: Option<GivenUpView>,
    /// The resolved settings, as TOML.
    pub settings: String,
    /// Program and libraries with their versions.
    pub versions: Vec<(String, String)>,
    /// What the search ran on.
    pub machine: Vec<(String, String)>,
    /// What children had from their parents before any training.
    pub inheritance: Vec<InheritanceRow>,
}

/// One objective; smaller is better.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ObjectiveView {
    /// "error", "params", "latency".
    pub name: String,
    /// "%" (of a fraction in 0..1), "parameters", "multiply-adds", "bytes", "ms".
    pub unit: String,
    /// Draw it on a logarithmic axis.
    pub log: bool,
    /// The hard upper bound, in the objective's own scale.
    pub bound: Option<f64>,
}

/// One evaluated network.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct IndividualView {
    /// Its number within the run.
    pub id: u64,
    /// The generation it was made in; the initial population is 0.
    pub generation: u32,
    /// The network it was made from; `None` in the initial population.
    pub parent: Option<u64>,
    /// The edits that made it from its parent, in order.
    pub edits: Vec<String>,
    /// One value per objective; `None` where there is none, as after a diverged training.
    pub values: Vec<Option<f64>>,
    /// Whether it belongs to the Pareto front at the end.
    pub on_front: bool,
    /// Share of the test set that it gets wrong, where that was measured.
    pub test_error: Option<f64>,
    /// Training and evaluation time in seconds.
    pub seconds: f64,
    /// Epochs it was trained for.
    pub epochs: usize,
    /// "trained", "diverged", ...
    pub outcome: String,
    /// Its layers in an order in which inputs come first; may be empty for networks off the front.
    pub layers: Vec<LayerView>,
}

/// One layer of a drawn network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerView {
    /// Its number within the network.
    pub id: u32,
    /// What it is; decides the colour.
    pub kind: LayerKind,
    /// What is written on it: "conv 3x3, 32".
    pub label: String,
    /// The shape of its output, channels first: "32x14x14".
    pub shape: String,
    /// Its parameters.
    pub params: u64,
    /// The layers it reads, in order.
    pub inputs: Vec<u32>,
}

/// The kinds of layers that a drawing tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerKind {
    /// The image.
    Input,
    /// Convolution of any kind.
    Conv,
    /// Normalisation of any kind.
    Norm,
    /// A function of each number: activation, constant factor, dropout.
    Activation,
    /// Max or average pooling over a window.
    Pool,
    /// Sum.
    Add,
    /// Product.
    Multiply,
    /// Concatenation along the channels.
    Concat,
    /// Weighted sum with a learnt weight.
    Mix,
    /// Fully connected.
    Linear,
    /// Channels in another order.
    Shuffle,
    /// Image to vector.
    Flatten,
    /// Pooling over the whole image.
    GlobalPool,
}

/// The hypervolume of all networks evaluated so far.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct HypervolumePoint {
    /// Networks evaluated so far.
    pub evaluations: usize,
    /// Seconds since the search began.
    pub seconds: f64,
    /// The hypervolume with respect to [`RunView::reference`].
    pub value: f64,
}

/// A network of the front after longer training.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FinishedView {
    /// The network.
    pub id: u64,
    /// Epochs of this training alone.
    pub epochs: usize,
    /// Whether it started from new weights instead of its own.
    pub from_scratch: bool,
    /// Share of the validation set that it gets wrong.
    pub validation_error: f64,
    /// Share of the test set that it gets wrong.
    pub test_error: f64,
    /// Training time in seconds.
    pub seconds: f64,
}

/// One use of the test set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TestUse {
    /// When, as people write it.
    pub when: String,
    /// The network that was tested.
    pub id: u64,
    /// Share of the test set that it got wrong.
    pub error: f64,
    /// Why: "end of the search", "evaluate --test".
    pub why: String,
}

/// What a child had from its parent before any training.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct InheritanceRow {
    /// The child.
    pub id: u64,
    /// Its parent.
    pub parent: u64,
    /// The edits between them.
    pub edits: String,
    /// Whether every edit preserves the function.
    pub exact: bool,
    /// The parent's validation error.
    pub parent_error: f64,
    /// The child's validation error before any training.
    pub first_error: f64,
    /// The child's validation error after training.
    pub trained_error: f64,
}

/// How an objective was measured, what that cost, and what its numbers are worth.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MeasuringView {
    /// The objective: "latency".
    pub name: String,
    /// Its unit: "ms".
    pub unit: String,
    /// What measured: "this program on cpu", "ONNX Runtime", or the command.
    pub by: String,
    /// Networks with a value.
    pub networks: usize,
    /// Why networks could not be measured, and how many for this reason.
    pub failures: Vec<(String, usize)>,
    /// Seconds of measuring, retries and failures included.
    pub seconds: f64,
    /// The range between the quartiles of a network's values relative to their median, in the median over the networks;
    /// none where each had a single value.
    pub spread: Option<f64>,
    /// Networks measured at the start and again at the end.
    pub repeated: Vec<RepeatView>,
    /// Networks whose value was predicted before it was measured.
    pub predicted: usize,
    /// Spearman's rank correlation of those predictions with the measured values.
    pub correlation: Option<f64>,
}

/// What became of trainings that could be given up before their last epoch.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct GivenUpView {
    /// What decided: "halving", "curve", ...
    pub schedule: String,
    /// Trainings, the initial population left out.
    pub trainings: usize,
    /// Those that were given up.
    pub given_up: usize,
    /// Epochs that all were meant to have.
    pub planned: usize,
    /// Epochs that they had.
    pub trained: usize,
    /// After how many epochs how many ended.
    pub ends: Vec<(usize, usize)>,
    /// Final errors that were predicted from half of the epochs.
    pub predictions: usize,
    /// Their mean distance from those that came out; none if nothing was predicted.
    pub mean_distance: Option<f64>,
    /// Trainings that would have been given up for their prediction, but went on so that it could be judged.
    pub audited: usize,
    /// Those of them that came to the front after all.
    pub wrongly: usize,
}

/// A network that was measured twice.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct RepeatView {
    /// Its parameters.
    pub parameters: u64,
    /// The value that counts.
    pub first: f64,
    /// The later one; none if that failed.
    pub again: Option<f64>,
}

impl RunView {
    /// The members of the front, by the first objective and then by id.
    pub fn front(&self) -> Vec<&IndividualView> {
        let mut front: Vec<_> = self.individuals.iter().filter(|individual| individual.on_front).collect();
        let first = |individual: &IndividualView| individual.value(0).unwrap_or(f64::INFINITY);
        front.sort_by(|a, b| first(a).total_cmp(&first(b)).then(a.id.cmp(&b.id)));
        front
    }
}

impl IndividualView {
    /// The value of an objective, unless it is missing or not a number.
    pub fn value(&self, objective: usize) -> Option<f64> {
        self.values.get(objective).copied().flatten().filter(|value| value.is_finite())
    }
}

impl ObjectiveView {
    /// What stands along an axis or over a column: "error (%)", "parameters".
    pub fn heading(&self) -> String {
        match self.unit.as_str() {
            "parameters" | "multiply-adds" => self.unit.clone(),
            "" => self.words(),
            unit => format!("{} ({unit})", self.words()),
        }
    }

    /// A value with its unit and name: "1.05 % error", "12.3 k parameters", "0.421 ms latency".
    pub fn phrase(&self, value: f64) -> String {
        let name = match self.unit.as_str() {
            "parameters" | "multiply-adds" => self.unit.clone(),
            _ => self.words(),
        };
        format!("{} {name}", super::format::value(&self.unit, value))
    }

    /// The name as people write it.
    fn words(&self) -> String {
        self.name.replace('_', " ")
    }
}
