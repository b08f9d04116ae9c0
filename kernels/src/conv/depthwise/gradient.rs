//! Both gradients of a depthwise convolution.
//!
//! The gradient of the input is a correlation of the padded gradient of the output with the kernel
//! turned round, for every phase of the input by itself. That of the weights multiplies the two padded
//! planes tap by tap; lanes are added up only after a few samples.

use super::layout::Padded;
use super::rows::{Correlation, Products, vectors};
use super::{input_taps, job_size, padded_input};
use crate::conv::geometry::{Axis, Geometry};
use crate::conv::planes::copy;
use crate::parallel::{self, Shared};
use crate::simd::{Float, Isa, Kernel, LANES, Lanes, dispatch};
use std::ops::Range;

/// Samples whose products are added in the number's own precision, lane by lane.
const SAMPLES: usize = 8;

/// `(dx, dw)` of a depthwise convolution: `dx` if there is a `weight`, `dw` if there is an `x`, otherwise
/// empty.
///
/// A job has some of the groups and all samples, so no sum is spread over jobs.
pub(in crate::conv) fn gradients<T: Float>(
    g: &Geometry,
    x: Option<&[T]>,
    weight: Option<&[T]>,
    dy: &[T],
) -> (Vec<T>, Vec<T>) {
    let plan = Plan::new(g);
    let size = job_size(g.groups, g.batch * g.input_plane());
    let mut dw = Vec::new();
    let length = if weight.is_some() { g.batch * g.groups * g.input_plane() } else { 0 };
    let dx = parallel::build(length, |dx| {
        let dx = Shared::new(dx);
        let parts = parallel::map(g.groups.div_ceil(size), |job| {
            let groups = job * size..g.groups.min((job + 1) * size);
            let lens = [plan.x.len(), g.outputs * plan.dy_len(), plan.results()];
            parallel::with_scratch(lens.iter().sum(), |scratch| {
                let (x_plane, rest) = scratch.split_at_mut(lens[0]);
                let (dy_planes, results) = rest.split_at_mut(lens[1]);
                dispatch(Groups { plan: &plan, groups, x, weight, dy, dx: &dx, x_plane, dy_planes, results })
            })
        });
        dw = parts.concat();
    });
    (dx, dw)
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
        let (rows, columns) = (Span::new(g.height), Span::new(g.width));
        let extent = (rows.length, columns.length);
        let room = (columns.first + columns.length.next_multiple_of(LANES))
            .max(g.width.output.next_multiple_of(LANES));
        let dy = Padded {
            source: (g.height.output, g.width.output),
            before: (rows.before, columns.before),
            rows: rows.before + g.height.output.max(rows.first + rows.length),
            phases: 1,
            segment: columns.before + room,
        };
        let column_phases = g.width.phases();
        let phases = g.height.phases().into_iter().flat_map(|r| column_phases.iter().map(move |&c| (r, c)));
        let phases = phases.map(|phase| Phase::new(g, &dy, (&rows, &columns), phase)).collect();
        let taps = input_taps(g, &x);
        let pixels = (g.height.output, g.width.output.next_multiple_of(LANES));
        let products = |output: usize| {
            let first = output * dy.len() + rows.before * dy.row() + columns.before;
            let starts = vectors(pixels, g.height.stride * x.row(), dy.row());
            Products::new(taps.clone(), starts.into_iter().map(|(x, dy)| (x, first + dy)).collect())
        };
        let products = (0..g.outputs).map(products).collect();
        Self { g, x, dy, phases, extent, products }
    }

    fn dy_len(&self) -> usize {
        self.dy.len()
    }

    /// Room for the results of a phase.
    fn results(&self) -> usize {
        self.extent.0 * self.extent.1 + LANES
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
        let starts = vectors((rows.length, columns.length), dy.row(), columns.length);
        Self {
            correlation: Correlation::new(taps, starts),
            weights,
            row: place(g.height, rows, phase.0),
            column: place(g.width, columns, phase.1),
        }
    }
}

/// Some groups of all samples.
struct Groups<'a, T> {
    plan: &'a Plan<'a>,
    groups: Range<usize>,
    x: Option<&'a [T]>,
    weight: Option<&'a [T]>,
    dy: &'a [T],
    dx: &'a Shared<T>,
    x_plane: &'a mut [T],
    dy_planes: &'a mut [T],
    results: &'a mut [T],
}

impl<T: Float> Kernel for Groups<'_, T> {
    type Output = Vec<T>;

    /// Writes the groups' part of `dx`, returns that of `dw`.
    #[inline(always)]
    fn run<I: Isa>(self) -> Vec<T> {
        let Self { plan, groups, x, weight, dy, dx, x_plane, dy_planes, results } = self;
        let (from, to) = (plan.g.input_plane(), plan.g.output_plane());
        let per_group = plan.g.outputs * plan.g.taps();
        let kernels =
            weight.map(|weight| turned(plan, &weight[groups.start * per_group..groups.end * per_group]));
        let mut sums = vec![Lanes::ZERO; groups.len() * per_group];
        let mut totals = vec![0.0; sums.len()];
        x_plane.fill(T::ZERO);
        dy_planes.fill(T::ZERO);
        for sample in 0..plan.g.batch {
            for (i, group) in groups.clone().enumerate() {
                let at = sample * plan.g.groups + group;
                let dys = dy[at * plan.g.outputs * to..].chunks_exact(to);
                for (dy, plane) in dys.zip(dy_planes.chunks_exact_mut(plan.dy.len())) {
                    plan.dy.fill(dy, plane);
                }
                if let Some(kernels) = &kernels {
                    // SAFETY: a group of a sample belongs to one job.
                    let dx = unsafe { dx.range(at * from..(at + 1) * from) };
                    input::<I, T>(plan, &kernels[i * per_group..], dy_planes, results, dx);
                }
                if let Some(x) = x {
                    plan.x.fill(&x[at * from..(at + 1) * from], x_plane);
                    let sums = sums[i * per_group..].chunks_exact_mut(plan.g.taps());
                    for (products, sums) in plan.products.iter().zip(sums) {
                        products.add_to::<I, T>(x_plane, dy_planes, sums);
                    }
                }
            }
            if (sample + 1) % SAMPLES == 0 || sample + 1 == plan.g.batch {
                flush(&mut sums, &mut totals);
            }
        }
        match x {
            Some(_) => totals.into_iter().map(T::of).collect(),
            None => Vec::new(),
        }
    }
}

#[inline(always)]
fn flush<T: Float>(sums: &mut [Lanes<T>], totals: &mut [f64]) {
    for (sum, total) in sums.iter_mut().zip(totals) {
        *total += sum.sum().to_f64();
        *sum = Lanes::ZERO;
    }
}

/// The weights of some groups in the order of the phases' taps.
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
        plan.phases[0].correlation.plane::<I, T>(plan.extent.1, dy, kernels, T::ZERO, results, dx);
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
