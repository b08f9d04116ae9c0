//! The six linear maps of F(4x4, 3x3), eight or sixteen channels at a time.
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

/// A linear map of a line of a square.
///
/// A trait and no closure: what is called through `Fn` is compiled without the instruction set, unless it happens to be
/// inlined.
pub(super) trait Map<const FROM: usize, const TO: usize> {
    fn line<I: Isa, T: Float, const N: usize>(line: [Lanes<T, N>; FROM]) -> [Lanes<T, N>; TO];
}

/// Applies a map to the columns and then to the rows of a square of vectors, to `ADD` adding to what is there.
///
/// # Safety
/// All `FROM * FROM` places of `source` must be readable, all `TO * TO` places of `target` writable and, to `ADD`,
/// readable.
#[inline(always)]
pub(super) unsafe fn transform<I, T, M, const N: usize, const FROM: usize, const TO: usize, const ADD: bool>(
    source: Grid<*const T>,
    target: Grid<*mut T>,
) where
    I: Isa,
    T: Float,
    M: Map<FROM, TO>,
{
    let mut half = [[Lanes::<T, N>::ZERO; FROM]; TO];
    for j in 0..FROM {
        let mut column = [Lanes::<T, N>::ZERO; FROM];
        for i in 0..FROM {
            column[i] = unsafe { Lanes::load(source.start.add(i * source.row + j * source.column)) };
        }
        let column = M::line::<I, T, N>(column);
        for i in 0..TO {
            half[i][j] = column[i];
        }
    }
    for i in 0..TO {
        let row = M::line::<I, T, N>(half[i]);
        for j in 0..TO {
            unsafe {
                let place = target.start.add(i * target.row + j * target.column);
                let sum = if ADD { I::add_lanes(Lanes::load(place), row[j]) } else { row[j] };
                sum.store(place);
            }
        }
    }
}

/// `factor * x + term`
#[inline(always)]
fn times<I: Isa, T: Float, const N: usize>(factor: f64, x: Lanes<T, N>, term: Lanes<T, N>) -> Lanes<T, N> {
    x.mul_add::<I>(Lanes::splat(T::of(factor)), term)
}

#[inline(always)]
fn scale<I: Isa, T: Float, const N: usize>(factor: f64, x: Lanes<T, N>) -> Lanes<T, N> {
    I::mul_lanes(x, Lanes::splat(T::of(factor)))
}

/// `B'`: a line of the input.
pub(super) struct FromInput;

impl Map<SIDE, SIDE> for FromInput {
    #[inline(always)]
    fn line<I: Isa, T: Float, const N: usize>(x: [Lanes<T, N>; SIDE]) -> [Lanes<T, N>; SIDE] {
        let (a, b) = (times::<I, T, N>(-4.0, x[2], x[4]), times::<I, T, N>(-4.0, x[1], x[3]));
        let (c, d) = (I::sub_lanes(x[4], x[2]), I::sub_lanes(x[3], x[1]));
        [
            times::<I, T, N>(4.0, x[0], times::<I, T, N>(-5.0, x[2], x[4])),
            I::add_lanes(a, b),
            I::sub_lanes(a, b),
            times::<I, T, N>(2.0, d, c),
            times::<I, T, N>(-2.0, d, c),
            times::<I, T, N>(4.0, x[1], times::<I, T, N>(-5.0, x[3], x[5])),
        ]
    }
}

/// Sums and differences of the frequencies of the points 1 and -1 and of those of 2 and -2.
#[inline(always)]
fn pairs<I: Isa, T: Float, const N: usize>(m: [Lanes<T, N>; SIDE]) -> [Lanes<T, N>; 4] {
    [I::add_lanes(m[1], m[2]), I::sub_lanes(m[1], m[2]), I::add_lanes(m[3], m[4]), I::sub_lanes(m[3], m[4])]
}

/// `A'`: back to a line of the output.
pub(super) struct ToOutput;

impl Map<SIDE, TILE> for ToOutput {
    #[inline(always)]
    fn line<I: Isa, T: Float, const N: usize>(m: [Lanes<T, N>; SIDE]) -> [Lanes<T, N>; TILE] {
        let [sum, difference, sum2, difference2] = pairs::<I, T, N>(m);
        [
            I::add_lanes(m[0], I::add_lanes(sum, sum2)),
            times::<I, T, N>(2.0, difference2, difference),
            times::<I, T, N>(4.0, sum2, sum),
            I::add_lanes(m[5], times::<I, T, N>(8.0, difference2, difference)),
        ]
    }
}

/// `A`: a line of the gradient of the output.
pub(super) struct FromOutputGradient;

impl Map<TILE, SIDE> for FromOutputGradient {
    #[inline(always)]
    fn line<I: Isa, T: Float, const N: usize>(dy: [Lanes<T, N>; TILE]) -> [Lanes<T, N>; SIDE] {
        let (even, odd) = (I::add_lanes(dy[0], dy[2]), I::add_lanes(dy[1], dy[3]));
        let (even2, odd2) = (times::<I, T, N>(4.0, dy[2], dy[0]), times::<I, T, N>(4.0, dy[3], dy[1]));
        [
            dy[0],
            I::add_lanes(even, odd),
            I::sub_lanes(even, odd),
            times::<I, T, N>(2.0, odd2, even2),
            times::<I, T, N>(-2.0, odd2, even2),
            dy[3],
        ]
    }
}

/// `B`: back to a line of the gradient of the input.
pub(super) struct ToInputGradient;

impl Map<SIDE, SIDE> for ToInputGradient {
    #[inline(always)]
    fn line<I: Isa, T: Float, const N: usize>(m: [Lanes<T, N>; SIDE]) -> [Lanes<T, N>; SIDE] {
        let [sum, difference, sum2, difference2] = pairs::<I, T, N>(m);
        [
            scale::<I, T, N>(4.0, m[0]),
            times::<I, T, N>(4.0, I::sub_lanes(m[5], difference), scale::<I, T, N>(-2.0, difference2)),
            times::<I, T, N>(-5.0, m[0], times::<I, T, N>(-4.0, sum, scale::<I, T, N>(-1.0, sum2))),
            times::<I, T, N>(-5.0, m[5], times::<I, T, N>(2.0, difference2, difference)),
            I::add_lanes(m[0], I::add_lanes(sum, sum2)),
            m[5],
        ]
    }
}

/// `G`: a line of the kernel.
pub(super) struct FromKernel;

impl Map<KERNEL, SIDE> for FromKernel {
    #[inline(always)]
    fn line<I: Isa, T: Float, const N: usize>(w: [Lanes<T, N>; KERNEL]) -> [Lanes<T, N>; SIDE] {
        let (even, odd) =
            (scale::<I, T, N>(-1.0 / 6.0, I::add_lanes(w[0], w[2])), scale::<I, T, N>(1.0 / 6.0, w[1]));
        let even2 = times::<I, T, N>(1.0 / 6.0, w[2], scale::<I, T, N>(1.0 / 24.0, w[0]));
        let odd2 = scale::<I, T, N>(1.0 / 12.0, w[1]);
        [
            scale::<I, T, N>(0.25, w[0]),
            I::sub_lanes(even, odd),
            I::add_lanes(even, odd),
            I::add_lanes(even2, odd2),
            I::sub_lanes(even2, odd2),
            w[2],
        ]
    }
}

/// `G'`: back to a line of the gradient of the kernel.
pub(super) struct ToKernelGradient;

impl Map<SIDE, KERNEL> for ToKernelGradient {
    #[inline(always)]
    fn line<I: Isa, T: Float, const N: usize>(m: [Lanes<T, N>; SIDE]) -> [Lanes<T, N>; KERNEL] {
        let [sum, difference, sum2, difference2] = pairs::<I, T, N>(m);
        [
            times::<I, T, N>(
                0.25,
                m[0],
                times::<I, T, N>(-1.0 / 6.0, sum, scale::<I, T, N>(1.0 / 24.0, sum2)),
            ),
            times::<I, T, N>(-1.0 / 6.0, difference, scale::<I, T, N>(1.0 / 12.0, difference2)),
            times::<I, T, N>(1.0 / 6.0, I::sub_lanes(sum2, sum), m[5]),
        ]
    }
}
