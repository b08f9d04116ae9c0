//! From a run folder to what its report shows.

use std::collections::{BTreeMap, BTreeSet};

use morphisms::{Architecture, Layer};

use crate::config::Config;
use crate::fidelity::{Assessment, Generation};
use crate::individual::Individual;
use crate::report::{
    FinishedView, GivenUpView, HypervolumePoint, IndividualView, InheritanceRow, LayerKind, LayerView,
    MeasuringView, ObjectiveView, RepeatView, RunView, TestUse,
};
use crate::search::{Phases, hypervolume, reported_front, test_errors};
use crate::store::{MeasurementRow, Store};
use crate::{Result, objective};

/// Everything that the report of a run shows.
///
/// # Errors
/// If the run folder cannot be read.
pub fn of(store: &Store) -> Result<RunView> {
    let individuals = store.database.individuals()?;
    let front: BTreeSet<u64> =
        reported_front(&individuals, &store.config)?.iter().map(|member| member.id).collect();
    let meta = |key: &str| Ok::<_, crate::Error>(store.database.meta(key)?.unwrap_or_default());
    let tests = store.database.tests()?;
    let tested = test_errors(&store.database)?;
    let phases = phases(store);
    let view = |individual: &Individual| {
        let on_front = front.contains(&individual.id);
        let test_error = individual.weights.as_ref().and_then(|weights| tested.get(weights));
        individual_view(store, individual, on_front, test_error.copied())
    };
    Ok(RunView {
        title: format!("paretomorph: {}", store.config.data.name),
        dataset: meta("data")?,
        strategy: store.config.strategy.clone(),
        seed: store.config.seed,
        budget: store.config.budget.to_string(),
        started: meta("started")?,
        state: meta("state")?,
        seconds: phases.total,
        phases: vec![
            ("proposing and measuring".into(), phases.proposing),
            ("training and validation".into(), phases.training),
            ("testing the front".into(), phases.testing),
        ],
        objectives: objectives(store)?,
        reference: store.database.fact("reference")?,
        individuals: individuals.iter().map(view).collect(),
        hypervolume: hypervolumes(store, &individuals)?,
        finished: finished(store)?,
        test_uses: tests
            .into_iter()
            .map(|row| TestUse { when: row.time, id: row.individual, error: row.error, why: row.why })
            .collect(),
        measuring: measuring(store)?,
        given_up: given_up(store, &individuals)?,
        settings: store.config.to_toml()?,
        versions: vec![
            ("paretomorph".into(), meta("version")?),
            ("run folder format".into(), crate::store::FORMAT.into()),
            ("data digest (BLAKE3)".into(), meta("data_digest")?),
        ],
        machine: store.database.fact("machine")?,
        inheritance: inheritance(&individuals),
    })
}

fn phases(store: &Store) -> Phases {
    store.database.fact("phases").unwrap_or_default()
}

/// Seconds of a run so far.
pub fn seconds(store: &Store) -> f64 {
    phases(store).total
}

/// How each measured objective was measured; none before there are measurements.
///
/// # Errors
/// If the run folder cannot be read.
pub fn measuring(store: &Store) -> Result<Vec<MeasuringView>> {
    let mut views = Vec::new();
    for objective in objective::cheap(&store.config) {
        let rows = store.database.measurements(objective.name)?;
        if !rows.is_empty() {
            let repeated = store.database.repeated_measurements(objective.name)?;
            let by = objective::latency::described(&store.config);
            views.push(measuring_view(objective, by, &rows, &repeated));
        }
    }
    Ok(views)
}

/// What became of trainings that could be given up; none if the settings say that all have all their epochs.
///
/// # Errors
/// If an objective value is not a finite number.
pub fn given_up(store: &Store, individuals: &[Individual]) -> Result<Option<GivenUpView>> {
    let config = &store.config;
    let trained: Vec<&Individual> = individuals.iter().filter(|one| one.generation > 0).collect();
    if config.fidelity.schedule == "full" || trained.is_empty() {
        return Ok(None);
    }
    let mut ends: BTreeMap<usize, usize> = BTreeMap::new();
    trained.iter().for_each(|one| *ends.entry(one.epochs).or_default() += 1);
    let assessment = match config.fidelity.schedule.as_str() {
        "curve" => Assessment::of(&generations(individuals, config)?, config.fidelity.caution),
        _ => Assessment::default(),
    };
    let Assessment { audited, wrongly, predictions, mean_distance } = assessment;
    Ok(Some(GivenUpView {
        schedule: config.fidelity.schedule.clone(),
        trainings: trained.len(),
        given_up: trained.iter().filter(|one| one.weights.is_some() && one.epochs < one.planned).count(),
        planned: trained.iter().map(|one| one.planned).sum(),
        trained: trained.iter().map(|one| one.epochs).sum(),
        ends: ends.into_iter().collect(),
        predictions,
        mean_distance: (predictions > 0).then_some(mean_distance),
        audited,
        wrongly,
    }))
}

/// The trainings of each generation but the initial one, each with the front that was known when it began.
fn generations(individuals: &[Individual], config: &Config) -> Result<Vec<Generation>> {
    let last = individuals.last().map_or(0, |last| last.generation);
    let of = |generation: usize| {
        let begun = individuals.partition_point(|one| one.generation < generation);
        let ended = individuals.partition_point(|one| one.generation <= generation);
        let trained = individuals[begun..ended].iter().filter_map(|one| one.past(&config.objectives));
        let front = reported_front(&individuals[..begun], config)?;
        let front = front.iter().filter_map(|member| member.values(&config.objectives)).collect();
        Ok(Generation { trained: trained.collect(), front })
    };
    (1..=last).map(of).collect()
}

fn measuring_view(
    objective: &objective::Objective,
    by: String,
    rows: &[MeasurementRow],
    repeated: &[MeasurementRow],
) -> MeasuringView {
    let mut failures: BTreeMap<&String, usize> = BTreeMap::new();
    rows.iter()
        .filter_map(|row| row.outcome.as_ref().err())
        .for_each(|why| *failures.entry(why).or_default() += 1);
    let predictions: Vec<(f64, f64)> =
        rows.iter().filter_map(|row| Some((row.predicted?, row.value()?))).collect();
    let repeat = |row: &MeasurementRow| {
        let first = rows.iter().find(|first| first.architecture == row.architecture)?.value()?;
        Some(RepeatView { parameters: row.architecture.parameter_count(), first, again: row.value() })
    };
    MeasuringView {
        name: objective.name.into(),
        unit: objective.unit.into(),
        by,
        networks: rows.iter().filter(|row| row.outcome.is_ok()).count(),
        failures: failures.into_iter().map(|(why, count)| (why.clone(), count)).collect(),
        seconds: rows.iter().chain(repeated).map(|row| row.seconds).sum(),
        spread: spread(rows),
        repeated: repeated.iter().filter_map(repeat).collect(),
        predicted: predictions.len(),
        correlation: objective::rank_correlation(&predictions),
    }
}

/// The middle one of the networks' relative ranges between quartiles, of those that have one.
fn spread(rows: &[MeasurementRow]) -> Option<f64> {
    let range = |row: &MeasurementRow| {
        let spread = row.outcome.as_ref().ok()?;
        (spread.high > spread.low).then(|| (spread.high - spread.low) / spread.value)
    };
    let mut ranges: Vec<f64> = rows.iter().filter_map(range).collect();
    ranges.sort_by(f64::total_cmp);
    ranges.get(ranges.len() / 2).copied()
}

fn objectives(store: &Store) -> Result<Vec<ObjectiveView>> {
    let view = |name: &String| {
        let objective = objective::named(name)?;
        let bound = store.config.max.get(name).copied();
        Ok(ObjectiveView { name: name.clone(), unit: objective.unit.into(), log: true, bound })
    };
    store.config.objectives.iter().map(view).collect()
}

fn individual_view(
    store: &Store,
    individual: &Individual,
    on_front: bool,
    test_error: Option<f64>,
) -> IndividualView {
    let value = |name: &String| individual.objectives.get(name).copied();
    IndividualView {
        id: individual.id,
        generation: individual.generation as u32,
        parent: individual.parent,
        edits: individual.edits.iter().map(ToString::to_string).collect(),
        values: store.config.objectives.iter().map(value).collect(),
        on_front,
        test_error,
        seconds: individual.seconds,
        epochs: individual.epochs,
        outcome: individual.outcome().into(),
        layers: if on_front { layers(&individual.architecture) } else { Vec::new() },
    }
}

/// The layers of an architecture, as they are drawn.
pub fn layers(architecture: &Architecture) -> Vec<LayerView> {
    let view = |node: &morphisms::Node| LayerView {
        id: node.id.0,
        kind: kind(&node.layer),
        label: node.layer.to_string(),
        shape: node.shape.to_string(),
        params: architecture.layer_parameter_count(node),
        inputs: node.inputs.iter().map(|input| input.0).collect(),
    };
    architecture.nodes().map(view).collect()
}

fn kind(layer: &Layer) -> LayerKind {
    match layer {
        Layer::Input => LayerKind::Input,
        Layer::Conv(_) => LayerKind::Conv,
        Layer::BatchNorm { .. } | Layer::GroupNorm { .. } | Layer::LocalResponseNorm { .. } => {
            LayerKind::Norm
        }
        Layer::Activation(_) | Layer::Prelu | Layer::Scale { .. } | Layer::Dropout { .. } => {
            LayerKind::Activation
        }
        Layer::Pool { .. } => LayerKind::Pool,
        Layer::GlobalAveragePool => LayerKind::GlobalPool,
        Layer::Add => LayerKind::Add,
        Layer::Multiply => LayerKind::Multiply,
        Layer::Mix => LayerKind::Mix,
        Layer::Concat => LayerKind::Concat,
        Layer::ChannelShuffle { .. } => LayerKind::Shuffle,
        Layer::Flatten => LayerKind::Flatten,
        Layer::Linear { .. } => LayerKind::Linear,
    }
}

/// The hypervolume after each individual.
fn hypervolumes(store: &Store, individuals: &[Individual]) -> Result<Vec<HypervolumePoint>> {
    let reference: Vec<f64> = store.database.fact("reference")?;
    let mut best: Vec<Individual> = Vec::new();
    let mut points = Vec::new();
    for (place, individual) in individuals.iter().enumerate() {
        best.push(individual.clone());
        best = reported_front(&best, &store.config)?.into_iter().cloned().collect();
        let members: Vec<&Individual> = best.iter().collect();
        let value = hypervolume(&members, &store.config, &reference)?;
        points.push(HypervolumePoint { evaluations: place + 1, seconds: individual.committed_at, value });
    }
    Ok(points)
}

fn finished(store: &Store) -> Result<Vec<FinishedView>> {
    let view = |row: crate::store::FinishedRow| FinishedView {
        id: row.individual,
        epochs: row.epochs,
        from_scratch: row.from_scratch,
        validation_error: row.validation_error,
        test_error: row.test_error,
        seconds: row.seconds,
    };
    Ok(store.database.finished()?.into_iter().map(view).collect())
}

/// What children had from their parents before any training.
fn inheritance(individuals: &[Individual]) -> Vec<InheritanceRow> {
    let error = |individual: &Individual| individual.objectives.get("error").copied();
    let row = |child: &Individual| {
        let parent = &individuals[usize::try_from(child.parent?).ok()?];
        Some(InheritanceRow {
            id: child.id,
            parent: parent.id,
            edits: child.edits_text(),
            exact: child.edits.iter().all(crate::individual::Edit::is_exact),
            parent_error: error(parent)?,
            first_error: child.first_error?,
            trained_error: error(child)?,
        })
    };
    individuals.iter().filter_map(row).collect()
}
