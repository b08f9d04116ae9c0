//! Work in the current rayon pool, with results that do not depend on its size.
//!
//! Every function here gives a job an index and a place of its own; nothing is reduced across jobs.
//! Reductions collect one partial result per job and add them in the order of the indices.

use crate::simd::{Float, LINE};
use rayon::prelude::*;
use std::ops::Range;

fn sequential(jobs: usize) -> bool {
    jobs <= 1 || rayon::current_num_threads() == 1
}

/// `job(i)` for every `i < jobs`, results in order.
pub(crate) fn map<R: Send>(jobs: usize, job: impl Fn(usize) -> R + Sync) -> Vec<R> {
    match sequential(jobs) {
        true => (0..jobs).map(job).collect(),
        false => (0..jobs).into_par_iter().map(&job).collect(),
    }
}

/// `job(i, chunk)` for every chunk of `size` values (the last may be shorter).
pub(crate) fn for_each_chunk<T: Send>(values: &mut [T], size: usize, job: impl Fn(usize, &mut [T]) + Sync) {
    match sequential(values.len().div_ceil(size)) {
        true => values.chunks_mut(size).enumerate().for_each(|(i, chunk)| job(i, chunk)),
        false => values.par_chunks_mut(size).enumerate().for_each(|(i, chunk)| job(i, chunk)),
    }
}

/// `job(i, a, b)` for every pair of chunks of `size` values of two slices of one length, results in order.
pub(crate) fn map_pairs<T: Send, R: Send>(
    a: &mut [T],
    b: &mut [T],
    size: usize,
    job: impl Fn(usize, &mut [T], &mut [T]) -> R + Sync,
) -> Vec<R> {
    let job = |(i, (a, b)): (usize, (&mut [T], &mut [T]))| job(i, a, b);
    match sequential(a.len().div_ceil(size)) {
        true => a.chunks_mut(size).zip(b.chunks_mut(size)).enumerate().map(job).collect(),
        false => a.par_chunks_mut(size).zip(b.par_chunks_mut(size)).enumerate().map(job).collect(),
    }
}

/// A vector that `fill` writes from end to end, without zeroing it first.
///
/// `fill` must write every element before it reads it: the slice starts with unspecified values.
pub(crate) fn build<T: Float>(length: usize, fill: impl FnOnce(&mut [T])) -> Vec<T> {
    let mut values = Vec::with_capacity(length);
    // SAFETY: the capacity is there, every bit pattern is a valid float, and `fill` writes all of it.
    unsafe {
        fill(std::slice::from_raw_parts_mut(values.as_mut_ptr(), length));
        values.set_len(length);
    }
    values
}

/// [`build`], chunk by chunk in parallel.
pub(crate) fn build_chunks<T: Float>(
    length: usize,
    size: usize,
    job: impl Fn(usize, &mut [T]) + Sync,
) -> Vec<T> {
    build(length, |values| for_each_chunk(values, size, job))
}

/// Lends out a spare buffer of this thread, of `length` numbers, with unspecified but initialised content.
/// It starts a line of the cache.
pub(crate) fn with_scratch<T: Float, R>(length: usize, work: impl FnOnce(&mut [T]) -> R) -> R {
    // Taken out while in use, so that a nested call gets another one, and the same one every time.
    let mut buffer = T::spare().with_borrow_mut(|spare| spare.pop()).unwrap_or_default();
    let needed = length + LINE / size_of::<T>();
    if buffer.len() < needed {
        buffer.resize(needed, T::ZERO);
    }
    let skip = buffer.as_ptr().align_offset(LINE);
    let result = work(&mut buffer[skip..skip + length]);
    T::spare().with_borrow_mut(|spare| spare.push(buffer));
    result
}

/// A slice that several jobs write, each at places of its own.
pub(crate) struct Shared<T> {
    start: *mut T,
    length: usize,
}

// SAFETY: access goes through `range`, whose caller promises that ranges of different jobs are disjoint.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) fn new(values: &mut [T]) -> Self {
        Self { start: values.as_mut_ptr(), length: values.len() }
    }

    /// # Safety
    /// No two live ranges may overlap, and the slice given to `new` must outlive them.
    #[allow(clippy::mut_from_ref)] // That is the point: disjoint parts of one slice.
    pub(crate) unsafe fn range(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.length);
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}
