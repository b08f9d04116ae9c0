//! What the report of a study shows, as plain data.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::report::ObjectiveView;

/// What the report of a study shows, as plain data.
#[derive(Debug, Clone, Default, Serialize)]
pub struct StudyView {
    /// The heading.
    pub title: String,
    /// What was searched and how it was evaluated, in words.
    pub problem: String,
    /// What each run might spend.
    pub budget: String,
    /// Runs of each method.
    pub seeds: usize,
    /// When the study began.
    pub started: String,
    /// Runs that have ended.
    pub runs: usize,
    /// Runs that there are to be.
    pub runs_planned: usize,
    /// Seconds of all runs together.
    pub seconds: f64,
    /// What was minimised.
    pub objectives: Vec<ObjectiveView>,
    /// The interval in which each objective is measured.
    pub intervals: Vec<IntervalView>,
    /// The hypervolume of the reference front.
    pub reference_hypervolume: f64,
    /// Whether the reference front is the true one; else it is the union of all that was found.
    pub reference_known: bool,
    /// The methods, in the order of the study.
    pub methods: Vec<MethodView>,
    /// The hypervolume over evaluations, compute and time.
    pub curves: Vec<CurveView>,
    /// For each method what a quarter, half and three quarters of its runs attained.
    pub attainment: Vec<AttainmentView>,
    /// The reference front.
    pub front: Vec<FrontRow>,
    /// Each pair of methods.
    pub tests: Vec<TestView>,
    /// How soon each method is as good as the baseline at its end.
    pub shares: Vec<ShareView>,
    /// The questions of the checklist.
    pub checklist: Vec<CheckView>,
    /// The study's file.
    pub settings: String,
    /// What it ran on.
    pub machine: Vec<(String, String)>,
}

/// The interval in which an objective is measured.
#[derive(Debug, Clone, Default, Serialize)]
pub struct IntervalView {
    /// The objective.
    pub name: String,
    /// What counts as 0.
    pub ideal: f64,
    /// What counts as 1.
    pub reference: f64,
    /// Whether it is divided evenly in the logarithm.
    pub log: bool,
}

/// A method.
#[derive(Debug, Clone, Default, Serialize)]
pub struct MethodView {
    /// Its name.
    pub name: String,
    /// The strategy behind it.
    pub strategy: String,
    /// Runs that have ended.
    pub runs: usize,
    /// Seconds of its runs together.
    pub seconds: f64,
    /// Why its runs ended, and how many for that reason.
    pub ends: Vec<(String, usize)>,
    /// Its final figures; those of all methods have the same names.
    pub figures: Vec<FigureView>,
}

/// A figure of a method's runs.
#[derive(Debug, Clone, Default, Serialize)]
pub struct FigureView {
    /// What it is.
    pub name: String,
    /// As in [`ObjectiveView::unit`], or "count".
    pub unit: String,
    /// Whether less is better.
    pub smaller_is_better: bool,
    /// Lower quartile, median, upper quartile.
    pub spread: Option<[f64; 3]>,
    /// The value of each run.
    pub values: Vec<f64>,
}

/// Hypervolumes of all methods over something.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CurveView {
    /// Over what.
    pub title: String,
    /// A line for each method.
    pub lines: Vec<(String, Vec<BandPoint>)>,
}

/// Lower quartile, median and upper quartile at a place.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct BandPoint {
    /// The place.
    pub x: f64,
    /// The quartiles.
    pub band: [f64; 3],
}

/// Empirical attainment surfaces of a method: the corners of each, the first objective ascending.
#[derive(Debug, Clone, Default, Serialize)]
pub struct AttainmentView {
    /// The method.
    pub method: String,
    /// What a quarter, half and three quarters of its runs attained.
    pub surfaces: [Vec<[f64; 2]>; 3],
}

/// A member of the reference front.
#[derive(Debug, Clone, Default, Serialize)]
pub struct FrontRow {
    /// Its objective values.
    pub values: Vec<f64>,
    /// The design, if a run found it.
    pub design: String,
    /// Runs of each method that found it.
    pub found: BTreeMap<String, usize>,
}

/// Two methods compared by their final hypervolumes.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TestView {
    /// The one.
    pub a: String,
    /// The other.
    pub b: String,
    /// Median of the one less median of the other.
    pub difference: f64,
    /// Of Wilcoxon's rank-sum test.
    pub p: f64,
    /// The same, corrected for the number of pairs (Holm).
    pub corrected: f64,
}

/// When a method is as good as the baseline at its end.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ShareView {
    /// The method.
    pub method: String,
    /// The baseline.
    pub baseline: String,
    /// The share of the budget; infinite if never.
    pub share: f64,
    /// 95 % of bootstrap resamples lie in it.
    pub interval: (f64, f64),
}

/// A question of the checklist.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CheckView {
    /// The question.
    pub question: String,
    /// Its answer; none if the record does not tell.
    pub answer: Option<String>,
}
