//! The cheap objectives of architectures: counted, or measured once and kept.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use morphisms::Architecture;

use super::{Kind, Measure, Objective, Predictor, cheap};
use crate::config::Config;
use crate::progress::{Event, Observer};
use crate::stop::Stop;
use crate::store::{Database, MeasurementRow, Outcome};
use crate::{Error, Result};

/// Networks in a row that cannot be measured before a search gives up: the device is gone, and every further network would
/// be marked for nothing.
const FAILURES: usize = 20;
/// How far over its bound a prediction must be for a network to be left aside unmeasured.
const MARGIN: f64 = 1.25;

/// The cheap objectives of an architecture, by name, or why it is not to be trained.
pub type Within = std::result::Result<BTreeMap<String, f64>, Refusal>;

/// Why an architecture is not to be trained.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// This objective is over its bound.
    Over(&'static str, f64),
    /// This objective could not be measured, for this reason.
    Unmeasured(&'static str, String),
    /// Somebody asked to stop before everything was measured.
    Stopped,
}

/// What is shared by all measuring of a search, whichever thread does it.
pub struct Watch {
    /// Ends a measurement under way.
    pub stop: Arc<Stop>,
    /// Hears of networks that could not be measured.
    pub observer: Arc<dyn Observer>,
    /// How many of them there were in a row.
    failures: AtomicUsize,
}

impl Watch {
    /// The watch of a search that begins.
    pub fn new(stop: Arc<Stop>, observer: Arc<dyn Observer>) -> Self {
        Self { stop, observer, failures: AtomicUsize::new(0) }
    }
}

/// Finds the cheap objectives of architectures; what was measured once, or could not be, is never measured again.
pub struct Costs<'a> {
    objectives: Vec<&'static Objective>,
    config: &'a Config,
    database: &'a Database,
    watch: &'a Watch,
    /// Fitted when it is first asked, once there are measurements enough.
    predictor: OnceCell<Predictor>,
}

/// How one objective of an architecture stands.
enum Cost {
    Known(f64),
    Predicted(f64),
    Refused(Refusal),
}

impl<'a> Costs<'a> {
    /// The costs that a run asks for.
    pub fn new(config: &'a Config, database: &'a Database, watch: &'a Watch) -> Self {
        let mut objectives = cheap(config);
        // Counting is free; measuring waits until all counted bounds hold.
        objectives.sort_by_key(|objective| matches!(objective.kind, Kind::Measured(_)));
        Self { objectives, config, database, watch, predictor: OnceCell::new() }
    }

    /// All costs of an architecture, or the first that is over its bound in `limits` or cannot be measured: then nothing
    /// after it is measured.
    ///
    /// # Errors
    /// If measuring fails for a reason that is not the architecture's, or for too many in a row.
    pub fn within(&self, architecture: &Architecture, limits: &BTreeMap<String, f64>) -> Result<Within> {
        self.each(limits, |objective| self.cost(objective, architecture))
    }

    /// As [`Costs::within`], for a choice among many: once there are measurements enough for a predictor, what it says
    /// stands in for a measurement, and refuses only what is far over its bound.
    ///
    /// # Errors
    /// As [`Costs::within`].
    pub fn expected(&self, architecture: &Architecture, limits: &BTreeMap<String, f64>) -> Result<Within> {
        self.each(limits, |objective| self.expected_cost(objective, architecture))
    }

    /// As [`Costs::within`], for one that was chosen: where training need not wait for measuring, the prediction goes on
    /// standing in, and [`Costs::known`] tells later what was measured.
    ///
    /// # Errors
    /// As [`Costs::within`].
    pub fn of_chosen(&self, architecture: &Architecture, limits: &BTreeMap<String, f64>) -> Result<Within> {
        match self.config.latency.exclusive {
            true => self.within(architecture, limits),
            false => self.expected(architecture, limits),
        }
    }

    /// What is known of an architecture without measuring; what could not be measured is not in it. None while something
    /// is still to be measured.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn known(&self, architecture: &Architecture) -> Result<Option<BTreeMap<String, f64>>> {
        let mut costs = BTreeMap::new();
        for objective in &self.objectives {
            let known = match objective.kind {
                Kind::Counted(count) => Some(Cost::Known(count(architecture))),
                Kind::Measured(_) => self.kept(objective, architecture)?,
                Kind::Trained => None,
            };
            match known {
                None => return Ok(None),
                Some(Cost::Known(value)) => drop(costs.insert(objective.name.to_string(), value)),
                Some(Cost::Predicted(_) | Cost::Refused(_)) => {}
            }
        }
        Ok(Some(costs))
    }

    fn each(
        &self,
        limits: &BTreeMap<String, f64>,
        cost: impl Fn(&'static Objective) -> Result<Cost>,
    ) -> Result<Within> {
        let mut costs = BTreeMap::new();
        for objective in &self.objectives {
            let (value, margin) = match cost(objective)? {
                Cost::Known(value) => (value, 1.0),
                Cost::Predicted(value) => (value, MARGIN),
                Cost::Refused(refusal) => return Ok(Err(refusal)),
            };
            if limits.get(objective.name).is_some_and(|&limit| value > margin * limit) {
                return Ok(Err(Refusal::Over(objective.name, value)));
            }
            costs.insert(objective.name.to_string(), value);
        }
        Ok(Ok(costs))
    }

    fn cost(&self, objective: &'static Objective, architecture: &Architecture) -> Result<Cost> {
        match objective.kind {
            Kind::Counted(count) => Ok(Cost::Known(count(architecture))),
            Kind::Measured(measure) => match self.kept(objective, architecture)? {
                Some(cost) => Ok(cost),
                None => self.measure(objective, measure, architecture),
            },
            Kind::Trained => Err(Error::Usage(format!("{} is known after training only", objective.name))),
        }
    }

    fn expected_cost(&self, objective: &'static Objective, architecture: &Architecture) -> Result<Cost> {
        if let Kind::Measured(_) = objective.kind
            && self.kept(objective, architecture)?.is_none()
            && let Some(predictor) = self.predictor(objective)?
        {
            return Ok(Cost::Predicted(predictor.predict(architecture)));
        }
        self.cost(objective, architecture)
    }

    /// What an earlier measurement left.
    fn kept(&self, objective: &Objective, architecture: &Architecture) -> Result<Option<Cost>> {
        let fingerprint = architecture.fingerprint().to_string();
        let kept = self.database.measurement(&fingerprint, objective.name)?;
        Ok(kept.map(|outcome| match outcome {
            Ok(spread) => Cost::Known(spread.value),
            Err(why) => Cost::Refused(Refusal::Unmeasured(objective.name, why)),
        }))
    }

    fn measure(
        &self,
        objective: &'static Objective,
        measure: Measure,
        architecture: &Architecture,
    ) -> Result<Cost> {
        let predicted = self.predictor(objective)?.map(|predictor| predictor.predict(architecture));
        let begun = Instant::now();
        let outcome = match measure(architecture, self.config, &|| self.watch.stop.is_asked())? {
            Outcome::Measured(spread) => Ok(spread),
            Outcome::Failed(why) => Err(why),
            Outcome::Stopped => return Ok(Cost::Refused(Refusal::Stopped)),
        };
        let (seconds, name) = (begun.elapsed().as_secs_f64(), objective.name.to_string());
        let architecture = architecture.clone();
        let row = MeasurementRow { architecture, name, outcome, predicted, seconds };
        self.database.add_measurement(&row)?;
        match row.outcome {
            Ok(spread) => {
                self.watch.failures.store(0, Ordering::Relaxed);
                Ok(Cost::Known(spread.value))
            }
            Err(why) => self.failed(objective, &row.architecture, why),
        }
    }

    /// Tells of a network that could not be measured.
    ///
    /// # Errors
    /// If it is one too many.
    fn failed(
        &self,
        objective: &'static Objective,
        architecture: &Architecture,
        why: String,
    ) -> Result<Cost> {
        let parameters = architecture.parameter_count();
        let text = format!("{} of a network of {parameters} parameters: {why}", objective.name);
        self.watch.observer.observe(&Event::Note { text });
        if self.watch.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES {
            let networks = format!("the last {FAILURES} networks");
            return Err(Error::Unmeasurable { name: objective.name, networks, why });
        }
        Ok(Cost::Refused(Refusal::Unmeasured(objective.name, why)))
    }

    /// The predictor, if the settings want one and there are measurements enough.
    fn predictor(&self, objective: &Objective) -> Result<Option<&Predictor>> {
        let wanted = self.config.latency.predictor;
        if self.predictor.get().is_none()
            && wanted > 0
            && self.database.measured_count(objective.name)? >= wanted
        {
            let rows = self.database.measurements(objective.name)?;
            let values = rows.iter().filter_map(|row| Some((&row.architecture, row.value()?)));
            let _ = self.predictor.set(Predictor::fit(values));
        }
        Ok(self.predictor.get())
    }
}

#[cfg(test)]
mod tests {
    use morphisms::{Conv, Draft, Shape};

    use super::*;
    use crate::config::LatencyConfig;
    use crate::progress::QuietObserver;

    fn network(width: usize) -> Architecture {
        let mut draft = Draft::new(Shape::map(1, 8, 8));
        let x = draft.conv_bn_relu(draft.input(), Conv::same(width, 3));
        draft.head(x, 10);
        draft.build().unwrap()
    }

    fn config(latency: LatencyConfig) -> Config {
        Config { objectives: vec!["error".into(), "latency".into()], latency, ..Config::default() }
    }

    #[test]
    fn a_cost_over_its_bound_is_named_and_nothing_is_measured_after_it() {
        let database = Database::in_memory().unwrap();
        let watch = Watch::new(Arc::default(), Arc::new(QuietObserver));
        let config =
            Config { max: BTreeMap::from([("params".into(), 100.0)]), ..config(LatencyConfig::default()) };
        let (costs, architecture) = (Costs::new(&config, &database, &watch), network(16));
        let refused = costs.within(&architecture, &config.max).unwrap().unwrap_err();
        assert_eq!(refused, Refusal::Over("params", architecture.parameter_count() as f64));
        assert_eq!(database.measured_count("latency").unwrap(), 0);
        assert_eq!(costs.known(&architecture).unwrap(), None);
        let first = costs.within(&architecture, &BTreeMap::new()).unwrap().unwrap();
        let second = costs.within(&architecture, &BTreeMap::new()).unwrap().unwrap();
        assert_eq!(first, second, "measured once");
        assert_eq!(costs.known(&architecture).unwrap(), Some(first));
    }
}
