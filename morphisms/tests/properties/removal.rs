//! Approximate morphisms remove what they say, and nothing else changes.

use candle_core::{DType, Tensor};
use morphisms::strategies::any_network;
use morphisms::{
    Activation, ChannelGroup, Channels, Grouping, Index, Inheritance, Layer, LayerId, Morphism, Network,
    Node, ParamKey, Role, Segment, Site, Source, Tie, Weights, catalog,
};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::common::{SMALL, at, batch, cases, child, distance, largest, rewritten};

fn named(name: &str) -> &'static dyn Morphism {
    catalog::named(name).unwrap()
}

fn same(
    expected: &Network,
    found: &Network,
    seed: u64,
    morphism: &dyn Morphism,
    site: &Site,
) -> Result<(), TestCaseError> {
    let images = batch(expected, seed);
    let logits = expected.logits(&images).unwrap();
    let (drift, scale) = (distance(&logits, &found.logits(&images).unwrap()), largest(&logits));
    if drift <= 1e-10 * scale { Ok(()) } else { Err(at(morphism, site, format!("{drift:e} of {scale:e}"))) }
}

/// The parent with zeros in the columns that the child's kernels lose, or none if they lose none: who reads a removed
/// channel ignores it.
fn ignoring(parent: &Network, closed: &Inheritance) -> Option<Network> {
    let mut weights: Weights = parent.weights().clone();
    let mut any = false;
    for (key, source) in &closed.sources {
        if let (Role::Weight, Some(index)) = (key.role, columns(source)) {
            let tensor = parent.weights().get(*key).unwrap();
            let mask: Vec<f64> =
                (0..tensor.dim(1).unwrap()).map(|c| f64::from(u8::from(index.contains(&c)))).collect();
            let shape: Vec<usize> =
                (0..tensor.rank()).map(|axis| if axis == 1 { mask.len() } else { 1 }).collect();
            let mask = Tensor::from_vec(mask, shape, tensor.device()).unwrap();
            weights.insert(*key, tensor.broadcast_mul(&mask).unwrap());
            any = true;
        }
    }
    any.then(|| Network::new(parent.architecture().clone(), weights).unwrap())
}

/// The parent with some channels of a group dead: unread by everybody, or zero wherever they are made.
fn with_dead(parent: &Network, group: &ChannelGroup, dead: &[usize], how: How) -> Network {
    let architecture = parent.architecture();
    let (channels, mut weights) = (Channels::of(architecture), parent.weights().clone());
    let place = channels.named(group.name()).unwrap();
    for &(layer, tie) in &group.ties {
        let node = architecture.node(layer);
        let input = || dead_slices(channels.layout(node.inputs[0]), place, dead);
        let is_norm = matches!(node.layer, Layer::BatchNorm { .. } | Layer::GroupNorm { .. });
        match (tie, how) {
            (Tie::Reads, How::Unread) => input()
                .into_iter()
                .for_each(|slice| set(&mut weights, layer, Role::Weight, &[(1, slice)], 0.0)),
            (Tie::ReadsInBlocks { blocks }, How::Unread) => {
                let (inputs, outputs) = (group.channels / blocks, node.shape.channels() / blocks);
                for channel in dead {
                    for row in channel / inputs * outputs..(channel / inputs + 1) * outputs {
                        set(&mut weights, layer, Role::Weight, &[(0, row), (1, channel % inputs)], 0.0);
                    }
                }
            }
            (Tie::Makes, How::Zero) => {
                for role in [Role::Weight, Role::Bias] {
                    dead.iter().for_each(|&channel| set(&mut weights, layer, role, &[(0, channel)], 0.0));
                }
            }
            (Tie::Follows, How::Zero) if is_norm => {
                let shut = architecture
                    .consumers(layer)
                    .iter()
                    .all(|&(reader, _)| architecture.node(reader).layer == Layer::RELU);
                for slice in input() {
                    set(&mut weights, layer, Role::Gamma, &[(0, slice)], 0.0);
                    set(&mut weights, layer, Role::Beta, &[(0, slice)], if shut { -0.5 } else { 0.0 });
                }
            }
            (Tie::Follows, How::Zero) => {
                let output = dead_slices(channels.layout(layer), place, dead);
                output.into_iter().for_each(|slice| set(&mut weights, layer, Role::Bias, &[(0, slice)], 0.0))
            }
            (Tie::Makes | Tie::Follows, How::Unread)
            | (Tie::Reads | Tie::ReadsInBlocks { .. }, How::Zero) => {}
        }
    }
    Network::new(architecture.clone(), weights).unwrap()
}

#[derive(Debug, Clone, Copy)]
enum How {
    Unread,
    Zero,
}

/// The slices of an axis that belong to these channels of a group.
fn dead_slices(layout: &[Segment], place: usize, dead: &[usize]) -> Vec<usize> {
    let (mut slices, mut start) = (Vec::new(), 0);
    for segment in layout {
        if segment.group == Some(place) {
            let of =
                |channel: &usize| start + channel * segment.repeat..start + (channel + 1) * segment.repeat;
            slices.extend(dead.iter().flat_map(of));
        }
        start += segment.len();
    }
    slices
}

/// Sets a part of a parameter, given by a place on some axes, to a value; a parameter that is not there is let be.
fn set(weights: &mut Weights, layer: LayerId, role: Role, at: &[(usize, usize)], value: f64) {
    let key = ParamKey::new(layer, role);
    let Ok(tensor) = weights.get(key).cloned() else { return };
    let size = |axis: &usize| tensor.dims()[*axis];
    let stride = |axis: usize| tensor.dims()[axis + 1..].iter().product::<usize>();
    let within = |place: usize| at.iter().all(|(axis, slice)| place / stride(*axis) % size(axis) == *slice);
    let old: Vec<f64> = tensor.flatten_all().unwrap().to_vec1().unwrap();
    let new = old.into_iter().enumerate().map(|(place, old)| if within(place) { value } else { old });
    weights.insert(key, Tensor::from_vec(new.collect(), tensor.dims(), tensor.device()).unwrap());
}

/// The columns that a kernel keeps, if it loses any.
fn columns(source: &Source) -> Option<&[usize]> {
    match source {
        Source::Gather { axis: 1, index: Index::Fixed(index), .. } => Some(index),
        Source::Gather { of, .. } => columns(of),
        _ => None,
    }
}

proptest! {
    #![proptest_config(cases(250))]

    /// Of prune, and of drop_skip at a concatenation.
    #[test]
    fn a_child_ignores_the_removed_channels(parent in any_network(SMALL, DType::F64), seed in 0..1000u64) {
        // Where a mean is taken over the channels, the others notice.
        let averages = |node: &Node| {
            matches!(node.layer, Layer::GroupNorm { grouping: Grouping::All | Grouping::Groups(_), .. })
        };
        prop_assume!(!parent.architecture().nodes().any(averages));
        for morphism in ["prune", "drop_skip"].map(named) {
            for site in morphism.sites(parent.architecture()) {
                let rewrite = rewritten(morphism, parent.architecture(), &site, seed)?;
                let closed = rewrite.inheritance.resolve(&parent, None).unwrap();
                if let Some(ignoring) = ignoring(&parent, &closed) {
                    same(&ignoring, &parent.child(&rewrite, None).unwrap(), seed, morphism, &site)?;
                }
            }
        }
    }

    /// Of every group as many channels are dead, the same in each block, as are removed.
    #[test]
    fn prune_is_exact_for_dead_channels(parent in any_network(SMALL, DType::F64), seed in 0..1000u64) {
        let prune = named("prune");
        let groups = Channels::of(parent.architecture()).groups;
        // What is zero before a sigmoid is not behind it, nor behind a clip that ends above zero.
        let lifts = |node: &Node| match node.layer {
            Layer::Activation(Activation::Sigmoid | Activation::HardSigmoid) => true,
            Layer::Activation(Activation::Clip { low, high }) => low > 0.0 || high < 0.0,
            _ => false,
        };
        let hows = if parent.architecture().nodes().any(lifts) {
            &[How::Unread][..]
        } else {
            &[How::Unread, How::Zero]
        };
        for site in prune.sites(parent.architecture()) {
            let group = groups.iter().find(|group| group.name() == site.layers[0]).unwrap();
            if group.even {
                continue;
            }
            let (size, kept) = (group.channels / group.blocks, site.amount / group.blocks);
            let places = (0..size - kept).map(|i| (i + seed as usize) % size);
            let dead: Vec<usize> =
                places.flat_map(|place| (0..group.blocks).map(move |block| block * size + place)).collect();
            for &how in hows {
                let parent = with_dead(&parent, group, &dead, how);
                same(&parent, &child(&parent, prune, &site, seed, None)?, seed, prune, &site)?;
            }
        }
    }

    /// A sum with a term that is zero, and a mix that takes nothing of the skip, can lose it.
    #[test]
    fn drop_skip_undoes_skip_add_and_skip_concat(parent in any_network(SMALL, DType::F64), seed in 0..1000u64) {
        let drop_skip = named("drop_skip");
        for morphism in ["skip_add", "skip_concat"].map(named) {
            for site in morphism.sites(parent.architecture()).iter().skip(seed as usize % 4).step_by(4) {
                let grown = child(&parent, morphism, site, seed, None)?;
                let mut merges = grown.architecture().nodes().filter(|node| {
                    let before = parent.architecture().get(node.id);
                    node.inputs.last() == Some(&site.layers[0])
                        && before.is_none_or(|before| before.inputs.len() < node.inputs.len())
                });
                let merge = merges.next_back().expect("a merging layer that ends with the skip");
                let back = Site::new(&[merge.id], merge.inputs.len() - 1);
                // A concatenation that meets another merging layer cannot lose channels.
                if drop_skip.sites(grown.architecture()).contains(&back) {
                    let undone = child(&grown, drop_skip, &back, seed, None)?;
                    same(&parent, &undone, seed, morphism, site)?;
                    prop_assert!(undone.architecture().is_isomorphic(parent.architecture()));
                } else {
                    prop_assert!(matches!(merge.layer, Layer::Concat));
                }
            }
        }
    }

    #[test]
    fn drop_layer_undoes_deepen(parent in any_network(SMALL, DType::F64), seed in 0..1000u64) {
        let (deepen, drop_layer) = (named("deepen"), named("drop_layer"));
        for site in deepen.sites(parent.architecture()) {
            let grown = child(&parent, deepen, &site, seed, None)?;
            let is_new = |id| parent.architecture().get(id).is_none();
            let conv = grown.architecture().nodes().find(|node| is_new(node.id)).expect("a new convolution").id;
            let undone = child(&grown, drop_layer, &Site::new(&[conv], 0), seed, None)?;
            same(&parent, &undone, seed, drop_layer, &site)?;
            // A mix of a tensor with itself goes with the layer.
            let idle = |node: &Node| matches!(node.layer, Layer::Mix) && node.inputs[0] == node.inputs[1];
            let tidy = !parent.architecture().nodes().any(idle);
            prop_assert!(!tidy || undone.architecture().is_isomorphic(parent.architecture()));
        }
    }

    /// To the bit.
    #[test]
    fn shrink_kernel_undoes_widen_kernel(parent in any_network(SMALL, DType::F64), seed in 0..1000u64) {
        let (widen_kernel, shrink_kernel) = (named("widen_kernel"), named("shrink_kernel"));
        for site in widen_kernel.sites(parent.architecture()) {
            let grown = child(&parent, widen_kernel, &site, seed, None)?;
            prop_assert!(grown.architecture().macs() > parent.architecture().macs());
            let undone = child(&grown, shrink_kernel, &site, seed, None)?;
            prop_assert_eq!(undone.architecture(), parent.architecture());
            prop_assert_eq!(undone.weights().to_safetensors().unwrap(), parent.weights().to_safetensors().unwrap());
        }
    }

    /// With its stride, dilation, padding and bias.
    #[test]
    fn separate_is_exact_where_the_kernel_is_separable(
        parent in any_network(SMALL, DType::F64), seed in 0..1000u64,
    ) {
        let separate = named("separate");
        for site in separate.sites(parent.architecture()) {
            let key = ParamKey::new(site.layers[0], Role::Weight);
            let kernel = parent.weights().get(key).unwrap();
            let (depthwise, pointwise) = (kernel.narrow(0, 0, 1).unwrap(), kernel.narrow(3, 0, 1).unwrap());
            let pointwise = pointwise.narrow(2, 0, 1).unwrap();
            let mut weights = parent.weights().clone();
            weights.insert(key, pointwise.broadcast_mul(&depthwise).unwrap());
            let separable = Network::new(parent.architecture().clone(), weights).unwrap();
            same(&separable, &child(&separable, separate, &site, seed, None)?, seed, separate, &site)?;
        }
    }
}
