//! Rows of numbers copied, each one scaled, in one pass over memory.

use candle_core::WithDType;

/// Shorter runs of rows are scaled row by row.
const LONG_RUN: usize = 4;

/// The rows `index` of each block of `size` rows of `all`, rows of `length` numbers, the i-th times `scale[i]`.
///
/// The usual kernels are short rows, 9 numbers if they are 3x3. With their length known to the compiler and as elements of
/// their own they take half of the time.
pub(crate) fn gathered<T: WithDType>(
    all: &[T],
    size: usize,
    length: usize,
    index: &[usize],
    scale: Option<&[T]>,
) -> Vec<T> {
    match length {
        1 => short::<T, 1>(all, size, index, scale),
        9 => short::<T, 9>(all, size, index, scale),
        25 => short::<T, 25>(all, size, index, scale),
        49 => short::<T, 49>(all, size, index, scale),
        _ => long(all, size, length, index, scale),
    }
}

fn short<T: WithDType, const LENGTH: usize>(
    all: &[T],
    size: usize,
    index: &[usize],
    scale: Option<&[T]>,
) -> Vec<T> {
    let (rows, _) = all.as_chunks::<LENGTH>();
    let mut taken = Vec::with_capacity(rows.len() / size * index.len() * LENGTH);
    let scaled = |(row, by): (&[T; LENGTH], &[T; LENGTH])| row.map(|value| value * by[0]);
    let runs: Vec<&[usize]> = runs(index).collect();
    let Some(scale) = scale else {
        for block in rows.chunks_exact(size) {
            for run in &runs {
                taken.extend_from_slice(block[run[0]..][..run.len()].as_flattened());
            }
        }
        return taken;
    };
    // A factor for every number, so that a long run is one loop over numbers instead of one a row.
    let factors: Vec<[T; LENGTH]> = scale.iter().map(|&factor| [factor; LENGTH]).collect();
    for block in rows.chunks_exact(size) {
        let mut first = 0;
        for run in &runs {
            let (from, by) = (&block[run[0]..][..run.len()], &factors[first..][..run.len()]);
            if run.len() < LONG_RUN {
                taken.extend(from.iter().zip(by).flat_map(scaled));
            } else {
                let numbers = from.as_flattened().iter().zip(by.as_flattened());
                taken.extend(numbers.map(|(&value, &factor)| value * factor));
            }
            first += run.len();
        }
    }
    taken
}

fn long<T: WithDType>(all: &[T], size: usize, length: usize, index: &[usize], scale: Option<&[T]>) -> Vec<T> {
    let mut taken = Vec::with_capacity(all.len() / size * index.len());
    for block in all.chunks_exact(size * length) {
        match scale {
            None => {
                for run in runs(index) {
                    taken.extend_from_slice(&block[run[0] * length..][..run.len() * length]);
                }
            }
            Some(scale) => {
                for (&row, &factor) in index.iter().zip(scale) {
                    taken.extend(block[row * length..][..length].iter().map(|&value| value * factor));
                }
            }
        }
    }
    taken
}

/// The stretches of an index that name rows one behind the other.
pub(crate) fn runs(index: &[usize]) -> impl Iterator<Item = &[usize]> {
    index.chunk_by(|&row, &next| row + 1 == next)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_row_is_copied_and_scaled(
            length in prop::sample::select(vec![1usize, 2, 9, 16, 25, 49]), blocks in 1..4usize,
            picked in prop::collection::vec((0..6usize, -2.0..2.0f64), 0..12), scaled: bool,
        ) {
            let all: Vec<f64> = (0..blocks * 6 * length).map(|value| value as f64).collect();
            let (index, scale): (Vec<usize>, Vec<f64>) = picked.into_iter().unzip();
            let found = gathered(&all, 6, length, &index, scaled.then_some(&scale[..]));
            let mut expected = Vec::new();
            for block in 0..blocks {
                for (row, factor) in index.iter().zip(&scale) {
                    let factor = if scaled { *factor } else { 1.0 };
                    let first = (block * 6 + row) * length;
                    expected.extend((first..first + length).map(|value| value as f64 * factor));
                }
            }
            prop_assert_eq!(found, expected);
        }
    }
}
