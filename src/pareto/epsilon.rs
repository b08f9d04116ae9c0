//! Epsilon indicators: by how much a set must be improved to be as good as another everywhere.

use super::nearest::Nearest;
use super::{Points, finite};
use crate::error::{Error, Result};

/// The additive epsilon indicator of `points` to the reference `front`: the smallest number that, taken from every
/// value of `points`, makes them dominate or equal every point of the front,
/// `max_front min_points max_j (point_j - reference_j)` (Zitzler, Thiele, Laumanns, Fonseca and Grunert da Fonseca
/// 2003, *Performance assessment of multiobjective optimizers*).
///
/// In the objectives' units, which should be comparable; negative if the points are better everywhere. O(n m d) for n
/// points, m of the front and d objectives.
///
/// # Errors
/// No points on one side, different numbers of objectives, a difference that is too large for `f64`.
///
/// ```
/// use paretomorph::pareto::{Points, epsilon_additive};
///
/// let front = Points::new(&[[0.0, 2.0], [2.0, 0.0]])?;
/// let points = Points::new(&[[0.0, 3.0], [2.5, 0.0]])?;
/// assert_eq!(epsilon_additive(&points, &front)?, 1.0);
/// # Ok::<(), paretomorph::Error>(())
/// ```
pub fn epsilon_additive(points: &Points, front: &Points) -> Result<f64> {
    largest_distance(points, front, |value, reference| value - reference)
}

/// The multiplicative epsilon indicator of `points` to the reference `front`: the smallest factor by which dividing
/// every value of `points` makes them dominate or equal every point of the front,
/// `max_front min_points max_j (point_j / reference_j)` (Zitzler et al. 2003, as above).
///
/// Without a unit; below 1 if the points are better everywhere. O(n m d) as [`epsilon_additive`].
///
/// # Errors
/// Those of [`epsilon_additive`]; values that are not positive.
///
/// ```
/// use paretomorph::pareto::{Points, epsilon_multiplicative};
///
/// let front = Points::new(&[[1.0, 2.0], [2.0, 1.0]])?;
/// let points = Points::new(&[[1.0, 3.0], [2.5, 1.0]])?;
/// assert_eq!(epsilon_multiplicative(&points, &front)?, 1.5);
/// # Ok::<(), paretomorph::Error>(())
/// ```
pub fn epsilon_multiplicative(points: &Points, front: &Points) -> Result<f64> {
    for (name, points) in [("point", points), ("reference point", front)] {
        let at = |index: usize, row: &[f64]| {
            row.iter().position(|&value| value <= 0.0).map(|j| (index, j, row[j]))
        };
        if let Some((index, j, value)) = points.rows().enumerate().find_map(|(index, row)| at(index, row)) {
            let problem = format!("{name} {index} has {value} as objective {j}: expected a positive number");
            return Err(Error::Usage(problem));
        }
    }
    largest_distance(points, front, |value, reference| value / reference)
}

/// The largest over `front` of what the best point lacks, which is its most of `lack` over the objectives.
fn largest_distance(points: &Points, front: &Points, lack: impl Fn(f64, f64) -> f64) -> Result<f64> {
    let nearest = Nearest::new(points, front, f64::NEG_INFINITY, |most, value, reference| {
        let lack = lack(value, reference);
        if lack > most { lack } else { most }
    })?;
    // A point of the front that is reached with less than another one needs no exact answer.
    let larger = |largest: f64, row| largest.max(nearest.distance(row, largest));
    finite("indicator", front.rows().fold(f64::NEG_INFINITY, larger))
}

#[cfg(test)]
mod tests {
    use super::super::tests::two_sets;
    use super::*;
    use proptest::prelude::*;

    fn moved(points: &Points, by: impl Fn(f64) -> f64) -> Points {
        Points::from_flat(points.rows().flatten().map(|&value| by(value)).collect(), points.objectives())
            .unwrap()
    }

    /// Whether every point of `front` is dominated or equalled by one of `points`.
    fn reaches(points: &Points, front: &Points) -> bool {
        let covers =
            |reference: &[f64]| points.rows().any(|point| point.iter().zip(reference).all(|(p, r)| p <= r));
        front.rows().all(covers)
    }

    #[test]
    fn ratios_need_positive_values() {
        let (one, zero) =
            (Points::new(&[[1.0, 2.0]]).unwrap(), Points::new(&[[1.0, 2.0], [3.0, 0.0]]).unwrap());
        let none = Points::default();
        let message = |points, front| epsilon_multiplicative(points, front).unwrap_err().to_string();
        assert!(message(&zero, &one).contains("point 1 has 0 as objective 1: expected a positive number"));
        assert!(message(&one, &zero).contains("reference point 1 has 0 as objective 1"));
        assert!(message(&one, &none).contains("the reference front has no points"));
        let tiny = Points::new(&[[5e-324, 1.0]]).unwrap();
        assert!(message(&one, &tiny).contains("the indicator exceeds f64"));
    }

    proptest! {
        /// Whole coordinates: the differences are exact.
        #[test]
        fn is_the_smallest_difference_that_helps((points, front) in two_sets()) {
            let epsilon = epsilon_additive(&points, &front).unwrap();
            prop_assert!(reaches(&moved(&points, |value| value - epsilon), &front));
            prop_assert!(!reaches(&moved(&points, |value| value - epsilon + 0.5), &front));
        }

        #[test]
        fn is_the_smallest_factor_that_helps((points, front) in two_sets()) {
            let (points, front) = (moved(&points, |value| value + 1.0), moved(&front, |value| value + 1.0));
            let epsilon = epsilon_multiplicative(&points, &front).unwrap();
            prop_assert!(reaches(&moved(&points, |value| value / (epsilon * (1.0 + 1e-9))), &front));
            prop_assert!(!reaches(&moved(&points, |value| value / (epsilon * (1.0 - 1e-9))), &front));
        }
    }
}
