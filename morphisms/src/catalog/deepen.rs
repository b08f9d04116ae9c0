//! Inserts a convolution, a batch norm and a ReLU after a ReLU.
//!
//! ```text
//! relu ──► readers     becomes     relu ──► conv kxk ──► batch norm ──► relu ──► readers
//! ```
//!
//! The kernel is a Dirac impulse, so the convolution is the identity; the batch norm scales and shifts back what it
//! normalises, `gamma = sqrt(variance + eps)`, `beta = mean`; and ReLU is idempotent, `relu(relu(x)) = relu(x)`.
//! Chen, Goodfellow, Shlens, "Net2Net", ICLR 2016, section 2.3; Elsken et al., LEMONADE, ICLR 2019, section 3.1.

use crate::Result;
use crate::architecture::Architecture;
use crate::inheritance::{Inheritance, Source};
use crate::layer::{Conv, Layer, Role, Shape};
use crate::morphism::{Morphism, Promise, Rewrite, Site, no_site};

/// Kernel sizes on offer.
const KERNELS: [usize; 2] = [3, 5];

/// See the [module](self) text. A site is the ReLU and the kernel size.
pub struct Deepen;

impl Morphism for Deepen {
    fn name(&self) -> &'static str {
        "deepen"
    }

    fn summary(&self) -> &'static str {
        "inserts convolution, batch norm and ReLU after a ReLU"
    }

    fn promise(&self) -> Promise {
        Promise::Exact
    }

    fn sites(&self, architecture: &Architecture) -> Vec<Site> {
        let relus = architecture.nodes().filter(|node| matches!(node.layer, Layer::Relu));
        relus.flat_map(|node| kernels(node.shape).map(|kernel| Site::new(&[node.id], kernel))).collect()
    }

    fn rewrite(&self, architecture: &Architecture, site: &Site, _seed: u64) -> Result<Rewrite> {
        if !self.sites(architecture).contains(site) {
            return Err(no_site(self, site, "expected a ReLU on a map that the kernel fits into"));
        }
        let (relu, kernel) = (site.layers[0], site.amount);
        let channels = architecture.shape(relu).channels();
        let mut draft = architecture.draft();
        let conv = draft.push(Layer::Conv(Conv::same(channels, kernel)), &[]);
        let norm = draft.push(Layer::BATCH_NORM, &[conv]);
        let end = draft.push(Layer::Relu, &[norm]);
        draft.redirect(relu, end);
        draft.inputs_mut(conv).into_iter().for_each(|inputs| inputs.push(relu));
        let child = draft.build()?;
        let mut inheritance = Inheritance::keep(architecture, &child);
        inheritance.set(conv, Role::Weight, Source::Dirac { channels, kernel: (kernel, kernel) });
        inheritance.identity_norm(norm, relu, Layer::EPS);
        Ok(Rewrite { architecture: child, inheritance })
    }
}

/// The kernels that fit into a map; none for a vector.
pub(super) fn kernels(shape: Shape) -> impl Iterator<Item = usize> {
    // A larger kernel would have taps that only ever see padding.
    let fits = move |kernel: &usize| kernel / 2 < shape.spatial().0.min(shape.spatial().1);
    KERNELS.into_iter().filter(move |kernel| matches!(shape, Shape::Map { .. }) && fits(kernel))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::Draft;

    #[test]
    fn it_adds_three_layers_behind_the_relu() {
        let mut draft = Draft::new(Shape::map(1, 8, 8));
        let relu = draft.conv_bn_relu(draft.input(), Conv::same(4, 3));
        draft.head(relu, 2);
        let parent = draft.build().unwrap();
        let sites = Deepen.sites(&parent);
        assert_eq!(sites, [Site::new(&[relu], 3), Site::new(&[relu], 5)]);
        let child = Deepen.rewrite(&parent, &sites[0], 0).unwrap().architecture;
        assert_eq!(child.nodes().len(), parent.nodes().len() + 3);
        assert_eq!(child.parameter_count(), parent.parameter_count() + 4 * 4 * 9 + 8);
    }

    #[test]
    fn it_does_not_apply_without_a_relu_on_a_map() {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let flat = draft.push(Layer::Flatten, &[draft.input()]);
        let hidden = draft.push(Layer::Linear { out_features: 8, bias: true }, &[flat]);
        let relu = draft.push(Layer::Relu, &[hidden]);
        let logits = draft.push(Layer::Linear { out_features: 2, bias: true }, &[relu]);
        draft.set_output(logits);
        let parent = draft.build().unwrap();
        assert!(Deepen.sites(&parent).is_empty());
        assert!(Deepen.rewrite(&parent, &Site::new(&[relu], 3), 0).is_err());
    }
}
