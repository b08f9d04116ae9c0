//! The union of boxes in three or more objectives, kept by the local upper bounds of the rest.

use std::{array, mem};

use super::hypervolume::Union;
use super::{Points, order};

/// Bounds that are looked at together for one that is found.
const LANES: usize = 16;

/// What some points dominate in their first `P` objectives, kept by the *local upper bounds* of what they leave: the
/// largest corners such that no point is strictly better in all objectives (Klamroth, Lacour and Vanderpooten 2015).
/// A bound has a *defining* point for each objective, whose value there is the bound's.
///
/// The rest is cut into disjoint boxes, one below each bound u: in objective j from the largest value there of the
/// defining points of the objectives before j, to `u_j` (Lacour, Klamroth and Fonseca 2017). What a new point
/// dominates of these boxes is what the union grows by: a sum of products, without a difference of volumes.
///
/// Points are compared by rank in each objective, of equal values the first point's being smaller, so that no two
/// are equal and the paper's "general position" holds. A box between two equal values has no volume.
pub(super) struct Boxes<const P: usize> {
    /// All points, then for each objective a far one: as bad as the reference there, and better than all elsewhere.
    points: Vec<[f64; P]>,
    ranks: Vec<[i32; P]>,
    /// Of each bound, the rank in each objective.
    bounds: [Vec<i32>; P],
    /// Of each bound, the place in `points` of the defining point of each objective.
    defining: Vec<[u32; P]>,
    /// Of each bound, -1 if the point that is being added is below it, otherwise 0.
    below: Vec<i32>,
    /// The bounds that it is below.
    found: Vec<usize>,
}

impl<const P: usize> Boxes<P> {
    /// An empty union, for `points` that are all inside of `reference`.
    pub(super) fn new(points: &Points, reference: &[f64]) -> Self {
        let count = points.len();
        let mut values: Vec<[f64; P]> = points.rows().map(|row| array::from_fn(|j| row[j])).collect();
        let mut ranks = vec![[-1; P]; count + P];
        for j in 0..P {
            let order = order::ascending(points.column(j));
            order.into_iter().zip(0..).for_each(|(index, rank)| ranks[index][j] = rank);
            values.push(array::from_fn(|k| if k == j { reference[j] } else { f64::NEG_INFINITY }));
            ranks[count + j][j] = i32::MAX;
        }
        let mut boxes = Self {
            points: values,
            ranks,
            bounds: array::from_fn(|_| Vec::new()),
            defining: Vec::new(),
            below: Vec::new(),
            found: Vec::new(),
        };
        boxes.push(array::from_fn(|j| (count + j) as u32));
        boxes
    }

    #[inline]
    fn push(&mut self, defining: [u32; P]) {
        for (j, bounds) in self.bounds.iter_mut().enumerate() {
            bounds.push(self.ranks[defining[j] as usize][j]);
        }
        self.defining.push(defining);
    }

    #[inline]
    fn remove(&mut self, bound: usize) -> [u32; P] {
        for bounds in &mut self.bounds {
            bounds.swap_remove(bound);
        }
        self.defining.swap_remove(bound)
    }

    /// Finds the bounds that `point` is strictly below, ascending.
    #[inline]
    fn find(&mut self, point: usize) {
        self.below.clear();
        self.below.resize(self.defining.len(), -1);
        // One objective after the other, all bounds at once: loops that become vectors.
        for (&rank, bounds) in self.ranks[point].iter().zip(&self.bounds) {
            self.below.iter_mut().zip(bounds).for_each(|(below, &bound)| *below &= -i32::from(rank < bound));
        }
        self.found.clear();
        for (start, below) in (0..).step_by(LANES).zip(self.below.chunks(LANES)) {
            if below.iter().fold(0, |any, below| any | below) != 0 {
                self.found
                    .extend((start..).zip(below).filter(|(_, below)| **below != 0).map(|(bound, _)| bound));
            }
        }
    }

    /// The volume of the part of the box of a bound that `point` dominates.
    #[inline]
    fn dominated(&self, defining: [u32; P], point: usize) -> f64 {
        let mut lower = self.points[point];
        let mut volume = 1.0;
        for (j, &definer) in defining.iter().enumerate() {
            let definer = &self.points[definer as usize];
            volume *= definer[j] - lower[j];
            for k in j + 1..P {
                lower[k] = if definer[k] > lower[k] { definer[k] } else { lower[k] };
            }
        }
        volume
    }

    /// Adds the bounds that take the place of a bound that `point` is below: in one objective the value of `point`,
    /// if that still is larger than those of the other defining points.
    #[inline]
    fn split(&mut self, defining: [u32; P], point: usize) {
        let mut reached = [-1; P];
        for (j, &definer) in defining.iter().enumerate() {
            let ranks = &self.ranks[definer as usize];
            for k in (0..P).filter(|&k| k != j) {
                reached[k] = reached[k].max(ranks[k]);
            }
        }
        for j in 0..P {
            if self.ranks[point][j] > reached[j] {
                let mut child = defining;
                child[j] = point as u32;
                self.push(child);
            }
        }
    }
}

impl<const P: usize> Union for Boxes<P> {
    fn grow(&mut self, _: &Points, index: usize) -> f64 {
        self.find(index);
        let found = mem::take(&mut self.found);
        let mut growth = 0.0;
        // From the last on: a removed bound gives its place to the last one, which is none that is still to come.
        for &bound in found.iter().rev() {
            let defining = self.remove(bound);
            growth += self.dominated(defining, index);
            self.split(defining, index);
        }
        self.found = found;
        growth
    }
}
