//! The average of the windows of one plane, and where its gradient goes.

use super::Windows;
use crate::simd::Float;

#[inline(always)]
pub(super) fn average<T: Float>(windows: Windows, x: &[T], y: &mut [T]) {
    let scale = window_scale::<T>(windows);
    for (y, (rows, columns)) in y.iter_mut().zip(windows.iter()) {
        let mut total = T::ZERO;
        for row in rows {
            let row = &x[row * windows.width.input..][columns.clone()];
            total += row.iter().fold(T::ZERO, |sum, &x| sum + x);
        }
        *y = total * scale;
    }
}

fn window_scale<T: Float>(windows: Windows) -> T {
    T::from_f64(1.0 / (windows.height.kernel * windows.width.kernel) as f64)
}

#[inline(always)]
pub(super) fn average_gradient<T: Float>(windows: Windows, dy: &[T], dx: &mut [T]) {
    let scale = window_scale::<T>(windows);
    dx.fill(T::ZERO);
    for (&dy, (rows, columns)) in dy.iter().zip(windows.iter()) {
        let share = dy * scale;
        for row in rows {
            let row = &mut dx[row * windows.width.input..][columns.clone()];
            row.iter_mut().for_each(|dx| *dx += share);
        }
    }
}
