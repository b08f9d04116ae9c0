//! Removes one input of a merging layer.
//!
//! ```text
//! a ──► ... ──► x ──► mix, add or concat ──► readers     becomes     a ──► ... ──► x ──► readers
//! └────────────────────►┘
//! ```
//!
//! It applies to an input that somebody else reads too, so that no layer dies. Behind a concatenation every kernel
//! that reads the removed channels loses them. Elsken et al., LEMONADE, ICLR 2019, section 3.2: "remove a skip
//! connection".

use std::collections::BTreeMap;
use std::ops::Range;

use crate::Result;
use crate::architecture::{Architecture, Draft, Node, ParamKey};
use crate::inheritance::{Inheritance, Source};
use crate::layer::{Conv, Grouping, Layer, LayerId, Role};
use crate::morphism::{Morphism, Promise, Rewrite, Site, no_site};

/// See the [module](self) text. A site is the merging layer and, as its amount, the position of the input that goes.
pub struct DropSkip;

impl Morphism for DropSkip {
    fn name(&self) -> &'static str {
        "drop_skip"
    }

    fn summary(&self) -> &'static str {
        "removes an input of a mix, add or concat that is read elsewhere too"
    }

    fn promise(&self) -> Promise {
        Promise::Approximate
    }

    fn sites(&self, architecture: &Architecture) -> Vec<Site> {
        let positions = |node: &Node| match node.layer {
            // Of a mix the skip goes, never the path it was added to.
            Layer::Mix => 1..2,
            Layer::Add | Layer::Concat => 0..node.inputs.len(),
            Layer::Input
            | Layer::Conv(_)
            | Layer::BatchNorm { .. }
            | Layer::GroupNorm { .. }
            | Layer::Activation(_)
            | Layer::Prelu
            | Layer::Scale { .. }
            | Layer::Dropout { .. }
            | Layer::Pool { .. }
            | Layer::GlobalAveragePool
            | Layer::LocalResponseNorm { .. }
            | Layer::ChannelShuffle { .. }
            | Layer::Multiply
            | Layer::Flatten
            | Layer::Linear { .. } => 0..0,
        };
        let mut sites = Vec::new();
        for node in architecture.nodes() {
            for position in positions(node) {
                let read_elsewhere = architecture.is_shared(node.inputs[position]);
                let possible =
                    !matches!(node.layer, Layer::Concat) || readers(architecture, node, position).is_some();
                if read_elsewhere && possible {
                    sites.push(Site::new(&[node.id], position));
                }
            }
        }
        sites
    }

    fn rewrite(&self, architecture: &Architecture, site: &Site, _seed: u64) -> Result<Rewrite> {
        let (&[merge], true) = (site.layers.as_slice(), self.sites(architecture).contains(site)) else {
            return Err(no_site(
                self,
                site,
                "expected a merging layer and an input of it that is read elsewhere",
            ));
        };
        let node = architecture.node(merge);
        let mut draft = architecture.draft();
        let lost = match node.layer {
            Layer::Concat => readers(architecture, node, site.amount).unwrap_or_default(),
            _ => BTreeMap::new(),
        };
        for (&id, range) in &lost {
            narrow(architecture, &mut draft, id, range.len());
        }
        remove_input(&mut draft, node, site.amount);
        let child = draft.build()?;
        let mut inheritance = Inheritance::keep(architecture, &child);
        for (&id, range) in &lost {
            inherit(architecture, &mut inheritance, id, range);
        }
        Ok(Rewrite { architecture: child, inheritance })
    }
}

fn remove_input(draft: &mut Draft, node: &Node, position: usize) {
    if node.inputs.len() > 2 {
        draft.inputs_mut(node.id).into_iter().for_each(|inputs| {
            inputs.remove(position);
        });
    } else {
        // With one input left there is nothing to merge.
        draft.inputs_mut(node.id).into_iter().for_each(|inputs| inputs.swap(0, 1 - position));
        draft.bypass(node.id);
    }
}

/// The layers with parameters behind a concatenation, up to the kernels that mix channels, each with the slices of
/// its channel axis that come from the input at `position`. None if the channels meet another merging layer, a
/// grouped convolution, a group or local response norm, a shuffle or the output, where they cannot be removed.
fn readers(
    architecture: &Architecture,
    concat: &Node,
    position: usize,
) -> Option<BTreeMap<LayerId, Range<usize>>> {
    let before: usize = concat.inputs[..position].iter().map(|&id| architecture.shape(id).channels()).sum();
    let range = before..before + architecture.shape(concat.inputs[position]).channels();
    let mut lost = BTreeMap::new();
    let mut open = vec![(concat.id, range)];
    while let Some((id, range)) = open.pop() {
        for (reader, _) in architecture.consumers(id) {
            let node = architecture.node(reader);
            let channels = architecture.input_shape(node).channels();
            let stretched = |by: usize| range.start * by..range.end * by;
            match node.layer {
                Layer::Conv(conv) if conv.is_depthwise(channels) => {
                    lost.insert(reader, stretched(conv.out_channels / channels));
                    open.push((reader, stretched(conv.out_channels / channels)));
                }
                Layer::Conv(Conv { groups: 1, .. }) | Layer::Linear { .. } => {
                    lost.insert(reader, range.clone());
                }
                Layer::BatchNorm { .. }
                | Layer::Prelu
                | Layer::GroupNorm { grouping: Grouping::All | Grouping::Each, .. } => {
                    lost.insert(reader, range.clone());
                    open.push((reader, range.clone()));
                }
                Layer::Activation(_)
                | Layer::Scale { .. }
                | Layer::Dropout { .. }
                | Layer::Pool { .. }
                | Layer::GlobalAveragePool => open.push((reader, range.clone())),
                Layer::Flatten => {
                    let (height, width) = architecture.input_shape(node).spatial();
                    open.push((reader, stretched(height * width)));
                }
                Layer::Conv(_)
                | Layer::GroupNorm { grouping: Grouping::Groups(_), .. }
                | Layer::LocalResponseNorm { .. }
                | Layer::ChannelShuffle { .. }
                | Layer::Add
                | Layer::Multiply
                | Layer::Mix
                | Layer::Concat
                | Layer::Input => return None,
            }
            if reader == architecture.output() && !matches!(node.layer, Layer::Linear { .. }) {
                return None;
            }
        }
    }
    Some(lost)
}

/// Takes channels from a depthwise convolution; other layers know theirs from their input.
fn narrow(architecture: &Architecture, draft: &mut Draft, id: LayerId, lost: usize) {
    let channels = architecture.input_shape(architecture.node(id)).channels();
    if let Some(Layer::Conv(conv)) = draft.layer_mut(id)
        && conv.is_depthwise(channels)
    {
        let multiplier = conv.out_channels / channels;
        conv.groups -= lost / multiplier;
        conv.out_channels -= lost;
    }
}

fn inherit(architecture: &Architecture, inheritance: &mut Inheritance, id: LayerId, lost: &Range<usize>) {
    let node = architecture.node(id);
    let channels = architecture.input_shape(node).channels();
    let follows = match node.layer {
        Layer::Conv(conv) => conv.is_depthwise(channels),
        _ => node.layer.is_norm() || node.layer == Layer::Prelu,
    };
    for (role, shape) in node.layer.parameters(channels) {
        let axis = usize::from(!follows);
        if follows || role == Role::Weight {
            let kept: Vec<usize> = (0..shape[axis]).filter(|slice| !lost.contains(slice)).collect();
            inheritance.change(ParamKey::new(id, role), |source: Source| source.gather(axis, kept, None));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Shape;

    #[test]
    fn kernels_behind_a_concatenation_lose_the_channels() {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let a = draft.conv_bn_relu(draft.input(), Conv::same(3, 3));
        let b = draft.conv_bn_relu(a, Conv::same(2, 3));
        let concat = draft.push(Layer::Concat, &[b, a]);
        let norm = draft.push(Layer::BATCH_NORM, &[concat]);
        let flat = draft.push(Layer::Flatten, &[norm]);
        let logits = draft.push(Layer::Linear { out_features: 2, bias: true }, &[flat]);
        draft.set_output(logits);
        let parent = draft.build().unwrap();
        let sites = DropSkip.sites(&parent);
        assert_eq!(sites, [Site::new(&[concat], 1)], "a is read elsewhere, b is not");
        let rewrite = DropSkip.rewrite(&parent, &sites[0], 0).unwrap();
        let parameters = rewrite.architecture.parameters();
        assert_eq!(parameters[&ParamKey::new(logits, Role::Weight)], [2, 2 * 16]);
        assert_eq!(parameters[&ParamKey::new(norm, Role::Gamma)], [2]);
        let Source::Gather { index, .. } = &rewrite.inheritance.sources[&ParamKey::new(norm, Role::Mean)]
        else {
            panic!("expected a gather")
        };
        assert_eq!(index, &crate::inheritance::Index::Fixed(vec![0, 1]));
    }

    #[test]
    fn it_does_not_apply_to_a_chain() {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let a = draft.conv_bn_relu(draft.input(), Conv::same(3, 3));
        draft.head(a, 2);
        let parent = draft.build().unwrap();
        assert!(DropSkip.sites(&parent).is_empty());
        assert!(DropSkip.rewrite(&parent, &Site::new(&[a], 1), 0).is_err());
    }

    #[test]
    fn a_depthwise_convolution_behind_a_concatenation_loses_the_channels_too() {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let a = draft.conv_bn_relu(draft.input(), Conv::same(3, 3));
        let b = draft.conv_bn_relu(a, Conv::same(2, 3));
        let concat = draft.push(Layer::Concat, &[a, b]);
        let doubled = Conv { out_channels: 10, bias: true, ..Conv::depthwise(5, 3) };
        let depthwise = draft.push(Layer::Conv(doubled), &[concat]);
        draft.head(depthwise, 2);
        let parent = draft.build().unwrap();
        let rewrite = DropSkip.rewrite(&parent, &Site::new(&[concat], 0), 0).unwrap();
        // Two channels stay of each of the two that b has.
        let kept = Layer::Conv(Conv { out_channels: 4, groups: 2, ..doubled });
        assert_eq!(rewrite.architecture.node(depthwise).layer, kept);
        for role in [Role::Weight, Role::Bias] {
            let key = ParamKey::new(depthwise, role);
            let gathered = Source::Parent(key).gather(0, vec![6, 7, 8, 9], None);
            assert_eq!(rewrite.inheritance.sources[&key], gathered);
        }
    }
}
