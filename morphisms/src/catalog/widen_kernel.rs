//! Grows a convolution's kernel by a ring of zeros.
//!
//! ```text
//! ──► conv 3x3 ──► readers     becomes     ──► conv 5x5 ──► readers
//! ```
//!
//! The padding grows by the dilation on every side, so every old tap meets what it met before, and the new ones add
//! `0 x = 0`. Zero taps receive a gradient at once, that of what they see. Wei et al., "Network morphism", ICML 2016,
//! section 3.5 (kernel size morphing).

use crate::Result;
use crate::architecture::{Architecture, Node, ParamKey};
use crate::inheritance::{Inheritance, Source};
use crate::layer::{Conv, Layer, Padding, Role, Window};
use crate::morphism::{Morphism, Promise, Rewrite, Site, no_site};

/// No side of a kernel grows beyond this.
const LARGEST: i128 = 7;

/// See the [module](self) text. A site is the convolution.
pub struct WidenKernel;

impl Morphism for WidenKernel {
    fn name(&self) -> &'static str {
        "widen_kernel"
    }

    fn summary(&self) -> &'static str {
        "adds a ring of zeros to a convolution's kernel"
    }

    fn promise(&self) -> Promise {
        Promise::Exact
    }

    fn sites(&self, architecture: &Architecture) -> Vec<Site> {
        let grows = |node: &&Node| wider(architecture, node).is_some();
        architecture.nodes().filter(grows).map(|node| Site::new(&[node.id], 0)).collect()
    }

    fn rewrite(&self, architecture: &Architecture, site: &Site, _seed: u64) -> Result<Rewrite> {
        let (&[id], true) = (site.layers.as_slice(), self.sites(architecture).contains(site)) else {
            let expected = "expected a convolution whose kernel may grow by a ring of taps that see the map";
            return Err(no_site(self, site, expected));
        };
        let mut draft = architecture.draft();
        if let (Some(layer), Some(conv)) = (draft.layer_mut(id), wider(architecture, architecture.node(id))) {
            *layer = Layer::Conv(conv);
        }
        let child = draft.build()?;
        let mut inheritance = Inheritance::keep(architecture, &child);
        let key = ParamKey::new(id, Role::Weight);
        let mut shape = architecture.parameter(key).expect("a site has a weight");
        for axis in [2, 3] {
            let slice = shape.iter().enumerate().map(|(at, &size)| if at == axis { 1 } else { size });
            let zeros = Source::Constant { shape: slice.collect(), value: 0.0 };
            inheritance.change(key, |kernel| Source::Join { of: vec![zeros.clone(), kernel, zeros], axis });
            shape[axis] += 2;
        }
        Ok(Rewrite { architecture: child, inheritance })
    }
}

/// The convolution with a larger kernel, if `node` is one and every new tap sees the map.
fn wider(architecture: &Architecture, node: &Node) -> Option<Conv> {
    let Layer::Conv(conv) = node.layer else { return None };
    let input = architecture.input_shape(node);
    let grows = |of| new_taps_see(&conv, of, input.spatial(), node.shape.spatial());
    if !grows(|(height, _)| height) || !grows(|(_, width)| width) {
        return None;
    }
    let Window { kernel, stride, padding } = conv.window;
    let padding = Padding {
        top: padding.top.checked_add(conv.dilation.0)?,
        left: padding.left.checked_add(conv.dilation.1)?,
        bottom: padding.bottom.checked_add(conv.dilation.0)?,
        right: padding.right.checked_add(conv.dilation.1)?,
    };
    let window = Window { kernel: (kernel.0 + 2, kernel.1 + 2), stride, padding };
    let wider = Conv { window, ..conv };
    let shape = Layer::Conv(wider).output_shape(&[input]).ok()?;
    (shape == node.shape).then_some(wider)
}

/// Whether along one axis the kernel is small enough, and a tap before its first and one behind its last see the map at
/// some place of the kernel.
fn new_taps_see(
    conv: &Conv,
    of: fn((usize, usize)) -> usize,
    input: (usize, usize),
    output: (usize, usize),
) -> bool {
    let Window { kernel, stride, padding } = conv.window;
    // Numbers from a file may be huge. What is behind the map shows in the number of places.
    let [kernel, stride, padding, dilation] =
        [kernel, stride, (padding.top, padding.left), conv.dilation].map(|pair| of(pair) as i128);
    let [size, places] = [input, output].map(|pair| of(pair) as i128);
    // A tap reads `place * stride + offset`.
    let sees = |offset: i128| {
        let first = (stride - 1 - offset).max(0) / stride;
        first < places && first * stride + offset < size
    };
    kernel + 2 <= LARGEST && sees(-padding - dilation) && sees(kernel * dilation - padding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::Draft;
    use crate::layer::{LayerId, Shape};

    fn only(size: (usize, usize), conv: Conv) -> Architecture {
        let mut draft = Draft::new(Shape::map(2, size.0, size.1));
        let x = draft.push(Layer::Conv(conv), &[draft.input()]);
        draft.head(x, 2);
        draft.build().unwrap()
    }

    #[test]
    fn the_kernel_grows_and_the_output_does_not() {
        let window = Window { kernel: (3, 1), stride: (2, 1), padding: Padding::even(2, 0) };
        let conv = Conv { window, dilation: (2, 1), bias: true, ..Conv::same(4, 3) };
        let parent = only((9, 6), conv);
        let sites = WidenKernel.sites(&parent);
        assert_eq!(sites, [Site::new(&[LayerId(1)], 0)]);
        let Rewrite { architecture: child, inheritance } =
            WidenKernel.rewrite(&parent, &sites[0], 0).unwrap();
        assert_eq!(child.shape(LayerId(1)), parent.shape(LayerId(1)));
        let key = ParamKey::new(LayerId(1), Role::Weight);
        assert_eq!(child.parameters()[&key], [4, 2, 5, 3]);
        assert_eq!(inheritance.kept(&parent).count(), parent.parameters().len() - 1, "all but the kernel");
    }

    #[test]
    fn an_uneven_padding_grows_alike_on_every_side() {
        let padding = Padding { top: 0, left: 2, bottom: 1, right: 0 };
        let conv =
            Conv { window: Window { padding, ..Window::same(3) }, dilation: (1, 2), ..Conv::same(4, 3) };
        let parent = only((7, 9), conv);
        let site = Site::new(&[LayerId(1)], 0);
        let child = WidenKernel.rewrite(&parent, &site, 0).unwrap().architecture;
        let Layer::Conv(wider) = child.node(LayerId(1)).layer else { panic!("a convolution") };
        assert_eq!(wider.window.padding, Padding { top: 1, left: 4, bottom: 2, right: 2 });
        assert_eq!(child.shape(LayerId(1)), parent.shape(LayerId(1)));
    }

    #[test]
    fn it_does_not_apply_where_a_tap_would_only_see_padding() {
        let sites = |size, kernel| WidenKernel.sites(&only(size, Conv::same(4, kernel))).len();
        assert_eq!([sites((3, 8), 3), sites((2, 8), 3)], [1, 0], "a map of two rows");
        assert_eq!([sites((8, 8), 5), sites((8, 8), 7)], [1, 0], "a kernel of 7x7");
        // Unpadded, a kernel as large as the map has one place, and a stride can step over what a tap would see.
        let bare = |size, kernel, stride| {
            let window =
                Window { kernel: (kernel, kernel), stride: (stride, stride), padding: Padding::NONE };
            WidenKernel.sites(&only((size, size), Conv { window, ..Conv::same(4, 3) })).len()
        };
        assert_eq!([bare(3, 3, 1), bare(5, 3, 1), bare(5, 3, 2), bare(4, 3, 2)], [0, 1, 1, 0]);
        let parent = only((2, 8), Conv::same(4, 3));
        assert!(WidenKernel.rewrite(&parent, &Site::new(&[LayerId(1)], 0), 0).is_err());
    }

    #[test]
    fn the_new_taps_see_the_map_at_some_place() {
        let ranges = (1..=3usize).flat_map(|kernel| (1..=3usize).map(move |stride| (kernel, stride)));
        let paddings: Vec<[usize; 2]> = (0..16).map(|sides| [sides / 4, sides % 4]).collect();
        let ranges = ranges.flat_map(|pair| paddings.iter().map(move |padding| (pair, *padding)));
        for (((kernel, stride), [padding, end]), dilation) in ranges.flat_map(|all| [(all, 1usize), (all, 2)])
        {
            for size in 1..=7usize {
                let Some(room) = (size + padding + end).checked_sub(dilation * (kernel - 1) + 1) else {
                    continue;
                };
                let places = room / stride + 1;
                // Every place of the kernel, one after the other; the map begins behind its padding.
                let meets = |tap: i64| {
                    let at = |place| (place * stride) as i64 + tap * dilation as i64 - padding as i64;
                    (0..places).any(|place| (0..size as i64).contains(&at(place)))
                };
                let sides = Padding { top: padding, bottom: end, ..Padding::NONE };
                let window = Window { kernel: (kernel, 1), stride: (stride, 1), padding: sides };
                let conv = Conv { window, dilation: (dilation, 1), ..Conv::same(4, 3) };
                let found = new_taps_see(&conv, |(height, _)| height, (size, 1), (places, 1));
                assert_eq!(found, meets(-1) && meets(kernel as i64), "{conv:?} on {size}");
            }
        }
    }
}
