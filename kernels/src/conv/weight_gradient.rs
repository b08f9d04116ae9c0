//! The gradient of the weights, as products of matrices.
//!
//! `dw[o][c][tap] = sum over samples and pixels p of dy[o][p] * x[c][p + offset(tap)]`: a product of the
//! pixels of all (channel, tap) pairs with those of the output's gradient. The gradient is turned round a few
//! rows at a time, so that eight outputs of a pixel are a vector; a tile keeps the sums of six pairs with
//! sixteen outputs in registers. The pairs read one padded copy of the input, or the input itself where the
//! kernel is one pixel.
#![allow(clippy::needless_range_loop)] // Counted loops are what the compiler unrolls into registers.

use super::forward::{input_planes, input_taps};
use super::geometry::Geometry;
use super::interleave::{Channels, gather_row, prefetch_rows};
use super::planes::Planes;
use super::pointwise;
use super::product::{Factors, PANEL, Tiled, cover, start};
use crate::parallel;
use crate::simd::{Float, Isa, Kernel, LANES, Lanes, PAGE, dispatch};

/// Pixels whose output gradients are turned round together, few enough for the first-level cache.
const TOGETHER: usize = 128;

/// How the gradient of the weights is computed.
pub(super) struct Plan<'a> {
    g: &'a Geometry,
    /// How the input is copied; where the kernel is one pixel it is read where it lies.
    planes: Option<Planes>,
    /// Where the first pixel of each (channel, tap) pair lies among those of a group.
    pairs: Vec<usize>,
}

/// Some rows of the output.
struct Rows {
    /// Place of the first output in its plane, and of the first input of a pair behind the pair's first pixel.
    dy: usize,
    x: usize,
    count: usize,
    width: usize,
    /// Distance between the rows of the input.
    x_row: usize,
}

impl<'a> Plan<'a> {
    pub fn new(g: &'a Geometry) -> Self {
        if pointwise::single(g) {
            let pairs = (0..g.channels).map(|channel| channel * g.input_plane()).collect();
            return Self { g, planes: None, pairs };
        }
        let planes = input_planes(g);
        let (taps, length) = (input_taps(g, &planes), planes.channel_len());
        let pairs = (0..g.channels).flat_map(|c| taps.iter().map(move |tap| c * length + tap)).collect();
        Self { g, planes: Some(planes), pairs }
    }

    /// Room for the sums of all groups.
    pub fn partial_len(&self) -> usize {
        self.g.groups * self.group_len()
    }

    /// Adds the part of one sample to `partial`, the sums so far.
    pub fn add<T: Float>(&self, x: &[T], dy: &[T], partial: &mut [T]) {
        parallel::with_scratch(self.copy_len() + self.turned_len(), |scratch| {
            let (copy, turned) = scratch.split_at_mut(self.copy_len());
            dispatch(Sample { plan: self, x, dy, partial, copy, turned });
        });
    }

    /// The gradient in the layout of the weights, from the sums of all parts of the batch, which are added to the first.
    pub fn total<T: Float>(&self, partials: &mut [T]) -> Vec<T> {
        let (g, pairs) = (self.g, self.pairs.len());
        let (total, rest) = partials.split_at_mut(self.partial_len());
        for partial in rest.chunks_exact(total.len()) {
            total.iter_mut().zip(partial).for_each(|(total, part)| *total += *part);
        }
        let mut weights = Vec::with_capacity(g.groups * g.outputs * pairs);
        for group in total.chunks_exact(self.group_len()) {
            for output in 0..g.outputs {
                weights.extend(group[output..].iter().step_by(self.columns()));
            }
        }
        weights
    }

    /// Outputs of a group, in whole vectors.
    fn columns(&self) -> usize {
        self.g.outputs.next_multiple_of(LANES)
    }

    /// Room for the sums of a group, `[pairs, columns]`.
    fn group_len(&self) -> usize {
        self.pairs.len() * self.columns()
    }

    /// Room for the copy of a group of the input.
    fn copy_len(&self) -> usize {
        self.planes.as_ref().map_or(0, |planes| planes.len(self.g.channels))
    }

    /// Whether channels are read where they lie, some pixels of each in turn, and few of them share a page.
    fn reads_far_apart<T>(&self) -> bool {
        self.planes.is_none() && self.g.output_plane() * size_of::<T>() > PAGE / 2
    }

    /// Pixels that are turned round together.
    fn together(&self) -> usize {
        match &self.planes {
            Some(_) => TOGETHER.max(self.g.width.output),
            None => TOGETHER,
        }
    }

    fn turned_len(&self) -> usize {
        self.columns() * self.together()
    }

    /// Where the first pixel of the panel that begins with an output is turned to, and the distance between pixels: the
    /// outputs of a panel are neighbours.
    #[inline(always)]
    fn turned(&self, column: usize) -> (usize, usize) {
        (column * self.together(), PANEL.min(self.columns() - column))
    }

    /// All pixels of the output, [`Self::together`] at a time.
    #[inline(always)]
    fn rows(&self) -> impl Iterator<Item = Rows> {
        // Without a copy there is nothing between the rows: the plane is a single one.
        let (height, width, x_row) = match &self.planes {
            Some(planes) => (self.g.height.output, self.g.width.output, planes.columns),
            None => (1, self.g.output_plane(), 0),
        };
        let (rows, columns) = ((self.together() / width).max(1), self.together());
        (0..height).step_by(rows).flat_map(move |row| {
            (0..width).step_by(columns).map(move |column| Rows {
                dy: row * width + column,
                x: row * x_row + column,
                count: rows.min(height - row),
                width: columns.min(width - column),
                x_row,
            })
        })
    }
}

/// The part of one sample.
struct Sample<'a, T> {
    plan: &'a Plan<'a>,
    x: &'a [T],
    dy: &'a [T],
    /// `[groups, pairs, outputs in whole vectors]`
    partial: &'a mut [T],
    copy: &'a mut [T],
    turned: &'a mut [T],
}

impl<T: Float> Kernel for Sample<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { plan, x, dy, partial, copy, turned } = self;
        let g = plan.g;
        let images = x.chunks_exact(g.channels * g.input_plane());
        let gradients = dy.chunks_exact(g.outputs * g.output_plane());
        let groups = partial.chunks_exact_mut(plan.group_len());
        for ((x, dy), sums) in images.zip(gradients).zip(groups) {
            let x = match &plan.planes {
                Some(planes) => {
                    planes.gather(x, copy);
                    &*copy
                }
                None => x,
            };
            for rows in plan.rows() {
                let pixels = rows.count * rows.width;
                for column in (0..plan.columns()).step_by(PANEL) {
                    let (first, distance) = plan.turned(column);
                    let count = (g.outputs - column).min(distance);
                    let channels = Channels { count, plane: g.output_plane() };
                    let (dy, turned) = (&dy[column * g.output_plane() + rows.dy..], &mut turned[first..]);
                    if plan.reads_far_apart::<T>() {
                        prefetch_rows::<I, T>(dy, channels, pixels, pixels);
                    }
                    gather_row::<I, T>(dy, channels, pixels, turned, (distance, distance));
                }
                if plan.reads_far_apart::<T>() {
                    let channels = Channels { count: g.channels, plane: g.input_plane() };
                    prefetch_rows::<I, T>(&x[rows.x..], channels, pixels, pixels);
                }
                Tiles { plan, rows: &rows, x, turned }.add_to::<I>(sums);
            }
        }
    }
}

/// The products of some rows.
struct Tiles<'a, T> {
    plan: &'a Plan<'a>,
    rows: &'a Rows,
    x: &'a [T],
    turned: &'a [T],
}

impl<T: Float> Tiles<'_, T> {
    #[inline(always)]
    fn add_to<I: Isa>(&self, sums: &mut [T]) {
        let Self { plan, rows, x, turned } = self;
        let columns = plan.columns();
        // The bounds of all reads and writes in `tile`.
        let last = rows.x + (rows.count - 1) * rows.x_row + rows.width;
        assert!(plan.pairs.iter().all(|pair| pair + last <= x.len()));
        assert!(rows.count * rows.width <= plan.together() && turned.len() >= plan.turned_len());
        assert!(sums.len() >= plan.group_len());
        let whole = columns / PANEL * PANEL;
        for (first, count) in [(0, whole), (whole, columns - whole)] {
            if count > 0 {
                let part = Part { tiles: self, first, sums: sums[first..].as_mut_ptr() };
                // SAFETY: the assertions above.
                unsafe { cover::<I, T>(&part, plan.pairs.len(), count) };
            }
        }
    }
}

/// Some columns of the products: whole panels, or a last vector.
struct Part<'a, T> {
    tiles: &'a Tiles<'a, T>,
    /// The first of the columns, and its sums.
    first: usize,
    sums: *mut T,
}

impl<T: Float> Tiled<T> for Part<'_, T> {
    #[inline(always)]
    unsafe fn tile<I: Isa, const N: usize, const VECTORS: usize, const ROWS: usize>(
        &self,
        pair: usize,
        panel: usize,
    ) {
        let Tiles { plan, rows, x, turned } = self.tiles;
        let (turned_start, right_row) = plan.turned(self.first + panel * PANEL);
        let right_panel = plan.together() * PANEL;
        let mut sums = [[Lanes::<T, N>::ZERO; VECTORS]; ROWS];
        unsafe {
            let target = self.sums.add(pair * plan.columns() + panel * PANEL);
            let place = |p: usize, v: usize| target.add(p * plan.columns() + start::<N>(v, PANEL));
            let mut lefts = [x.as_ptr().add(rows.x); ROWS];
            for p in 0..ROWS {
                lefts[p] = lefts[p].add(*plan.pairs.get_unchecked(pair + p));
                for v in 0..VECTORS {
                    sums[p][v] = Lanes::load(place(p, v));
                }
            }
            for row in 0..rows.count {
                let right = turned.as_ptr().add(turned_start + row * rows.width * right_row);
                let factors =
                    Factors { lefts, left_column: 1, right, right_row, right_panel, depth: rows.width };
                factors.add_to::<I, N, VECTORS>(&mut sums);
                for left in &mut lefts {
                    *left = left.wrapping_add(rows.x_row);
                }
            }
            for p in 0..ROWS {
                for v in 0..VECTORS {
                    sums[p][v].store(place(p, v));
                }
            }
        }
    }
}
