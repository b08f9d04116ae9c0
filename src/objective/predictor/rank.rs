//! Whether two quantities order things alike.

/// Spearman's rank correlation of pairs, from -1 to 1: the correlation of their ranks, equal values sharing the mean of
/// theirs. None for fewer than two pairs, or where one side does not vary.
pub fn rank_correlation(pairs: &[(f64, f64)]) -> Option<f64> {
    let first = ranks(&pairs.iter().map(|pair| pair.0).collect::<Vec<_>>());
    let second = ranks(&pairs.iter().map(|pair| pair.1).collect::<Vec<_>>());
    let (mut together, mut squares) = (0.0, (0.0, 0.0));
    for (a, b) in first.iter().zip(&second) {
        together += a * b;
        squares = (squares.0 + a * a, squares.1 + b * b);
    }
    let scale = f64::sqrt(squares.0 * squares.1);
    (scale > 0.0).then(|| (together / scale).clamp(-1.0, 1.0))
}

/// The ranks of values, less their mean.
fn ranks(values: &[f64]) -> Vec<f64> {
    let below = |value: f64| values.iter().filter(|&&other| other < value).count() as f64;
    let equal = |value: f64| values.iter().filter(|&&other| other == value).count() as f64;
    let rank = |&value: &f64| below(value) + (equal(value) - values.len() as f64) / 2.0;
    values.iter().map(rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlations_agree_with_scipy() {
        #[derive(serde::Deserialize)]
        struct Case {
            pairs: Vec<(f64, f64)>,
            rho: f64,
        }
        #[derive(serde::Deserialize)]
        struct Reference {
            rank_correlation: Vec<Case>,
        }
        let reference: Reference = serde_json::from_str(include_str!("reference.json")).unwrap();
        assert!(reference.rank_correlation.len() >= 3);
        for case in &reference.rank_correlation {
            let rho = rank_correlation(&case.pairs).unwrap();
            assert!((rho - case.rho).abs() < 1e-12, "{rho}, not {}", case.rho);
        }
    }

    #[test]
    fn without_variation_there_is_none() {
        assert_eq!(rank_correlation(&[]), None);
        assert_eq!(rank_correlation(&[(1.0, 2.0)]), None);
        assert_eq!(rank_correlation(&[(1.0, 2.0), (1.0, 3.0)]), None);
    }
}
