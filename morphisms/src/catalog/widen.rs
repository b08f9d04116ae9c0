//! Grows a channel group.
//!
//! ```text
//! ──► conv 3x3, 16 ──► ... ──► readers     becomes     ──► conv 3x3, 24 ──► ... ──► readers
//! ```
//!
//! By replication: some channels get copies, and whoever reads channel c takes the share `s_i` of copy i, with
//! `sum s_i = 1`, so `sum_i s_i w x_c = w x_c` (Chen et al., "Net2Net", ICLR 2016, section 2.2). The shares are
//! unequal, so that copies get different gradients and part (Wang et al., "LEMON", ICLR 2024).
//! By fresh channels: new kernels are drawn, and whoever reads them starts with weight 0 (Wei et al., "Network
//! morphism", ICML 2016).

use rand::RngExt;
use rand::seq::SliceRandom;

use crate::Result;
use crate::architecture::Architecture;
use crate::channels::{ChannelGroup, Channels};
use crate::init::Seed;
use crate::morphism::{Morphism, Promise, Rewrite, Site, no_site};
use crate::resize::{Resize, group_at, resize};

/// The variant that copies channels.
const REPLICATE: &str = "replicate";
/// The variant that draws new channels.
const FRESH: &str = "fresh";

/// See the [module](self) text. A site is the layer that names the group and the number of channels added, a half or
/// all of what is there.
pub struct Widen;

impl Morphism for Widen {
    fn name(&self) -> &'static str {
        "widen"
    }

    fn summary(&self) -> &'static str {
        "adds channels to a group, copies of others or fresh ones"
    }

    fn promise(&self) -> Promise {
        Promise::Exact
    }

    fn sites(&self, architecture: &Architecture) -> Vec<Site> {
        let amounts = |group: &ChannelGroup| {
            let half = (group.channels / group.blocks).div_ceil(2) * group.blocks;
            let mut amounts = vec![half, group.channels];
            amounts.dedup();
            amounts
        };
        let mut sites = Vec::new();
        for group in Channels::of(architecture).groups {
            for amount in amounts(&group) {
                for variant in [REPLICATE, FRESH] {
                    // Where means are taken over the channels, each gets one copy.
                    if !group.even || (amount, variant) == (group.channels, REPLICATE) {
                        sites.push(Site::new(&[group.name()], amount).variant(variant));
                    }
                }
            }
        }
        sites
    }

    fn rewrite(&self, architecture: &Architecture, site: &Site, seed: u64) -> Result<Rewrite> {
        if !self.sites(architecture).contains(site) {
            return Err(no_site(
                self,
                site,
                "expected a group that can change, and half or all of its channels",
            ));
        }
        let channels = Channels::of(architecture);
        let place = group_at(&channels, site.layers.first())?;
        let group = &channels.groups[place];
        let to = if site.variant == REPLICATE {
            replicate(group, site.amount, seed)
        } else {
            extend(group, site.amount, seed)
        };
        resize(architecture, &channels, place, &to)
    }
}

/// In every block the same places are copied, and the copies follow the originals.
fn replicate(group: &ChannelGroup, amount: usize, seed: u64) -> Resize {
    let mut rng = Seed { seed, stream: 0 }.rng();
    let size = group.channels / group.blocks;
    let mut places: Vec<usize> = (0..size).collect();
    let mut copied = Vec::new();
    while copied.len() < amount / group.blocks {
        places.shuffle(&mut rng);
        copied.extend(places.iter().take(amount / group.blocks - copied.len()));
    }
    let block: Vec<usize> = (0..size).chain(copied).collect();
    // The k-th copy gets about a third of the one before it: with nearly equal shares twins would hardly part.
    let turn = |i: usize| block[..i].iter().filter(|&&place| place == block[i]).count() as i32;
    let draws: Vec<f64> =
        (0..block.len()).map(|i| (0.8 + 0.4 * rng.random::<f64>()) / 3f64.powi(turn(i))).collect();
    let total = |place: usize| -> f64 {
        block.iter().zip(&draws).filter(|(p, _)| **p == place).map(|(_, d)| d).sum()
    };
    let shares: Vec<f64> = block.iter().zip(&draws).map(|(&place, draw)| draw / total(place)).collect();
    let in_block = |b: usize| block.iter().map(move |place| b * size + place);
    Resize::Replicate {
        of: (0..group.blocks).flat_map(in_block).collect(),
        share: (0..group.blocks).flat_map(|_| shares.iter().copied()).collect(),
    }
}

fn extend(group: &ChannelGroup, amount: usize, seed: u64) -> Resize {
    let size = group.channels / group.blocks;
    let in_block = |b: usize| {
        let old = (0..size).map(move |place| Some(b * size + place));
        old.chain(std::iter::repeat_n(None, amount / group.blocks))
    };
    Resize::Extend { of: (0..group.blocks).flat_map(in_block).collect(), seed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::Draft;
    use crate::layer::{Conv, Grouping, Layer, LayerId, Shape};

    #[test]
    fn everything_tied_grows_along() {
        let mut draft = Draft::new(Shape::map(1, 8, 8));
        let relu = draft.conv_bn_relu(draft.input(), Conv::same(4, 3));
        let depthwise = draft.conv_bn_relu(relu, Conv::depthwise(4, 3));
        let sum = draft.push(Layer::Add, &[relu, depthwise]);
        draft.head(sum, 2);
        let parent = draft.build().unwrap();
        let site = Site::new(&[LayerId(1)], 2).variant(REPLICATE);
        assert!(Widen.sites(&parent).contains(&site));
        let child = Widen.rewrite(&parent, &site, 1).unwrap().architecture;
        assert!(
            child.nodes().filter(|node| node.id > LayerId(0)).take(7).all(|node| node.shape.channels() == 6)
        );
    }

    #[test]
    fn shares_of_copies_are_unequal_and_add_up() {
        let group = ChannelGroup { channels: 3, blocks: 1, even: false, ties: Vec::new() };
        let Resize::Replicate { of, share } = replicate(&group, 3, 5) else { panic!("replication") };
        for channel in 0..3 {
            let shares: Vec<f64> =
                of.iter().zip(&share).filter(|(c, _)| **c == channel).map(|(_, s)| *s).collect();
            assert_eq!(shares.len(), 2);
            assert!((shares[0] + shares[1] - 1.0).abs() < 1e-15 && (shares[0] - shares[1]).abs() > 0.25);
        }
    }

    #[test]
    fn under_a_layer_norm_every_channel_gets_one_copy_and_beside_others_none() {
        let sites = |join: bool| {
            let mut draft = Draft::new(Shape::map(1, 4, 4));
            let a = draft.push(Layer::Conv(Conv::same(4, 3)), &[draft.input()]);
            let b = draft.push(Layer::Conv(Conv::same(4, 3)), &[a]);
            let read = if join { draft.push(Layer::Concat, &[a, b]) } else { b };
            let norm = Layer::GroupNorm { grouping: Grouping::All, eps: 1e-5 };
            let norm = draft.push(norm, &[read]);
            draft.head(norm, 2);
            Widen.sites(&draft.build().unwrap())
        };
        let [a, b] = [LayerId(1), LayerId(2)];
        let of = |name, sites: Vec<Site>| {
            sites.into_iter().filter(|site| site.layers == [name]).collect::<Vec<_>>()
        };
        assert_eq!(of(b, sites(false)), [Site::new(&[b], 4).variant(REPLICATE)]);
        assert_eq!(of(a, sites(false)).len(), 4);
        assert!(sites(true).is_empty());
    }

    #[test]
    fn it_does_not_apply_to_the_image_or_the_logits() {
        let mut draft = Draft::new(Shape::map(3, 4, 4));
        draft.head(draft.input(), 2);
        let parent = draft.build().unwrap();
        assert!(Widen.sites(&parent).is_empty());
        assert!(Widen.rewrite(&parent, &Site::new(&[LayerId(3)], 2).variant(FRESH), 0).is_err());
    }
}
