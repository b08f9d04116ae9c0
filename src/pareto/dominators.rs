//! Who dominates whom, as sets of bits.

use std::ops::Range;

use super::{Points, order};

/// Rows that are computed together: large enough that the sorted orders are seldom gone through, small enough that
/// memory stays linear in the points.
const ROWS: usize = 1024;
const BITS: usize = u64::BITS as usize;

/// Distinct points in lexicographic order, so that only earlier ones can dominate. They are numbered by their
/// place in that order.
pub(super) struct Dominance {
    /// How many numbers there are.
    count: usize,
    /// For each objective but the first, the numbers with the smallest values first.
    orders: Vec<Vec<usize>>,
    /// For each objective but the first, values by number.
    columns: Vec<Vec<f64>>,
}

impl Dominance {
    /// `indices` are those of distinct points in lexicographic order.
    pub(super) fn new(points: &Points, indices: &[usize]) -> Self {
        let column = |objective| indices.iter().map(|&index| points[index][objective]).collect();
        let columns: Vec<Vec<f64>> = (1..points.objectives()).map(column).collect();
        let orders = columns.iter().map(|column| order::ascending(column.iter().copied())).collect();
        Self { count: indices.len(), orders, columns }
    }

    /// Calls `visit` with each number, ascending, and the set of the numbers that dominate it: bit `i % 64` of
    /// word `i / 64` for number `i`. Words that would be zeros at the end may be missing.
    ///
    /// A point's dominators are those that are at most as large in every objective: an intersection of sets, one
    /// an objective, that grow as one goes through a sorted order.
    pub(super) fn each(&self, mut visit: impl FnMut(usize, &[u64])) {
        for start in (0..self.count).step_by(ROWS) {
            let end = self.count.min(start + ROWS);
            let words = end.div_ceil(BITS);
            let mut rows: Vec<u64> = (start..end).flat_map(|number| below(number, words)).collect();
            for (order, column) in self.orders.iter().zip(&self.columns) {
                intersect(&mut rows, start..end, order, column);
            }
            for (number, row) in (start..end).zip(rows.chunks_exact(words)) {
                visit(number, &row[..number.div_ceil(BITS)]);
            }
        }
    }
}

/// All numbers below `number`.
fn below(number: usize, words: usize) -> impl Iterator<Item = u64> {
    (0..words).map(move |word| match number.saturating_sub(word * BITS) {
        bits @ 0..BITS => (1 << bits) - 1,
        _ => u64::MAX,
    })
}

/// Leaves in the rows of `numbers` only what is at most as large as they are in one objective.
fn intersect(rows: &mut [u64], numbers: Range<usize>, order: &[usize], column: &[f64]) {
    let words = numbers.end.div_ceil(BITS);
    let mut smaller = vec![0; words];
    for ties in order.chunk_by(|&a, &b| column[a] == column[b]) {
        for &number in ties.iter().filter(|&&number| number < numbers.end) {
            smaller[number / BITS] |= 1 << (number % BITS);
        }
        for number in ties.iter().filter(|number| numbers.contains(number)) {
            let row = &mut rows[(number - numbers.start) * words..][..number.div_ceil(BITS)];
            row.iter_mut().zip(&smaller).for_each(|(word, smaller)| *word &= smaller);
        }
    }
}

/// A set of numbers that are added in ascending order. Words before the first one take no memory.
#[derive(Default)]
pub(super) struct NumberSet {
    start: usize,
    words: Vec<u64>,
}

impl NumberSet {
    pub(super) fn push(&mut self, number: usize) {
        let word = number / BITS;
        if self.words.is_empty() {
            self.start = word;
        }
        self.words.resize(word - self.start + 1, 0);
        self.words[word - self.start] |= 1 << (number % BITS);
    }

    /// Whether this set and `others`, a row of [`Dominance::each`], have a number in common.
    #[inline]
    pub(super) fn meets(&self, others: &[u64]) -> bool {
        let others = others.get(self.start..).unwrap_or_default();
        self.words.iter().zip(others).any(|(a, b)| a & b != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::dominates;
    use super::super::order::Distinct;
    use super::*;

    /// More points than [`ROWS`], with ties and duplicates: (i² mod 11, i³ mod 13, i mod 7, i² mod 5).
    #[test]
    fn rows_hold_exactly_the_dominators() {
        let row = |i: u64| [i * i % 11, i * i * i % 13, i % 7, i * i % 5 + i / 900].map(|v| v as f64);
        let rows: Vec<[f64; 4]> = (0..2500).map(row).collect();
        let points = Points::new(&rows).unwrap();
        let indices = Distinct::new(&points).indices;
        let mut visited = 0;
        Dominance::new(&points, &indices).each(|number, row| {
            let holds =
                |other: usize| row.get(other / BITS).is_some_and(|word| word >> (other % BITS) & 1 == 1);
            for (other, &index) in indices.iter().enumerate() {
                assert_eq!(holds(other), dominates(&points[index], &points[indices[number]]));
            }
            visited += 1;
        });
        assert!(visited == indices.len() && (ROWS + 100..2500).contains(&visited), "{visited}");
    }
}
