//! Measuring beside the search's other work: children in training, and a few networks again at the end.

use std::collections::BTreeMap;
use std::time::Instant;

use morphisms::Architecture;

use super::Search;
use crate::Result;
use crate::config::Config;
use crate::objective::{Costs, Kind, Measure, Watch, cheap};
use crate::progress::Event;
use crate::store::{Database, MeasurementRow, Outcome};

/// Measures what is not measured yet, one after the other, until asked to stop.
fn measure_all(
    architectures: &[Architecture],
    config: &Config,
    database: &Database,
    watch: &Watch,
) -> Result<()> {
    let costs = Costs::new(config, database, watch);
    let measured = architectures
        .iter()
        .take_while(|_| !watch.stop.is_asked())
        .try_for_each(|architecture| costs.within(architecture, &BTreeMap::new()).map(drop));
    if measured.is_err() {
        // Nobody needs what is trained meanwhile.
        watch.stop.interrupt();
    }
    measured
}

impl Search {
    /// Trains children while what is not measured of them yet is measured on another device; before, if it is the same
    /// one.
    pub(super) fn measuring(
        &self,
        children: Vec<Architecture>,
        train: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        // A search cannot be shared by threads: its strategy may be anything.
        let (config, database, watch) = (&self.setting.config, &self.store.database, &self.watch);
        let measure = || measure_all(&children, config, database, watch);
        if config.latency.exclusive {
            measure()?;
            return train();
        }
        std::thread::scope(|scope| {
            let measuring = scope.spawn(measure);
            let trained = train();
            let measured = measuring.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            measured.and(trained)
        })
    }

    /// Measures the fastest, the middle and the slowest of the initial networks again: how far the end of a run is from
    /// its start tells how much its measurements are worth.
    pub(super) fn measure_again(&self) -> Result<()> {
        let config = &self.setting.config;
        for objective in cheap(config) {
            let Kind::Measured(measure) = objective.kind else { continue };
            let rows = self.store.database.measurements(objective.name)?;
            for row in spread_out(self.initial(rows)) {
                if !self.measure_row_again(measure, &row)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The rows of initial networks that have a value.
    fn initial(&self, rows: Vec<MeasurementRow>) -> Vec<MeasurementRow> {
        let known: Vec<_> = self.setting.space.initial.iter().map(Architecture::fingerprint).collect();
        let initial = |row: &MeasurementRow| known.contains(&row.architecture.fingerprint());
        rows.into_iter().filter(|row| row.value().is_some() && initial(row)).collect()
    }

    /// Measures a network again; false if asked to stop meanwhile.
    fn measure_row_again(&self, measure: Measure, first: &MeasurementRow) -> Result<bool> {
        let begun = Instant::now();
        // The budget may be used up by now; what is left to do is only little.
        let is_stopped = || self.stop.is_interrupted();
        let outcome = match measure(&first.architecture, &self.setting.config, &is_stopped)? {
            Outcome::Measured(spread) => Ok(spread),
            Outcome::Failed(why) => Err(why),
            Outcome::Stopped => return Ok(false),
        };
        if let Err(why) = &outcome {
            self.observer.observe(&Event::Note { text: format!("{} again: {why}", first.name) });
        }
        let seconds = begun.elapsed().as_secs_f64();
        let row = MeasurementRow { outcome, predicted: None, seconds, ..first.clone() };
        self.store.database.add_repeated_measurement(&row)?;
        Ok(true)
    }
}

/// The smallest, the middle and the largest; fewer if there are not so many.
fn spread_out(mut rows: Vec<MeasurementRow>) -> Vec<MeasurementRow> {
    rows.sort_by(|a, b| a.value().unwrap_or_default().total_cmp(&b.value().unwrap_or_default()));
    let mut places = vec![0, rows.len() / 2, rows.len().saturating_sub(1)];
    places.dedup();
    places.into_iter().filter_map(|place| rows.get(place).cloned()).collect()
}
