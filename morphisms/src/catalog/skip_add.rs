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
        let mut sites = Vec::new();
        for x in architecture.nodes().filter(|node| ends_skip(node) && node.id != architecture.output()) {
            let later = architecture.descendants(x.id);
            for from in architecture.nodes().filter(|from| starts_skip(from) && from.shape == x.shape) {
                if !later.contains(&from.id) && !mixed(architecture, x, from.id) {
                    sites.push(Site::new(&[from.id, x.id], 0));
                }
            }
        }
        sites
    }

    fn rewrite(&self, architecture: &Architecture, site: &Site, _seed: u64) -> Result<Rewrite> {
        let (&[from, x], true) = (site.layers.as_slice(), self.sites(architecture).contains(site)) else {
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

/// A skip may end behind a batch norm too, before its ReLU, as in residual networks.
fn ends_skip(node: &Node) -> bool {
    (starts_skip(node) || matches!(node.layer, Layer::BatchNorm { .. }))
        && !matches!(node.layer, Layer::Input)
}

/// Whether x is mixed with `from` already.
fn mixed(architecture: &Architecture, x: &Node, from: LayerId) -> bool {
    let is_mix = |node: &Node| matches!(node.layer, Layer::Mix) && node.inputs.contains(&from);
    is_mix(x) || architecture.consumers(x.id).iter().any(|&(reader, _)| is_mix(architecture.node(reader)))
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
}
