//! Which of cuDNN's algorithms computes a convolution.
//!
//! cuDNN's heuristics put the algorithms in the order of the time they expect; the first one that is allowed
//! and whose workspace fits is taken. Nothing is timed: a search makes networks of new sizes all the time,
//! timing each would cost more than it gains, and the choice would differ from run to run.

use super::Options;
use super::cudnn::{ConvolutionDescriptor, FilterDescriptor, Handle, TensorDescriptor, checked};
use crate::tensor::mismatch;
use candle_core::Result;
use cudarc::cudnn::{CudnnError, result, sys};
use std::ffi::c_int;

/// More than cuDNN has of any kind.
const MOST_ALGORITHMS: usize = 16;

/// What a convolution computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    Forward,
    InputGradient,
    WeightGradient,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Algorithm {
    Forward(sys::cudnnConvolutionFwdAlgo_t),
    InputGradient(sys::cudnnConvolutionBwdDataAlgo_t),
    WeightGradient(sys::cudnnConvolutionBwdFilterAlgo_t),
}

/// The descriptors of a convolution.
#[derive(Debug)]
pub(super) struct Descriptors {
    pub x: TensorDescriptor,
    pub weight: FilterDescriptor,
    pub y: TensorDescriptor,
    pub convolution: ConvolutionDescriptor,
}

/// What cuDNN says of an algorithm; its own structs have one type for each direction.
struct Candidate<A> {
    algorithm: A,
    status: sys::cudnnStatus_t,
    determinism: sys::cudnnDeterminism_t,
    math: sys::cudnnMathType_t,
}

impl<A> Candidate<A> {
    fn allowed(&self, options: &Options) -> bool {
        let ready = self.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS;
        let same = self.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC;
        let exact = match self.math {
            sys::cudnnMathType_t::CUDNN_DEFAULT_MATH | sys::cudnnMathType_t::CUDNN_FMA_MATH => true,
            sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH
            | sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION => false,
        };
        ready && (same || !options.deterministic) && (exact || options.allow_tf32)
    }
}

/// Asks one of cuDNN's heuristics.
macro_rules! candidates {
    ($op:expr, $ask:path, $handle:expr, $($descriptor:expr),+) => {{
        let mut count: c_int = 0;
        // SAFETY: plain numbers, for which zeros are values.
        let mut found = [unsafe { std::mem::zeroed() }; MOST_ALGORITHMS];
        // SAFETY: live descriptors, and room for as many answers as are asked for.
        checked($op, unsafe {
            $ask($handle.0, $($descriptor),+, MOST_ALGORITHMS as c_int, &mut count, found.as_mut_ptr())
        })?;
        found.into_iter().take(count.max(0) as usize).map(|f| Candidate {
            algorithm: f.algo,
            status: f.status,
            determinism: f.determinism,
            math: f.mathType,
        })
    }};
}

/// The algorithm, and the bytes of workspace it needs.
pub(super) fn choose(
    op: &str,
    handle: &Handle,
    direction: Direction,
    d: &Descriptors,
    options: &Options,
) -> Result<(Algorithm, usize)> {
    let (x, w, y, conv) = (d.x.0, d.weight.0, d.y.0, d.convolution.0);
    let chosen = match direction {
        Direction::Forward => {
            let found = candidates!(op, result::get_convolution_forward_algorithm, handle, x, w, conv, y);
            // SAFETY: live descriptors.
            first(found, options, |a| unsafe {
                result::get_convolution_forward_workspace_size(handle.0, x, w, conv, y, a)
            })
            .map(|(a, bytes)| (Algorithm::Forward(a), bytes))
        }
        Direction::InputGradient => {
            let found =
                candidates!(op, result::get_convolution_backward_data_algorithm, handle, w, y, conv, x);
            // SAFETY: live descriptors.
            first(found, options, |a| unsafe {
                result::get_convolution_backward_data_workspace_size(handle.0, w, y, conv, x, a)
            })
            .map(|(a, bytes)| (Algorithm::InputGradient(a), bytes))
        }
        Direction::WeightGradient => {
            let found =
                candidates!(op, result::get_convolution_backward_filter_algorithm, handle, x, y, conv, w);
            // SAFETY: live descriptors.
            first(found, options, |a| unsafe {
                result::get_convolution_backward_filter_workspace_size(handle.0, x, y, conv, w, a)
            })
            .map(|(a, bytes)| (Algorithm::WeightGradient(a), bytes))
        }
    };
    chosen.ok_or_else(|| {
        mismatch(
            op,
            "a cuDNN algorithm that the options allow",
            format!("none for {direction:?}, {options:?}"),
        )
    })
}

/// The first candidate that is allowed and whose workspace fits.
fn first<A: Copy>(
    candidates: impl Iterator<Item = Candidate<A>>,
    options: &Options,
    workspace: impl Fn(A) -> std::result::Result<usize, CudnnError>,
) -> Option<(A, usize)> {
    candidates
        .filter(|candidate| candidate.allowed(options))
        .filter_map(|candidate| Some((candidate.algorithm, workspace(candidate.algorithm).ok()?)))
        .find(|&(_, bytes)| bytes <= options.workspace)
}
