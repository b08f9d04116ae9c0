//! The matrix products against plain loops, in f64, with several jobs and with rows shorter than a vector.

use super::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

fn numbers(count: usize, seed: f64) -> Vec<f64> {
    (0..count).map(|i| ((i as f64 + seed) * 0.754_877 + (i * i % 97) as f64).sin()).collect()
}

/// `[rows, columns]` from a sum over `terms`.
fn plain(rows: usize, columns: usize, terms: usize, term: impl Fn(usize, usize, usize) -> f64) -> Vec<f64> {
    let sum = |r, c| (0..terms).map(|t| term(r, c, t)).sum();
    (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))).map(|(r, c)| sum(r, c)).collect()
}

fn close(found: &[f64], expected: &[f64]) -> std::result::Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), expected.len());
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        prop_assert!((a - b).abs() <= 1e-11 * (1.0 + b.abs()), "place {}: {} and not {}", i, a, b);
    }
    Ok(())
}

proptest! {
    #![proptest_config(Config {
        cases: 60, rng_seed: RngSeed::Fixed(12), failure_persistence: None, ..Config::default()
    })]

    #[test]
    fn products_are_those_of_plain_loops(
        (batch, inputs, outputs) in (1..=70usize, 1..=150usize, 1..=70usize),
    ) {
        let sizes = Sizes { batch, inputs, outputs };
        let (x, w) = (numbers(batch * inputs, 0.1), numbers(outputs * inputs, 0.2));
        let (bias, dy) = (numbers(outputs, 0.3), numbers(batch * outputs, 0.4));
        let y = plain(batch, outputs, inputs, |b, o, i| x[b * inputs + i] * w[o * inputs + i]);
        let with_bias: Vec<f64> = y.iter().enumerate().map(|(i, y)| y + bias[i % outputs]).collect();
        close(&forward(sizes, &x, &w, None), &y)?;
        close(&forward(sizes, &x, &w, Some(&bias)), &with_bias)?;
        let dx = plain(batch, inputs, outputs, |b, i, o| dy[b * outputs + o] * w[o * inputs + i]);
        close(&input_gradient(sizes, &w, &dy), &dx)?;
        let dw = plain(outputs, inputs, batch, |o, i, b| dy[b * outputs + o] * x[b * inputs + i]);
        close(&weight_gradient(sizes, &x, &dy), &dw)?;
        close(&bias_gradient(sizes, &dy), &plain(1, outputs, batch, |_, o, b| dy[b * outputs + o]))?;
    }
}
