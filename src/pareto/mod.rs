//! Pareto dominance, non-dominated sorting and hypervolume. Every objective is minimised.
//!
//! A point is the objective values of one network. Points are compared as they are: equal points do not
//! dominate one another, so duplicates stay together on a front. All functions refuse points with a NaN or an
//! infinity, without objectives, or of different lengths, with an [`Error::Usage`] that names the point.

mod hypervolume;
mod sort;

pub use hypervolume::hypervolume;
pub use sort::{non_dominated, rank};

use crate::error::{Error, Result};

/// Whether `a` is at least as good as `b` in every objective and better in one.
///
/// Both have the same number of objectives. A comparison with NaN is false, so a NaN never dominates.
pub fn dominates(a: &[f64], b: &[f64]) -> bool {
    debug_assert_eq!(a.len(), b.len(), "points of different lengths");
    a.iter().zip(b).all(|(a, b)| a <= b) && a.iter().zip(b).any(|(a, b)| a < b)
}

/// Checks that `points` are finite and of one length, at least 1.
pub(crate) fn check(points: &[Vec<f64>]) -> Result<()> {
    let objectives = points.first().map_or(1, Vec::len);
    if objectives == 0 {
        return Err(Error::Usage("points without objectives cannot be compared".into()));
    }
    for (index, point) in points.iter().enumerate() {
        check_point(point, objectives).map_err(|problem| Error::Usage(format!("point {index} {problem}")))?;
    }
    Ok(())
}

fn check_point(point: &[f64], objectives: usize) -> std::result::Result<(), String> {
    if point.len() != objectives {
        return Err(format!("has {} objectives: expected {objectives}", point.len()));
    }
    match point.iter().position(|value| !value.is_finite()) {
        Some(objective) => {
            Err(format!("has {} as objective {objective}: expected a finite number", point[objective]))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Small whole coordinates, so that ties and duplicates are common.
    pub(super) fn small_points(objectives: usize, most: usize) -> impl Strategy<Value = Vec<Vec<f64>>> {
        let point = prop::collection::vec((0..5u8).prop_map(f64::from), objectives);
        prop::collection::vec(point, 0..most)
    }

    #[test]
    fn dominance_is_better_somewhere_and_worse_nowhere() {
        assert!(dominates(&[1.0, 2.0], &[1.0, 3.0]));
        assert!(!dominates(&[1.0, 2.0], &[1.0, 2.0]));
        assert!(!dominates(&[1.0, 2.0], &[0.0, 3.0]));
        assert!(!dominates(&[f64::NAN, 0.0], &[1.0, 1.0]) && !dominates(&[1.0, 1.0], &[f64::NAN, 2.0]));
    }

    #[test]
    fn points_that_cannot_be_compared_are_refused_by_name() {
        let message = |points: &[Vec<f64>]| {
            let errors = [
                non_dominated(points).map(drop).unwrap_err(),
                rank(points).map(drop).unwrap_err(),
                hypervolume(points, &[9.0, 9.0]).map(drop).unwrap_err(),
            ];
            let texts = errors.map(|error| error.to_string());
            assert!(texts[1..].iter().all(|text| *text == texts[0]), "{texts:?}");
            texts[0].clone()
        };
        assert!(message(&[vec![0.0, 1.0], vec![0.0, f64::NAN]]).contains("point 1 has NaN as objective 1"));
        assert!(message(&[vec![f64::INFINITY, 1.0]]).contains("point 0 has inf as objective 0"));
        assert!(message(&[vec![0.0, 1.0], vec![0.0]]).contains("point 1 has 1 objectives: expected 2"));
        assert!(message(&[vec![], vec![]]).contains("without objectives"));
    }
}
