//! Small planes: the lanes of a vector are channels.
//!
//! A row of seven pixels leaves most of a vector empty, and whatever is done once a plane costs more than its pixels. So
//! the planes of eight or sixteen channels are copied into a cell, where a pixel of all of them is a vector.
#![allow(clippy::needless_range_loop)] // Counted loops are what the compiler unrolls into registers.

use super::{SAMPLES, gradient_jobs, job_size};
use crate::conv::algorithm::{Backward, Forward};
use crate::conv::cells::Cells;
use crate::conv::geometry::{Axis, Geometry};
use crate::conv::product::PANEL;
use crate::parallel;
use crate::simd::{Float, Isa, Kernel, LANES, Lanes, dispatch};
use std::ops::Range;

/// Whether a convolution is computed here: one output a group, stride 1, and rows of the output shorter than a vector.
pub(super) fn applies(g: &Geometry) -> bool {
    let dense = |axis: Axis| {
        let reach = (axis.kernel - 1) * axis.dilation;
        axis.stride == 1 && axis.padding.max(axis.padding_end) <= reach
    };
    g.outputs == 1 && g.groups >= LANES && g.width.output < LANES && dense(g.height) && dense(g.width)
}

/// How planes are copied into cells, and where the taps are in them.
struct Plan {
    /// The input and the gradient of the output, with zeros around them.
    x: Cells,
    dy: Cells,
    /// The output and the gradient of the input: as there is nothing between their rows, one long row.
    y: Cells,
    dx: Cells,
    /// What each tap reads for the first result, in pixels of `x` and of `dy`.
    taps: Vec<usize>,
    turned: Vec<usize>,
}

impl Plan {
    fn new<T>(g: &Geometry) -> Self {
        let (height, width) = (g.height, g.width);
        let (channels, lanes) = (g.groups, Cells::lanes::<T>(g.groups));
        let reach = |axis: Axis| (axis.kernel - 1) * axis.dilation;
        // With the padding on both sides the result is as large as it must be.
        let padded = |image, result: (usize, usize), padding| {
            let (rows, columns) = (result.0 + reach(height), result.1 + reach(width));
            Cells { channels, lanes, image, rows, columns, padding }
        };
        let row = |(rows, columns)| {
            let columns = rows * columns;
            Cells { channels, lanes, image: (1, columns), rows: 1, columns, padding: (0, 0) }
        };
        let (input, output) = ((height.input, width.input), (height.output, width.output));
        let x = padded(input, output, (height.padding, width.padding));
        let dy = padded(output, input, (reach(height) - height.padding, reach(width) - width.padding));
        let taps = |columns: usize| {
            let place =
                |t: usize| t / width.kernel * height.dilation * columns + t % width.kernel * width.dilation;
            (0..g.taps()).map(place).collect()
        };
        let (taps, turned) = (taps(x.columns), taps(dy.columns));
        Self { x, dy, y: row(output), dx: row(input), taps, turned }
    }

    /// The channels of each cell.
    fn cells(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let Cells { channels, lanes, .. } = self.x;
        (0..channels).step_by(lanes).map(move |first| first..channels.min(first + lanes))
    }

    /// The weights of each cell as `[cell][tap][lane]`, with zeros for missing channels.
    fn weights<T: Float>(&self, weight: &[T], turned: bool) -> Vec<T> {
        let (count, lanes) = (self.taps.len(), self.x.lanes);
        let mut weights = vec![T::ZERO; self.x.count() * count * lanes];
        for (channel, kernel) in weight.chunks_exact(count).enumerate() {
            for (tap, value) in kernel.iter().enumerate() {
                let tap = if turned { count - 1 - tap } else { tap };
                weights[(channel / lanes * count + tap) * lanes + channel % lanes] = *value;
            }
        }
        weights
    }

    fn kernel_len(&self) -> usize {
        self.taps.len() * self.x.lanes
    }
}

/// The numbers of some planes.
fn values(sample: usize, g: &Geometry, channels: &Range<usize>, plane: usize) -> Range<usize> {
    (sample * g.groups + channels.start) * plane..(sample * g.groups + channels.end) * plane
}

pub(super) fn forward<T: Float>(of: &Forward<'_, T>) -> Vec<T> {
    let &Forward { g, x, weight, bias, then } = of;
    let plan = Plan::new::<T>(g);
    let weights = plan.weights(weight, false);
    let (from, to) = (g.input_plane(), g.output_plane());
    let size = job_size(g.batch, g.groups * to);
    of.build_chunks(g.batch * g.groups * to, size * g.groups * to, |job, y| {
        let lens = [plan.x.cell_len(), plan.y.cell_len(), x.room(plan.x.lanes * from)];
        parallel::with_scratch(lens.iter().sum(), |scratch| {
            let (inputs, rest) = scratch.split_at_mut(lens[0]);
            let (outputs, room) = rest.split_at_mut(lens[1]);
            inputs.fill(T::ZERO);
            for (i, y) in y.chunks_exact_mut(g.groups * to).enumerate() {
                let sample = job * size + i;
                for (channels, weights) in plan.cells().zip(weights.chunks_exact(plan.kernel_len())) {
                    let count = channels.len();
                    let x = x.read(values(sample, g, &channels, from), room);
                    Cells { channels: count, ..plan.x }.fill(x, inputs);
                    dispatch(Correlation {
                        taps: &plan.taps,
                        weights,
                        source: (&plan.x, inputs),
                        target: ((g.height.output, g.width.output), outputs),
                    });
                    let y = &mut y[channels.start * to..channels.end * to];
                    let bias = bias.map(|bias| &bias[channels.clone()]);
                    Cells { channels: count, ..plan.y }.scatter(outputs, bias, y);
                    then.go_on(values(sample, g, &channels, to).start, y);
                }
            }
        });
    })
}

/// As [`Backward::run`].
pub(super) fn gradients<T: Float>(of: &Backward<'_, T>) -> (Vec<T>, Vec<T>) {
    let &Backward { g, x, weight, dy, sums: input_sums } = of;
    let plan = Plan::new::<T>(g);
    let weights = weight.map(|weight| plan.weights(weight, true));
    let (from, to) = (g.input_plane(), g.output_plane());
    gradient_jobs(of, |samples, dx| {
        let mut sums = vec![T::ZERO; x.map_or(0, |_| plan.x.count() * plan.kernel_len())];
        let mut totals = vec![0.0; x.map_or(0, |_| g.groups * g.taps())];
        let room = x.map_or(0, |x| x.room(plan.x.lanes * from)).max(dy.room(plan.x.lanes * to));
        let lens = [plan.x.cell_len(), plan.dy.cell_len(), plan.dx.cell_len(), room];
        parallel::with_scratch(lens.iter().sum(), |scratch| {
            let (inputs, rest) = scratch.split_at_mut(lens[0]);
            let (gradients, rest) = rest.split_at_mut(lens[1]);
            let (results, room) = rest.split_at_mut(lens[2]);
            inputs.fill(T::ZERO);
            gradients.fill(T::ZERO);
            for (i, sample) in samples.clone().enumerate() {
                for (cell, channels) in plan.cells().enumerate() {
                    let (count, kernel) = (channels.len(), cell * plan.kernel_len());
                    let kernel = kernel..kernel + plan.kernel_len();
                    let dy = dy.read(values(sample, g, &channels, to), room);
                    Cells { channels: count, ..plan.dy }.fill(dy, gradients);
                    if let Some(weights) = &weights {
                        dispatch(Correlation {
                            taps: &plan.turned,
                            weights: &weights[kernel.clone()],
                            source: (&plan.dy, gradients),
                            target: ((g.height.input, g.width.input), results),
                        });
                        let dx = &mut dx[values(i, g, &channels, from)];
                        Cells { channels: count, ..plan.dx }.scatter(results, None, dx);
                        if let Some(sums) = input_sums {
                            sums.take(values(sample, g, &channels, from).start, dx);
                        }
                    }
                    if let Some(x) = x {
                        let x = x.read(values(sample, g, &channels, from), room);
                        Cells { channels: count, ..plan.x }.fill(x, inputs);
                        dispatch(Products {
                            taps: &plan.taps,
                            x: (&plan.x, inputs),
                            dy: (&plan.dy, gradients),
                            sums: &mut sums[kernel],
                        });
                    }
                }
                if (i + 1) % SAMPLES == 0 || i + 1 == samples.len() {
                    flush(&plan, &mut sums, &mut totals);
                }
            }
        });
        totals
    })
}

/// Adds sums `[cell][tap][lane]` to totals `[channel][tap]`.
fn flush<T: Float>(plan: &Plan, sums: &mut [T], totals: &mut [f64]) {
    let (taps, lanes) = (plan.taps.len(), plan.x.lanes);
    for (channel, totals) in totals.chunks_exact_mut(taps).enumerate() {
        let sums = &sums[channel / lanes * taps * lanes + channel % lanes..];
        totals.iter_mut().zip(sums.iter().step_by(lanes)).for_each(|(total, sum)| *total += sum.widen());
    }
    sums.fill(T::ZERO);
}

/// A weighted sum of pixels of the source for every pixel of the target.
struct Correlation<'a, T> {
    taps: &'a [usize],
    weights: &'a [T],
    source: (&'a Cells, &'a [T]),
    /// Rows and columns, and their pixels.
    target: ((usize, usize), &'a mut [T]),
}

impl<T: Float> Kernel for Correlation<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        if I::WIDE && self.source.0.lanes == PANEL {
            self.rows::<I, PANEL>();
        } else {
            self.rows::<I, LANES>();
        }
    }
}

impl<T: Float> Correlation<'_, T> {
    #[inline(always)]
    fn rows<I: Isa, const N: usize>(self) {
        let Self { taps, weights, source: (from, source), target: ((rows, columns), target) } = self;
        // The bounds of all reads and writes below.
        let reach = taps.iter().max().unwrap_or(&0) + (rows - 1) * from.columns + columns;
        assert!(reach * N <= source.len() && rows * columns * N <= target.len());
        assert!(taps.len() * N <= weights.len() && from.lanes == N);
        for row in 0..rows {
            let tiles = Tiles::<T> {
                taps,
                weights: weights.as_ptr(),
                source: source[row * from.columns * N..].as_ptr(),
                target: target[row * columns * N..].as_mut_ptr(),
                columns,
            };
            // SAFETY: the assertions above.
            unsafe {
                match columns {
                    7.. => tiles.run::<I, N, 7>(),
                    4.. => tiles.run::<I, N, 4>(),
                    _ => tiles.run::<I, N, 1>(),
                }
            }
        }
    }
}

/// A row of the target.
struct Tiles<'a, T> {
    taps: &'a [usize],
    weights: *const T,
    source: *const T,
    target: *mut T,
    columns: usize,
}

impl<T: Float> Tiles<'_, T> {
    /// `PIXELS` at a time; the last ones overlap those before.
    ///
    /// # Safety
    /// Everything must be there, and a row must have as many pixels.
    #[inline(always)]
    unsafe fn run<I: Isa, const N: usize, const PIXELS: usize>(&self) {
        for step in (0..self.columns).step_by(PIXELS) {
            let first = step.min(self.columns - PIXELS);
            let mut sums = [Lanes::<T, N>::ZERO; PIXELS];
            unsafe {
                for (t, tap) in self.taps.iter().enumerate() {
                    let weight = Lanes::load(self.weights.add(t * N));
                    let source = self.source.add((first + tap) * N);
                    for p in 0..PIXELS {
                        sums[p] = Lanes::load(source.add(p * N)).mul_add::<I>(weight, sums[p]);
                    }
                }
                for p in 0..PIXELS {
                    sums[p].store(self.target.add((first + p) * N));
                }
            }
        }
    }
}

/// For every tap the products of the gradients with what it reads, added to `sums`, `[tap][lane]`.
struct Products<'a, T> {
    taps: &'a [usize],
    x: (&'a Cells, &'a [T]),
    /// Padded too; the gradients are where its image is.
    dy: (&'a Cells, &'a [T]),
    sums: &'a mut [T],
}

/// Taps whose sums are made together: enough not to wait for one another, and few enough for 16 registers.
const TOGETHER: usize = 9;

impl<T: Float> Kernel for Products<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        if I::WIDE && self.x.0.lanes == PANEL {
            self.taps::<I, PANEL>();
        } else {
            self.taps::<I, LANES>();
        }
    }
}

impl<T: Float> Products<'_, T> {
    #[inline(always)]
    fn taps<I: Isa, const N: usize>(self) {
        let Self { taps, x: (x_cells, x), dy: (dy_cells, dy), sums } = self;
        let (rows, columns) = dy_cells.image;
        let dy_first = dy_cells.padding.0 * dy_cells.columns + dy_cells.padding.1;
        // The bounds of all reads and writes below.
        let reach = taps.iter().max().unwrap_or(&0) + (rows - 1) * x_cells.columns + columns;
        let dy_end = dy_first + (rows - 1) * dy_cells.columns + columns;
        assert!(reach * N <= x.len() && dy_end * N <= dy.len());
        assert!(taps.len() * N <= sums.len() && x_cells.lanes == N && dy_cells.lanes == N);
        for (taps, sums) in taps.chunks(TOGETHER).zip(sums.chunks_mut(TOGETHER * N)) {
            // Where there are fewer, the last one stands in.
            let mut places = [taps[taps.len() - 1]; TOGETHER];
            places[..taps.len()].copy_from_slice(taps);
            let mut products = [Lanes::<T, N>::ZERO; TOGETHER];
            // SAFETY: the assertions above.
            unsafe {
                for row in 0..rows {
                    let x = x.as_ptr().add(row * x_cells.columns * N);
                    let dy = dy.as_ptr().add((dy_first + row * dy_cells.columns) * N);
                    for column in 0..columns {
                        let gradient = Lanes::load(dy.add(column * N));
                        for t in 0..TOGETHER {
                            let x = Lanes::<T, N>::load(x.add((column + places[t]) * N));
                            products[t] = x.mul_add::<I>(gradient, products[t]);
                        }
                    }
                }
                for t in 0..taps.len() {
                    let sum = sums.as_mut_ptr().add(t * N);
                    I::add_lanes(Lanes::load(sum), products[t]).store(sum);
                }
            }
        }
    }
}
