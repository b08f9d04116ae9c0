//! Inserts a convolution, a batch norm and an activation after an idempotent activation, ReLU or ReLU6.
//!
//! ```text
//! relu ──► readers     becomes     relu ──► conv kxk ──► batch norm ──► relu ──► readers
//! ```
//!
//! The kernel is a Dirac impulse, so the convolution is the identity; the batch norm scales and shifts back what it
//! normalises, `gamma = sqrt(variance + eps)`, `beta = mean`; and the activation is that which is there, with
//! `f(f(x)) = f(x)`. After another one `deepen_residual` applies.
//! Chen, Goodfellow, Shlens, "Net2Net", ICLR 2016, section 2.3; Elsken et al., LEMONADE, ICLR 2019, section 3.1.

use crate::Result;
use crate::architecture::Architecture;
use crate::inheritance::{Inheritance, Source};
use crate::layer::{Conv, Layer, Role, Shape};
use crate::morphism::{Morphism, Promise, Rewrite, Site, no_site};

/// Kernel sizes on offer.
const KERNELS: [usize; 2] = [3, 5];

/// See the [module](self) text. A site is the activation and the kernel size.
pub struct Deepen;

impl Morphism for Deepen {
    fn name(&self) -> &'static str {
        "deepen"
    }

    fn summary(&self) -> &'static str {
        "inserts convolution, batch norm and ReLU after a ReLU, ReLU6 or clip"
    }

    fn promise(&self) -> Promise {
        Promise::Exact
    }

    fn sites(&self, architecture: &Architecture) -> Vec<Site> {
        let ends = architecture
            .nodes()
            .filter(|node| matches!(node.layer, Layer::Activation(function) if function.is_idempotent()));
        ends.flat_map(|node| kernels(node.shape).map(|kernel| Site::new(&[node.id], kernel))).collect()
    }

    fn rewrite(&self, architecture: &Architecture, site: &Site, _seed: u64) -> Result<Rewrite> {
        if !self.sites(architecture).contains(site) {
            return Err(no_site(
                self,
                site,
                "expected an idempotent activation on a map that the kernel fits into",
            ));
        }
        let (at, kernel) = (site.layers[0], site.amount);
        let channels = architecture.shape(at).channels();
        let mut draft = architecture.draft();
        let conv = draft.push(Layer::Conv(Conv::same(channels, kernel)), &[]);
        let norm = draft.push(Layer::BATCH_NORM, &[conv]);
        let end = draft.push(architecture.node(at).layer, &[norm]);
        draft.redirect(at, end);
        draft.inputs_mut(conv).into_iter().for_each(|inputs| inputs.push(at));
        let child = draft.build()?;
        let mut inheritance = Inheritance::keep(architecture, &child);
        inheritance.set(conv, Role::Weight, Source::Dirac { channels, kernel: (kernel, kernel) });
        inheritance.identity_norm(norm, at, Layer::EPS);
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
    use crate::activation::Activation;
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
    fn it_repeats_a_relu6_and_does_not_apply_after_a_sigmoid() {
        let sites = |function| {
            let mut draft = Draft::new(Shape::map(1, 8, 8));
            let conv = draft.push(Layer::Conv(Conv::same(4, 3)), &[draft.input()]);
            let end = draft.push(Layer::Activation(function), &[conv]);
            draft.head(end, 2);
            let parent = draft.build().unwrap();
            let children = Deepen.sites(&parent).into_iter();
            children.map(|site| Deepen.rewrite(&parent, &site, 0).unwrap().architecture).collect::<Vec<_>>()
        };
        let relu6 = |child: &Architecture| {
            child.nodes().filter(|node| node.layer == Layer::Activation(Activation::Relu6)).count()
        };
        assert_eq!(sites(Activation::Relu6).iter().map(relu6).collect::<Vec<_>>(), [2, 2]);
        assert!(sites(Activation::Sigmoid).is_empty());
    }

    #[test]
    fn it_does_not_apply_without_a_relu_on_a_map() {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let flat = draft.push(Layer::Flatten, &[draft.input()]);
        let hidden = draft.push(Layer::Linear { out_features: 8, bias: true }, &[flat]);
        let relu = draft.push(Layer::RELU, &[hidden]);
        let logits = draft.push(Layer::Linear { out_features: 2, bias: true }, &[relu]);
        draft.set_output(logits);
        let parent = draft.build().unwrap();
        assert!(Deepen.sites(&parent).is_empty());
        assert!(Deepen.rewrite(&parent, &Site::new(&[relu], 3), 0).is_err());
    }

    #[test]
    fn a_kernel_fits_if_its_outer_taps_see_the_map() {
        let fitting = |shape| kernels(shape).collect::<Vec<_>>();
        let maps = [(1, 1), (2, 2), (2, 9), (3, 3)].map(|(height, width)| Shape::map(4, height, width));
        assert_eq!(maps.map(fitting), [vec![], vec![3], vec![3], vec![3, 5]]);
        assert!(fitting(Shape::Vector(9)).is_empty());
    }
}
