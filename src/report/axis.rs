//! Axes: from values to pixels, linear or logarithmic, with round numbers at the ticks.

use super::format;

/// An axis of a plot.
#[derive(Debug, Clone)]
pub struct Axis {
    scale: Scale,
    unit: String,
    /// Where the axis starts and ends; the start may be the larger one, as for a vertical axis.
    pixels: (f64, f64),
}

/// Bounds are in shown units (percent, not fractions); those of a logarithmic scale are powers of ten.
#[derive(Debug, Clone, Copy)]
enum Scale {
    Linear {
        low: f64,
        high: f64,
    },
    /// With `zero`, the first [`ZERO_SHARE`] of the axis belongs to values that have no logarithm.
    Log {
        low: f64,
        high: f64,
        zero: bool,
    },
}

/// Free room at both ends, as a share of the axis.
const PADDING: f64 = 0.06;
const ZERO_SHARE: f64 = 0.1;

impl Axis {
    /// An axis that shows all `values`. Logarithmic only if some value has a logarithm.
    pub fn new(values: &[f64], log: bool, unit: &str, pixels: (f64, f64)) -> Self {
        let shown: Vec<f64> =
            values.iter().map(|value| shown(unit, *value)).filter(|v| v.is_finite()).collect();
        let positive: Vec<f64> = shown.iter().copied().filter(|value| *value > 0.0).map(f64::log10).collect();
        let scale = if log && !positive.is_empty() {
            let (low, high) = padded(range(&positive), 0.15);
            Scale::Log { low, high, zero: positive.len() < shown.len() }
        } else {
            linear(range(&shown))
        };
        Self { scale, unit: unit.to_owned(), pixels }
    }

    /// The pixel of a value, within the axis, and whether the value lies beyond it.
    pub fn at(&self, value: f64) -> (f64, bool) {
        let share = self.share(shown(&self.unit, value));
        let inside = share.clamp(0.0, 1.0);
        let (start, end) = self.pixels;
        (start + inside * (end - start), (share - inside).abs() > 1e-9)
    }

    /// Pixel and text of each tick, in the order of the values.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let mut ticks: Vec<f64> = match self.scale {
            Scale::Linear { low, high } => round_numbers(low, high, 5.0),
            Scale::Log { low, high, .. } => log_ticks(low, high),
        };
        if let Scale::Log { zero: true, .. } = self.scale {
            ticks.insert(0, 0.0);
        }
        let (start, end) = self.pixels;
        let place = |value: f64| start + self.share(value) * (end - start);
        ticks.into_iter().map(|value| (place(value), format::tick(&self.unit, value))).collect()
    }

    /// The pixel at which the axis is broken to make room for values that have no logarithm.
    pub fn broken_at(&self) -> Option<f64> {
        let (start, end) = self.pixels;
        match self.scale {
            Scale::Log { zero: true, .. } => Some(start + 0.75 * ZERO_SHARE * (end - start)),
            Scale::Log { zero: false, .. } | Scale::Linear { .. } => None,
        }
    }

    /// Where a shown value lies, 0 at the start of the axis and 1 at its end.
    fn share(&self, shown: f64) -> f64 {
        match self.scale {
            Scale::Linear { low, high } => (shown - low) / (high - low),
            Scale::Log { low, high, zero: false } => {
                (shown.max(f64::MIN_POSITIVE).log10() - low) / (high - low)
            }
            Scale::Log { zero: true, .. } if shown <= 0.0 => 0.3 * ZERO_SHARE,
            Scale::Log { low, high, zero: true } => {
                ZERO_SHARE + (1.0 - ZERO_SHARE) * ((shown.log10() - low) / (high - low)).max(0.0)
            }
        }
    }
}

/// The value as the axis shows it.
fn shown(unit: &str, value: f64) -> f64 {
    if unit == "%" { value * 100.0 } else { value }
}

/// The smallest and the largest value; 0 and 1 if there is none.
fn range(values: &[f64]) -> (f64, f64) {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

/// With room at both ends; `alone` to both sides of a range without width.
fn padded((low, high): (f64, f64), alone: f64) -> (f64, f64) {
    let width = high - low;
    let room = if width > 1e-9 * high.abs().max(low.abs()) { PADDING * width } else { alone };
    (low - room, high + room)
}

fn linear((low, high): (f64, f64)) -> Scale {
    let alone = if high == 0.0 { 0.5 } else { 0.2 * high.abs() };
    let (from, high) = padded((low, high), alone);
    // An axis of sizes has little use for room below zero.
    let low = if low >= 0.0 { from.max(-0.03 * high) } else { from };
    Scale::Linear { low, high }
}

/// About `wanted` multiples of 1, 2 or 5 times a power of ten; none below zero on an axis that starts about there.
fn round_numbers(low: f64, high: f64, wanted: f64) -> Vec<f64> {
    let rough = (high - low) / wanted;
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= rough * 0.999).unwrap_or(power);
    if !step.is_normal() {
        return Vec::new();
    }
    let first = (low / step).ceil() as i64;
    (first..=first.saturating_add(20)).map(|i| i as f64 * step).take_while(|value| *value <= high).collect()
}

/// Powers of ten; with 2 and 5 between them, or any round numbers, where these are too few.
fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let (first, last) = (low.floor() as i32, high.ceil() as i32);
    let stride = ((last - first) / 6).max(1) as usize;
    let tens = |factors: &[f64], stride: usize| -> Vec<f64> {
        let decades = (first..=last).step_by(stride);
        let all = decades.flat_map(|ten| factors.iter().map(move |factor| factor * 10f64.powi(ten)));
        all.filter(|value| (low..=high).contains(&value.log10())).collect()
    };
    [tens(&[1.0], stride), tens(&[1.0, 3.0], 1), tens(&[1.0, 2.0, 5.0], 1)]
        .into_iter()
        .find(|ticks| ticks.len() >= 3)
        .unwrap_or_else(|| round_numbers(10f64.powf(low), 10f64.powf(high), 5.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|(_, label)| label.replace('\u{a0}', " ")).collect()
    }

    #[test]
    fn a_logarithmic_axis_has_round_ticks_at_equal_ratios() {
        let axis = Axis::new(&[1000.0, 100_000.0], true, "parameters", (0.0, 100.0));
        assert_eq!(labels(&axis), ["1 k", "10 k", "100 k"]);
        let ticks = axis.ticks();
        assert!((ticks[1].0 - ticks[0].0 - (ticks[2].0 - ticks[1].0)).abs() < 1e-9);
        assert!((axis.at(10_000.0).0 - 50.0).abs() < 1e-9);
    }

    #[test]
    fn a_narrow_logarithmic_axis_still_has_ticks() {
        assert_eq!(labels(&Axis::new(&[0.02, 0.03], true, "%", (0.0, 1.0))), ["2", "2.5", "3"]);
        assert_eq!(labels(&Axis::new(&[0.01, 0.09], true, "%", (0.0, 1.0))), ["1", "3", "10"]);
    }

    #[test]
    fn zero_has_a_place_of_its_own_on_a_logarithmic_axis() {
        let axis = Axis::new(&[0.0, 0.01, 0.1], true, "%", (100.0, 0.0));
        assert_eq!(labels(&axis)[0], "0");
        assert!(axis.at(0.0).0 > axis.broken_at().expect("broken") && axis.at(0.01).0 < 90.0);
    }

    #[test]
    fn vertical_axes_grow_upwards_and_percent_is_shown_as_such() {
        let axis = Axis::new(&[0.0, 0.5], false, "%", (200.0, 0.0));
        assert_eq!(labels(&axis), ["0", "20", "40"]);
        assert!(axis.at(0.5).0 < axis.at(0.1).0);
    }

    #[test]
    fn equal_single_and_missing_values_give_an_axis() {
        for values in
            [vec![], vec![0.0], vec![5.0, 5.0], vec![-3.0], vec![1e-12], vec![1e300, 1e300], vec![f64::NAN]]
        {
            for log in [false, true] {
                let axis = Axis::new(&values, log, "", (0.0, 10.0));
                let (place, beyond) =
                    axis.at(values.first().copied().filter(|v| v.is_finite()).unwrap_or(0.5));
                assert!((0.0..=10.0).contains(&place) && !beyond, "{values:?} {log}: {place}");
                let ticks = axis.ticks();
                assert!(
                    !ticks.is_empty() && ticks.iter().all(|(at, _)| (-0.1..=10.1).contains(at)),
                    "{values:?}"
                );
            }
        }
    }

    #[test]
    fn values_beyond_the_axis_are_held_at_its_end() {
        let axis = Axis::new(&[1.0, 2.0], false, "", (0.0, 10.0));
        assert_eq!(axis.at(9.0), (10.0, true));
        assert!(!axis.at(2.0).1);
    }
}
