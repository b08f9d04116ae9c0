//! What is said in the processor's own instructions on x86-64, because the compiler does not find it by itself.

use super::{FOUR, Float, Isa, LANES, Lanes, Portable, WIDE_LANES};
use std::any::TypeId;
use std::arch::x86_64::*;
use std::mem::transmute_copy;

/// An operation of two vectors of eight and of sixteen lanes. Sums that the compiler puts into vectors itself
/// sometimes mix up the lanes of several.
macro_rules! lanes {
    ($name:ident, $eight:ident, $sixteen:ident) => {
        #[inline(always)]
        fn $name<T: Float, const N: usize>(a: Lanes<T, N>, b: Lanes<T, N>) -> Lanes<T, N> {
            let single = TypeId::of::<T>() == TypeId::of::<f32>();
            // SAFETY: types and numbers of lanes are compared, and code for this instruction set only runs where it exists.
            unsafe {
                if single && N == LANES {
                    return transmute_copy(&$eight(transmute_copy(&a), transmute_copy(&b)));
                }
                if Self::WIDE && single && N == WIDE_LANES {
                    return transmute_copy(&$sixteen(transmute_copy(&a), transmute_copy(&b)));
                }
            }
            Portable::$name(a, b)
        }
    };
}

macro_rules! avx {
    ($(#[$meta:meta])* $name:ident, wide: $wide:literal) => {
        $(#[$meta])*
        pub(crate) struct $name;

        impl Isa for $name {
            const WIDE: bool = $wide;

            #[inline(always)]
            fn prefetch<T>(place: *const T) {
                // SAFETY: every processor that this architecture has takes the instruction, and any address.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) };
            }

            #[inline(always)]
            fn mul_add<T: Float>(a: T, b: T, c: T) -> T {
                a.fused(b, c)
            }

            /// Said in so many words: the compiler's own search for vectors sometimes finds others, that cross
            /// from one operand to the next, and then keeps nothing in registers.
            #[inline(always)]
            fn mul_add_lanes<T: Float, const N: usize>(
                a: Lanes<T, N>,
                b: Lanes<T, N>,
                c: Lanes<T, N>,
            ) -> Lanes<T, N> {
                let single = TypeId::of::<T>() == TypeId::of::<f32>();
                // SAFETY: types and numbers of lanes are compared, `T` is `f64` if it is not `f32`, and code for this
                // instruction set only runs where it exists.
                unsafe {
                    if Self::WIDE && single && N == WIDE_LANES {
                        return transmute_copy(&_mm512_fmadd_ps(
                            transmute_copy(&a),
                            transmute_copy(&b),
                            transmute_copy(&c),
                        ));
                    }
                    if N != LANES {
                        let mut result = c;
                        for i in 0..N {
                            result.0[i] = Self::mul_add(a.0[i], b.0[i], c.0[i]);
                        }
                        return result;
                    }
                    if single {
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

            lanes!(add_lanes, _mm256_add_ps, _mm512_add_ps);
            lanes!(sub_lanes, _mm256_sub_ps, _mm512_sub_ps);
            lanes!(mul_lanes, _mm256_mul_ps, _mm512_mul_ps);

            #[inline(always)]
            fn larger<T: Float, const N: usize>(earlier: Lanes<T, N>, later: Lanes<T, N>) -> Lanes<T, N> {
                let single = TypeId::of::<T>() == TypeId::of::<f32>();
                // The first if it is larger, otherwise the second; so too if one of them is a NaN.
                // SAFETY: as in `mul_add_lanes`.
                unsafe {
                    if single && N == LANES {
                        let (earlier, later): (__m256, __m256) = (transmute_copy(&earlier), transmute_copy(&later));
                        let (larger, nan) =
                            (_mm256_max_ps(later, earlier), _mm256_cmp_ps::<_CMP_UNORD_Q>(later, later));
                        return transmute_copy(&_mm256_blendv_ps(larger, later, nan));
                    }
                    if Self::WIDE && single && N == WIDE_LANES {
                        let (earlier, later): (__m512, __m512) = (transmute_copy(&earlier), transmute_copy(&later));
                        let (larger, nan) =
                            (_mm512_max_ps(later, earlier), _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(later, later));
                        return transmute_copy(&_mm512_mask_mov_ps(larger, nan, later));
                    }
                }
                Portable::larger(earlier, later)
            }

            #[inline(always)]
            fn take<T: Float>(later: Lanes<T>, earlier: Lanes<T>, dy: Lanes<T>) -> [Lanes<T>; 2] {
                if TypeId::of::<T>() != TypeId::of::<f32>() {
                    return Portable::take(later, earlier, dy);
                }
                // SAFETY: as in `larger`.
                unsafe {
                    let (later, dy): (__m256, __m256) = (transmute_copy(&later), transmute_copy(&dy));
                    let beats = beats_avx(later, transmute_copy(&earlier));
                    transmute_copy(&[_mm256_and_ps(beats, dy), _mm256_andnot_ps(beats, dy)])
                }
            }

            #[inline(always)]
            fn gate<T: Float>(y: Lanes<T>, dy: Lanes<T>) -> Lanes<T> {
                if TypeId::of::<T>() != TypeId::of::<f32>() {
                    return Portable::gate(y, dy);
                }
                // SAFETY: as in `larger`.
                unsafe {
                    let on = _mm256_cmp_ps::<_CMP_NLE_UQ>(transmute_copy(&y), _mm256_setzero_ps());
                    transmute_copy(&_mm256_and_ps(on, transmute_copy(&dy)))
                }
            }

            #[inline(always)]
            fn route<T: Float>(
                rows: [Lanes<T, WIDE_LANES>; 2],
                dy: Lanes<T>,
            ) -> [Lanes<T, WIDE_LANES>; 2] {
                if !(Self::WIDE && TypeId::of::<T>() == TypeId::of::<f32>()) {
                    return Portable::route(rows, dy);
                }
                // SAFETY: as in `larger`; a wide instruction set is AVX-512.
                match unsafe { route_avx512(transmute_copy(&rows), transmute_copy(&dy)) } {
                    Some(parts) => unsafe { transmute_copy(&parts) },
                    None => route_nan(rows, dy),
                }
            }

            #[inline(always)]
            unsafe fn load_first<T: Float>(source: *const T, count: usize) -> Lanes<T, WIDE_LANES> {
                // SAFETY: the caller's promise; and as in `route`.
                unsafe {
                    if !(Self::WIDE && TypeId::of::<T>() == TypeId::of::<f32>()) {
                        return Portable::load_first(source, count);
                    }
                    let lanes = ((1u32 << count.min(WIDE_LANES)) - 1) as u16;
                    transmute_copy(&_mm512_maskz_loadu_ps(lanes, source.cast()))
                }
            }

            #[inline(always)]
            fn split<T: Float>(both: Lanes<T, WIDE_LANES>) -> [Lanes<T>; 2] {
                if !(Self::WIDE && TypeId::of::<T>() == TypeId::of::<f32>()) {
                    return Portable::split(both);
                }
                // SAFETY: as in `route`.
                unsafe {
                    let both: __m512 = transmute_copy(&both);
                    transmute_copy(&[_mm512_castps512_ps256(both), _mm512_extractf32x8_ps::<1>(both)])
                }
            }

            #[inline(always)]
            fn join<T: Float>(halves: [Lanes<T>; 2]) -> Lanes<T, WIDE_LANES> {
                if !(Self::WIDE && TypeId::of::<T>() == TypeId::of::<f32>()) {
                    return Portable::join(halves);
                }
                // SAFETY: as in `route`.
                unsafe {
                    let [first, last]: [__m256; 2] = transmute_copy(&halves);
                    transmute_copy(&_mm512_insertf32x8::<1>(_mm512_castps256_ps512(first), last))
                }
            }

            #[inline(always)]
            fn unzip<T: Float>(vectors: [Lanes<T>; 2]) -> [Lanes<T>; 2] {
                if TypeId::of::<T>() != TypeId::of::<f32>() {
                    return Portable::unzip(vectors);
                }
                // SAFETY: as in `larger`.
                unsafe { transmute_copy(&unzip_avx(transmute_copy(&vectors))) }
            }

            #[inline(always)]
            fn zip<T: Float>(vectors: [Lanes<T>; 2]) -> [Lanes<T>; 2] {
                if TypeId::of::<T>() != TypeId::of::<f32>() {
                    return Portable::zip(vectors);
                }
                // SAFETY: as in `larger`.
                unsafe { transmute_copy(&zip_avx(transmute_copy(&vectors))) }
            }

            #[inline(always)]
            unsafe fn interleave<T: Float, const N: usize>(
                source: *const T,
                plane: usize,
            ) -> [Lanes<T, N>; FOUR] {
                let single = TypeId::of::<T>() == TypeId::of::<f32>();
                // SAFETY: the caller's promise; and as in `mul_add_lanes`.
                unsafe {
                    if single && N == LANES {
                        return transmute_copy(&interleave_avx(source.cast(), plane));
                    }
                    if Self::WIDE && single && N == WIDE_LANES {
                        return transmute_copy(&interleave_avx512(source.cast(), plane));
                    }
                    Portable::interleave(source, plane)
                }
            }

            #[inline(always)]
            fn transpose<T: Float>(vectors: [Lanes<T>; LANES]) -> [Lanes<T>; LANES] {
                if TypeId::of::<T>() != TypeId::of::<f32>() {
                    return Portable::transpose(vectors);
                }
                // SAFETY: as in `larger`.
                unsafe { transmute_copy(&transpose_avx(transmute_copy(&vectors))) }
            }
        }
    };
}

avx!(
    /// x86-64 with AVX2 and fused multiply-add.
    Avx2,
    wide: false
);
avx!(
    /// x86-64 with AVX-512: twice as many registers, and vectors twice as long where a kernel asks for them. Same bits as
    /// AVX2.
    Avx512,
    wide: true
);

/// [`beats`] as a mask.
///
/// # Safety
/// The processor must have AVX.
#[inline(always)]
unsafe fn beats_avx(later: __m256, earlier: __m256) -> __m256 {
    unsafe {
        let (larger, nan) =
            (_mm256_cmp_ps::<_CMP_GT_OQ>(later, earlier), _mm256_cmp_ps::<_CMP_UNORD_Q>(later, later));
        _mm256_or_ps(larger, nan)
    }
}

/// # Safety
/// The processor must have AVX.
#[inline(always)]
unsafe fn unzip_avx([a, b]: [__m256; 2]) -> [__m256; 2] {
    unsafe {
        let (low, high) = (_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b));
        [_mm256_shuffle_ps::<0x88>(low, high), _mm256_shuffle_ps::<0xdd>(low, high)]
    }
}

/// # Safety
/// The processor must have AVX.
#[inline(always)]
unsafe fn zip_avx([even, odd]: [__m256; 2]) -> [__m256; 2] {
    unsafe {
        let (low, high) = (_mm256_unpacklo_ps(even, odd), _mm256_unpackhi_ps(even, odd));
        [_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high)]
    }
}

/// Rows of four numbers in every quarter of a register change places with columns: eight shuffles, which is why [`Isa::interleave`]
/// takes four pixels. What lies in different quarters never meets: loads bring it there.
macro_rules! turn {
    ($rows:expr, $low:ident, $high:ident, $shuffle:ident) => {{
        let [a, b, c, d] = $rows;
        let (ab, cd) = (($low(a, b), $high(a, b)), ($low(c, d), $high(c, d)));
        [
            $shuffle::<0x44>(ab.0, cd.0),
            $shuffle::<0xee>(ab.0, cd.0),
            $shuffle::<0x44>(ab.1, cd.1),
            $shuffle::<0xee>(ab.1, cd.1),
        ]
    }};
}

/// # Safety
/// Four numbers of eight rows, `plane` apart, must be readable, and the processor must have AVX.
#[inline(always)]
unsafe fn interleave_avx(source: *const f32, plane: usize) -> [__m256; FOUR] {
    unsafe {
        let mut rows = [_mm256_setzero_ps(); FOUR];
        for (i, row) in rows.iter_mut().enumerate() {
            let first = _mm256_castps128_ps256(_mm_loadu_ps(source.add(i * plane)));
            *row = _mm256_insertf128_ps::<1>(first, _mm_loadu_ps(source.add((i + 4) * plane)));
        }
        turn!(rows, _mm256_unpacklo_ps, _mm256_unpackhi_ps, _mm256_shuffle_ps)
    }
}

/// # Safety
/// Four numbers of sixteen rows, `plane` apart, must be readable, and the processor must have AVX-512.
#[inline(always)]
unsafe fn interleave_avx512(source: *const f32, plane: usize) -> [__m512; FOUR] {
    unsafe {
        let mut rows = [_mm512_setzero_ps(); FOUR];
        for (i, row) in rows.iter_mut().enumerate() {
            let first = _mm512_castps128_ps512(_mm_loadu_ps(source.add(i * plane)));
            let second = _mm512_insertf32x4::<1>(first, _mm_loadu_ps(source.add((i + 4) * plane)));
            let third = _mm512_insertf32x4::<2>(second, _mm_loadu_ps(source.add((i + 8) * plane)));
            *row = _mm512_insertf32x4::<3>(third, _mm_loadu_ps(source.add((i + 12) * plane)));
        }
        turn!(rows, _mm512_unpacklo_ps, _mm512_unpackhi_ps, _mm512_shuffle_ps)
    }
}

/// Interleaves pairs, then pairs of pairs, then halves: 24 shuffles where scalar code takes 64 moves.
///
/// # Safety
/// The processor must have AVX.
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

/// [`Isa::route`] if there is a NaN.
#[cold]
#[inline(never)]
fn route_nan<T: Float>(rows: [Lanes<T, WIDE_LANES>; 2], dy: Lanes<T>) -> [Lanes<T, WIDE_LANES>; 2] {
    Portable::route(rows, dy)
}

/// [`Isa::route`] if there is no NaN: whoever equals the maximum of a window, and is the first.
///
/// # Safety
/// The processor must have AVX-512.
#[inline(always)]
unsafe fn route_avx512([upper, lower]: [__m512; 2], dy: __m256) -> Option<[__m512; 2]> {
    /// The left pixels of windows.
    const LEFT: u16 = 0x5555;
    unsafe {
        if _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(upper, lower) != 0 {
            return None;
        }
        let rows = _mm512_max_ps(upper, lower);
        let best = _mm512_max_ps(rows, _mm512_permute_ps::<0b10_11_00_01>(rows));
        let on = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(best, _mm512_setzero_ps());
        let first = |equal: u16| equal & !((equal & LEFT) << 1);
        let above = first(_mm512_mask_cmp_ps_mask::<_CMP_EQ_OQ>(on, upper, best));
        let windows = (above | above >> 1) & LEFT;
        let below = first(_mm512_mask_cmp_ps_mask::<_CMP_EQ_OQ>(on, lower, best)) & !(windows | windows << 1);
        let twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
        let dy = _mm512_permutexvar_ps(twice, _mm512_castps256_ps512(dy));
        Some([_mm512_maskz_mov_ps(above, dy), _mm512_maskz_mov_ps(below, dy)])
    }
}
