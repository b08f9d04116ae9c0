//! Row by row instead of window by window: what the windows' loops do to a pixel they do here to a row,
//! so that neighbouring pixels are neighbouring lanes.

#![allow(clippy::needless_range_loop)] // Counted loops are what the compiler unrolls into registers.

use super::Axis;
use crate::simd::{Float, LANES};

/// The outputs that tap `tap` of a window reads inside the input, and the pixel of the first of them.
#[derive(Clone, Copy)]
pub(super) struct Reach {
    pub first: usize,
    pub count: usize,
    pub pixel: usize,
}

impl Axis {
    #[inline(always)]
    pub(super) fn reach(self, tap: usize) -> Reach {
        let first = self.padding.saturating_sub(tap).div_ceil(self.stride);
        let end = match (self.input + self.padding).checked_sub(tap + 1) {
            Some(room) => self.output.min(room / self.stride + 1),
            None => 0,
        };
        let count = end.saturating_sub(first);
        // Without outputs there is no pixel either, and the difference might be negative.
        let pixel = if count == 0 { 0 } else { first * self.stride + tap - self.padding };
        Reach { first, count, pixel }
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
pub(super) fn gather<T: Float>(
    reach: Reach,
    stride: usize,
    pixels: &[T],
    outputs: &mut [T],
    f: impl Fn(T, T) -> T,
) {
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
pub(super) fn scatter<T: Float>(reach: Reach, stride: usize, pixels: &mut [T], shares: &[T]) {
    let pixels = &mut pixels[reach.pixel..];
    let shares = &shares[reach.first..][..reach.count];
    if stride == 1 {
        combine(&mut pixels[..reach.count], shares, |pixel, share| pixel + share);
    } else {
        pixels.iter_mut().step_by(stride).zip(shares).for_each(|(pixel, share)| *pixel += *share);
    }
}
