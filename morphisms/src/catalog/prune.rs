//! Removes the channels of a group that matter least.
//!
//! ```text
//! ──► conv 3x3, 16 ──► ... ──► readers     becomes     ──► conv 3x3, 12 ──► ... ──► readers
//! ```
//!
//! The channels with the largest norms stay, see [`Selection`](crate::Selection). Those that are zero for every input, or
//! that nobody reads, go before all others, and where no others go the child computes its parent's function: if `x_c = 0`
//! or `w_c = 0` then `sum w x` is the same without the term `w_c x_c`. Elsken et al., LEMONADE, ICLR 2019, section 3.2:
//! "remove channels".

use crate::Result;
use crate::architecture::Architecture;
use crate::channels::{ChannelGroup, Channels};
use crate::morphism::{Morphism, Promise, Rewrite, Site, no_site};
use crate::resize::{Resize, resize};

/// See the [module](self) text. A site is the layer that names the group and the number of channels kept, a half or
/// three quarters.
pub struct Prune;

impl Morphism for Prune {
    fn name(&self) -> &'static str {
        "prune"
    }

    fn summary(&self) -> &'static str {
        "removes a quarter or a half of a group's channels, those of the smallest norms"
    }

    fn promise(&self) -> Promise {
        Promise::Approximate
    }

    fn sites(&self, architecture: &Architecture) -> Vec<Site> {
        let sites = |group: &ChannelGroup| {
            keeps(group).map(|keep| Site::new(&[group.name()], keep)).collect::<Vec<_>>()
        };
        Channels::of(architecture).groups.iter().flat_map(sites).collect()
    }

    fn rewrite(&self, architecture: &Architecture, site: &Site, _seed: u64) -> Result<Rewrite> {
        let channels = Channels::of(architecture);
        let place = site.layers.first().and_then(|&layer| channels.named(layer));
        let is_site = |&place: &usize| {
            let group = &channels.groups[place];
            keeps(group).any(|keep| *site == Site::new(&[group.name()], keep))
        };
        let Some(place) = place.filter(is_site) else {
            let expected = "expected a group that can change, and half or three quarters of its channels";
            return Err(no_site(self, site, expected));
        };
        resize(architecture, &channels, place, &Resize::Keep(site.amount))
    }
}

/// How many channels of a group may stay.
fn keeps(group: &ChannelGroup) -> impl Iterator<Item = usize> {
    let size = group.channels / group.blocks;
    let mut keeps = vec![size - size / 2, size - size / 4];
    keeps.retain(|&keep| keep < size);
    keeps.dedup();
    let blocks = group.blocks;
    keeps.into_iter().map(move |keep| keep * blocks)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::architecture::{Draft, ParamKey};
    use crate::layer::{Conv, Layer, LayerId, Role, Shape};
    use crate::network::Network;

    #[test]
    fn the_channels_with_the_largest_scales_stay() {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let relu = draft.conv_bn_relu(draft.input(), Conv::same(4, 3));
        draft.head(relu, 2);
        let parent = Network::init(draft.build().unwrap(), 3, DType::F64, &Device::Cpu).unwrap();
        let mut weights = parent.weights().clone();
        let gamma = ParamKey::new(LayerId(2), Role::Gamma);
        weights.insert(gamma, Tensor::new(&[1e-9f64, 2.0, 1e-9, 1.0], &Device::Cpu).unwrap());
        // A batch norm undoes what size a kernel has.
        let kernels = Tensor::new(&[9f64, 0.1, 9.0, 0.1], &Device::Cpu).unwrap();
        let kernels = kernels.reshape((4, 1, 1, 1)).unwrap().broadcast_as((4, 1, 3, 3)).unwrap();
        weights.insert(ParamKey::new(LayerId(1), Role::Weight), kernels.contiguous().unwrap());
        let parent = Network::new(parent.architecture().clone(), weights).unwrap();
        let rewrite = Prune.rewrite(parent.architecture(), &Site::new(&[LayerId(1)], 2), 0).unwrap();
        let child = parent.child(&rewrite, None).unwrap();
        assert_eq!(child.weights().get(gamma).unwrap().to_vec1::<f64>().unwrap(), [2.0, 1.0]);
    }

    #[test]
    fn a_channel_that_is_only_quiet_stays_before_one_that_is_dead() {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let relu = draft.conv_bn_relu(draft.input(), Conv::same(4, 3));
        draft.head(relu, 2);
        let parent = Network::init(draft.build().unwrap(), 3, DType::F64, &Device::Cpu).unwrap();
        let mut weights = parent.weights().clone();
        let [gamma, beta] = [Role::Gamma, Role::Beta].map(|role| ParamKey::new(LayerId(2), role));
        weights.insert(gamma, Tensor::new(&[0.0f64, 0.0, 0.0, 2.0], &Device::Cpu).unwrap());
        weights.insert(beta, Tensor::new(&[-0.5f64, 0.5, -0.25, 0.0], &Device::Cpu).unwrap());
        let parent = Network::new(parent.architecture().clone(), weights).unwrap();
        let rewrite = Prune.rewrite(parent.architecture(), &Site::new(&[LayerId(1)], 2), 0).unwrap();
        let child = parent.child(&rewrite, None).unwrap();
        assert_eq!(child.weights().get(beta).unwrap().to_vec1::<f64>().unwrap(), [0.5, 0.0]);
    }

    #[test]
    fn every_block_of_a_grouped_convolution_keeps_the_same_place() {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let relu = draft.conv_bn_relu(draft.input(), Conv::same(4, 3));
        let grouped = draft.push(Layer::Conv(Conv { groups: 2, ..Conv::same(4, 1) }), &[relu]);
        draft.head(grouped, 2);
        let parent = Network::init(draft.build().unwrap(), 3, DType::F64, &Device::Cpu).unwrap();
        let mut weights = parent.weights().clone();
        let gamma = ParamKey::new(LayerId(2), Role::Gamma);
        weights.insert(gamma, Tensor::new(&[1f64, 2.0, 1.0, 2.0], &Device::Cpu).unwrap());
        let parent = Network::new(parent.architecture().clone(), weights).unwrap();
        let rewrite = Prune.rewrite(parent.architecture(), &Site::new(&[LayerId(1)], 2), 0).unwrap();
        let child = parent.child(&rewrite, None).unwrap();
        let columns = |network: &Network, from| {
            let kernel = network.weights().get(ParamKey::new(grouped, Role::Weight)).unwrap();
            kernel.narrow(1, from, 1).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap()
        };
        assert_eq!(columns(&child, 0), columns(&parent, 1));
    }

    #[test]
    fn it_does_not_apply_to_a_single_channel() {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let relu = draft.conv_bn_relu(draft.input(), Conv::same(1, 3));
        draft.head(relu, 2);
        let parent = draft.build().unwrap();
        assert!(Prune.sites(&parent).is_empty());
        assert!(Prune.rewrite(&parent, &Site::new(&[LayerId(1)], 1), 0).is_err());
    }

    #[test]
    fn behind_a_concatenation_each_channel_counts_by_what_reads_it() {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let parts = [2, 4].map(|channels| draft.conv_bn_relu(draft.input(), Conv::same(channels, 3)));
        let joined = draft.push(Layer::Concat, &parts);
        let logits = draft.head(joined, 1);
        let parent = Network::init(draft.build().unwrap(), 3, DType::F64, &Device::Cpu).unwrap();
        let mut weights = parent.weights().clone();
        let columns = ParamKey::new(logits, Role::Weight);
        weights.insert(columns, Tensor::new(&[[9f64, 8.0, 1.0, 5.0, 2.0, 4.0]], &Device::Cpu).unwrap());
        let parent = Network::new(parent.architecture().clone(), weights).unwrap();
        let rewrite = Prune.rewrite(parent.architecture(), &Site::new(&[LayerId(4)], 2), 0).unwrap();
        let child = parent.child(&rewrite, None).unwrap();
        assert_eq!(child.weights().get(columns).unwrap().to_vec2::<f64>().unwrap(), [[9.0, 8.0, 5.0, 4.0]]);
    }
}
