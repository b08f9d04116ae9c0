//! Files of a few bytes that ask for much memory or time are errors too, and what is wrong with them is found before
//! anything is allocated.

use candle_core::{DType, Device, Tensor};
use morphisms::{
    Architecture, Channels, Conv, Draft, FactorPart, Inheritance, Layer, Network, ParamKey, Rewrite, Shape,
    Source, Weights, catalog,
};

/// Parameters: `1.weight` to `6.bias`.
fn network() -> Network {
    Network::builder(Shape::map(1, 4, 4)).conv_bn_relu(2, 3).head(2).init(0).unwrap()
}

/// The error of a child that keeps everything but some parameters.
fn refused(parent: &Network, sources: &[(&str, Source)]) -> String {
    let architecture = parent.architecture().clone();
    let mut inheritance = Inheritance::keep(&architecture, &architecture);
    for (key, source) in sources {
        inheritance.sources.insert(key.parse().unwrap(), source.clone());
    }
    let text = serde_json::to_string(&inheritance).unwrap();
    let inheritance = serde_json::from_str(&text).unwrap();
    parent.child(&Rewrite { architecture, inheritance }, None).unwrap_err().to_string()
}

fn constant(shape: &[usize]) -> Source {
    Source::Constant { shape: shape.to_vec(), value: 0.0 }
}

#[test]
fn shapes_are_checked_before_numbers_are_made() {
    let parent = network();
    let misfit = refused(
        &parent,
        &[
            ("1.weight", constant(&[1 << 20])),
            // Has no centre, which is found out when it is made.
            ("2.gamma", Source::Dirac { channels: 1, kernel: (2, 2) }),
        ],
    );
    assert!(misfit.contains("1.weight: expected shape [2, 1, 3, 3], found [1048576]"), "{misfit}");
    let foreign = refused(
        &parent,
        &[("99.weight", constant(&[1 << 20])), ("2.gamma", Source::Dirac { channels: 1, kernel: (2, 2) })],
    );
    assert!(foreign.contains("2.gamma: expected shape [2], found [1, 1, 2, 2]"), "{foreign}");
}

#[test]
fn steps_in_between_are_bounded() {
    let parent = network();
    let wide = constant(&[1 << 22, 2]).gather(0, vec![0, 1], None);
    let found = refused(&parent, &[("6.weight", wide)]);
    assert!(found.contains("more numbers are computed than parent and child account for"), "{found}");
    let slow =
        Source::Factor { of: Box::new(constant(&[1 << 10, 1 << 6, 3, 3])), part: FactorPart::Pointwise };
    let found = refused(&parent, &[("1.weight", slow)]);
    assert!(found.contains("more numbers are computed than parent and child account for"), "{found}");
    let many = Source::Sum { of: vec![constant(&[1 << 16]); 100] };
    let found = refused(&parent, &[("1.weight", many)]);
    assert!(found.contains("more numbers are computed than parent and child account for"), "{found}");
}

/// What is bounded are files, not growth: an identity of 9 million taps in a network of 2,050 numbers.
#[test]
fn a_child_may_be_much_larger_than_its_parent() {
    let mut draft = Draft::new(Shape::map(4, 2, 2));
    let wider = |draft: &mut Draft, x| draft.push(Layer::Concat, &[x, x]);
    let wide = (0..8).fold(draft.input(), |x, _| wider(&mut draft, x));
    let relu = draft.push(Layer::RELU, &[wide]);
    draft.head(relu, 2);
    let parent = Network::init(draft.build().unwrap(), 0, DType::F32, &Device::Cpu).unwrap();
    let deepen = catalog::named("deepen").unwrap();
    let sites = deepen.sites(parent.architecture());
    let site = sites.iter().find(|site| site.layers == [relu]).unwrap();
    let rewrite = deepen.rewrite(parent.architecture(), site, 0).unwrap();
    let child = parent.child(&rewrite, None).unwrap();
    assert!(child.architecture().parameter_count() > 9 << 20);
}

#[test]
fn a_parameter_has_one_name() {
    for name in ["01.weight", "+1.weight", "1.weight.", "1.weigh", ".weight", "-1.weight", "1"] {
        assert!(name.parse::<ParamKey>().unwrap_err().to_string().contains(name), "{name}");
        let mut header = serde_json::Map::new();
        let about = serde_json::json!({ "dtype": "F32", "shape": [1], "data_offsets": [0, 4] });
        header.insert(name.into(), about);
        let mut bytes = serde_json::to_vec(&header).unwrap();
        bytes.splice(0..0, (bytes.len() as u64).to_le_bytes());
        bytes.extend(0f32.to_le_bytes());
        let error = Weights::from_safetensors(&bytes, &Device::Cpu).unwrap_err().to_string();
        assert!(error.contains(&format!("found `{name}`")), "{error}");
    }
}

#[test]
fn weights_are_floating_point_numbers() {
    let parent = network();
    let whole = |(key, tensor): (ParamKey, &Tensor)| (key, tensor.to_dtype(DType::I64).unwrap());
    let weights: Weights = parent.weights().iter().map(whole).collect();
    let error = Network::new(parent.architecture().clone(), weights).unwrap_err().to_string();
    assert!(error.contains("1.weight: expected floating-point numbers, found I64"), "{error}");
}

/// A layer that thousands read: the cost of each reader must not depend on how many others there are.
#[test]
fn thousands_read_one_layer() {
    let readers = 20_000;
    let mut draft = Draft::new(Shape::map(1, 2, 2));
    let all: Vec<_> = (0..readers).map(|_| draft.push(Layer::RELU, &[draft.input()])).collect();
    let sum = draft.push(Layer::Add, &all);
    draft.head(sum, 2);
    let built = draft.build().unwrap();
    let text = serde_json::to_string(&built).unwrap();
    let read: Architecture = serde_json::from_str(&text).unwrap();
    assert_eq!(read, built);
    // The images, and what all but the last reader made of them; the sum takes the place of nothing.
    assert_eq!(read.activation_memory(), 4 * 4 * (readers + 1));
}

/// A tensor beside itself, beside itself, and so on: each step doubles the pieces that its channels come in.
#[test]
fn concatenations_double_nothing_but_channels() {
    let mut draft = Draft::new(Shape::map(1, 2, 2));
    let mut x = draft.push(Layer::Conv(Conv::same(2, 3)), &[draft.input()]);
    for _ in 0..36 {
        x = draft.push(Layer::Concat, &[x, x]);
    }
    let x = draft.push(Layer::Conv(Conv::same(1, 1)), &[x]);
    draft.head(x, 2);
    let architecture = draft.build().unwrap();
    let channels = Channels::of(&architecture);
    // Of the first convolution's channels nothing can change, of the last one's all.
    assert_eq!(channels.groups.iter().map(|group| group.channels).collect::<Vec<_>>(), [1]);
    assert_eq!(channels.layout(x).len(), 1);
    for morphism in catalog::all() {
        morphism.sites(&architecture);
    }
}
