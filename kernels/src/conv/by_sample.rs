//! Convolutions that take one sample after the other, forward and backward.

use super::algorithm::{Backward, Forward};
use super::correlate::Correlator;
use super::forward::forward as direct_forward;
use super::geometry::Geometry;
use super::input_gradient::input_gradient as direct_input_gradient;
use super::pointwise::{self, Map};
use super::tile::Tiles;
use super::weight_gradient::Plan;
use crate::parallel::{self, Shared};
use crate::simd::Float;

/// Most parts of a batch: it is cut at places that depend on its size alone, so that sums have the same bits for any
/// number of threads.
const PARTS: usize = 8;
/// Fewest pixels of a part, so that small batches are not all bookkeeping.
const PART_PIXELS: usize = 256;

/// A linear map from the channels that are read to those that are written.
enum Way<'a, T> {
    Pointwise(Map<'a, T>),
    Direct(Correlator<'a, T>, Tiles),
}

impl<'a, T: Float> Way<'a, T> {
    fn forward(g: &Geometry, weight: &'a [T], bias: Option<&'a [T]>) -> Self {
        match pointwise::fits(g) {
            true => Self::Pointwise(Map::forward(g, weight, bias)),
            false => Self::direct(direct_forward(g, weight, bias)),
        }
    }

    fn input_gradient(g: &Geometry, weight: &'a [T]) -> Self {
        match pointwise::fits(g) {
            true => Self::Pointwise(Map::input_gradient(g, weight)),
            false => Self::direct(direct_input_gradient(g, weight)),
        }
    }

    fn direct(correlator: Correlator<'a, T>) -> Self {
        let tiles = correlator.tiles();
        Self::Direct(correlator, tiles)
    }

    /// Samples that are best mapped together.
    fn batch(&self) -> usize {
        match self {
            Self::Pointwise(map) => map.batch(),
            Self::Direct(..) => 1,
        }
    }

    /// Maps as many samples, or fewer.
    fn samples(&self, source: &[T], target: &mut [T]) {
        match self {
            Self::Pointwise(map) => map.samples(source, target),
            Self::Direct(correlator, tiles) => correlator.sample(tiles, source, target),
        }
    }
}

/// The convolution itself.
pub(super) fn forward<T: Float>(of: &Forward<'_, T>) -> Vec<T> {
    let &Forward { g, x, weight, bias, then } = of;
    let way = Way::forward(g, weight, bias);
    let (from, to) = (g.groups * g.channels * g.input_plane(), g.groups * g.outputs * g.output_plane());
    let size = way.batch();
    of.build_chunks(g.batch * to, size * to, |i, y| {
        let (first, samples) = (i * size, y.len() / to);
        parallel::with_scratch(x.room(samples * from), |room| {
            way.samples(x.read(first * from..(first + samples) * from, room), y);
        });
        then.go_on(first * to, y);
    })
}

/// As [`Backward::run`].
pub(super) fn gradients<T: Float>(of: &Backward<'_, T>) -> (Vec<T>, Vec<T>) {
    let &Backward { g, x, weight, dy, sums } = of;
    let way = weight.map(|weight| Way::input_gradient(g, weight));
    let plan = x.map(|x| (x, Plan::new(g)));
    let size = g.batch.div_ceil(PARTS).max(PART_PIXELS.div_ceil(g.output_plane()));
    let parts = g.batch.div_ceil(size);
    let (x_len, dy_len) = (g.groups * g.channels * g.input_plane(), g.groups * g.outputs * g.output_plane());
    let dx_len = way.as_ref().map_or(0, |_| x_len);
    let partial_len = plan.as_ref().map_or(0, |(_, plan)| plan.partial_len());
    parallel::with_scratch(parts * partial_len, |partials| {
        let dx = parallel::build(g.batch * dx_len, |dx| {
            let (dx, partials) = (Shared::new(dx), Shared::new(partials));
            parallel::map(parts, |part| {
                // SAFETY: a part has one job, and a sample one part.
                let partial = unsafe { partials.range(part * partial_len..(part + 1) * partial_len) };
                partial.fill(T::ZERO);
                let together = way.as_ref().map_or(1, Way::batch);
                let x_room = x.map_or(0, |x| x.room(x_len));
                parallel::with_scratch(x_room + dy.room(together * dy_len), |room| {
                    let (x_room, dy_room) = room.split_at_mut(x_room);
                    let end = g.batch.min((part + 1) * size);
                    for first in (part * size..end).step_by(together) {
                        let samples = first..end.min(first + together);
                        let dy = dy.read(samples.start * dy_len..samples.end * dy_len, dy_room);
                        if let Some(way) = &way {
                            // SAFETY: as above.
                            let dx = unsafe { dx.range(samples.start * x_len..samples.end * x_len) };
                            way.samples(dy, dx);
                            if let Some(sums) = sums {
                                sums.take(samples.start * x_len, dx);
                            }
                        }
                        if let Some((x, plan)) = &plan {
                            for (sample, dy) in samples.zip(dy.chunks_exact(dy_len)) {
                                let x = x.read(sample * x_len..(sample + 1) * x_len, x_room);
                                plan.add(x, dy, partial);
                            }
                        }
                    }
                });
            });
        });
        (dx, plan.map_or_else(Vec::new, |(_, plan)| plan.total(partials)))
    })
}
