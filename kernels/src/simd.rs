//! Lane arrays that the compiler turns into vector registers, and the choice of instruction set.
//!
//! A kernel is written once, generic over the number type and the instruction set, with everything
//! on its hot path marked `#[inline(always)]`. [`dispatch`] compiles that body twice, plainly and
//! under `#[target_feature]`, and picks one at run time.

use candle_core::WithDType;
use std::any::TypeId;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::cell::RefCell;
use std::mem::transmute_copy;
use std::ops::Neg;

/// Lanes of a vector: one AVX register of `f32`, two of `f64`.
pub(crate) const LANES: usize = 8;

/// The number types of the kernels: `f32` and `f64`.
pub(crate) trait Float: WithDType + Neg<Output = Self> {
    const ZERO: Self;
    const ONE: Self;
    /// `self * factor + term` with one rounding. Fast only where the processor has the instruction.
    fn fused(self, factor: Self, term: Self) -> Self;
    fn is_nan(self) -> bool;
    /// The nearest number.
    fn of(value: f64) -> Self;
    /// This thread's spare buffers; [`crate::parallel::with_scratch`] lends them out.
    fn spare() -> &'static std::thread::LocalKey<RefCell<Vec<Vec<Self>>>>;
}

macro_rules! float {
    ($t:ident, $spare:ident) => {
        thread_local!(static $spare: RefCell<Vec<Vec<$t>>> = const { RefCell::new(Vec::new()) });

        impl Float for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
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
            fn spare() -> &'static std::thread::LocalKey<RefCell<Vec<Vec<Self>>>> {
                &$spare
            }
        }
    };
}
float!(f32, SPARE_F32);
float!(f64, SPARE_F64);

/// An instruction set, as far as a kernel's body can tell.
pub(crate) trait Isa {
    /// `a * b + c`, fused where that is one instruction.
    fn mul_add<T: Float>(a: T, b: T, c: T) -> T;

    /// [`Isa::mul_add`], lane by lane.
    #[inline(always)]
    fn mul_add_lanes<T: Float>(a: Lanes<T>, b: Lanes<T>, c: Lanes<T>) -> Lanes<T> {
        let mut result = c;
        for i in 0..LANES {
            result.0[i] = Self::mul_add(a.0[i], b.0[i], c.0[i]);
        }
        result
    }

    /// Lane `i` of vector `j` becomes lane `j` of vector `i`.
    #[inline(always)]
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

/// What every processor has.
pub(crate) struct Portable;

impl Isa for Portable {
    #[inline(always)]
    fn mul_add<T: Float>(a: T, b: T, c: T) -> T {
        a * b + c
    }
}

/// x86-64 with AVX2 and fused multiply-add.
#[cfg(target_arch = "x86_64")]
pub(crate) struct Avx2;

#[cfg(target_arch = "x86_64")]
impl Isa for Avx2 {
    #[inline(always)]
    fn mul_add<T: Float>(a: T, b: T, c: T) -> T {
        a.fused(b, c)
    }

    /// Said in so many words: the compiler's own search for vectors sometimes finds others, that cross
    /// from one operand to the next, and then keeps nothing in registers.
    #[inline(always)]
    fn mul_add_lanes<T: Float>(a: Lanes<T>, b: Lanes<T>, c: Lanes<T>) -> Lanes<T> {
        // SAFETY: `T` is `f32` in the one case and otherwise `f64`, with eight lanes of the same size, and
        // code for this instruction set only runs where it exists.
        unsafe {
            if TypeId::of::<T>() == TypeId::of::<f32>() {
                return transmute_copy(&_mm256_fmadd_ps(
                    transmute_copy(&a),
                    transmute_copy(&b),
                    transmute_copy(&c),
                ));
            }
            let [a, b, c]: [[__m256d; 2]; 3] = [transmute_copy(&a), transmute_copy(&b), transmute_copy(&c)];
            transmute_copy(&[_mm256_fmadd_pd(a[0], b[0], c[0]), _mm256_fmadd_pd(a[1], b[1], c[1])])
        }
    }

    #[inline(always)]
    fn transpose<T: Float>(vectors: [Lanes<T>; LANES]) -> [Lanes<T>; LANES] {
        if TypeId::of::<T>() != TypeId::of::<f32>() {
            return Portable::transpose(vectors);
        }
        // SAFETY: `T` is `f32`, and code for this instruction set only runs where it exists.
        unsafe { transmute_copy(&transpose_avx(transmute_copy(&vectors))) }
    }
}

/// Interleaves pairs, then pairs of pairs, then halves: 24 shuffles where scalar code takes 64 moves.
///
/// # Safety
/// The processor must have AVX.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn transpose_avx(v: [__m256; LANES]) -> [__m256; LANES] {
    let mut pairs = v;
    let mut fours = v;
    let mut result = v;
    unsafe {
        for i in 0..4 {
            pairs[2 * i] = _mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]);
            pairs[2 * i + 1] = _mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]);
        }
        for i in [0, 4] {
            for j in 0..2 {
                let (low, high) = (pairs[i + j], pairs[i + j + 2]);
                fours[i + 2 * j] = _mm256_shuffle_ps::<0x44>(low, high);
                fours[i + 2 * j + 1] = _mm256_shuffle_ps::<0xee>(low, high);
            }
        }
        for i in 0..4 {
            result[i] = _mm256_permute2f128_ps::<0x20>(fours[i], fours[i + 4]);
            result[i + 4] = _mm256_permute2f128_ps::<0x31>(fours[i], fours[i + 4]);
        }
    }
    result
}

/// A computation that [`dispatch`] compiles for every instruction set.
///
/// `run` and all it calls must be `#[inline(always)]`, otherwise that part is compiled plainly.
pub(crate) trait Kernel {
    type Output;
    fn run<I: Isa>(self) -> Self::Output;
}

/// Runs a kernel with the best instruction set this processor has.
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(test)]
    if tests::PORTABLE.get() {
        return kernel.run::<Portable>();
    }
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: both features were detected.
        return unsafe { run_avx2(kernel) };
    }
    kernel.run::<Portable>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Avx2>()
}

/// [`LANES`] neighbouring numbers.
#[derive(Clone, Copy)]
pub(crate) struct Lanes<T>([T; LANES]);

impl<T: Float> Lanes<T> {
    pub(crate) const ZERO: Self = Self([T::ZERO; LANES]);

    #[inline(always)]
    pub(crate) fn splat(value: T) -> Self {
        Self([value; LANES])
    }

    /// # Safety
    /// `source` must be readable for [`LANES`] numbers; no alignment beyond the number's is needed.
    #[inline(always)]
    pub(crate) unsafe fn load(source: *const T) -> Self {
        unsafe { source.cast::<Self>().read_unaligned() }
    }

    /// # Safety
    /// `target` must be writable for [`LANES`] numbers.
    #[inline(always)]
    pub(crate) unsafe fn store(self, target: *mut T) {
        unsafe { target.cast::<Self>().write_unaligned(self) }
    }

    #[inline(always)]
    pub(crate) fn from_array(values: [T; LANES]) -> Self {
        Self(values)
    }

    /// The first `count` lanes, the others zero.
    #[inline(always)]
    pub(crate) fn keep(self, count: usize) -> Self {
        let mut result = self;
        for i in 0..LANES {
            result.0[i] = if i < count { self.0[i] } else { T::ZERO };
        }
        result
    }

    #[inline(always)]
    pub(crate) fn zip(self, other: Self, f: impl Fn(T, T) -> T) -> Self {
        let mut result = self;
        for i in 0..LANES {
            result.0[i] = f(self.0[i], other.0[i]);
        }
        result
    }

    #[inline(always)]
    pub(crate) fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    pub(crate) fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    pub(crate) fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    /// Writes the first lanes, as many as the target has room for.
    #[inline(always)]
    pub(crate) fn store_to(self, target: &mut [T]) {
        if target.len() == LANES {
            // SAFETY: the length was compared.
            return unsafe { self.store(target.as_mut_ptr()) };
        }
        for i in 0..LANES {
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

    /// The sum of the lanes, as a balanced tree.
    #[inline(always)]
    pub(crate) fn sum(self) -> T {
        let l = self.0;
        ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]))
    }
}

#[cfg(test)]
mod tests {
    use crate::{Conv2dConfig, ConvAlgorithm, batch_norm_train, conv2d};
    use candle_core::{Device, Result, Tensor, Var};
    use std::cell::Cell;

    thread_local!(pub(super) static PORTABLE: Cell<bool> = const { Cell::new(false) });

    fn tensor(shape: &[usize]) -> Result<Tensor> {
        let values = (0..shape.iter().product()).map(|i| ((i * i) as f32 * 0.37).sin());
        Tensor::from_vec(values.collect(), shape, &Device::Cpu)
    }

    /// Output and weight gradient of a convolution with batch norm.
    fn layer(portable: bool, algorithm: ConvAlgorithm) -> Result<[Tensor; 2]> {
        PORTABLE.set(portable);
        let weight = Var::from_tensor(&tensor(&[7, 3, 3, 3])?)?;
        let cfg = Conv2dConfig { padding: (1, 1), algorithm, ..Default::default() };
        let y = conv2d(&tensor(&[4, 3, 9, 11])?, &weight, None, &cfg)?;
        let y = batch_norm_train(&y, &tensor(&[7])?, &tensor(&[7])?, 1e-5, true)?.output;
        let gradients = y.sqr()?.sum_all()?.backward()?;
        let gradient = gradients.get(&weight).expect("a gradient of the weight").clone();
        Ok([y, gradient])
    }

    /// On a processor with AVX2 this compares the two instruction sets.
    #[test]
    fn portable_code_computes_the_same() -> Result<()> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread pool");
        for algorithm in [ConvAlgorithm::Direct, ConvAlgorithm::Winograd] {
            let (plain, best) = pool.install(|| (layer(true, algorithm), layer(false, algorithm)));
            for (plain, best) in plain?.iter().zip(&best?) {
                let scale: f32 = best.abs()?.max_all()?.to_scalar()?;
                let off: f32 = (plain - best)?.abs()?.max_all()?.to_scalar()?;
                assert!(scale > 0.1 && off <= 1e-5 * scale, "{algorithm:?}: off by {off} of {scale}");
            }
        }
        Ok(())
    }
}
