//! Medians, quartiles, tests and intervals over the seeds of a study.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// The middle half of some numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quartiles {
    /// A quarter lies below.
    pub low: f64,
    /// The median.
    pub median: f64,
    /// A quarter lies above.
    pub high: f64,
}

/// The quartiles of `values`, interpolated linearly between order statistics, as NumPy does; none of no values.
pub fn quartiles(values: &[f64]) -> Option<Quartiles> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let at = |share: f64| {
        let place = share * last as f64;
        let below = sorted[place.floor() as usize];
        below + place.fract() * (sorted[place.ceil() as usize] - below)
    };
    Some(Quartiles { low: at(0.25), median: at(0.5), high: at(0.75) })
}

/// The probability that two samples of one distribution differ as much as `a` and `b`: Wilcoxon's rank-sum test, two-sided (the
/// same as Mann and Whitney's U). Exact for samples of at most 20 without ties, else by the normal approximation with corrections
/// for ties and continuity. 1 where there is nothing to compare.
pub fn rank_sum(a: &[f64], b: &[f64]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return 1.0;
    }
    // How often the one is larger than the other; a tie counts half.
    let wins = |x: f64| {
        b.iter()
            .map(|&y| {
                if x > y {
                    1.0
                } else if x == y {
                    0.5
                } else {
                    0.0
                }
            })
            .sum::<f64>()
    };
    let u: f64 = a.iter().map(|&x| wins(x)).sum();
    let pairs = (a.len() * b.len()) as f64;
    let u = u.max(pairs - u);
    let ties = ties(a, b);
    let tail = match ties == 0.0 && a.len().max(b.len()) <= EXACT {
        true => exact_tail(u, a.len(), b.len()),
        false => normal_tail(u, a.len(), b.len(), ties),
    };
    (2.0 * tail).min(1.0)
}

/// The largest sample for which the test is exact.
const EXACT: usize = 20;

/// The sum of t^3 - t over the groups of t equal values.
fn ties(a: &[f64], b: &[f64]) -> f64 {
    let mut all = [a, b].concat();
    all.sort_by(f64::total_cmp);
    all.chunk_by(|a, b| a == b).map(|group| (group.len() as f64).powi(3) - group.len() as f64).sum()
}

/// The probability of `u` or more, if every order of the values is as likely. The numbers of orders are the coefficients of the
/// Gaussian binomial, the product of (1 - x^(n + j)) / (1 - x^j) over j from 1 to m.
fn exact_tail(u: f64, m: usize, n: usize) -> f64 {
    let mut counts = vec![0.0f64; m * n + 1];
    counts[0] = 1.0;
    for j in 1..=m {
        for place in (n + j..counts.len()).rev() {
            counts[place] -= counts[place - n - j];
        }
        for place in j..counts.len() {
            counts[place] += counts[place - j];
        }
    }
    counts[u as usize..].iter().sum::<f64>() / counts.iter().sum::<f64>()
}

fn normal_tail(u: f64, m: usize, n: usize, ties: f64) -> f64 {
    let (m, n) = (m as f64, n as f64);
    let all = m + n;
    let variance = m * n / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    match variance > 0.0 {
        true => 0.5 * libm::erfc((u - 0.5 * m * n - 0.5) / (2.0 * variance).sqrt()),
        false => 0.5,
    }
}

/// Probabilities corrected for their number (Holm 1979), in their order.
pub fn holm(probabilities: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]));
    let (mut corrected, mut largest) = (vec![1.0; probabilities.len()], 0.0f64);
    for (rank, place) in order.into_iter().enumerate() {
        largest = largest.max((probabilities.len() - rank) as f64 * probabilities[place]).min(1.0);
        corrected[place] = largest;
    }
    corrected
}

/// The interval that holds `statistic` of 95 of 100 resamples of `runs` (the percentile bootstrap, Efron 1979). A statistic that
/// is infinite in a resample counts as such.
pub fn bootstrap<T>(
    (a, b): (&[T], &[T]),
    statistic: impl Fn(&[&T], &[&T]) -> f64,
    rng: &mut ChaCha8Rng,
) -> (f64, f64) {
    let mut resample =
        |runs: &'_ [T]| -> Vec<usize> { (0..runs.len()).map(|_| rng.random_range(0..runs.len())).collect() };
    let mut values: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let (of_a, of_b) = (resample(a), resample(b));
            statistic(&pick(&of_a, a), &pick(&of_b, b))
        })
        .collect();
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[((RESAMPLES - 1) as f64 * share).round() as usize];
    (at(0.025), at(0.975))
}

const RESAMPLES: usize = 2000;

fn pick<'a, T>(places: &[usize], all: &'a [T]) -> Vec<&'a T> {
    places.iter().map(|&place| &all[place]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_those_of_numpy() {
        // numpy.percentile([1, 2, 4, 8, 16, 32], [25, 50, 75])
        let found = quartiles(&[8.0, 1.0, 32.0, 4.0, 2.0, 16.0]).unwrap();
        assert_eq!(found, Quartiles { low: 2.5, median: 6.0, high: 14.0 });
        assert!(quartiles(&[]).is_none());
    }

    #[test]
    fn the_rank_sum_test_is_that_of_scipy() {
        // scipy.stats.mannwhitneyu(a, b, alternative="two-sided", method="exact" and "asymptotic"), SciPy 1.17.1
        let (a, b) = ([1.0, 2.5, 3.1, 4.7, 9.0], [2.0, 5.5, 6.1, 7.3, 8.2]);
        assert!((rank_sum(&a, &b) - 0.420_634_920_634_920_64).abs() < 1e-12, "{}", rank_sum(&a, &b));
        let (a, b) = ([1.0, 2.0, 2.0, 3.0, 4.0, 4.0], [2.0, 4.0, 5.0, 6.0, 6.0]);
        assert!((rank_sum(&a, &b) - 0.076_550_849_369_853_42).abs() < 1e-9, "{}", rank_sum(&a, &b));
        assert_eq!([rank_sum(&[], &[1.0]), rank_sum(&[2.0, 2.0], &[2.0])], [1.0, 1.0]);
    }

    #[test]
    fn holm_multiplies_the_least_by_their_number_and_never_turns_back() {
        // R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
        let found = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (found, expected) in found.into_iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    #[test]
    fn a_bootstrap_interval_holds_the_mean_and_narrows_with_more_runs() {
        let mut rng = crate::rng::stream(0, "bootstrap", &[]);
        let mean = |runs: &[&f64], _: &[&f64]| runs.iter().copied().sum::<f64>() / runs.len() as f64;
        let mut width = |count: usize| {
            let runs: Vec<f64> = (0..count).map(|run| (run % 10) as f64).collect();
            let (low, high) = bootstrap((&runs, &runs), mean, &mut rng);
            assert!(low < 4.5 && 4.5 < high, "{low} {high}");
            high - low
        };
        assert!(width(1000) < 0.2 * width(10));
    }
}
