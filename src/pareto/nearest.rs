//! For each point of a reference front, the smallest distance to a point of a set.

use super::Points;
use crate::error::{Error, Result};

/// Points that are compared together, as vectors.
const LANES: usize = 8;

/// Points to be near to. A distance starts at `start` and takes in one objective after the other by
/// `add(distance, value, reference value)`.
pub(super) struct Nearest<F> {
    /// [`LANES`] points together, one objective after the other; the last point fills up the last block.
    blocks: Vec<[f64; LANES]>,
    start: f64,
    add: F,
}

impl<F: Fn(f64, f64, f64) -> f64> Nearest<F> {
    /// Checks that `points` and `front` can be compared.
    ///
    /// # Errors
    /// No points on one side, or different numbers of objectives.
    pub(super) fn new(points: &Points, front: &Points, start: f64, add: F) -> Result<Self> {
        if points.is_empty() || front.is_empty() {
            let which = if points.is_empty() { "set" } else { "reference front" };
            return Err(Error::Usage(format!("the {which} has no points: expected at least one")));
        }
        points.check_comparable("the points of the reference front", front)?;
        let last = points.len() - 1;
        let lanes = |start: usize, j: usize| std::array::from_fn(|lane| points[last.min(start + lane)][j]);
        let starts = (0..points.len()).step_by(LANES);
        let blocks =
            starts.flat_map(|start| (0..points.objectives()).map(move |j| lanes(start, j))).collect();
        Ok(Self { blocks, start, add })
    }

    /// The smallest distance of a point to `reference`, or any distance that is at most `enough`. O(n d).
    pub(super) fn distance(&self, reference: &[f64], enough: f64) -> f64 {
        let mut smallest = f64::INFINITY;
        for block in self.blocks.chunks_exact(reference.len()) {
            let mut distances = [self.start; LANES];
            for (values, &reference) in block.iter().zip(reference) {
                distances
                    .iter_mut()
                    .zip(values)
                    .for_each(|(d, &value)| *d = (self.add)(*d, value, reference));
            }
            smallest = distances.into_iter().fold(smallest, |a, b| if b < a { b } else { a });
            if smallest <= enough {
                break;
            }
        }
        smallest
    }
}
