//! Points in objective space, checked once.

use std::ops::Index;
use std::slice::ChunksExact;

use crate::error::{Error, Result};

/// Points in objective space: rows of one length, at least 1, all values finite.
///
/// Whoever has `Points` has points that can be compared; no function that takes them checks them again. There may
/// be none, and then they have no number of objectives either.
///
/// ```
/// use paretomorph::pareto::Points;
///
/// let points = Points::new(&[[1.0, 5.0], [2.0, 3.0]])?;
/// assert_eq!((points.len(), points.objectives()), (2, 2));
/// assert_eq!(points[1], [2.0, 3.0]);
///
/// let error = Points::new(&[[1.0, 5.0], [2.0, f64::NAN]]).unwrap_err();
/// assert_eq!(error.to_string(), "point 1 has NaN as objective 1: expected a finite number");
/// # Ok::<(), paretomorph::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Points {
    /// Row after row.
    values: Vec<f64>,
    /// 0 only if there are no points.
    objectives: usize,
}

impl Points {
    /// One point a row.
    ///
    /// # Errors
    /// NaN, an infinity, a row of another length than the first or without objectives: [`Error::Usage`] names the
    /// point, counted from 0.
    pub fn new<R: AsRef<[f64]>>(rows: &[R]) -> Result<Self> {
        let objectives = rows.first().map_or(0, |row| row.as_ref().len());
        if !rows.is_empty() && objectives == 0 {
            return Err(Error::Usage("points without objectives cannot be compared".into()));
        }
        let mut values = Vec::with_capacity(rows.len() * objectives);
        for (index, row) in rows.iter().enumerate() {
            check(row.as_ref(), objectives)
                .map_err(|problem| Error::Usage(format!("point {index} {problem}")))?;
            values.extend_from_slice(row.as_ref());
        }
        Ok(Self { values, objectives })
    }

    /// From the values of all points, one point after the other.
    ///
    /// # Errors
    /// As [`Points::new`]; also if `values` is no whole number of points.
    pub fn from_flat(values: Vec<f64>, objectives: usize) -> Result<Self> {
        if values.is_empty() {
            return Ok(Self::default());
        }
        if objectives == 0 || !values.len().is_multiple_of(objectives) {
            let found = values.len();
            return Err(Error::Usage(format!("{found} values are no points of {objectives} objectives")));
        }
        if values.iter().any(|value| !value.is_finite()) {
            let rows: Vec<&[f64]> = values.chunks_exact(objectives).collect();
            return Self::new(&rows); // finds the place
        }
        Ok(Self { values, objectives })
    }

    /// Points of values that are known to be finite and whole points.
    pub(super) fn checked(values: Vec<f64>, objectives: usize) -> Self {
        debug_assert!(Self::from_flat(values.clone(), objectives).is_ok());
        Self { objectives: if values.is_empty() { 0 } else { objectives }, values }
    }

    /// How many points.
    #[inline]
    pub fn len(&self) -> usize {
        self.rows().len()
    }

    /// Whether there is no point.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// How many objectives each point has; 0 if there are no points.
    #[inline]
    pub fn objectives(&self) -> usize {
        self.objectives
    }

    /// The points in the order given, each a slice of [`Points::objectives`] values.
    #[inline]
    pub fn rows(&self) -> ChunksExact<'_, f64> {
        self.values.chunks_exact(self.objectives.max(1))
    }

    /// The points of these indices.
    pub(super) fn select(&self, indices: &[usize]) -> Self {
        Self::checked(indices.iter().flat_map(|&index| &self[index]).copied().collect(), self.objectives)
    }

    /// The values in one objective, point after point.
    #[inline]
    pub(super) fn column(&self, objective: usize) -> impl Iterator<Item = f64> {
        self.rows().map(move |row| row[objective])
    }

    /// Checks that `point`, called `name` in errors, could be one of these points.
    pub(super) fn check_alike(&self, name: &str, point: &[f64]) -> Result<()> {
        let objectives = if self.is_empty() { point.len() } else { self.objectives };
        check(point, objectives).map_err(|problem| Error::Usage(format!("{name} {problem}")))
    }

    /// Checks that `others`, called `name` in errors, have as many objectives.
    pub(super) fn check_comparable(&self, name: &str, others: &Self) -> Result<()> {
        let (found, expected) = (others.objectives, self.objectives);
        if found == expected {
            return Ok(());
        }
        Err(Error::Usage(format!("{name} have {found} objectives: expected {expected}")))
    }
}

impl Index<usize> for Points {
    type Output = [f64];

    #[inline]
    fn index(&self, index: usize) -> &[f64] {
        &self.values[index * self.objectives..][..self.objectives]
    }
}

/// What is wrong with a point that should have so many finite values, as the end of a sentence.
fn check(point: &[f64], objectives: usize) -> std::result::Result<(), String> {
    if point.len() != objectives {
        return Err(format!("has {} objectives: expected {objectives}", point.len()));
    }
    match point.iter().position(|value| !value.is_finite()) {
        Some(objective) => {
            Err(format!("has {} as objective {objective}: expected a finite number", point[objective]))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_that_cannot_be_compared_are_refused_by_name() {
        let message = |rows: &[Vec<f64>]| Points::new(rows).unwrap_err().to_string();
        assert!(message(&[vec![0.0, 1.0], vec![0.0, f64::NAN]]).contains("point 1 has NaN as objective 1"));
        assert!(message(&[vec![f64::INFINITY, 1.0]]).contains("point 0 has inf as objective 0"));
        assert!(message(&[vec![0.0, 1.0], vec![0.0]]).contains("point 1 has 1 objectives: expected 2"));
        assert!(message(&[vec![], vec![]]).contains("without objectives"));
    }

    #[test]
    fn flat_values_are_checked_alike() {
        let rows = [[0.0, 1.0], [2.0, 3.0]];
        assert_eq!(Points::from_flat(rows.concat(), 2).unwrap(), Points::new(&rows).unwrap());
        let message = |values: &[f64], n| Points::from_flat(values.to_vec(), n).unwrap_err().to_string();
        assert!(message(&[0.0, 1.0, f64::NEG_INFINITY, 0.0], 2).contains("point 1 has -inf as objective 0"));
        assert!(message(&[0.0, 1.0, 2.0], 2).contains("3 values are no points of 2 objectives"));
        assert!(message(&[0.0], 0).contains("no points of 0 objectives"));
    }

    #[test]
    fn no_points_are_points_too() {
        let none = Points::new::<[f64; 2]>(&[]).unwrap();
        assert_eq!((none.len(), none.objectives(), none.rows().count()), (0, 0, 0));
        assert!(none.is_empty() && none == Points::from_flat(vec![], 3).unwrap());
    }
}
