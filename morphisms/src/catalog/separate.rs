//! Replaces a dense convolution by a depthwise-separable one.
//!
//! ```text
//! ──► conv kxk ──►     becomes     ──► depthwise conv kxk ──► conv 1x1 ──►
//! ```
//!
//! The two kernels start as the least-squares approximation of the dense one: `W_c ~ p_c d_c'` for every input
//! channel c, the best rank-one matrix (Eckart and Young 1936). Elsken et al., LEMONADE, ICLR 2019, section 3.2.

use crate::Result;
use crate::architecture::{Architecture, Node, ParamKey};
use crate::inheritance::{FactorPart, Inheritance, Source};
use crate::layer::{Conv, Layer, Role, Window};
use crate::morphism::{Morphism, Promise, Rewrite, Site, no_site};

/// See the [module](self) text. A site is the convolution.
pub struct Separate;

impl Morphism for Separate {
    fn name(&self) -> &'static str {
        "separate"
    }

    fn summary(&self) -> &'static str {
        "replaces a dense convolution by a depthwise and a 1x1 convolution"
    }

    fn promise(&self) -> Promise {
        Promise::Approximate
    }

    fn sites(&self, architecture: &Architecture) -> Vec<Site> {
        let pays = |node: &&Node| matches!(node.layer, Layer::Conv(conv) if is_cheaper(&conv, architecture.input_shape(node).channels()));
        architecture.nodes().filter(pays).map(|node| Site::new(&[node.id], 0)).collect()
    }

    fn rewrite(&self, architecture: &Architecture, site: &Site, _seed: u64) -> Result<Rewrite> {
        let (&[id], true) = (site.layers.as_slice(), self.sites(architecture).contains(site)) else {
            return Err(no_site(
                self,
                site,
                "expected a dense convolution that costs more than a separable one",
            ));
        };
        let node = architecture.node(id);
        let (input, channels) = (node.inputs[0], architecture.input_shape(node).channels());
        let Layer::Conv(dense) = node.layer else { unreachable!("sites are convolutions") };
        let mut draft = architecture.draft();
        let depthwise = Conv { out_channels: channels, groups: channels, bias: false, ..dense };
        let pointwise = Conv { window: Window::same(1), dilation: (1, 1), ..dense };
        let depthwise = draft.push(Layer::Conv(depthwise), &[input]);
        let pointwise = draft.push(Layer::Conv(pointwise), &[depthwise]);
        draft.redirect(id, pointwise);
        draft.bypass(id);
        let child = draft.build()?;
        let mut inheritance = Inheritance::keep(architecture, &child);
        let parent = |role| Source::Parent(ParamKey::new(id, role));
        let factor = |part| Source::Factor { of: Box::new(parent(Role::Weight)), part };
        inheritance.set(depthwise, Role::Weight, factor(FactorPart::Depthwise));
        inheritance.set(pointwise, Role::Weight, factor(FactorPart::Pointwise));
        if dense.bias {
            inheritance.set(pointwise, Role::Bias, parent(Role::Bias));
        }
        Ok(Rewrite { architecture: child, inheritance })
    }
}

/// Whether a separable convolution has fewer parameters, and with them fewer multiply-adds at every position. With
/// a stride the depthwise half alone is strided, so the comparison holds there too.
fn is_cheaper(conv: &Conv, channels: usize) -> bool {
    let taps = conv.window.kernel.0 * conv.window.kernel.1;
    let dense = taps * channels * conv.out_channels;
    conv.groups == 1 && channels > 1 && taps * channels + channels * conv.out_channels < dense
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::Draft;
    use crate::layer::Shape;

    #[test]
    fn it_costs_less() {
        let mut draft = Draft::new(Shape::map(3, 8, 8));
        let relu = draft.conv_bn_relu(draft.input(), Conv::same(8, 3));
        draft.head(relu, 2);
        let parent = draft.build().unwrap();
        let sites = Separate.sites(&parent);
        assert_eq!(sites.len(), 1);
        let child = Separate.rewrite(&parent, &sites[0], 0).unwrap().architecture;
        assert_eq!(parent.parameter_count() - child.parameter_count(), 3 * 8 * 9 - (3 * 9 + 3 * 8));
        assert!(child.macs() < parent.macs());
    }

    #[test]
    fn the_depthwise_kernel_takes_stride_padding_and_dilation_and_the_other_the_bias() {
        let window = Window { stride: (2, 2), ..Window::same(3) };
        let dense = Conv { window, dilation: (2, 2), bias: true, ..Conv::same(8, 3) };
        let parent = crate::Network::builder(Shape::map(3, 8, 8)).conv_with(dense).relu().head(2);
        let parent = parent.architecture().unwrap();
        let child = Separate.rewrite(&parent, &Separate.sites(&parent)[0], 0).unwrap().architecture;
        let parts: Vec<Layer> = child.nodes().skip(1).take(2).map(|node| node.layer).collect();
        let depthwise = Conv { out_channels: 3, groups: 3, bias: false, ..dense };
        let pointwise = Conv { bias: true, ..Conv::same(8, 1) };
        assert_eq!(parts, [Layer::Conv(depthwise), Layer::Conv(pointwise)]);
    }

    #[test]
    fn it_does_not_apply_to_one_channel_or_to_one_tap() {
        let mut draft = Draft::new(Shape::map(1, 8, 8));
        let relu = draft.conv_bn_relu(draft.input(), Conv::same(8, 3));
        let relu = draft.conv_bn_relu(relu, Conv::same(8, 1));
        draft.head(relu, 2);
        assert!(Separate.sites(&draft.build().unwrap()).is_empty());
    }

    /// A kernel of two taps costs as much either way if there are two channels to make.
    #[test]
    fn it_does_not_apply_where_it_costs_the_same() {
        let costs_less = |out| {
            let window = Window { kernel: (1, 2), ..Window::same(1) };
            is_cheaper(&Conv { window, ..Conv::same(out, 1) }, 3)
        };
        assert_eq!([1, 2, 3].map(costs_less), [false, false, true]);
    }
}
