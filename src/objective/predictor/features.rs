//! What a predictor sees of an architecture: how much of each kind of work a pass through it is.

use morphisms::{Architecture, Layer, Node};

/// Features of an architecture: 1, and for each kind of work its layers, multiply-adds and bytes.
pub(super) const COUNT: usize = 1 + 3 * KINDS;
/// Kinds of [`Work`].
const KINDS: usize = 6;
/// Bytes of a number.
const BYTES: f64 = 4.0;

/// Kinds of work that devices do at different speeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Dense,
    Pointwise,
    Grouped,
    Linear,
    Pool,
    Elementwise,
}

/// The features, all 0 or more.
pub(super) fn features(architecture: &Architecture) -> [f64; COUNT] {
    let mut features = [0.0; COUNT];
    features[0] = 1.0;
    for node in architecture.nodes() {
        let Some(work) = work(architecture, node) else { continue };
        let place = 1 + 3 * work as usize;
        features[place] += 1.0;
        features[place + 1] += node.layer.macs(&architecture.input_shape(node), &node.shape) as f64;
        features[place + 2] += BYTES * numbers_moved(architecture, node);
    }
    features
}

/// Numbers that a layer reads and writes: its inputs, its parameters and its output.
fn numbers_moved(architecture: &Architecture, node: &Node) -> f64 {
    let read: usize = node.inputs.iter().map(|&input| architecture.shape(input).elements()).sum();
    (read + node.shape.elements()) as f64 + architecture.layer_parameter_count(node) as f64
}

/// The kind of work of a layer; none if it is no work when deployed.
fn work(architecture: &Architecture, node: &Node) -> Option<Work> {
    match node.layer {
        Layer::Input | Layer::Dropout { .. } | Layer::Flatten => None,
        // Folded into what comes before.
        Layer::BatchNorm { .. } if follows_weights(architecture, node) => None,
        Layer::Conv(conv) if conv.groups > 1 => Some(Work::Grouped),
        Layer::Conv(conv) if conv.window.kernel == (1, 1) => Some(Work::Pointwise),
        Layer::Conv(_) => Some(Work::Dense),
        Layer::Linear { .. } => Some(Work::Linear),
        Layer::Pool { .. } | Layer::GlobalAveragePool => Some(Work::Pool),
        Layer::BatchNorm { .. }
        | Layer::GroupNorm { .. }
        | Layer::LocalResponseNorm { .. }
        | Layer::Activation(_)
        | Layer::Prelu
        | Layer::Scale { .. }
        | Layer::Add
        | Layer::Mix
        | Layer::Multiply
        | Layer::Concat
        | Layer::ChannelShuffle { .. } => Some(Work::Elementwise),
    }
}

fn follows_weights(architecture: &Architecture, node: &Node) -> bool {
    let before = |&input| matches!(architecture.node(input).layer, Layer::Conv(_) | Layer::Linear { .. });
    node.inputs.iter().all(before)
}

#[cfg(test)]
mod tests {
    use morphisms::{Conv, Draft, Shape};

    use super::*;

    #[test]
    fn work_is_counted_by_its_kind() {
        let mut draft = Draft::new(Shape::map(1, 8, 8));
        let x = draft.conv_bn_relu(draft.input(), Conv::same(4, 3));
        let x = draft.push(Layer::Conv(Conv::depthwise(4, 3)), &[x]);
        let x = draft.conv_bn_relu(x, Conv::same(6, 1));
        let x = draft.max_pool(x, 2);
        draft.head(x, 10);
        let features = features(&draft.build().unwrap());
        let of = |work: Work| &features[1 + 3 * work as usize..][..3];
        assert_eq!(features[0], 1.0);
        assert_eq!(of(Work::Dense), [1.0, 64.0 * 9.0 * 4.0, 4.0 * (64.0 + 256.0 + 36.0)]);
        assert_eq!(of(Work::Grouped), [1.0, 64.0 * 9.0 * 4.0, 4.0 * (256.0 + 256.0 + 36.0)]);
        assert_eq!(of(Work::Pointwise), [1.0, 64.0 * 24.0, 4.0 * (256.0 + 384.0 + 24.0)]);
        assert_eq!(of(Work::Linear), [1.0, 60.0, 4.0 * (6.0 + 10.0 + 70.0)]);
        assert_eq!(of(Work::Pool), [2.0, 0.0, 4.0 * (384.0 + 96.0 + 96.0 + 6.0)]);
        assert_eq!(of(Work::Elementwise), [2.0, 0.0, 4.0 * 2.0 * (256.0 + 384.0)], "batch norms are folded");
    }
}
