//! A padded plane whose columns are cut into phases.

use crate::conv::planes::{copy_rows, copy_rows_whole};
use crate::simd::{Float, Isa, LANES, WIDE_LANES, wide};

/// Element `[row][phase][q]` is source element `[row - before.0][q * phases + phase - before.1]`, or zero
/// outside. With one phase this is a plane with zeros around it; with more, the columns that a strided
/// tap reads for neighbouring outputs are neighbours.
pub(super) struct Padded {
    /// Height and width of the source.
    pub source: (usize, usize),
    /// Zeros above and to the left.
    pub before: (usize, usize),
    pub rows: usize,
    pub phases: usize,
    /// Columns of a phase.
    pub segment: usize,
}

impl Padded {
    /// Distance between rows.
    pub fn row(&self) -> usize {
        self.phases * self.segment
    }

    /// Length with room for a vector that starts at the last element.
    pub fn len(&self) -> usize {
        (self.rows * self.row() + LANES).next_multiple_of(WIDE_LANES)
    }

    /// Copies a plane into place. The padding must be zero already, and still is afterwards: one buffer serves many planes and
    /// is cleared once.
    #[inline(always)]
    pub fn fill<I: Isa, T: Float>(&self, source: &[T], target: &mut [T]) {
        let width = self.source.1;
        let (above, left) = self.before;
        let rows = self.rows.saturating_sub(above).min(self.source.0);
        if self.phases == 1 {
            let count = width.min(self.segment.saturating_sub(left));
            if rows > 0 && count > 0 {
                let target = &mut target[above * self.row() + left..];
                let end = left + count.next_multiple_of(WIDE_LANES);
                if wide::<I, T>() && end <= self.segment {
                    copy_rows_whole::<I, T>(rows, count, (source, width), (target, self.row()));
                } else {
                    copy_rows(rows, count, (source, width), (target, self.row()));
                }
            }
            return;
        }
        let targets = target.chunks_exact_mut(self.row()).skip(above);
        for (source, target) in source.chunks_exact(width).zip(targets).take(rows) {
            for (phase, target) in target.chunks_exact_mut(self.segment).enumerate() {
                self.fill_phase(phase, source, target);
            }
        }
    }

    /// The columns `phase - left, phase - left + phases, ...` of one row.
    #[inline(always)]
    fn fill_phase<T: Float>(&self, phase: usize, source: &[T], target: &mut [T]) {
        let left = self.before.1;
        let first = left.saturating_sub(phase).div_ceil(self.phases);
        let column = first * self.phases + phase - left;
        if first >= target.len() || column >= source.len() {
            return;
        }
        let (source, target) = (&source[column..], &mut target[first..]);
        if self.phases == 2 {
            // Pairs, because the compiler knows how to take these apart with vectors.
            let pairs = source.len() / 2;
            for (to, from) in target.iter_mut().zip(source.chunks_exact(2)) {
                *to = from[0];
            }
            if source.len() % 2 == 1 && pairs < target.len() {
                target[pairs] = source[2 * pairs];
            }
            return;
        }
        for (to, from) in target.iter_mut().zip(source.iter().step_by(self.phases)) {
            *to = *from;
        }
    }
}
