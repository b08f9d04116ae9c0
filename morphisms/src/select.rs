//! Which channels of a group are worth keeping.

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::architecture::ParamKey;
use crate::channels::Channels;
use crate::dead::dead_channels;
use crate::layer::LayerId;
use crate::network::Network;
use crate::weights::Weights;
use crate::{Error, Result};

/// The choice of the channels with the largest norms. It depends on the parent's numbers, so it stays symbolic until
/// they are there.
///
/// A channel's score is the L2 norm of what makes it times the L2 norm of what reads it. What makes it are the
/// scales of its batch norms (Liu et al. 2017, "Network slimming"), which alone decide its size, or without a batch
/// norm the kernels that produce it (Li et al. 2017, "Pruning filters for efficient ConvNets"). Whatever their scores,
/// channels that the logits provably do not depend on go first: without them the function is the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// The layer that names the channel group.
    pub group: LayerId,
    /// Channels to choose from.
    pub channels: usize,
    /// Blocks of equally many channels that keep the same places each (grouped convolutions).
    pub blocks: usize,
    /// Channels kept.
    pub keep: usize,
    /// Slices that make a channel.
    pub makers: Vec<Slices>,
    /// Slices that read a channel.
    pub readers: Vec<Slices>,
}

/// The slices of a tensor that belong to the channels: `repeat` a channel, from `start` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slices {
    /// The tensor.
    pub key: ParamKey,
    /// The axis.
    pub axis: usize,
    /// The first slice of the first channel.
    pub start: usize,
    /// Slices a channel.
    pub repeat: usize,
}

impl Selection {
    /// The kept channels in ascending order; of equal scores the first wins.
    pub(crate) fn choose(&self, network: &Network) -> Result<Vec<usize>> {
        let weights = network.weights();
        self.check(weights)?;
        let dead = self.dead(network)?;
        let makers = self.squares(&self.makers, weights)?;
        let readers = self.squares(&self.readers, weights)?;
        let block = self.channels / self.blocks;
        let score = |place: &usize| -> f64 {
            (0..self.blocks)
                .map(|b| b * block + place)
                .map(|channel| makers[channel] * readers[channel])
                .sum()
        };
        // A place goes as a whole, so it is dead if all its channels are.
        let dead = |place: &usize| (0..self.blocks).all(|b| dead[b * block + place]);
        let mut places: Vec<usize> = (0..block).collect();
        places.sort_by(|a, b| dead(a).cmp(&dead(b)).then(score(b).total_cmp(&score(a))).then(a.cmp(b)));
        places.truncate(self.keep / self.blocks);
        places.sort_unstable();
        Ok((0..self.blocks).flat_map(|b| places.iter().map(move |place| b * block + place)).collect())
    }

    /// Which channels nobody would miss.
    fn dead(&self, network: &Network) -> Result<Vec<bool>> {
        let channels = Channels::of(network.architecture());
        let place =
            channels.named(self.group).filter(|&place| channels.groups[place].channels == self.channels);
        let place = place.ok_or_else(|| self.misfit())?;
        dead_channels(network, &channels, place)
    }

    fn misfit(&self) -> Error {
        Error::Weights(format!("a selection that does not fit the parent: {self:?}"))
    }

    /// Whether blocks divide channels and the slices are there: a selection may come from a file.
    fn check(&self, weights: &Weights) -> Result<()> {
        let Self { group: _, channels, blocks, keep, makers, readers } = self;
        let divides = |count: usize| count.checked_rem(*blocks) == Some(0);
        let fits = |slices: &Slices| -> Result<bool> {
            let size = weights.get(slices.key)?.dims().get(slices.axis).copied().unwrap_or(0);
            let end = channels.checked_mul(slices.repeat).and_then(|length| length.checked_add(slices.start));
            Ok(slices.repeat > 0 && end.is_some_and(|end| end <= size))
        };
        let mut valid = divides(*channels) && divides(*keep) && keep <= channels && !makers.is_empty();
        for slices in makers.iter().chain(readers) {
            valid = valid && fits(slices)?;
        }
        match valid {
            true => Ok(()),
            false => Err(self.misfit()),
        }
    }

    /// The sum of squares of each channel's slices; 1 where there are none.
    fn squares(&self, slices: &[Slices], weights: &Weights) -> Result<Vec<f64>> {
        if slices.is_empty() {
            return Ok(vec![1.0; self.channels]);
        }
        let mut sums = vec![0.0; self.channels];
        for slice in slices {
            let by_slice = squares_along(weights.get(slice.key)?, slice.axis)?;
            for (channel, sum) in sums.iter_mut().enumerate() {
                let first = slice.start + channel * slice.repeat;
                *sum += by_slice[first..first + slice.repeat].iter().sum::<f64>();
            }
        }
        Ok(sums)
    }
}

fn squares_along(tensor: &Tensor, axis: usize) -> Result<Vec<f64>> {
    let size = tensor.dim(axis)?;
    let rows = tensor.transpose(0, axis)?.contiguous()?.reshape((size, ()))?;
    Ok(rows.to_dtype(DType::F64)?.sqr()?.sum(1)?.to_vec1()?)
}
