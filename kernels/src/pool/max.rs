//! The maximum of the windows of one plane, and where its gradient goes.

use super::Windows;
use super::halves::{eights, maximum, route};
use super::rows::{combine, fold};
use crate::simd::{Float, Isa, beats};
use std::ops::Range;

#[inline(always)]
fn larger<T: Float>(earlier: T, later: T) -> T {
    if beats(later, earlier) { later } else { earlier }
}

#[inline(always)]
pub(super) fn halves<I: Isa, T: Float>(windows: Windows, x: &[T], y: &mut [T]) {
    let (width, columns) = (windows.width.input, windows.width.output);
    for (rows, y) in x.chunks_exact(2 * width).zip(y.chunks_exact_mut(columns)) {
        let (upper, lower) = rows.split_at(width);
        for eight in eights(columns) {
            eight.store_one::<T, false>(maximum::<I, T>(eight.load::<I, T>([upper, lower])), y);
        }
    }
}

/// Along the rows first, then along the columns. `line` is a spare row of the input.
#[inline(always)]
pub(super) fn any<T: Float>(windows: Windows, x: &[T], line: &mut [T], y: &mut [T]) {
    let Windows { height, width } = windows;
    for (r, y) in y.chunks_exact_mut(width.output).enumerate() {
        let rows = height.window(r);
        line.copy_from_slice(&x[rows.start * width.input..][..width.input]);
        for row in rows.skip(1) {
            let row = &x[row * width.input..][..width.input];
            combine(line, row, larger);
        }
        y.fill(T::from_f64(f64::NEG_INFINITY));
        fold(width, line, y, larger);
    }
}

#[inline(always)]
pub(super) fn halves_gradient<I: Isa, T: Float>(windows: Windows, x: &[T], dy: &[T], dx: &mut [T]) {
    let (width, columns) = (windows.width.input, windows.width.output);
    let mut targets = dx.chunks_exact_mut(2 * width);
    for ((rows, dy), dx) in x.chunks_exact(2 * width).zip(dy.chunks_exact(columns)).zip(&mut targets) {
        let (rows, (upper, lower)) = (rows.split_at(width), dx.split_at_mut(width));
        // An odd column belongs to no window.
        upper[2 * columns..].fill(T::ZERO);
        lower[2 * columns..].fill(T::ZERO);
        for eight in eights(columns) {
            let pixels = eight.load::<I, T>([rows.0, rows.1]);
            let gradients = route::<I, T>(pixels, eight.load_one::<T, false>(dy));
            eight.store::<I, T>(gradients, [&mut *upper, &mut *lower]);
        }
    }
    targets.into_remainder().fill(T::ZERO);
}

/// Where the maximum of a window is: the first one, or a NaN.
#[inline(always)]
fn first_maximum<T: Float>(x: &[T], width: usize, rows: Range<usize>, columns: Range<usize>) -> usize {
    let mut best = rows.start * width + columns.start;
    for row in rows {
        for at in row * width + columns.start..row * width + columns.end {
            if beats(x[at], x[best]) {
                best = at;
            }
        }
    }
    best
}

#[inline(always)]
pub(super) fn any_gradient<T: Float>(windows: Windows, x: &[T], dy: &[T], dx: &mut [T]) {
    dx.fill(T::ZERO);
    for (&dy, (rows, columns)) in dy.iter().zip(windows.iter()) {
        dx[first_maximum(x, windows.width.input, rows, columns)] += dy;
    }
}
