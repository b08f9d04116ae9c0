//! Lane arrays that the compiler turns into vector registers, and the choice of instruction set.
//!
//! A kernel is written once, generic over the number type and the instruction set, with everything
//! on its hot path marked `#[inline(always)]`. [`dispatch`] compiles that body once for every
//! instruction set, under its `#[target_feature]`, and picks one at run time.

#[cfg(target_arch = "x86_64")]
mod avx;
#[cfg(test)]
mod tests;

#[cfg(target_arch = "x86_64")]
use avx::{Avx2, Avx512};
use candle_core::WithDType;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::Neg;

/// Bytes of a line of the cache.
pub(crate) const LINE: usize = 64;

/// Bytes up to whose multiples a processor reads ahead by itself.
pub(crate) const PAGE: usize = 4096;

/// Bytes that [`prefetch`] asks for at most: what comes then is on the next page.
const AHEAD: usize = PAGE;

/// Lanes of a vector: one AVX register of `f32`, two of `f64`.
pub(crate) const LANES: usize = 8;

/// Lanes of a vector of `f32` where [`Isa::WIDE`].
pub(crate) const WIDE_LANES: usize = 2 * LANES;

/// Pixels that change places with channels together: a quarter of a register of [`WIDE_LANES`].
pub(crate) const FOUR: usize = 4;

/// The number types of the kernels: `f32` and `f64`.
pub(crate) trait Float: WithDType + Neg<Output = Self> {
    const ZERO: Self;
    const ONE: Self;
    /// A vector of zeros and one of ones, in memory: part of it is a mask.
    const STEP: &'static [Self; 2 * LANES];
    /// `self * factor + term` with one rounding. Fast only where the processor has the instruction.
    fn fused(self, factor: Self, term: Self) -> Self;
    fn is_nan(self) -> bool;
    /// The nearest number.
    fn of(value: f64) -> Self;
    /// The same number.
    fn widen(self) -> f64;
    /// This thread's spare buffers; [`crate::parallel::with_scratch`] lends them out.
    fn spare() -> &'static std::thread::LocalKey<RefCell<Vec<Vec<Self>>>>;
}

macro_rules! float {
    ($t:ident, $spare:ident) => {
        thread_local!(static $spare: RefCell<Vec<Vec<$t>>> = const { RefCell::new(Vec::new()) });

        impl Float for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const STEP: &'static [Self; 2 * LANES] =
                &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
            #[inline(always)]
            fn fused(self, factor: Self, term: Self) -> Self {
                self.mul_add(factor, term)
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                $t::is_nan(self)
            }
            #[inline(always)]
            fn of(value: f64) -> Self {
                value as $t
            }
            #[inline(always)]
            fn widen(self) -> f64 {
                f64::from(self)
            }
            fn spare() -> &'static std::thread::LocalKey<RefCell<Vec<Vec<Self>>>> {
                &$spare
            }
        }
    };
}
float!(f32, SPARE_F32);
float!(f64, SPARE_F64);

/// Whether a later value takes the maximum from an earlier one: only if it is larger, or a NaN.
#[inline(always)]
pub(crate) fn beats<T: Float>(later: T, earlier: T) -> bool {
    // No short circuit: both questions at once make vectors.
    (later > earlier) | later.is_nan()
}

/// An instruction set, as far as a kernel's body can tell.
pub(crate) trait Isa {
    /// Whether two vectors of [`LANES`] numbers of `f32` fit into one register, and 32 registers are there.
    const WIDE: bool = false;

    /// Asks for the line of the cache at `place`, which need not be readable.
    #[inline(always)]
    fn prefetch<T>(_place: *const T) {}

    /// `a * b + c`, fused where that is one instruction.
    fn mul_add<T: Float>(a: T, b: T, c: T) -> T;

    /// [`Isa::mul_add`], lane by lane.
    #[inline(always)]
    fn mul_add_lanes<T: Float, const N: usize>(
        a: Lanes<T, N>,
        b: Lanes<T, N>,
        c: Lanes<T, N>,
    ) -> Lanes<T, N> {
        let mut result = c;
        for i in 0..N {
            result.0[i] = Self::mul_add(a.0[i], b.0[i], c.0[i]);
        }
        result
    }

    /// The sum, lane by lane.
    #[inline(always)]
    fn add_lanes<T: Float, const N: usize>(a: Lanes<T, N>, b: Lanes<T, N>) -> Lanes<T, N> {
        a.zip(b, |a, b| a + b)
    }

    /// The difference, lane by lane.
    #[inline(always)]
    fn sub_lanes<T: Float, const N: usize>(a: Lanes<T, N>, b: Lanes<T, N>) -> Lanes<T, N> {
        a.zip(b, |a, b| a - b)
    }

    /// The product, lane by lane.
    #[inline(always)]
    fn mul_lanes<T: Float, const N: usize>(a: Lanes<T, N>, b: Lanes<T, N>) -> Lanes<T, N> {
        a.zip(b, |a, b| a * b)
    }

    /// Lane by lane, the one that [`beats`] the other.
    #[inline(always)]
    fn larger<T: Float, const N: usize>(earlier: Lanes<T, N>, later: Lanes<T, N>) -> Lanes<T, N> {
        earlier.zip(later, |earlier, later| if beats(later, earlier) { later } else { earlier })
    }

    /// `dy` where `later` [`beats`] `earlier` and zero elsewhere; and the other way round.
    #[inline(always)]
    fn take<T: Float>(later: Lanes<T>, earlier: Lanes<T>, dy: Lanes<T>) -> [Lanes<T>; 2] {
        let (mut won, mut lost) = (dy, dy);
        for i in 0..LANES {
            let beats = beats(later.0[i], earlier.0[i]);
            won.0[i] = if beats { dy.0[i] } else { T::ZERO };
            lost.0[i] = if beats { T::ZERO } else { dy.0[i] };
        }
        [won, lost]
    }

    /// `dy`, but zero where `y` is not positive: the gradient of a ReLU with that result. A NaN lets it through.
    #[inline(always)]
    fn gate<T: Float>(y: Lanes<T>, dy: Lanes<T>) -> Lanes<T> {
        y.zip(dy, |y, dy| if y <= T::ZERO { T::ZERO } else { dy })
    }

    /// For every pixel of two rows, eight windows of 2x2, its part of its window's gradient: all of it for the first maximum,
    /// or the last NaN, unless that is zero or less. Quick where the set is [`Self::WIDE`].
    #[inline(always)]
    fn route<T: Float>([upper, lower]: [Lanes<T, WIDE_LANES>; 2], dy: Lanes<T>) -> [Lanes<T, WIDE_LANES>; 2] {
        let (rows, mut parts) = ([upper.0, lower.0], [[T::ZERO; WIDE_LANES]; 2]);
        for window in 0..LANES {
            let place = |pixel: usize| (pixel / 2, 2 * window + pixel % 2);
            let value = |pixel: usize| rows[place(pixel).0][place(pixel).1];
            let best =
                (1..4).fold(0, |best, pixel| if beats(value(pixel), value(best)) { pixel } else { best });
            let off = value(best) <= T::ZERO;
            if !off {
                parts[place(best).0][place(best).1] = dy.0[window];
            }
        }
        [Lanes(parts[0]), Lanes(parts[1])]
    }

    /// The first `count` numbers, and zeros behind them. Quick where the set is [`Self::WIDE`].
    ///
    /// # Safety
    /// Those numbers must be readable.
    #[inline(always)]
    unsafe fn load_first<T: Float>(source: *const T, count: usize) -> Lanes<T, WIDE_LANES> {
        let mut result = Lanes::ZERO;
        for i in 0..count.min(WIDE_LANES) {
            result.0[i] = unsafe { *source.add(i) };
        }
        result
    }

    /// The first and the last lanes.
    #[inline(always)]
    fn split<T: Float>(both: Lanes<T, WIDE_LANES>) -> [Lanes<T>; 2] {
        let mut halves = [Lanes::ZERO; 2];
        halves[0].0.copy_from_slice(&both.0[..LANES]);
        halves[1].0.copy_from_slice(&both.0[LANES..]);
        halves
    }

    /// The reverse of [`Isa::split`].
    #[inline(always)]
    fn join<T: Float>([first, last]: [Lanes<T>; 2]) -> Lanes<T, WIDE_LANES> {
        let mut both = Lanes::ZERO;
        both.0[..LANES].copy_from_slice(&first.0);
        both.0[LANES..].copy_from_slice(&last.0);
        both
    }

    /// The numbers at even and at odd places of two neighbouring vectors.
    #[inline(always)]
    fn unzip<T: Float>([a, b]: [Lanes<T>; 2]) -> [Lanes<T>; 2] {
        let mut result = [a, b];
        for i in 0..LANES / 2 {
            for (odd, result) in result.iter_mut().enumerate() {
                result.0[i] = a.0[2 * i + odd];
                result.0[LANES / 2 + i] = b.0[2 * i + odd];
            }
        }
        result
    }

    /// The reverse of [`Isa::unzip`].
    #[inline(always)]
    fn zip<T: Float>([even, odd]: [Lanes<T>; 2]) -> [Lanes<T>; 2] {
        let mut result = [even, odd];
        for i in 0..LANES {
            result[2 * i / LANES].0[2 * i % LANES] = even.0[i];
            result[2 * i / LANES].0[2 * i % LANES + 1] = odd.0[i];
        }
        result
    }

    /// Four neighbouring pixels of `N` channels that lie `plane` numbers apart: a vector of channels for each pixel.
    ///
    /// # Safety
    /// All of them must be readable.
    #[inline(always)]
    unsafe fn interleave<T: Float, const N: usize>(source: *const T, plane: usize) -> [Lanes<T, N>; FOUR] {
        let mut pixels = [Lanes::ZERO; FOUR];
        for channel in 0..N {
            for (p, pixel) in pixels.iter_mut().enumerate() {
                pixel.0[channel] = unsafe { *source.add(channel * plane + p) };
            }
        }
        pixels
    }

    /// Lane `i` of vector `j` becomes lane `j` of vector `i`.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // Says what it does.
    fn transpose<T: Float>(vectors: [Lanes<T>; LANES]) -> [Lanes<T>; LANES] {
        let mut result = vectors;
        for i in 0..LANES {
            for j in 0..LANES {
                result[i].0[j] = vectors[j].0[i];
            }
        }
        result
    }
}

/// Asks for the lines of the cache that lie `distance` numbers behind some others, to be read or written. They need not
/// be there.
///
/// The processor finds out by itself what is needed next as long as it lies on the same page. What lies one plane further
/// often does not.
#[inline(always)]
pub(crate) fn prefetch<I: Isa, T>(values: &[T], distance: usize) {
    let start = values.as_ptr().wrapping_add(distance);
    for place in (0..values.len().min(AHEAD / size_of::<T>())).step_by(LINE / size_of::<T>()) {
        I::prefetch(start.wrapping_add(place));
    }
}

/// What every processor has.
pub(crate) struct Portable;

impl Isa for Portable {
    #[inline(always)]
    fn mul_add<T: Float>(a: T, b: T, c: T) -> T {
        a * b + c
    }
}

/// Every 64-bit ARM processor.
#[cfg(target_arch = "aarch64")]
pub(crate) struct Neon;

#[cfg(target_arch = "aarch64")]
impl Isa for Neon {
    #[inline(always)]
    fn mul_add<T: Float>(a: T, b: T, c: T) -> T {
        a.fused(b, c)
    }
}

/// A computation that [`dispatch`] compiles for every instruction set.
///
/// `run` and all it calls must be `#[inline(always)]`, otherwise that part is compiled plainly.
pub(crate) trait Kernel {
    type Output;
    fn run<I: Isa>(self) -> Self::Output;
}

/// The instruction sets that [`dispatch`] chooses from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InstructionSet {
    /// Also what Miri and other architectures get.
    #[cfg_attr(target_arch = "aarch64", allow(dead_code))]
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl InstructionSet {
    /// The best one this processor has.
    #[cfg(target_arch = "x86_64")]
    fn best() -> Self {
        // The answers are cached in one atomic: asking costs a few loads.
        if !(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")) {
            Self::Portable
        } else if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
        {
            Self::Avx512
        } else {
            Self::Avx2
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn best() -> Self {
        Self::Neon
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn best() -> Self {
        Self::Portable
    }

    fn current() -> Self {
        #[cfg(test)]
        if let Some(forced) = tests::FORCED.get() {
            return forced;
        }
        Self::best()
    }
}

/// Whether vectors of these numbers have [`WIDE_LANES`].
#[inline(always)]
pub(crate) fn wide<I: Isa, T>() -> bool {
    I::WIDE && size_of::<T>() == size_of::<f32>()
}

/// [`wide`] with the instruction set that [`dispatch`] chooses.
pub(crate) fn will_be_wide<T>() -> bool {
    struct Wide<T>(PhantomData<T>);

    impl<T> Kernel for Wide<T> {
        type Output = bool;

        #[inline(always)]
        fn run<I: Isa>(self) -> bool {
            wide::<I, T>()
        }
    }

    dispatch(Wide(PhantomData::<T>))
}

/// Runs a kernel with the best instruction set this processor has.
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    match InstructionSet::current() {
        InstructionSet::Portable => kernel.run::<Portable>(),
        // SAFETY: `current` names a set that was detected.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => unsafe { run_avx2(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => unsafe { run_avx512(kernel) },
        #[cfg(target_arch = "aarch64")]
        InstructionSet::Neon => kernel.run::<Neon>(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Avx2>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512vl,avx512bw,avx512dq")]
fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Avx512>()
}

/// Neighbouring numbers.
#[derive(Clone, Copy)]
pub(crate) struct Lanes<T, const N: usize = LANES>([T; N]);

impl<T: Float, const N: usize> Lanes<T, N> {
    pub(crate) const ZERO: Self = Self([T::ZERO; N]);

    #[inline(always)]
    pub(crate) fn splat(value: T) -> Self {
        Self([value; N])
    }

    /// # Safety
    /// `source` must be readable for `N` numbers; no alignment beyond the number's is needed.
    #[inline(always)]
    pub(crate) unsafe fn load(source: *const T) -> Self {
        unsafe { source.cast::<Self>().read_unaligned() }
    }

    /// # Safety
    /// `target` must be writable for `N` numbers.
    #[inline(always)]
    pub(crate) unsafe fn store(self, target: *mut T) {
        unsafe { target.cast::<Self>().write_unaligned(self) }
    }

    #[inline(always)]
    pub(crate) fn from_array(values: [T; N]) -> Self {
        Self(values)
    }

    #[inline(always)]
    pub(crate) fn to_array(self) -> [T; N] {
        self.0
    }

    #[inline(always)]
    pub(crate) fn zip(self, other: Self, f: impl Fn(T, T) -> T) -> Self {
        let mut result = self;
        for i in 0..N {
            result.0[i] = f(self.0[i], other.0[i]);
        }
        result
    }

    #[inline(always)]
    pub(crate) fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    /// Writes the first lanes, as many as the target has room for.
    #[inline(always)]
    pub(crate) fn store_to(self, target: &mut [T]) {
        if target.len() == N {
            // SAFETY: the length was compared.
            return unsafe { self.store(target.as_mut_ptr()) };
        }
        for i in 0..N {
            if i < target.len() {
                target[i] = self.0[i];
            }
        }
    }

    /// `self * factor + term`, lane by lane.
    #[inline(always)]
    pub(crate) fn mul_add<I: Isa>(self, factor: Self, term: Self) -> Self {
        I::mul_add_lanes(self, factor, term)
    }
}

impl<T: Float> Lanes<T> {
    /// The sum of the lanes, as a balanced tree.
    #[inline(always)]
    pub(crate) fn sum(self) -> T {
        let l = self.0;
        ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]))
    }
}
