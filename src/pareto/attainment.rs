//! Empirical attainment surfaces: what so many of several runs reached.

use super::{Points, order};
use crate::error::{Error, Result};

/// The attainment surfaces of several runs in two objectives: the k-th of n, at index k - 1, bounds the part of
/// objective space that at least k of the runs attained, which is to say in which a point of theirs is at most as large
/// in both objectives. The first is the best that any run found, the last what every run found, and the middle one the
/// median run (Grunert da Fonseca, Fonseca and Hall 2001; Fonseca, Guerreiro, López-Ibáñez and Paquete 2011 for the
/// computation).
///
/// A surface is a staircase, given by its lower left corners, a point each: the first objective ascends, the second
/// descends. A corner of a later surface need not be a point of any run. A run without points attains nothing, so that
/// surfaces can be empty.
///
/// Exact, in O(N (log N + n)) for N points of n runs together.
///
/// # Errors
/// A run with another number of objectives than two.
///
/// ```
/// use paretomorph::pareto::{Points, attainment_surfaces};
///
/// let runs = [Points::new(&[[1.0, 3.0], [3.0, 1.0]])?, Points::new(&[[2.0, 2.0]])?];
/// let surfaces = attainment_surfaces(&runs)?;
/// assert_eq!(surfaces[0], Points::new(&[[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])?);
/// assert_eq!(surfaces[1], Points::new(&[[2.0, 3.0], [3.0, 2.0]])?);
/// # Ok::<(), paretomorph::Error>(())
/// ```
pub fn attainment_surfaces(runs: &[Points]) -> Result<Vec<Points>> {
    let unfit = |(_, run): &(usize, &Points)| !run.is_empty() && run.objectives() != 2;
    if let Some((index, run)) = runs.iter().enumerate().find(unfit) {
        let found = run.objectives();
        return Err(Error::Usage(format!("run {index} has {found} objectives: attainment surfaces need 2")));
    }
    let points: Vec<([f64; 2], usize)> = (runs.iter().enumerate())
        .flat_map(|(index, run)| run.rows().map(move |row| ([row[0], row[1]], index)))
        .collect();
    let order = order::ascending(points.iter().map(|point| point.0[0]));
    let mut attained = Attained::new(runs.len());
    for ties in order.chunk_by(|&a, &b| points[a].0[0] == points[b].0[0]) {
        ties.iter().for_each(|&index| attained.lower(points[index].1, points[index].0[1]));
        attained.extend_surfaces(points[ties[0]].0[0]);
    }
    Ok(attained.surfaces.into_iter().map(|corners| Points::checked(corners, 2)).collect())
}

/// What has been attained up to some value of the first objective.
struct Attained {
    /// The smallest second value of each run.
    lowest: Vec<f64>,
    /// The same, ascending: the k-th is attained by k runs.
    sorted: Vec<f64>,
    /// The corners of each surface, value after value.
    surfaces: Vec<Vec<f64>>,
}

impl Attained {
    fn new(runs: usize) -> Self {
        let nothing = vec![f64::INFINITY; runs];
        Self { lowest: nothing.clone(), sorted: nothing, surfaces: vec![Vec::new(); runs] }
    }

    /// `run` has a point with the second value `value`.
    fn lower(&mut self, run: usize, value: f64) {
        let before = self.lowest[run];
        if value < before {
            self.lowest[run] = value;
            let from = self.sorted.partition_point(|other| *other < value);
            let to = self.sorted.partition_point(|other| *other < before);
            self.sorted[from..=to].rotate_right(1);
            self.sorted[from] = value;
        }
    }

    /// Every surface that has come down gets a corner at `x`.
    fn extend_surfaces(&mut self, x: f64) {
        for (surface, &value) in self.surfaces.iter_mut().zip(&self.sorted) {
            if surface.last().map_or(value.is_finite(), |&last| value < last) {
                surface.extend([x, value]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::small_points;
    use super::*;
    use proptest::prelude::*;

    /// How many of `runs` have a point that is at most as large as `place`.
    fn attaining(runs: &[Points], place: &[f64]) -> usize {
        let attains = |run: &&Points| run.rows().any(|row| row[0] <= place[0] && row[1] <= place[1]);
        runs.iter().filter(attains).count()
    }

    #[test]
    fn only_two_objectives() {
        let runs = [Points::default(), Points::new(&[[1.0, 2.0, 3.0]]).unwrap()];
        let message = attainment_surfaces(&runs).unwrap_err().to_string();
        assert!(message.contains("run 1 has 3 objectives: attainment surfaces need 2"), "{message}");
        assert!(attainment_surfaces(&[]).unwrap().is_empty());
        assert!(attainment_surfaces(&runs[..1]).unwrap()[0].is_empty());
    }

    proptest! {
        /// In every cell of the grid, and the corners are no more than are needed.
        #[test]
        fn agree_with_the_definition(runs in prop::collection::vec(small_points(2, 0..6), 1..7)) {
            let surfaces = attainment_surfaces(&runs).unwrap();
            prop_assert_eq!(surfaces.len(), runs.len());
            for (surface, level) in surfaces.iter().zip(1..) {
                for cell in 0..25 {
                    let place = [f64::from(cell / 5), f64::from(cell % 5)];
                    let within = attaining(std::slice::from_ref(surface), &place) == 1;
                    prop_assert_eq!(within, attaining(&runs, &place) >= level, "level {} at {:?}", level, place);
                }
                let rows: Vec<&[f64]> = surface.rows().collect();
                prop_assert!(rows.is_sorted_by(|a, b| a[0] < b[0] && a[1] > b[1]));
            }
        }
    }
}
