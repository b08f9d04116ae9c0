//! A run that asks a table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use rand_chacha::ChaCha8Rng;

use super::config::{Method, Study, TableSource};
use super::table::{Point, Rows, Table};
use super::trace::{Evaluation, Trace};
use crate::config::Budget;
use crate::stop::Stop;
use crate::strategy::{self, Member, Proposal, Setting, Space, Strategy, ask, keeps_bounds};
use crate::{Result, rng};

/// What objective values are read from.
pub(super) struct Reading {
    pub(super) table: Arc<Table>,
    accuracy: usize,
    percent: bool,
    initial: usize,
    /// The columns of the objectives; none for the error.
    columns: Vec<(String, Option<usize>)>,
}

impl Reading {
    pub(super) fn new(study: &Study, source: &TableSource, table: Table) -> Self {
        let column = |name: &str| table.columns().iter().position(|column| column == name);
        let format = table.format();
        let accuracy = column(source.accuracy.as_deref().unwrap_or(format.accuracy)).unwrap_or_default();
        let columns = study.names().into_iter().map(|name| {
            let column = column(&name);
            (name, column)
        });
        let columns = columns.collect();
        Self { accuracy, percent: format.percent, initial: source.initial, columns, table: Arc::new(table) }
    }

    /// The objective values of a row, in the order of the study.
    pub(super) fn values(&self, row: usize) -> Vec<f64> {
        let error = || {
            let accuracy = self.table.value(row, self.accuracy);
            1.0 - if self.percent { accuracy / 100.0 } else { accuracy }
        };
        let value = |(_, column): &(String, Option<usize>)| {
            column.map_or_else(error, |column| self.table.value(row, column))
        };
        self.columns.iter().map(value).collect()
    }

    fn objectives(&self, row: usize) -> BTreeMap<String, f64> {
        self.columns.iter().map(|(name, _)| name.clone()).zip(self.values(row)).collect()
    }

    /// The objectives that are known before a design is trained.
    fn cheap(&self) -> Vec<String> {
        self.columns.iter().skip(1).map(|(name, _)| name.clone()).collect()
    }
}

/// Carries out a run; none if asked to stop.
pub(super) fn run(method: &Method, seed: u64, reading: &Reading, stop: &Stop) -> Result<Option<Trace>> {
    let begun = Instant::now();
    let Budget::Evaluations(evaluations) = method.config.budget else { return Ok(None) };
    let space = Rows(reading.table.clone());
    let setting = Setting { config: method.config.clone(), space, cheap: reading.cheap() };
    let setting = Arc::new(setting);
    let mut run = Run {
        strategy: strategy::new(setting.clone())?,
        setting,
        reading,
        seen: BTreeSet::new(),
        evaluations: Vec::new(),
        begun,
    };
    run.start(seed)?;
    let mut end = format!("the budget of {} is used up", method.config.budget);
    for generation in 1.. {
        if stop.is_asked() {
            return Ok(None);
        }
        if run.evaluations.len() >= evaluations {
            break;
        }
        if !run.generation(evaluations, &mut rng::stream(seed, "propose", &[generation]))? {
            end = "the strategy found nothing new".into();
            break;
        }
    }
    run.evaluations.truncate(evaluations);
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Some(Trace { method: method.name.clone(), seed, seconds, end, evaluations: run.evaluations }))
}

struct Run<'a> {
    strategy: Box<dyn Strategy<Rows>>,
    setting: Arc<Setting<Rows>>,
    reading: &'a Reading,
    /// Rows that were evaluated, or chosen to be.
    seen: BTreeSet<usize>,
    evaluations: Vec<Evaluation>,
    begun: Instant,
}

impl Run<'_> {
    /// The initial designs, the same for every method.
    fn start(&mut self, seed: u64) -> Result<()> {
        let mut rng = rng::stream(seed, "initial", &[]);
        let mut members = Vec::new();
        for _ in 0..self.reading.initial {
            let Some((_, point)) = self.setting.space.random(&mut rng)? else { continue };
            if self.seen.insert(point.row) {
                members.push(self.evaluate(None, point));
            }
        }
        self.strategy.tell(&members)
    }

    /// Whether anything new was found.
    fn generation(&mut self, most: usize, rng: &mut ChaCha8Rng) -> Result<bool> {
        let (reading, seen, config) = (self.reading, &self.seen, &self.setting.config);
        let mut proposed = BTreeSet::new();
        let admit = |proposal: &Proposal<Rows>| {
            let row = proposal.design.row;
            let costs = reading.objectives(row);
            let within =
                config.max.iter().all(|(name, bound)| costs.get(name).is_none_or(|cost| cost <= bound));
            let above =
                config.min.iter().all(|(name, bound)| costs.get(name).is_none_or(|cost| cost >= bound));
            let new = within && above && !seen.contains(&row) && proposed.insert(row);
            // The error is known only of what was evaluated.
            let cheap = costs.into_iter().filter(|(name, _)| *name != reading.columns[0].0);
            Ok(new.then(|| cheap.collect()))
        };
        let mut candidates = ask(&*self.strategy, admit, || false, rng)?.candidates;
        let mut chosen = self.strategy.screen(&candidates, rng)?;
        chosen.truncate(config.lemonade.accepted.min(most.saturating_sub(self.evaluations.len())));
        let members: Vec<Member<Rows>> = chosen
            .into_iter()
            .map(|place| {
                let Proposal { parent, design, .. } = &mut candidates[place].proposal;
                let (parent, point) = (*parent, design.clone());
                self.seen.insert(point.row);
                self.evaluate(parent, point)
            })
            .collect();
        self.strategy.tell(&members)?;
        Ok(!members.is_empty())
    }

    fn evaluate(&mut self, parent: Option<u64>, point: Point) -> Member<Rows> {
        let id = self.evaluations.len() as u64;
        let objectives = self.reading.objectives(point.row);
        let kept = keeps_bounds(&objectives, &self.setting.config);
        self.evaluations.push(Evaluation {
            design: self.reading.table.label(point.row).into(),
            values: kept.then(|| self.reading.values(point.row)),
            compute: 0.0,
            seconds: self.begun.elapsed().as_secs_f64(),
        });
        Member { id, parent, design: point, objectives }
    }
}
