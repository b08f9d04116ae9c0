//! Non-dominated sorting.

use std::cmp::Ordering;

use super::{check, dominates};
use crate::error::Result;

/// The indices of the points that no other point dominates, ascending.
///
/// All of several equal points are kept: none dominates another, and which one to keep is the caller's choice.
///
/// # Errors
/// Those of this module: NaN, infinities, different lengths.
pub fn non_dominated(points: &[Vec<f64>]) -> Result<Vec<usize>> {
    check(points)?;
    let mut front = Front::default();
    for index in lexicographic(points) {
        // Only an earlier point can dominate, and if a dominated one does, so does a member of the front.
        if !front.dominates(&points[index], points) {
            front.push(index, points);
        }
    }
    front.members.sort_unstable();
    Ok(front.members)
}

/// The front of each point: 0 for the non-dominated, 1 for those that only front 0 dominates, and so on (the
/// non-dominated sorting of NSGA-II, Deb et al. 2002, III.A). Equal points have equal ranks.
///
/// Method: efficient non-dominated sort with binary search (Zhang et al. 2015, ENS-BS). Whether a front
/// dominates a point falls from yes to no along the fronts, so the point's own is found by bisection.
///
/// # Errors
/// Those of this module: NaN, infinities, different lengths.
pub fn rank(points: &[Vec<f64>]) -> Result<Vec<usize>> {
    check(points)?;
    let mut fronts: Vec<Front> = Vec::new();
    let mut ranks = vec![0; points.len()];
    for index in lexicographic(points) {
        let rank = fronts.partition_point(|front| front.dominates(&points[index], points));
        if rank == fronts.len() {
            fronts.push(Front::default());
        }
        fronts[rank].push(index, points);
        ranks[index] = rank;
    }
    Ok(ranks)
}

/// Point indices in lexicographic order; equal points by index.
fn lexicographic(points: &[Vec<f64>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_unstable_by(|&a, &b| compare(&points[a], &points[b]).then(a.cmp(&b)));
    order
}

fn compare(a: &[f64], b: &[f64]) -> Ordering {
    a.partial_cmp(b).expect("checked to be free of NaN")
}

/// Mutually non-dominated points, filled in lexicographic order.
#[derive(Default)]
struct Front {
    members: Vec<usize>,
    /// For three objectives: the last two of the members, without those that another beats in both, ascending
    /// in the first and so descending in the second. The first objective needs no look: members come sorted.
    stairs: Vec<[f64; 2]>,
}

impl Front {
    /// Whether a member dominates `point`, which comes after all members in lexicographic order.
    fn dominates(&self, point: &[f64], points: &[Vec<f64>]) -> bool {
        match *point {
            // The last member has the smallest second objective of all.
            [_] | [_, _] => self.members.last().is_some_and(|&last| dominates(&points[last], point)),
            [_, y, z] => self.covers(y, z) && !self.holds_equal(point, points),
            // Late members are near in the first objective and more often dominate: look at them first.
            _ => self.members.iter().rev().any(|&member| dominates(&points[member], point)),
        }
    }

    /// Whether some step is at most `y` and `z`.
    fn covers(&self, y: f64, z: f64) -> bool {
        let after = self.stairs.partition_point(|step| step[0] <= y);
        after > 0 && self.stairs[after - 1][1] <= z
    }

    /// Whether the member that was added last equals `point`. Then nothing here dominates `point`, or it would
    /// have kept its equal out.
    fn holds_equal(&self, point: &[f64], points: &[Vec<f64>]) -> bool {
        self.members.last().is_some_and(|&last| points[last] == point)
    }

    fn push(&mut self, index: usize, points: &[Vec<f64>]) {
        self.members.push(index);
        if let [_, y, z] = points[index][..]
            && !self.covers(y, z)
        {
            let from = self.stairs.partition_point(|step| step[0] < y);
            let beaten = self.stairs[from..].partition_point(|step| step[1] >= z);
            self.stairs.splice(from..from + beaten, [[y, z]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::small_points;
    use super::*;
    use proptest::prelude::*;

    /// Peels front after front by the definition.
    fn ranks_by_definition(points: &[Vec<f64>]) -> Vec<usize> {
        let mut ranks = vec![usize::MAX; points.len()];
        for rank in 0..points.len() {
            let left: Vec<usize> = (0..points.len()).filter(|&i| ranks[i] == usize::MAX).collect();
            for &i in &left {
                if !left.iter().any(|&j| dominates(&points[j], &points[i])) {
                    ranks[i] = rank;
                }
            }
        }
        ranks
    }

    #[test]
    fn a_drawn_example() {
        let points = [[1.0, 5.0], [2.0, 2.0], [2.0, 2.0], [3.0, 3.0], [1.0, 6.0], [9.0, 9.0]].map(Vec::from);
        assert_eq!(non_dominated(&points).unwrap(), [0, 1, 2]);
        assert_eq!(rank(&points).unwrap(), [0, 0, 0, 1, 1, 2]);
        assert!(non_dominated(&[]).unwrap().is_empty() && rank(&[]).unwrap().is_empty());
    }

    #[test]
    fn negative_zero_equals_zero() {
        let points = [[0.0, 1.0, 1.0], [-0.0, 1.0, 1.0], [-0.0, 2.0, 1.0]].map(Vec::from);
        assert_eq!(rank(&points).unwrap(), [0, 0, 1]);
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(points in (1..7usize).prop_flat_map(|d| small_points(d, 24))) {
            let expected = ranks_by_definition(&points);
            prop_assert_eq!(&rank(&points).unwrap(), &expected);
            let front: Vec<usize> = (0..points.len()).filter(|&i| expected[i] == 0).collect();
            prop_assert_eq!(non_dominated(&points).unwrap(), front);
        }

        #[test]
        fn agrees_with_the_definition_without_ties(
            points in (1..7usize).prop_flat_map(|d| prop::collection::vec(prop::collection::vec(-1e9..1e9, d), 0..40)),
        ) {
            prop_assert_eq!(rank(&points).unwrap(), ranks_by_definition(&points));
        }
    }
}
