//! Row by row instead of window by window: what the windows' loops do to a pixel they do here to a row,
//! so that neighbouring pixels are neighbouring lanes.

#![allow(clippy::needless_range_loop)] // Counted loops are what the compiler unrolls into registers.

use super::Axis;
use crate::simd::{Float, LANES};

/// The outputs that tap `tap` of a window reads inside the input, and the pixel of the first of them.
#[derive(Clone, Copy)]
struct Reach {
    first: usize,
    count: usize,
    pixel: usize,
}

impl Axis {
    #[inline(always)]
    fn reach(self, tap: usize) -> Reach {
        let first = self.padding.saturating_sub(tap).div_ceil(self.stride);
        let end = match (self.input + self.padding).checked_sub(tap + 1) {
            Some(room) => self.output.min(room / self.stride + 1),
            None => 0,
        };
        if end <= first {
            // No output sees anything through this tap, and `first` may not even be one.
            return Reach { first: 0, count: 0, pixel: 0 };
        }
        Reach { first, count: end - first, pixel: first * self.stride + tap - self.padding }
    }
}

/// Largest window that is gone through tap by tap; from there on windows are rows themselves. Padding may
/// make them much larger than the input.
const TAPS: usize = 16;

/// Folds the pixels of a row into those outputs whose windows see them.
#[inline(always)]
pub(super) fn fold<T: Float>(width: Axis, pixels: &[T], outputs: &mut [T], f: impl Fn(T, T) -> T) {
    if width.kernel <= TAPS {
        for tap in 0..width.kernel {
            gather(width.reach(tap), width.stride, pixels, outputs, &f);
        }
        return;
    }
    for (o, output) in outputs.iter_mut().enumerate() {
        *output = pixels[width.window(o)].iter().fold(*output, |sum, x| f(sum, *x));
    }
}

/// Adds the share of every output to all pixels of its window.
#[inline(always)]
pub(super) fn spread<T: Float>(width: Axis, shares: &[T], pixels: &mut [T]) {
    if width.kernel <= TAPS {
        for tap in 0..width.kernel {
            scatter(width.reach(tap), width.stride, pixels, shares);
        }
        return;
    }
    for (o, share) in shares.iter().enumerate() {
        pixels[width.window(o)].iter_mut().for_each(|pixel| *pixel += *share);
    }
}

/// `f(target, source)` for two rows of one length. Rows are short: pieces of eight and four, because the
/// compiler's own vector loops start where these rows end.
#[inline(always)]
pub(super) fn combine<T: Float>(target: &mut [T], source: &[T], f: impl Fn(T, T) -> T) {
    let source = &source[..target.len()];
    let (targets, target_rest) = target.as_chunks_mut::<LANES>();
    let (sources, source_rest) = source.as_chunks::<LANES>();
    for (target, source) in targets.iter_mut().zip(sources) {
        combine_piece(target, source, &f);
    }
    let (targets, target_rest) = target_rest.as_chunks_mut::<4>();
    let (sources, source_rest) = source_rest.as_chunks::<4>();
    for (target, source) in targets.iter_mut().zip(sources) {
        combine_piece(target, source, &f);
    }
    target_rest.iter_mut().zip(source_rest).for_each(|(t, s)| *t = f(*t, *s));
}

#[inline(always)]
fn combine_piece<T: Float, const N: usize>(target: &mut [T; N], source: &[T; N], f: impl Fn(T, T) -> T) {
    let mut result = *target;
    for i in 0..N {
        result[i] = f(target[i], source[i]);
    }
    *target = result;
}

/// `f(output, pixel)` for every output that the tap reads inside the input.
#[inline(always)]
fn gather<T: Float>(reach: Reach, stride: usize, pixels: &[T], outputs: &mut [T], f: impl Fn(T, T) -> T) {
    let outputs = &mut outputs[reach.first..][..reach.count];
    let pixels = &pixels[reach.pixel..];
    match stride {
        1 => combine(outputs, pixels, f),
        2 => gather_every_other(pixels, outputs, f),
        _ => outputs.iter_mut().zip(pixels.iter().step_by(stride)).for_each(|(o, p)| *o = f(*o, *p)),
    }
}

/// Stride 2, eight outputs at a time.
#[inline(always)]
fn gather_every_other<T: Float>(pixels: &[T], outputs: &mut [T], f: impl Fn(T, T) -> T) {
    let (pieces, _) = pixels.as_chunks::<{ 2 * LANES }>();
    let count = pieces.len().min(outputs.len() / LANES);
    let (whole, rest) = outputs.split_at_mut(count * LANES);
    for (output, piece) in whole.as_chunks_mut::<LANES>().0.iter_mut().zip(pieces) {
        let mut every_other = [T::ZERO; LANES];
        for i in 0..LANES {
            every_other[i] = piece[2 * i];
        }
        combine_piece(output, &every_other, &f);
    }
    let pixels = pixels[2 * count * LANES..].iter().step_by(2);
    rest.iter_mut().zip(pixels).for_each(|(o, p)| *o = f(*o, *p));
}

/// Adds the share of every output to the pixel under the tap, where that is inside the input.
#[inline(always)]
fn scatter<T: Float>(reach: Reach, stride: usize, pixels: &mut [T], shares: &[T]) {
    let pixels = &mut pixels[reach.pixel..];
    let shares = &shares[reach.first..][..reach.count];
    if stride == 1 {
        combine(&mut pixels[..reach.count], shares, |pixel, share| pixel + share);
    } else {
        pixels.iter_mut().step_by(stride).zip(shares).for_each(|(pixel, share)| *pixel += *share);
    }
}
