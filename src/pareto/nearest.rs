//! For each point of a reference front, the smallest distance to a point of a set.

use super::Points;
use crate::error::{Error, Result};

/// Points that are compared together, as vectors.
const LANES: usize = 8;

/// The smallest distance of each of `fronts`' points to a point of `points`. A distance starts at `start` and takes in
/// one objective after the other by `add(distance, value, reference value)`.
///
/// O(n m d) for n points, m of the front and d objectives.
///
/// # Errors
/// No points on one side, or different numbers of objectives.
pub(super) fn distances(
    points: &Points,
    front: &Points,
    start: f64,
    add: impl Fn(f64, f64, f64) -> f64,
) -> Result<Vec<f64>> {
    if points.is_empty() || front.is_empty() {
        let which = if points.is_empty() { "set" } else { "reference front" };
        return Err(Error::Usage(format!("the {which} has no points: expected at least one")));
    }
    points.check_comparable("the points of the reference front", front)?;
    let blocks = blocks(points);
    let smallest = |reference: &[f64]| {
        let mut smallest = [f64::INFINITY; LANES];
        for block in blocks.chunks_exact(reference.len()) {
            let mut distances = [start; LANES];
            for (values, &reference) in block.iter().zip(reference) {
                distances.iter_mut().zip(values).for_each(|(d, &value)| *d = add(*d, value, reference));
            }
            smallest.iter_mut().zip(distances).for_each(|(s, d)| *s = if d < *s { d } else { *s });
        }
        smallest.into_iter().fold(f64::INFINITY, f64::min)
    };
    Ok(front.rows().map(smallest).collect())
}

/// [`LANES`] points together, one objective after the other; the last point fills up the last block.
fn blocks(points: &Points) -> Vec<[f64; LANES]> {
    let last = points.len() - 1;
    let lanes = |start: usize, j: usize| std::array::from_fn(|lane| points[last.min(start + lane)][j]);
    let starts = (0..points.len()).step_by(LANES);
    starts.flat_map(|start| (0..points.objectives()).map(move |j| lanes(start, j))).collect()
}
