//! From the traces of a study to what its report shows.

use std::collections::{BTreeMap, BTreeSet};

use super::checklist::checklist;
use super::config::{Objective, Scale};
use super::measured::{Measured, Over, normalised};
use super::statistics::{Quartiles, bootstrap, holm, quartiles, rank_sum};
use super::{Prepared, StudyFolder, Trace, TrueFront};
use crate::config::Budget;
use crate::pareto::{Points, attainment_surfaces, epsilon_additive, hypervolume, igd_plus};
use crate::report::{
    AttainmentView, BandPoint, CurveView, FigureView, FrontRow, IntervalView, MethodView, ObjectiveView,
    ShareView, StudyView, TestView,
};
use crate::{Result, objective, rng};

/// Points of a drawn curve.
const GRID: usize = 160;
/// Shares of the reference front's hypervolume whose first reaching is told.
const REACHED: [f64; 3] = [0.9, 0.95, 0.99];

/// Everything that the report of a study shows.
///
/// # Errors
/// If the folder cannot be read, or a value is not a finite number.
pub fn of(prepared: &Prepared, folder: &StudyFolder) -> Result<StudyView> {
    let study = &prepared.study;
    let traces = folder.traces()?;
    let objectives = &study.objectives;
    let best = prepared.true_front(traces.values().flatten())?;
    let best_normalised: Vec<Vec<f64>> = best.rows.iter().map(|row| normalised(objectives, row)).collect();
    let reference = hypervolume(&Points::new(&best_normalised)?, &vec![1.0; objectives.len()])?;
    let mut methods: Vec<(String, Vec<Measured<'_>>)> = Vec::new();
    for method in &study.methods {
        let runs = traces.get(&method.name).map_or(&[][..], Vec::as_slice);
        let measured = runs.iter().map(|run| Measured::new(run, objectives)).collect::<Result<_>>()?;
        methods.push((method.name.clone(), measured));
    }
    let machine: Vec<(String, String)> = folder.machine()?;
    // How fast a table answers says nothing of a method.
    let of_interest = |over: &Over| end(&methods, *over) > 0.0 && (*over != Over::Time || !best.known);
    let over: Vec<Over> = Over::ALL.into_iter().filter(of_interest).collect();
    Ok(StudyView {
        title: study.title.clone(),
        problem: problem(prepared),
        budget: study.budget.to_string(),
        seeds: study.seeds.len(),
        started: folder.fact("started")?.unwrap_or_default(),
        runs: methods.iter().map(|(_, runs)| runs.len()).sum(),
        runs_planned: study.methods.len() * study.seeds.len(),
        seconds: traces.values().flatten().map(|trace| trace.seconds).sum(),
        objectives: objectives.iter().map(objective_view).collect(),
        intervals: objectives.iter().map(interval_view).collect(),
        reference_hypervolume: reference,
        reference_known: best.known,
        methods: methods
            .iter()
            .map(|(name, runs)| method_view(prepared, name, runs, (&best, &best_normalised, reference)))
            .collect::<Result<_>>()?,
        curves: over.iter().map(|&over| curve(over, &methods)).collect(),
        attainment: attainment(objectives.len(), &methods)?,
        front: front(&best, &traces),
        tests: tests(&methods),
        shares: shares(study.baseline.as_deref(), &study.budget, &methods),
        checklist: checklist(prepared, &traces, &machine),
        settings: study.text.clone(),
        machine,
    })
}

/// Where the longest run ends.
fn end(methods: &[(String, Vec<Measured<'_>>)], over: Over) -> f64 {
    methods.iter().flat_map(|(_, runs)| runs).map(|run| run.end(over)).fold(0.0, f64::max)
}

fn problem(prepared: &Prepared) -> String {
    match (&prepared.answers, &prepared.study.methods[..]) {
        (Some(reading), _) => format!(
            "{} in {}: {} designs, looked up",
            reading.table.format().name,
            reading.table.path.file_name().unwrap_or_default().to_string_lossy(),
            reading.table.len()
        ),
        (None, [first, ..]) => format!("networks trained on {}", first.config.data.name),
        (None, []) => String::new(),
    }
}

fn objective_view(objective: &Objective) -> ObjectiveView {
    let unit = match objective.name.as_str() {
        "flops" => "multiply-adds".into(),
        name => objective::named(name).map_or_else(|_| String::new(), |known| known.unit.into()),
    };
    ObjectiveView { name: objective.name.clone(), unit, log: objective.scale == Scale::Log, bound: None }
}

fn interval_view(objective: &Objective) -> IntervalView {
    let Objective { name, ideal, reference, scale, .. } = objective;
    IntervalView { name: name.clone(), ideal: *ideal, reference: *reference, log: *scale == Scale::Log }
}

fn method_view(
    prepared: &Prepared,
    name: &str,
    runs: &[Measured<'_>],
    (best, best_normalised, reference): (&TrueFront, &[Vec<f64>], f64),
) -> Result<MethodView> {
    let objectives = &prepared.study.objectives;
    let mut figures = Vec::new();
    let mut add = |name: String, unit: &str, smaller: bool, values: Vec<f64>| {
        // A run that never came so far has no value; the quartiles are those of infinity then.
        let spread = quartiles(&values).filter(|_| !values.is_empty());
        figures.push(FigureView {
            name,
            unit: unit.into(),
            smaller_is_better: smaller,
            spread: spread.map(band),
            values,
        });
    };
    let each = |of: &dyn Fn(&Measured<'_>) -> f64| runs.iter().map(of).collect::<Vec<f64>>();
    add("hypervolume".into(), "", false, each(&|run| run.hypervolume()));
    if best.known {
        add("regret of hypervolume".into(), "", true, each(&|run| reference - run.hypervolume()));
    }
    let (mut igd, mut epsilon) = (Vec::new(), Vec::new());
    let points = Points::new(best_normalised)?;
    for run in runs {
        let found = Points::new(&run.normalised)?;
        let none = run.normalised.is_empty();
        igd.push(if none { f64::INFINITY } else { igd_plus(&found, &points)? });
        epsilon.push(if none { f64::INFINITY } else { epsilon_additive(&found, &points)? });
    }
    add("IGD+".into(), "", true, igd);
    add("additive epsilon".into(), "", true, epsilon);
    add("size of the front".into(), "count", false, each(&|run| run.front.len() as f64));
    if best.known {
        let found =
            |run: &Measured<'_>| best.rows.iter().filter(|row| run.front.contains(row)).count() as f64;
        add(format!("of the {} best found", best.rows.len()), "count", false, each(&found));
    }
    let first = &objectives[0];
    for (place, objective) in objectives.iter().enumerate() {
        for &bound in &objective.bounds {
            let least = |run: &Measured<'_>| {
                let within = run.front.iter().filter(|row| row[place] <= bound);
                within.map(|row| row[0]).fold(f64::INFINITY, f64::min)
            };
            let unit = objective_view(objective).unit;
            let bound = crate::report::format_value(&unit, bound);
            let unit = objective_view(first).unit;
            add(
                format!("least {} with {} up to {bound}", first.name, objective.name),
                &unit,
                true,
                each(&least),
            );
        }
    }
    let over =
        if matches!(prepared.study.budget, Budget::Compute(_)) { Over::Compute } else { Over::Evaluations };
    for share in REACHED {
        let name = format!("{} to {:.0} % of the best hypervolume", over.title(), 100.0 * share);
        add(name, "count", true, each(&|run| run.first(over, share * reference)));
    }
    let method = prepared.study.methods.iter().find(|method| method.name == name);
    let strategy = method.map_or_else(String::new, |method| method.config.strategy.clone());
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    runs.iter().for_each(|run| *ends.entry(run.trace.end.as_str()).or_default() += 1);
    let seconds: f64 = runs.iter().map(|run| run.trace.seconds).sum();
    Ok(MethodView {
        name: name.into(),
        strategy,
        runs: runs.len(),
        seconds,
        ends: ends.into_iter().map(|(end, count)| (end.to_string(), count)).collect(),
        figures,
    })
}

fn band(spread: Quartiles) -> [f64; 3] {
    [spread.low, spread.median, spread.high]
}

/// The hypervolume of each method over evaluations, compute or time: the median and the middle half of the runs.
fn curve(over: Over, methods: &[(String, Vec<Measured<'_>>)]) -> CurveView {
    let end = end(methods, over);
    let grid: Vec<f64> = (1..=GRID).map(|place| end * place as f64 / GRID as f64).collect();
    let line = |(name, runs): &(String, Vec<Measured<'_>>)| {
        let at = |&x: &f64| {
            let values: Vec<f64> = runs.iter().map(|run| run.at(over, x)).collect();
            quartiles(&values).map(|spread| BandPoint { x, band: band(spread) })
        };
        (name.clone(), grid.iter().filter_map(at).collect())
    };
    CurveView { title: over.title().into(), lines: methods.iter().map(line).collect() }
}

/// The surfaces that a quarter, half and three quarters of the runs attained; for two objectives only.
fn attainment(objectives: usize, methods: &[(String, Vec<Measured<'_>>)]) -> Result<Vec<AttainmentView>> {
    if objectives != 2 {
        return Ok(Vec::new());
    }
    let mut all = Vec::new();
    for (name, runs) in methods.iter().filter(|(_, runs)| !runs.is_empty()) {
        let points = runs.iter().map(|run| Points::new(&run.front)).collect::<Result<Vec<_>>>()?;
        let surfaces = attainment_surfaces(&points)?;
        let at = |share: f64| {
            let place = (share * surfaces.len() as f64).ceil() as usize;
            surfaces[place.clamp(1, surfaces.len()) - 1].rows().map(|row| [row[0], row[1]]).collect()
        };
        all.push(AttainmentView { method: name.clone(), surfaces: [at(0.25), at(0.5), at(0.75)] });
    }
    Ok(all)
}

/// The reference front, with what found each of its members.
fn front(best: &TrueFront, traces: &BTreeMap<String, Vec<Trace>>) -> Vec<FrontRow> {
    let mut rows: Vec<FrontRow> =
        best.rows.iter().map(|row| FrontRow { values: row.clone(), ..FrontRow::default() }).collect();
    for (method, traces) in traces {
        for trace in traces {
            let mut hit = BTreeSet::new();
            for evaluation in &trace.evaluations {
                let Some(values) = &evaluation.values else { continue };
                let place = best
                    .rows
                    .binary_search_by(|row| row.partial_cmp(values).unwrap_or(std::cmp::Ordering::Less));
                if let Ok(place) = place
                    && hit.insert(place)
                {
                    rows[place].design.clone_from(&evaluation.design);
                    *rows[place].found.entry(method.clone()).or_default() += 1;
                }
            }
        }
    }
    rows
}

/// Each pair of methods, by their final hypervolumes.
fn tests(methods: &[(String, Vec<Measured<'_>>)]) -> Vec<TestView> {
    let values = |runs: &[Measured<'_>]| runs.iter().map(Measured::hypervolume).collect::<Vec<f64>>();
    let mut rows = Vec::new();
    for (place, (a, of_a)) in methods.iter().enumerate() {
        for (b, of_b) in &methods[place + 1..] {
            let (of_a, of_b) = (values(of_a), values(of_b));
            let median = |values: &[f64]| quartiles(values).map_or(0.0, |spread| spread.median);
            let difference = median(&of_a) - median(&of_b);
            rows.push(TestView {
                a: a.clone(),
                b: b.clone(),
                difference,
                p: rank_sum(&of_a, &of_b),
                corrected: 1.0,
            });
        }
    }
    let corrected = holm(&rows.iter().map(|row| row.p).collect::<Vec<_>>());
    rows.iter_mut().zip(corrected).for_each(|(row, p)| row.corrected = p);
    rows
}

/// The share of its budget after which each method is, in the mean, as good as the baseline at its end.
fn shares(
    baseline: Option<&str>,
    budget: &Budget,
    methods: &[(String, Vec<Measured<'_>>)],
) -> Vec<ShareView> {
    let Some((_, base)) =
        methods.iter().find(|(name, runs)| Some(name.as_str()) == baseline && !runs.is_empty())
    else {
        return Vec::new();
    };
    let (over, whole) = match *budget {
        Budget::Compute(macs) => (Over::Compute, macs as f64),
        Budget::Evaluations(count) => (Over::Evaluations, count as f64),
        Budget::Seconds(seconds) => (Over::Time, seconds),
        Budget::Generations(_) => return Vec::new(),
    };
    let mean = |runs: &[&Measured<'_>], x: f64| {
        runs.iter().map(|run| run.at(over, x)).sum::<f64>() / runs.len() as f64
    };
    let share = |runs: &[&Measured<'_>], base: &[&Measured<'_>]| {
        let goal = base.iter().map(|run| run.hypervolume()).sum::<f64>() / base.len() as f64;
        // The mean grows only where a run grows.
        let mut places: Vec<f64> = runs
            .iter()
            .flat_map(|run| run.steps.iter().map(|step| over.of(&run.trace.evaluations[step.0])))
            .collect();
        places.sort_by(f64::total_cmp);
        let first = places.partition_point(|&x| mean(runs, x) < goal);
        places.get(first).map_or(f64::INFINITY, |x| x / whole)
    };
    let others = methods.iter().filter(|(name, runs)| Some(name.as_str()) != baseline && !runs.is_empty());
    let view = |(name, runs): &(String, Vec<Measured<'_>>)| ShareView {
        method: name.clone(),
        baseline: baseline.unwrap_or_default().into(),
        share: share(&runs.iter().collect::<Vec<_>>(), &base.iter().collect::<Vec<_>>()),
        interval: bootstrap((runs, base), share, &mut rng::stream(0, "bootstrap", &[])),
    };
    others.map(view).collect()
}
