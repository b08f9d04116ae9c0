//! The functions and their derivatives, for one number.
//!
//! Those with kinks come as the gradient for a given `dy`, since what is cut off is 0 whatever `dy` is. The
//! smooth ones work in f64: a few bits more than f32 cost less than the care they save.

use super::erf::Erfc;
use super::exp::{exp, exp_m1};
use crate::simd::{Float, Isa};
use std::f64::consts::FRAC_1_SQRT_2;

/// `1 / sqrt(2 pi)`
const NORMAL_DENSITY: f64 = 0.398_942_280_401_432_7;

#[inline(always)]
pub(super) fn relu6<T: Float>(x: T) -> T {
    let six = T::of(6.0);
    if x <= T::ZERO {
        T::ZERO
    } else if x >= six {
        six
    } else {
        x
    }
}

#[inline(always)]
pub(super) fn relu6_gradient<T: Float>(x: T, dy: T) -> T {
    // No short circuit: both questions at once make vectors.
    if (x <= T::ZERO) | (x >= T::of(6.0)) { T::ZERO } else { dy }
}

/// `value` where `x` is positive, `slope * value` elsewhere: the leaky ReLU of `x`, and its gradient.
#[inline(always)]
pub(crate) fn leak<T: Float>(x: T, value: T, slope: T) -> T {
    if x > T::ZERO { value } else { slope * value }
}

#[inline(always)]
pub(super) fn hard_sigmoid<T: Float>(x: T) -> T {
    relu6(x + T::of(3.0)) / T::of(6.0)
}

#[inline(always)]
pub(super) fn hard_sigmoid_gradient<T: Float>(x: T, dy: T) -> T {
    let three = T::of(3.0);
    if (x > -three) & (x < three) { dy / T::of(6.0) } else { T::ZERO }
}

#[inline(always)]
pub(super) fn hard_swish<T: Float>(x: T) -> T {
    x * relu6(x + T::of(3.0)) / T::of(6.0)
}

#[inline(always)]
pub(super) fn hard_swish_gradient<T: Float>(x: T, dy: T) -> T {
    let three = T::of(3.0);
    if x <= -three {
        T::ZERO
    } else if x >= three {
        dy
    } else {
        dy * (x / three + T::of(0.5))
    }
}

#[inline(always)]
pub(super) fn clip<T: Float>(x: T, low: T, high: T) -> T {
    if x <= low {
        low
    } else if x >= high {
        high
    } else {
        x
    }
}

#[inline(always)]
pub(super) fn clip_gradient<T: Float>(x: T, dy: T, low: T, high: T) -> T {
    if (x < low) | (x > high) { T::ZERO } else { dy }
}

#[inline(always)]
pub(super) fn sigmoid<I: Isa>(x: f64) -> f64 {
    let e = exp::<I>(-x.abs());
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

#[inline(always)]
pub(super) fn sigmoid_slope<I: Isa>(x: f64) -> f64 {
    let e = exp::<I>(-x.abs());
    e / ((1.0 + e) * (1.0 + e))
}

#[inline(always)]
pub(super) fn tanh<I: Isa>(x: f64) -> f64 {
    let e = exp_m1::<I>(-2.0 * x.abs());
    (-e / (2.0 + e)).copysign(x)
}

#[inline(always)]
pub(super) fn tanh_slope<I: Isa>(x: f64) -> f64 {
    4.0 * sigmoid_slope::<I>(2.0 * x)
}

#[inline(always)]
pub(super) fn silu<I: Isa>(x: f64) -> f64 {
    x * sigmoid::<I>(x)
}

#[inline(always)]
pub(super) fn silu_slope<I: Isa>(x: f64) -> f64 {
    I::mul_add(x, sigmoid_slope::<I>(x), sigmoid::<I>(x))
}

#[inline(always)]
pub(super) fn gelu<T: Erfc, I: Isa>(x: f64) -> f64 {
    x * normal::<T, I>(x)
}

#[inline(always)]
pub(super) fn gelu_slope<T: Erfc, I: Isa>(x: f64) -> f64 {
    let density = NORMAL_DENSITY * exp::<I>(-0.5 * x * x);
    I::mul_add(x, density, normal::<T, I>(x))
}

/// The normal distribution function.
#[inline(always)]
fn normal<T: Erfc, I: Isa>(x: f64) -> f64 {
    0.5 * T::complementary_erf::<I>(-x * FRAC_1_SQRT_2)
}
