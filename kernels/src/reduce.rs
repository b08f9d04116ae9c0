//! Sums over the pixels of channels, accurate and in a fixed order.

use crate::op::{Argument, Compute};
use crate::parallel;
use crate::simd::{Float, Isa, Kernel, LANES, Lanes, WIDE_LANES, dispatch, wide};
use crate::tensor::{values, with_float};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Shape, WithDType};

/// Vectors that are summed side by side, so that one addition need not wait for the last.
const STREAMS: usize = 4;

/// Sums of `SUMS` terms over the elements of `INPUTS` slices of one length.
///
/// Within a slice the lanes add up in the slice's own precision, a few hundred additions at most in the
/// usual case; callers add the results in `f64`.
#[inline(always)]
pub(crate) fn sums<I: Isa, T: Float, const INPUTS: usize, const SUMS: usize>(
    inputs: [&[T]; INPUTS],
    term: impl Fn([Lanes<T>; INPUTS]) -> [Lanes<T>; SUMS],
) -> [f64; SUMS] {
    let mut streams = [[Lanes::ZERO; SUMS]; STREAMS];
    let together = inputs[0].len() / (STREAMS * LANES) * STREAMS;
    // A fixed number of streams, so that they stay in registers.
    for v in (0..together).step_by(STREAMS) {
        for (s, stream) in streams.iter_mut().enumerate() {
            let at = (v + s) * LANES;
            add_to::<I, T, SUMS>(stream, term(load_all(inputs, at)));
        }
    }
    finish::<I, T, INPUTS, SUMS>(streams, inputs, term)
}

/// The sums of `x - centre` and of its square.
#[inline(always)]
pub(crate) fn deviations<I: Isa, T: Float>(centre: T, values: &[T]) -> [f64; 2] {
    let term = |[x]: [Lanes<T>; 1]| deviation::<I, T, LANES>(centre, x);
    if !wide::<I, T>() {
        return sums::<I, T, 1, 2>([values], term);
    }
    // Two streams at a time.
    let mut pairs = [[Lanes::<T, WIDE_LANES>::ZERO; 2]; STREAMS / 2];
    for piece in values.chunks_exact(STREAMS * LANES) {
        for (pair, x) in pairs.iter_mut().zip(piece.as_chunks().0) {
            let terms = deviation::<I, T, WIDE_LANES>(centre, Lanes::from_array(*x));
            for sum in 0..2 {
                pair[sum] = I::add_lanes(pair[sum], terms[sum]);
            }
        }
    }
    let mut streams = [[Lanes::ZERO; 2]; STREAMS];
    for (streams, pair) in streams.as_chunks_mut::<2>().0.iter_mut().zip(pairs) {
        for sum in 0..2 {
            [streams[0][sum], streams[1][sum]] = I::split(pair[sum]);
        }
    }
    finish::<I, T, 1, 2>(streams, [values], term)
}

/// `x - centre` and its square.
#[inline(always)]
fn deviation<I: Isa, T: Float, const N: usize>(centre: T, x: Lanes<T, N>) -> [Lanes<T, N>; 2] {
    let deviation = I::sub_lanes(x, Lanes::splat(centre));
    [deviation, I::mul_lanes(deviation, deviation)]
}

/// The sum of the streams, and of what is behind the last whole piece of theirs.
#[inline(always)]
fn finish<I: Isa, T: Float, const INPUTS: usize, const SUMS: usize>(
    mut streams: [[Lanes<T>; SUMS]; STREAMS],
    inputs: [&[T]; INPUTS],
    term: impl Fn([Lanes<T>; INPUTS]) -> [Lanes<T>; SUMS],
) -> [f64; SUMS] {
    let length = inputs[0].len();
    let whole = length / LANES;
    for v in whole / STREAMS * STREAMS..whole {
        add_to::<I, T, SUMS>(&mut streams[0], term(load_all(inputs, v * LANES)));
    }
    let rest = length - whole * LANES;
    if rest > 0 {
        let mut last = [Lanes::ZERO; INPUTS];
        for (last, input) in last.iter_mut().zip(inputs) {
            *last = load_last(input);
        }
        let fresh = load(&T::STEP[rest..]);
        let mut terms = term(last);
        for term in &mut terms {
            *term = I::gate(fresh, *term);
        }
        add_to::<I, T, SUMS>(&mut streams[0], terms);
    }
    let [mut total, rest @ ..] = streams;
    for stream in rest {
        add_to::<I, T, SUMS>(&mut total, stream);
    }
    let mut sums = [0.0; SUMS];
    for (sum, lanes) in sums.iter_mut().zip(total) {
        *sum = lanes.sum().to_f64();
    }
    sums
}

/// A vector of each input. (No closures here: they would be compiled without the instruction set.)
#[inline(always)]
fn load_all<T: Float, const INPUTS: usize>(inputs: [&[T]; INPUTS], at: usize) -> [Lanes<T>; INPUTS] {
    let mut vectors = [Lanes::ZERO; INPUTS];
    for (vector, input) in vectors.iter_mut().zip(inputs) {
        *vector = load(&input[at..]);
    }
    vectors
}

#[inline(always)]
fn add_to<I: Isa, T: Float, const SUMS: usize>(stream: &mut [Lanes<T>; SUMS], terms: [Lanes<T>; SUMS]) {
    for (sum, term) in stream.iter_mut().zip(terms) {
        *sum = I::add_lanes(*sum, term);
    }
}

/// The first [`LANES`] numbers.
#[inline(always)]
pub(crate) fn load<T: Float>(source: &[T]) -> Lanes<T> {
    let (lanes, _) = source.split_first_chunk().expect("a whole vector");
    Lanes::from_array(*lanes)
}

/// The last [`LANES`] numbers, behind zeros if there are fewer.
#[inline(always)]
fn load_last<T: Float>(source: &[T]) -> Lanes<T> {
    if let Some(last) = source.last_chunk() {
        return Lanes::from_array(*last);
    }
    let mut lanes = [T::ZERO; LANES];
    for (lane, value) in lanes.iter_mut().rev().zip(source.iter().rev()) {
        *lane = *value;
    }
    Lanes::from_array(lanes)
}

/// `[batch, channels, ...]` -> `[channels]`, the sum of everything else.
pub(crate) struct ChannelSums;

impl Compute<1> for ChannelSums {
    fn name(&self) -> &'static str {
        "channel-sums"
    }

    fn cpu(&self, [x]: [Argument<CpuStorage>; 1]) -> Result<(CpuStorage, Shape)> {
        let (batch, channels) = (x.1.dims()[0], x.1.dims()[1]);
        with_float!(self.name(), x.0.dtype(), T => {
            let x = values::<T>(self.name(), x)?;
            let plane = x.len() / (batch * channels);
            let sums = parallel::map(channels, |c| {
                T::from_f64(dispatch(ChannelSum { x, plane, channels, channel: c }))
            });
            Ok((T::to_cpu_storage_owned(sums), Shape::from(channels)))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x]: [Argument<CudaStorage>; 1]) -> Result<(CudaStorage, Shape)> {
        Ok((crate::cuda::channel_sums(self.name(), x)?, Shape::from(x.1.dims()[1])))
    }
}

struct ChannelSum<'a, T> {
    x: &'a [T],
    plane: usize,
    channels: usize,
    channel: usize,
}

impl<T: Float> Kernel for ChannelSum<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run<I: Isa>(self) -> f64 {
        let planes = self.x.chunks_exact(self.plane).skip(self.channel).step_by(self.channels);
        planes.map(|plane| sums::<I, T, 1, 1>([plane], |x| x)[0]).sum()
    }
}
