//! The six linear maps of F(4x4, 3x3), eight channels at a time.
//!
//! With the interpolation points 0, 1, -1, 2, -2 and infinity (Lavin & Gray 2016, section 4.3) the
//! output of a tile is `A' [(G w G') . (B' x B)] A`, a prime for the transpose. The gradients follow by
//! transposing each factor: `B [(G w G') . (A dy A')] B'` and `G' [(A dy A') . (B' x B)] G`.
#![allow(clippy::needless_range_loop)] // Counted loops are what the compiler unrolls into registers.

use crate::simd::{Float, Isa, Lanes};

/// Edge of a tile of inputs: as many frequencies each way.
pub(super) const SIDE: usize = 6;
/// Edge of a tile of outputs.
pub(super) const TILE: usize = 4;
/// Edge of the kernel.
pub(super) const KERNEL: usize = 3;

/// Places in a square of vectors: `[i, j]` starts at `start + i * row + j * column`.
#[derive(Clone, Copy)]
pub(super) struct Grid<P> {
    pub start: P,
    pub row: usize,
    pub column: usize,
}

impl<P> Grid<P> {
    /// The 36 frequencies, one every `stride` numbers.
    #[inline(always)]
    pub fn frequencies(start: P, stride: usize) -> Self {
        Self { start, row: SIDE * stride, column: stride }
    }
}

/// Applies `map` to the columns and then to the rows of a square.
///
/// # Safety
/// All `FROM * FROM` places of `source` must be readable, all `TO * TO` places of `target` writable.
#[inline(always)]
pub(super) unsafe fn transform<T: Float, const FROM: usize, const TO: usize>(
    map: impl Fn([Lanes<T>; FROM]) -> [Lanes<T>; TO],
    source: Grid<*const T>,
    target: Grid<*mut T>,
) {
    let half = unsafe { columns(&map, source) };
    for i in 0..TO {
        let row = map(half[i]);
        for j in 0..TO {
            unsafe { row[j].store(target.start.add(i * target.row + j * target.column)) };
        }
    }
}

/// [`transform`] that adds to its target.
///
/// # Safety
/// As there, and the target must be readable.
#[inline(always)]
pub(super) unsafe fn transform_add<T: Float, const FROM: usize, const TO: usize>(
    map: impl Fn([Lanes<T>; FROM]) -> [Lanes<T>; TO],
    source: Grid<*const T>,
    target: Grid<*mut T>,
) {
    let half = unsafe { columns(&map, source) };
    for i in 0..TO {
        let row = map(half[i]);
        for j in 0..TO {
            unsafe {
                let place = target.start.add(i * target.row + j * target.column);
                Lanes::load(place).add(row[j]).store(place);
            }
        }
    }
}

#[inline(always)]
unsafe fn columns<T: Float, const FROM: usize, const TO: usize>(
    map: &impl Fn([Lanes<T>; FROM]) -> [Lanes<T>; TO],
    source: Grid<*const T>,
) -> [[Lanes<T>; FROM]; TO] {
    let mut half = [[Lanes::ZERO; FROM]; TO];
    for j in 0..FROM {
        let mut column = [Lanes::ZERO; FROM];
        for i in 0..FROM {
            column[i] = unsafe { Lanes::load(source.start.add(i * source.row + j * source.column)) };
        }
        let column = map(column);
        for i in 0..TO {
            half[i][j] = column[i];
        }
    }
    half
}

/// `factor * x + term`
#[inline(always)]
fn times<I: Isa, T: Float>(factor: f64, x: Lanes<T>, term: Lanes<T>) -> Lanes<T> {
    x.mul_add::<I>(Lanes::splat(T::of(factor)), term)
}

#[inline(always)]
fn scale<T: Float>(factor: f64, x: Lanes<T>) -> Lanes<T> {
    x.mul(Lanes::splat(T::of(factor)))
}

/// `B'`: a line of the input.
#[inline(always)]
pub(super) fn from_input<I: Isa, T: Float>(x: [Lanes<T>; SIDE]) -> [Lanes<T>; SIDE] {
    let (a, b) = (times::<I, T>(-4.0, x[2], x[4]), times::<I, T>(-4.0, x[1], x[3]));
    let (c, d) = (x[4].sub(x[2]), x[3].sub(x[1]));
    [
        times::<I, T>(4.0, x[0], times::<I, T>(-5.0, x[2], x[4])),
        a.add(b),
        a.sub(b),
        times::<I, T>(2.0, d, c),
        times::<I, T>(-2.0, d, c),
        times::<I, T>(4.0, x[1], times::<I, T>(-5.0, x[3], x[5])),
    ]
}

/// Sums and differences of the frequencies of the points 1 and -1 and of those of 2 and -2.
#[inline(always)]
fn pairs<T: Float>(m: [Lanes<T>; SIDE]) -> [Lanes<T>; 4] {
    [m[1].add(m[2]), m[1].sub(m[2]), m[3].add(m[4]), m[3].sub(m[4])]
}

/// `A'`: back to a line of the output.
#[inline(always)]
pub(super) fn to_output<I: Isa, T: Float>(m: [Lanes<T>; SIDE]) -> [Lanes<T>; TILE] {
    let [sum, difference, sum2, difference2] = pairs(m);
    [
        m[0].add(sum.add(sum2)),
        times::<I, T>(2.0, difference2, difference),
        times::<I, T>(4.0, sum2, sum),
        m[5].add(times::<I, T>(8.0, difference2, difference)),
    ]
}

/// `A`: a line of the gradient of the output.
#[inline(always)]
pub(super) fn from_output_gradient<I: Isa, T: Float>(dy: [Lanes<T>; TILE]) -> [Lanes<T>; SIDE] {
    let (even, odd) = (dy[0].add(dy[2]), dy[1].add(dy[3]));
    let (even2, odd2) = (times::<I, T>(4.0, dy[2], dy[0]), times::<I, T>(4.0, dy[3], dy[1]));
    [
        dy[0],
        even.add(odd),
        even.sub(odd),
        times::<I, T>(2.0, odd2, even2),
        times::<I, T>(-2.0, odd2, even2),
        dy[3],
    ]
}

/// `B`: back to a line of the gradient of the input.
#[inline(always)]
pub(super) fn to_input_gradient<I: Isa, T: Float>(m: [Lanes<T>; SIDE]) -> [Lanes<T>; SIDE] {
    let [sum, difference, sum2, difference2] = pairs(m);
    [
        scale(4.0, m[0]),
        times::<I, T>(4.0, m[5].sub(difference), scale(-2.0, difference2)),
        times::<I, T>(-5.0, m[0], times::<I, T>(-4.0, sum, scale(-1.0, sum2))),
        times::<I, T>(-5.0, m[5], times::<I, T>(2.0, difference2, difference)),
        m[0].add(sum.add(sum2)),
        m[5],
    ]
}

/// `G`: a line of the kernel.
#[inline(always)]
pub(super) fn from_kernel<I: Isa, T: Float>(w: [Lanes<T>; KERNEL]) -> [Lanes<T>; SIDE] {
    let (even, odd) = (scale(-1.0 / 6.0, w[0].add(w[2])), scale(1.0 / 6.0, w[1]));
    let even2 = times::<I, T>(1.0 / 6.0, w[2], scale(1.0 / 24.0, w[0]));
    let odd2 = scale(1.0 / 12.0, w[1]);
    [scale(0.25, w[0]), even.sub(odd), even.add(odd), even2.add(odd2), even2.sub(odd2), w[2]]
}

/// `G'`: back to a line of the gradient of the kernel.
#[inline(always)]
pub(super) fn to_kernel_gradient<I: Isa, T: Float>(m: [Lanes<T>; SIDE]) -> [Lanes<T>; KERNEL] {
    let [sum, difference, sum2, difference2] = pairs(m);
    [
        times::<I, T>(0.25, m[0], times::<I, T>(-1.0 / 6.0, sum, scale(1.0 / 24.0, sum2))),
        times::<I, T>(-1.0 / 6.0, difference, scale(1.0 / 12.0, difference2)),
        times::<I, T>(1.0 / 6.0, sum2.sub(sum), m[5]),
    ]
}
