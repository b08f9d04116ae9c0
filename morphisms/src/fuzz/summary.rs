//! What many cases come to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Record, Step};

/// Smaller relative drifts are counted with this decade.
const LEAST_DECADE: i32 = -20;

/// What was seen in the cases so far. Apart from times it depends on the cases alone, if they are added in order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Cases without a failure.
    pub cases: u64,
    /// Edits that were applied.
    pub rewrites: u64,
    /// Edits that were left out: no morphism had a site, or the child would have been too large.
    pub left_out: u64,
    /// By morphism.
    pub morphisms: BTreeMap<String, Tally>,
}

/// What was seen of a morphism.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// Edits.
    pub rewrites: u64,
    /// The largest drift of a child's logits from its parent's, relative to the largest of those.
    pub drift: Extreme,
    /// The same from the network with which a stretch of exact edits began.
    pub drift_along: Option<Extreme>,
    /// The largest drift of either kind as a part of its bound; none for an approximate morphism.
    pub share: Option<Extreme>,
    /// Seconds of the slowest rewrite, its child's weights included.
    pub slowest: Extreme,
    /// Seconds of all rewrites.
    pub seconds: f64,
    /// The drifts from parent to child.
    pub decades: Decades,
    /// Layers that were changed, removed or given other inputs, by type.
    pub layers: BTreeMap<String, u64>,
}

/// The largest of some values, and the case that had it first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extreme {
    /// The value.
    pub value: f64,
    /// The index of the case.
    pub case: u64,
}

impl Extreme {
    fn add(&mut self, value: f64, case: u64) {
        if value > self.value {
            *self = Self { value, case };
        }
    }
}

/// A histogram of drifts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decades {
    /// Drifts of exactly 0.
    pub none: u64,
    /// Drifts of at least `10^decade` and less than ten times that, by decade.
    pub counts: BTreeMap<i32, u64>,
}

impl Decades {
    fn add(&mut self, drift: f64) {
        if drift == 0.0 {
            self.none += 1;
        } else {
            *self.counts.entry((drift.log10().floor() as i32).max(LEAST_DECADE)).or_default() += 1;
        }
    }
}

impl Summary {
    /// Adds what case `index` was seen to do.
    pub fn add(&mut self, index: u64, record: &Record) {
        self.cases += 1;
        self.rewrites += record.steps.len() as u64;
        self.left_out += record.left_out as u64;
        for step in &record.steps {
            self.morphisms.entry(step.morphism.to_string()).or_default().add(index, step);
        }
    }
}

impl Tally {
    fn add(&mut self, index: u64, step: &Step) {
        self.rewrites += 1;
        self.drift.add(step.drift, index);
        for (extreme, value) in [(&mut self.drift_along, step.drift_along), (&mut self.share, step.share)] {
            if let Some(value) = value {
                extreme.get_or_insert(Extreme { value, case: index }).add(value, index);
            }
        }
        self.slowest.add(step.seconds, index);
        self.seconds += step.seconds;
        self.decades.add(step.drift);
        for (layer, count) in &step.layers {
            *self.layers.entry(layer.clone()).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(drift: f64, seconds: f64) -> Step {
        let layers = BTreeMap::from([("conv".to_string(), 2)]);
        Step {
            morphism: "widen",
            drift,
            drift_along: Some(2.0 * drift),
            share: Some(drift / 1e-10),
            seconds,
            layers,
        }
    }

    #[test]
    fn the_largest_are_kept_with_their_cases() {
        let mut summary = Summary::default();
        summary.add(3, &Record { steps: vec![step(2e-15, 0.5), step(0.0, 0.25)], left_out: 1 });
        summary.add(4, &Record { steps: vec![step(1e-13, 0.1)], left_out: 0 });
        assert_eq!((summary.cases, summary.rewrites, summary.left_out), (2, 3, 1));
        let tally = &summary.morphisms["widen"];
        assert_eq!(tally.drift, Extreme { value: 1e-13, case: 4 });
        assert_eq!(tally.drift_along, Some(Extreme { value: 2e-13, case: 4 }));
        assert_eq!(tally.slowest, Extreme { value: 0.5, case: 3 });
        assert_eq!((tally.decades.none, &tally.decades.counts), (1, &BTreeMap::from([(-15, 1), (-13, 1)])));
        assert_eq!(tally.layers["conv"], 6);
    }
}
