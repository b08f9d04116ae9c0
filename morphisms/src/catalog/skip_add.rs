//! Adds a convex-combination skip.
//!
//! ```text
//! a ──► ... ──► x ──► readers     becomes     a ──► ... ──► x ──► mix ──► readers
//!                                             └───────────────────►┘
//! ```
//!
//! `mix = (1 - lambda) x + lambda a`, lambda learnable, unconstrained and 0 at first, so the sum is x. Its gradient
//! is that of `a - x`, which is not zero. Elsken et al., LEMONADE, ICLR 2019, section 3.1.

use super::skip_concat::starts_skip;
use crate::Result;
use crate::architecture::{Architecture, Node};
use crate::inheritance::{Inheritance, Source};
use crate::layer::{Layer, LayerId, Role};
use crate::morphism::{Morphism, Promise, Rewrite, Site, no_site};
use crate::reach::Reach;

/// See the [module](self) text. A site is the layer a and the layer x.
pub struct SkipAdd;

impl Morphism for SkipAdd {
    fn name(&self) -> &'static str {
        "skip_add"
    }

    fn summary(&self) -> &'static str {
        "mixes an earlier tensor of the same shape into a tensor, with a learnable factor"
    }

    fn promise(&self) -> Promise {
        Promise::Exact
    }

    fn sites(&self, architecture: &Architecture) -> Vec<Site> {
        let reach = Reach::of(architecture);
        let mut sites = Vec::new();
        for (later, x) in architecture.nodes().enumerate().filter(|(_, x)| ends_skip(architecture, x)) {
            let mixed = mixed(architecture, x);
            for (earlier, from) in architecture.nodes().enumerate() {
                if fits(from, x) && !reach.depends(earlier, later) && !mixed.contains(&from.id) {
                    sites.push(Site::new(&[from.id, x.id], 0));
                }
            }
        }
        sites
    }

    fn rewrite(&self, architecture: &Architecture, site: &Site, _seed: u64) -> Result<Rewrite> {
        let (&[from, x], true) = (site.layers.as_slice(), is_site(architecture, site)) else {
            return Err(no_site(
                self,
                site,
                "expected two tensors of one shape, the first not behind the second",
            ));
        };
        let mut draft = architecture.draft();
        let mix = draft.push(Layer::Mix, &[]);
        draft.redirect(x, mix);
        draft.inputs_mut(mix).into_iter().for_each(|inputs| inputs.extend([x, from]));
        let child = draft.build()?;
        let mut inheritance = Inheritance::keep(architecture, &child);
        inheritance.set(mix, Role::Lambda, Source::Constant { shape: vec![1], value: 0.0 });
        Ok(Rewrite { architecture: child, inheritance })
    }
}

/// Whether `site` is one of those listed.
fn is_site(architecture: &Architecture, site: &Site) -> bool {
    let &[from, x] = site.layers.as_slice() else { return false };
    let (Some(from), Some(x)) = (architecture.get(from), architecture.get(x)) else { return false };
    *site == Site::new(&[from.id, x.id], 0)
        && ends_skip(architecture, x)
        && fits(from, x)
        && !architecture.descendants(x.id).contains(&from.id)
        && !mixed(architecture, x).contains(&from.id)
}

/// Whether `from` can be mixed into x, where a skip may end, if it does not depend on it.
fn fits(from: &Node, x: &Node) -> bool {
    from.shape == x.shape && starts_skip(from)
}

/// A skip may end behind a normalisation too, before its activation, as in residual networks.
fn ends_skip(architecture: &Architecture, x: &Node) -> bool {
    (starts_skip(x) || x.layer.is_norm()) && !matches!(x.layer, Layer::Input) && x.id != architecture.output()
}

/// What x is mixed with already.
fn mixed(architecture: &Architecture, x: &Node) -> Vec<LayerId> {
    let readers = architecture.consumers(x.id).into_iter().map(|(reader, _)| architecture.node(reader));
    let mixes = readers.chain([x]).filter(|node| matches!(node.layer, Layer::Mix));
    mixes.flat_map(|mix| mix.inputs.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::Draft;
    use crate::layer::{Conv, Shape};

    #[test]
    fn the_mix_stands_between_x_and_its_readers() {
        let mut draft = Draft::new(Shape::map(1, 8, 8));
        let a = draft.conv_bn_relu(draft.input(), Conv::same(4, 3));
        let x = draft.conv_bn_relu(a, Conv::same(4, 3));
        draft.head(x, 2);
        let parent = draft.build().unwrap();
        let site = Site::new(&[a, x], 0);
        let child = SkipAdd.rewrite(&parent, &site, 0).unwrap().architecture;
        assert_eq!(child.parameter_count(), parent.parameter_count() + 1);
        let mix = child.only_consumer(x).unwrap();
        assert!(matches!(mix.layer, Layer::Mix) && mix.inputs == [x, a]);
        assert!(!SkipAdd.sites(&child).contains(&site), "the same skip twice");
    }

    #[test]
    fn it_does_not_apply_between_different_shapes() {
        let mut draft = Draft::new(Shape::map(1, 8, 8));
        let a = draft.conv_bn_relu(draft.input(), Conv::same(4, 3));
        let x = draft.conv_bn_relu(a, Conv::same(5, 3));
        draft.head(x, 2);
        let parent = draft.build().unwrap();
        assert!(SkipAdd.rewrite(&parent, &Site::new(&[a, x], 0), 0).is_err());
    }

    #[test]
    fn a_skip_ends_behind_a_block_or_its_normalisation_and_not_at_the_logits() {
        let mut draft = Draft::new(Shape::map(4, 8, 8));
        let relu = draft.conv_bn_relu(draft.input(), Conv::same(4, 3));
        let mut x = draft.push(Layer::Flatten, &[relu]);
        for _ in 0..2 {
            let linear = draft.push(Layer::Linear { out_features: 5, bias: true }, &[x]);
            x = draft.push(Layer::RELU, &[linear]);
        }
        draft.set_output(x);
        let sites = [2, 3].map(|end| Site::new(&[LayerId(0), LayerId(end)], 0));
        assert_eq!(SkipAdd.sites(&draft.build().unwrap()), sites);
    }

    /// Whatever was found in another architecture, or written by hand.
    #[test]
    fn it_applies_to_the_sites_listed_and_to_no_others() {
        let mut draft = Draft::new(Shape::map(4, 8, 8));
        let a = draft.conv_bn_relu(draft.input(), Conv::same(4, 3));
        let b = draft.conv_bn_relu(a, Conv::same(4, 3));
        let mixed = draft.push(Layer::Mix, &[b, a]);
        let c = draft.conv_bn_relu(mixed, Conv::same(4, 1));
        let flat = draft.push(Layer::Flatten, &[c]);
        let hidden = draft.push(Layer::Linear { out_features: 5, bias: true }, &[flat]);
        let relu = draft.push(Layer::RELU, &[hidden]);
        let logits = draft.push(Layer::Linear { out_features: 5, bias: true }, &[relu]);
        draft.set_output(logits);
        let parent = draft.build().unwrap();
        let sites = SkipAdd.sites(&parent);
        let ids: Vec<LayerId> = (0..=logits.0 + 1).map(LayerId).collect();
        for site in ids.iter().flat_map(|&from| ids.iter().map(move |&to| Site::new(&[from, to], 0))) {
            assert_eq!(SkipAdd.rewrite(&parent, &site, 0).is_ok(), sites.contains(&site), "{site}");
        }
        assert!(SkipAdd.rewrite(&parent, &Site { amount: 1, ..sites[0].clone() }, 0).is_err());
    }
}
