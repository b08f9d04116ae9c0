//! Rows of pixels of eight channels into vectors of eight channels, and back.
#![allow(clippy::needless_range_loop)] // Counted loops are what the compiler unrolls into registers.

use crate::simd::{Float, Isa, LANES, Lanes};

/// A row of up to eight channels, `plane` numbers apart, into a row of pixels.
#[inline(always)]
pub(super) fn gather_row<I: Isa, T: Float>(source: &[T], plane: usize, channels: usize, target: &mut [T]) {
    for (step, target) in target.chunks_mut(LANES * LANES).enumerate() {
        let mut vectors = [Lanes::ZERO; LANES];
        for c in 0..LANES {
            if c < channels {
                vectors[c] = load_some(source, c * plane + step * LANES);
            }
        }
        let vectors = I::transpose(vectors);
        if target.len() == LANES * LANES {
            for p in 0..LANES {
                // SAFETY: the length of the target was compared.
                unsafe { vectors[p].store(target.as_mut_ptr().add(p * LANES)) };
            }
        } else {
            for (vector, target) in vectors.iter().zip(target.chunks_exact_mut(LANES)) {
                vector.store_to(target);
            }
        }
    }
}

/// Eight numbers, or as many as there are and zeros.
#[inline(always)]
fn load_some<T: Float>(source: &[T], at: usize) -> Lanes<T> {
    if at + LANES <= source.len() {
        // SAFETY: compared with the length.
        return unsafe { Lanes::load(source.as_ptr().add(at)) };
    }
    let mut values = [T::ZERO; LANES];
    for (value, source) in values.iter_mut().zip(&source[at..]) {
        *value = *source;
    }
    Lanes::from_array(values)
}

/// The reverse of [`gather_row`].
#[inline(always)]
pub(super) fn scatter_row<I: Isa, T: Float>(
    source: &[T],
    add: Option<Lanes<T>>,
    channels: usize,
    plane: usize,
    target: &mut [T],
) {
    let width = source.len() / LANES;
    // The last step of a wide row overlaps the one before; a narrow row is a step of its own.
    let count = width.min(LANES);
    for step in 0..width.div_ceil(LANES) {
        let first = (step * LANES).min(width - count);
        let mut vectors = [Lanes::ZERO; LANES];
        for (vector, source) in vectors.iter_mut().zip(source[first * LANES..].chunks_exact(LANES)) {
            // SAFETY: the chunk has so many numbers.
            *vector = unsafe { Lanes::load(source.as_ptr()) };
        }
        if let Some(add) = add {
            for p in 0..LANES {
                vectors[p] = vectors[p].add(add);
            }
        }
        let vectors = I::transpose(vectors);
        for c in 0..LANES {
            if c < channels {
                vectors[c].store_to(&mut target[c * plane + first..][..count]);
            }
        }
    }
}
