//! Inverted generational distance: how far a reference front is from a set of points, on average.

use super::nearest::Nearest;
use super::{Points, finite};
use crate::error::Result;

/// The modified inverted generational distance IGD+ of `points` to the reference `front`: the mean over the front of
/// the distance to the nearest point, where only what is worse counts,
/// `sqrt(sum_j max(point_j - reference_j, 0)²)` (Ishibuchi, Masuda, Tanaka and Nojima 2015).
///
/// In the objectives' units; 0 if every point of the front is reached or dominated. Smaller is better, and unlike
/// [`igd`] it is weakly Pareto compliant: a set that dominates another is never worse. Scale the objectives to a
/// common range before. O(n m d) for n points, m of the front and d objectives.
///
/// # Errors
/// No points on one side, different numbers of objectives, a distance whose square is too large for `f64`.
///
/// ```
/// use paretomorph::pareto::{Points, igd_plus};
///
/// let front = Points::new(&[[0.0, 2.0], [2.0, 0.0]])?;
/// let points = Points::new(&[[0.0, 1.0], [3.0, 0.0]])?;
/// assert_eq!(igd_plus(&points, &front)?, 0.5); // the first dominates, the second is 1 too far
/// # Ok::<(), paretomorph::Error>(())
/// ```
pub fn igd_plus(points: &Points, front: &Points) -> Result<f64> {
    mean_distance(points, front, |difference| if difference > 0.0 { difference } else { 0.0 })
}

/// The inverted generational distance IGD of `points` to the reference `front`: the mean over the front of the
/// Euclidean distance to the nearest point (Coello Coello and Reyes Sierra 2004, without the exponent).
///
/// Well known, but not Pareto compliant: [`igd_plus`] is the better choice. O(n m d) as there.
///
/// # Errors
/// Those of [`igd_plus`].
///
/// ```
/// use paretomorph::pareto::{Points, igd};
///
/// let front = Points::new(&[[0.0, 2.0], [2.0, 0.0]])?;
/// let points = Points::new(&[[0.0, 1.0], [3.0, 0.0]])?;
/// assert_eq!(igd(&points, &front)?, 1.0); // both are 1 away
/// # Ok::<(), paretomorph::Error>(())
/// ```
pub fn igd(points: &Points, front: &Points) -> Result<f64> {
    mean_distance(points, front, |difference| difference)
}

/// The mean over `front` of the distance to the nearest point; `part` of each difference counts.
fn mean_distance(points: &Points, front: &Points, part: impl Fn(f64) -> f64) -> Result<f64> {
    let nearest = Nearest::new(points, front, 0.0, |sum, value, reference| {
        let part = part(value - reference);
        sum + part * part
    })?;
    let sum: f64 = front.rows().map(|row| nearest.distance(row, 0.0).sqrt()).sum();
    finite("distance", sum / front.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{small_points, two_sets};
    use super::*;
    use proptest::prelude::*;

    fn by_definition(points: &Points, front: &Points, part: impl Fn(f64) -> f64) -> f64 {
        let distance = |point: &[f64], reference: &[f64]| {
            point.iter().zip(reference).map(|(p, r)| part(p - r).powi(2)).sum::<f64>().sqrt()
        };
        let nearest =
            |reference| points.rows().map(|point| distance(point, reference)).fold(f64::MAX, f64::min);
        front.rows().map(nearest).sum::<f64>() / front.len() as f64
    }

    #[test]
    fn sets_that_cannot_be_compared_are_refused() {
        let (one, other) = (Points::new(&[[1.0, 2.0]]).unwrap(), Points::new(&[[1.0]]).unwrap());
        let none = Points::default();
        let message = |points, front| igd_plus(points, front).unwrap_err().to_string();
        assert!(message(&none, &one).contains("the set has no points"));
        assert!(message(&one, &none).contains("the reference front has no points"));
        let far = Points::new(&[[-1e200, 0.0]]).unwrap();
        assert!(message(&one, &far).contains("the distance exceeds f64"));
        assert!(message(&one, &other).contains("the reference front have 1 objectives: expected 2"));
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition((points, front) in two_sets()) {
            let expected = by_definition(&points, &front, |d| d.max(0.0));
            prop_assert!((igd_plus(&points, &front).unwrap() - expected).abs() <= 1e-12);
            let expected = by_definition(&points, &front, |d| d);
            prop_assert!((igd(&points, &front).unwrap() - expected).abs() <= 1e-12);
        }

        #[test]
        fn a_better_set_is_never_worse(points in small_points(3, 1..12), front in small_points(3, 1..12)) {
            let better: Vec<f64> = points.rows().flatten().map(|value| value - 0.5).collect();
            let better = Points::from_flat(better, 3).unwrap();
            prop_assert!(igd_plus(&better, &front).unwrap() <= igd_plus(&points, &front).unwrap());
            prop_assert_eq!(igd_plus(&front, &front).unwrap(), 0.0);
        }
    }
}
