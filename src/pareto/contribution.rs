//! Contributions: how much of the hypervolume would be lost without a point.

use std::ops::Range;

use super::hypervolume::{exclusive, inside};
use super::stairs::{Stairs, replace};
use super::{Points, finite, order};
use crate::error::{Error, Result};

/// For each point, the volume that it dominates below `reference` and no other point does: by how much the
/// hypervolume falls if the point is taken away.
///
/// A dominated or repeated point and one that is not strictly better than the reference have 0. Dominated points
/// count among the others: a point contributes only what nobody would dominate without it. (moocore's
/// `hv_contributions` by default leaves dominated points out first; on a front there is no difference.)
///
/// With n points and d objectives: O(n log n) for d up to 3, but for the shifting of sorted vectors; above that n
/// times the hypervolume of what the others dominate of a point's box, which few of them bound.
///
/// # Errors
/// Those of [`hypervolume`](super::hypervolume()).
///
/// ```
/// use paretomorph::pareto::{Points, contributions};
///
/// let points = Points::new(&[[1.0, 3.0], [2.0, 1.0], [3.0, 3.5]])?;
/// assert_eq!(contributions(&points, &[4.0, 4.0])?, [1.0, 4.0, 0.0]);
/// # Ok::<(), paretomorph::Error>(())
/// ```
pub fn contributions(points: &Points, reference: &[f64]) -> Result<Vec<f64>> {
    points.check_alike("the reference point", reference)?;
    let indices = inside(points, reference);
    let mut volumes = vec![0.0; points.len()];
    for (index, volume) in indices.iter().zip(shares(&points.select(&indices), reference)) {
        volumes[*index] = finite("hypervolume", volume)?;
    }
    Ok(volumes)
}

/// The volume that the points of `subset` dominate below `reference` and no point outside of `subset` does: by how
/// much the hypervolume falls if all of them are taken away. At least the sum of their [`contributions`].
///
/// `subset` holds indices of `points`; one that is there twice counts once. Takes as long as the hypervolumes of
/// what all points dominate of the box of each in `subset`.
///
/// # Errors
/// Those of [`hypervolume`](super::hypervolume()); an index that no point has.
///
/// ```
/// use paretomorph::pareto::{Points, contribution};
///
/// let points = Points::new(&[[1.0, 3.0], [2.0, 1.0], [3.0, 3.5]])?;
/// assert_eq!(contribution(&points, &[0, 1], &[4.0, 4.0])?, 6.5); // all but what the third point keeps
/// # Ok::<(), paretomorph::Error>(())
/// ```
pub fn contribution(points: &Points, subset: &[usize], reference: &[f64]) -> Result<f64> {
    points.check_alike("the reference point", reference)?;
    let mut taken = vec![false; points.len()];
    for &index in subset {
        let known = taken.get_mut(index);
        let none = || Error::Usage(format!("there is no point {index} among {}", points.len()));
        *known.ok_or_else(none)? = true;
    }
    let (chosen, mut others): (Vec<usize>, Vec<usize>) =
        inside(points, reference).into_iter().partition(|&index| taken[index]);
    let mut total = 0.0;
    for index in chosen {
        total += exclusive(&points[index], others.iter().map(|&other| &points[other]), reference);
        others.push(index);
    }
    finite("hypervolume", total)
}

/// The exclusive volumes of `points`, which are all inside of `reference`.
fn shares(points: &Points, reference: &[f64]) -> Vec<f64> {
    let Some(last) = points.objectives().checked_sub(1) else { return Vec::new() };
    let order = order::ascending(points.column(last));
    match last {
        0 => line(points, reference, &order),
        1 => sweep(points, reference, &order, Lengths::new(reference)),
        2 => sweep(points, reference, &order, Areas::new(reference)),
        _ => {
            let others = |index| (0..points.len()).filter(move |&other| other != index);
            let rows = |index| others(index).map(|other| &points[other]);
            (0..points.len()).map(|index| exclusive(&points[index], rows(index), reference)).collect()
        }
    }
}

/// One objective: the best point has what lies before the second.
fn line(points: &Points, reference: &[f64], order: &[usize]) -> Vec<f64> {
    let mut volumes = vec![0.0; points.len()];
    let second = order.get(1).map_or(reference[0], |&second| points[second][0]);
    volumes[order[0]] = second - points[order[0]][0];
    volumes
}

/// What each of the points that were added dominates alone, in all objectives but the last.
trait Exclusive {
    /// Adds a point and enters in the ledger what has changed.
    fn add(&mut self, points: &Points, index: usize, ledger: &mut Ledger);
}

/// Goes through the last objective, best first. Points that are equal there are added one after the other, with no
/// volume between them.
fn sweep(points: &Points, reference: &[f64], order: &[usize], mut union: impl Exclusive) -> Vec<f64> {
    let last = reference.len() - 1;
    let mut ledger = Ledger { now: 0.0, entries: vec![Entry::default(); points.len()] };
    for &index in order {
        ledger.now = points[index][last];
        union.add(points, index, &mut ledger);
    }
    ledger.now = reference[last];
    (0..points.len()).for_each(|index| ledger.set(index, 0.0));
    ledger.entries.into_iter().map(|entry| entry.volume).collect()
}

/// Volumes from sizes that change on the way.
struct Ledger {
    now: f64,
    entries: Vec<Entry>,
}

#[derive(Clone, Default)]
struct Entry {
    volume: f64,
    size: f64,
    since: f64,
}

impl Ledger {
    /// From now on, what the point dominates alone has this size.
    #[inline]
    fn set(&mut self, index: usize, size: f64) {
        let entry = &mut self.entries[index];
        entry.volume += entry.size * (self.now - entry.since);
        (entry.size, entry.since) = (size, self.now);
    }
}

/// One objective: the best point has what lies before the second.
struct Lengths {
    best: Option<usize>,
    first: f64,
    second: f64,
}

impl Lengths {
    fn new(reference: &[f64]) -> Self {
        Self { best: None, first: reference[0], second: reference[0] }
    }
}

impl Exclusive for Lengths {
    fn add(&mut self, points: &Points, index: usize, ledger: &mut Ledger) {
        let value = points[index][0];
        if value >= self.second {
            return;
        }
        if value < self.first {
            self.best.replace(index).into_iter().for_each(|former| ledger.set(former, 0.0));
            self.second = std::mem::replace(&mut self.first, value);
        } else {
            self.second = value;
        }
        self.best.into_iter().for_each(|best| ledger.set(best, self.second - self.first));
    }
}

/// Two objectives: what one point dominates alone lies between the outline of what any point dominates and the
/// outline of what two do. Neighbours on the first outline share the corner between them, so that each step of it
/// has its own part.
struct Areas {
    first: Stairs,
    /// The point of each step of `first`.
    owners: Vec<usize>,
    second: Stairs,
    reference: [f64; 2],
}

impl Areas {
    fn new(reference: &[f64]) -> Self {
        let reference = [reference[0], reference[1]];
        Self { first: Stairs::default(), owners: Vec::new(), second: Stairs::default(), reference }
    }

    /// Enters the areas that the points of these steps dominate alone.
    #[inline]
    fn measure(&self, steps: Range<usize>, ledger: &mut Ledger) {
        let (mut height, mut below) = self.second.from(self.first.steps()[steps.start][0]);
        height = height.min(self.reference[1]);
        for step in steps {
            let [mut left, floor] = self.first.steps()[step];
            let right = self.first.steps().get(step + 1).map_or(self.reference[0], |next| next[0]);
            let mut area = 0.0;
            while let Some((&[x, y], rest)) = below.split_first().filter(|(next, _)| next[0] < right) {
                area += (x - left) * (height - floor);
                (left, height, below) = (x, y, rest);
            }
            ledger.set(self.owners[step], area + (right - left) * (height - floor));
        }
    }

    /// A point that the outline covers: if by two points, nothing changes; if by one, that one has less for itself.
    fn add_covered(&mut self, point: [f64; 2], ledger: &mut Ledger) {
        if !self.second.covers(point) {
            self.second.add(point);
            let step = self.first.steps().partition_point(|step| step[0] <= point[0]) - 1;
            self.measure(step..step + 1, ledger);
        }
    }
}

impl Exclusive for Areas {
    fn add(&mut self, points: &Points, index: usize, ledger: &mut Ledger) {
        let point = [points[index][0], points[index][1]];
        let Some(place) = self.first.place(point) else { return self.add_covered(point, ledger) };
        // What the outline has in common with the new point's quadrant is now dominated twice.
        let around = place.start.saturating_sub(1)..self.first.steps().len().min(place.end + 1);
        let shared = self.first.steps()[around].iter().map(|&[x, y]| [x.max(point[0]), y.max(point[1])]);
        self.second.add_all(shared);
        self.owners[place.clone()].iter().for_each(|&former| ledger.set(former, 0.0));
        replace(&mut self.owners, place.clone(), index);
        self.first.put(place.clone(), point);
        self.measure(place.start.saturating_sub(1)..self.owners.len().min(place.start + 2), ledger);
    }
}

#[cfg(test)]
mod tests {
    use super::super::hypervolume;
    use super::super::tests::small_rows;
    use super::*;
    use proptest::prelude::*;

    /// What the hypervolume loses if the points whose indices `taken` names are taken away.
    fn by_definition(points: &Points, taken: &[usize], reference: &[f64]) -> f64 {
        let left: Vec<usize> = (0..points.len()).filter(|index| !taken.contains(index)).collect();
        hypervolume(points, reference).unwrap() - hypervolume(&points.select(&left), reference).unwrap()
    }

    #[test]
    fn subsets_that_do_not_fit_are_refused() {
        let points = Points::new(&[[0.0, 0.0]]).unwrap();
        let message = |subset: &[usize], reference: &[f64]| {
            contribution(&points, subset, reference).unwrap_err().to_string()
        };
        assert!(message(&[0, 1], &[1.0, 1.0]).contains("there is no point 1 among 1"));
        assert!(message(&[0], &[1.0, f64::NAN]).contains("the reference point has NaN"));
        assert!(contributions(&points, &[1.0]).is_err());
        assert!(contributions(&points, &[1e200, 1e200]).unwrap_err().to_string().contains("exceeds f64"));
    }

    #[test]
    fn no_points_contribute_nothing() {
        let none = Points::default();
        assert!(contributions(&none, &[1.0, 1.0]).unwrap().is_empty());
        assert_eq!(contribution(&none, &[], &[1.0, 1.0]).unwrap(), 0.0);
    }

    proptest! {
        /// Whole coordinates: every volume is exact.
        #[test]
        fn every_point_contributes_what_would_be_lost(rows in (1..7usize).prop_flat_map(|d| small_rows(d, 0..24))) {
            let points = Points::new(&rows).unwrap();
            let reference = vec![4.0; points.objectives()];
            let expected: Vec<f64> =
                (0..points.len()).map(|index| by_definition(&points, &[index], &reference)).collect();
            prop_assert_eq!(contributions(&points, &reference).unwrap(), expected);
        }

        #[test]
        fn close_points_without_ties(
            rows in (1..5usize).prop_flat_map(|d| prop::collection::vec(prop::collection::vec(0.0..1.0, d), 1..40)),
        ) {
            let points = Points::new(&rows).unwrap();
            let reference = vec![0.9; points.objectives()];
            for (index, value) in contributions(&points, &reference).unwrap().into_iter().enumerate() {
                let expected = by_definition(&points, &[index], &reference);
                prop_assert!((value - expected).abs() <= 1e-13, "{} {}", value, expected);
            }
        }

        #[test]
        fn a_subset_contributes_what_would_be_lost(
            rows in (1..6usize).prop_flat_map(|d| small_rows(d, 1..16)),
            subset in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let points = Points::new(&rows).unwrap();
            let reference = vec![4.0; points.objectives()];
            let subset: Vec<usize> = subset.iter().map(|index| index.index(rows.len())).collect();
            let expected = by_definition(&points, &subset, &reference);
            prop_assert_eq!(contribution(&points, &subset, &reference).unwrap(), expected);
        }
    }
}
