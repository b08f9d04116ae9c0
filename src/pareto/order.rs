//! Orders of points, by integers that sort like their values: that is most of the time of a sweep.

use super::Points;

/// Integers in the order of the finite `value`s; -0 and 0 are equal.
#[inline]
fn key(value: f64) -> u64 {
    let bits = (value + 0.0).to_bits(); // -0 + 0 is 0
    let negative = ((bits as i64) >> 63) as u64;
    bits ^ (negative | 1 << 63)
}

/// The indices of `values`, the smallest value first; of equal ones, the first index first.
pub(super) fn ascending(values: impl Iterator<Item = f64>) -> Vec<usize> {
    sorted(values).into_iter().map(|(_, index)| index).collect()
}

/// The indices of `points` in lexicographic order; of equal points, the first index first. A point comes after
/// all that dominate it.
pub(super) fn lexicographic(points: &Points) -> Vec<usize> {
    if points.is_empty() {
        return Vec::new();
    }
    let mut keyed = sorted(points.column(0));
    for run in keyed.chunk_by_mut(|a, b| a.0 == b.0).filter(|run| run.len() > 1) {
        let keys = |&(_, index): &(u64, usize)| (points[index][1..].iter().map(|&value| key(value)), index);
        run.sort_unstable_by(|a, b| {
            let ((a, first), (b, second)) = (keys(a), keys(b));
            a.cmp(b).then(first.cmp(&second))
        });
    }
    keyed.into_iter().map(|(_, index)| index).collect()
}

/// The different ones among points, in lexicographic order and numbered by their place in it.
pub(super) struct Distinct {
    /// By number, the first point of its kind.
    pub(super) indices: Vec<usize>,
    /// By point.
    pub(super) numbers: Vec<usize>,
}

impl Distinct {
    pub(super) fn new(points: &Points) -> Self {
        let mut indices: Vec<usize> = Vec::with_capacity(points.len());
        let mut numbers = vec![0; points.len()];
        for index in lexicographic(points) {
            if indices.last().is_none_or(|&last| points[last] != points[index]) {
                indices.push(index);
            }
            numbers[index] = indices.len() - 1;
        }
        Self { indices, numbers }
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<(u64, usize)> {
    let mut keyed: Vec<(u64, usize)> = values.enumerate().map(|(index, value)| (key(value), index)).collect();
    keyed.sort_unstable();
    keyed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_the_values() {
        let values =
            [f64::MIN, -1.5, -f64::MIN_POSITIVE, -5e-324, 0.0, 5e-324, 1.0, 1.0 + f64::EPSILON, f64::MAX];
        assert!(values.map(key).is_sorted_by(|a, b| a < b));
        assert_eq!(key(-0.0), key(0.0));
    }

    #[test]
    fn ties_are_broken_by_the_next_objective_and_then_by_index() {
        let points = Points::new(&[[1.0, 2.0], [0.0, 3.0], [1.0, -2.0], [1.0, 2.0], [-0.0, 3.0]]).unwrap();
        assert_eq!(lexicographic(&points), [1, 4, 2, 0, 3]);
        assert_eq!(ascending(points.column(1)), [2, 0, 3, 1, 4]);
        let Distinct { indices, numbers } = Distinct::new(&points);
        assert_eq!((indices, numbers), (vec![1, 2, 0], vec![2, 0, 1, 2, 0]));
    }
}
