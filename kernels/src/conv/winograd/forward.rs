//! The forward pass.

use super::super::algorithm::Forward;
use super::Plan;
use super::passes::{FromFrequencies, Products, ToFrequencies};
use super::transform::{FromInput, ToOutput};
use super::weights::{Kernels, Panels};
use crate::parallel;
use crate::simd::{Float, dispatch};
use std::ops::Range;

/// Fewest tiles of a block whose weights are read from beyond the second-level cache.
const STREAMED_TILES: usize = 24;

/// The convolution itself.
pub(in super::super) fn forward<T: Float>(of: &Forward<'_, T>) -> Vec<T> {
    let g = of.g;
    let (plan, panels) = (Plan::new::<T>(g, STREAMED_TILES), Plan::panels(g));
    let sample = g.groups * g.outputs * g.output_plane();
    parallel::with_scratch(g.groups * panels.len(), |weights| {
        let kernels = of.weight.chunks_exact(g.outputs * g.channels * g.taps());
        for (values, target) in kernels.zip(weights.chunks_exact_mut(panels.len())) {
            Kernels { values, row: g.taps(), column: g.channels * g.taps() }.transform(panels, target);
        }
        let weights = &*weights;
        of.build_chunks(g.batch * sample, plan.together * sample, |i, y| {
            let first = i * plan.together;
            let samples = first..first + y.len() / sample;
            let room = of.x.room(g.channels * g.input_plane());
            parallel::with_scratch(Scratch::<T>::len(&plan) + room, |scratch| {
                let (scratch, room) = scratch.split_at_mut(Scratch::<T>::len(&plan));
                let plan = &plan;
                Samples { of, plan, panels, weights, samples, y, scratch, room }.run();
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
    of: &'a Forward<'a, T>,
    plan: &'a Plan,
    panels: Panels,
    /// Transformed.
    weights: &'a [T],
    samples: Range<usize>,
    y: &'a mut [T],
    scratch: &'a mut [T],
    room: &'a mut [T],
}

impl<T: Float> Samples<'_, T> {
    fn run(self) {
        let Self { of, plan, panels, weights, samples, y, scratch, room } = self;
        let &Forward { g, x, bias, then, .. } = of;
        let scratch = Scratch::new(plan, scratch);
        let (inputs, outputs) = (plan.frequencies(&plan.x), plan.frequencies(&plan.y));
        let (x_len, y_len) = (g.channels * g.input_plane(), g.outputs * g.output_plane());
        for (group, weights) in weights.chunks_exact(panels.len()).enumerate() {
            for (sample, cells) in samples.clone().zip(scratch.x.chunks_exact_mut(plan.x.len())) {
                let image = sample * g.groups + group;
                plan.x.gather(x.read(image * x_len..(image + 1) * x_len, room), cells);
            }
            for block in plan.blocks(samples.len()) {
                let count = block.tiles.len();
                dispatch(ToFrequencies {
                    map: FromInput,
                    cells: &plan.x,
                    block: block.clone(),
                    values: scratch.x,
                    to: (inputs, scratch.inputs),
                });
                dispatch(Products {
                    panels,
                    weights,
                    tiles: count,
                    from: (inputs, scratch.inputs),
                    to: (outputs, scratch.outputs),
                });
                dispatch(FromFrequencies::<_, _, _, false> {
                    map: ToOutput,
                    cells: &plan.y,
                    block,
                    from: (outputs, scratch.outputs),
                    values: scratch.y,
                });
            }
            let bias = bias.map(|bias| &bias[group * g.outputs..][..g.outputs]);
            for (i, cells) in scratch.y.chunks_exact(plan.y.len()).take(samples.len()).enumerate() {
                let y = &mut y[(i * g.groups + group) * y_len..][..y_len];
                plan.y.scatter(cells, bias, y);
                then.go_on(((samples.start + i) * g.groups + group) * y_len, y);
            }
        }
    }
}
