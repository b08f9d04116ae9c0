//! A morphism of your own, and the one line that checks it:
//! `cargo run --release -p morphisms --example own_morphism`
//!
//! ```text
//! conv 1x1 ──► average pool     becomes     average pool ──► conv 1x1
//! ```
//!
//! Both are linear, one over channels and one over positions, so they commute; behind the pooling the convolution has
//! fewer positions to visit.

use candle_core::{DType, Device};
use morphisms::{
    Architecture, Inheritance, Layer, Morphism, Network, Node, Padding, PoolKind, Promise, Rewrite, Shape,
    Site, Window, check,
};

/// A site is the convolution.
struct PoolFirst;

impl Morphism for PoolFirst {
    fn name(&self) -> &'static str {
        "pool_first"
    }

    fn summary(&self) -> &'static str {
        "moves a 1x1 convolution behind the average pooling that reads it"
    }

    fn promise(&self) -> Promise {
        Promise::Exact
    }

    fn sites(&self, architecture: &Architecture) -> Vec<Site> {
        let applies = |node: &&Node| is_pointwise(&node.layer) && pooling(architecture, node).is_some();
        architecture.nodes().filter(applies).map(|node| Site::new(&[node.id], 0)).collect()
    }

    fn rewrite(&self, architecture: &Architecture, site: &Site, _seed: u64) -> morphisms::Result<Rewrite> {
        let found = site.layers.first().and_then(|&id| architecture.get(id));
        let found = found.filter(|_| self.sites(architecture).contains(site));
        let Some((conv, pool)) = found.and_then(|conv| Some((conv, pooling(architecture, conv)?))) else {
            return Err(morphisms::Error::Site {
                morphism: self.name().into(),
                site: site.to_string(),
                reason: "expected a 1x1 convolution that only an average pooling reads".into(),
            });
        };
        let mut draft = architecture.draft();
        draft.redirect(pool.id, conv.id);
        draft.inputs_mut(pool.id).expect("it is there").clone_from(&conv.inputs);
        *draft.inputs_mut(conv.id).expect("it is there") = vec![pool.id];
        let child = draft.build()?;
        // No parameter changes: the child shares every tensor with its parent.
        let inheritance = Inheritance::keep(architecture, &child);
        Ok(Rewrite { architecture: child, inheritance })
    }
}

fn is_pointwise(layer: &Layer) -> bool {
    matches!(layer, Layer::Conv(conv) if conv.window == Window::same(1))
}

/// The average pooling that alone reads `node`. Padding would bring in zeros that the convolution has not seen.
fn pooling<'a>(architecture: &'a Architecture, node: &Node) -> Option<&'a Node> {
    architecture.only_consumer(node.id).filter(|reader| {
        matches!(reader.layer, Layer::Pool { kind: PoolKind::Average, window } if window.padding == Padding::NONE)
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parent = Network::builder(Shape::map(3, 32, 32))
        .conv_bn_relu(16, 3)
        .concat(|x| x.conv(8, 1))
        .conv(32, 1)
        .avg_pool(2)
        .batch_norm()
        .relu()
        .head(10)
        .init_on(0, DType::F64, &Device::Cpu)?;

    // The line: every site, the function in f64 and f32, storage, sameness, JSON, composition.
    check::contract(&PoolFirst, &[parent.to_dtype(DType::F32)?, parent.clone()])?;

    for site in PoolFirst.sites(parent.architecture()) {
        let child = parent.child(&PoolFirst.rewrite(parent.architecture(), &site, 0)?, None)?;
        let images = check::images(parent.architecture().input(), 8, 0, DType::F64)?;
        println!("pool_first at layer {site}");
        println!("  parent:{:?}", parent.architecture());
        println!("  child:{:?}", child.architecture());
        println!("  multiply-adds {} -> {}", parent.architecture().macs(), child.architecture().macs());
        println!("  largest relative difference {:e}", check::drift(&parent, &child, &images)?.relative);
    }
    println!("The contract holds.");
    Ok(())
}
