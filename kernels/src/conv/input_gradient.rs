//! The gradient of the input as correlations over the padded gradient of the output.

use super::correlate::{Correlator, Pass};
use super::geometry::{Axis, Geometry};
use super::planes::{Planes, Window};
use super::tile::PackedWeights;
use crate::simd::Float;

/// The gradient of the input: for every phase of the input a correlation of the output's gradient with
/// the taps that read this phase, the kernel turned round.
pub(super) fn input_gradient<T: Float>(g: &Geometry, weight: &[T]) -> Correlator<'static, T> {
    let (rows, columns) = (g.height.inside(), g.width.inside());
    let extent = |(first, end): (isize, isize)| (end - first).max(0) as usize;
    let window = Window {
        row: rows.0 - g.height.reach() as isize,
        row_step: 1,
        column: columns.0 - g.width.reach() as isize,
        column_step: 1,
    };
    let planes = Planes {
        source: (g.height.output, g.width.output),
        windows: vec![window],
        rows: extent(rows) + g.height.reach(),
        columns: extent(columns) + g.width.reach(),
    };
    let column_phases = g.width.phases();
    let phases = g.height.phases().into_iter().flat_map(|r| column_phases.iter().map(move |&c| (r, c)));
    let passes = phases.map(|phase| input_gradient_pass(g, weight, &planes, phase, (rows.0, columns.0)));
    Correlator {
        groups: g.groups,
        channels: g.outputs,
        outputs: g.channels,
        result: (extent(rows), extent(columns)),
        passes: passes.collect(),
        planes,
        target: (g.height.input, g.width.input),
        step: (g.height.stride, g.width.stride),
        bias: None,
    }
}

fn input_gradient_pass<T: Float>(
    g: &Geometry,
    weight: &[T],
    planes: &Planes,
    (row_phase, column_phase): (usize, usize),
    (first_row, first_column): (isize, isize),
) -> Pass<T> {
    let taps_of = |axis: Axis, phase| (0..axis.kernel).filter(move |&k| axis.tap(k).phase == phase);
    let taps: Vec<_> = taps_of(g.height, row_phase)
        .flat_map(|ky| taps_of(g.width, column_phase).map(move |kx| (ky, kx)))
        .collect();
    let offset = |&(ky, kx): &(usize, usize)| {
        let row = g.height.reach() - g.height.tap(ky).quotient;
        row * planes.columns + g.width.reach() - g.width.tap(kx).quotient
    };
    let kernel = |t: usize| taps[t].0 * g.width.kernel + taps[t].1;
    let pack = |group: usize| {
        let weight = &weight[group * g.outputs * g.channels * g.taps()..];
        let at = |c, o, t| weight[(o * g.channels + c) * g.taps() + kernel(t)];
        PackedWeights::new(g.channels, g.outputs, taps.len(), at)
    };
    let place = |axis: Axis, first: isize, phase: usize| {
        first * axis.stride as isize + phase as isize - axis.padding as isize
    };
    Pass {
        taps: taps.iter().map(offset).collect(),
        weights: (0..g.groups).map(pack).collect(),
        row: place(g.height, first_row, row_phase),
        column: place(g.width, first_column, column_phase),
    }
}
