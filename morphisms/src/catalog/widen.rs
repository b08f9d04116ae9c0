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

use crate::Result;
use crate::architecture::Architecture;
use crate::channels::{ChannelGroup, Channels};
use crate::morphism::{Morphism, Promise, Rewrite, Site, no_site};
use crate::resize::{Resize, group_at, resize};
use crate::surgery::{self, Replication};

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
                    sites.push(Site::new(&[group.name()], amount).variant(variant));
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
            replicate(group, site.amount, seed)?
        } else {
            extend(group, site.amount, seed)
        };
        resize(architecture, &channels, place, &to)
    }
}

/// In every block the same places are copied, and the copies follow the originals.
fn replicate(group: &ChannelGroup, amount: usize, seed: u64) -> Result<Resize> {
    let size = group.channels / group.blocks;
    let Replication { of: block, share: shares } =
        surgery::replication(size, size + amount / group.blocks, seed)?;
    let in_block = |b: usize| block.iter().map(move |place| b * size + place);
    Ok(Resize::Replicate {
        of: (0..group.blocks).flat_map(in_block).collect(),
        share: (0..group.blocks).flat_map(|_| shares.iter().copied()).collect(),
    })
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
    use crate::layer::{Conv, Layer, LayerId, Shape};

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
        let group = ChannelGroup { channels: 3, blocks: 1, ties: Vec::new() };
        let Resize::Replicate { of, share } = replicate(&group, 3, 5).unwrap() else { panic!("replication") };
        for channel in 0..3 {
            let shares: Vec<f64> =
                of.iter().zip(&share).filter(|(c, _)| **c == channel).map(|(_, s)| *s).collect();
            assert_eq!(shares.len(), 2);
            assert!((shares[0] + shares[1] - 1.0).abs() < 1e-15 && (shares[0] - shares[1]).abs() > 0.25);
        }
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
