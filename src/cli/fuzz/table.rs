//! The outcome of a campaign, for a person.

use comfy_table::{Cell, CellAlignment};
use morphisms::fuzz::{Decades, Tally};

use super::super::show;
use crate::fuzz::{Campaign, Outcome};

/// Heights of a histogram's bar.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Decades shown: the lowest and the highest.
const SHOWN: std::ops::RangeInclusive<i32> = -17..=2;

pub(super) fn text(outcome: &Outcome, campaign: &Campaign) -> String {
    let mut table = show::table();
    table.set_header([
        "morphism",
        "rewrites",
        "largest drift",
        "along a chain",
        "of its bound",
        "slowest",
        "0 │ 1e-17 … 1e2",
    ]);
    for morphism in &campaign.settings.morphisms {
        let tally = outcome.summary.morphisms.get(morphism.name()).cloned().unwrap_or_default();
        table.add_row(row(morphism.name(), &tally));
    }
    let summary = &outcome.summary;
    format!(
        "{table}\n{} cases, {} rewrites, {} edits without a site or too large, {:.1} s, {:.0} networks a second\n",
        summary.cases, summary.rewrites, summary.left_out, outcome.seconds, outcome.networks_per_second
    )
}

fn row(name: &str, tally: &Tally) -> Vec<Cell> {
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    let none = || "-".to_string();
    // What an approximate morphism changes is no error.
    let share = tally.share.map_or_else(none, |share| format!("{:.2} %", 100.0 * share.value));
    let along = tally.drift_along.map_or_else(none, |along| number(along.value));
    let slowest = format!("{:.2} ms (case {})", 1e3 * tally.slowest.value, tally.slowest.case);
    vec![
        Cell::new(name),
        right(tally.rewrites.to_string()),
        right(number(tally.drift.value)),
        right(along),
        right(share),
        right(if tally.rewrites > 0 { slowest } else { none() }),
        Cell::new(histogram(&tally.decades)),
    ]
}

fn number(value: f64) -> String {
    if value == 0.0 { "0".into() } else { format!("{value:.1e}") }
}

/// A bar for the drifts of exactly 0, and one for each decade; what is beyond those shown counts with the last.
fn histogram(decades: &Decades) -> String {
    let (least, most) = (*SHOWN.start(), *SHOWN.end());
    let mut counts = vec![0; SHOWN.count()];
    for (decade, count) in &decades.counts {
        counts[(decade.clamp(&least, &most) - least) as usize] += count;
    }
    let largest = counts.iter().copied().max().unwrap_or(0).max(decades.none);
    let bar = |count: u64| match count {
        0 => ' ',
        // By the logarithm: a single large drift must be seen beside thousands of small ones.
        _ => BARS[((1 + count.ilog2()) * 7).div_ceil(1 + largest.ilog2()) as usize],
    };
    format!("{} │ {}", bar(decades.none), counts.into_iter().map(bar).collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_single_drift_shows_beside_thousands() {
        let decades = Decades { none: 4096, counts: BTreeMap::from([(-20, 1), (-16, 64), (9, 1)]) };
        let expected = format!("█ │ ▂▅{}▂", " ".repeat(17));
        assert_eq!(histogram(&decades), expected);
        assert_eq!(histogram(&Decades::default()), format!("  │ {}", " ".repeat(20)));
    }
}
