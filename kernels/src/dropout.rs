//! Dropout (Srivastava et al., 2014) with a mask that needs no memory.
//!
//! Whether a value is dropped is a pure function of the seed and of its position in the tensor, a counter-based
//! hash (after Salmon et al., 2011): the backward pass computes the mask again, in any order and by any number
//! of threads. With `mix` the last step of SplitMix64 (Steele, Lea and Flood, 2014), position `i` has the hash
//! `mix(mix(seed) + (i + 1) * 0x9e3779b97f4a7c15)`, modulo 2^64; the value is dropped if the hash's upper 53
//! bits, as a fraction, are below the probability. The seed goes through `mix` first, for otherwise seeds that
//! differ by a multiple of the constant would have one mask, shifted.

use crate::op::{Argument, Compute, Op, Run};
use crate::operand::Operand;
use crate::parallel;
use crate::simd::{Float, Isa, Kernel, dispatch};
use crate::tensor::{check_dtypes, mismatch, values, with_float};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Shape, Tensor, WithDType};

const OP: &str = "dropout";

/// Values of one job.
const CHUNK: usize = 1 << 13;

/// The golden ratio's fraction times 2^64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Multiplies each value by 0 with a `probability` in `[0, 1)`, and by `1 / (1 - probability)` otherwise, for
/// any shape.
///
/// Which values are dropped is a pure function of `seed` and of the position in the tensor: the same for
/// tensors and values on a tape, for f32 and f64, for any number of threads and on every device. Use another
/// seed for each layer and step. NaN and infinity times 0 are NaN, as in PyTorch.
///
/// # Errors
/// If `x` is neither f32 nor f64, or the probability is not in `[0, 1)`.
pub fn dropout<V: Operand>(x: &V, probability: f64, seed: u64) -> Result<V> {
    check_dtypes(OP, &[("x", x.tensor())])?;
    if !(0.0..1.0).contains(&probability) {
        return Err(mismatch(OP, "a probability of at least 0 and below 1", probability));
    }
    V::apply([&x.contiguous()?], Dropout(Mask::new(probability, seed)))
}

/// Which positions are dropped, and what the others are multiplied by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mask {
    /// The mixed seed.
    pub key: u64,
    /// Hashes whose upper 53 bits are below this are dropped.
    pub threshold: u64,
    /// `1 / (1 - probability)`
    pub factor: f64,
}

impl Mask {
    fn new(probability: f64, seed: u64) -> Self {
        let threshold = (probability * (1u64 << 53) as f64) as u64;
        Self { key: mix(seed), threshold, factor: 1.0 / (1.0 - probability) }
    }

    #[inline(always)]
    fn drops(self, position: u64) -> bool {
        let counter = position.wrapping_add(1).wrapping_mul(GOLDEN);
        mix(self.key.wrapping_add(counter)) >> 11 < self.threshold
    }
}

#[inline(always)]
fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

struct Dropout(Mask);

impl Compute<1> for Dropout {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu(&self, [x]: [Argument<CpuStorage>; 1]) -> Result<(CpuStorage, Shape)> {
        let (shape, mask) = (x.1.shape().clone(), self.0);
        with_float!(OP, x.0.dtype(), T => {
            let x = values::<T>(OP, x)?;
            let y = parallel::build_chunks(x.len(), CHUNK, |i, y| {
                let start = i * CHUNK;
                dispatch(Masked { x: &x[start..][..y.len()], y, start: start as u64, mask })
            });
            Ok((T::to_cpu_storage_owned(y), shape))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x]: [Argument<CudaStorage>; 1]) -> Result<(CudaStorage, Shape)> {
        Ok((crate::cuda::dropout(OP, x, self.0)?, x.1.shape().clone()))
    }
}

impl Op<1> for Dropout {
    /// The function is linear: its gradient is itself, of `dy`.
    fn gradients(
        &self,
        _: [&Tensor; 1],
        _y: &Tensor,
        dy: &Tensor,
        _: [bool; 1],
    ) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(self.run([dy])?)])
    }
}

struct Masked<'a, T> {
    x: &'a [T],
    y: &'a mut [T],
    /// The position of the first value.
    start: u64,
    mask: Mask,
}

impl<T: Float> Kernel for Masked<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { x, y, start, mask } = self;
        let factor = T::of(mask.factor);
        for (i, (y, &x)) in y.iter_mut().zip(x).enumerate() {
            // Both products, so that no branch has to be guessed.
            let (dropped, kept) = (x * T::ZERO, x * factor);
            *y = if mask.drops(start + i as u64) { dropped } else { kept };
        }
    }
}
