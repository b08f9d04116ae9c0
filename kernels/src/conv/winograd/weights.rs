//! Weights to frequencies, and the frequencies of their gradient back.
#![allow(clippy::needless_range_loop)] // Lanes and taps change places.

use super::super::product::PANEL;
use super::transform::{FromKernel, Grid, KERNEL, SIDE, ToKernelGradient, transform};
use super::{FREQUENCIES, GAP};
use crate::parallel;
use crate::simd::{Float, Isa, Kernel, LANES, Lanes, dispatch};

const TAPS: usize = KERNEL * KERNEL;

/// A matrix for every frequency, its columns cut into panels: `[panel][frequency][row][16]`.
///
/// The last panel has half the columns if that is enough.
#[derive(Debug, Clone, Copy)]
pub(super) struct Panels {
    pub rows: usize,
    pub columns: usize,
}

impl Panels {
    pub fn count(&self) -> usize {
        self.columns.div_ceil(PANEL)
    }

    /// Columns of a panel.
    pub fn width(&self, panel: usize) -> usize {
        PANEL.min((self.columns - panel * PANEL).next_multiple_of(LANES))
    }

    /// Distance between the frequencies of a panel.
    pub fn stride(&self, panel: usize) -> usize {
        self.rows * self.width(panel) + GAP
    }

    /// Numbers of a panel that is not the last.
    pub fn panel_len(&self) -> usize {
        FREQUENCIES * (self.rows * PANEL + GAP)
    }

    pub fn len(&self) -> usize {
        let last = self.count() - 1;
        last * self.panel_len() + FREQUENCIES * self.stride(last)
    }

    /// The panels that can be multiplied together: all but a last one of half the columns, and that. The first of
    /// them, and their columns.
    pub fn parts(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (last, columns) = (self.count() - 1, self.width(self.count() - 1));
        let whole = if columns < PANEL { last } else { last + 1 };
        let parts = [(0, whole * PANEL), (last, columns)];
        parts.into_iter().take(if columns < PANEL { 2 } else { 1 }).filter(|part| part.1 > 0)
    }

    /// Where each vector of eight columns of a row of a panel is: the first column and the place.
    fn vectors(self, panel: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        let width = self.width(panel);
        let vectors = (0..width / LANES).map(move |v| v * LANES);
        (0..self.rows)
            .flat_map(move |row| vectors.clone().map(move |v| (row, panel * PANEL + v, row * width + v)))
    }
}

/// Kernels as a matrix of 3x3 kernels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernels<'a, T> {
    pub values: &'a [T],
    /// Distance between the kernels of neighbouring rows and of neighbouring columns.
    pub row: usize,
    pub column: usize,
}

impl<T: Float> Kernels<'_, T> {
    /// All frequencies of all kernels. Writes all of `target` but the gaps.
    pub fn transform(&self, panels: Panels, target: &mut [T]) {
        parallel::for_each_chunk(target, panels.panel_len(), |panel, target| {
            dispatch(ToFrequencies { kernels: self, panels, panel, target });
        });
    }
}

struct ToFrequencies<'a, T> {
    kernels: &'a Kernels<'a, T>,
    panels: Panels,
    panel: usize,
    target: &'a mut [T],
}

impl<T: Float> Kernel for ToFrequencies<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { kernels, panels, panel, target } = self;
        let stride = panels.stride(panel);
        assert!(target.len() >= FREQUENCIES * stride);
        for (row, column, place) in panels.vectors(panel) {
            let mut taps = [[T::ZERO; LANES]; TAPS];
            for lane in 0..LANES.min(panels.columns - column) {
                let at = row * kernels.row + (column + lane) * kernels.column;
                let values = &kernels.values[at..at + TAPS];
                for tap in 0..TAPS {
                    taps[tap][lane] = values[tap];
                }
            }
            let source = Grid { start: taps.as_ptr().cast(), row: KERNEL * LANES, column: LANES };
            // SAFETY: `taps` has nine vectors, the target 36 of them `stride` apart.
            unsafe {
                let target = Grid::frequencies(target.as_mut_ptr().add(place), stride);
                transform::<I, T, FromKernel, LANES, KERNEL, SIDE, false>(source, target);
            }
        }
    }
}

/// The gradient of the weights of a group `[columns, rows, 3, 3]` from the sum of some frequencies,
/// which lie one behind the other in `partials`. The sum is in their order.
pub(super) fn kernel_gradients<T: Float>(panels: Panels, partials: &[&[T]], target: &mut [T]) {
    parallel::for_each_chunk(target, PANEL * panels.rows * TAPS, |panel, target| {
        dispatch(FromFrequencies { panels, partials, panel, target });
    });
}

struct FromFrequencies<'a, T> {
    panels: Panels,
    partials: &'a [&'a [T]],
    panel: usize,
    target: &'a mut [T],
}

impl<T: Float> Kernel for FromFrequencies<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { panels, partials, panel, target } = self;
        let (start, stride) = (panel * panels.panel_len(), panels.stride(panel));
        assert!(partials.iter().all(|p| p.len() >= start + FREQUENCIES * stride));
        for (row, column, place) in panels.vectors(panel) {
            let mut sums = [[T::ZERO; LANES]; FREQUENCIES];
            for partial in partials {
                for (frequency, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: the assertion above.
                    unsafe {
                        let place = partial.as_ptr().add(start + frequency * stride + place);
                        Lanes::<T>::load(sum.as_ptr()).add(Lanes::load(place)).store(sum.as_mut_ptr());
                    }
                }
            }
            let mut taps = [[T::ZERO; LANES]; TAPS];
            let source = Grid { start: sums.as_ptr().cast(), row: SIDE * LANES, column: LANES };
            let grid = Grid { start: taps.as_mut_ptr().cast(), row: KERNEL * LANES, column: LANES };
            // SAFETY: `sums` has 36 vectors, `taps` nine.
            unsafe { transform::<I, T, ToKernelGradient, LANES, SIDE, KERNEL, false>(source, grid) };
            for lane in 0..LANES.min(panels.columns - column) {
                let at = ((column - panel * PANEL + lane) * panels.rows + row) * TAPS;
                let target = &mut target[at..at + TAPS];
                for tap in 0..TAPS {
                    target[tap] = taps[tap][lane];
                }
            }
        }
    }
}
