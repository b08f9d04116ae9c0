//! What is done with a block of tiles: to frequencies, products, and back.
//!
//! Each is a kernel by itself. Compiled together into one, the compiler runs out of registers.

use super::super::cells::Cells;
use super::super::product::{PANEL, Product};
use super::transform::{Grid, Map, SIDE, TILE, transform};
use super::weights::Panels;
use super::{Block, FREQUENCIES, Frequencies};
use crate::simd::{Float, Isa, Kernel, LANES};

/// Applies a map to `FROM * FROM` pixels of every tile.
pub(super) struct ToFrequencies<'a, T, M: Map<FROM, SIDE>, const FROM: usize> {
    #[expect(dead_code, reason = "its type says it all")]
    pub map: M,
    pub cells: &'a Cells,
    pub block: Block,
    pub values: &'a [T],
    pub to: (Frequencies, &'a mut [T]),
}

impl<T: Float, M: Map<FROM, SIDE>, const FROM: usize> Kernel for ToFrequencies<'_, T, M, FROM> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { cells, block, values, to: (frequencies, target), .. } = self;
        check_tiles(cells, FROM, &block, values, frequencies, target);
        let lanes = cells.lanes;
        for (t, place) in block.places(cells).enumerate() {
            for cell in 0..cells.count() {
                // SAFETY: checked above.
                unsafe {
                    let start = values.as_ptr().add(cell * cells.cell_len() + place);
                    let source = Grid { start, row: cells.columns * lanes, column: lanes };
                    let target = target.as_mut_ptr().add(t * frequencies.channels + cell * lanes);
                    let target = Grid::frequencies(target, frequencies.stride);
                    if I::WIDE && lanes == PANEL {
                        transform::<I, T, M, PANEL, FROM, SIDE, false>(source, target);
                    } else {
                        transform::<I, T, M, LANES, FROM, SIDE, false>(source, target);
                    }
                }
            }
        }
    }
}

/// The reverse of [`ToFrequencies`]; to `ADD`, where tiles overlap, adds to the pixels that are there.
pub(super) struct FromFrequencies<'a, T, M: Map<SIDE, TO>, const TO: usize, const ADD: bool> {
    #[expect(dead_code, reason = "its type says it all")]
    pub map: M,
    pub cells: &'a Cells,
    pub block: Block,
    pub from: (Frequencies, &'a [T]),
    pub values: &'a mut [T],
}

impl<T: Float, M: Map<SIDE, TO>, const TO: usize, const ADD: bool> Kernel
    for FromFrequencies<'_, T, M, TO, ADD>
{
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { cells, block, from: (frequencies, source), values, .. } = self;
        check_tiles(cells, TO, &block, values, frequencies, source);
        let lanes = cells.lanes;
        for (t, place) in block.places(cells).enumerate() {
            for cell in 0..cells.count() {
                // SAFETY: checked above.
                unsafe {
                    let source = source.as_ptr().add(t * frequencies.channels + cell * lanes);
                    let source = Grid::frequencies(source, frequencies.stride);
                    let start = values.as_mut_ptr().add(cell * cells.cell_len() + place);
                    let target = Grid { start, row: cells.columns * lanes, column: lanes };
                    if I::WIDE && lanes == PANEL {
                        transform::<I, T, M, PANEL, SIDE, TO, ADD>(source, target);
                    } else {
                        transform::<I, T, M, LANES, SIDE, TO, ADD>(source, target);
                    }
                }
            }
        }
    }
}

/// Checks that all of the tiles lie inside their cells and frequencies.
#[inline(always)]
fn check_tiles<T>(
    cells: &Cells,
    side: usize,
    block: &Block,
    values: &[T],
    frequencies: Frequencies,
    transformed: &[T],
) {
    let Block { tiles, across, each } = block;
    assert!((each / across - 1) * TILE + side <= cells.rows && (across - 1) * TILE + side <= cells.columns);
    assert!(tiles.end.div_ceil(*each) * cells.len() <= values.len());
    assert!(tiles.len() * frequencies.channels <= frequencies.stride);
    assert!(cells.count() * cells.lanes == frequencies.channels && cells.lanes >= LANES);
    assert!(frequencies.len() <= transformed.len());
}

/// For every frequency the tiles times the weights.
pub(super) struct Products<'a, T> {
    pub panels: Panels,
    pub weights: &'a [T],
    pub tiles: usize,
    pub from: (Frequencies, &'a [T]),
    pub to: (Frequencies, &'a mut [T]),
}

impl<T: Float> Kernel for Products<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { panels, weights, tiles, from: (from, source), to: (to, target) } = self;
        assert!(
            panels.rows <= from.channels && panels.columns <= to.channels && panels.len() <= weights.len()
        );
        assert!(tiles * from.channels <= from.stride && tiles * to.channels <= to.stride);
        assert!(from.len() <= source.len() && to.len() <= target.len());
        for frequency in 0..FREQUENCIES {
            for (panel, columns) in panels.parts() {
                let right = panel * panels.panel_len() + frequency * panels.stride(panel);
                // SAFETY: the assertions above.
                unsafe {
                    let product = Product {
                        left: source.as_ptr().add(frequency * from.stride),
                        left_row: from.channels,
                        left_column: 1,
                        right: weights.as_ptr().add(right),
                        right_row: panels.width(panel),
                        right_panel: panels.panel_len(),
                        target: target.as_mut_ptr().add(frequency * to.stride + panel * PANEL),
                        target_row: to.channels,
                        target_panel: PANEL,
                        rows: tiles,
                        depth: panels.rows,
                        columns,
                    };
                    product.run::<I, false>();
                }
            }
        }
    }
}

/// For every frequency the product of the inputs with the gradients of the outputs, added to what is there unless it
/// begins the sum.
pub(super) struct AddProducts<'a, T> {
    pub panels: Panels,
    pub tiles: usize,
    pub x: (Frequencies, &'a [T]),
    pub dy: (Frequencies, &'a [T]),
    pub begins: bool,
    pub target: &'a mut [T],
}

impl<T: Float> Kernel for AddProducts<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { panels, tiles, x: (x, inputs), dy: (dy, outputs), begins, target } = self;
        assert!(panels.rows <= x.channels && panels.columns <= dy.channels && panels.len() <= target.len());
        assert!(tiles * x.channels <= x.stride && tiles * dy.channels <= dy.stride);
        assert!(x.len() <= inputs.len() && dy.len() <= outputs.len());
        for frequency in 0..FREQUENCIES {
            for (panel, columns) in panels.parts() {
                let place = panel * panels.panel_len() + frequency * panels.stride(panel);
                // SAFETY: the assertions above.
                unsafe {
                    let product = Product {
                        left: inputs.as_ptr().add(frequency * x.stride),
                        left_row: 1,
                        left_column: x.channels,
                        right: outputs.as_ptr().add(frequency * dy.stride + panel * PANEL),
                        right_row: dy.channels,
                        right_panel: PANEL,
                        target: target.as_mut_ptr().add(place),
                        target_row: panels.width(panel),
                        target_panel: panels.panel_len(),
                        rows: panels.rows,
                        depth: tiles,
                        columns,
                    };
                    match begins {
                        true => product.run::<I, false>(),
                        false => product.run::<I, true>(),
                    }
                }
            }
        }
    }
}
