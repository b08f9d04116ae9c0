//! Rows of pixels of some channels into vectors of so many channels, and back.
#![allow(clippy::needless_range_loop)] // Counted loops are what the compiler unrolls into registers.

use super::product::PANEL;
use crate::simd::{FOUR, Float, Isa, LANES, Lanes, PAGE, prefetch, wide};

/// Some channels of an image.
#[derive(Clone, Copy)]
pub(super) struct Channels {
    pub count: usize,
    /// Distance between them.
    pub plane: usize,
}

impl Channels {
    /// Whether sixteen of them are best taken together. Not where the same pixel of each lies on the same few lines of the
    /// first-level cache, which repeat every [`PAGE`].
    #[inline(always)]
    fn fill_panel<I: Isa, T>(self) -> bool {
        wide::<I, T>() && self.count >= PANEL && !(self.plane * size_of::<T>()).is_multiple_of(PAGE)
    }

    /// Without the first ones.
    fn after(self, first: usize) -> Self {
        Self { count: self.count.saturating_sub(first), ..self }
    }
}

/// Asks for what lies `distance` numbers behind `width` pixels of some channels, unless several channels share a page: then
/// a processor finds out by itself.
#[inline(always)]
pub(super) fn prefetch_rows<I: Isa, T>(values: &[T], channels: Channels, width: usize, distance: usize) {
    if channels.plane * size_of::<T>() <= PAGE / 4 {
        return;
    }
    for channel in 0..channels.count {
        prefetch::<I, T>(&values[channel * channels.plane..][..width], distance);
    }
}

/// A row of `width` pixels of up to `lanes` channels, which are [`LANES`] or [`PANEL`], into pixels `distance` numbers
/// apart; zeros for channels that are missing.
#[inline(always)]
pub(super) fn gather_row<I: Isa, T: Float>(
    source: &[T],
    channels: Channels,
    width: usize,
    target: &mut [T],
    (lanes, distance): (usize, usize),
) {
    assert!(target.len() >= (width - 1) * distance + lanes);
    if lanes == PANEL && channels.fill_panel::<I, T>() {
        return gather_lanes::<I, T, PANEL>(source, channels, width, target, distance);
    }
    for first in (0..lanes).step_by(LANES) {
        let source = source.get(first * channels.plane..).unwrap_or_default();
        gather_lanes::<I, T, LANES>(source, channels.after(first), width, &mut target[first..], distance);
    }
}

#[inline(always)]
fn gather_lanes<I: Isa, T: Float, const N: usize>(
    source: &[T],
    channels: Channels,
    width: usize,
    target: &mut [T],
    distance: usize,
) {
    assert!(target.len() >= (width - 1) * distance + N);
    let whole = channels.count >= N && width >= FOUR;
    assert!(!whole || source.len() >= (N - 1) * channels.plane + width);
    for step in (0..width).step_by(FOUR) {
        // The last step of a wide row overlaps the one before; a narrow row is a step of its own.
        let first = step.min(width.saturating_sub(FOUR));
        let pixels = if whole {
            // SAFETY: the assertion above.
            unsafe { I::interleave::<T, N>(source.as_ptr().add(first), channels.plane) }
        } else {
            let mut some = [[T::ZERO; FOUR]; N];
            for (channel, some) in some.iter_mut().enumerate().take(channels.count) {
                let row = &source[channel * channels.plane..][..width];
                some.iter_mut().zip(&row[first..]).for_each(|(to, from)| *to = *from);
            }
            // SAFETY: four pixels of every channel.
            unsafe { I::interleave::<T, N>(some.as_ptr().cast(), FOUR) }
        };
        for p in 0..FOUR {
            if first + p < width {
                // SAFETY: the first assertion above.
                unsafe { pixels[p].store(target.as_mut_ptr().add((first + p) * distance)) };
            }
        }
    }
}

/// The reverse of [`gather_row`] for up to eight channels, with a number added to each. Eight pixels of eight channels
/// change places together: stores of four would be twice as many.
#[inline(always)]
pub(super) fn scatter_row<I: Isa, T: Float>(
    source: &[T],
    distance: usize,
    add: Option<&[T]>,
    width: usize,
    target: &mut [T],
    Channels { count: channels, plane }: Channels,
) {
    let add = add.map(first_lanes);
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
            for p in 0..LANES {
                vectors[p] = I::add_lanes(vectors[p], add);
            }
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

/// The first numbers, as many as there are, and zeros.
#[inline(always)]
fn first_lanes<T: Float>(values: &[T]) -> Lanes<T> {
    let mut lanes = [T::ZERO; LANES];
    lanes.iter_mut().zip(values).for_each(|(lane, value)| *lane = *value);
    Lanes::from_array(lanes)
}
