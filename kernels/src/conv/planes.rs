//! Padded copies of the channels of a sample, laid out so that vectors may run across row ends.

use crate::simd::{Float, LANES, WIDE_LANES};

/// The rows and columns of a source plane that form one padded plane:
/// element `[r, q]` is source element `[row + r * row_step, column + q * column_step]`, or zero outside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub row: isize,
    pub row_step: usize,
    pub column: isize,
    pub column_step: usize,
}

/// How a channel is copied: one padded plane for every window, one behind the other.
#[derive(Debug, Clone)]
pub(super) struct Planes {
    /// Height and width of the source.
    pub source: (usize, usize),
    pub windows: Vec<Window>,
    pub rows: usize,
    /// Columns of a padded plane, and the distance between its rows.
    pub columns: usize,
}

impl Planes {
    pub fn window_len(&self) -> usize {
        self.rows * self.columns
    }

    /// Distance between channels. Whole vectors, and not a multiple of 512 bytes, or the channels
    /// would compete for the same few lines of the cache.
    pub fn channel_len(&self) -> usize {
        let vectors = (self.windows.len() * self.window_len()).div_ceil(LANES);
        (vectors + usize::from(vectors.is_multiple_of(16))) * LANES
    }

    /// Room for `channels`, and for a vector that starts at the last element.
    pub fn len(&self, channels: usize) -> usize {
        channels * self.channel_len() + WIDE_LANES
    }

    /// Copies consecutive channels. Writes all of `target`.
    #[inline(always)]
    pub fn gather<T: Float>(&self, source: &[T], target: &mut [T]) {
        let (h, w) = self.source;
        let length = self.channel_len();
        let mut targets = target.chunks_exact_mut(length);
        for channel in source.chunks_exact(h * w) {
            let Some(target) = targets.next() else { break };
            let (planes, gap) = target.split_at_mut(self.windows.len() * self.window_len());
            for (window, plane) in self.windows.iter().zip(planes.chunks_exact_mut(self.window_len())) {
                self.gather_window(window, channel, plane);
            }
            gap.fill(T::ZERO);
        }
        targets.into_remainder().fill(T::ZERO);
    }

    #[inline(always)]
    fn gather_window<T: Float>(&self, window: &Window, source: &[T], plane: &mut [T]) {
        let (h, w) = self.source;
        let (first, end) = inside(w, window.column, window.column_step, self.columns);
        // Zeros everywhere first: cheaper than a call for the few at the ends of every row.
        plane.fill(T::ZERO);
        for (r, target) in plane.chunks_exact_mut(self.columns).enumerate() {
            let row = window.row + (r * window.row_step) as isize;
            if row < 0 || row >= h as isize || first == end {
                continue;
            }
            let column = (window.column + (first * window.column_step) as isize) as usize;
            let source = &source[row as usize * w + column..(row as usize + 1) * w];
            copy_every(source, window.column_step, &mut target[first..end]);
        }
    }
}

/// The elements `first..end` of `count` that lie inside a source of `size`.
fn inside(size: usize, start: isize, step: usize, count: usize) -> (usize, usize) {
    let step = step as isize;
    let first = (-start.div_euclid(step)).clamp(0, count as isize);
    let end = ((size as isize - 1 - start).div_euclid(step) + 1).clamp(first, count as isize);
    (first as usize, end as usize)
}

/// Every `step`-th value of `source`.
#[inline(always)]
fn copy_every<T: Float>(source: &[T], step: usize, target: &mut [T]) {
    if step == 1 {
        copy(&source[..target.len()], target);
    } else {
        for (to, from) in target.iter_mut().zip(source.iter().step_by(step)) {
            *to = *from;
        }
    }
}

/// `copy_from_slice` for short rows, where calling a function costs more than copying.
#[inline(always)]
pub(super) fn copy<T: Float>(source: &[T], target: &mut [T]) {
    let length = target.len();
    assert_eq!(source.len(), length);
    if length > 8 * LANES {
        target.copy_from_slice(source);
    } else if length >= LANES {
        copy_overlapping::<T, LANES>(source, target);
    } else if length >= 4 {
        copy_overlapping::<T, 4>(source, target);
    } else if length >= 2 {
        copy_overlapping::<T, 2>(source, target);
    } else if length == 1 {
        target[0] = source[0];
    }
}

/// Copies pieces of `N` values; the last one overlaps the one before.
#[inline(always)]
fn copy_overlapping<T: Float, const N: usize>(source: &[T], target: &mut [T]) {
    let length = target.len();
    for piece in 0..length.div_ceil(N) {
        let at = (piece * N).min(length - N);
        if let (Some(from), Some(to)) = (source[at..].first_chunk::<N>(), target[at..].first_chunk_mut::<N>())
        {
            *to = *from;
        }
    }
}
