//! The network of the target `inheritance`, and its rewrites; and one with every kind of layer.

use candle_core::{DType, Device};
use morphisms::{
    Activation, Conv, Draft, Grouping, Layer, Network, Padding, PoolKind, Rewrite, Shape, Window, catalog,
};

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

/// Every kind of layer.
#[allow(dead_code)]
pub fn everything() -> Network {
    let mut draft = Draft::new(Shape::map(2, 8, 8));
    let x = draft.conv_bn_relu(draft.input(), Conv::same(4, 3));
    let x = draft.push(Layer::GroupNorm { grouping: Grouping::Groups(2), eps: Layer::EPS }, &[x]);
    let x = draft.push(Layer::Prelu, &[x]);
    let x = draft.push(Layer::LocalResponseNorm { size: 3, alpha: 1e-4, beta: 0.75, bias: 1.0 }, &[x]);
    let shuffled = draft.push(Layer::ChannelShuffle { groups: 2 }, &[x]);
    let curve = |x, &function: &Activation| draft.push(Layer::Activation(function), &[x]);
    let curved = Activation::ALL.iter().fold(shuffled, curve);
    let pooled = draft.push(Layer::GlobalAveragePool, &[curved]);
    let squeezed = draft.push(Layer::Conv(Conv { bias: true, ..Conv::same(4, 1) }), &[pooled]);
    let gate = draft.push(Layer::Activation(Activation::Sigmoid), &[squeezed]);
    let gated = draft.push(Layer::Multiply, &[curved, gate]);
    let mixed = draft.push(Layer::Mix, &[gated, x]);
    let joined = draft.push(Layer::Concat, &[mixed, x]);
    let scaled = draft.push(Layer::Scale { factor: 0.5 }, &[joined]);
    let dropped = draft.push(Layer::Dropout { probability: 0.25 }, &[scaled]);
    let deep = draft.push(Layer::Conv(Conv::depthwise(8, 3)), &[dropped]);
    let sum = draft.push(Layer::Add, &[deep, joined]);
    let padding = Padding { top: 1, left: 0, bottom: 0, right: 1 };
    let window = Window { kernel: (3, 3), stride: (2, 2), padding };
    let kinds = [PoolKind::AverageExcludingPadding, PoolKind::Average, PoolKind::Max];
    let x = kinds.iter().fold(sum, |x, &kind| draft.push(Layer::Pool { kind, window }, &[x]));
    let flat = draft.push(Layer::Flatten, &[x]);
    let hidden = draft.push(Layer::Linear { out_features: 5, bias: true }, &[flat]);
    let hidden = draft.push(Layer::GroupNorm { grouping: Grouping::All, eps: Layer::EPS }, &[hidden]);
    let logits = draft.push(Layer::Linear { out_features: 3, bias: false }, &[hidden]);
    draft.set_output(logits);
    let architecture = draft.build().expect("the layers fit");
    Network::init(architecture, 0, DType::F32, &Device::Cpu).expect("it is small")
}
