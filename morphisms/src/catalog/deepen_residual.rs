//! Adds a residual branch that starts as zero.
//!
//! ```text
//! x ──► readers     becomes     x ──► conv kxk ──► batch norm ──► relu ──► conv 1x1 ──► add ──► readers
//!                               └──────────────────────────────────────────────────────►┘
//! ```
//!
//! `x + F(x)` with `F(x) = W relu(norm(V * x))`, V drawn anew and `W = 0`, so `F(x) = 0` whatever x is: it needs no
//! activation before it, no batch to calibrate on, and holds in training mode. W gets a gradient at the first step,
//! because what it reads is not zero, and the rest at the second, when W is not. Residual branches that start as zero
//! by their last factor: Goyal et al., "Accurate, large minibatch SGD", 2017, section 5.1 (gamma of the last batch norm);
//! Zhang et al., "Fixup initialization", ICLR 2019, section 3 (the last layer's weights, as here); Bachlechner et al.,
//! "ReZero is all you need", UAI 2021, section 3 (a factor of its own).
//!
//! The last convolution is 1x1: the first one looks around already, and a second kxk would double the price. On a vector
//! F is two linear layers with a ReLU between them.

use super::deepen::kernels;
use crate::Result;
use crate::architecture::{Architecture, Draft, Node, ParamKey};
use crate::inheritance::{Inheritance, Source};
use crate::layer::{Conv, Layer, LayerId, Role, Shape};
use crate::morphism::{Morphism, Promise, Rewrite, Site, no_site};
use crate::resize::fresh;

/// See the [module](self) text. A site is the layer that makes x, and on a map the kernel size.
///
/// The image is none: F is as wide as x, so of an image it would be two or three units. Nor is a flattened map, where a
/// matrix of its size squared would dwarf the network, and the map before it is a site.
pub struct DeepenResidual;

impl Morphism for DeepenResidual {
    fn name(&self) -> &'static str {
        "deepen_residual"
    }

    fn summary(&self) -> &'static str {
        "adds a residual branch that starts as zero, anywhere"
    }

    fn promise(&self) -> Promise {
        Promise::Exact
    }

    fn sites(&self, architecture: &Architecture) -> Vec<Site> {
        architecture.nodes().flat_map(|node| sites_at(architecture, node)).collect()
    }

    fn rewrite(&self, architecture: &Architecture, site: &Site, seed: u64) -> Result<Rewrite> {
        let x = site.layers.first().and_then(|&x| architecture.get(x));
        let is_site = |x: &&Node| sites_at(architecture, x).contains(site);
        let Some(x) = x.filter(is_site).map(|x| x.id) else {
            let expected =
                "expected a tensor between image and logits, and on a map a kernel that fits into it";
            return Err(no_site(self, site, expected));
        };
        let mut draft = architecture.draft();
        let sum = draft.push(Layer::Add, &[x]);
        draft.redirect(x, sum);
        let last = residual(&mut draft, x, architecture.shape(x), site.amount);
        draft.inputs_mut(sum).into_iter().for_each(|inputs| inputs.push(last));
        let child = draft.build()?;
        let mut inheritance = Inheritance::keep(architecture, &child);
        for node in child.nodes().filter(|node| architecture.get(node.id).is_none()) {
            for (role, shape) in node.layer.parameters(child.input_shape(node).channels()) {
                let key = ParamKey::new(node.id, role);
                let source = match key == ParamKey::new(last, Role::Weight) {
                    true => Source::Constant { shape, value: 0.0 },
                    false => fresh(key, &shape, 0, shape[0], seed),
                };
                inheritance.set(node.id, role, source);
            }
        }
        Ok(Rewrite { architecture: child, inheritance })
    }
}

/// The sites at which the output of `node` is x.
fn sites_at(architecture: &Architecture, node: &Node) -> Vec<Site> {
    let kernels: Vec<usize> = match node.shape {
        _ if !may_be_x(architecture, node) => Vec::new(),
        Shape::Map { .. } => kernels(node.shape).collect(),
        Shape::Vector(_) => vec![0],
    };
    kernels.into_iter().map(|kernel| Site::new(&[node.id], kernel)).collect()
}

/// Whether the output of `node` may become x.
fn may_be_x(architecture: &Architecture, node: &Node) -> bool {
    let flattened =
        matches!(node.layer, Layer::Flatten) && architecture.input_shape(node).spatial() != (1, 1);
    !flattened && !matches!(node.layer, Layer::Input) && node.id != architecture.output()
}

/// Appends F to x, all of one shape; returns its last layer, the one that starts as zero.
fn residual(draft: &mut Draft, x: LayerId, shape: Shape, kernel: usize) -> LayerId {
    match shape {
        Shape::Map { channels, .. } => {
            let hidden = draft.conv_bn_relu(x, Conv::same(channels, kernel));
            draft.push(Layer::Conv(Conv::same(channels, 1)), &[hidden])
        }
        Shape::Vector(out_features) => {
            let hidden = draft.push(Layer::Linear { out_features, bias: true }, &[x]);
            let relu = draft.push(Layer::RELU, &[hidden]);
            draft.push(Layer::Linear { out_features, bias: false }, &[relu])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_between_a_convolution_and_its_batch_norm_too() {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let relu = draft.conv_bn_relu(draft.input(), Conv::same(3, 3));
        draft.head(relu, 2);
        let parent = draft.build().unwrap();
        let conv = LayerId(1);
        let site = Site::new(&[conv], 3);
        assert!(DeepenResidual.sites(&parent).contains(&site));
        let Rewrite { architecture: child, inheritance } = DeepenResidual.rewrite(&parent, &site, 0).unwrap();
        let sum = child.node(LayerId(2)).inputs[0];
        assert_eq!(child.node(sum).inputs[0], conv);
        let last = ParamKey::new(child.node(sum).inputs[1], Role::Weight);
        assert_eq!(inheritance.sources[&last], Source::Constant { shape: vec![3, 3, 1, 1], value: 0.0 });
        assert_eq!(child.parameter_count() - parent.parameter_count(), 3 * 3 * 9 + 6 + 3 * 3);
    }

    #[test]
    fn vectors_grow_linear_layers() {
        let mut draft = Draft::new(Shape::map(3, 1, 1));
        let flat = draft.push(Layer::Flatten, &[draft.input()]);
        let logits = draft.push(Layer::Linear { out_features: 2, bias: true }, &[flat]);
        draft.set_output(logits);
        let parent = draft.build().unwrap();
        let site = Site::new(&[flat], 0);
        assert_eq!(DeepenResidual.sites(&parent), std::slice::from_ref(&site));
        let child = DeepenResidual.rewrite(&parent, &site, 0).unwrap().architecture;
        assert_eq!(child.parameter_count() - parent.parameter_count(), 3 * 3 + 3 + 3 * 3);
    }

    #[test]
    fn it_does_not_apply_to_image_logits_or_a_flattened_map() {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let flat = draft.push(Layer::Flatten, &[draft.input()]);
        let logits = draft.push(Layer::Linear { out_features: 2, bias: true }, &[flat]);
        draft.set_output(logits);
        let parent = draft.build().unwrap();
        assert!(DeepenResidual.sites(&parent).is_empty());
        for site in [Site::new(&[LayerId(0)], 3), Site::new(&[flat], 0), Site::new(&[logits], 0)] {
            assert!(DeepenResidual.rewrite(&parent, &site, 0).is_err(), "{site}");
        }
    }
}
