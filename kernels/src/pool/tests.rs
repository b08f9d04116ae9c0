//! Pooling by rows against pooling window by window, with ties, infinities and NaN.

use super::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

/// Padded evenly every other time.
fn axis() -> impl Strategy<Value = Axis> {
    let kernel = prop_oneof![4 => 1..=5usize, 1 => 15..=19usize];
    (kernel, 1..=4usize, 1..=20usize).prop_flat_map(|(kernel, stride, extra)| {
        (0..kernel, 0..kernel, any::<bool>()).prop_map(move |(padding, end, even)| {
            let end = if even { padding } else { end };
            let input = kernel.saturating_sub(padding + end).max(1) + extra - 1;
            Axis::new("pooling", input, kernel, stride, (padding, end)).expect("it fits")
        })
    })
}

/// Few different values, so that there are ties.
fn pixels(count: usize, seed: u64) -> Vec<f64> {
    let value = |i: u64| match (i * i + 7 * i + seed) * 2_654_435_761 % 101 % 9 {
        7 => f64::NEG_INFINITY,
        8 if (i + seed).is_multiple_of(5) => f64::NAN,
        other => other as f64 / 4.0 - 1.0,
    };
    (0..count as u64).map(value).collect()
}

/// The pixels of window number `i`, in the order of reading.
fn window(windows: Windows, i: usize) -> Vec<usize> {
    let Windows { height, width } = windows;
    let (rows, columns) = (height.window(i / width.output), width.window(i % width.output));
    rows.flat_map(|r| columns.clone().map(move |c| r * width.input + c)).collect()
}

/// Values and gradients, window by window.
fn plain(mode: Mode, windows: Windows, x: &[f64], dy: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (mut y, mut dx) = (Vec::new(), vec![0.0; x.len()]);
    let scale = 1.0 / (windows.height.kernel * windows.width.kernel) as f64;
    for (i, dy) in dy.iter().enumerate() {
        let window = window(windows, i);
        match mode {
            Mode::Average | Mode::AverageOfPixels => {
                let of_pixels = matches!(mode, Mode::AverageOfPixels);
                let scale = if of_pixels { 1.0 / window.len() as f64 } else { scale };
                y.push(window.iter().map(|&at| x[at]).sum::<f64>() * scale);
                window.iter().for_each(|&at| dx[at] += dy * scale);
            }
            Mode::Max => {
                let mut best = window[0];
                window
                    .iter()
                    .for_each(|&at| best = if x[at] > x[best] || x[at].is_nan() { at } else { best });
                y.push(x[best]);
                dx[best] += dy;
            }
        }
    }
    (y, dx)
}

fn close(found: &[f64], expected: &[f64]) -> std::result::Result<(), TestCaseError> {
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        let same = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-12;
        prop_assert!(same, "place {}: {} and not {}", i, a, b);
    }
    Ok(())
}

proptest! {
    #![proptest_config(Config {
        cases: 500, rng_seed: RngSeed::Fixed(13), failure_persistence: None, ..Config::default()
    })]

    #[test]
    fn rows_are_windows((height, width) in (axis(), axis()), mode in prop::sample::select(vec![Mode::Max, Mode::Average, Mode::AverageOfPixels]), whole in any::<bool>(), seed in 0..1000u64) {
        let all = |axis: Axis| Axis { kernel: axis.input, output: 1, padding: 0, ..axis };
        let windows = if whole { Windows { height: all(height), width: all(width) } } else { Windows { height, width } };
        let x = pixels(3 * windows.input_len(), seed);
        let dy: Vec<f64> = (0..3 * windows.output_len()).map(|i| (i as f64 + 0.3).sin()).collect();
        let (mut y, mut dx) = (vec![9.0; dy.len()], vec![9.0; x.len()]);
        dispatch(Forward { mode, windows, x: &x, y: &mut y });
        dispatch(Backward { mode, windows, x: &x, dy: &dy, dx: &mut dx });
        let planes = x.chunks_exact(windows.input_len()).zip(dy.chunks_exact(windows.output_len()));
        let (expected_y, expected_dx): (Vec<_>, Vec<_>) =
            planes.map(|(x, dy)| plain(mode, windows, x, dy)).unzip();
        close(&y, &expected_y.concat())?;
        close(&dx, &expected_dx.concat())?;
    }
}

/// A window whose padding is far larger than the image takes no longer than the image.
#[test]
fn vast_windows_see_the_image_only() {
    let vast = Axis { input: 2, output: 1, kernel: 1 << 50, stride: 1 << 50, padding: 1 << 49 };
    let windows = Windows { height: vast, width: vast };
    let mut y = [0.0];
    dispatch(Forward { mode: Mode::Max, windows, x: &[1.0, 2.0, 4.0, 3.0], y: &mut y });
    assert_eq!(y, [4.0]);
    let mut dx = [9.0; 4];
    dispatch(Backward { mode: Mode::Average, windows, x: &[0.0; 4], dy: &[1.0], dx: &mut dx });
    assert_eq!(dx, [2f64.powi(-100); 4]);
}
