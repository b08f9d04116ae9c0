//! The exponential function as a plain loop over vectors: the library's is a call for each number.

use crate::simd::Isa;
use std::f64::consts::LOG2_E;

/// Terms of the series; with half a power of two as the largest argument the next one is below 1e-17.
const TERMS: usize = 13;
/// 1 / 2!, 1 / 3!, ...
const COEFFICIENTS: [f64; TERMS - 1] = inverse_factorials();
/// ln 2 in two parts, the first with so few digits that multiples of it are exact.
const LN2: [f64; 2] = [f64::from_bits(0x3fe6_2e42_fee0_0000), f64::from_bits(0x3dea_39ef_3579_3c76)];
/// Adding it rounds to an integer, which then stands in the last bits.
const ROUND: f64 = 6_755_399_441_055_744.0; // 1.5 * 2^52
/// Where the result is 0.
const LOWEST: f64 = -746.0;

const fn inverse_factorials() -> [f64; TERMS - 1] {
    let (mut result, mut factorial, mut i) = ([0.0; TERMS - 1], 1.0, 0);
    while i < result.len() {
        factorial *= (i + 2) as f64;
        result[i] = 1.0 / factorial;
        i += 1;
    }
    result
}

/// `exp(x)` for `x <= 0`, with an error of at most 2 units in the last place.
#[inline(always)]
pub(super) fn exp<I: Isa>(x: f64) -> f64 {
    let (power, rest) = reduced::<I>(x);
    // In two steps, since the power of two alone may be too small for a number.
    let first = if power < -1022.0 { -1022.0 } else { power };
    (1.0 + rest) * power_of_two(first) * power_of_two(power - first)
}

/// `exp(x) - 1` for `x <= 0`, without cancellation near 0.
#[inline(always)]
pub(super) fn exp_m1<I: Isa>(x: f64) -> f64 {
    // Where the result is -1.
    let (power, rest) = reduced::<I>(if x < -50.0 { -50.0 } else { x });
    let scale = power_of_two(power);
    I::mul_add(rest, scale, scale - 1.0)
}

/// `n` and `exp(r) - 1` with `x = n ln 2 + r`. NaN stays in the second.
#[inline(always)]
fn reduced<I: Isa>(x: f64) -> (f64, f64) {
    let x = if x < LOWEST { LOWEST } else { x };
    let power = I::mul_add(x, LOG2_E, ROUND) - ROUND;
    let r = I::mul_add(-power, LN2[1], I::mul_add(-power, LN2[0], x));
    let series = COEFFICIENTS.into_iter().rev().fold(0.0, |sum, c| I::mul_add(sum, r, c));
    (power, I::mul_add(r * r, series, r))
}

/// `2^n` for an integer `n` of at least -1022.
#[inline(always)]
fn power_of_two(n: f64) -> f64 {
    f64::from_bits(((n + ROUND).to_bits() << 52).wrapping_add(1023 << 52))
}

#[cfg(test)]
mod tests {
    use super::{exp, exp_m1};
    use crate::simd::Portable;

    /// The difference in units in the last place of the expected number.
    fn off(found: f64, expected: f64) -> f64 {
        let unit = f64::from_bits(expected.abs().to_bits() + 1) - expected.abs();
        (found - expected).abs() / unit
    }

    #[test]
    fn they_are_the_librarys() {
        for i in 0..200_000 {
            let x = -1e-8 * 1.000_128_f64.powi(i);
            let (found, minus_one) = (exp::<Portable>(x), exp_m1::<Portable>(x));
            assert!(off(found, x.exp()) <= 2.0, "exp({x:e}): {found:e}, {:e}", x.exp());
            assert!(off(minus_one, x.exp_m1()) <= 3.0, "exp_m1({x:e}): {minus_one:e}, {:e}", x.exp_m1());
        }
    }

    #[test]
    fn ends_are_exact() {
        for x in [0.0, -0.0, f64::NEG_INFINITY] {
            assert_eq!(exp::<Portable>(x), x.exp());
            assert_eq!(exp_m1::<Portable>(x), x.exp_m1());
        }
        assert!(exp::<Portable>(f64::NAN).is_nan() && exp_m1::<Portable>(f64::NAN).is_nan());
    }
}
