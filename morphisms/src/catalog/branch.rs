//! Splits a path into two that sum to it.
//!
//! ```text
//! x ──► conv ──► batch norm ──► relu ──► readers
//!
//! becomes     x ──► conv ──► batch norm ──► relu ──► add ──► readers
//!             └───► conv ──► batch norm ──► relu ────►┘
//! ```
//!
//! ReLU is positively homogeneous, as are leaky ReLU and PReLU: `relu(a z) + relu((1 - a) z) = relu(z)` for `0 < a < 1`. So both paths are copies but
//! for their last affine factor, scale and shift of the normalisation or, without one, kernel and bias: `a` times it in
//! one, `1 - a` times it in the other. Batch statistics are those of the parent in both, so training mode agrees too.
//! Cai et al., "Path-level network transformation for efficient architecture search", ICML 2018, section 3.1
//! (replication and addition; there every branch is divided by their number).
//!
//! Here the shares are unequal. Halves would make twins that are equal, get equal gradients and stay equal for ever; so
//! shared out, the gradients of the two kernels are in the proportion of the shares (with a batch norm) or the kernels
//! themselves are (without). Each channel draws its own share, and a coin decides which path gets the larger part, so
//! that neither path is the weaker.
//!
//! A path that ends without an activation is no site: the sum of two convolutions of one size is one such convolution, so
//! the child would cost twice as much for the same functions.

use rand::RngExt;

use crate::Result;
use crate::architecture::{Architecture, Node, ParamKey};
use crate::inheritance::{Inheritance, Source};
use crate::init::Seed;
use crate::layer::{Layer, LayerId};
use crate::morphism::{Morphism, Promise, Rewrite, Site, no_site};

/// See the [module](self) text. A site is the convolution.
pub struct Branch;

impl Morphism for Branch {
    fn name(&self) -> &'static str {
        "branch"
    }

    fn summary(&self) -> &'static str {
        "splits a convolution with its normalisation and ReLU into two that sum to it"
    }

    fn promise(&self) -> Promise {
        Promise::Exact
    }

    fn sites(&self, architecture: &Architecture) -> Vec<Site> {
        let starts = |node: &&Node| path(architecture, node).is_some();
        architecture.nodes().filter(starts).map(|node| Site::new(&[node.id], 0)).collect()
    }

    fn rewrite(&self, architecture: &Architecture, site: &Site, seed: u64) -> Result<Rewrite> {
        let start = site.layers.first().and_then(|&conv| architecture.get(conv));
        let start = start.filter(|conv| *site == Site::new(&[conv.id], 0));
        let Some(path) = start.and_then(|conv| path(architecture, conv)) else {
            let expected = "expected a convolution that leads to a ReLU, leaky or not, directly or through a normalisation";
            return Err(no_site(self, site, expected));
        };
        let (child, twins) = doubled(architecture, &path)?;
        let mut inheritance = Inheritance::keep(architecture, &child);
        // The last layer before the activation.
        let factor = path[path.len() - 2];
        let shares = shares(architecture.shape(factor).channels(), seed);
        for (&old, twin) in path.iter().zip(twins) {
            for (role, _) in child.node(old).layer.parameters(child.input_shape(child.node(old)).channels()) {
                let (key, scaled) = (ParamKey::new(old, role), old == factor && role.is_trained());
                inheritance.set(twin, role, share(key, scaled, shares.iter().map(|a| 1.0 - a)));
                inheritance.set(old, role, share(key, scaled, shares.iter().copied()));
            }
        }
        Ok(Rewrite { architecture: child, inheritance })
    }
}

/// A convolution, perhaps a normalisation, and the activation that follows, nothing in between read by anybody else.
fn path(architecture: &Architecture, conv: &Node) -> Option<Vec<LayerId>> {
    if !matches!(conv.layer, Layer::Conv(_)) {
        return None;
    }
    let next = architecture.only_consumer(conv.id)?;
    let norm = Some(next).filter(|node| node.layer.is_norm());
    let end = if norm.is_some() { architecture.only_consumer(next.id)? } else { next };
    let ids = [Some(conv), norm, Some(end)].into_iter().flatten().map(|node| node.id);
    is_homogeneous(&end.layer).then(|| ids.collect())
}

/// Whether `f(a z) = a f(z)` for every positive a.
fn is_homogeneous(layer: &Layer) -> bool {
    match layer {
        Layer::Activation(function) => function.is_homogeneous(),
        // Its slopes are copied.
        Layer::Prelu => true,
        _ => false,
    }
}

/// The architecture with a second path, and that path.
fn doubled(architecture: &Architecture, path: &[LayerId]) -> Result<(Architecture, Vec<LayerId>)> {
    let mut draft = architecture.draft();
    let end = path[path.len() - 1];
    let sum = draft.push(Layer::Add, &[end]);
    draft.redirect(end, sum);
    let mut x = architecture.node(path[0]).inputs[0];
    let mut twins = Vec::new();
    for &layer in path {
        x = draft.push(architecture.node(layer).layer, &[x]);
        twins.push(x);
    }
    draft.inputs_mut(sum).into_iter().for_each(|inputs| inputs.push(x));
    Ok((draft.build()?, twins))
}

/// What the first path gets of each channel: about two thirds or one third.
fn shares(channels: usize, seed: u64) -> Vec<f64> {
    let mut rng = Seed { seed, stream: 0 }.rng();
    let mut share = || {
        let larger = 0.6 + 0.2 * rng.random::<f64>();
        if rng.random_bool(0.5) { larger } else { 1.0 - larger }
    };
    (0..channels).map(|_| share()).collect()
}

/// A parent's parameter, each channel times its share where it is `scaled`.
fn share(key: ParamKey, scaled: bool, shares: impl ExactSizeIterator<Item = f64>) -> Source {
    let all = (0..shares.len()).collect();
    match scaled {
        true => Source::Parent(key).gather(0, all, Some(shares.collect())),
        false => Source::Parent(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::Draft;
    use crate::layer::{Conv, Role, Shape};

    #[test]
    fn the_batch_norm_is_shared_out_and_the_kernel_copied() {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let end = draft.conv_bn_relu(draft.input(), Conv::same(3, 3));
        draft.head(end, 2);
        let parent = draft.build().unwrap();
        let (conv, norm) = (LayerId(1), LayerId(2));
        let sites = Branch.sites(&parent);
        assert_eq!(sites, [Site::new(&[conv], 0)]);
        let Rewrite { architecture: child, inheritance } = Branch.rewrite(&parent, &sites[0], 5).unwrap();
        let sum = child.only_consumer(end).unwrap();
        assert!(matches!(sum.layer, Layer::Add));
        let twin = child.node(child.node(sum.inputs[1]).inputs[0]);
        let of = |layer, role| &inheritance.sources[&ParamKey::new(layer, role)];
        let kernel = Source::Parent(ParamKey::new(conv, Role::Weight));
        assert_eq!([of(conv, Role::Weight), of(twin.inputs[0], Role::Weight)], [&kernel, &kernel]);
        assert_eq!(of(twin.id, Role::Mean), &Source::Parent(ParamKey::new(norm, Role::Mean)));
        let scale = |layer| match of(layer, Role::Gamma) {
            Source::Gather { scale: Some(scale), .. } => scale.clone(),
            other => panic!("expected shares, found {other:?}"),
        };
        for (a, b) in scale(norm).into_iter().zip(scale(twin.id)) {
            assert!((a + b - 1.0).abs() < 1e-15 && (a - b).abs() > 0.19, "{a} and {b}");
        }
    }

    #[test]
    fn it_does_not_apply_to_linear_paths_or_where_somebody_looks_inside() {
        let mut draft = Draft::new(Shape::map(2, 4, 4));
        let linear = draft.push(Layer::Conv(Conv::same(2, 3)), &[draft.input()]);
        let norm = draft.push(Layer::BATCH_NORM, &[linear]);
        let shown = draft.push(Layer::Conv(Conv::same(2, 3)), &[norm]);
        let relu = draft.push(Layer::RELU, &[shown]);
        let sum = draft.push(Layer::Add, &[relu, shown]);
        draft.head(sum, 2);
        let parent = draft.build().unwrap();
        assert!(Branch.sites(&parent).is_empty());
        assert!(Branch.rewrite(&parent, &Site::new(&[shown], 0), 0).is_err());
    }

    #[test]
    fn a_path_may_end_in_a_prelu() {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let conv = draft.push(Layer::Conv(Conv::same(2, 3)), &[draft.input()]);
        let prelu = draft.push(Layer::Prelu, &[conv]);
        draft.head(prelu, 2);
        assert_eq!(Branch.sites(&draft.build().unwrap()), [Site::new(&[conv], 0)]);
    }

    #[test]
    fn shares_are_about_a_third_or_two_thirds() {
        let shares = shares(200, 1);
        assert!(shares.iter().all(|share| (0.2..=0.4).contains(share) || (0.6..=0.8).contains(share)));
        let larger = shares.iter().filter(|share| **share > 0.5).count();
        assert!((60..140).contains(&larger), "{larger} of 200");
    }
}
