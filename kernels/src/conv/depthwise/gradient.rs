//! Both gradients of a depthwise convolution.
//!
//! The gradient of the input is a correlation of the padded gradient of the output with the kernel
//! turned round, for every phase of the input by itself. That of the weights multiplies the two padded
//! planes tap by tap; lanes are added up only after a few samples.

use super::layout::Padded;
use super::rows::{Correlation, Products, TapProducts, Taps, vectors};
use super::strips::{self, StripProducts, Strips};
use super::{SAMPLES, aligned, first_read, flush, gradient_jobs, input_taps, padded_input};
use crate::conv::algorithm::Backward;
use crate::conv::geometry::{Axis, Geometry};
use crate::conv::planes::copy;
use crate::parallel;
use crate::simd::{Float, Isa, Kernel, LANES, Lanes, WIDE_LANES, dispatch, prefetch};
use std::ops::Range;

/// As [`Backward::run`].
pub(super) fn gradients<T: Float>(of: &Backward<'_, T>) -> (Vec<T>, Vec<T>) {
    let &Backward { g, x, weight, dy, .. } = of;
    let plan = Plan::new(g);
    let kernels = weight.map(|weight| turned(&plan, weight));
    gradient_jobs(of, |samples, dx| {
        let room = x.map_or(0, |x| x.room(g.input_plane())).max(dy.room(g.outputs * g.output_plane()));
        let lens = [plan.x.len(), g.outputs * plan.dy.len(), plan.results(), room];
        parallel::with_scratch(lens.iter().sum(), |scratch| {
            let (x_plane, rest) = scratch.split_at_mut(lens[0]);
            let (dy_planes, rest) = rest.split_at_mut(lens[1]);
            let (results, room) = rest.split_at_mut(lens[2]);
            let (plan, kernels) = (&plan, kernels.as_deref());
            dispatch(Samples { of, plan, samples, kernels, dx, x_plane, dy_planes, results, room })
        })
    })
}

/// One phase of the input.
struct Phase {
    correlation: Correlation,
    /// The weights of its taps, as indices into those of a group.
    weights: Vec<usize>,
    /// Result `[r, q]` is element `[row + r * stride, column + q * stride]` of the input.
    row: isize,
    column: isize,
}

/// What all planes have in common.
struct Plan<'a> {
    g: &'a Geometry,
    x: Padded,
    dy: Padded,
    phases: Vec<Phase>,
    /// Rows and columns of the result of a phase.
    extent: (usize, usize),
    /// One for every output of a group.
    products: Vec<Products>,
}

impl<'a> Plan<'a> {
    fn new(g: &'a Geometry) -> Self {
        let x = padded_input(g);
        let (rows, mut columns) = (Span::new(g.height), Span::new(g.width));
        let extent = (rows.length, columns.length);
        let room = (columns.first + columns.length.next_multiple_of(LANES))
            .max(g.width.output.next_multiple_of(LANES));
        let (before, segment) = aligned(columns.before, room);
        let dy = Padded {
            source: (g.height.output, g.width.output),
            before: (rows.before, before),
            rows: rows.before + g.height.output.max(rows.first + rows.length),
            phases: 1,
            segment,
        };
        columns.before = before;
        let column_phases = g.width.phases();
        let phases = g.height.phases().into_iter().flat_map(|r| column_phases.iter().map(move |&c| (r, c)));
        let phases = phases.map(|phase| Phase::new(g, &dy, (&rows, &columns), phase)).collect();
        let (height, width) = (g.height.output, g.width.output.next_multiple_of(LANES));
        let products = |output: usize| {
            let first = output * dy.len() + rows.before * dy.row() + columns.before;
            let (x_row, dy_row) = (x.row(), dy.row());
            if let Some(edge) = strips::edge(g) {
                let (rows, columns, x_first) = (height, width, first_read(g, &x));
                return Products::Strips(StripProducts {
                    edge,
                    rows,
                    columns,
                    x_row,
                    x_first,
                    dy_row,
                    first,
                });
            }
            let starts = vectors((height, width), g.height.stride * x_row, dy_row);
            let starts = starts.into_iter().map(|(x, dy)| (x, first + dy)).collect();
            Products::Taps(TapProducts::new(input_taps(g, &x), starts))
        };
        let products = (0..g.outputs).map(products).collect();
        Self { g, x, dy, phases, extent, products }
    }

    /// Room for the results of a phase.
    fn results(&self) -> usize {
        (self.extent.0 * self.extent.1 + LANES).next_multiple_of(WIDE_LANES)
    }

    /// Whether the result of the only phase is the whole plane.
    #[inline(always)]
    fn direct(&self) -> bool {
        (self.g.height.stride, self.g.width.stride) == (1, 1)
    }
}

/// The elements of an axis' phases that lie inside the input, and how far back their taps reach.
struct Span {
    first: usize,
    length: usize,
    /// Zeros before the first output.
    before: usize,
}

impl Span {
    fn new(axis: Axis) -> Self {
        let (first, end) = axis.inside();
        let first = first.max(0) as usize;
        let length = (end.max(0) as usize).saturating_sub(first);
        Self { first, length, before: axis.reach().saturating_sub(first) }
    }
}

impl Phase {
    fn new(g: &Geometry, dy: &Padded, (rows, columns): (&Span, &Span), phase: (usize, usize)) -> Self {
        // Of several outputs the taps add up the planes.
        if let (Some(edge), 1) = (strips::edge(g), g.outputs) {
            let first = |span: &Span| span.first + span.before + 1 - edge;
            let correlation = Correlation::Strips(Strips {
                edge,
                rows: rows.length,
                columns: columns.length,
                source_row: dy.row(),
                first: first(rows) * dy.row() + first(columns),
            });
            // The kernel turned round.
            return Self { correlation, weights: (0..g.taps()).rev().collect(), row: 0, column: 0 };
        }
        let taps_of = |axis: Axis, phase| (0..axis.kernel).filter(move |&k| axis.tap(k).phase == phase);
        let (mut taps, mut weights) = (Vec::new(), Vec::new());
        for output in 0..g.outputs {
            for ky in taps_of(g.height, phase.0) {
                let row = rows.first + rows.before - g.height.tap(ky).quotient;
                for kx in taps_of(g.width, phase.1) {
                    let column = columns.first + columns.before - g.width.tap(kx).quotient;
                    taps.push(output * dy.len() + row * dy.row() + column);
                    weights.push(output * g.taps() + ky * g.width.kernel + kx);
                }
            }
        }
        let place = |axis: Axis, span: &Span, phase: usize| {
            (span.first * axis.stride + phase) as isize - axis.padding as isize
        };
        Self {
            correlation: Correlation::Taps(Taps::new(taps, (rows.length, columns.length), dy.row())),
            weights,
            row: place(g.height, rows, phase.0),
            column: place(g.width, columns, phase.1),
        }
    }
}

/// All groups of some samples.
struct Samples<'a, T> {
    of: &'a Backward<'a, T>,
    plan: &'a Plan<'a>,
    samples: Range<usize>,
    /// See [`turned`].
    kernels: Option<&'a [T]>,
    dx: &'a mut [T],
    x_plane: &'a mut [T],
    dy_planes: &'a mut [T],
    results: &'a mut [T],
    room: &'a mut [T],
}

impl<T: Float> Kernel for Samples<'_, T> {
    type Output = Vec<f64>;

    /// Writes the samples' part of `dx`, returns that of `dw`.
    #[inline(always)]
    fn run<I: Isa>(self) -> Vec<f64> {
        let Self { of, plan, samples, kernels, dx, x_plane, dy_planes, results, room } = self;
        let &Backward { g, x, dy, sums: input_sums, .. } = of;
        let (from, to, per_group) = (g.input_plane(), g.output_plane(), g.outputs * g.taps());
        let wanted = if x.is_some() { g.groups * per_group } else { 0 };
        let mut sums = vec![Lanes::ZERO; wanted];
        let mut totals = vec![0.0; wanted];
        x_plane.fill(T::ZERO);
        dy_planes.fill(T::ZERO);
        for (i, sample) in samples.clone().enumerate() {
            for group in 0..g.groups {
                let at = sample * g.groups + group;
                let values = at * g.outputs * to..(at + 1) * g.outputs * to;
                dy.prefetch_next::<I>(values.clone());
                let dys = dy.read(values, room).chunks_exact(to);
                for (dy, plane) in dys.zip(dy_planes.chunks_exact_mut(plan.dy.len())) {
                    plan.dy.fill::<I, T>(dy, plane);
                }
                if let Some(kernels) = kernels {
                    let dx = &mut dx[(i * g.groups + group) * from..][..from];
                    prefetch::<I, T>(dx, from);
                    input::<I, T>(plan, &kernels[group * per_group..], dy_planes, results, dx);
                    if let Some(sums) = input_sums {
                        sums.take(at * from, dx);
                    }
                }
                if let Some(x) = x {
                    let values = at * from..(at + 1) * from;
                    x.prefetch_next::<I>(values.clone());
                    plan.x.fill::<I, T>(x.read(values, room), x_plane);
                    let sums = sums[group * per_group..][..per_group].chunks_exact_mut(g.taps());
                    for (products, sums) in plan.products.iter().zip(sums) {
                        products.add_to::<I, T>(x_plane, dy_planes, sums);
                    }
                }
            }
            if (i + 1) % SAMPLES == 0 || i + 1 == samples.len() {
                flush(&mut sums, &mut totals);
            }
        }
        totals
    }
}

/// The weights in the order of the phases' taps.
fn turned<T: Float>(plan: &Plan<'_>, weight: &[T]) -> Vec<T> {
    let order = || plan.phases.iter().flat_map(|phase| &phase.weights);
    weight
        .chunks_exact(plan.g.outputs * plan.g.taps())
        .flat_map(|group| order().map(|&at| group[at]))
        .collect()
}

/// The gradient of one plane of the input, from the padded planes that depend on it.
#[inline(always)]
fn input<I: Isa, T: Float>(plan: &Plan<'_>, kernels: &[T], dy: &[T], results: &mut [T], dx: &mut [T]) {
    if plan.direct() {
        plan.phases[0].correlation.plane::<I, T>(dy, kernels, T::ZERO, results, dx);
        return;
    }
    // Phases that no tap reads, and with dilation there may be many, get nothing.
    if plan.phases.len() < plan.g.height.stride * plan.g.width.stride {
        dx.fill(T::ZERO);
    }
    let mut kernels = kernels;
    for phase in &plan.phases {
        phase.correlation.run::<I, T>(dy, kernels, T::ZERO, results);
        kernels = &kernels[phase.weights.len()..];
        scatter(plan, phase, results, dx);
    }
}

/// Puts the results of a phase where they belong; those outside the input are dropped.
#[inline(always)]
fn scatter<T: Float>(plan: &Plan<'_>, phase: &Phase, results: &[T], dx: &mut [T]) {
    let (row_step, column_step) = (plan.g.height.stride, plan.g.width.stride);
    let (height, width) = (plan.g.height.input, plan.g.width.input);
    let skip = usize::try_from(-phase.column).unwrap_or(0).div_ceil(column_step);
    let column = (phase.column + (skip * column_step) as isize) as usize;
    if skip >= plan.extent.1 || column >= width {
        return;
    }
    for (r, results) in results.chunks_exact(plan.extent.1).enumerate().take(plan.extent.0) {
        let row = phase.row + (r * row_step) as isize;
        if row < 0 || row >= height as isize {
            continue;
        }
        let (source, target) = (&results[skip..], &mut dx[row as usize * width..][column..width]);
        if column_step == 1 {
            let count = source.len().min(target.len());
            copy(&source[..count], &mut target[..count]);
        } else {
            target.iter_mut().step_by(column_step).zip(source).for_each(|(to, from)| *to = *from);
        }
    }
}
