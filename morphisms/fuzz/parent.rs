//! The network of the target `inheritance`, and its rewrites.

use candle_core::{DType, Device};
use morphisms::{Conv, Draft, Network, Rewrite, Shape, catalog};

/// A little of everything that can be inherited.
pub fn network() -> Network {
    let mut draft = Draft::new(Shape::map(1, 6, 6));
    let x = draft.conv_bn_relu(draft.input(), Conv::same(4, 3));
    let x = draft.max_pool(x, 2);
    let x = draft.conv_bn_relu(x, Conv::same(4, 3));
    draft.head(x, 3);
    let architecture = draft.build().expect("the layers fit");
    Network::init(architecture, 0, DType::F32, &Device::Cpu).expect("it is small")
}

/// The first rewrites by each morphism.
pub fn rewrites(parent: &Network) -> Vec<Rewrite> {
    let of = |morphism: &&'static dyn morphisms::Morphism| -> Vec<Rewrite> {
        let sites = morphism.sites(parent.architecture());
        let rewrite =
            |site| morphism.rewrite(parent.architecture(), site, 0).expect("a site can be rewritten");
        sites.iter().take(4).map(rewrite).collect()
    };
    catalog::all().iter().flat_map(of).collect()
}
