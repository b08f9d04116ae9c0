//! Crops the outermost taps of a convolution's kernel.
//!
//! ```text
//! ──► conv 5x5 ──► readers     becomes     ──► conv 3x3 ──► readers
//! ```
//!
//! The padding shrinks by the dilation on every side, so the taps that stay meet what they met before; the child is the parent with
//! zeros in the outer ring, whose energy is usually the smallest. The reverse of Wei et al., "Network morphism", ICML
//! 2016, section 3.5; as a way to shrink, Cai et al., "Once-for-all", ICLR 2020, section 3.3 (elastic kernel size).

use crate::Result;
use crate::architecture::{Architecture, Node, ParamKey};
use crate::inheritance::Inheritance;
use crate::layer::{Conv, Layer, Padding, Role, Window};
use crate::morphism::{Morphism, Promise, Rewrite, Site, no_site};

/// See the [module](self) text. A site is the convolution.
pub struct ShrinkKernel;

impl Morphism for ShrinkKernel {
    fn name(&self) -> &'static str {
        "shrink_kernel"
    }

    fn summary(&self) -> &'static str {
        "crops the outer ring of a convolution's kernel"
    }

    fn promise(&self) -> Promise {
        Promise::Approximate
    }

    fn sites(&self, architecture: &Architecture) -> Vec<Site> {
        let shrinks = |node: &&Node| smaller(&node.layer).is_some();
        architecture.nodes().filter(shrinks).map(|node| Site::new(&[node.id], 0)).collect()
    }

    fn rewrite(&self, architecture: &Architecture, site: &Site, _seed: u64) -> Result<Rewrite> {
        let (&[id], true) = (site.layers.as_slice(), self.sites(architecture).contains(site)) else {
            let expected =
                "expected a convolution of at least 3x3 taps, padded by its dilation or more on every side";
            return Err(no_site(self, site, expected));
        };
        let mut draft = architecture.draft();
        if let (Some(layer), Some(conv)) = (draft.layer_mut(id), smaller(&architecture.node(id).layer)) {
            *layer = Layer::Conv(conv);
        }
        let child = draft.build()?;
        let mut inheritance = Inheritance::keep(architecture, &child);
        let key = ParamKey::new(id, Role::Weight);
        let shape = &architecture.parameter(key).expect("a convolution has a kernel");
        for axis in [2, 3] {
            let inner = (1..shape[axis] - 1).collect();
            inheritance.change(key, |kernel| kernel.gather(axis, inner, None));
        }
        Ok(Rewrite { architecture: child, inheritance })
    }
}

/// The convolution with a smaller kernel, if there is something to crop on both axes and on every side as much padding
/// to take away.
fn smaller(layer: &Layer) -> Option<Conv> {
    let Layer::Conv(conv) = *layer else { return None };
    let Window { kernel, stride, padding } = conv.window;
    if kernel.0 < 3 || kernel.1 < 3 {
        return None;
    }
    let padding = Padding {
        top: padding.top.checked_sub(conv.dilation.0)?,
        left: padding.left.checked_sub(conv.dilation.1)?,
        bottom: padding.bottom.checked_sub(conv.dilation.0)?,
        right: padding.right.checked_sub(conv.dilation.1)?,
    };
    let window = Window { kernel: (kernel.0 - 2, kernel.1 - 2), stride, padding };
    Some(Conv { window, ..conv })
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::architecture::Draft;
    use crate::layer::{LayerId, Shape};
    use crate::network::Network;

    fn only(conv: Conv) -> Architecture {
        let mut draft = Draft::new(Shape::map(2, 8, 8));
        let x = draft.push(Layer::Conv(conv), &[draft.input()]);
        draft.head(x, 2);
        draft.build().unwrap()
    }

    #[test]
    fn the_kernel_shrinks_and_the_output_does_not() {
        let padding = Padding { top: 4, left: 5, bottom: 2, right: 6 };
        let window = Window { stride: (2, 2), padding, ..Window::same(5) };
        let parent = only(Conv { window, dilation: (2, 1), ..Conv::same(4, 5) });
        let sites = ShrinkKernel.sites(&parent);
        assert_eq!(sites, [Site::new(&[LayerId(1)], 0)]);
        let child = ShrinkKernel.rewrite(&parent, &sites[0], 0).unwrap().architecture;
        assert_eq!(child.shape(LayerId(1)), parent.shape(LayerId(1)));
        assert_eq!(child.parameters()[&ParamKey::new(LayerId(1), Role::Weight)], [4, 2, 3, 3]);
    }

    #[test]
    fn the_middle_of_the_kernel_stays() {
        for kernel in [(3, 5), (5, 3)] {
            let padding = Padding::even(kernel.0 / 2, kernel.1 / 2);
            let conv = Conv { window: Window { kernel, padding, ..Window::same(3) }, ..Conv::same(4, 3) };
            let parent = Network::init(only(conv), 0, DType::F64, &Device::Cpu).unwrap();
            let rewrite =
                ShrinkKernel.rewrite(parent.architecture(), &Site::new(&[LayerId(1)], 0), 0).unwrap();
            let child = parent.child(&rewrite, None).unwrap();
            let weight = |network: &Network| {
                network.weights().get(ParamKey::new(LayerId(1), Role::Weight)).unwrap().clone()
            };
            let middle =
                weight(&parent).narrow(2, 1, kernel.0 - 2).unwrap().narrow(3, 1, kernel.1 - 2).unwrap();
            let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            assert_eq!(numbers(&weight(&child)), numbers(&middle), "{kernel:?}");
        }
    }

    #[test]
    fn it_does_not_apply_to_thin_kernels_or_without_padding() {
        let window = |kernel, (height, width)| Window {
            kernel,
            padding: Padding::even(height, width),
            ..Window::same(3)
        };
        for window in [window((1, 3), (0, 1)), window((3, 2), (1, 1)), window((3, 3), (1, 0))] {
            let parent = only(Conv { window, ..Conv::same(4, 3) });
            assert!(ShrinkKernel.sites(&parent).is_empty());
            assert!(ShrinkKernel.rewrite(&parent, &Site::new(&[LayerId(1)], 0), 0).is_err());
        }
        for side in 0..4 {
            let mut sides = [1; 4];
            sides[side] = 0;
            let [top, left, bottom, right] = sides;
            let window = Window { padding: Padding { top, left, bottom, right }, ..Window::same(3) };
            assert!(ShrinkKernel.sites(&only(Conv { window, ..Conv::same(4, 3) })).is_empty(), "side {side}");
        }
        let dilated = Conv { dilation: (2, 2), ..Conv::same(4, 3) };
        assert!(ShrinkKernel.sites(&only(dilated)).is_empty(), "padded by less than the dilation");
    }
}
