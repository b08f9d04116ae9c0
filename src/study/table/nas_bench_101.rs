//! NAS-Bench-101 (Ying et al., ICML 2019): cells of at most seven vertices and nine edges, trained on CIFAR-10 three times for each
//! of 4, 12, 36 and 108 epochs.
//!
//! A TFRecord file; a record is a JSON array of the module's hash, the epochs, the adjacency matrix row by row as zeros and ones,
//! the operations separated by commas, and a protobuf message in base64 (`ModelMetrics`): measurements before training, half way
//! and at the end.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use prost::Message;

use super::{Contents, Format, Lookup, tfrecord, wrong};
use crate::Result;

pub(super) const FORMAT: Format =
    Format { name: "nas-bench-101", accuracy: "validation_accuracy_108", percent: false, read };

/// Vertices of a cell, the input and the output among them.
const VERTICES: usize = 7;
const MOST_EDGES: usize = 9;
/// What may stand between input and output.
const OPERATIONS: [&str; 3] = ["conv1x1-bn-relu", "conv3x3-bn-relu", "maxpool3x3"];
/// Pairs of an earlier and a later vertex: a gene each; then a gene for each inner vertex.
const PAIRS: usize = VERTICES * (VERTICES - 1) / 2;

/// What is measured of one training.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ModelMetrics {
    #[prost(message, repeated, tag = "1")]
    pub(super) evaluation_data: Vec<EvaluationData>,
    #[prost(int32, optional, tag = "2")]
    pub(super) trainable_parameters: Option<i32>,
    #[prost(double, optional, tag = "3")]
    pub(super) total_time: Option<f64>,
}

/// What is measured at one time.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EvaluationData {
    #[prost(double, optional, tag = "1")]
    pub(super) current_epoch: Option<f64>,
    #[prost(double, optional, tag = "2")]
    pub(super) training_time: Option<f64>,
    #[prost(double, optional, tag = "3")]
    pub(super) train_accuracy: Option<f64>,
    #[prost(double, optional, tag = "4")]
    pub(super) validation_accuracy: Option<f64>,
    #[prost(double, optional, tag = "5")]
    pub(super) test_accuracy: Option<f64>,
}

/// A cell as a graph: which vertices each one reads (a bit each), and what stands there. The input is the first, the output the last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cell {
    reads: Vec<u8>,
    operations: Vec<u8>,
}

/// A cell up to the order of its inner vertices.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Canonical(Vec<(u8, u8)>);

/// The cell that genes stand for; none if it is outside the space.
pub(super) fn canonical(genes: &[u8]) -> Option<Canonical> {
    let mut pairs = genes.iter();
    let mut reads = vec![0u8; VERTICES];
    for from in 0..VERTICES {
        for read in &mut reads[from + 1..] {
            *read |= (*pairs.next()?).min(1) << from;
        }
    }
    let operations = pairs.copied().collect();
    Cell { reads, operations }.pruned()?.canonical()
}

impl Cell {
    /// Without the vertices that are on no way from the input to the output; none if there is no such way.
    fn pruned(&self) -> Option<Self> {
        let last = self.reads.len() - 1;
        let (mut reached, mut needed) = (1u8, 1u8 << last);
        for vertex in 1..=last {
            if self.reads[vertex] & reached != 0 {
                reached |= 1 << vertex;
            }
        }
        for vertex in (0..=last).rev().filter(|&vertex| vertex > 0) {
            if needed >> vertex & 1 == 1 {
                needed |= self.reads[vertex];
            }
        }
        let alive = reached & needed;
        (alive & 1 == 1 && alive >> last & 1 == 1).then(|| {
            let kept: Vec<usize> = (0..=last).filter(|vertex| alive >> vertex & 1 == 1).collect();
            let renamed = |reads: u8| {
                kept.iter().enumerate().fold(0, |bits, (new, old)| bits | (reads >> old & 1) << new)
            };
            let inner = &kept[1..kept.len() - 1];
            Self {
                reads: kept.iter().map(|&vertex| renamed(self.reads[vertex])).collect(),
                operations: inner.iter().map(|&vertex| self.operations[vertex - 1]).collect(),
            }
        })
    }

    /// The smallest of its forms over all orders of the inner vertices; none if it has too many edges.
    fn canonical(&self) -> Option<Canonical> {
        let edges: u32 = self.reads.iter().map(|reads| reads.count_ones()).sum();
        if edges as usize > MOST_EDGES || self.reads.len() > VERTICES {
            return None;
        }
        let mut order: Vec<usize> = (0..self.operations.len()).collect();
        let mut best = self.in_order(&order);
        // Heap's algorithm.
        let mut counts = vec![0; order.len()];
        let mut place = 0;
        while place < order.len() {
            if counts[place] < place {
                order.swap(if place % 2 == 0 { 0 } else { counts[place] }, place);
                best = best.min(self.in_order(&order));
                counts[place] += 1;
                place = 0;
            } else {
                counts[place] = 0;
                place += 1;
            }
        }
        Some(Canonical(best))
    }

    /// Operation and inputs of the inner vertices in this order, and of the output.
    fn in_order(&self, order: &[usize]) -> Vec<(u8, u8)> {
        let renamed = |reads: u8| {
            let inner = order.iter().enumerate();
            inner.fold(reads & 1, |bits, (new, old)| bits | (reads >> (old + 1) & 1) << (new + 1))
        };
        let inner = order.iter().map(|&old| (self.operations[old], renamed(self.reads[old + 1])));
        let output = (u8::MAX, renamed(self.reads[self.reads.len() - 1]));
        inner.chain([output]).collect()
    }
}

/// The cell of a record.
fn cell(adjacency: &str, operations: &str) -> std::result::Result<Cell, String> {
    let operations: Vec<&str> = operations.split(',').collect();
    let vertices = operations.len();
    let bits: Option<Vec<u8>> = adjacency.chars().map(|bit| bit.to_digit(2).map(|bit| bit as u8)).collect();
    let bits = bits
        .filter(|bits| (2..=VERTICES).contains(&vertices) && bits.len() == vertices * vertices)
        .ok_or_else(|| format!("`{adjacency}` is no adjacency matrix of {vertices} vertices"))?;
    let upper = |place: usize| place % vertices > place / vertices;
    if bits.iter().enumerate().any(|(place, &bit)| bit == 1 && !upper(place)) {
        return Err(format!("the adjacency matrix `{adjacency}` has an edge to an earlier vertex"));
    }
    let reads = |to: usize| (0..to).fold(0, |reads, from| reads | bits[from * vertices + to] << from);
    let known = |name: &&str| {
        let place = OPERATIONS.iter().position(|one| one == name);
        place.map(|place| place as u8).ok_or_else(|| format!("no operation `{name}`"))
    };
    let operations = operations[1..vertices - 1].iter().map(known).collect::<std::result::Result<_, _>>()?;
    Ok(Cell { reads: (0..vertices).map(reads).collect(), operations })
}

/// What is known of a cell: parameters, and for each number of epochs the trainings.
#[derive(Default)]
struct Known {
    label: String,
    parameters: f64,
    trainings: BTreeMap<u32, Vec<[f64; 3]>>,
}

fn read(path: &Path, bytes: &[u8]) -> Result<Contents> {
    let mut known: Vec<Known> = Vec::new();
    let mut places: BTreeMap<Canonical, usize> = BTreeMap::new();
    let mut epochs_seen: Vec<u32> = Vec::new();
    for (number, record) in tfrecord::records(bytes).enumerate() {
        let record = record.map_err(|problem| wrong(path, problem))?;
        let wrong = |problem: String| wrong(path, format!("record {}: {problem}", number + 1));
        let (_, epochs, adjacency, operations, metrics): (String, u32, String, String, String) =
            serde_json::from_slice(record).map_err(|error| wrong(error.to_string()))?;
        let metrics = base64::engine::general_purpose::STANDARD
            .decode(metrics)
            .map_err(|error| wrong(format!("its measurements are not base64: {error}")))?;
        let metrics = ModelMetrics::decode(metrics.as_slice())
            .map_err(|error| wrong(format!("its measurements cannot be read: {error}")))?;
        let canonical = cell(&adjacency, &operations)
            .map_err(wrong)?
            .pruned()
            .and_then(|cell| cell.canonical())
            .ok_or_else(|| wrong("its cell is outside the benchmark's space".into()))?;
        let last = metrics.evaluation_data.last();
        let value = |of: fn(&EvaluationData) -> Option<f64>, name: &str| {
            let value = last.and_then(of).filter(|value| value.is_finite());
            value.ok_or_else(|| wrong(format!("it lacks `{name}` of the end of the training")))
        };
        let training = [
            value(|one| one.validation_accuracy, "validation_accuracy")?,
            value(|one| one.test_accuracy, "test_accuracy")?,
            value(|one| one.training_time, "training_time")?,
        ];
        let place = *places.entry(canonical).or_insert_with(|| {
            known.push(Known::default());
            known.len() - 1
        });
        let entry = &mut known[place];
        entry.label = format!("{adjacency} {operations}");
        entry.parameters = f64::from(metrics.trainable_parameters.unwrap_or_default());
        entry.trainings.entry(epochs).or_default().push(training);
        if !epochs_seen.contains(&epochs) {
            epochs_seen.push(epochs);
        }
    }
    epochs_seen.sort_unstable();
    let mut columns = vec!["trainable_parameters".to_string()];
    for epochs in &epochs_seen {
        let names = ["validation_accuracy", "test_accuracy", "training_time"];
        columns.extend(names.map(|name| format!("{name}_{epochs}")));
    }
    let mut rows = Vec::new();
    for entry in known {
        let mut values = vec![entry.parameters];
        for epochs in &epochs_seen {
            let trainings = entry.trainings.get(epochs).ok_or_else(|| {
                wrong(path, format!("the cell {} was never trained for {epochs} epochs", entry.label))
            })?;
            let mean = |of: usize| {
                trainings.iter().map(|training| training[of]).sum::<f64>() / trainings.len() as f64
            };
            values.extend([0, 1, 2].map(mean));
        }
        rows.push((entry.label, values));
    }
    let choices = [vec![2; PAIRS], vec![OPERATIONS.len(); VERTICES - 2]].concat();
    Ok(Contents { choices, columns, rows, rows_by_genes: Lookup::Graph(places) })
}
