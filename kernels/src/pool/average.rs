//! The average of the windows of one plane, and where its gradient goes.
//!
//! Both separate: first along the columns of a row of windows, then along its rows, or the other way round.

use super::Windows;
use super::rows::{combine, fold, spread};
use crate::reduce::sums;
use crate::simd::Float;

/// `line` is a spare row of the input.
#[inline(always)]
pub(super) fn average<T: Float>(windows: Windows, x: &[T], line: &mut [T], y: &mut [T]) {
    let Windows { height, width } = windows;
    let scale = window_scale(windows);
    if windows.whole() {
        y[0] = T::from_f64(sums([x], |x| x)[0] * scale);
        return;
    }
    let scale = T::from_f64(scale);
    for (r, y) in y.chunks_exact_mut(width.output).enumerate() {
        let rows = height.window(r);
        line.copy_from_slice(&x[rows.start * width.input..][..width.input]);
        for row in rows.skip(1) {
            let row = &x[row * width.input..][..width.input];
            combine(line, row, |sum, x| sum + x);
        }
        y.fill(T::ZERO);
        fold(width, line, y, |sum, x| sum + x);
        y.iter_mut().for_each(|y| *y *= scale);
    }
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
        if (width.kernel, width.stride, width.padding) == (2, 2, 0) {
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
