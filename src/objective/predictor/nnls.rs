//! Least squares with coefficients of 0 or more.

/// Sweeps over the coefficients at most; far more than it takes.
const SWEEPS: usize = 20_000;
/// The change in a sweep, relative to the largest coefficient, from which on it is done.
const TOLERANCE: f64 = 1e-12;

/// The `x >= 0` with the smallest `|rows x - targets|^2 + ridge |x|^2`, by coordinate descent (Franc, Hlavac and Navara,
/// "Sequential coordinate-wise algorithm for the non-negative least squares problem", CAIP 2005). With a ridge above 0
/// there is one alone.
pub(super) fn non_negative<const N: usize>(rows: &[[f64; N]], targets: &[f64], ridge: f64) -> [f64; N] {
    let products = |j: usize, k: usize| rows.iter().map(|row| row[j] * row[k]).sum::<f64>();
    let gram: [[f64; N]; N] = std::array::from_fn(|j| std::array::from_fn(|k| products(j, k)));
    let right: [f64; N] = std::array::from_fn(|j| rows.iter().zip(targets).map(|(row, b)| row[j] * b).sum());
    let mut x = [0.0f64; N];
    for _ in 0..SWEEPS {
        let mut change = 0.0f64;
        for j in 0..N {
            let curvature = gram[j][j] + ridge;
            let others: f64 = (0..N).filter(|&k| k != j).map(|k| gram[j][k] * x[k]).sum();
            let best = if curvature > 0.0 { ((right[j] - others) / curvature).max(0.0) } else { 0.0 };
            change = change.max((best - x[j]).abs());
            x[j] = best;
        }
        if change <= TOLERANCE * x.iter().copied().fold(0.0, f64::max) {
            break;
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coefficients_agree_with_scipy() {
        #[derive(serde::Deserialize)]
        struct Case {
            rows: Vec<[f64; 5]>,
            targets: Vec<f64>,
            ridge: f64,
            x: [f64; 5],
        }
        #[derive(serde::Deserialize)]
        struct Reference {
            least_squares: Vec<Case>,
        }
        let reference: Reference = serde_json::from_str(include_str!("reference.json")).unwrap();
        assert!(reference.least_squares.len() >= 4);
        for case in &reference.least_squares {
            let x = non_negative(&case.rows, &case.targets, case.ridge);
            let largest = case.x.iter().copied().fold(0.0, f64::max);
            for (ours, theirs) in x.iter().zip(&case.x) {
                assert!((ours - theirs).abs() <= 1e-8 * largest, "{x:?} {:?}", case.x);
            }
        }
        let zero = |case: &Case| case.x.iter().filter(|&&x| x == 0.0).count();
        assert!(reference.least_squares.iter().any(|case| zero(case) > 0), "some bound holds");
    }
}
