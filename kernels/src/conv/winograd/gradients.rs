//! Both gradients, from one transform of the gradient of the output.

use super::super::algorithm::Backward;
use super::super::geometry::Geometry;
use super::Plan;
use super::passes::{AddProducts, FromFrequencies, Products, ToFrequencies};
use super::transform::{FromInput, FromOutputGradient, ToInputGradient};
use super::weights::{Kernels, Panels, kernel_gradients};
use crate::parallel::{self, Shared};
use crate::simd::{Float, dispatch};
use std::ops::Range;

/// Most partial gradients of the weights: the batch is cut at places that depend on sizes alone, so that
/// the sum has the same bits for any number of threads.
const CHUNKS: usize = 8;
/// Fewest tiles of a chunk, so that adding up the partial gradients costs little next to the products.
const CHUNK_TILES: usize = 128;
/// Fewest if a partial gradient has more bytes than [`LARGE`]: then it goes to memory and back.
const LARGE_CHUNK_TILES: usize = 256;
const LARGE: usize = 1024 * 1024;

/// As in the forward pass; the gradient of the weights is read and written besides.
const STREAMED_TILES: usize = 48;

/// As [`Backward::run`].
pub(in super::super) fn gradients<T: Float>(of: &Backward<'_, T>) -> (Vec<T>, Vec<T>) {
    let g = of.g;
    let plan = Plan::new::<T>(g, STREAMED_TILES);
    let (turned, panels) = (Panels { rows: g.outputs, columns: g.channels }, Plan::panels(g));
    let large = panels.len() * size_of::<T>() > LARGE;
    let least = if large { LARGE_CHUNK_TILES } else { CHUNK_TILES };
    // Two chunks at least, whatever they cost, so that two threads have work.
    let fewest = least.div_ceil(plan.each).min(g.batch.div_ceil(2));
    let size = g.batch.div_ceil(CHUNKS).max(fewest);
    Job { of, g, plan, turned, panels, size }.run()
}

struct Job<'a, T> {
    of: &'a Backward<'a, T>,
    g: &'a Geometry,
    plan: Plan,
    /// Weights as the right factor of the gradient of the input: output channels in rows.
    turned: Panels,
    /// The gradient of the weights: input channels in rows.
    panels: Panels,
    /// Samples of a chunk.
    size: usize,
}

impl<T: Float> Job<'_, T> {
    /// The gradients of the input and of the weights; one that is not wanted is empty.
    fn run(&self) -> (Vec<T>, Vec<T>) {
        let (weights_len, partials_len) = (self.weights_len(), self.chunks() * self.partial_len());
        parallel::with_scratch(weights_len + partials_len, |scratch| {
            let (weights, partials) = scratch.split_at_mut(weights_len);
            self.transform_weights(weights);
            let dx = parallel::build(self.g.batch * self.dx_len(), |dx| self.fill(weights, dx, partials));
            (dx, self.sum(partials))
        })
    }

    fn transform_weights(&self, target: &mut [T]) {
        let g = self.g;
        let weight = self.of.weight.unwrap_or_default();
        let kernels = weight.chunks_exact(g.outputs * g.channels * g.taps());
        for (values, target) in kernels.zip(target.chunks_exact_mut(self.turned.len())) {
            let kernels = Kernels { values, row: g.channels * g.taps(), column: g.taps() };
            kernels.transform(self.turned, target);
        }
    }

    fn chunks(&self) -> usize {
        self.g.batch.div_ceil(self.size)
    }

    fn weights_len(&self) -> usize {
        self.of.weight.map_or(0, |_| self.g.groups * self.turned.len())
    }

    /// Numbers of a partial gradient of the weights.
    fn partial_len(&self) -> usize {
        self.of.x.map_or(0, |_| self.g.groups * self.panels.len())
    }

    /// Numbers of a sample's gradient of the input.
    fn dx_len(&self) -> usize {
        self.of.weight.map_or(0, |_| self.g.groups * self.g.channels * self.g.input_plane())
    }

    /// Fills the gradient of the input and the partial gradients of the weights, those that are wanted.
    fn fill(&self, weights: &[T], dx: &mut [T], partials: &mut [T]) {
        let (dx, partials) = (Shared::new(dx), Shared::new(partials));
        let (dx_len, partial_len) = (self.dx_len(), self.partial_len());
        parallel::map(self.chunks(), |i| {
            let samples = i * self.size..self.g.batch.min((i + 1) * self.size);
            // SAFETY: every chunk has its own samples and its own partial gradient.
            let (dx, partial) = unsafe {
                let dx = dx.range(samples.start * dx_len..samples.end * dx_len);
                (dx, partials.range(i * partial_len..(i + 1) * partial_len))
            };
            parallel::with_scratch(self.scratch_lens().iter().sum(), |scratch| {
                Chunk { job: self, samples, weights, dx, partial, scratch }.run();
            });
        });
    }

    /// The gradient of the weights from the partial ones.
    fn sum(&self, partials: &[T]) -> Vec<T> {
        if self.of.x.is_none() {
            return Vec::new();
        }
        let group_len = self.g.outputs * self.g.channels * self.g.taps();
        parallel::build(self.g.groups * group_len, |dw| {
            for (group, dw) in dw.chunks_exact_mut(group_len).enumerate() {
                let partials = partials.chunks_exact(self.partial_len());
                let partials: Vec<_> = partials.map(|p| &p[group * self.panels.len()..]).collect();
                kernel_gradients(self.panels, &partials, dw);
            }
        })
    }

    fn scratch_lens(&self) -> [usize; 6] {
        let Plan { x, y, together, .. } = &self.plan;
        let (inputs, outputs) = (self.plan.frequencies(x).len(), self.plan.frequencies(y).len());
        let (x_cells, dx_cells) = (self.of.x.map_or(0, |_| x.len()), self.of.weight.map_or(0, |_| x.len()));
        let g = self.g;
        let x_room = self.of.x.map_or(0, |x| x.room(g.channels * g.input_plane()));
        let room = x_room.max(self.of.dy.room(g.outputs * g.output_plane()));
        [together * x_cells, together * dx_cells, together * y.len(), inputs, outputs, room]
    }
}

/// The part of some samples.
struct Chunk<'a, T> {
    job: &'a Job<'a, T>,
    samples: Range<usize>,
    weights: &'a [T],
    dx: &'a mut [T],
    partial: &'a mut [T],
    scratch: &'a mut [T],
}

impl<T: Float> Chunk<'_, T> {
    fn run(self) {
        let Self { job, samples, weights, dx, partial, scratch } = self;
        let (plan, &Backward { g, x, weight, dy, sums }) = (&job.plan, job.of);
        let lens = job.scratch_lens();
        let (x_cells, rest) = scratch.split_at_mut(lens[0]);
        let (dx_cells, rest) = rest.split_at_mut(lens[1]);
        let (dy_cells, rest) = rest.split_at_mut(lens[2]);
        let (inputs, rest) = rest.split_at_mut(lens[3]);
        let (outputs, room) = rest.split_at_mut(lens[4]);
        let (x_len, dy_len) = (g.channels * g.input_plane(), g.outputs * g.output_plane());
        let (x_freq, y_freq) = (plan.frequencies(&plan.x), plan.frequencies(&plan.y));
        for first in samples.clone().step_by(plan.together) {
            let together = first..samples.end.min(first + plan.together);
            for group in 0..g.groups {
                let image = |sample: usize| sample * g.groups + group;
                for (sample, cells) in together.clone().zip(dy_cells.chunks_exact_mut(plan.y.len())) {
                    let values = image(sample) * dy_len..(image(sample) + 1) * dy_len;
                    plan.y.gather(dy.read(values, room), cells);
                }
                if let Some(x) = x {
                    for (sample, cells) in together.clone().zip(x_cells.chunks_exact_mut(plan.x.len())) {
                        let values = image(sample) * x_len..(image(sample) + 1) * x_len;
                        plan.x.gather(x.read(values, room), cells);
                    }
                }
                dx_cells.fill(T::ZERO);
                for block in plan.blocks(together.len()) {
                    let count = block.tiles.len();
                    let begins = together.start == samples.start && block.tiles.start == 0;
                    dispatch(ToFrequencies {
                        map: FromOutputGradient,
                        cells: &plan.y,
                        block: block.clone(),
                        values: dy_cells,
                        to: (y_freq, outputs),
                    });
                    if weight.is_some() {
                        dispatch(Products {
                            panels: job.turned,
                            weights: &weights[group * job.turned.len()..],
                            tiles: count,
                            from: (y_freq, outputs),
                            to: (x_freq, inputs),
                        });
                        dispatch(FromFrequencies::<_, _, _, true> {
                            map: ToInputGradient,
                            cells: &plan.x,
                            block: block.clone(),
                            from: (x_freq, inputs),
                            values: dx_cells,
                        });
                    }
                    if x.is_some() {
                        dispatch(ToFrequencies {
                            map: FromInput,
                            cells: &plan.x,
                            block,
                            values: x_cells,
                            to: (x_freq, inputs),
                        });
                        let products = AddProducts {
                            panels: job.panels,
                            tiles: count,
                            x: (x_freq, inputs),
                            dy: (y_freq, outputs),
                            begins,
                            target: &mut partial[group * job.panels.len()..],
                        };
                        dispatch(products);
                    }
                }
                if weight.is_some() {
                    for (sample, cells) in together.clone().zip(dx_cells.chunks_exact(plan.x.len())) {
                        let dx = &mut dx[(image(sample) - samples.start * g.groups) * x_len..][..x_len];
                        plan.x.scatter(cells, None, dx);
                        if let Some(sums) = sums {
                            sums.take(image(sample) * x_len, dx);
                        }
                    }
                }
            }
        }
    }
}
