//! Sampling inversely to a kernel density: how LEMONADE spreads a population along its cheap objectives
//! (Elsken, Metzen, Hutter, ICLR 2019, section 3.3).
//!
//! Where members crowd, each is less likely to be a parent; where the front is thin, more. Densities of far
//! points are too small for `f64`, so everything is computed in logarithms.

use std::f64::consts::TAU;

use rand::distr::Open01;
use rand::{Rng, RngExt};

use crate::error::{Error, Result};
use crate::pareto::Points;

/// A Gaussian kernel density over points in R^d, with one bandwidth a dimension.
///
/// The points are logarithms of objectives: a search cares for ratios, "twice the parameters".
#[derive(Debug, Clone, PartialEq)]
pub struct Kde {
    points: Vec<Vec<f64>>,
    bandwidth: Vec<f64>,
    /// Logarithm of points x (2 pi)^(d/2) x product of the bandwidths.
    log_normaliser: f64,
}

impl Kde {
    /// The smallest bandwidth: in logarithms, networks within a tenth of each other's size are neighbours.
    ///
    /// It makes one point, equal points and a dimension without variance ordinary cases.
    pub const FLOOR: f64 = 0.1;

    /// The density of `points`, with Scott's bandwidth h_j = s_j n^(-1/(d+4)) in dimension j, where s_j is the
    /// sample standard deviation (Scott, *Multivariate Density Estimation*, 1992, section 6.3), and at least
    /// [`Kde::FLOOR`].
    ///
    /// # Errors
    /// No points, NaN or infinite coordinates, points of different lengths.
    pub fn fit(points: &[Vec<f64>]) -> Result<Self> {
        let dimensions = Points::new(points)?.objectives();
        if points.is_empty() {
            return Err(Error::Usage("a density needs at least one point".into()));
        }
        let shrink = (points.len() as f64).powf(-1.0 / (dimensions as f64 + 4.0));
        let scott = |j| shrink * standard_deviation(points, j);
        let bandwidth: Vec<f64> = (0..dimensions).map(|j| scott(j).max(Self::FLOOR)).collect();
        let log_bandwidths: f64 = bandwidth.iter().map(|h| h.ln()).sum();
        let log_normaliser = (points.len() as f64).ln() + 0.5 * dimensions as f64 * TAU.ln() + log_bandwidths;
        Ok(Self { points: points.to_vec(), bandwidth, log_normaliser })
    }

    /// The logarithm of the density at `x` (d coordinates), by log-sum-exp; finite, however far `x` is.
    pub fn log_density(&self, x: &[f64]) -> f64 {
        let exponents: Vec<f64> = self.points.iter().map(|point| self.exponent(point, x)).collect();
        (log_sum_exp(&exponents) - self.log_normaliser).max(f64::MIN)
    }

    /// p(i) proportional to 1 / density(points\[i\]), summing to 1: LEMONADE's distribution of parents, over the
    /// population, and of accepted children, over the proposals.
    ///
    /// A probability underflows to 0 where another point is sparser by a factor of 1e308 or more.
    pub fn inverse_density_probabilities(&self, points: &[Vec<f64>]) -> Vec<f64> {
        let log_weights: Vec<f64> = points.iter().map(|point| -self.log_density(point)).collect();
        let largest = log_weights.iter().copied().fold(f64::MIN, f64::max);
        let weights: Vec<f64> = log_weights.iter().map(|weight| (weight - largest).exp()).collect();
        let total: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / total).collect()
    }

    /// The exponent of the kernel around `point` at `x`.
    fn exponent(&self, point: &[f64], x: &[f64]) -> f64 {
        let scaled = point.iter().zip(x).zip(&self.bandwidth).map(|((point, x), h)| (x - point) / h);
        -0.5 * scaled.map(|z| z * z).sum::<f64>()
    }
}

/// The sample standard deviation in dimension `j`; 0 for one point. Scaled, so that no square overflows.
fn standard_deviation(points: &[Vec<f64>], j: usize) -> f64 {
    let count = points.len() as f64;
    let mean: f64 = points.iter().map(|point| point[j] / count).sum();
    let scale = points.iter().map(|point| (point[j] - mean).abs()).fold(0.0, f64::max);
    if scale == 0.0 || points.len() == 1 {
        return 0.0;
    }
    let squares: f64 = points.iter().map(|point| ((point[j] - mean) / scale).powi(2)).sum();
    scale * (squares / (count - 1.0)).sqrt()
}

fn log_sum_exp(exponents: &[f64]) -> f64 {
    let largest = exponents.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + exponents.iter().map(|exponent| (exponent - largest).exp()).sum::<f64>().ln()
}

/// Draws `k` different indices of `weights`, one after the other, each with probability proportional to its
/// weight among those that are left; all indices, in the order drawn, if there are fewer than `k`.
///
/// Weights need no sum. Those that are zero (or negative, or NaN) come last, in uniformly random order.
/// Takes one random number an index, whatever `k` is. The method: adding Gumbel noise to the log weights and
/// sorting draws just that sequence (Efraimidis and Spirakis 2006; Yellott 1977).
pub fn sample_without_replacement(weights: &[f64], k: usize, rng: &mut impl Rng) -> Vec<usize> {
    let mut keys: Vec<(f64, f64, usize)> = Vec::with_capacity(weights.len());
    for (index, weight) in weights.iter().enumerate() {
        let uniform: f64 = rng.sample(Open01);
        let gumbel = -(-uniform.ln()).ln();
        keys.push((weight.max(0.0).ln() + gumbel, gumbel, index));
    }
    // The noise alone orders the weights whose logarithm is minus infinity.
    keys.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1)));
    keys.into_iter().take(k).map(|(_, _, index)| index).collect()
}

/// Draws `k` indices of `weights` independently, each with probability proportional to its weight; none if
/// `weights` is empty. Weights as in [`sample_without_replacement`].
pub fn sample_with_replacement(weights: &[f64], k: usize, rng: &mut impl Rng) -> Vec<usize> {
    (0..k).flat_map(|_| sample_without_replacement(weights, 1, rng)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;
    use proptest::prelude::*;

    fn points(dimensions: usize) -> impl Strategy<Value = Vec<Vec<f64>>> {
        let scale = prop_oneof![Just(1e-12), Just(1.0), Just(30.0), Just(1e6), Just(1e200)];
        let point = prop::collection::vec(-1.0..1.0f64, dimensions);
        (prop::collection::vec(point, 1..20), scale).prop_map(|(points, scale)| {
            points.into_iter().map(|point| point.into_iter().map(|x| x * scale).collect()).collect()
        })
    }

    #[test]
    fn log_densities_agree_with_scipy() {
        #[derive(serde::Deserialize)]
        struct Case {
            points: Vec<Vec<f64>>,
            queries: Vec<Vec<f64>>,
            log_density: Vec<f64>,
        }
        let cases: Vec<Case> = serde_json::from_str(include_str!("kde_reference.json")).unwrap();
        assert!(cases.len() >= 4);
        for case in &cases {
            let kde = Kde::fit(&case.points).unwrap();
            for (query, expected) in case.queries.iter().zip(&case.log_density) {
                let value = kde.log_density(query);
                assert!(
                    (value - expected).abs() <= 1e-9 * expected.abs().max(1.0),
                    "{value}, not {expected}"
                );
            }
        }
    }

    #[test]
    fn one_point_equal_points_and_no_variance_have_the_floor_as_bandwidth() {
        let at_the_peak = -Kde::FLOOR.ln() - 0.5 * TAU.ln();
        for members in [vec![vec![3.0]], vec![vec![3.0]; 5]] {
            let kde = Kde::fit(&members).unwrap();
            assert!((kde.log_density(&[3.0]) - at_the_peak).abs() < 1e-12);
        }
        let flat = Kde::fit(&[vec![0.0, 7.0], vec![9.0, 7.0]]).unwrap();
        assert!(flat.bandwidth[0] > 1.0 && flat.bandwidth[1] == Kde::FLOOR);
    }

    #[test]
    fn crowded_points_are_sampled_less() {
        let crowd = [[1.0], [1.1], [1.2], [1.1], [5.0]].map(Vec::from);
        let p = Kde::fit(&crowd).unwrap().inverse_density_probabilities(&crowd);
        assert!(p[..4].iter().all(|&crowded| crowded < p[4] / 2.0), "{p:?}");
    }

    #[test]
    fn no_points_and_nan_are_refused() {
        assert!(Kde::fit(&[]).unwrap_err().to_string().contains("at least one point"));
        assert!(Kde::fit(&[vec![f64::NAN]]).unwrap_err().to_string().contains("NaN"));
    }

    #[test]
    fn draws_follow_the_weights_one_after_the_other() {
        const DRAWS: usize = 40_000;
        let weights = [0.5, 0.3, 0.2];
        let mut rng = stream(1, "kde test", &[]);
        let mut counts = [[0.0; 3]; 3];
        for _ in 0..DRAWS {
            let drawn = sample_without_replacement(&weights, 2, &mut rng);
            counts[drawn[0]][drawn[1]] += 1.0 / DRAWS as f64;
        }
        for first in 0..3 {
            for second in (0..3).filter(|&second| second != first) {
                let expected = weights[first] * weights[second] / (1.0 - weights[first]);
                let share = counts[first][second];
                assert!((share - expected).abs() < 0.01, "{first} then {second}: {share}, not {expected}");
            }
        }
        let independent = sample_with_replacement(&weights, DRAWS, &mut rng);
        let zeros = independent.iter().filter(|&&index| index == 0).count() as f64 / DRAWS as f64;
        assert!((zeros - 0.5).abs() < 0.01, "{zeros}");
    }

    #[test]
    fn zero_weights_are_drawn_last_and_in_any_order() {
        let mut rng = stream(2, "kde test", &[]);
        let mut firsts = [0; 5];
        for _ in 0..300 {
            let drawn = sample_without_replacement(&[0.0, 1e-300, f64::NAN, 2.0, -1.0], 5, &mut rng);
            assert_eq!(drawn[..2], [3, 1]);
            firsts[drawn[2]] += 1;
        }
        assert!([0, 2, 4].iter().all(|&index| firsts[index] > 60), "{firsts:?}");
    }

    proptest! {
        #[test]
        fn probabilities_sum_to_one_and_fall_with_density(
            (members, queries) in (1..5usize).prop_flat_map(|d| (points(d), points(d))),
        ) {
            let kde = Kde::fit(&members).unwrap();
            let p = kde.inverse_density_probabilities(&queries);
            prop_assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            let density: Vec<f64> = queries.iter().map(|query| kde.log_density(query)).collect();
            prop_assert!(density.iter().all(|density| density.is_finite()));
            for i in 0..queries.len() {
                for j in 0..queries.len() {
                    prop_assert!(density[i] <= density[j] || p[i] <= p[j], "denser {} is likelier than {}", i, j);
                }
            }
        }

        #[test]
        fn samples_are_distinct_and_repeatable(
            weights in prop::collection::vec(0.0..1.0f64, 0..20), k in 0..25usize, seed: u64,
        ) {
            let draw = || sample_without_replacement(&weights, k, &mut stream(seed, "kde test", &[]));
            let mut drawn = draw();
            prop_assert_eq!(&drawn, &draw());
            prop_assert_eq!(drawn.len(), k.min(weights.len()));
            drawn.sort_unstable();
            drawn.dedup();
            prop_assert_eq!(drawn.len(), k.min(weights.len()));
        }
    }
}
