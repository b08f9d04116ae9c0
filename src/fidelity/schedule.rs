//! The schedules: what a new child is held to, given what came before.

use super::{Course, Gate, Pass, Reading, Rule};
use crate::Result;
use crate::config::FidelityConfig;
use crate::pareto::best_first;

/// ASHA's rivals at a rung, the latest: enough to tell the best ones, and a job stays small however long a run is.
const RIVALS: usize = 200;

/// A training of an earlier generation.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    /// Epochs it was meant to have.
    pub planned: usize,
    /// Epochs it had.
    pub epochs: usize,
    /// Errors on the way.
    pub readings: Vec<Reading>,
    /// Objective values at its end, the error first.
    pub values: Vec<f64>,
}

impl Past {
    /// The error after so many epochs, if it was read.
    fn error(&self, epoch: usize) -> Option<f64> {
        let read = self.readings.iter().find(|reading| reading.epoch == epoch).map(|reading| reading.error);
        read.or((epoch == self.epochs).then(|| self.values[0]))
    }

    /// The objective values after so many epochs, if the error was read.
    fn after(&self, epoch: usize) -> Option<Vec<f64>> {
        Some([&[self.error(epoch)?], &self.values[1..]].concat())
    }

    /// The errors on the way and at the end of a training that was not given up.
    pub(super) fn whole(&self) -> Option<(&[Reading], f64)> {
        (self.epochs == self.planned).then_some((self.readings.as_slice(), self.values[0]))
    }
}

/// What decides the courses of a generation: the settings, and all that went before.
pub struct Schedule<'a> {
    settings: &'a FidelityConfig,
    /// Trainings of the earlier generations, the initial population left out.
    past: Vec<Past>,
    /// Objective values of the front.
    front: Vec<Vec<f64>>,
    /// The only epochs after which an error can be had, in ascending order; none: any.
    known: Option<Vec<usize>>,
}

impl<'a> Schedule<'a> {
    /// After these trainings, with this front.
    pub fn new(settings: &'a FidelityConfig, past: Vec<Past>, front: Vec<Vec<f64>>) -> Self {
        Self { settings, past, front, known: None }
    }

    /// For trainings whose errors are known after these epochs alone, which are the rungs then.
    pub fn among(self, epochs: Vec<usize>) -> Self {
        Self { known: Some(epochs), ..self }
    }

    /// What a child of `generation`, from 1, is held to that is meant to have `planned` epochs and costs `costs` beside the error.
    /// One that is `audited` is not given up for its learning curve.
    pub fn course(&self, generation: usize, planned: usize, costs: Vec<f64>, audited: bool) -> Course {
        let FidelityConfig { schedule, first, eta, .. } = self.settings;
        let rungs = self.known.clone().unwrap_or_else(|| rungs(*first, *eta, planned));
        match schedule.as_str() {
            "halving" => halving(rungs, *eta, costs),
            "hyperband" => {
                let bracket = bracket(rungs.len(), *eta, generation);
                halving(rungs[rungs.len() - 1 - bracket..].to_vec(), *eta, costs)
            }
            "asha" => {
                let mut gates = self.gates(&rungs[..rungs.len() - 1], Pass::OneIn(*eta), self.past.len());
                gates
                    .iter_mut()
                    .for_each(|gate| drop(gate.rivals.drain(..gate.rivals.len().saturating_sub(RIVALS))));
                Course { rungs, gates, costs, ..Course::default() }
            }
            "hurdles" => self.hurdles(rungs, costs),
            "curve" => {
                let rule = || Rule::fit(&self.past, planned, self.settings.caution, &self.front);
                let rule = if audited { None } else { rule() };
                let rungs = self.known.clone().unwrap_or_else(|| (1..=planned).collect());
                Course { rungs, rule, costs, ..Course::default() }
            }
            _ => Course::default(),
        }
    }

    /// So, Liang, Le, "The Evolved Transformer", ICML 2019, algorithm 1: the first children stop at the first rung. Whenever
    /// `interval` more are there, a hurdle is set at the last rung reached, from those that reached it, and from then on who takes it
    /// goes on to the next rung.
    fn hurdles(&self, rungs: Vec<usize>, costs: Vec<f64>) -> Course {
        let hurdles = (self.past.len() / self.settings.interval).min(rungs.len() - 1);
        let gates = (0..hurdles)
            .flat_map(|at| self.gates(&rungs[at..=at], Pass::Mean, (at + 1) * self.settings.interval));
        let gates = gates.collect();
        let rungs = rungs[..=hurdles].to_vec();
        Course { until: rungs.last().copied(), rungs, gates, costs, ..Course::default() }
    }

    /// A gate at each of these rungs, against the first `count` trainings.
    fn gates(&self, rungs: &[usize], pass: Pass, count: usize) -> Vec<Gate> {
        let rivals = |epoch| self.past[..count].iter().filter_map(|past| past.after(epoch)).collect();
        rungs.iter().map(|&epoch| Gate { epoch, rivals: rivals(epoch), pass }).collect()
    }
}

/// `first`, and `eta` times as many epochs again and again, up to `planned`.
fn rungs(first: usize, eta: usize, planned: usize) -> Vec<usize> {
    let powers = std::iter::successors(Some(first), |&epochs| epochs.checked_mul(eta));
    powers.take_while(|&epochs| epochs < planned).chain([planned]).collect()
}

fn halving(rungs: Vec<usize>, eta: usize, costs: Vec<f64>) -> Course {
    Course { until: rungs.first().copied(), rungs, halving: Some(eta), costs, ..Course::default() }
}

/// The bracket of a generation: how many times its survivors are chosen. Hyperband (Li, Jamieson, DeSalvo, Rostamizadeh,
/// Talwalkar, JMLR 2018, algorithm 1) gives bracket s of `rungs` brackets `ceil(rungs eta^s / (s + 1))` trainings, so that all cost about
/// as much. A strategy's generations are of one size, so brackets take turns in these proportions, the largest first.
fn bracket(rungs: usize, eta: usize, generation: usize) -> usize {
    let shares: Vec<f64> = (0..rungs).map(|s| share(rungs, eta, s) as f64).collect();
    let mut turns = vec![0.0; rungs];
    let mut chosen = 0;
    for _ in 0..generation.max(1) {
        let due = |s: &usize| (turns[*s] + 1.0) / shares[*s];
        chosen = (0..rungs).rev().min_by(|a, b| due(a).total_cmp(&due(b))).unwrap_or(0);
        turns[chosen] += 1.0;
    }
    chosen
}

/// The trainings that bracket `s` starts with.
fn share(rungs: usize, eta: usize, s: usize) -> usize {
    let power = eta.saturating_pow(u32::try_from(s).unwrap_or(u32::MAX));
    rungs.saturating_mul(power).div_ceil(s + 1)
}

/// How many epochs each child of a generation is to have, as far as that can be said with these readings; none where children do not
/// compete. Successive halving (Jamieson and Talwalkar, AISTATS 2016): of n children, `floor(n / eta^k)` but at least one go on
/// from rung k. A child without readings has not been trained, or could not be.
///
/// # Errors
/// If an objective value is not a finite number.
pub fn targets(children: &[(&Course, Progress<'_>)]) -> Result<Vec<Option<usize>>> {
    let mut targets: Vec<Option<usize>> = children
        .iter()
        .map(|(course, _)| course.halving.and_then(|_| course.rungs.first().copied()))
        .collect();
    let mut alive: Vec<usize> = (0..children.len()).filter(|&child| targets[child].is_some()).collect();
    let count = alive.len();
    let mut survivors = count;
    for rung in 0.. {
        let mut rows = Vec::new();
        for &child in &alive {
            let (course, progress) = &children[child];
            let Some(&epoch) = course.rungs.get(rung) else { continue };
            match progress {
                Progress::Open => return Ok(targets),
                Progress::Lost => {}
                Progress::Read(readings) => match readings.iter().find(|one| one.epoch == epoch) {
                    Some(reading) => rows.push((child, course.values(reading.error))),
                    None => return Ok(targets),
                },
            }
        }
        let eta = alive.first().and_then(|&child| children[child].0.halving).unwrap_or(2);
        survivors /= eta;
        let (places, rows): (Vec<usize>, Vec<Vec<f64>>) = rows.into_iter().unzip();
        let best = best_first(&rows)?.into_iter().take(survivors.max(1)).map(|place| places[place]);
        alive = best.filter(|&child| children[child].0.rungs.len() > rung + 1).collect();
        if alive.is_empty() {
            break;
        }
        for &child in &alive {
            targets[child] = children[child].0.rungs.get(rung + 1).copied();
        }
    }
    Ok(targets)
}

/// After how many epochs each child of a generation ends, of trainings whose errors can be looked up. `read` gives the error of a
/// child after so many epochs; those that are not given up have `planned`.
///
/// # Errors
/// If an objective value is not a finite number.
pub fn ends(
    courses: &[Course],
    planned: usize,
    read: impl Fn(usize, usize) -> Option<f64>,
) -> Result<Vec<usize>> {
    let mut readings: Vec<Vec<Reading>> = vec![Vec::new(); courses.len()];
    loop {
        let progress = readings.iter().map(|read| match read.is_empty() {
            true => Progress::Open,
            false => Progress::Read(read),
        });
        let targets = targets(&courses.iter().zip(progress).collect::<Vec<_>>())?;
        let mut moved = false;
        for (child, (course, target)) in courses.iter().zip(targets).enumerate() {
            let done = readings[child].last().map_or(0, |last| last.epoch);
            let Some(&epoch) = course.rungs.iter().find(|&&rung| rung > done) else { continue };
            let competes = target.is_some_and(|target| epoch <= target);
            let goes_on = target.is_none() && (done == 0 || course.goes_on(done, &readings[child])?);
            if competes || goes_on {
                let Some(error) = read(child, epoch) else { continue };
                readings[child].push(Reading { epoch, error });
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    let end = |(course, read): (&Course, &Vec<Reading>)| match course.rungs.is_empty() {
        true => planned,
        false => read.last().map_or(0, |last| last.epoch),
    };
    Ok(courses.iter().zip(&readings).map(end).collect())
}

/// How far a child of a generation has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Progress<'a> {
    /// It has not been trained yet.
    Open,
    /// It cannot be trained: the loss is no number, or memory does not suffice.
    Lost,
    /// These are its errors so far.
    Read(&'a [Reading]),
}
