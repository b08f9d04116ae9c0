//! The networks that are raced, the same for training, inference and both sides.

use morphisms::{Architecture, Conv, Draft, Layer, LayerId, Shape};
use serde::Deserialize;

/// Classes of every network.
pub const CLASSES: usize = 10;

/// A network with its name.
pub struct Named {
    pub name: String,
    pub architecture: Architecture,
}

/// The networks whose training steps and inference are raced.
pub fn all() -> Result<Vec<Named>, Box<dyn std::error::Error + Send + Sync>> {
    let mut named = vec![
        Named { name: "five blocks".into(), architecture: five_blocks()? },
        Named { name: "depthwise-separable".into(), architecture: separable()? },
        Named { name: "residual with concat skips".into(), architecture: residual()? },
    ];
    let member = members()?.into_iter().find(|member| member.id == TEN_THOUSAND);
    let member = member.ok_or("members.json has lost a member")?;
    named.push(Named { name: "10k parameters".into(), architecture: member.architecture });
    named.push(Named { name: "500k parameters".into(), architecture: half_million()? });
    Ok(named)
}

/// A member of the front of a Fashion-MNIST search.
#[derive(Deserialize)]
pub struct Member {
    /// Its number in that search.
    pub id: usize,
    pub architecture: Architecture,
}

/// The member with 10,698 parameters.
const TEN_THOUSAND: usize = 24;

/// Eight members of the front of a 20 minute search on Fashion-MNIST (seed 0, commit bd4401e), from 922 to 40,842
/// parameters. A copy, so that figures stay comparable when that search is run again.
pub fn members() -> serde_json::Result<Vec<Member>> {
    serde_json::from_str(include_str!("members.json"))
}

/// Conv-BN-ReLU of 32, 32, pooling, 64, 64, pooling, 128 channels on 3x32x32.
pub fn five_blocks() -> morphisms::Result<Architecture> {
    chain(Shape::map(3, 32, 32), &[&[32, 32], &[64, 64], &[128]])
}

/// As five blocks but on 1x28x28 and wider: 64, 64, pooling, 128, 128, pooling, 192. Written by hand; the search had no
/// member of that size.
fn half_million() -> morphisms::Result<Architecture> {
    chain(Shape::map(1, 28, 28), &[&[64, 64], &[128, 128], &[192]])
}

/// Blocks of 3x3 convolution, batch norm and ReLU with these channels, a max pooling between stages, and a head.
fn chain(input: Shape, stages: &[&[usize]]) -> morphisms::Result<Architecture> {
    let mut draft = Draft::new(input);
    let mut x = draft.input();
    for (place, stage) in stages.iter().enumerate() {
        if place > 0 {
            x = draft.max_pool(x, 2);
        }
        for &channels in *stage {
            x = draft.conv_bn_relu(x, Conv::same(channels, 3));
        }
    }
    draft.head(x, CLASSES);
    draft.build()
}

/// A dense convolution, then pairs of depthwise and 1x1 convolution, each with batch norm and ReLU (Howard et al.,
/// "MobileNets", 2017, figure 3), on 3x32x32.
fn separable() -> morphisms::Result<Architecture> {
    let mut draft = Draft::new(Shape::map(3, 32, 32));
    let mut x = draft.conv_bn_relu(draft.input(), Conv::same(32, 3));
    let mut channels = 32;
    for (width, pooled) in [(64, true), (64, false), (128, true), (128, false), (128, false)] {
        x = draft.conv_bn_relu(x, Conv::depthwise(channels, 3));
        x = draft.conv_bn_relu(x, Conv::same(width, 1));
        if pooled {
            x = draft.max_pool(x, 2);
        }
        channels = width;
    }
    draft.head(x, CLASSES);
    draft.build()
}

/// Residual blocks (He et al., CVPR 2016) whose output stands beside their input (Huang et al., "DenseNet", CVPR 2017),
/// on 3x32x32: 32, 64 and 64 channels at 32x32, 16x16 and 8x8.
fn residual() -> morphisms::Result<Architecture> {
    let mut draft = Draft::new(Shape::map(3, 32, 32));
    let mut x = draft.conv_bn_relu(draft.input(), Conv::same(32, 3));
    for (channels, next) in [(32, Some(64)), (64, Some(64)), (64, None)] {
        let sum = residual_block(&mut draft, x, channels);
        x = draft.push(Layer::Concat, &[sum, x]);
        if let Some(next) = next {
            x = draft.conv_bn_relu(x, Conv::same(next, 1));
            x = draft.max_pool(x, 2);
        }
    }
    draft.head(x, CLASSES);
    draft.build()
}

/// `relu(x + bn(conv(relu(bn(conv(x))))))`.
fn residual_block(draft: &mut Draft, x: LayerId, channels: usize) -> LayerId {
    let inner = draft.conv_bn_relu(x, Conv::same(channels, 3));
    let inner = draft.push(Layer::Conv(Conv::same(channels, 3)), &[inner]);
    let inner = draft.push(Layer::BATCH_NORM, &[inner]);
    let sum = draft.push(Layer::Add, &[x, inner]);
    draft.push(Layer::RELU, &[sum])
}
