//! Crowding distance: how much room a point has among its neighbours.

use super::{Points, rank};
use crate::Result;

/// The crowding distance of each point among all of `points` (NSGA-II, Deb et al. 2002, III.B): the sum over objectives of
/// the gap between its two neighbours in that objective, as a share of the objective's range. Infinite for the ends of an
/// objective. An objective in which all are equal counts nothing. Of equal values the earlier point comes first.
///
/// O(d n log n) for n points and d objectives.
///
/// ```
/// use paretomorph::pareto::{Points, crowding_distances};
///
/// let points = Points::new(&[[0.0, 4.0], [1.0, 2.0], [4.0, 0.0]])?;
/// assert_eq!(crowding_distances(&points), [f64::INFINITY, 2.0, f64::INFINITY]);
/// # Ok::<(), paretomorph::Error>(())
/// ```
pub fn crowding_distances(points: &Points) -> Vec<f64> {
    let mut distances = vec![0.0; points.len()];
    for objective in 0..points.objectives() {
        let value = |index: usize| points[index][objective];
        let mut order: Vec<usize> = (0..points.len()).collect();
        order.sort_by(|&a, &b| value(a).total_cmp(&value(b)));
        let (Some(&first), Some(&last)) = (order.first(), order.last()) else { continue };
        let range = value(last) - value(first);
        if range > 0.0 {
            for neighbours in order.windows(3) {
                distances[neighbours[1]] += (value(neighbours[2]) - value(neighbours[0])) / range;
            }
            (distances[first], distances[last]) = (f64::INFINITY, f64::INFINITY);
        }
    }
    distances
}

/// The places of points, best first: front by front, and within a front the one with most room around it first (NSGA-II's
/// crowded comparison, Deb et al. 2002, III.B). Of equals the earlier comes first.
///
/// # Errors
/// If a value is not finite, or points have different numbers of objectives.
///
/// ```
/// let points = [[2.0, 2.0], [0.0, 4.0], [1.0, 1.0], [4.0, 0.0]];
/// assert_eq!(paretomorph::pareto::best_first(&points)?, [1, 3, 2, 0]);
/// # Ok::<(), paretomorph::Error>(())
/// ```
pub fn best_first<R: AsRef<[f64]>>(points: &[R]) -> Result<Vec<usize>> {
    let ranks = rank(&Points::new(points)?);
    let mut order = Vec::with_capacity(points.len());
    for front in 0..=ranks.iter().copied().max().unwrap_or(0) {
        let members: Vec<usize> = (0..points.len()).filter(|&place| ranks[place] == front).collect();
        let rows: Vec<&[f64]> = members.iter().map(|&place| points[place].as_ref()).collect();
        let mut members: Vec<(usize, f64)> =
            members.into_iter().zip(crowding_distances(&Points::new(&rows)?)).collect();
        members.sort_by(|a, b| b.1.total_cmp(&a.1));
        order.extend(members.into_iter().map(|(place, _)| place));
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::super::tests::small_points;
    use super::*;
    use proptest::prelude::*;

    /// By hand from the paper's formula: four points on a line with gaps of 1, 2 and 3 of 6.
    #[test]
    fn neighbours_on_a_line() {
        let points = Points::new(&[[0.0, 6.0], [1.0, 5.0], [3.0, 3.0], [6.0, 0.0]]).unwrap();
        let found = crowding_distances(&points);
        assert_eq!((found[0], found[3]), (f64::INFINITY, f64::INFINITY));
        assert!((found[1] - 2.0 * 3.0 / 6.0).abs() < 1e-12 && (found[2] - 2.0 * 5.0 / 6.0).abs() < 1e-12);
        assert_eq!(crowding_distances(&Points::new(&[[1.0, 1.0], [1.0, 1.0]]).unwrap()), [0.0, 0.0]);
        assert!(crowding_distances(&Points::default()).is_empty());
    }

    proptest! {
        #[test]
        fn scale_and_place_do_not_matter(points in small_points(3, 1..12), scale in 1..9u8, shift in 0..9u8) {
            let moved = |row: &[f64]| row.iter().map(|v| v * f64::from(scale) + f64::from(shift)).collect();
            let rows: Vec<Vec<f64>> = points.rows().map(moved).collect();
            let moved = crowding_distances(&Points::new(&rows).unwrap());
            for (a, b) in crowding_distances(&points).into_iter().zip(moved) {
                prop_assert!(a == b || (a - b).abs() < 1e-12, "{a} {b}");
            }
        }
    }
}
