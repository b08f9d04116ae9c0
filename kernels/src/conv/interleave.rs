//! Rows of pixels of eight channels into vectors of eight channels, and back.
#![allow(clippy::needless_range_loop)] // Counted loops are what the compiler unrolls into registers.

use crate::simd::{Float, Isa, LANES, Lanes, prefetch};

/// Asks for what lies `distance` numbers behind `width` pixels of some channels, `plane` numbers apart: a processor does not
/// find out by itself.
#[inline(always)]
pub(super) fn prefetch_rows<I: Isa, T>(
    values: &[T],
    (plane, channels): (usize, usize),
    width: usize,
    distance: usize,
) {
    for channel in 0..channels {
        prefetch::<I, T>(&values[channel * plane..][..width], distance);
    }
}

/// A row of `width` pixels of up to eight channels, `plane` numbers apart, into pixels `distance` numbers apart.
#[inline(always)]
pub(super) fn gather_row<I: Isa, T: Float>(
    source: &[T],
    (plane, channels): (usize, usize),
    width: usize,
    target: &mut [T],
    distance: usize,
) {
    assert!(target.len() >= (width - 1) * distance + LANES);
    for first in (0..width).step_by(LANES) {
        let vectors = I::transpose(load_channels(source, (plane, channels), first));
        for p in 0..LANES {
            if p < width - first {
                // SAFETY: the assertion above.
                unsafe { vectors[p].store(target.as_mut_ptr().add((first + p) * distance)) };
            }
        }
    }
}

/// Eight pixels from `first` on of every channel, or as many as there are and zeros.
#[inline(always)]
fn load_channels<T: Float>(
    source: &[T],
    (plane, channels): (usize, usize),
    first: usize,
) -> [Lanes<T>; LANES] {
    let mut vectors = [Lanes::ZERO; LANES];
    if channels >= LANES && (LANES - 1) * plane + first + LANES <= source.len() {
        for c in 0..LANES {
            // SAFETY: compared with the length.
            vectors[c] = unsafe { Lanes::load(source.as_ptr().add(c * plane + first)) };
        }
        return vectors;
    }
    for (c, vector) in vectors.iter_mut().enumerate().take(channels) {
        let mut values = [T::ZERO; LANES];
        for (value, source) in values.iter_mut().zip(&source[c * plane + first..]) {
            *value = *source;
        }
        *vector = Lanes::from_array(values);
    }
    vectors
}

/// The reverse of [`gather_row`], with a number added to each channel.
#[inline(always)]
pub(super) fn scatter_row<I: Isa, T: Float>(
    source: &[T],
    distance: usize,
    add: Option<Lanes<T>>,
    width: usize,
    target: &mut [T],
    (plane, channels): (usize, usize),
) {
    assert!(source.len() >= (width - 1) * distance + LANES);
    assert!(target.len() >= (channels.min(LANES) - 1) * plane + width);
    // The last step of a wide row overlaps the one before; a narrow row is a step of its own.
    let count = width.min(LANES);
    for step in (0..width).step_by(LANES) {
        let first = step.min(width - count);
        let mut vectors = [Lanes::ZERO; LANES];
        for p in 0..LANES {
            if p < count {
                // SAFETY: the first assertion above.
                vectors[p] = unsafe { Lanes::load(source.as_ptr().add((first + p) * distance)) };
            }
        }
        if let Some(add) = add {
            vectors = vectors.map(|vector| vector.add(add));
        }
        let vectors = I::transpose(vectors);
        if count == LANES && channels >= LANES {
            for c in 0..LANES {
                // SAFETY: the second assertion above.
                unsafe { vectors[c].store(target.as_mut_ptr().add(c * plane + first)) };
            }
            continue;
        }
        for c in 0..LANES {
            if c < channels {
                vectors[c].store_to(&mut target[c * plane + first..][..count]);
            }
        }
    }
}
