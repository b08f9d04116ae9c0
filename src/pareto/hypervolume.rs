//! Hypervolume: the part of objective space that a set of points dominates, up to a reference point.

use super::boxes::Boxes;
use super::stairs::Stairs;
use super::{Points, finite, order};
use crate::error::Result;

/// The exact volume that `points` dominate below `reference`, in any number of objectives.
///
/// A point that is not strictly better than the reference in every objective adds nothing, and neither does a
/// dominated or repeated one. No point at all: 0.
///
/// The points are taken in the order of their last objective, best first; each is worth what it adds to the part of
/// the other objectives that is dominated already, times its distance from the reference in the last. With n points
/// and d objectives:
///
/// | d | what is dominated already | time |
/// |---|---|---|
/// | 1, 2 | a length | O(n log n) |
/// | 3 | a staircase (Fonseca, Paquete and López-Ibáñez 2006) | O(n log n), but for the shifting of a sorted vector |
/// | 4 to 8 | the local upper bounds of the rest (Lacour, Klamroth and Fonseca 2017, HBDA-NI) | O(n^(⌊(d-1)/2⌋+1)) at worst, as shown in the paper |
/// | 9 and more | one objective less for each point (While, Bradstreet and Barone 2012, WFG) | exponential in d at worst |
///
/// Memory is linear in n up to 4 objectives, and O(n^⌊(d-1)/2⌋) at worst up to 8.
///
/// # Errors
/// A reference point of another length or not finite; a volume that is too large for `f64`.
///
/// ```
/// use paretomorph::pareto::{Points, hypervolume};
///
/// let points = Points::new(&[[1.0, 3.0], [2.0, 1.0]])?;
/// assert_eq!(hypervolume(&points, &[4.0, 4.0])?, 7.0); // 3x1 and 2x3, which share 2x1
/// # Ok::<(), paretomorph::Error>(())
/// ```
pub fn hypervolume(points: &Points, reference: &[f64]) -> Result<f64> {
    points.check_alike("the reference point", reference)?;
    finite("hypervolume", volume(&points.select(&inside(points, reference)), reference))
}

/// The indices of the points that are strictly better than `reference` in every objective.
pub(super) fn inside(points: &Points, reference: &[f64]) -> Vec<usize> {
    let better = |row: &[f64]| row.iter().zip(reference).all(|(value, reference)| value < reference);
    points.rows().enumerate().filter(|(_, row)| better(row)).map(|(index, _)| index).collect()
}

/// The volume of `points`, which are all inside of `reference`.
pub(super) fn volume(points: &Points, reference: &[f64]) -> f64 {
    let Some(last) = points.objectives().checked_sub(1) else { return 0.0 };
    let order = order::ascending(points.column(last));
    match last {
        0 => reference[0] - points[order[0]][0],
        1 => sweep(points, reference, &order, Length { best: reference[0] }),
        2 => sweep(points, reference, &order, Area::new(reference)),
        3 => sweep(points, reference, &order, Boxes::<3>::new(points, reference)),
        4 => sweep(points, reference, &order, Boxes::<4>::new(points, reference)),
        5 => sweep(points, reference, &order, Boxes::<5>::new(points, reference)),
        6 => sweep(points, reference, &order, Boxes::<6>::new(points, reference)),
        7 => sweep(points, reference, &order, Boxes::<7>::new(points, reference)),
        _ => sweep(points, reference, &order, Slices { earlier: Vec::new(), reference }),
    }
}

/// What is dominated, in all objectives but the last, by the points that were added.
pub(super) trait Union {
    /// Adds a point; by how much that makes the union larger.
    fn grow(&mut self, points: &Points, index: usize) -> f64;
}

fn sweep(points: &Points, reference: &[f64], order: &[usize], mut union: impl Union) -> f64 {
    let last = reference.len() - 1;
    order.iter().map(|&index| union.grow(points, index) * (reference[last] - points[index][last])).sum()
}

/// One objective.
struct Length {
    best: f64,
}

impl Union for Length {
    fn grow(&mut self, points: &Points, index: usize) -> f64 {
        let value = points[index][0];
        let growth = (self.best - value).max(0.0);
        self.best = self.best.min(value);
        growth
    }
}

/// Two objectives.
struct Area {
    stairs: Stairs,
    reference: [f64; 2],
}

impl Area {
    fn new(reference: &[f64]) -> Self {
        Self { stairs: Stairs::default(), reference: [reference[0], reference[1]] }
    }
}

impl Union for Area {
    fn grow(&mut self, points: &Points, index: usize) -> f64 {
        let point = [points[index][0], points[index][1]];
        let Some(place) = self.stairs.place(point) else { return 0.0 };
        let growth = self.stairs.growth(place.clone(), point, self.reference);
        self.stairs.put(place, point);
        growth
    }
}

/// Any number of objectives, each point's growth computed from scratch.
struct Slices<'a> {
    earlier: Vec<usize>,
    reference: &'a [f64],
}

impl Union for Slices<'_> {
    fn grow(&mut self, points: &Points, index: usize) -> f64 {
        let objectives = self.reference.len() - 1;
        let earlier = self.earlier.iter().map(|&earlier| &points[earlier][..objectives]);
        let growth = exclusive(&points[index][..objectives], earlier, &self.reference[..objectives]);
        self.earlier.push(index);
        growth
    }
}

/// The volume that `point` dominates and none of `others`: its own, less what they dominate of it.
pub(super) fn exclusive<'a>(
    point: &[f64],
    others: impl Iterator<Item = &'a [f64]>,
    reference: &[f64],
) -> f64 {
    let Some(front) = front_within(&blocks(point), others) else { return 0.0 };
    let own: f64 = point.iter().zip(reference).map(|(point, reference)| reference - point).product();
    let rows = front.chunks_exact(point.len().div_ceil(BLOCK));
    let values = rows.flat_map(|row| &row.as_flattened()[..point.len()]).copied().collect();
    own - volume(&Points::checked(values, point.len()), reference)
}

/// Values that are compared together, which is quicker than to stop at the first that decides.
const BLOCK: usize = 4;

/// A point in blocks, filled up with zeros.
fn blocks(point: &[f64]) -> Vec<[f64; BLOCK]> {
    let mut blocks = vec![[0.0; BLOCK]; point.len().div_ceil(BLOCK)];
    blocks.as_flattened_mut()[..point.len()].copy_from_slice(point);
    blocks
}

/// The front of `points` cut to the box above `corner`, point after point; None if it is `corner` itself.
fn front_within<'a>(
    corner: &[[f64; BLOCK]],
    points: impl Iterator<Item = &'a [f64]>,
) -> Option<Vec<[f64; BLOCK]>> {
    let mut front: Vec<[f64; BLOCK]> = Vec::new();
    let mut cut = corner.to_vec();
    for point in points {
        cut.copy_from_slice(corner);
        for (cut, &value) in cut.as_flattened_mut().iter_mut().zip(point) {
            *cut = if value > *cut { value } else { *cut };
        }
        if cut == corner {
            return None;
        }
        if !front.chunks_exact(cut.len()).any(|row| covers(row, &cut)) {
            drop_covered(&mut front, &cut);
            front.extend_from_slice(&cut);
        }
    }
    Some(front)
}

/// Whether `a` is at least as good as `b` in every objective.
#[inline]
fn covers(a: &[[f64; BLOCK]], b: &[[f64; BLOCK]]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.iter().zip(b).fold(true, |all, (a, b)| all & (a <= b)))
}

/// Drops what `point` covers.
fn drop_covered(front: &mut Vec<[f64; BLOCK]>, point: &[[f64; BLOCK]]) {
    let mut length = 0;
    for start in (0..front.len()).step_by(point.len()) {
        let row = start..start + point.len();
        if !covers(point, &front[row.clone()]) {
            front.copy_within(row, length);
            length += point.len();
        }
    }
    front.truncate(length);
}

#[cfg(test)]
mod tests {
    use super::super::tests::small_rows;
    use super::*;
    use proptest::prelude::*;

    /// Counts the unit cells of the grid below `reference` that some point dominates.
    fn count_cells(rows: &[Vec<f64>], objectives: usize, reference: usize) -> f64 {
        let cells = reference.pow(objectives as u32);
        let corner =
            |cell: usize| (0..objectives).map(move |k| (cell / reference.pow(k as u32) % reference) as f64);
        let dominated =
            |&cell: &usize| rows.iter().any(|row| row.iter().zip(corner(cell)).all(|(p, c)| *p <= c));
        (0..cells).filter(dominated).count() as f64
    }

    fn inclusion_exclusion(rows: &[Vec<f64>], reference: &[f64]) -> f64 {
        let mut total = 0.0;
        for subset in 1u32..1 << rows.len() {
            let chosen = rows.iter().enumerate().filter(|(i, _)| subset >> i & 1 == 1).map(|(_, row)| row);
            let worst = chosen.fold(vec![f64::MIN; reference.len()], |worst, row| {
                worst.iter().zip(row).map(|(a, b)| a.max(*b)).collect()
            });
            let shared: f64 = worst.iter().zip(reference).map(|(w, r)| (r - w).max(0.0)).product();
            total += if subset.count_ones() % 2 == 1 { shared } else { -shared };
        }
        total
    }

    fn of(rows: &[Vec<f64>], reference: &[f64]) -> f64 {
        hypervolume(&Points::new(rows).unwrap(), reference).unwrap()
    }

    #[test]
    fn points_at_or_beyond_the_reference_add_nothing() {
        let rows = [[1.0, 1.0], [2.0, 0.5], [0.0, 3.0], [-5.0, 2.0]].map(Vec::from);
        assert_eq!(of(&rows, &[2.0, 2.0]), 1.0);
        assert_eq!(of(&[], &[2.0, 2.0]), 0.0);
        assert_eq!(of(&rows[1..], &[2.0, 2.0]), 0.0);
    }

    #[test]
    fn a_reference_that_does_not_fit_is_refused() {
        let points = Points::new(&[[0.0, 0.0]]).unwrap();
        let message = |reference: &[f64]| hypervolume(&points, reference).unwrap_err().to_string();
        assert!(message(&[1.0]).contains("the reference point has 1 objectives: expected 2"));
        assert!(message(&[1.0, f64::INFINITY]).contains("the reference point has inf"));
        assert!(message(&[1e200, 1e200]).contains("exceeds f64"));
    }

    proptest! {
        #[test]
        fn counts_cells_exactly(rows in (1..8usize).prop_flat_map(|d| small_rows(d, 0..16))) {
            let objectives = rows.first().map_or(2, Vec::len);
            let expected = count_cells(&rows, objectives, 4);
            prop_assert_eq!(of(&rows, &vec![4.0; objectives]), expected);
        }

        #[test]
        fn agrees_with_inclusion_exclusion(
            rows in (1..12usize).prop_flat_map(|d| prop::collection::vec(prop::collection::vec(0.0..1.0, d), 1..9)),
        ) {
            let reference = vec![0.9; rows[0].len()];
            let expected = inclusion_exclusion(&rows, &reference);
            let value = of(&rows, &reference);
            prop_assert!((value - expected).abs() <= 1e-12, "{} {}", value, expected);
        }

        /// Enough points for whole vectors of bounds, against another algorithm.
        #[test]
        fn agrees_with_slices(rows in (2..7usize).prop_flat_map(|d| small_rows(d, 20..60))) {
            let points = Points::new(&rows).unwrap();
            let reference = vec![5.0; points.objectives()];
            let order = order::ascending(points.column(points.objectives() - 1));
            let slices = Slices { earlier: Vec::new(), reference: &reference };
            prop_assert_eq!(of(&rows, &reference), sweep(&points, &reference, &order, slices));
        }

        #[test]
        fn does_not_depend_on_the_order(rows in (1..7usize).prop_flat_map(|d| small_rows(d, 1..30))) {
            let reference = vec![5.0; rows[0].len()];
            let reversed: Vec<Vec<f64>> = rows.iter().rev().cloned().collect();
            prop_assert_eq!(of(&rows, &reference), of(&reversed, &reference));
        }

        #[test]
        fn a_further_point_never_takes_volume(rows in small_rows(4, 0..12), further in small_rows(4, 0..2)) {
            let reference = [5.0; 4];
            let before = of(&rows, &reference);
            prop_assert!(of(&[rows, further].concat(), &reference) >= before);
        }
    }
}
