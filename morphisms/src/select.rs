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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::architecture::Draft;
    use crate::catalog::Prune;
    use crate::layer::{Conv, Layer, Role, Shape};
    use crate::morphism::{Morphism, Site};

    /// Convolution 1, batch norm 2 and ReLU 3, read by convolution 4 in two blocks and by convolution 5 as a whole: a
    /// group of four channels, of which 0 and 2 stay or go together, and 1 and 3.
    fn in_blocks(changes: &[(u32, Role, [f64; 4])]) -> Network {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let relu = draft.conv_bn_relu(draft.input(), Conv::same(4, 1));
        let grouped = draft.push(Layer::Conv(Conv { groups: 2, ..Conv::same(4, 1) }), &[relu]);
        let dense = draft.push(Layer::Conv(Conv::same(1, 1)), &[relu]);
        let both = draft.push(Layer::Concat, &[grouped, dense]);
        draft.head(both, 2);
        with(draft, changes)
    }

    fn with(draft: Draft, changes: &[(u32, Role, [f64; 4])]) -> Network {
        let network = Network::init(draft.build().unwrap(), 0, DType::F64, &Device::Cpu).unwrap();
        let mut weights = network.weights().clone();
        for (layer, role, values) in changes {
            let key = ParamKey::new(LayerId(*layer), *role);
            let shape = weights.get(key).unwrap().dims().to_vec();
            weights.insert(key, Tensor::from_vec(values.to_vec(), shape, &Device::Cpu).unwrap());
        }
        Network::new(network.architecture().clone(), weights).unwrap()
    }

    /// Of half of the channels that layer 1 makes.
    fn selection(network: &Network, keep: usize) -> Selection {
        let site = Site::new(&[LayerId(1)], keep);
        let mut rewrite = Prune.rewrite(network.architecture(), &site, 0).unwrap();
        rewrite.inheritance.selections.remove(0)
    }

    fn kept(network: &Network, keep: usize) -> Vec<usize> {
        selection(network, keep).choose(network).unwrap()
    }

    /// The squares of the scales are 1, 12.25, 4, 1 and those of the kernel 1, 1, 4, 1. Added up or divided, or with only
    /// the first block, 1 and 3 would win.
    #[test]
    fn what_makes_a_channel_counts_times_what_reads_it_added_up_over_the_blocks() {
        let scales = (2, Role::Gamma, [1.0, -3.5, 2.0, 1.0]);
        let network = in_blocks(&[scales, (5, Role::Weight, [1.0, 1.0, -2.0, 1.0])]);
        assert_eq!(kept(&network, 2), [0, 2]);
    }

    #[test]
    fn what_makes_a_channel_decides_where_blocks_alone_read_it() {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let relu = draft.conv_bn_relu(draft.input(), Conv::same(4, 1));
        let grouped = draft.push(Layer::Conv(Conv { groups: 2, ..Conv::same(4, 1) }), &[relu]);
        draft.head(grouped, 2);
        let network = with(draft, &[(2, Role::Gamma, [1.0, 2.0, 1.0, 2.0])]);
        assert_eq!(kept(&network, 2), [1, 3]);
    }

    #[test]
    fn channels_that_nobody_would_miss_go_first_if_all_of_their_place_are_such() {
        // Without a kernel a batch norm of positive mean yields less than nothing, whatever its scale.
        let shut = [(2, Role::Gamma, [1.0, 9.0, 1.0, 9.0]), (2, Role::Mean, [0.0, 1.0, 0.0, 1.0])];
        let read = (5, Role::Weight, [1.0; 4]);
        let network = |kernel| in_blocks(&[shut[0], shut[1], read, (1, Role::Weight, kernel)]);
        assert_eq!(kept(&network([1.0, 0.0, 1.0, 0.0]), 2), [0, 2], "both are dead");
        assert_eq!(kept(&network([1.0, 0.0, 1.0, 1.0]), 2), [1, 3], "one of them lives");
    }

    #[test]
    fn behind_a_flatten_a_channel_counts_by_all_its_columns() {
        for (columns, best) in [([0.0, 3.0, 2.5, 1.0], 0), ([1.0, 2.0, 0.0, 3.0], 1)] {
            let mut draft = Draft::new(Shape::map(1, 1, 2));
            let conv = draft.push(Layer::Conv(Conv::same(2, 1)), &[draft.input()]);
            let flat = draft.push(Layer::Flatten, &[conv]);
            let logits = draft.push(Layer::Linear { out_features: 1, bias: false }, &[flat]);
            draft.set_output(logits);
            let mut network = with(draft, &[(3, Role::Weight, columns)]);
            let mut weights = network.weights().clone();
            let kernel = ParamKey::new(conv, Role::Weight);
            weights.insert(kernel, Tensor::ones((2, 1, 1, 1), DType::F64, &Device::Cpu).unwrap());
            network = Network::new(network.architecture().clone(), weights).unwrap();
            assert_eq!(kept(&network, 1), [best], "{columns:?}");
        }
    }

    /// It may come from a file.
    #[test]
    fn a_selection_that_does_not_fit_is_refused() {
        type Damage = fn(&mut Selection);
        let damages: [(&str, Damage); 12] = [
            ("no blocks", |s| s.blocks = 0),
            ("blocks that do not divide the channels", |s| (s.blocks, s.keep) = (3, 3)),
            ("blocks that do not divide what is kept", |s| s.keep = 3),
            ("more channels than there are", |s| s.keep = 6),
            ("nobody who makes them", |s| s.makers.clear()),
            ("channels without slices", |s| s.makers[0].repeat = 0),
            ("makers that end too early", |s| s.makers[0].start = 1),
            ("readers that end too early", |s| s.readers[0].start = 1),
            ("slices beyond all numbers", |s| s.readers[0].repeat = usize::MAX),
            ("an axis that is not there", |s| s.readers[0].axis = 4),
            ("a group that is not there", |s| s.group = LayerId(2)),
            ("fewer channels than the group has", |s| (s.channels, s.blocks) = (2, 1)),
        ];
        let network = in_blocks(&[]);
        assert!(selection(&network, 2).choose(&network).is_ok());
        for (name, damage) in damages {
            let mut selection = selection(&network, 2);
            damage(&mut selection);
            assert!(matches!(selection.choose(&network), Err(Error::Weights(_))), "{name}");
        }
    }
}
