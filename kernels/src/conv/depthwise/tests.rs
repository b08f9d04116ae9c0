//! The depthwise code against the general convolution, in f64, over random shapes.

use super::*;
use crate::conv::ConvAlgorithm;
use crate::conv::algorithm::Then;
use crate::conv::by_sample;
use crate::conv::geometry::Axis;
use crate::source::Source;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

/// The dilated kernel inside the padded input, which is padded evenly every other time.
fn axis() -> impl Strategy<Value = Axis> {
    let padding = (0..=7usize, 0..=7usize, any::<bool>());
    let padding = padding.prop_map(|(start, end, even)| (start, if even { start } else { end }));
    (1..=6usize, 1..=4usize, padding, 1..=3usize).prop_flat_map(|(kernel, stride, padding, dilation)| {
        let smallest = (dilation * (kernel - 1) + 1).saturating_sub(padding.0 + padding.1).max(1);
        let axis = move |input| Axis::new(input, kernel, stride, padding, dilation).expect("it fits");
        (smallest..smallest + 21).prop_map(axis)
    })
}

prop_compose! {
    fn geometry()(
        (height, width) in (axis(), axis()),
        (batch, groups, outputs) in (1..=11usize, 2..=20usize, 1..=OUTPUTS),
    ) -> Geometry {
        Geometry { batch, groups, channels: 1, outputs, height, width, algorithm: ConvAlgorithm::Direct }
    }
}

prop_compose! {
    /// Geometries for [`strips`], with planes of less and of more than a vector and a tile.
    fn dense_geometry()(edge in prop_oneof![Just(3usize), Just(5), Just(7)])(
        height in dense_axis(edge),
        width in dense_axis(edge),
        (batch, groups, outputs) in (1..=9usize, 2..=5usize, 1..=2usize),
    ) -> Geometry {
        Geometry { batch, groups, channels: 1, outputs, height, width, algorithm: ConvAlgorithm::Direct }
    }
}

fn dense_axis(kernel: usize) -> impl Strategy<Value = Axis> {
    (0..=kernel, 0..=kernel).prop_flat_map(move |padding| {
        let smallest = kernel.saturating_sub(padding.0 + padding.1).max(1);
        let axis = move |input| Axis::new(input, kernel, 1, padding, 1).expect("it fits");
        (smallest..smallest + 36).prop_map(axis)
    })
}

prop_compose! {
    /// Geometries for [`small`].
    fn small_geometry()(
        height in small_axis(),
        width in small_axis().prop_filter("short rows", |axis| axis.output < LANES),
        (batch, groups) in (1..=11usize, LANES..=37),
    ) -> Geometry {
        Geometry { batch, groups, channels: 1, outputs: 1, height, width, algorithm: ConvAlgorithm::Direct }
    }
}

fn small_axis() -> impl Strategy<Value = Axis> {
    (1..=6usize, 1..=3usize).prop_flat_map(|(kernel, dilation)| {
        let reach = (kernel - 1) * dilation;
        (0..=reach, 0..=reach).prop_flat_map(move |padding| {
            let smallest = (reach + 1).saturating_sub(padding.0 + padding.1).max(1);
            let axis = move |input| Axis::new(input, kernel, 1, padding, dilation).expect("it fits");
            (smallest..smallest + 15).prop_map(axis)
        })
    })
}

fn numbers(count: usize, seed: f64) -> Vec<f64> {
    (0..count).map(|i| ((i as f64 + seed) * 0.754_877 + (i * i % 97) as f64).sin()).collect()
}

fn close(found: &[f64], expected: &[f64]) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), expected.len());
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        prop_assert!((a - b).abs() <= 1e-11 * (1.0 + b.abs()), "place {}: {} and not {}", i, a, b);
    }
    Ok(())
}

proptest! {
    #![proptest_config(Config {
        cases: 300, rng_seed: RngSeed::Fixed(11), failure_persistence: None, ..Config::default()
    })]

    #[test]
    fn agrees_with_the_general_convolution(g in geometry(), with_bias in any::<bool>()) {
        agrees(&g, with_bias)?;
    }

    #[test]
    fn strips_agree_with_the_general_convolution(g in dense_geometry(), with_bias in any::<bool>()) {
        prop_assert!(strips::edge(&g).is_some());
        agrees(&g, with_bias)?;
    }

    #[test]
    fn small_planes_agree_with_the_general_convolution(g in small_geometry(), with_bias in any::<bool>()) {
        prop_assert!(small::applies(&g));
        agrees(&g, with_bias)?;
    }
}

fn agrees(g: &Geometry, with_bias: bool) -> Result<(), TestCaseError> {
    prop_assert!(applies(g));
    let x = numbers(g.batch * g.groups * g.input_plane(), 0.1);
    let weight = numbers(g.groups * g.outputs * g.taps(), 0.2);
    let dy = numbers(g.batch * g.groups * g.outputs * g.output_plane(), 0.3);
    let bias = with_bias.then(|| numbers(g.groups * g.outputs, 0.4));
    let (x, dy) = (&Source::Plain(&x), &Source::Plain(&dy));
    let of = Forward { g, x, weight: &weight, bias: bias.as_deref(), then: Then::Nothing };
    close(&forward(&of), &by_sample::forward(&of))?;

    let of = Backward { g, x: Some(x), weight: Some(&weight), dy, sums: None };
    let (dx, dw) = gradients(&of);
    let (general_dx, general_dw) = by_sample::gradients(&of);
    close(&dx, &general_dx)?;
    close(&dw, &general_dw)?;
    // Each by itself has the same bits.
    prop_assert_eq!(gradients(&Backward { x: None, ..of }), (dx, Vec::new()));
    prop_assert_eq!(gradients(&Backward { weight: None, ..of }), (Vec::new(), dw));
    Ok(())
}
