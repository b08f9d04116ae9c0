//! Non-dominated sorting.

use super::Points;
use super::dominators::{Dominance, NumberSet};
use super::order::Distinct;
use super::stairs::Stairs;

/// The indices of the points that no other point dominates, ascending.
///
/// All of several equal points are kept: none dominates another, and which one to keep is the caller's choice.
/// Takes at most as long as [`rank`].
///
/// ```
/// use paretomorph::pareto::{Points, non_dominated};
///
/// let points = Points::new(&[[1.0, 5.0], [2.0, 2.0], [3.0, 3.0], [2.0, 2.0]])?;
/// assert_eq!(non_dominated(&points), [0, 1, 3]);
/// # Ok::<(), paretomorph::Error>(())
/// ```
pub fn non_dominated(points: &Points) -> Vec<usize> {
    let ranks = first_ranks(points, 1);
    (0..points.len()).filter(|&index| ranks[index] == 0).collect()
}

/// The front of each point: 0 for the non-dominated, 1 for those that only front 0 dominates, and so on (the
/// non-dominated sorting of NSGA-II, Deb et al. 2002, III.A). Equal points have equal ranks.
///
/// Points are taken in lexicographic order, so that none is dominated by a later one. Whether a front dominates a
/// point falls from yes to no along the fronts, so the point's own is found by bisection (ENS-BS, Zhang et al.
/// 2015). With n points, d objectives and f fronts:
///
/// | d | what is known of a front | time |
/// |---|---|---|
/// | 1, 2 | its best value in the last objective (Jensen 2003) | O(n log n) |
/// | 3 | the staircase of its last two objectives | O(n log n log f), but for the shifting of sorted vectors |
/// | 4 and more | its members as a set of bits, to meet the set of the point's dominators (as in Moreno et al. 2021, MNDS) | O(n² (d + log f) / 64) |
///
/// Memory is linear in n, but from 4 objectives on up to n² / 16 bytes for fronts that are long and many.
///
/// ```
/// use paretomorph::pareto::{Points, rank};
///
/// let points = Points::new(&[[1.0, 5.0], [2.0, 2.0], [3.0, 3.0], [2.0, 2.0]])?;
/// assert_eq!(rank(&points), [0, 0, 1, 0]);
/// # Ok::<(), paretomorph::Error>(())
/// ```
pub fn rank(points: &Points) -> Vec<usize> {
    first_ranks(points, usize::MAX)
}

/// The ranks below `most`, and `most` for all that have a higher one.
fn first_ranks(points: &Points, most: usize) -> Vec<usize> {
    let Distinct { indices, numbers } = Distinct::new(points);
    let rows = indices.iter().map(|&index| &points[index]);
    let ranks: Vec<usize> = match points.objectives() {
        0..=2 => {
            let mut fronts = Fronts::<Best>::new(most);
            rows.map(|row| fronts.add(row[row.len() - 1])).collect()
        }
        3 => {
            let mut fronts = Fronts::<Stairs>::new(most);
            rows.map(|row| fronts.add([row[1], row[2]])).collect()
        }
        _ => {
            let mut fronts = Fronts::<NumberSet>::new(most);
            let mut ranks = Vec::with_capacity(indices.len());
            Dominance::new(points, &indices).each(|number, set| ranks.push(fronts.add((number, set))));
            ranks
        }
    };
    numbers.into_iter().map(|number| ranks[number]).collect()
}

/// Fronts that grow by points in lexicographic order, all different.
struct Fronts<F> {
    fronts: Vec<F>,
    most: usize,
}

impl<F: Default> Fronts<F> {
    fn new(most: usize) -> Self {
        Self { fronts: Vec::new(), most }
    }

    /// The rank of `point`, which becomes a member of its front.
    fn add<P: Copy>(&mut self, point: P) -> usize
    where
        F: Front<P>,
    {
        let rank = self.fronts.partition_point(|front| front.dominates(point));
        if rank == self.fronts.len() && rank < self.most {
            self.fronts.push(F::default());
        }
        if let Some(front) = self.fronts.get_mut(rank) {
            front.push(point);
        }
        rank
    }
}

/// Mutually non-dominated points, and of each point `P` what is left to compare in lexicographic order.
trait Front<P> {
    /// Whether a member dominates `point`, which comes later.
    fn dominates(&self, point: P) -> bool;
    fn push(&mut self, point: P);
}

/// The last member of a front in two objectives has the best value in the second.
struct Best(f64);

impl Default for Best {
    fn default() -> Self {
        Self(f64::INFINITY)
    }
}

impl Front<f64> for Best {
    fn dominates(&self, value: f64) -> bool {
        self.0 <= value
    }

    fn push(&mut self, value: f64) {
        self.0 = value;
    }
}

impl Front<[f64; 2]> for Stairs {
    fn dominates(&self, values: [f64; 2]) -> bool {
        self.covers(values)
    }

    fn push(&mut self, values: [f64; 2]) {
        self.add(values);
    }
}

/// A point is its number and the set of its dominators.
impl Front<(usize, &[u64])> for NumberSet {
    fn dominates(&self, (_, dominators): (usize, &[u64])) -> bool {
        self.meets(dominators)
    }

    fn push(&mut self, (number, _): (usize, &[u64])) {
        self.push(number);
    }
}

#[cfg(test)]
mod tests {
    use super::super::dominates;
    use super::super::tests::small_rows;
    use super::*;
    use proptest::prelude::*;

    /// Peels front after front by the definition.
    fn ranks_by_definition(rows: &[Vec<f64>]) -> Vec<usize> {
        let mut ranks = vec![usize::MAX; rows.len()];
        for rank in 0..rows.len() {
            let left: Vec<usize> = (0..rows.len()).filter(|&i| ranks[i] == usize::MAX).collect();
            for &i in &left {
                if !left.iter().any(|&j| dominates(&rows[j], &rows[i])) {
                    ranks[i] = rank;
                }
            }
        }
        ranks
    }

    #[test]
    fn a_drawn_example() {
        let rows = [[1.0, 5.0], [2.0, 2.0], [2.0, 2.0], [3.0, 3.0], [1.0, 6.0], [9.0, 9.0]];
        let points = Points::new(&rows).unwrap();
        assert_eq!(non_dominated(&points), [0, 1, 2]);
        assert_eq!(rank(&points), [0, 0, 0, 1, 1, 2]);
        let none = Points::default();
        assert!(non_dominated(&none).is_empty() && rank(&none).is_empty());
    }

    #[test]
    fn negative_zero_equals_zero() {
        for objectives in 1..6 {
            let row = |first: f64, last: f64| {
                let mut row = vec![1.0; objectives];
                row[0] = first;
                *row.last_mut().unwrap() += last;
                row
            };
            let rows = [row(0.0, 0.0), row(-0.0, 0.0), row(-0.0, 1.0)];
            assert_eq!(rank(&Points::new(&rows).unwrap()), [0, 0, 1]);
        }
    }

    /// A chain needs as many fronts as points, and more points than are computed together.
    #[test]
    fn a_chain_has_a_front_a_point() {
        let rows: Vec<[f64; 4]> = (0..1500).map(|i| [f64::from(i); 4]).collect();
        assert!(rank(&Points::new(&rows).unwrap()).into_iter().eq(0..1500));
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(rows in (1..7usize).prop_flat_map(|d| small_rows(d, 0..24))) {
            let expected = ranks_by_definition(&rows);
            let points = Points::new(&rows).unwrap();
            prop_assert_eq!(&rank(&points), &expected);
            let front: Vec<usize> = (0..rows.len()).filter(|&i| expected[i] == 0).collect();
            prop_assert_eq!(non_dominated(&points), front);
        }

        #[test]
        fn agrees_with_the_definition_without_ties(
            rows in (1..7usize).prop_flat_map(|d| prop::collection::vec(prop::collection::vec(-1e9..1e9, d), 0..150)),
        ) {
            prop_assert_eq!(rank(&Points::new(&rows).unwrap()), ranks_by_definition(&rows));
        }
    }
}
