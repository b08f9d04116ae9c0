//! The average of the windows of one plane, and where its gradient goes.
//!
//! Both separate: first along the columns of a row of windows, then along its rows, or the other way round.

use super::Windows;
use super::rows::{combine, fold, spread};
use crate::reduce::sums;
use crate::simd::{Float, Isa};

/// `line` is a spare row of the input.
#[inline(always)]
pub(super) fn average<I: Isa, T: Float>(windows: Windows, x: &[T], line: &mut [T], y: &mut [T]) {
    let scale = window_scale(windows);
    if windows.whole() {
        y[0] = T::from_f64(sums::<I, T, 1, 1>([x], |x| x)[0] * scale);
        return;
    }
    let scale = T::from_f64(scale);
    for (r, y) in y.chunks_exact_mut(windows.width.output).enumerate() {
        sums_of_row(windows, r, x, line, y);
        y.iter_mut().for_each(|y| *y *= scale);
    }
}

/// The average of the pixels that a window has apart from padding.
#[inline(always)]
pub(super) fn average_of_pixels<T: Float>(windows: Windows, x: &[T], line: &mut [T], y: &mut [T]) {
    for (r, y) in y.chunks_exact_mut(windows.width.output).enumerate() {
        sums_of_row(windows, r, x, line, y);
        y.iter_mut().enumerate().for_each(|(c, y)| *y *= share(windows, r, c));
    }
}

/// The sums of the windows of row `r`.
#[inline(always)]
fn sums_of_row<T: Float>(windows: Windows, r: usize, x: &[T], line: &mut [T], y: &mut [T]) {
    let Windows { height, width } = windows;
    let rows = height.window(r);
    line.copy_from_slice(&x[rows.start * width.input..][..width.input]);
    for row in rows.skip(1) {
        let row = &x[row * width.input..][..width.input];
        combine(line, row, |sum, x| sum + x);
    }
    y.fill(T::ZERO);
    fold(width, line, y, |sum, x| sum + x);
}

/// What a pixel counts in the average of the pixels of window (`r`, `c`).
#[inline(always)]
fn share<T: Float>(windows: Windows, r: usize, c: usize) -> T {
    let pixels = windows.height.window(r).len() * windows.width.window(c).len();
    T::from_f64(1.0 / pixels as f64)
}

fn window_scale(windows: Windows) -> f64 {
    1.0 / (windows.height.kernel as f64 * windows.width.kernel as f64)
}

/// `line` is a spare row of the input.
#[inline(always)]
pub(super) fn average_gradient<T: Float>(windows: Windows, dy: &[T], line: &mut [T], dx: &mut [T]) {
    let Windows { height, width } = windows;
    let scale = T::from_f64(window_scale(windows));
    if windows.whole() {
        dx.fill(dy[0] * scale);
        return;
    }
    dx.fill(T::ZERO);
    for (r, dy) in dy.chunks_exact(width.output).enumerate() {
        line.fill(T::ZERO);
        if width.halves() {
            // Both pixels of a window at once: stores to every other pixel make no vectors.
            line.chunks_exact_mut(2).zip(dy).for_each(|(pair, dy)| pair.fill(*dy));
        } else {
            spread(width, dy, line);
        }
        for row in height.window(r) {
            let row = &mut dx[row * width.input..][..width.input];
            combine(row, line, |dx, sum| dx + sum * scale);
        }
    }
}

/// As [`average_gradient`], of [`average_of_pixels`]. `line` is a spare row of the input, `shares` one of the output.
#[inline(always)]
pub(super) fn average_of_pixels_gradient<T: Float>(
    windows: Windows,
    dy: &[T],
    (line, shares): (&mut [T], &mut [T]),
    dx: &mut [T],
) {
    let Windows { height, width } = windows;
    dx.fill(T::ZERO);
    for (r, dy) in dy.chunks_exact(width.output).enumerate() {
        for (c, (to, dy)) in shares.iter_mut().zip(dy).enumerate() {
            *to = *dy * share(windows, r, c);
        }
        line.fill(T::ZERO);
        spread(width, shares, line);
        for row in height.window(r) {
            combine(&mut dx[row * width.input..][..width.input], line, |dx, sum| dx + sum);
        }
    }
}
