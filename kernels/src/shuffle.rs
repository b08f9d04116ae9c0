//! Channels in another order.

use crate::op::{Argument, Compute, Op, Run};
use crate::operand::Operand;
use crate::parallel;
use crate::tensor::{check_dtypes, mismatch, values, with_float};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Shape, Tensor, WithDType};

const OP: &str = "channel_shuffle";

/// Takes the first channel of each of `groups` groups of neighbours, then the second of each, and so on (Zhang et
/// al., *ShuffleNet*, CVPR 2018, section 3.1): channel `i * groups + k` of the output is channel
/// `k * channels / groups + i` of `x`, which is `[batch, channels]` or `[batch, channels, height, width]`.
///
/// # Errors
/// If the groups do not divide the channels, `x` has another shape, or it is neither f32 nor f64.
pub fn channel_shuffle<V: Operand>(x: &V, groups: usize) -> Result<V> {
    check_dtypes(OP, &[("x", x.tensor())])?;
    let channels = match x.tensor().dims() {
        [_, channels] | [_, channels, _, _] if x.tensor().elem_count() > 0 => *channels,
        other => {
            let expected = "x of shape [batch, channels] or [batch, channels, height, width], no size zero";
            return Err(mismatch(OP, expected, format!("{other:?}")));
        }
    };
    if channels.checked_rem(groups) != Some(0) {
        return Err(mismatch(OP, format!("groups that divide the {channels} channels"), groups));
    }
    V::apply([&x.contiguous()?], ChannelShuffle { groups, members: channels / groups })
}

#[derive(Debug, Clone, Copy)]
struct ChannelShuffle {
    groups: usize,
    /// Channels of a group.
    members: usize,
}

impl Compute<1> for ChannelShuffle {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu(&self, [x]: [Argument<CpuStorage>; 1]) -> Result<(CpuStorage, Shape)> {
        let (shape, Self { groups, members }) = (x.1.shape().clone(), *self);
        let plane: usize = shape.dims()[2..].iter().product();
        let sample = groups * members * plane;
        with_float!(OP, x.0.dtype(), T => {
            let x = values::<T>(OP, x)?;
            let y = parallel::build_chunks(x.len(), sample, |i, y| {
                let x = &x[i * sample..][..sample];
                for (to, y) in y.chunks_exact_mut(plane).enumerate() {
                    let from = to % groups * members + to / groups;
                    y.copy_from_slice(&x[from * plane..][..plane]);
                }
            });
            Ok((T::to_cpu_storage_owned(y), shape))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x]: [Argument<CudaStorage>; 1]) -> Result<(CudaStorage, Shape)> {
        Ok((crate::cuda::channel_shuffle(OP, x, [self.groups, self.members])?, x.1.shape().clone()))
    }
}

impl Op<1> for ChannelShuffle {
    /// Back again: rows and columns change places once more.
    fn gradients(
        &self,
        _: [&Tensor; 1],
        _y: &Tensor,
        dy: &Tensor,
        _: [bool; 1],
    ) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(Self { groups: self.members, members: self.groups }.run([dy])?)])
    }
}
