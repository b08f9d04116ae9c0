//! A run that asks a table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use rand::RngExt;

use super::config::{Method, Study, TableSource};
use super::table::{Point, Rows, Table};
use super::trace::{Evaluation, Trace};
use crate::config::{Budget, Config};
use crate::fidelity::{self, Course, Past, Reading, Schedule};
use crate::pareto::{Points, non_dominated};
use crate::stop::Stop;
use crate::strategy::{self, Member, Proposal, Setting, Space, Strategy, ask, keeps_bounds};
use crate::{Result, rng};

/// What objective values are read from.
pub(super) struct Answers {
    pub(super) table: Arc<Table>,
    /// Epochs, and the column with the accuracy after as many; the last are those that a whole training has.
    fidelities: Vec<(usize, usize)>,
    percent: bool,
    initial: usize,
    /// The columns of the objectives; none for the error.
    columns: Vec<(String, Option<usize>)>,
    /// Columns that are no objectives, but that a method has a bound on.
    bounded: Vec<(String, usize)>,
}

impl Answers {
    pub(super) fn new(study: &Study, source: &TableSource, table: Table) -> Self {
        let column = |name: &str| table.columns().iter().position(|column| column == name);
        let format = table.format();
        let fidelities = table.fidelities(source.accuracy.as_deref().unwrap_or(format.accuracy));
        let columns = study.names().into_iter().map(|name| {
            let column = column(&name);
            (name, column)
        });
        let columns: Vec<(String, Option<usize>)> = columns.collect();
        let configs = study.methods.iter().map(|method| &method.config);
        let bounds: BTreeSet<&String> =
            configs.flat_map(|config| config.max.keys().chain(config.min.keys())).collect();
        let others = bounds.into_iter().filter(|name| columns.iter().all(|(known, _)| known != *name));
        let bounded = others.filter_map(|name| Some((name.clone(), column(name)?))).collect();
        let (percent, initial, table) = (format.percent, source.initial, Arc::new(table));
        Self { fidelities, percent, initial, columns, bounded, table }
    }

    /// Epochs of a whole training.
    fn planned(&self) -> usize {
        self.fidelities.last().map_or(1, |last| last.0)
    }

    /// The error of a row after so many epochs, if the table has it.
    fn error(&self, row: usize, epochs: usize) -> Option<f64> {
        let (_, column) = self.fidelities.iter().find(|known| known.0 == epochs)?;
        let accuracy = self.table.value(row, *column);
        Some(1.0 - if self.percent { accuracy / 100.0 } else { accuracy })
    }

    /// The objective values of a row, in the order of the study.
    pub(super) fn values(&self, row: usize) -> Vec<f64> {
        self.values_after(row, self.planned())
    }

    fn values_after(&self, row: usize, epochs: usize) -> Vec<f64> {
        let error = || self.error(row, epochs).unwrap_or(1.0);
        let value = |(_, column): &(String, Option<usize>)| {
            column.map_or_else(error, |column| self.table.value(row, column))
        };
        self.columns.iter().map(value).collect()
    }

    /// Its objective values by name, and what else there is a bound on.
    fn objectives(&self, row: usize, epochs: usize) -> BTreeMap<String, f64> {
        let values = self.columns.iter().map(|(name, _)| name.clone()).zip(self.values_after(row, epochs));
        let others = self.bounded.iter().map(|(name, column)| (name.clone(), self.table.value(row, *column)));
        values.chain(others).collect()
    }

    /// What is known of a row before it is trained: all but the first objective.
    fn costs(&self, row: usize) -> BTreeMap<String, f64> {
        let mut all = self.objectives(row, self.planned());
        all.remove(&self.columns[0].0);
        all
    }

    /// Whether a row is within the bounds of a method, the one on the error included.
    pub(super) fn allows(&self, row: usize, config: &Config) -> bool {
        are_within(&self.objectives(row, self.planned()), config)
    }

    /// The objectives that are known before a design is trained.
    fn cheap(&self) -> Vec<String> {
        self.columns.iter().skip(1).map(|(name, _)| name.clone()).collect()
    }
}

/// Carries out a run; none if asked to stop.
pub(super) fn run(method: &Method, seed: u64, answers: &Answers, stop: &Stop) -> Result<Option<Trace>> {
    let begun = Instant::now();
    let Budget::Evaluations(evaluations) = method.config.budget else { return Ok(None) };
    let space = Rows(answers.table.clone());
    let setting = Setting { config: method.config.clone(), space, cheap: answers.cheap() };
    let setting = Arc::new(setting);
    let mut run = Run {
        strategy: strategy::new(setting.clone())?,
        setting,
        answers,
        seen: BTreeSet::new(),
        evaluations: Vec::new(),
        past: Vec::new(),
        spent: 0.0,
        begun,
    };
    run.start(seed)?;
    let mut end = format!("the budget of {} is used up", method.config.budget);
    for generation in 1.. {
        if stop.is_asked() {
            return Ok(None);
        }
        if run.left(evaluations) == 0 {
            break;
        }
        if !run.generation((seed, generation), evaluations)? {
            end = "the strategy found nothing new".into();
            break;
        }
    }
    run.evaluations.retain(|one| one.spent <= evaluations as f64 + ROUNDING);
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Some(Trace { method: method.name.clone(), seed, seconds, end, evaluations: run.evaluations }))
}

/// Whether these values are within the bounds, as far as they are there.
fn are_within(values: &BTreeMap<String, f64>, config: &Config) -> bool {
    let below = |(name, bound): (&String, &f64)| values.get(name).is_none_or(|value| value <= bound);
    let above = |(name, bound): (&String, &f64)| values.get(name).is_none_or(|value| value >= bound);
    config.max.iter().all(below) && config.min.iter().all(above)
}

/// What sums of shares of evaluations may be off by.
const ROUNDING: f64 = 1e-6;

struct Run<'a> {
    strategy: Box<dyn Strategy<Rows>>,
    setting: Arc<Setting<Rows>>,
    answers: &'a Answers,
    /// Rows that were evaluated, or chosen to be.
    seen: BTreeSet<usize>,
    evaluations: Vec<Evaluation>,
    /// What a schedule knows of them, the initial ones left out.
    past: Vec<Past>,
    /// Evaluations so far, of which one that was given up is a part.
    spent: f64,
    begun: Instant,
}

impl Run<'_> {
    /// The initial designs, the same for every method.
    fn start(&mut self, seed: u64) -> Result<()> {
        let mut rng = rng::stream(seed, "initial", &[]);
        let mut members = Vec::new();
        for _ in 0..self.answers.initial {
            let Some((_, point)) = self.setting.space.random(&mut rng)? else { continue };
            if self.seen.insert(point.row) {
                members.push(self.evaluate(None, point, self.answers.planned()));
            }
        }
        self.strategy.tell(&members)
    }

    /// How many whole evaluations the budget still allows, a part of one counted as one.
    fn left(&self, most: usize) -> usize {
        (most as f64 - self.spent - ROUNDING).max(0.0).ceil() as usize
    }

    /// Whether anything new was found.
    fn generation(&mut self, (seed, generation): (u64, u64), most: usize) -> Result<bool> {
        let mut rng = rng::stream(seed, "propose", &[generation]);
        let rng = &mut rng;
        let (answers, seen, config) = (self.answers, &self.seen, &self.setting.config);
        let mut proposed = BTreeSet::new();
        let admit = |proposal: &Proposal<Rows>| {
            let row = proposal.design.row;
            let costs = answers.costs(row);
            let new = are_within(&costs, config) && !seen.contains(&row) && proposed.insert(row);
            Ok(new.then_some(costs))
        };
        let mut candidates = ask(&*self.strategy, admit, || false, rng)?.candidates;
        let mut chosen = self.strategy.screen(&candidates, rng)?;
        chosen.truncate(config.lemonade.accepted.min(self.left(most)));
        let rows: Vec<usize> = chosen.iter().map(|&place| candidates[place].proposal.design.row).collect();
        let epochs = self.epochs((seed, generation), &rows)?;
        let mut members = Vec::new();
        for (place, epochs) in chosen.into_iter().zip(epochs) {
            let Proposal { parent, design, .. } = &mut candidates[place].proposal;
            let (parent, point) = (*parent, design.clone());
            self.seen.insert(point.row);
            self.remember(point.row, epochs);
            members.push(self.evaluate(parent, point, epochs));
        }
        self.strategy.tell(&members)?;
        Ok(!members.is_empty())
    }

    /// After how many epochs each of these rows is given up, or is whole.
    fn epochs(&self, (seed, generation): (u64, u64), rows: &[usize]) -> Result<Vec<usize>> {
        let (answers, config) = (self.answers, &self.setting.config);
        if config.fidelity.schedule == "full" {
            return Ok(vec![answers.planned(); rows.len()]);
        }
        let known: Vec<&Vec<f64>> =
            self.evaluations.iter().filter_map(|evaluation| evaluation.values.as_ref()).collect();
        let front = non_dominated(&Points::new(&known)?).into_iter().map(|place| known[place].clone());
        let schedule = Schedule::new(&config.fidelity, self.past.clone(), front.collect())
            .among(answers.fidelities.iter().map(|known| known.0).collect());
        let course = |(child, &row): (usize, &usize)| {
            let audited = rng::stream(seed, "audit", &[generation, child as u64]);
            let audited = { audited }.random_bool(config.fidelity.audit);
            let costs = answers.values(row)[1..].to_vec();
            schedule.course(generation as usize, answers.planned(), costs, audited)
        };
        let courses: Vec<Course> = rows.iter().enumerate().map(course).collect();
        fidelity::ends(&courses, answers.planned(), |child, epochs| answers.error(rows[child], epochs))
    }

    fn remember(&mut self, row: usize, epochs: usize) {
        let answers = self.answers;
        let read = |&(epoch, _): &(usize, usize)| {
            let error = answers.error(row, epoch).filter(|_| epoch <= epochs)?;
            Some(Reading { epoch, error })
        };
        let readings = answers.fidelities.iter().filter_map(read).collect();
        let values = answers.values_after(row, epochs);
        self.past.push(Past { planned: answers.planned(), epochs, readings, values });
    }

    fn evaluate(&mut self, parent: Option<u64>, point: Point, epochs: usize) -> Member<Rows> {
        let id = self.evaluations.len() as u64;
        let objectives = self.answers.objectives(point.row, epochs);
        self.spent += epochs as f64 / self.answers.planned() as f64;
        let kept = keeps_bounds(&objectives, &self.setting.config);
        self.evaluations.push(Evaluation {
            design: self.answers.table.label(point.row).into(),
            values: kept.then(|| self.answers.values_after(point.row, epochs)),
            spent: self.spent,
            compute: 0.0,
            seconds: self.begun.elapsed().as_secs_f64(),
        });
        Member { id, parent, design: point, objectives }
    }
}
