//! Grows a channel group.
//!
//! ```text
//! ──► conv 3x3, 16 ──► ... ──► readers     becomes     ──► conv 3x3, 24 ──► ... ──► readers
//! ```
//!
//! By replication: some channels get copies, and whoever reads channel c takes the share `s_i` of copy i, with
//! `sum s_i = 1`, so `sum_i s_i w x_c = w x_c` (Chen et al., "Net2Net", ICLR 2016, section 2.2). The shares are
//! unequal, so that copies get different gradients and part (Wang et al., "LEMON", ICLR 2024).
//! By replication with noise: the shares are equal, and the copies' outgoing weights get noise that adds up to 0 over
//! them, with two copies `w / 2 + e` and `w / 2 - e`, which breaks the symmetry weight by weight and not by channels, and
//! keeps the function all the same; Net2Net, section 2.2, proposes noise, there at the price of exactness.
//! With neither, as "twins", copies stay equal for ever: only for comparison, and never offered.
//! By fresh channels: new kernels are drawn, and whoever reads them starts with weight 0 (Wei et al., "Network morphism",
//! ICML 2016). They learned best on Fashion-MNIST (`experiments/results/growth`), so they are listed first.

use crate::Result;
use crate::architecture::Architecture;
use crate::channels::{ChannelGroup, Channels};
use crate::morphism::{Morphism, Promise, Rewrite, Site, no_site};
use crate::resize::{Resize, resize};
use crate::surgery::{self, Replication};

/// The variant that copies channels.
const REPLICATE: &str = "replicate";
/// The variant that draws new channels.
const FRESH: &str = "fresh";
/// The variant that copies channels and tells the copies apart by noise.
const NOISE: &str = "noise";
/// The variant that tells copies apart by nothing, as a measure of what it is worth to do so: a site of its own it has not, but where
/// "replicate" is offered it can be asked for.
const TWINS: &str = "twins";

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
        let sites = |group: &ChannelGroup| {
            offers(group).map(|(amount, variant)| at(group, amount, variant)).collect::<Vec<_>>()
        };
        Channels::of(architecture).groups.iter().flat_map(sites).collect()
    }

    fn rewrite(&self, architecture: &Architecture, site: &Site, seed: u64) -> Result<Rewrite> {
        let channels = Channels::of(architecture);
        let place = site.layers.first().and_then(|&layer| channels.named(layer));
        let is_offer = |&place: &usize| {
            let group = &channels.groups[place];
            let wanted = if site.variant == TWINS { REPLICATE } else { &site.variant };
            let offered = |(amount, variant)| at(group, amount, variant) == site.clone().variant(wanted);
            offers(group).any(offered)
        };
        let Some(place) = place.filter(is_offer) else {
            let expected = "expected a group that can change, and half or all of its channels";
            return Err(no_site(self, site, expected));
        };
        let group = &channels.groups[place];
        let to = match site.variant.as_str() {
            FRESH => extend(group, site.amount, seed),
            NOISE => replicate(group, site.amount, seed, Shares::Noisy)?,
            TWINS => replicate(group, site.amount, seed, Shares::Equal)?,
            _ => replicate(group, site.amount, seed, Shares::Unequal)?,
        };
        resize(architecture, &channels, place, &to)
    }
}

/// How many channels a group may get, and how: half of what is there, or as many.
fn offers(group: &ChannelGroup) -> impl Iterator<Item = (usize, &'static str)> {
    let half = (group.channels / group.blocks).div_ceil(2) * group.blocks;
    let amounts = [Some(half).filter(|&half| half < group.channels), Some(group.channels)];
    // The best first.
    let variants = |amount| [FRESH, REPLICATE, NOISE].map(move |variant| (amount, variant));
    let (all, even) = (group.channels, group.even);
    // Where means are taken over the channels, each gets one copy.
    amounts
        .into_iter()
        .flatten()
        .flat_map(variants)
        .filter(move |&(amount, variant)| !even || (amount == all && variant != FRESH))
}

fn at(group: &ChannelGroup, amount: usize, variant: &str) -> Site {
    Site::new(&[group.name()], amount).variant(variant)
}

/// What tells copies of a channel apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shares {
    /// How much of it they are.
    Unequal,
    /// Noise.
    Noisy,
    /// Nothing.
    Equal,
}

/// In every block the same places are copied, and the copies follow the originals.
fn replicate(group: &ChannelGroup, amount: usize, seed: u64, shares: Shares) -> Result<Resize> {
    let size = group.channels / group.blocks;
    let block = surgery::replication(size, size + amount / group.blocks, seed)?;
    let Replication { of: block, share } =
        if shares == Shares::Unequal { block } else { block.shared_equally() };
    let in_block = |b: usize| block.iter().map(move |place| b * size + place);
    Ok(Resize::Replicate {
        of: (0..group.blocks).flat_map(in_block).collect(),
        share: (0..group.blocks).flat_map(|_| share.iter().copied()).collect(),
        noise: (shares == Shares::Noisy).then_some(seed),
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
    use candle_core::{DType, Device};

    use super::*;
    use crate::architecture::{Draft, ParamKey};
    use crate::inheritance::{Index, Source};
    use crate::layer::{Conv, Grouping, Layer, LayerId, Role, Shape};
    use crate::network::Network;

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
        let Resize::Replicate { of, share, noise: None } = replicate(&group, 3, 5, Shares::Unequal).unwrap()
        else {
            panic!("replication")
        };
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
        let once = [REPLICATE, NOISE].map(|variant| Site::new(&[b], 4).variant(variant));
        assert_eq!(of(b, sites(false)), once);
        assert_eq!(of(a, sites(false)).len(), 6);
        assert!(sites(true).is_empty());
    }

    #[test]
    fn noise_differs_between_copies_and_adds_up_to_nothing() {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let relu = draft.conv_bn_relu(draft.input(), Conv::same(3, 3));
        let logits = draft.head(relu, 2);
        let parent = Network::init(draft.build().unwrap(), 3, DType::F64, &Device::Cpu).unwrap();
        let site = Site::new(&[LayerId(1)], 3).variant(NOISE);
        let rewrite = Widen.rewrite(parent.architecture(), &site, 1).unwrap();
        let child = parent.child(&rewrite, None).unwrap();
        let Source::Gather { index: Index::Fixed(of), .. } =
            &rewrite.inheritance.sources[&ParamKey::new(LayerId(2), Role::Gamma)]
        else {
            panic!("expected channels and their copies")
        };
        let rows = |network: &Network| {
            let matrix = network.weights().get(ParamKey::new(logits, Role::Weight)).unwrap();
            matrix.to_vec2::<f64>().unwrap()
        };
        for (old, new) in rows(&parent).iter().zip(rows(&child)) {
            for (channel, weight) in old.iter().enumerate() {
                let copies: Vec<f64> =
                    of.iter().zip(&new).filter(|(from, _)| **from == channel).map(|(_, w)| *w).collect();
                let [a, b] = copies[..] else { panic!("expected two copies, found {copies:?}") };
                assert!((a + b - weight).abs() < 1e-15 && (a - b).abs() > 1e-4, "{a} + {b} = {weight}");
            }
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

    #[test]
    fn it_does_not_apply_to_amounts_and_variants_that_are_not_listed() {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let relu = draft.conv_bn_relu(draft.input(), Conv::same(4, 3));
        draft.head(relu, 2);
        let parent = draft.build().unwrap();
        for (amount, variant, listed) in [(2, FRESH, true), (3, FRESH, false), (2, "other", false)] {
            let site = Site::new(&[LayerId(1)], amount).variant(variant);
            assert_eq!(Widen.sites(&parent).contains(&site), listed, "{site}");
            assert_eq!(Widen.rewrite(&parent, &site, 0).is_ok(), listed, "{site}");
        }
    }

    #[test]
    fn each_variant_makes_what_it_is_named_for() {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let relu = draft.conv_bn_relu(draft.input(), Conv::same(4, 3));
        let logits = draft.head(relu, 2);
        let parent = Network::init(draft.build().unwrap(), 3, DType::F64, &Device::Cpu).unwrap();
        for (variant, copies, noisy) in [(REPLICATE, true, false), (FRESH, false, false), (NOISE, true, true)]
        {
            let site = Site::new(&[LayerId(1)], 4).variant(variant);
            let rewrite = Widen.rewrite(parent.architecture(), &site, 1).unwrap();
            let read = &rewrite.inheritance.sources[&ParamKey::new(logits, Role::Weight)];
            assert_eq!(matches!(read, Source::Sum { .. }), noisy, "{variant}");
            let child = parent.child(&rewrite, None).unwrap();
            let kernels = child.weights().get(ParamKey::new(LayerId(1), Role::Weight)).unwrap();
            let kernels = kernels.flatten_from(1).unwrap().to_vec2::<f64>().unwrap();
            let (old, new) = kernels.split_at(4);
            assert!(new.iter().all(|kernel| old.contains(kernel) == copies), "{variant}");
        }
    }

    #[test]
    fn twins_share_equally_and_are_never_offered() {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let x = draft.conv_bn_relu(draft.input(), Conv::same(2, 3));
        draft.head(x, 2);
        let parent = Network::init(draft.build().unwrap(), 0, DType::F64, &Device::Cpu).unwrap();
        let sites = Widen.sites(parent.architecture());
        assert!(sites.iter().all(|site| site.variant != TWINS));
        let site = Site::new(&[LayerId(1)], 2).variant(TWINS);
        let rewrite = Widen.rewrite(parent.architecture(), &site, 1).unwrap();
        let child = parent.child(&rewrite, None).unwrap();
        let read = |network: &Network| {
            let weight = network.weights().get(ParamKey::new(LayerId(6), Role::Weight)).unwrap();
            weight.to_vec2::<f64>().unwrap()
        };
        let (before, after) = (read(&parent), read(&child));
        for (before, after) in before.iter().zip(after) {
            let halves: Vec<f64> = before.iter().chain(before).map(|value| value / 2.0).collect();
            assert_eq!(after, halves);
        }
        let other = Site::new(&[LayerId(1)], 3).variant(TWINS);
        assert!(Widen.rewrite(parent.architecture(), &other, 1).is_err(), "half or all of the channels");
    }

    #[test]
    fn as_many_fresh_channels_are_drawn_as_are_added() {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let relu = draft.conv_bn_relu(draft.input(), Conv::same(4, 3));
        draft.head(relu, 2);
        let parent = draft.build().unwrap();
        let rewrite = Widen.rewrite(&parent, &Site::new(&[LayerId(1)], 2).variant(FRESH), 1).unwrap();
        let key = ParamKey::new(LayerId(1), Role::Weight);
        let Source::Join { of, axis: 0 } = &rewrite.inheritance.sources[&key] else {
            panic!("old and fresh rows")
        };
        let [Source::Parent(_), Source::Normal { shape, .. }] = &of[..] else { panic!("{of:?}") };
        assert_eq!(shape, &[2, 1, 3, 3]);
    }

    #[test]
    fn noise_deviates_by_a_tenth_of_what_fresh_weights_do() {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let relu = draft.conv_bn_relu(draft.input(), Conv::same(3, 3));
        let reader = draft.push(Layer::Conv(Conv::same(64, 3)), &[relu]);
        draft.head(reader, 2);
        let parent = Network::init(draft.build().unwrap(), 3, DType::F64, &Device::Cpu).unwrap();
        let site = Site::new(&[LayerId(1)], 3).variant(NOISE);
        let rewrite = Widen.rewrite(parent.architecture(), &site, 1).unwrap();
        let weights =
            |network: &Network| network.weights().get(ParamKey::new(reader, Role::Weight)).unwrap().clone();
        // The first three channels are the old ones, each with half of what it had.
        let old = weights(&parent.child(&rewrite, None).unwrap()).narrow(1, 0, 3).unwrap();
        let noise = (old - (weights(&parent) * 0.5).unwrap()).unwrap();
        let square = noise.sqr().unwrap().mean_all().unwrap().to_scalar::<f64>().unwrap();
        // 1,728 draws: the standard error of the mean square is 3.4 % of it.
        let expected = 0.01 * 2.0 / (6.0 * 9.0);
        assert!((square / expected - 1.0).abs() < 0.17, "{square:e} in the place of {expected:e}");
    }

    #[test]
    fn fresh_channels_and_copies_stand_behind_the_others_of_their_block() {
        let group = ChannelGroup { channels: 4, blocks: 2, even: false, ties: Vec::new() };
        let Resize::Extend { of, .. } = extend(&group, 2, 5) else { panic!("fresh channels") };
        assert_eq!(of, [Some(0), Some(1), None, Some(2), Some(3), None]);
        let Resize::Replicate { of, .. } = replicate(&group, 4, 5, Shares::Unequal).unwrap() else {
            panic!("copies")
        };
        assert_eq!((&of[..2], &of[4..6]), (&[0, 1][..], &[2, 3][..]));
        assert!(of[2..4].iter().all(|&copy| copy < 2) && of[6..].iter().all(|&copy| copy >= 2), "{of:?}");
    }

    #[test]
    fn of_blocks_each_gets_its_part_of_what_the_site_says() {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let x = draft.push(Layer::Conv(Conv::same(6, 3)), &[draft.input()]);
        let grouped = draft.push(Layer::Conv(Conv { groups: 2, ..Conv::same(6, 3) }), &[x]);
        draft.head(grouped, 2);
        let parent = draft.build().unwrap();
        let sites = Widen.sites(&parent).into_iter().filter(|site| site.layers == [x]);
        let grown = sites.map(|site| {
            let child = Widen.rewrite(&parent, &site, 1).unwrap().architecture;
            assert_eq!(child.shape(x).channels(), 6 + site.amount, "{site}");
            site.amount
        });
        assert_eq!(grown.collect::<Vec<_>>(), [4, 4, 4, 6, 6, 6]);
    }
}
