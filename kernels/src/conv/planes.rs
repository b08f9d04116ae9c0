//! Padded copies of the channels of a sample, laid out so that vectors may run across row ends.

use crate::simd::{Float, Isa, LANES, Lanes, WIDE_LANES};

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
        let (first_row, end_row) = inside(h, window.row, window.row_step, self.rows);
        // Zeros everywhere first: cheaper than a call for the few at the ends of every row.
        plane.fill(T::ZERO);
        if first == end || first_row == end_row {
            return;
        }
        let row = (window.row + (first_row * window.row_step) as isize) as usize;
        let column = (window.column + (first * window.column_step) as isize) as usize;
        let source = &source[row * w + column..];
        let target = &mut plane[first_row * self.columns + first..];
        let (rows, length) = (end_row - first_row, end - first);
        if window.column_step == 1 {
            copy_rows(rows, length, (source, window.row_step * w), (target, self.columns));
            return;
        }
        for r in 0..rows {
            let target = &mut target[r * self.columns..][..length];
            let source = source[r * window.row_step * w..].iter().step_by(window.column_step);
            target.iter_mut().zip(source).for_each(|(to, from)| *to = *from);
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

/// `copy_from_slice` for few values, where calling a function costs more than copying.
#[inline(always)]
pub(super) fn copy<T: Float>(source: &[T], target: &mut [T]) {
    assert_eq!(source.len(), target.len());
    copy_rows(1, target.len(), (source, 0), (target, 0));
}

/// Copies rows of `length` values, between slices and distances of rows.
#[inline(always)]
pub(super) fn copy_rows<T: Float>(
    rows: usize,
    length: usize,
    source: (&[T], usize),
    target: (&mut [T], usize),
) {
    let copy = Rows::new(rows, [length; 2], source, target);
    // SAFETY: `new` looks at the lengths. That of a row is asked for once, not in every row.
    unsafe {
        match length {
            0 => {}
            1 => copy.pieces::<1, 1>(),
            2..=3 => copy.pieces::<2, 2>(),
            4 => copy.pieces::<4, 1>(),
            5..=7 => copy.pieces::<4, 2>(),
            8 => copy.pieces::<8, 1>(),
            9..=15 => copy.pieces::<8, 2>(),
            16 => copy.pieces::<16, 1>(),
            17..=32 => copy.pieces::<16, 2>(),
            33..=48 => copy.pieces::<16, 3>(),
            49..=64 => copy.pieces::<16, 4>(),
            _ => copy.long(),
        }
    }
}

/// [`copy_rows`] by whole vectors of [`WIDE_LANES`], the last one with zeros behind the row (rows of more than four vectors are
/// copied without). Where the target's rows start a line of the cache no store crosses one, which takes several times as long.
#[inline(always)]
pub(super) fn copy_rows_whole<I: Isa, T: Float>(
    rows: usize,
    length: usize,
    source: (&[T], usize),
    target: (&mut [T], usize),
) {
    let copy = Rows::new(rows, [length, length.next_multiple_of(WIDE_LANES)], source, target);
    // SAFETY: `new` looks at the lengths.
    unsafe {
        match length.div_ceil(WIDE_LANES) {
            0 => {}
            1 => copy.whole::<I, 1>(),
            2 => copy.whole::<I, 2>(),
            3 => copy.whole::<I, 3>(),
            4 => copy.whole::<I, 4>(),
            _ => copy.long(),
        }
    }
}

/// What [`copy_rows`] copies.
struct Rows<T> {
    rows: usize,
    length: usize,
    source: *const T,
    source_row: usize,
    target: *mut T,
    target_row: usize,
}

impl<T: Float> Rows<T> {
    /// Rows of which so many numbers are read and written; panics if they are not there.
    #[inline(always)]
    fn new(
        rows: usize,
        [read, written]: [usize; 2],
        (source, source_row): (&[T], usize),
        (target, target_row): (&mut [T], usize),
    ) -> Self {
        if let Some(last) = rows.checked_sub(1) {
            assert!(last * source_row + read <= source.len() && last * target_row + written <= target.len());
        }
        let (source, target) = (source.as_ptr(), target.as_mut_ptr());
        Self { rows, length: read, source, source_row, target, target_row }
    }

    /// In `COUNT` pieces of `N` values; the last one overlaps the one before.
    ///
    /// # Safety
    /// Source and target must be there and must not overlap, and a row must be as long as a piece.
    #[inline(always)]
    unsafe fn pieces<const N: usize, const COUNT: usize>(&self) {
        for row in 0..self.rows {
            for piece in 0..COUNT {
                let at = if piece + 1 < COUNT { piece * N } else { self.length - N };
                unsafe {
                    let source = self.source.add(row * self.source_row + at);
                    Lanes::<T, N>::load(source).store(self.target.add(row * self.target_row + at));
                }
            }
        }
    }

    /// In `COUNT` vectors with zeros behind the last number.
    ///
    /// # Safety
    /// Source and target must be there and must not overlap.
    #[inline(always)]
    unsafe fn whole<I: Isa, const COUNT: usize>(&self) {
        for row in 0..self.rows {
            for at in (0..COUNT).map(|piece| piece * WIDE_LANES) {
                unsafe {
                    let source = self.source.add(row * self.source_row + at);
                    let numbers = match at + WIDE_LANES < COUNT * WIDE_LANES {
                        true => Lanes::load(source),
                        false => I::load_first(source, self.length - at),
                    };
                    numbers.store(self.target.add(row * self.target_row + at));
                }
            }
        }
    }

    /// # Safety
    /// Source and target must be there and must not overlap.
    #[inline(always)]
    unsafe fn long(&self) {
        for row in 0..self.rows {
            unsafe {
                let source = self.source.add(row * self.source_row);
                source.copy_to_nonoverlapping(self.target.add(row * self.target_row), self.length);
            }
        }
    }
}
