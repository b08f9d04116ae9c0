use super::*;
use crate::architecture::Draft;
use crate::builder::Builder;
use crate::init::Seed;
use crate::layer::{Conv, Shape, Window};

/// Convolution 1, batch norm 2 and ReLU 3 with four channels, read by layer 6.
fn network(changes: &[(u32, Role, Vec<f64>)]) -> Network {
    let mut draft = Draft::new(Shape::map(1, 4, 4));
    let relu = draft.conv_bn_relu(draft.input(), Conv::same(4, 1));
    draft.head(relu, 2);
    changed(draft, changes)
}

fn changed(draft: Draft, changes: &[(u32, Role, Vec<f64>)]) -> Network {
    let network = Network::init(draft.build().unwrap(), 0, DType::F64, &Device::Cpu).unwrap();
    let mut weights = network.weights().clone();
    for (layer, role, values) in changes {
        let key = ParamKey::new(LayerId(*layer), *role);
        let shape = weights.get(key).unwrap().dims().to_vec();
        weights.insert(key, Tensor::from_vec(values.clone(), shape, &Device::Cpu).unwrap());
    }
    Network::new(network.architecture().clone(), weights).unwrap()
}

fn dead(changes: &[(u32, Role, Vec<f64>)]) -> Vec<bool> {
    let network = network(changes);
    dead_channels(&network, &Channels::of(network.architecture()), 0).unwrap()
}

#[test]
fn a_channel_without_scale_is_dead_if_the_relu_shuts_what_is_left() {
    assert_eq!(dead(&[]), [false; 4], "fresh weights");
    let scale = (2, Role::Gamma, vec![0.0, 0.0, 0.0, 1.0]);
    assert_eq!(dead(&[scale, (2, Role::Beta, vec![-1.0, 0.0, 1.0, -9.0])]), [true, true, false, false]);
}

#[test]
fn a_channel_without_a_kernel_is_dead_if_the_batch_norm_keeps_it_down() {
    let kernel = (1, Role::Weight, vec![0.0, 0.0, 1.0, 1.0]);
    let below = (2, Role::Mean, vec![0.5, -0.5, 0.5, -0.5]);
    assert_eq!(dead(&[kernel, below]), [true, false, false, false]);
}

#[test]
fn a_channel_that_nobody_reads_is_dead() {
    let columns = vec![1.0, 0.0, 0.0, 2.0, 3.0, 0.0, 1.0, 0.0];
    assert_eq!(dead(&[(6, Role::Weight, columns)]), [false, true, false, false]);
}

/// Of a tensor that is there twice, a channel is dead if both are ignored; behind a flatten, if all its places are.
#[test]
fn a_channel_that_somebody_reads_somewhere_is_alive() {
    let mut draft = Draft::new(Shape::map(1, 1, 2));
    let [a, b] = [3, 2].map(|channels| draft.conv_bn_relu(draft.input(), Conv::same(channels, 1)));
    let joined = draft.push(Layer::Concat, &[b, a, a]);
    let flat = draft.push(Layer::Flatten, &[joined]);
    let logits = draft.push(Layer::Linear { out_features: 1, bias: true }, &[flat]);
    draft.set_output(logits);
    let columns =
        [[0.0, 0.0, 1.0, 0.0].as_slice(), &[1.0, 0.0, 0.0, 0.0, 0.0, 0.0], &[0.0, 0.0, 0.0, 1.0, 0.0, 0.0]];
    let network = changed(draft, &[(logits.0, Role::Weight, columns.concat())]);
    let channels = Channels::of(network.architecture());
    let [of_a, of_b] = [0, 1].map(|place| dead_channels(&network, &channels, place).unwrap());
    assert_eq!((&of_a[..], &of_b[..]), (&[false, false, true][..], &[true, false][..]));
}

#[test]
fn a_channel_is_dead_if_all_its_readers_ignore_it() {
    let mut draft = Draft::new(Shape::map(1, 4, 4));
    let relu = draft.conv_bn_relu(draft.input(), Conv::same(4, 1));
    let dense = draft.push(Layer::Conv(Conv::same(1, 1)), &[relu]);
    let grouped = draft.push(Layer::Conv(Conv { groups: 2, ..Conv::same(4, 1) }), &[relu]);
    let joined = draft.push(Layer::Concat, &[dense, grouped]);
    draft.head(joined, 2);
    // Two rows of the first two channels and two of the others.
    let blocks = vec![0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0];
    let read = [(dense.0, Role::Weight, vec![0.0, 0.0, 1.0, 0.0]), (grouped.0, Role::Weight, blocks)];
    let network = changed(draft, &read);
    let dead = dead_channels(&network, &Channels::of(network.architecture()), 0).unwrap();
    assert_eq!(dead, [true, false, false, true]);
}

#[test]
fn a_layer_norm_would_miss_channels_that_nobody_else_reads() {
    let mut draft = Draft::new(Shape::map(1, 4, 4));
    let conv = draft.push(Layer::Conv(Conv::same(4, 1)), &[draft.input()]);
    let norm = draft.push(Layer::GroupNorm { grouping: Grouping::All, eps: Layer::EPS }, &[conv]);
    let logits = draft.head(norm, 1);
    let network = changed(draft, &[(logits.0, Role::Weight, vec![0.0; 4])]);
    assert_eq!(dead_channels(&network, &Channels::of(network.architecture()), 0).unwrap(), [false; 4]);
}

#[test]
fn constants_are_shuffled_with_their_channels_and_zeros_pass_local_responses() {
    let response = Layer::LocalResponseNorm { size: 3, alpha: 1.0, beta: 0.75, bias: 1.0 };
    let builder = Network::builder(Shape::map(1, 2, 2)).conv(4, 1).batch_norm();
    let builder = builder.channel_shuffle(2).layer(response).head(2);
    let network = builder.init_on(0, DType::F64, &Device::Cpu).unwrap();
    let mut weights = network.weights().clone();
    for (role, values) in [(Role::Gamma, [1.0, 0.0, 0.0, 1.0]), (Role::Beta, [0.0, 0.0, 3.0, 0.0])] {
        weights.insert(ParamKey::new(LayerId(2), role), Tensor::new(&values, &Device::Cpu).unwrap());
    }
    let network = Network::new(network.architecture().clone(), weights).unwrap();
    let constants = Constants::of(&network).unwrap();
    assert_eq!(constants.of[&LayerId(3)], [None, Some(3.0), Some(0.0), None]);
    assert_eq!(constants.of[&LayerId(4)], [None, None, Some(0.0), None]);
}

/// At the border an average pooling mixes in zeros, so a constant is none behind it; but not if padding does not
/// count.
#[test]
fn a_constant_does_not_survive_a_padded_average_pooling() {
    let dead = |kind, constant: f64| {
        let pool = Layer::Pool { kind, window: Window::same(3) };
        let builder = Network::builder(Shape::map(1, 4, 4)).conv(2, 1).batch_norm().layer(pool);
        let network = builder.batch_norm().head(2).init_on(0, DType::F64, &Device::Cpu).unwrap();
        let mut weights = network.weights().clone();
        let mut set = |layer, role, value: f64| {
            let values = Tensor::new(&[value; 2], &Device::Cpu).unwrap();
            weights.insert(ParamKey::new(LayerId(layer), role), values);
        };
        // The same number before the pooling, and behind it zeros everywhere but at the border.
        set(2, Role::Gamma, 0.0);
        set(2, Role::Beta, constant);
        set(4, Role::Mean, constant);
        let network = Network::new(network.architecture().clone(), weights).unwrap();
        let channels = Channels::of(network.architecture());
        dead_channels(&network, &channels, 0).unwrap()
    };
    for constant in [1.0, -1.0] {
        assert_eq!(dead(PoolKind::Average, constant), [false, false], "{constant}");
        assert_eq!(dead(PoolKind::AverageExcludingPadding, constant), [true, true], "{constant}");
    }
}

/// A network whose weights leave traces. Of eight channels batch norm 2 passes on two, makes two zero and four constant, one
/// of them because its kernel is zero; of every four rows of a kernel one reads everything, two read one channel and one
/// reads nothing.
fn traced(builder: Builder) -> Network {
    let network = builder.init_on(3, DType::F64, &Device::Cpu).unwrap();
    let paint = |(key, tensor): (ParamKey, &Tensor)| {
        let row_size: usize = tensor.dims()[1..].iter().product();
        let taps: usize = tensor.dims().iter().skip(2).product();
        let drawn: Vec<f64> = tensor.flatten_all().unwrap().to_vec1().unwrap();
        let first = key.layer == LayerId(2);
        let value = |(at, drawn): (usize, f64)| {
            let (row, column) = (at / row_size, at % row_size / taps);
            let number = row as f64;
            match key.role {
                Role::Weight if row % 4 == 0 || (row % 4 < 3 && column + 1 == row % 4) => drawn,
                Role::Weight => 0.0,
                Role::Gamma if first => [1.5, 0.0, 0.0, 0.0, 0.0, 0.75, 0.0, 1.25][row],
                Role::Beta if first => [0.25, 0.0, 2.0, -3.0, 0.0, -0.25, 1.5, 0.5][row],
                Role::Gamma => [0.5, 1.5, 0.0, -1.0, 2.0, 0.75, 1.0, 0.0][row % 8],
                Role::Beta => [0.25, -0.5, 0.0, 1.0, 0.75, -0.25, 0.5, 2.0][row % 8],
                Role::Bias => 0.5 - 0.125 * number,
                Role::Mean => 0.5 - 0.25 * number,
                Role::Variance => 0.5 + number,
                Role::Lambda => 0.375,
                Role::Slope => 0.25 + 0.0625 * number,
            }
        };
        let values = drawn.into_iter().enumerate().map(value).collect();
        (key, Tensor::from_vec(values, tensor.dims(), &Device::Cpu).unwrap())
    };
    let weights = network.weights().iter().map(paint).collect();
    Network::new(network.architecture().clone(), weights).unwrap()
}

/// The slices of a layer's output that are one number in both of two random images and everywhere in them.
fn seen(network: &Network, layer: LayerId) -> Vec<Option<f64>> {
    let images = Seed { seed: 1, stream: 0 }.normal(1.0, 2 * 2 * 16);
    let images = Tensor::from_vec(images, (2, 2, 4, 4), &Device::Cpu).unwrap();
    let output = network.activation(&images, layer).unwrap().transpose(0, 1).unwrap();
    let slices: Vec<Vec<f64>> =
        output.contiguous().unwrap().reshape((output.dim(0).unwrap(), ())).unwrap().to_vec2().unwrap();
    let constant = |slice: &Vec<f64>| slice.iter().all(|value| (value - slice[0]).abs() < 1e-12);
    slices.iter().map(|slice| constant(slice).then_some(slice[0])).collect()
}

/// Neither more nor less than what the layers yield.
#[test]
fn constants_are_what_every_layer_yields_everywhere() {
    let image = || Network::builder(Shape::map(2, 4, 4));
    let normalised = || image().conv(8, 3).batch_norm();
    let pool = Layer::Pool { kind: PoolKind::AverageExcludingPadding, window: Window::same(3) };
    let biased = |out, groups| Conv { groups, bias: true, ..Conv::same(out, 3) };
    let networks = [
        normalised().prelu().scale(-2.0).batch_norm().activation(Activation::Sigmoid).dropout(0.5).head(1),
        normalised().max_pool(2).channel_shuffle(2).flatten().linear(1),
        normalised().conv_with(biased(12, 1)).batch_norm().relu().head(1),
        normalised().conv_with(biased(12, 2)).layer(pool).flatten().linear(1),
        normalised().conv_with(biased(8, 8)).channel_shuffle(4).flatten().linear(1),
        normalised().group_norm(Grouping::Each).prelu().head(1),
        normalised().layer_norm().prelu().group_norm(Grouping::Groups(2)).head(1),
        normalised().mix(Builder::batch_norm).head(1),
        normalised().residual(|x| x.scale(0.5).batch_norm()).concat(|x| x.scale(3.0)).flatten().linear(1),
        normalised().squeeze_excite(4).branches(Layer::Multiply, &[&|x| x, &Builder::batch_norm]).head(1),
    ];
    for network in networks.map(traced) {
        let constants = Constants::of(&network).unwrap();
        for node in network.architecture().nodes() {
            let (claimed, seen) = (&constants.of[&node.id], seen(&network, node.id));
            let close = |(a, b): (&Option<f64>, &Option<f64>)| match (a, b) {
                (Some(a), Some(b)) => (a - b).abs() < 1e-9,
                (a, b) => a == b,
            };
            let same = claimed.len() == seen.len() && claimed.iter().zip(&seen).all(close);
            assert!(same, "{} {}: {claimed:?}, seen {seen:?}", node.id, node.layer);
        }
    }
}
