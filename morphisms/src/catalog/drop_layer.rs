//! Removes a convolution, with the normalisation and the activation that only it feeds.
//!
//! ```text
//! x ──► conv ──► batch norm ──► relu ──► readers     becomes     x ──► readers
//! ```
//!
//! It applies where the block keeps the shape of its input. Elsken et al., LEMONADE, ICLR 2019, section 3.2: "remove
//! a layer".

use crate::Result;
use crate::architecture::{Architecture, Node};
use crate::inheritance::Inheritance;
use crate::layer::{Layer, LayerId};
use crate::morphism::{Morphism, Promise, Rewrite, Site, no_site};

/// See the [module](self) text. A site is the convolution.
pub struct DropLayer;

impl Morphism for DropLayer {
    fn name(&self) -> &'static str {
        "drop_layer"
    }

    fn summary(&self) -> &'static str {
        "removes a convolution with its normalisation and activation, where that keeps the shape"
    }

    fn promise(&self) -> Promise {
        Promise::Approximate
    }

    fn sites(&self, architecture: &Architecture) -> Vec<Site> {
        let sites = architecture.nodes().filter(|node| keeps_shape(architecture, node));
        sites.map(|node| Site::new(&[node.id], 0)).collect()
    }

    fn rewrite(&self, architecture: &Architecture, site: &Site, _seed: u64) -> Result<Rewrite> {
        let is_site = |conv| {
            let node = architecture.get(conv);
            *site == Site::new(&[conv], 0) && node.is_some_and(|node| keeps_shape(architecture, node))
        };
        let (&[conv], true) = (site.layers.as_slice(), site.layers.first().copied().is_some_and(is_site))
        else {
            return Err(no_site(self, site, "expected a convolution that keeps its input's shape"));
        };
        let child = rewritten(architecture, conv)?;
        let inheritance = Inheritance::keep(architecture, &child);
        Ok(Rewrite { architecture: child, inheritance })
    }
}

/// Whether a layer is a convolution whose output has the shape of its input. So has that of its block.
fn keeps_shape(architecture: &Architecture, node: &Node) -> bool {
    matches!(node.layer, Layer::Conv(_)) && node.shape == architecture.input_shape(node)
}

fn rewritten(architecture: &Architecture, conv: LayerId) -> Result<Architecture> {
    let mut draft = architecture.draft();
    let block = block(architecture, conv);
    let input = architecture.node(conv).inputs[0];
    for &layer in block.iter().rev() {
        draft.bypass(layer);
    }
    // A mix of a tensor with itself is that tensor.
    let end = *block.last().expect("the convolution itself");
    for (reader, _) in architecture.consumers(end) {
        let node = architecture.node(reader);
        let same = node.inputs.iter().all(|&id| id == end || id == input);
        if matches!(node.layer, Layer::Mix) && same {
            draft.bypass(reader);
        }
    }
    draft.build()
}

/// The convolution and what only it feeds: a normalisation, an activation.
fn block(architecture: &Architecture, conv: LayerId) -> Vec<LayerId> {
    let mut block = vec![conv];
    let next = |id: LayerId| architecture.only_consumer(id);
    if let Some(node) = next(conv).filter(|node| node.layer.is_norm()) {
        block.push(node.id);
    }
    let activates = |node: &&Node| matches!(node.layer, Layer::Activation(_) | Layer::Prelu);
    if let Some(node) = next(block[block.len() - 1]).filter(activates) {
        block.push(node.id);
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::Draft;
    use crate::layer::{Conv, Shape};

    #[test]
    fn the_whole_block_goes() {
        let mut draft = Draft::new(Shape::map(1, 8, 8));
        let a = draft.conv_bn_relu(draft.input(), Conv::same(4, 3));
        let b = draft.conv_bn_relu(a, Conv::same(4, 3));
        let mix = draft.push(Layer::Mix, &[b, a]);
        draft.head(mix, 2);
        let parent = draft.build().unwrap();
        let sites = DropLayer.sites(&parent);
        assert_eq!(sites.len(), 1);
        let child = DropLayer.rewrite(&parent, &sites[0], 0).unwrap().architecture;
        assert_eq!(
            child.nodes().len(),
            parent.nodes().len() - 4,
            "convolution, batch norm, ReLU and the idle mix"
        );
    }

    #[test]
    fn who_reads_the_block_stays() {
        let mut draft = Draft::new(Shape::map(1, 8, 8));
        let a = draft.conv_bn_relu(draft.input(), Conv::same(4, 3));
        let b = draft.conv_bn_relu(a, Conv::same(4, 3));
        let mix = draft.push(Layer::Mix, &[draft.input(), draft.input()]);
        let read = [b, mix].map(|x| draft.push(Layer::Conv(Conv::same(4, 1)), &[x]));
        let sum = draft.push(Layer::Add, &read);
        draft.head(sum, 2);
        let parent = draft.build().unwrap();
        let child = DropLayer.rewrite(&parent, &Site::new(&[LayerId(4)], 0), 0).unwrap().architecture;
        let gone: Vec<LayerId> =
            parent.nodes().map(|node| node.id).filter(|&id| child.get(id).is_none()).collect();
        assert_eq!(gone, [4, 5, 6].map(LayerId));
        assert_eq!(child.node(read[0]).inputs, [a]);
    }

    #[test]
    fn it_does_not_apply_where_the_shape_changes() {
        let mut draft = Draft::new(Shape::map(1, 8, 8));
        let a = draft.conv_bn_relu(draft.input(), Conv::same(4, 3));
        let b = draft.conv_bn_relu(a, Conv::same(8, 3));
        draft.head(b, 2);
        let parent = draft.build().unwrap();
        assert!(DropLayer.sites(&parent).is_empty());
        assert!(DropLayer.rewrite(&parent, &Site::new(&[LayerId(1)], 0), 0).is_err());
    }
}
