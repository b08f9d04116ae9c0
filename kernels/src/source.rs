//! What a convolution reads: numbers in memory, or what a batch norm makes of some while they are read.

use crate::norm::{NormGradient, Normalised};
use crate::simd::{Float, Isa, Kernel, dispatch, prefetch};
use std::ops::Range;

/// Numbers `[batch, channels, pixels]`, which are read some whole planes at a time.
pub(crate) enum Source<'a, T> {
    Plain(&'a [T]),
    Normalised(Normalised<'a, T>),
    Gradient(NormGradient<'a, T>),
}

impl<T: Float> Source<'_, T> {
    /// How many of `values` numbers need room when they are read.
    pub fn room(&self, values: usize) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Normalised(_) | Self::Gradient(_) => values,
        }
    }

    /// Some whole planes, where they lie or in `room`, which has [`Self::room`].
    pub fn read<'s>(&'s self, values: Range<usize>, room: &'s mut [T]) -> &'s [T] {
        if let Self::Plain(all) = self {
            return &all[values];
        }
        let room = &mut room[..values.len()];
        dispatch(Read { source: self, values, room: &mut *room });
        room
    }

    /// Asks for what lies behind some planes, as far as [`Self::read`] does not.
    #[inline(always)]
    pub fn prefetch_next<I: Isa>(&self, values: Range<usize>) {
        if let Self::Plain(all) = self {
            let length = values.len();
            prefetch::<I, T>(&all[values], length);
        }
    }
}

/// A kernel of its own: compiled into every loop that reads, it would be a large part of the crate.
struct Read<'a, T> {
    source: &'a Source<'a, T>,
    values: Range<usize>,
    room: &'a mut [T],
}

impl<T: Float> Kernel for Read<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { source, values, room } = self;
        match source {
            Source::Plain(all) => room.copy_from_slice(&all[values]),
            Source::Normalised(norm) => norm.read::<I>(values, room),
            Source::Gradient(norm) => norm.read::<I>(values, room),
        }
    }
}
