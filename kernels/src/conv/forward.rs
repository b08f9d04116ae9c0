//! The forward pass as a correlation over the phases of the padded input.

use super::correlate::{Correlator, Pass};
use super::geometry::Geometry;
use super::planes::{Planes, Window};
use super::tile::PackedWeights;
use crate::simd::Float;

/// The planes of the input: one phase for every position of a tap between two outputs.
pub(super) fn input_planes(g: &Geometry) -> Planes {
    let window = |row, column| Window {
        row: row as isize - g.height.padding as isize,
        row_step: g.height.stride,
        column: column as isize - g.width.padding as isize,
        column_step: g.width.stride,
    };
    let columns = g.width.phases();
    let windows = g.height.phases().into_iter().flat_map(|r| columns.iter().map(move |&c| window(r, c)));
    Planes {
        source: (g.height.input, g.width.input),
        windows: windows.collect(),
        rows: g.height.output + g.height.reach(),
        columns: g.width.output + g.width.reach(),
    }
}

/// The offsets of all taps into a channel of [`input_planes`], row by row of the kernel.
pub(super) fn input_taps(g: &Geometry, planes: &Planes) -> Vec<usize> {
    let (row_phases, column_phases) = (g.height.phases(), g.width.phases());
    let index = |phases: &[usize], phase| phases.partition_point(|&p| p < phase);
    let offset = |ky, kx| {
        let (row, column) = (g.height.tap(ky), g.width.tap(kx));
        let window =
            index(&row_phases, row.phase) * column_phases.len() + index(&column_phases, column.phase);
        window * planes.window_len() + row.quotient * planes.columns + column.quotient
    };
    (0..g.taps()).map(|t| offset(t / g.width.kernel, t % g.width.kernel)).collect()
}

/// The convolution itself.
pub(super) fn forward<'a, T: Float>(g: &Geometry, weight: &[T], bias: Option<&'a [T]>) -> Correlator<'a, T> {
    let planes = input_planes(g);
    let (taps, per_output) = (input_taps(g, &planes), g.channels * g.taps());
    let pack = |group: usize| {
        let weight = &weight[group * g.outputs * per_output..];
        let at = |o, c, t| weight[o * per_output + c * g.taps() + t];
        PackedWeights::new(g.outputs, g.channels, g.taps(), at)
    };
    let weights = (0..g.groups).map(pack).collect();
    let result = (g.height.output, g.width.output);
    Correlator {
        groups: g.groups,
        channels: g.channels,
        outputs: g.outputs,
        planes,
        result,
        passes: vec![Pass { taps, weights, row: 0, column: 0 }],
        target: result,
        step: (1, 1),
        bias,
    }
}
