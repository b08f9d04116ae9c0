//! The maximum of the windows of one plane, and where its gradient goes.

use super::Windows;
use super::rows::{combine, fold};
use crate::simd::Float;
use std::ops::Range;

/// Whether a later value takes the maximum from an earlier one: only if it is larger, or a NaN.
#[inline(always)]
fn beats<T: Float>(later: T, earlier: T) -> bool {
    // No short circuit: both questions at once make vectors.
    (later > earlier) | later.is_nan()
}

#[inline(always)]
fn larger<T: Float>(earlier: T, later: T) -> T {
    if beats(later, earlier) { later } else { earlier }
}

#[inline(always)]
pub(super) fn halves<T: Float>(windows: Windows, x: &[T], y: &mut [T]) {
    let (width, columns) = (windows.width.input, windows.width.output);
    for (rows, y) in x.chunks_exact(2 * width).zip(y.chunks_exact_mut(columns)) {
        let (upper, lower) = rows.split_at(width);
        for ((y, a), b) in y.iter_mut().zip(upper.chunks_exact(2)).zip(lower.chunks_exact(2)) {
            *y = larger(larger(a[0], a[1]), larger(b[0], b[1]));
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
pub(super) fn halves_gradient<T: Float>(windows: Windows, x: &[T], dy: &[T], dx: &mut [T]) {
    let (width, columns) = (windows.width.input, windows.width.output);
    let mut targets = dx.chunks_exact_mut(2 * width);
    for ((rows, dy), dx) in x.chunks_exact(2 * width).zip(dy.chunks_exact(columns)).zip(&mut targets) {
        let (upper, lower) = rows.split_at(width);
        let (dx_upper, dx_lower) = dx.split_at_mut(width);
        // An odd column belongs to no window.
        dx_upper[2 * columns..].fill(T::ZERO);
        dx_lower[2 * columns..].fill(T::ZERO);
        let values = upper.chunks_exact(2).zip(lower.chunks_exact(2));
        let targets = dx_upper.chunks_exact_mut(2).zip(dx_lower.chunks_exact_mut(2));
        for (((x0, x1), (d0, d1)), &dy) in values.zip(targets).zip(dy) {
            let right = beats(x0[1], x0[0]);
            let best = larger(x0[0], x0[1]);
            let lower_left = beats(x1[0], best);
            let best = larger(best, x1[0]);
            let lower_right = beats(x1[1], best);
            let lower_left = lower_left & !lower_right;
            let upper = !(lower_left | lower_right);
            d0[0] = if upper & !right { dy } else { T::ZERO };
            d0[1] = if upper & right { dy } else { T::ZERO };
            d1[0] = if lower_left { dy } else { T::ZERO };
            d1[1] = if lower_right { dy } else { T::ZERO };
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
