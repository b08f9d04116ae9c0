//! Pareto operations: dominance, non-dominated sorting, hypervolume, and indicators of how good a front is.
//!
//! Every objective is minimised. A point is the objective values of one network; [`Points`] holds several, checked
//! to be finite and of one length. Points are compared as they are: equal points do not dominate one another, so
//! duplicates stay together on a front, and -0 equals 0. Results do not depend on the order of the points, but for
//! the rounding of sums.
//!
//! What is called for each point is marked `#[inline]`: an incremental release build has many units, and between them
//! nothing else is inlined.

mod attainment;
mod boxes;
mod contribution;
mod crowding;
mod dominators;
mod epsilon;
mod hypervolume;
mod igd;
mod nearest;
mod order;
mod points;
mod sort;
mod stairs;

pub use attainment::attainment_surfaces;
pub use contribution::{contribution, contributions};
pub use crowding::{best_first, crowding_distances};
pub use epsilon::{epsilon_additive, epsilon_multiplicative};
pub use hypervolume::hypervolume;
pub use igd::{igd, igd_plus};
pub use points::Points;
pub use sort::{non_dominated, rank};

use crate::error::{Error, Result};

/// Whether `a` is at least as good as `b` in every objective and better in one.
///
/// Both have the same number of objectives. A comparison with NaN is false, so a NaN never dominates.
///
/// ```
/// use paretomorph::pareto::dominates;
///
/// assert!(dominates(&[1.0, 2.0], &[1.0, 3.0]) && !dominates(&[1.0, 2.0], &[1.0, 2.0]));
/// ```
pub fn dominates(a: &[f64], b: &[f64]) -> bool {
    debug_assert_eq!(a.len(), b.len(), "points of different lengths");
    a.iter().zip(b).all(|(a, b)| a <= b) && a.iter().zip(b).any(|(a, b)| a < b)
}

/// Refuses a `value`, called `name`, that values near the ends of `f64` have made infinite.
fn finite(name: &str, value: f64) -> Result<f64> {
    if value.is_finite() { Ok(value) } else { Err(Error::Usage(format!("the {name} exceeds f64"))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::ops::Range;

    /// Small whole coordinates, so that ties and duplicates are common.
    pub(super) fn small_rows(objectives: usize, count: Range<usize>) -> impl Strategy<Value = Vec<Vec<f64>>> {
        let row = prop::collection::vec((0..5u8).prop_map(f64::from), objectives);
        prop::collection::vec(row, count)
    }

    pub(super) fn small_points(objectives: usize, count: Range<usize>) -> impl Strategy<Value = Points> {
        small_rows(objectives, count).prop_map(|rows| Points::new(&rows).expect("finite rows of one length"))
    }

    /// Two sets of points with as many objectives.
    pub(super) fn two_sets() -> impl Strategy<Value = (Points, Points)> {
        (1..6usize).prop_flat_map(|d| (small_points(d, 1..24), small_points(d, 1..12)))
    }

    #[test]
    fn dominance_is_better_somewhere_and_worse_nowhere() {
        assert!(dominates(&[1.0, 2.0], &[1.0, 3.0]));
        assert!(!dominates(&[1.0, 2.0], &[1.0, 2.0]));
        assert!(!dominates(&[1.0, 2.0], &[0.0, 3.0]));
        assert!(!dominates(&[f64::NAN, 0.0], &[1.0, 1.0]) && !dominates(&[1.0, 1.0], &[f64::NAN, 2.0]));
    }

    #[derive(serde::Deserialize)]
    struct Reference {
        cases: Vec<Case>,
        attainment: Vec<Attainment>,
    }

    #[derive(serde::Deserialize)]
    struct Case {
        points: Vec<Vec<f64>>,
        reference: Vec<f64>,
        front: Vec<Vec<f64>>,
        hypervolume: f64,
        contributions: Vec<f64>,
        ranks: Vec<usize>,
        igd: f64,
        igd_plus: f64,
        epsilon_additive: f64,
        epsilon_multiplicative: f64,
    }

    #[derive(serde::Deserialize)]
    struct Attainment {
        runs: Vec<Vec<[f64; 2]>>,
        surfaces: Vec<Vec<[f64; 2]>>,
    }

    fn reference() -> Reference {
        serde_json::from_str(include_str!("reference.json")).expect("written by reference.py")
    }

    fn points(rows: &[Vec<f64>]) -> Points {
        Points::new(rows).expect("finite rows of one length")
    }

    /// To 12 digits of `scale`.
    #[track_caller]
    fn assert_close(value: f64, expected: f64, scale: f64) {
        assert!((value - expected).abs() <= 1e-12 * scale, "{value}, not {expected}");
    }

    #[test]
    fn agrees_with_moocore() {
        let cases = reference().cases;
        assert!(cases.len() >= 21);
        for case in &cases {
            let (points, front) = (points(&case.points), points(&case.front));
            assert_eq!(rank(&points), case.ranks);
            let volume = hypervolume(&points, &case.reference).unwrap();
            assert_close(volume, case.hypervolume, case.hypervolume);
            let contributions = contributions(&points, &case.reference).unwrap();
            assert_eq!(contributions.len(), case.contributions.len());
            for (value, expected) in contributions.iter().zip(&case.contributions) {
                assert_close(*value, *expected, case.hypervolume);
            }
            assert_close(igd(&points, &front).unwrap(), case.igd, 1.0);
            assert_close(igd_plus(&points, &front).unwrap(), case.igd_plus, 1.0);
            assert_close(epsilon_additive(&points, &front).unwrap(), case.epsilon_additive, 1.0);
        }
    }

    #[test]
    fn ratios_agree_with_moocore() {
        for case in &reference().cases {
            let more = |rows: &[Vec<f64>]| {
                points(&rows.iter().map(|row| row.iter().map(|v| v + 1.0).collect()).collect::<Vec<_>>())
            };
            let value = epsilon_multiplicative(&more(&case.points), &more(&case.front)).unwrap();
            assert_close(value, case.epsilon_multiplicative, 1.0);
        }
    }

    #[test]
    fn surfaces_agree_with_moocore() {
        let cases = reference().attainment;
        assert!(cases.len() >= 9);
        for case in &cases {
            let runs: Vec<Points> = case.runs.iter().map(|run| Points::new(run).unwrap()).collect();
            let expected: Vec<Points> = case.surfaces.iter().map(|rows| Points::new(rows).unwrap()).collect();
            assert_eq!(attainment_surfaces(&runs).unwrap(), expected);
        }
    }
}
