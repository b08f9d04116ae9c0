//! A predictor of latency, fitted to what was measured, for devices that are slow to reach: a sum over the layers of
//! what their kind of work costs. It only helps to choose children; what counts is measured.

mod features;
mod nnls;
mod rank;

use morphisms::Architecture;

use features::{COUNT, features};
pub use rank::rank_correlation;

/// How strongly coefficients are held near zero where the measurements do not tell them apart, relative to how strongly
/// the measurements speak.
const RIDGE: f64 = 1e-3;

/// What a unit of each feature costs.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictor {
    costs: [f64; COUNT],
}

impl Predictor {
    /// Fits to architectures with their measured values, which are above 0. Relative errors are squared, since a tenth of a
    /// small network's latency matters as much as a tenth of a large one's; no kind of work costs less than nothing.
    pub fn fit<'a>(measured: impl IntoIterator<Item = (&'a Architecture, f64)>) -> Self {
        let relative = |(architecture, value): (&Architecture, f64)| {
            features(architecture).map(|feature| feature / value)
        };
        let mut rows: Vec<[f64; COUNT]> = measured.into_iter().map(relative).collect();
        let scales = scales(&rows);
        for row in &mut rows {
            row.iter_mut().zip(&scales).for_each(|(feature, scale)| *feature /= scale);
        }
        let targets = vec![1.0; rows.len()];
        let scaled = nnls::non_negative(&rows, &targets, RIDGE * rows.len() as f64);
        Self { costs: std::array::from_fn(|feature| scaled[feature] / scales[feature]) }
    }

    /// The predicted value, above 0.
    pub fn predict(&self, architecture: &Architecture) -> f64 {
        let costs = features(architecture).into_iter().zip(self.costs);
        costs.map(|(feature, cost)| feature * cost).sum::<f64>().max(f64::MIN_POSITIVE)
    }
}

/// The root mean square of each column; 1 for one that is all zero.
fn scales(rows: &[[f64; COUNT]]) -> [f64; COUNT] {
    std::array::from_fn(|feature| {
        let squares: f64 = rows.iter().map(|row| row[feature] * row[feature]).sum();
        if squares > 0.0 { (squares / rows.len() as f64).sqrt() } else { 1.0 }
    })
}

#[cfg(test)]
mod tests {
    use morphisms::{Shape, catalog};

    use super::*;
    use crate::{rng, space};

    /// Networks as a search finds them.
    fn networks(count: usize) -> Vec<Architecture> {
        let mut rng = rng::stream(5, "predictor test", &[]);
        let mut networks = space::initial(Shape::map(1, 16, 16), 10).unwrap();
        while networks.len() < count {
            let from = &networks[networks.len() / 2];
            let next = space::random_edit(from, catalog::all(), "", &mut rng).unwrap();
            networks.push(next.unwrap().1);
        }
        networks
    }

    /// A device with a price for a multiply-add, a layer and a byte, and for starting.
    fn latency(architecture: &Architecture) -> f64 {
        let layers = architecture.nodes().len() as f64;
        0.05 + 2e-6 * architecture.macs() as f64
            + 0.01 * layers
            + 1e-6 * architecture.activation_memory() as f64
    }

    #[test]
    fn it_ranks_networks_that_it_has_not_seen() {
        let networks = networks(80);
        let measured = networks[..30].iter().map(|network| (network, latency(network)));
        let predictor = Predictor::fit(measured);
        assert!(predictor.costs.iter().all(|&cost| cost >= 0.0));
        let pairs = networks[30..].iter().map(|network| (predictor.predict(network), latency(network)));
        let pairs: Vec<(f64, f64)> = pairs.collect();
        let off = pairs.iter().map(|(predicted, true_value)| (predicted / true_value - 1.0).abs());
        assert!(off.fold(0.0, f64::max) < 0.3, "{pairs:?}");
        assert!(rank_correlation(&pairs).unwrap() > 0.95, "{pairs:?}");
    }

    #[test]
    fn one_measurement_and_equal_ones_are_ordinary_cases() {
        let networks = networks(4);
        let one = Predictor::fit([(&networks[0], 0.5)]);
        assert!((one.predict(&networks[0]) - 0.5).abs() < 1e-3);
        let equal = Predictor::fit([(&networks[0], 2.0), (&networks[0], 2.0)]);
        assert!((equal.predict(&networks[0]) - 2.0).abs() < 1e-2);
        let none = Predictor::fit([]);
        assert!(none.predict(&networks[0]) > 0.0);
    }
}
