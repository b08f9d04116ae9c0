//! The forward pass.

use super::super::algorithm::OutputObserver;
use super::super::geometry::Geometry;
use super::super::product::{PANEL, Product};
use super::cells::Cells;
use super::transform::{FromInput, Grid, Map, SIDE, TILE, ToOutput, transform};
use super::weights::{Kernels, Panels};
use super::{FREQUENCIES, Frequencies, Plan};
use crate::parallel;
use crate::simd::{Float, Isa, Kernel, LANES, dispatch};
use crate::source::Source;
use std::ops::Range;

/// Fewest tiles of a block whose weights are read from beyond the second-level cache.
const STREAMED_TILES: usize = 24;

/// The convolution itself.
pub(in super::super) fn forward<T: Float>(
    g: &Geometry,
    x: &Source<'_, T>,
    weight: &[T],
    bias: Option<&[T]>,
    observer: OutputObserver<'_, T>,
) -> Vec<T> {
    let (plan, panels) = (Plan::new::<T>(g, STREAMED_TILES), Plan::panels(g));
    let sample = g.groups * g.outputs * g.output_plane();
    parallel::with_scratch(g.groups * panels.len(), |weights| {
        let kernels = weight.chunks_exact(g.outputs * g.channels * g.taps());
        for (values, target) in kernels.zip(weights.chunks_exact_mut(panels.len())) {
            Kernels { values, row: g.taps(), column: g.channels * g.taps() }.transform(panels, target);
        }
        let weights = &*weights;
        parallel::build_chunks(g.batch * sample, plan.together * sample, |i, y| {
            let first = i * plan.together;
            let samples = first..first + y.len() / sample;
            let room = x.room(g.channels * g.input_plane());
            parallel::with_scratch(Scratch::<T>::len(&plan) + room, |scratch| {
                let (scratch, room) = scratch.split_at_mut(Scratch::<T>::len(&plan));
                let plan = &plan;
                dispatch(Samples { g, plan, panels, x, weights, bias, samples, y, scratch, room, observer })
            });
        })
    })
}

struct Scratch<'a, T> {
    x: &'a mut [T],
    y: &'a mut [T],
    inputs: &'a mut [T],
    outputs: &'a mut [T],
}

impl<'a, T> Scratch<'a, T> {
    fn lens(plan: &Plan) -> [usize; 4] {
        let (x, y) = (&plan.x, &plan.y);
        let cells = [plan.together * x.len(), plan.together * y.len()];
        [cells[0], cells[1], plan.frequencies(x).len(), plan.frequencies(y).len()]
    }

    fn len(plan: &Plan) -> usize {
        Self::lens(plan).iter().sum()
    }

    fn new(plan: &Plan, scratch: &'a mut [T]) -> Self {
        let lens = Self::lens(plan);
        let (x, rest) = scratch.split_at_mut(lens[0]);
        let (y, rest) = rest.split_at_mut(lens[1]);
        let (inputs, outputs) = rest.split_at_mut(lens[2]);
        Self { x, y, inputs, outputs }
    }
}

/// The work on some samples.
struct Samples<'a, T> {
    g: &'a Geometry,
    plan: &'a Plan,
    panels: Panels,
    x: &'a Source<'a, T>,
    weights: &'a [T],
    bias: Option<&'a [T]>,
    samples: Range<usize>,
    y: &'a mut [T],
    scratch: &'a mut [T],
    room: &'a mut [T],
    observer: OutputObserver<'a, T>,
}

impl<T: Float> Kernel for Samples<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { g, plan, panels, x, weights, bias, samples, y, scratch, room, observer } = self;
        let plan = &plan.fit::<I, T>();
        let scratch = Scratch::new(plan, scratch);
        let (inputs, outputs) = (plan.frequencies(&plan.x), plan.frequencies(&plan.y));
        let (x_len, y_len) = (g.channels * g.input_plane(), g.outputs * g.output_plane());
        for (group, weights) in weights.chunks_exact(panels.len()).enumerate() {
            for (sample, cells) in samples.clone().zip(scratch.x.chunks_exact_mut(plan.x.len())) {
                let image = sample * g.groups + group;
                plan.x.gather::<I, T>(x.read(image * x_len..(image + 1) * x_len, room), cells);
            }
            for tiles in plan.blocks(samples.len()) {
                let count = tiles.len();
                to_frequencies::<I, T, FromInput, SIDE>(
                    &plan.x,
                    tiles.clone(),
                    scratch.x,
                    inputs,
                    scratch.inputs,
                );
                products::<I, T>(
                    panels,
                    weights,
                    count,
                    (inputs, scratch.inputs),
                    (outputs, scratch.outputs),
                );
                from_frequencies::<I, T, ToOutput, TILE, false>(
                    &plan.y,
                    tiles,
                    outputs,
                    scratch.outputs,
                    scratch.y,
                );
            }
            let bias = bias.map(|bias| &bias[group * g.outputs..][..g.outputs]);
            for (i, cells) in scratch.y.chunks_exact(plan.y.len()).take(samples.len()).enumerate() {
                let y = &mut y[(i * g.groups + group) * y_len..][..y_len];
                plan.y.scatter::<I, T>(cells, bias, y);
                if let Some(observer) = observer {
                    observer.see(((samples.start + i) * g.groups + group) * y_len, y);
                }
            }
        }
    }
}

/// Applies a map to `FROM * FROM` pixels of every tile.
#[inline(always)]
pub(super) fn to_frequencies<I: Isa, T: Float, M: Map<FROM, SIDE>, const FROM: usize>(
    cells: &Cells,
    tiles: Range<usize>,
    values: &[T],
    frequencies: Frequencies,
    target: &mut [T],
) {
    check_tiles(cells, FROM, &tiles, values, frequencies, target);
    let lanes = cells.lanes;
    for (t, place) in cells.tiles(tiles).enumerate() {
        for cell in 0..cells.count() {
            // SAFETY: checked above.
            unsafe {
                let start = values.as_ptr().add(cell * cells.cell_len() + place);
                let source = Grid { start, row: cells.columns * lanes, column: lanes };
                let target = target.as_mut_ptr().add(t * frequencies.channels + cell * lanes);
                let target = Grid::frequencies(target, frequencies.stride);
                if I::WIDE && lanes == PANEL {
                    transform::<I, T, M, PANEL, FROM, SIDE, false>(source, target);
                } else {
                    transform::<I, T, M, LANES, FROM, SIDE, false>(source, target);
                }
            }
        }
    }
}

/// The reverse of [`to_frequencies`]; to `ADD`, where tiles overlap, adds to the pixels that are there.
#[inline(always)]
pub(super) fn from_frequencies<I: Isa, T: Float, M: Map<SIDE, TO>, const TO: usize, const ADD: bool>(
    cells: &Cells,
    tiles: Range<usize>,
    frequencies: Frequencies,
    source: &[T],
    values: &mut [T],
) {
    check_tiles(cells, TO, &tiles, values, frequencies, source);
    let lanes = cells.lanes;
    for (t, place) in cells.tiles(tiles).enumerate() {
        for cell in 0..cells.count() {
            // SAFETY: checked above.
            unsafe {
                let source = source.as_ptr().add(t * frequencies.channels + cell * lanes);
                let source = Grid::frequencies(source, frequencies.stride);
                let start = values.as_mut_ptr().add(cell * cells.cell_len() + place);
                let target = Grid { start, row: cells.columns * lanes, column: lanes };
                if I::WIDE && lanes == PANEL {
                    transform::<I, T, M, PANEL, SIDE, TO, ADD>(source, target);
                } else {
                    transform::<I, T, M, LANES, SIDE, TO, ADD>(source, target);
                }
            }
        }
    }
}

/// Checks that all of the tiles lie inside their cells and frequencies.
#[inline(always)]
fn check_tiles<T>(
    cells: &Cells,
    side: usize,
    tiles: &Range<usize>,
    values: &[T],
    frequencies: Frequencies,
    transformed: &[T],
) {
    let rows = cells.tiles.1 / cells.tiles.0;
    assert!((rows - 1) * TILE + side <= cells.rows && (cells.tiles.0 - 1) * TILE + side <= cells.columns);
    assert!(tiles.end.div_ceil(cells.tiles.1) * cells.len() <= values.len());
    assert!(tiles.len() * frequencies.channels <= frequencies.stride);
    assert!(cells.count() * cells.lanes == frequencies.channels && cells.lanes >= LANES);
    assert!(frequencies.len() <= transformed.len());
}

/// For every frequency the tiles times the weights.
#[inline(always)]
pub(super) fn products<I: Isa, T: Float>(
    panels: Panels,
    weights: &[T],
    tiles: usize,
    (from, source): (Frequencies, &[T]),
    (to, target): (Frequencies, &mut [T]),
) {
    assert!(panels.rows <= from.channels && panels.columns <= to.channels && panels.len() <= weights.len());
    assert!(tiles * from.channels <= from.stride && tiles * to.channels <= to.stride);
    assert!(from.len() <= source.len() && to.len() <= target.len());
    for frequency in 0..FREQUENCIES {
        for (panel, columns) in panels.parts() {
            let right = panel * panels.panel_len() + frequency * panels.stride(panel);
            // SAFETY: the assertions above.
            unsafe {
                let product = Product {
                    left: source.as_ptr().add(frequency * from.stride),
                    left_row: from.channels,
                    left_column: 1,
                    right: weights.as_ptr().add(right),
                    right_row: panels.width(panel),
                    right_panel: panels.panel_len(),
                    target: target.as_mut_ptr().add(frequency * to.stride + panel * PANEL),
                    target_row: to.channels,
                    target_panel: PANEL,
                    rows: tiles,
                    depth: panels.rows,
                    columns,
                };
                product.run::<I, false>();
            }
        }
    }
}
