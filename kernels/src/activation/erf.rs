//! The complementary error function: the library's for f64, a plain loop over vectors for f32.

use super::exp::exp;
use crate::simd::{Float, Isa};

/// A number type with a complementary error function as accurate as itself.
pub(super) trait Erfc: Float {
    /// `1 - erf(x)`, nowhere by subtraction. What comes in and goes out has more digits than the type.
    fn complementary_erf<I: Isa>(x: f64) -> f64;
}

impl Erfc for f64 {
    #[inline(always)]
    fn complementary_erf<I: Isa>(x: f64) -> f64 {
        libm::erfc(x)
    }
}

/// The factor of [`Erfc::complementary_erf`] for f32 as a polynomial: the Chebyshev series, cut off after its 11th term, of
/// `erfc(x) exp(x^2) / t` in `2 t - 1`. Its relative error is below 1.2e-8.
const FACTOR: [f64; 11] = [
    0.510_791_356_915_945_2,
    0.343_580_318_710_964_84,
    0.139_735_733_521_929_14,
    0.018_221_669_428_387_856,
    -0.010_751_626_186_584_588,
    -0.003_243_451_918_099_708_3,
    0.001_529_157_160_763_692,
    0.000_430_670_488_435_859_4,
    -0.000_299_382_712_071_564_5,
    -0.000_036_601_876_943_794_85,
    0.000_042_161_197_196_387_805,
];

impl Erfc for f32 {
    /// `erfc(x) = t exp(-x^2) factor(t)` with `t = 2 / (2 + x)`, a smooth function from all `x >= 0` to the
    /// unit interval; `erfc(-x) = 2 - erfc(x)`.
    #[inline(always)]
    fn complementary_erf<I: Isa>(x: f64) -> f64 {
        let t = 2.0 / (2.0 + x.abs());
        let at = 2.0 * t - 1.0;
        let factor = FACTOR.into_iter().rev().fold(0.0, |sum, c| I::mul_add(sum, at, c));
        let tail = t * factor * exp::<I>(-x * x);
        if x < 0.0 { 2.0 - tail } else { tail }
    }
}

#[cfg(test)]
mod tests {
    use super::Erfc;
    use crate::simd::Portable;

    #[test]
    fn for_f32_it_is_the_librarys_to_its_digits() {
        for i in -100_000..=100_000 {
            let x = f64::from(i) * 1e-4;
            let (found, expected) = (f32::complementary_erf::<Portable>(x), libm::erfc(x));
            assert!((found - expected).abs() <= 1.3e-8 * expected, "erfc({x}): {found:e}, {expected:e}");
        }
        assert_eq!(f32::complementary_erf::<Portable>(f64::INFINITY), 0.0);
        assert_eq!(f32::complementary_erf::<Portable>(f64::NEG_INFINITY), 2.0);
        assert!(f32::complementary_erf::<Portable>(f64::NAN).is_nan());
    }
}
