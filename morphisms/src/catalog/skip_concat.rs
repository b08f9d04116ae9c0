//! Adds a concatenation skip.
//!
//! ```text
//! a ──► ... ──► x ──► conv     becomes     a ──► ... ──► x ──► concat ──► conv
//!                                          └────────────────────►┘
//! ```
//!
//! The convolution, or linear layer, that reads the concatenation starts with zero weights for the new channels:
//! `[W 0] [x; a] = W x`. They sit on that one edge, so no other reader of x changes. Elsken et al., LEMONADE, ICLR
//! 2019, section 3.1.

use crate::Result;
use crate::architecture::{Architecture, Node, ParamKey};
use crate::inheritance::{Inheritance, Source};
use crate::layer::{Layer, LayerId, Role};
use crate::morphism::{Morphism, Promise, Rewrite, Site, no_site};
use crate::reach::Reach;

/// See the [module](self) text. A site is the layer a and the layer that reads the concatenation.
pub struct SkipConcat;

/// Whether a skip may start at a layer: where a block ends, not inside of convolution, normalisation, activation.
pub(super) fn starts_skip(node: &Node) -> bool {
    !(node.layer.is_norm() || matches!(node.layer, Layer::Conv(_) | Layer::Linear { .. }))
}

impl Morphism for SkipConcat {
    fn name(&self) -> &'static str {
        "skip_concat"
    }

    fn summary(&self) -> &'static str {
        "feeds an earlier tensor to a convolution or linear layer, by concatenation"
    }

    fn promise(&self) -> Promise {
        Promise::Exact
    }

    fn sites(&self, architecture: &Architecture) -> Vec<Site> {
        let reach = Reach::of(architecture);
        let mut sites = Vec::new();
        for (later, reader) in architecture.nodes().enumerate().filter(|(_, node)| is_dense(&node.layer)) {
            for (earlier, from) in architecture.nodes().enumerate() {
                if fits(architecture, from, reader) && !reach.depends(earlier, later) {
                    sites.push(Site::new(&[from.id, reader.id], 0));
                }
            }
        }
        sites
    }

    fn rewrite(&self, architecture: &Architecture, site: &Site, _seed: u64) -> Result<Rewrite> {
        let (&[from, reader], true) = (site.layers.as_slice(), is_site(architecture, site)) else {
            return Err(no_site(
                self,
                site,
                "expected an earlier tensor of the size that a dense layer reads",
            ));
        };
        let x = architecture.node(reader).inputs[0];
        let mut draft = architecture.draft();
        join(architecture, &mut draft, x, from, reader);
        let child = draft.build()?;
        let mut inheritance = Inheritance::keep(architecture, &child);
        let key = ParamKey::new(reader, Role::Weight);
        let mut shape = architecture.parameter(key).expect("a site has a weight");
        shape[1] = architecture.shape(from).channels();
        let zeros = Source::Constant { shape, value: 0.0 };
        inheritance.change(key, |weight| Source::Join { of: vec![weight, zeros], axis: 1 });
        Ok(Rewrite { architecture: child, inheritance })
    }
}

/// Whether `site` is one of those listed.
fn is_site(architecture: &Architecture, site: &Site) -> bool {
    let &[from, reader] = site.layers.as_slice() else { return false };
    let (Some(from), Some(reader)) = (architecture.get(from), architecture.get(reader)) else { return false };
    *site == Site::new(&[from.id, reader.id], 0)
        && is_dense(&reader.layer)
        && fits(architecture, from, reader)
        && !architecture.descendants(reader.id).contains(&from.id)
}

/// Whether a dense reader can read `from` beside what it reads, if `from` does not depend on it.
fn fits(architecture: &Architecture, from: &Node, reader: &Node) -> bool {
    let x = architecture.node(reader.inputs[0]);
    let already = x.id == from.id || (matches!(x.layer, Layer::Concat) && x.inputs.contains(&from.id));
    starts_skip(from) && from.shape.same_space(&x.shape) && !already
}

/// Lets `reader` read x and `from`; a concatenation that nobody else reads is extended.
fn join(architecture: &Architecture, draft: &mut crate::Draft, x: LayerId, from: LayerId, reader: LayerId) {
    let own = matches!(architecture.node(x).layer, Layer::Concat) && architecture.only_consumer(x).is_some();
    if own {
        draft.inputs_mut(x).into_iter().for_each(|inputs| inputs.push(from));
    } else {
        let concat = draft.push(Layer::Concat, &[x, from]);
        draft.inputs_mut(reader).into_iter().for_each(|inputs| inputs[0] = concat);
    }
}

fn is_dense(layer: &Layer) -> bool {
    match layer {
        Layer::Conv(conv) => conv.groups == 1,
        Layer::Linear { .. } => true,
        Layer::Input
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
        | Layer::Add
        | Layer::Multiply
        | Layer::Mix
        | Layer::Concat
        | Layer::Flatten => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::Draft;
    use crate::layer::{Conv, Shape};

    #[test]
    fn the_reader_gets_more_channels_and_others_do_not() {
        let mut draft = Draft::new(Shape::map(1, 8, 8));
        let a = draft.conv_bn_relu(draft.input(), Conv::same(4, 3));
        let b = draft.conv_bn_relu(a, Conv::same(6, 3));
        let c = draft.push(Layer::Conv(Conv::same(5, 3)), &[b]);
        let d = draft.push(Layer::Conv(Conv::same(5, 1)), &[b]);
        let sum = draft.push(Layer::Add, &[c, d]);
        draft.head(sum, 2);
        let parent = draft.build().unwrap();
        let rewrite = SkipConcat.rewrite(&parent, &Site::new(&[a, c], 0), 0).unwrap();
        let parameters = rewrite.architecture.parameters();
        assert_eq!(parameters[&ParamKey::new(c, Role::Weight)], [5, 10, 3, 3]);
        assert_eq!(parameters[&ParamKey::new(d, Role::Weight)], [5, 6, 1, 1]);
    }

    #[test]
    fn it_does_not_apply_across_sizes_or_backwards() {
        let mut draft = Draft::new(Shape::map(1, 8, 8));
        let a = draft.conv_bn_relu(draft.input(), Conv::same(4, 3));
        let pooled = draft.max_pool(a, 2);
        let conv = draft.push(Layer::Conv(Conv::same(4, 3)), &[pooled]);
        let relu = draft.push(Layer::RELU, &[conv]);
        draft.head(relu, 2);
        let parent = draft.build().unwrap();
        for from in [a, relu] {
            assert!(SkipConcat.rewrite(&parent, &Site::new(&[from, conv], 0), 0).is_err());
        }
    }

    #[test]
    fn a_skip_starts_where_a_block_ends() {
        let mut draft = Draft::new(Shape::map(1, 8, 8));
        let a = draft.conv_bn_relu(draft.input(), Conv::same(4, 3));
        let b = draft.conv_bn_relu(a, Conv::same(4, 3));
        let reader = draft.push(Layer::Conv(Conv::same(4, 3)), &[b]);
        draft.head(reader, 2);
        let sites = SkipConcat.sites(&draft.build().unwrap());
        let mut starts: Vec<LayerId> =
            sites.iter().filter(|site| site.layers[1] == reader).map(|site| site.layers[0]).collect();
        starts.sort_unstable();
        assert_eq!(starts, [LayerId(0), a]);
    }

    #[test]
    fn a_concatenation_takes_what_it_has_not_yet() {
        let mut draft = Draft::new(Shape::map(1, 8, 8));
        let [a, b, c] = [1, 3, 5].map(|kernel| draft.conv_bn_relu(draft.input(), Conv::same(4, kernel)));
        let joined = draft.push(Layer::Concat, &[b, c]);
        let sum = draft.push(Layer::Add, &[a, b]);
        let readers = [joined, sum].map(|x| draft.push(Layer::Conv(Conv::same(4, 1)), &[x]));
        let both = draft.push(Layer::Add, &readers);
        draft.head(both, 2);
        let sites = SkipConcat.sites(&draft.build().unwrap());
        let offered = |reader| [a, b, c].map(|from| sites.contains(&Site::new(&[from, reader], 0)));
        // What a sum adds up is not yet to be read by itself.
        assert_eq!(readers.map(offered), [[true, false, false], [true, true, true]]);
    }

    /// Whatever was found in another architecture, or written by hand.
    #[test]
    fn it_applies_to_the_sites_listed_and_to_no_others() {
        let mut draft = Draft::new(Shape::map(4, 8, 8));
        let a = draft.conv_bn_relu(draft.input(), Conv::same(4, 3));
        let b = draft.conv_bn_relu(a, Conv::same(4, 3));
        let joined = draft.push(Layer::Concat, &[b, a]);
        let grouped = draft.conv_bn_relu(joined, Conv { groups: 2, ..Conv::same(4, 3) });
        let c = draft.conv_bn_relu(grouped, Conv::same(4, 1));
        let flat = draft.push(Layer::Flatten, &[c]);
        let hidden = draft.push(Layer::Linear { out_features: 5, bias: true }, &[flat]);
        let relu = draft.push(Layer::RELU, &[hidden]);
        let logits = draft.push(Layer::Linear { out_features: 5, bias: true }, &[relu]);
        draft.set_output(logits);
        let parent = draft.build().unwrap();
        let sites = SkipConcat.sites(&parent);
        let ids: Vec<LayerId> = (0..=logits.0 + 1).map(LayerId).collect();
        for site in ids.iter().flat_map(|&from| ids.iter().map(move |&to| Site::new(&[from, to], 0))) {
            assert_eq!(SkipConcat.rewrite(&parent, &site, 0).is_ok(), sites.contains(&site), "{site}");
        }
        assert!(SkipConcat.rewrite(&parent, &Site { amount: 1, ..sites[0].clone() }, 0).is_err());
    }
}
