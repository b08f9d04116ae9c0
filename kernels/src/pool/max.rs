//! The maximum of the windows of one plane, and where its gradient goes.

use super::Windows;
use super::rows::{combine, fold};
use crate::reduce::load;
use crate::simd::{Float, Isa, LANES, Lanes};
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
pub(super) fn halves_gradient<I: Isa, T: Float>(windows: Windows, x: &[T], dy: &[T], dx: &mut [T]) {
    let (width, columns) = (windows.width.input, windows.width.output);
    let mut targets = dx.chunks_exact_mut(2 * width);
    for ((rows, dy), dx) in x.chunks_exact(2 * width).zip(dy.chunks_exact(columns)).zip(&mut targets) {
        let (rows, dx) = (rows.split_at(width), dx.split_at_mut(width));
        // An odd column belongs to no window.
        dx.0[2 * columns..].fill(T::ZERO);
        dx.1[2 * columns..].fill(T::ZERO);
        if columns < HALF {
            let mut wide = [[T::ZERO; LANES]; 4];
            let [upper, lower, dx_upper, dx_lower] = &mut wide;
            let mut gradient = [T::ZERO; HALF];
            upper[..2 * columns].copy_from_slice(&rows.0[..2 * columns]);
            lower[..2 * columns].copy_from_slice(&rows.1[..2 * columns]);
            gradient[..columns].copy_from_slice(dy);
            eight_gradients::<I, T>([0; 2], (upper, lower), &gradient, (dx_upper, dx_lower));
            dx.0[..2 * columns].copy_from_slice(&dx_upper[..2 * columns]);
            dx.1[..2 * columns].copy_from_slice(&dx_lower[..2 * columns]);
            continue;
        }
        for step in (0..columns).step_by(LANES) {
            // At the end of a row windows are worked on twice.
            let windows = [step.min(columns - HALF), (step + HALF).min(columns - HALF)];
            eight_gradients::<I, T>(windows, (rows.0, rows.1), dy, (&mut *dx.0, &mut *dx.1));
        }
    }
    targets.into_remainder().fill(T::ZERO);
}

/// Windows in half a vector.
const HALF: usize = LANES / 2;

/// The gradient of four windows from each of two places on, in two rows of pixels.
#[inline(always)]
fn eight_gradients<I: Isa, T: Float>(
    windows: [usize; 2],
    from: (&[T], &[T]),
    dy: &[T],
    to: (&mut [T], &mut [T]),
) {
    let pixels = |row: &[T]| I::unzip(windows.map(|window| load(&row[2 * window..])));
    let ([a, b], [c, d]) = (pixels(from.0), pixels(from.1));
    let dy = {
        let mut both = [T::ZERO; LANES];
        both[..HALF].copy_from_slice(&dy[windows[0]..][..HALF]);
        both[HALF..].copy_from_slice(&dy[windows[1]..][..HALF]);
        Lanes::from_array(both)
    };
    let best_of_two = a.zip(b, larger);
    let best_of_three = best_of_two.zip(c, larger);
    // From the last pixel to the first: whoever beats those before takes what is left.
    let (dd, left) = take(d, best_of_three, dy);
    let (dc, left) = take(c, best_of_two, left);
    let (db, da) = take(b, a, left);
    for (gradients, row) in [([da, db], to.0), ([dc, dd], to.1)] {
        for (window, pixels) in windows.into_iter().zip(I::zip(gradients)) {
            pixels.store_to(&mut row[2 * window..][..LANES]);
        }
    }
}

/// The gradient of a window for `later` and for those before it.
#[inline(always)]
fn take<T: Float>(later: Lanes<T>, earlier: Lanes<T>, dy: Lanes<T>) -> (Lanes<T>, Lanes<T>) {
    let won = later.zip3(earlier, dy, |later, earlier, dy| if beats(later, earlier) { dy } else { T::ZERO });
    let lost = later.zip3(earlier, dy, |later, earlier, dy| if beats(later, earlier) { T::ZERO } else { dy });
    (won, lost)
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
