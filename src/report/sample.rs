//! A made-up run that looks like a real one, for the tests of this module.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{
    FinishedView, GivenUpView, HypervolumePoint, IndividualView, InheritanceRow, LayerKind, LayerView,
    MeasuringView, ObjectiveView, RepeatView, RunView, TestUse,
};

const EXACT: [&str; 4] = ["deepen", "widen", "skip_concat", "skip_add"];
const APPROXIMATE: [&str; 4] = ["drop_layer", "drop_skip", "prune", "separate"];

/// A small convolutional network: the width of each layer, and the layers that a skip leads past.
#[derive(Clone)]
struct Net {
    widths: Vec<u64>,
    skips: Vec<(usize, LayerKind)>,
}

impl Net {
    fn edit(&mut self, edit: &str, rng: &mut ChaCha8Rng) {
        let at = rng.random_range(0..self.widths.len());
        match edit {
            "deepen" => self.widths.insert(at, self.widths[at]),
            "widen" => self.widths[at] = self.widths[at] * 3 / 2,
            "skip_add" => self.skips.push((at, LayerKind::Mix)),
            "skip_concat" => self.skips.push((at, LayerKind::Concat)),
            "drop_layer" if self.widths.len() > 2 => drop(self.widths.remove(at)),
            "drop_skip" => drop(self.skips.pop()),
            _ => self.widths[at] = (self.widths[at] * 2 / 3).max(4),
        }
        self.skips.retain(|(at, _)| *at < self.widths.len());
        self.skips.sort_by_key(|(at, _)| *at);
        self.skips.dedup_by_key(|(at, _)| *at);
    }

    fn layers(&self) -> Vec<LayerView> {
        let mut layers = Layers::new(1, 8);
        let (mut channels, mut side) = (1, 8);
        for (index, width) in self.widths.iter().enumerate() {
            let start = layers.last();
            layers.conv(channels, *width, side);
            channels = *width;
            if let Some((_, kind)) = self.skips.iter().find(|(at, _)| *at == index).filter(|_| index > 0) {
                let end = layers.last();
                let label = if *kind == LayerKind::Mix { "mix" } else { "concat" };
                layers.push(
                    *kind,
                    label,
                    format!("{channels}x{side}x{side}"),
                    u64::from(*kind == LayerKind::Mix),
                    &[end, start],
                );
            }
            if index % 2 == 1 && side > 2 {
                side /= 2;
                layers.next(LayerKind::Pool, "max pool 2x2", format!("{channels}x{side}x{side}"), 0);
            }
        }
        layers.next(LayerKind::GlobalPool, "global average pool", format!("{channels}x1x1"), 0);
        layers.next(LayerKind::Flatten, "flatten", channels.to_string(), 0);
        layers.next(LayerKind::Linear, "linear, 10", "10".to_owned(), channels * 10 + 10);
        layers.list
    }

    fn params(&self) -> u64 {
        self.layers().iter().map(|layer| layer.params).sum()
    }
}

struct Layers {
    list: Vec<LayerView>,
}

impl Layers {
    fn new(channels: u64, side: u64) -> Self {
        let mut layers = Self { list: Vec::new() };
        layers.push(LayerKind::Input, "input", format!("{channels}x{side}x{side}"), 0, &[]);
        layers
    }

    fn last(&self) -> u32 {
        self.list.len() as u32 - 1
    }

    fn push(&mut self, kind: LayerKind, label: &str, shape: String, params: u64, inputs: &[u32]) {
        let id = self.list.len() as u32;
        self.list.push(LayerView {
            id,
            kind,
            label: label.to_owned(),
            shape,
            params,
            inputs: inputs.to_vec(),
        });
    }

    fn next(&mut self, kind: LayerKind, label: &str, shape: String, params: u64) {
        let last = self.last();
        self.push(kind, label, shape, params, &[last]);
    }

    fn conv(&mut self, from: u64, to: u64, side: u64) {
        let shape = format!("{to}x{side}x{side}");
        self.next(LayerKind::Conv, &format!("conv 3x3, {to}"), shape.clone(), from * to * 9);
        self.next(LayerKind::Norm, "batch norm", shape.clone(), 2 * to);
        self.next(LayerKind::Activation, "ReLU", shape, 0);
    }
}

/// `depth` convolutions with a sum after every third one, some of them over many layers, and a branch.
pub fn deep(depth: u32) -> Vec<LayerView> {
    let mut layers = Layers::new(3, 32);
    let mut ends = vec![layers.last()];
    for index in 1..=depth {
        layers.conv(16, 16, 32);
        if index % 3 == 0 {
            let reach = if index % 2 == 0 { 2 } else { 7 };
            let from = ends[ends.len().saturating_sub(reach)];
            let last = layers.last();
            layers.push(LayerKind::Add, "add", "16x32x32".to_owned(), 0, &[last, from]);
        }
        ends.push(layers.last());
    }
    let fork = layers.last();
    layers.conv(16, 8, 32);
    let left = layers.last();
    layers.push(LayerKind::Conv, "conv 1x1, 8", "8x32x32".to_owned(), 128, &[fork]);
    let right = layers.last();
    layers.push(LayerKind::Concat, "concat", "16x32x32".to_owned(), 0, &[left, right]);
    layers.next(LayerKind::Linear, "linear, 10", "10".to_owned(), 163_850);
    layers.list
}

/// A search of 8 generations on the digits, with everything a report can show.
pub fn run() -> RunView {
    let mut rng = crate::rng::stream(11, "sample", &[]);
    let mut nets: Vec<Net> =
        [[6, 8], [12, 16], [8, 24]].map(|w| Net { widths: w.to_vec(), skips: Vec::new() }).to_vec();
    let mut individuals: Vec<IndividualView> = Vec::new();
    for (id, net) in nets.iter().enumerate() {
        individuals.push(individual(id as u64, 0, None, Vec::new(), net, &mut rng));
    }
    for generation in 1..=8 {
        let front = pareto(&individuals);
        for _ in 0..4 {
            let parent = front[rng.random_range(0..front.len())];
            let count = rng.random_range(1..=3);
            let edits: Vec<String> = (0..count).map(|_| edit(&mut rng)).collect();
            let mut net = nets[parent].clone();
            edits.iter().for_each(|edit| net.edit(edit, &mut rng));
            let id = individuals.len() as u64;
            individuals.push(individual(id, generation, Some(parent as u64), edits, &net, &mut rng));
            nets.push(net);
        }
    }
    individuals[9].values[0] = None;
    individuals[9].outcome = "diverged in epoch 2".to_owned();
    for member in pareto(&individuals) {
        individuals[member].on_front = true;
        individuals[member].test_error = individuals[member].values[0].map(|error| error * 1.08 + 0.001);
        individuals[member].layers = nets[member].layers();
    }
    described(individuals)
}

fn edit(rng: &mut ChaCha8Rng) -> String {
    let list = if rng.random_bool(0.62) { EXACT } else { APPROXIMATE };
    list[rng.random_range(0..4)].to_owned()
}

fn individual(
    id: u64,
    generation: u32,
    parent: Option<u64>,
    edits: Vec<String>,
    net: &Net,
    rng: &mut ChaCha8Rng,
) -> IndividualView {
    let params = net.params() as f64;
    let error = (0.004 + 4.5 / params.powf(0.62)) * rng.random_range(0.75..1.5)
        / (1.0 + 0.06 * f64::from(generation));
    // The share of 287 images.
    let error = (error * 287.0).ceil() / 287.0;
    let values = vec![Some(error), Some(params)];
    IndividualView {
        id,
        generation,
        parent,
        edits,
        values,
        seconds: 2.0 + params / 9000.0,
        epochs: 8,
        outcome: "trained".into(),
        ..IndividualView::default()
    }
}

/// Places of the individuals that no other dominates.
fn pareto(individuals: &[IndividualView]) -> Vec<usize> {
    let of =
        |one: &IndividualView| (one.value(0).unwrap_or(f64::INFINITY), one.value(1).unwrap_or(f64::INFINITY));
    let better = |a: (f64, f64), b: (f64, f64)| a.0 <= b.0 && a.1 <= b.1 && a != b;
    let free = |one: &IndividualView| !individuals.iter().any(|other| better(of(other), of(one)));
    (0..individuals.len())
        .filter(|index| of(&individuals[*index]).0.is_finite() && free(&individuals[*index]))
        .collect()
}

fn described(individuals: Vec<IndividualView>) -> RunView {
    let text =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let objective = |name: &str, unit: &str| ObjectiveView {
        name: name.into(),
        unit: unit.into(),
        log: true,
        bound: None,
    };
    let members: Vec<&IndividualView> = individuals.iter().filter(|one| one.on_front).collect();
    RunView {
        title: "digits, LEMONADE, seed 1".into(),
        dataset: "digits, 1x8x8, 10 classes: 1150 train, 287 validation, 360 test".into(),
        strategy: "lemonade".into(),
        seed: 1,
        budget: "8gens".into(),
        started: "2026-11-24 03:18:02 UTC".into(),
        state: "finished: budget reached".into(),
        seconds: 168.0,
        phases: [("training", 141.0), ("evaluation", 12.3), ("proposing children", 3.9), ("store", 1.2)]
            .map(|(name, seconds)| (name.to_owned(), seconds))
            .to_vec(),
        objectives: vec![objective("error", "%"), objective("params", "parameters")],
        reference: vec![1.0, 1e6],
        hypervolume: growth(individuals.len()),
        finished: members.iter().take(3).map(|member| finish(member)).collect(),
        test_uses: members.iter().map(|member| test_use(member)).collect(),
        settings: "seed = 1\nstrategy = \"lemonade\"\nobjectives = [\"error\", \"params\"]\n\n[budget]\ngenerations = 8\n".into(),
        versions: text(&[("paretomorph", "0.1.0"), ("candle", "0.11.1"), ("rustc", "1.91.0")]),
        machine: text(&[("processor", "AMD EPYC 7763 64-Core Processor"), ("cores", "2"), ("device", "cpu")]),
        inheritance: inheritance(&individuals),
        measuring: vec![measuring()],
        given_up: Some(given_up()),
        individuals,
    }
}

fn growth(evaluations: usize) -> Vec<HypervolumePoint> {
    let point = |evaluations: usize| {
        let done = evaluations as f64;
        HypervolumePoint { evaluations, seconds: done * 4.6, value: 5.2 - 2.4 / (1.0 + (done / 5.0).floor()) }
    };
    (1..=evaluations).map(point).collect()
}

fn measuring() -> MeasuringView {
    MeasuringView {
        name: "latency".into(),
        unit: "ms".into(),
        by: "`ssh board ./bench {onnx}`".into(),
        networks: 61,
        failures: vec![("exit status: 255; it said: no route to host".into(), 2)],
        seconds: 30.5,
        spread: Some(0.021),
        repeated: vec![RepeatView { parameters: 5000, first: 0.42, again: Some(0.43) }],
        predicted: 40,
        correlation: Some(0.93),
    }
}

fn given_up() -> GivenUpView {
    GivenUpView {
        schedule: "curve".into(),
        trainings: 56,
        given_up: 20,
        planned: 448,
        trained: 350,
        ends: vec![(2, 5), (3, 15), (8, 36)],
        predictions: 30,
        mean_distance: Some(0.011),
        audited: 4,
        wrongly: 1,
    }
}

fn finish(member: &IndividualView) -> FinishedView {
    let error = member.values[0].unwrap_or(1.0);
    FinishedView {
        id: member.id,
        epochs: 60,
        from_scratch: member.id.is_multiple_of(2),
        validation_error: error * 0.8,
        test_error: error * 0.9,
        seconds: 31.0,
    }
}

fn test_use(member: &IndividualView) -> TestUse {
    let error = member.test_error.unwrap_or(1.0);
    TestUse { when: "2026-11-24 03:20:50 UTC".into(), id: member.id, error, why: "end of the search".into() }
}

fn inheritance(individuals: &[IndividualView]) -> Vec<InheritanceRow> {
    let row = |one: &IndividualView| {
        let parent = one.parent?;
        let (parent_error, trained_error) = (individuals[parent as usize].value(0)?, one.value(0)?);
        let exact = one.edits.iter().all(|edit| EXACT.contains(&edit.as_str()));
        let first_error = if exact { parent_error } else { (parent_error * 2.5).min(0.9) };
        Some(InheritanceRow {
            id: one.id,
            parent,
            edits: one.edits.join(", "),
            exact,
            parent_error,
            first_error,
            trained_error,
        })
    };
    individuals.iter().filter_map(row).collect()
}
