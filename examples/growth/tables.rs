//! From rows to tables: means, paired differences, and how likely chance alone is to bring those about.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::measure::{FURTHER_EPOCHS, Row};

pub const REPLICATE: &str = "widen, replicate";
pub const NOISE: &str = "widen, noise";
pub const FRESH: &str = "widen, fresh";
pub const CALIBRATED: &str = "deepen, calibrated";
pub const UNCALIBRATED: &str = "deepen, uncalibrated";
pub const RESIDUAL: &str = "deepen_residual";
pub const PARENT: &str = "parent, not grown";

/// What is compared seed by seed, the second one's error taken from the first one's.
const PAIRS: [(&str, &str); 9] = [
    (NOISE, REPLICATE),
    (FRESH, REPLICATE),
    (CALIBRATED, REPLICATE),
    (UNCALIBRATED, REPLICATE),
    (RESIDUAL, REPLICATE),
    (PARENT, REPLICATE),
    (FRESH, NOISE),
    (UNCALIBRATED, CALIBRATED),
    (RESIDUAL, CALIBRATED),
];

/// One line a seed and method; errors as shares of the `validation` images.
pub fn csv(rows: &[Row], validation: usize) -> String {
    let mut text = String::from("seed,method,parameters,drift,training_drift,error_inherited");
    FURTHER_EPOCHS.iter().for_each(|epochs| write!(text, ",error_after_{epochs}").expect("a string grows"));
    for Row { seed, method, parameters, drift, training_drift, wrong } in rows {
        let errors = wrong.map(|wrong| format!("{}", wrong as f64 / validation as f64)).join(",");
        let line = format!("\n{seed},\"{method}\",{parameters},{drift:.3e},{training_drift:.3e},{errors}");
        text.push_str(&line);
    }
    text + "\n"
}

/// Both tables, in Markdown; errors in per cent of the `validation` images.
pub fn markdown(rows: &[Row], validation: usize) -> String {
    format!("{}\n{}", methods(rows, validation), pairs(rows, validation))
}

fn methods(rows: &[Row], validation: usize) -> String {
    let mut text =
        header(&["method", "parameters", "drift", "drift in training mode", "error inherited"], "error");
    // The methods of any seed, in their order.
    for first in rows.iter().take_while(|row| row.seed == rows[0].seed) {
        let of = || rows.iter().filter(|row| row.method == first.method);
        let largest = |value: fn(&Row) -> f64| of().map(value).fold(0.0, f64::max);
        let (drift, training) = (largest(|row| row.drift), spread(of().map(|row| row.training_drift), 3));
        write!(text, "| {} | {} | {drift:.0e} | {training}", first.method, first.parameters).expect(GROWS);
        for place in 0..first.wrong.len() {
            let errors = of().map(|row| per_cent(row.wrong[place] as f64, validation));
            write!(text, " | {} %", spread(errors, 2)).expect(GROWS);
        }
        text.push_str(" |\n");
    }
    text
}

fn pairs(rows: &[Row], validation: usize) -> String {
    let columns = ["difference", "further epochs", "points", "seeds lower / equal / higher", "Wilcoxon's p"];
    let mut text = header(&columns, "");
    let epochs = || FURTHER_EPOCHS.into_iter().enumerate();
    for ((a, b), (place, epochs)) in PAIRS.into_iter().flat_map(|pair| epochs().map(move |at| (pair, at))) {
        let differences = differences(rows, a, b, 1 + place);
        let count = |is: fn(&i64) -> bool| differences.iter().filter(|d| is(d)).count();
        let (lower, equal, higher) = (count(|&d| d < 0), count(|&d| d == 0), count(|&d| d > 0));
        let points = spread(differences.iter().map(|&d| per_cent(d as f64, validation)), 2);
        let p = wilcoxon(&differences);
        writeln!(text, "| {a} − {b} | {epochs} | {points} | {lower} / {equal} / {higher} | {p:.3} |")
            .expect(GROWS);
    }
    text
}

const GROWS: &str = "a string grows";

/// The head of a table, with a column more for each of [`FURTHER_EPOCHS`] if they are to be called something.
fn header(columns: &[&str], further: &str) -> String {
    let further =
        FURTHER_EPOCHS.iter().filter(|_| !further.is_empty()).map(|n| format!("{further} after {n}"));
    let columns: Vec<String> = columns.iter().map(ToString::to_string).chain(further).collect();
    format!("| {} |\n|{}\n", columns.join(" | "), "---|".repeat(columns.len()))
}

/// How many more images `a` gets wrong than `b`, by seed.
fn differences(rows: &[Row], a: &str, b: &str, place: usize) -> Vec<i64> {
    let of =
        |method| rows.iter().filter(move |row| row.method == method).map(move |row| row.wrong[place] as i64);
    of(a).zip(of(b)).map(|(a, b)| a - b).collect()
}

fn per_cent(images: f64, of: usize) -> f64 {
    100.0 * images / of as f64
}

/// Mean and standard deviation over seeds.
fn spread(values: impl Iterator<Item = f64>, digits: usize) -> String {
    let values: Vec<f64> = values.collect();
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    format!("{mean:.digits$} ± {:.digits$}", (squares / (n - 1.0).max(1.0)).sqrt())
}

/// The two-sided p of Wilcoxon's signed-rank test, exact: the share of all ways to give the ranks signs whose sum is at
/// least as far from the middle as that of `differences` (Wilcoxon, "Individual comparisons by ranking methods", 1945).
/// Zeros are left out, and equal sizes share their mean rank.
fn wilcoxon(differences: &[i64]) -> f64 {
    let differences: Vec<i64> = differences.iter().copied().filter(|&d| d != 0).collect();
    // Twice the rank, a whole number: those below and those not above.
    let count = |is: &dyn Fn(i64) -> bool| differences.iter().filter(|d| is(d.abs())).count();
    let rank = |d: i64| count(&|other| other < d.abs()) + count(&|other| other <= d.abs()) + 1;
    let mut ways = BTreeMap::from([(0, 1.0)]);
    for &difference in &differences {
        let mut more = ways.clone();
        ways.iter().for_each(|(sum, n)| *more.entry(sum + rank(difference)).or_insert(0.0) += n);
        ways = more;
    }
    let sum = |is: fn(&&i64) -> bool| differences.iter().filter(is).map(|&d| rank(d)).sum::<usize>();
    let smaller = sum(|d| **d > 0).min(sum(|d| **d < 0));
    let tail: f64 = ways.range(..=smaller).map(|(_, n)| n).sum();
    (2.0 * tail / ways.values().sum::<f64>()).min(1.0)
}
