//! Hypervolume: the part of objective space that a set of points dominates, up to a reference point.

use super::{check, check_point, dominates};
use crate::error::{Error, Result};

/// The exact volume that `points` dominate below `reference`, in any number of objectives.
///
/// A point that is not strictly better than the reference in every objective adds nothing, and neither does a
/// dominated or repeated one. No point at all: 0. Sweeps for up to three objectives, O(n log n) but for the
/// shifting of a sorted vector; above that WFG (While, Bradstreet and Barone 2012), exponential in the
/// objectives in the worst case and quick for the fronts of a search.
///
/// # Errors
/// Those of this module (NaN, infinities, different lengths), for `points` and for `reference`; a volume that
/// is too large for `f64`.
pub fn hypervolume(points: &[Vec<f64>], reference: &[f64]) -> Result<f64> {
    check(points)?;
    let objectives = points.first().map_or(reference.len(), Vec::len);
    check_point(reference, objectives)
        .map_err(|problem| Error::Usage(format!("the reference point {problem}")))?;
    let gains = points.iter().map(|point| gain(point, reference));
    let inside = gains.filter(|gain| gain.iter().all(|&gain| gain > 0.0)).collect();
    let volume = volume(inside, objectives);
    if volume.is_finite() { Ok(volume) } else { Err(Error::Usage("the hypervolume exceeds f64".into())) }
}

/// How far `point` is below `reference` in each objective. From here on larger is better, and each point's own
/// volume is the product of its gains.
fn gain(point: &[f64], reference: &[f64]) -> Vec<f64> {
    point.iter().zip(reference).map(|(value, reference)| reference - value).collect()
}

/// The volume of the union of the boxes from 0 to each of `gains`, in their first `objectives` coordinates.
fn volume(mut gains: Vec<Vec<f64>>, objectives: usize) -> f64 {
    let last = objectives.saturating_sub(1);
    gains.sort_unstable_by(|a, b| b[last].total_cmp(&a[last]));
    match objectives {
        0 => 0.0,
        1 => gains.first().map_or(0.0, |best| best[0]),
        2 => area(&gains),
        3 => sweep(&gains),
        _ => exclusive_volumes(&gains, last),
    }
}

/// Two objectives, sorted by the second, best first: every further point widens the lower part.
fn area(gains: &[Vec<f64>]) -> f64 {
    let (mut widest, mut area) = (0.0, 0.0);
    for gain in gains {
        if gain[0] > widest {
            area += (gain[0] - widest) * gain[1];
            widest = gain[0];
        }
    }
    area
}

/// Three objectives, sorted by the third, best first: slices between neighbouring heights, each with the area
/// of the points above it.
fn sweep(gains: &[Vec<f64>]) -> f64 {
    let mut stairs = Stairs::default();
    let mut volume = 0.0;
    for (index, gain) in gains.iter().enumerate() {
        stairs.add(gain[0], gain[1]);
        let below = gains.get(index + 1).map_or(0.0, |next| next[2]);
        volume += stairs.area * (gain[2] - below);
    }
    volume
}

/// The outline of a union of rectangles from the origin: widths ascending, heights descending.
#[derive(Default)]
struct Stairs {
    steps: Vec<[f64; 2]>,
    area: f64,
}

impl Stairs {
    fn add(&mut self, width: f64, height: f64) {
        let after = self.steps.partition_point(|step| step[0] < width);
        if self.steps.get(after).is_some_and(|step| step[1] >= height) {
            return;
        }
        let equal = usize::from(self.steps.get(after).is_some_and(|step| step[0] == width));
        let from = self.steps[..after].partition_point(|step| step[1] > height);
        self.area += self.growth(from, after, width, height);
        self.steps.splice(from..after + equal, [[width, height]]);
    }

    /// The area of the new rectangle outside of the union; it covers the steps `from..after`.
    fn growth(&self, from: usize, after: usize, width: f64, height: f64) -> f64 {
        let mut left = if from > 0 { self.steps[from - 1][0] } else { 0.0 };
        let mut growth = 0.0;
        for step in &self.steps[from..after] {
            growth += (step[0] - left) * (height - step[1]);
            left = step[0];
        }
        let beyond = self.steps.get(after).map_or(0.0, |step| step[1]);
        growth + (width - left) * (height - beyond)
    }
}

/// Four objectives or more, sorted by the last, best first. A point's exclusive volume, seen from those before
/// it: they reach at least as far in the last objective, so cut to the point's own box they all end where it
/// does, and what is left to compute has one objective fewer.
fn exclusive_volumes(gains: &[Vec<f64>], last: usize) -> f64 {
    let exclusive = |(index, gain): (usize, &Vec<f64>)| {
        let own: f64 = gain[..last].iter().product();
        (own - volume(cut(&gains[..index], &gain[..last]), last)) * gain[last]
    };
    gains.iter().enumerate().map(exclusive).sum()
}

/// `gains` cut to the box of `corner`, without those that another covers.
fn cut(gains: &[Vec<f64>], corner: &[f64]) -> Vec<Vec<f64>> {
    let mut kept: Vec<Vec<f64>> = Vec::new();
    for gain in gains {
        let cut: Vec<f64> = corner.iter().zip(gain).map(|(corner, gain)| corner.min(*gain)).collect();
        if !kept.iter().any(|other| covers(other, &cut)) {
            kept.retain(|other| !dominates(other, &cut)); // smaller gains: the roles are turned round
            kept.push(cut);
        }
    }
    kept
}

fn covers(outer: &[f64], inner: &[f64]) -> bool {
    outer.iter().zip(inner).all(|(outer, inner)| outer >= inner)
}

#[cfg(test)]
mod tests {
    use super::super::tests::small_points;
    use super::*;
    use proptest::prelude::*;

    /// Counts the unit cells of the grid below `reference` that some point dominates.
    fn count_cells(points: &[Vec<f64>], objectives: usize, reference: usize) -> f64 {
        let cells = reference.pow(objectives as u32);
        let corner =
            |cell: usize| (0..objectives).map(move |k| (cell / reference.pow(k as u32) % reference) as f64);
        let dominated =
            |&cell: &usize| points.iter().any(|p| p.iter().zip(corner(cell)).all(|(p, c)| *p <= c));
        (0..cells).filter(dominated).count() as f64
    }

    fn inclusion_exclusion(points: &[Vec<f64>], reference: &[f64]) -> f64 {
        let mut total = 0.0;
        for subset in 1u32..1 << points.len() {
            let chosen = points.iter().enumerate().filter(|(i, _)| subset >> i & 1 == 1).map(|(_, p)| p);
            let worst = chosen.fold(vec![f64::MIN; reference.len()], |worst, point| {
                worst.iter().zip(point).map(|(a, b)| a.max(*b)).collect()
            });
            let shared: f64 = worst.iter().zip(reference).map(|(w, r)| (r - w).max(0.0)).product();
            total += if subset.count_ones() % 2 == 1 { shared } else { -shared };
        }
        total
    }

    #[test]
    fn agrees_with_moocore() {
        #[derive(serde::Deserialize)]
        struct Case {
            points: Vec<Vec<f64>>,
            reference: Vec<f64>,
            hypervolume: f64,
            ranks: Vec<usize>,
        }
        let cases: Vec<Case> = serde_json::from_str(include_str!("reference.json")).unwrap();
        assert!(cases.len() >= 12);
        for (index, case) in cases.iter().enumerate() {
            let value = hypervolume(&case.points, &case.reference).unwrap();
            let error = (value - case.hypervolume).abs();
            assert!(error <= 1e-12 * case.hypervolume, "case {index}: {value}, not {}", case.hypervolume);
            assert_eq!(super::super::rank(&case.points).unwrap(), case.ranks, "case {index}");
        }
    }

    #[test]
    fn points_at_or_beyond_the_reference_add_nothing() {
        let points = [[1.0, 1.0], [2.0, 0.5], [0.0, 3.0], [-5.0, 2.0]].map(Vec::from);
        assert_eq!(hypervolume(&points, &[2.0, 2.0]).unwrap(), 1.0);
        assert_eq!(hypervolume(&[], &[2.0, 2.0]).unwrap(), 0.0);
    }

    #[test]
    fn a_reference_that_does_not_fit_is_refused() {
        let message = |reference: &[f64]| hypervolume(&[vec![0.0, 0.0]], reference).unwrap_err().to_string();
        assert!(message(&[1.0]).contains("the reference point has 1 objectives: expected 2"));
        assert!(message(&[1.0, f64::INFINITY]).contains("the reference point has inf"));
        assert!(message(&[1e200, 1e200]).contains("exceeds f64"));
    }

    proptest! {
        #[test]
        fn counts_cells_exactly(points in (1..7usize).prop_flat_map(|d| small_points(d, 12))) {
            let objectives = points.first().map_or(2, Vec::len);
            let expected = count_cells(&points, objectives, 4);
            prop_assert_eq!(hypervolume(&points, &vec![4.0; objectives]).unwrap(), expected);
        }

        #[test]
        fn agrees_with_inclusion_exclusion(
            points in (1..8usize).prop_flat_map(|d| prop::collection::vec(prop::collection::vec(0.0..1.0, d), 1..9)),
        ) {
            let reference = vec![0.9; points[0].len()];
            let expected = inclusion_exclusion(&points, &reference);
            let value = hypervolume(&points, &reference).unwrap();
            prop_assert!((value - expected).abs() <= 1e-12, "{} {}", value, expected);
        }

        #[test]
        fn a_further_point_never_takes_volume(points in small_points(4, 12), point in small_points(4, 2)) {
            let reference = [5.0; 4];
            let before = hypervolume(&points, &reference).unwrap();
            let after = hypervolume(&[points, point].concat(), &reference).unwrap();
            prop_assert!(after >= before);
        }
    }
}
