//! Models as other exporters write them, and models that nobody should have written.

mod hostile;

use candle_core::{DType, Device, Tensor};
use prost::Message;

use super::build::{GraphBuilder, float, int, ints, value};
use super::schema::tensor_proto::{DataLocation, DataType};
use super::schema::{
    AttributeProto, GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
};
use super::{ExportOptions, Import, ImportOptions, InputAffine, export, import};
use crate::activation::Activation;
use crate::check::images;
use crate::layer::{Grouping, Layer, Padding, PoolKind, Shape, Window};
use crate::network::Network;

const INPUT: [usize; 3] = [2, 6, 5];

fn model(opset: i64, graph: GraphProto) -> Vec<u8> {
    let set = OperatorSetIdProto { domain: Some(String::new()), version: Some(opset) };
    ModelProto { opset_import: vec![set], graph: Some(graph), ..ModelProto::default() }.encode_to_vec()
}

/// A graph on images `x` of 2x6x5 whose output is `y`.
fn graph(write: impl FnOnce(&mut GraphBuilder)) -> GraphProto {
    let mut builder = GraphBuilder::default();
    builder.graph.input.push(value("x", &INPUT));
    builder.graph.output.push(value("y", &[1]));
    write(&mut builder);
    builder.graph
}

fn read(opset: i64, write: impl FnOnce(&mut GraphBuilder)) -> crate::Result<Import> {
    import(&model(opset, graph(write)), &ImportOptions::default())
}

fn refusal(write: impl FnOnce(&mut GraphBuilder)) -> String {
    read(17, write).unwrap_err().to_string()
}

/// What the nodes between the image and a flatten that ends the network become, without the input.
fn layers(opset: i64, write: impl FnOnce(&mut GraphBuilder)) -> Vec<Layer> {
    let import = read(opset, |builder| {
        write(builder);
        builder.node("Flatten", "y", &["end"], vec![]);
    });
    let import = import.unwrap();
    let layers: Vec<Layer> = import.network.architecture().nodes().map(|node| node.layer).collect();
    assert_eq!((layers[0], layers[layers.len() - 1]), (Layer::Input, Layer::Flatten));
    layers[1..layers.len() - 1].to_vec()
}

fn logits(network: &Network) -> Vec<f32> {
    let images = images(network.architecture().input(), 2, 0, DType::F32).unwrap();
    network.logits(&images).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto { name: Some(name.into()), s: Some(value.into()), ..AttributeProto::default() }
}

#[test]
fn activations_that_are_written_as_formulas_are_recognised() {
    let silu = layers(17, |b| {
        b.node("Sigmoid", "gate", &["x"], vec![]);
        b.node("Mul", "end", &["gate", "x"], vec![]);
    });
    assert_eq!(silu, [Layer::Activation(Activation::Silu)]);
    for (half_first, last) in [(true, 0.5), (false, 0.5)] {
        let gelu = layers(17, |b| {
            b.floats("root", &[], &[std::f32::consts::SQRT_2]);
            b.floats("one", &[], &[1.0]);
            b.floats("half", &[], &[last]);
            b.node("Div", "scaled", &["x", "root"], vec![]);
            b.node("Erf", "erf", &["scaled"], vec![]);
            b.node("Add", "gate", &["erf", "one"], vec![]);
            let x = if half_first { b.node("Mul", "halved", &["x", "half"], vec![]) } else { "x".into() };
            let product = if half_first { "end" } else { "product" };
            b.node("Mul", product, &[x.as_str(), "gate"], vec![]);
            if !half_first {
                b.node("Mul", "end", &["product", "half"], vec![]);
            }
        });
        assert_eq!(gelu, [Layer::Activation(Activation::Gelu)]);
    }
}

#[test]
fn bounds_are_attributes_before_set_11_and_operands_since() {
    let attributes = vec![float("min", 0.0), float("max", 6.0)];
    assert_eq!(
        layers(10, |b| drop(b.node("Clip", "end", &["x"], attributes))),
        [Layer::Activation(Activation::Relu6)]
    );
    let operands = layers(13, |b| {
        b.floats("low", &[], &[-1.0]);
        b.floats("high", &[1], &[2.5]);
        b.node("Clip", "end", &["x", "low", "high"], vec![]);
    });
    assert_eq!(operands, [Layer::Activation(Activation::Clip { low: -1.0, high: 2.5 })]);
}

#[test]
fn a_hard_sigmoid_of_another_slope_is_scaled_first() {
    let found = layers(17, |b| drop(b.node("HardSigmoid", "end", &["x"], vec![])));
    assert_eq!(found, [Layer::Scale { factor: 6.0 * 0.2 }, Layer::Activation(Activation::HardSigmoid)]);
}

#[test]
fn a_channel_shuffle_is_three_nodes() {
    let found = layers(17, |b| {
        b.ints("split", &[0, 2, 1, 6, 5]);
        b.ints("joined", &[0, -1, 6, 5]);
        b.node("Reshape", "a", &["x", "split"], vec![]);
        b.node("Transpose", "b", &["a"], vec![ints("perm", &[0, 2, 1, 3, 4])]);
        b.node("Reshape", "end", &["b", "joined"], vec![]);
    });
    assert_eq!(found, [Layer::ChannelShuffle { groups: 2 }]);
}

#[test]
fn a_group_norm_is_an_instance_norm_between_reshapes() {
    let import = read(17, |b| {
        b.ints("split", &[0, 1, -1]);
        b.floats("one", &[1], &[2.0]);
        b.floats("zero", &[1], &[0.5]);
        b.floats("gamma", &[2, 1, 1], &[1.0, 3.0]);
        b.floats("beta", &[2, 1, 1], &[0.25, -1.0]);
        b.node("Reshape", "a", &["x", "split"], vec![]);
        b.node("InstanceNormalization", "b", &["a", "one", "zero"], vec![float("epsilon", 1e-3)]);
        b.node("Shape", "shape", &["x"], vec![]);
        b.node("Reshape", "c", &["b", "shape"], vec![]);
        b.node("Mul", "d", &["c", "gamma"], vec![]);
        b.node("Add", "e", &["d", "beta"], vec![]);
        b.node("Flatten", "y", &["e"], vec![]);
    });
    let network = import.unwrap().network;
    let norm = network.architecture().nodes().nth(1).unwrap().clone();
    assert_eq!(norm.layer, Layer::GroupNorm { grouping: Grouping::All, eps: 1e-3 });
    let of =
        |role| network.weights().get(crate::ParamKey::new(norm.id, role)).unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(of(crate::Role::Gamma), [2.0, 6.0]);
    assert_eq!(of(crate::Role::Beta), [0.75, 0.5]);
}

#[test]
fn padding_is_resolved_to_four_sides() {
    let pool = |attributes: Vec<AttributeProto>| {
        let mut attributes = attributes;
        attributes.push(ints("kernel_shape", &[3, 3]));
        attributes.push(ints("strides", &[2, 2]));
        match layers(17, |b| drop(b.node("MaxPool", "end", &["x"], attributes)))[..] {
            [Layer::Pool { kind: PoolKind::Max, window }] => window.padding,
            ref other => panic!("{other:?}"),
        }
    };
    // 6 rows by windows of 3 in steps of 2: three windows reach over 7.
    let same = |at: &str| pool(vec![text("auto_pad", at)]);
    assert_eq!(same("SAME_UPPER"), Padding { top: 0, left: 1, bottom: 1, right: 1 });
    assert_eq!(same("SAME_LOWER"), Padding { top: 1, left: 1, bottom: 0, right: 1 });
    assert_eq!(same("VALID"), Padding::NONE);
    assert_eq!(pool(vec![int("ceil_mode", 1)]), Padding { bottom: 1, ..Padding::NONE });
    assert_eq!(pool(vec![ints("pads", &[1, 0, 0, 1])]), Padding { top: 1, left: 0, bottom: 0, right: 1 });
}

#[test]
fn zeros_around_a_map_become_the_padding_of_the_convolution_behind() {
    let found = layers(17, |b| {
        b.ints("pads", &[0, 0, 0, 1, 0, 0, 2, 0]);
        b.floats("w", &[1, 2, 3, 3], &[0.5; 18]);
        b.node("Pad", "padded", &["x", "pads"], vec![]);
        b.node("Conv", "end", &["padded", "w"], vec![ints("pads", &[1, 0, 0, 1])]);
    });
    let [Layer::Conv(conv)] = found[..] else { panic!("{found:?}") };
    assert_eq!(conv.window.padding, Padding { top: 1, left: 1, bottom: 2, right: 1 });
}

#[test]
fn numbers_a_channel_go_into_the_layer_before_if_nobody_else_reads_it() {
    let shared = |shared: bool| {
        layers(17, |b| {
            b.floats("w", &[2, 2, 1, 1], &[1.0, 2.0, 3.0, 4.0]);
            b.floats("factor", &[2], &[2.0, 0.5]);
            b.node("Conv", "a", &["x", "w"], vec![]);
            b.node("Unsqueeze", "factors", &["factor"], vec![ints("axes", &[1, 2])]);
            b.node("Mul", "b", &["a", "factors"], vec![]);
            b.node("Identity", "c", &["a"], vec![]);
            b.node("Sum", "end", &[if shared { "c" } else { "b" }, "b"], vec![]);
        })
    };
    assert_eq!(shared(false).len(), 2, "the convolution and the sum");
    let kept = shared(true);
    assert!(
        matches!(kept[1], Layer::Conv(conv) if conv.groups == 2 && conv.window == Window::same(1)),
        "{kept:?}"
    );
}

#[test]
fn squeeze_and_excite_by_linear_layers_becomes_one_by_convolutions() {
    let network = read(17, |b| {
        b.floats("w", &[2, 2], &[1.0, -2.0, 0.5, 1.0]);
        b.floats("bias", &[2], &[0.1, 0.2]);
        b.node("GlobalAveragePool", "a", &["x"], vec![]);
        b.node("Flatten", "b", &["a"], vec![]);
        b.node("Gemm", "c", &["b", "w", "bias"], vec![int("transB", 1)]);
        b.node("Sigmoid", "d", &["c"], vec![]);
        b.ints("map", &[0, 2, 1, 1]);
        b.node("Reshape", "gate", &["d", "map"], vec![]);
        b.node("Mul", "e", &["gate", "x"], vec![]);
        b.node("ReduceMean", "y", &["e"], vec![ints("axes", &[2, 3]), int("keepdims", 0)]);
    });
    let network = network.unwrap().network;
    let kinds: Vec<String> = network.architecture().nodes().map(|node| node.layer.to_string()).collect();
    let expected = [
        "input",
        "global average pool",
        "conv 1x1, 2",
        "sigmoid",
        "multiply",
        "global average pool",
        "flatten",
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn what_a_model_is_around_its_network_survives() {
    let network = Network::builder(Shape::map(3, 4, 5)).conv_bn_relu(4, 3).head(3).init(1).unwrap();
    let options = ExportOptions {
        channels_last: true,
        softmax: true,
        input_name: "in".into(),
        output_name: "out".into(),
        metadata: [("classes".to_string(), "[1]".to_string())].into(),
        fold_batch_norms: false,
        ..ExportOptions::default()
    };
    let bytes = export(&network, &options).unwrap();
    let found = import(&bytes, &ImportOptions::default()).unwrap();
    assert_eq!(ExportOptions { fold_batch_norms: false, ..found.export_options() }, options);
    assert_eq!(logits(&found.network), logits(&network));
    assert!(found.network.architecture().is_isomorphic(network.architecture()));
}

#[test]
fn a_baked_in_normalisation_is_a_convolution_of_the_import() {
    let network = Network::builder(Shape::map(3, 4, 5)).conv_bn_relu(4, 3).head(3).init(1).unwrap();
    let input = InputAffine { scale: vec![0.5, 2.0, 1.0], shift: vec![1.0, -1.0, 0.25] };
    let options = ExportOptions { input: Some(input), ..ExportOptions::default() };
    let found = Network::from_onnx(&export(&network, &options).unwrap()).unwrap();
    let x = images(Shape::map(3, 4, 5), 2, 0, DType::F32).unwrap();
    let column = |values: [f32; 3]| Tensor::new(&values, &Device::Cpu).unwrap().reshape((3, 1, 1)).unwrap();
    let scaled = x.broadcast_mul(&column([0.5, 2.0, 1.0])).unwrap();
    let normal = scaled.broadcast_add(&column([1.0, -1.0, 0.25])).unwrap();
    let (a, b) = (found.logits(&x).unwrap(), network.logits(&normal).unwrap());
    let moved = (a - &b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(moved < 1e-5, "{moved}");
}

#[test]
fn every_reason_is_in_one_message() {
    let message = refusal(|b| {
        b.node("Einsum", "first", &["x"], vec![]);
        b.node("Relu", "second", &["first"], vec![]);
        b.node("LSTM", "third", &["second"], vec![]);
        b.node("Softmax", "fourth", &["x"], vec![int("axis", 2)]);
        b.node("Sum", "y", &["third", "fourth"], vec![]);
        b.node("TopK", "unused", &["x"], vec![]);
    });
    for part in ["`first` (Einsum)", "`third` (LSTM)", "`fourth` (Softmax): a softmax over"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(!message.contains("second") && !message.contains("unused"), "{message}");
}

#[test]
fn graphs_that_are_none_are_refused() {
    let cycle = refusal(|b| {
        b.node("Sum", "a", &["x", "b"], vec![]);
        b.node("Relu", "b", &["a"], vec![]);
        b.node("Flatten", "y", &["b"], vec![]);
    });
    assert!(cycle.contains("`a` (Sum): reads `b`, which nothing before it makes"), "{cycle}");
    let missing = refusal(|b| drop(b.node("Conv", "y", &["x", "w"], vec![])));
    assert!(missing.contains("reads `w`"), "{missing}");
    assert!(refusal(|_| ()).contains("output `y`: nothing makes it"));
    let constant = refusal(|b| drop(b.floats("y", &[1], &[1.0])));
    assert!(constant.contains("does not depend on the images"), "{constant}");
    let map = refusal(|b| drop(b.node("Relu", "y", &["x"], vec![])));
    assert!(map.contains("expected a vector of logits, found a map of 2x6x5"), "{map}");
    let old = read(6, |b| drop(b.node("Flatten", "y", &["x"], vec![]))).unwrap_err().to_string();
    assert!(old.contains("expected operator set 7 or newer, found 6"), "{old}");
}

#[test]
fn what_a_few_bytes_ask_for_is_bounded() {
    let huge = refusal(|b| {
        b.ints("shape", &[1 << 20, 2, 1 << 10, 1 << 10]);
        b.node("ConstantOfShape", "w", &["shape"], vec![]);
        b.node("Conv", "a", &["x", "w"], vec![]);
        b.node("Flatten", "y", &["a"], vec![]);
    });
    assert!(huge.contains("`w` (ConstantOfShape): 2199023255552 numbers"), "{huge}");
    let overflow = refusal(|b| {
        b.ints("shape", &[i64::MAX, i64::MAX, 8]);
        b.node("ConstantOfShape", "w", &["shape"], vec![]);
        b.node("Conv", "y", &["x", "w"], vec![]);
    });
    assert!(overflow.contains("too large to count"), "{overflow}");
    let repeated = graph(|b| {
        b.ints("shape", &[1 << 9, 1 << 9, 1, 1]);
        b.ints("first", &[1 << 9, 2, 1, 1]);
        b.node("ConstantOfShape", "w", &["shape"], vec![]);
        b.node("ConstantOfShape", "v", &["first"], vec![]);
        let mut x = b.node("Conv", "first_conv", &["x", "v"], vec![]);
        for layer in 0..9 {
            x = b.node("Conv", &format!("conv{layer}"), &[x.as_str(), "w"], vec![]);
        }
        b.node("Flatten", "y", &[x], vec![]);
    });
    let options = ImportOptions { largest: 1 << 20, ..ImportOptions::default() };
    let repeated = import(&model(17, repeated), &options).unwrap_err().to_string();
    assert!(repeated.contains("more parameters than are taken"), "{repeated}");
    let short = refusal(|b| {
        b.graph.initializer.push(TensorProto {
            name: Some("w".into()),
            dims: vec![1, 2, 1, 1],
            data_type: Some(DataType::Float.into()),
            raw_data: Some(vec![0; 7].into()),
            ..TensorProto::default()
        });
        b.node("Conv", "y", &["x", "w"], vec![]);
    });
    assert!(short.contains("tensor `w`: 7 bytes for a tensor of shape [1, 2, 1, 1]"), "{short}");
}

#[test]
fn a_file_cut_short_anywhere_is_no_model() {
    let network = Network::builder(Shape::map(1, 4, 4)).conv_bn_relu(2, 3).head(2).init(1).unwrap();
    let bytes = export(&network, &ExportOptions::default()).unwrap();
    for length in 0..bytes.len() {
        assert!(Network::from_onnx(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
    }
}

/// A convolution whose kernel lies in `location`.
fn outside(location: &str) -> Vec<u8> {
    let entry =
        |key: &str, value: &str| StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) };
    let graph = graph(|b| {
        b.graph.initializer.push(TensorProto {
            name: Some("w".into()),
            dims: vec![1, 2, 1, 1],
            data_type: Some(DataType::Float.into()),
            data_location: Some(DataLocation::External.into()),
            external_data: vec![entry("location", location), entry("offset", "4"), entry("length", "8")],
            ..TensorProto::default()
        });
        b.node("Conv", "a", &["x", "w"], vec![]);
        b.node("Flatten", "y", &["a"], vec![]);
    });
    model(17, graph)
}

#[test]
fn weights_beside_a_model_are_read_and_those_elsewhere_are_not() {
    let folder = std::env::temp_dir().join(format!("morphisms-onnx-{}", std::process::id()));
    let inner = folder.join("inner");
    std::fs::create_dir_all(&inner).unwrap();
    let numbers: Vec<u8> = [9f32, 1.0, -2.0].iter().flat_map(|number| number.to_le_bytes()).collect();
    std::fs::write(inner.join("weights"), &numbers).unwrap();
    std::fs::write(folder.join("secret"), &numbers).unwrap();
    let load = |location: &str| {
        let path = inner.join("model.onnx");
        std::fs::write(&path, outside(location)).unwrap();
        Network::load_onnx(path).map_err(|error| error.to_string())
    };
    let found = load("weights").unwrap();
    let key = crate::ParamKey::new(found.architecture().nodes().nth(1).unwrap().id, crate::Role::Weight);
    let values = found.weights().get(key).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(values, [1.0, -2.0]);
    let absolute = folder.join("secret").display().to_string();
    for location in ["../secret", "./../secret", absolute.as_str()] {
        let error = load(location).unwrap_err();
        assert!(error.contains("outside the model's folder") && error.contains("model.onnx"), "{error}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(folder.join("secret"), inner.join("link")).unwrap();
        let error = load("link").unwrap_err();
        assert!(error.contains("outside the model's folder"), "{error}");
    }
    assert!(load("nothing").unwrap_err().contains("`nothing`"));
    let unnamed = import(&outside("weights"), &ImportOptions::default()).unwrap_err().to_string();
    assert!(unnamed.contains("does not come from a folder"), "{unnamed}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_shape_of_an_image_is_asked_for_where_a_model_leaves_it_open() {
    let mut graph = graph(|b| drop(b.node("Flatten", "y", &["x"], vec![])));
    let open = |graph: &mut GraphProto| {
        use super::schema::{tensor_shape_proto::dimension, type_proto};
        let kind = graph.input[0].r#type.as_mut().unwrap().value.as_mut().unwrap();
        let type_proto::Value::TensorType(tensor) = kind else { panic!("no tensor") };
        for dim in &mut tensor.shape.as_mut().unwrap().dim[2..] {
            dim.value = Some(dimension::Value::DimParam("size".into()));
        }
    };
    open(&mut graph);
    let bytes = model(17, graph);
    let with = |input| import(&bytes, &ImportOptions { input, ..ImportOptions::default() });
    let error = with(None).unwrap_err().to_string();
    assert!(error.contains("images of 2x?x?"), "{error}");
    assert_eq!(with(Some(Shape::map(2, 3, 4))).unwrap().network.architecture().input(), Shape::map(2, 3, 4));
    let error = with(Some(Shape::map(3, 3, 4))).unwrap_err().to_string();
    assert!(error.contains("images of 2x?x?, but 3x3x4"), "{error}");
}

#[test]
fn shape_arithmetic_is_carried_out() {
    let found = layers(17, |b| {
        b.node("Shape", "shape", &["x"], vec![]);
        b.ints("zero", &[0]);
        b.ints("one", &[1]);
        b.ints("end_of_slice", &[2]);
        b.ints("rest", &[30]);
        b.node("Slice", "batch", &["shape", "zero", "one"], vec![]);
        b.node("Slice", "channels", &["shape", "one", "end_of_slice"], vec![]);
        b.node("Mul", "product", &["channels", "rest"], vec![]);
        b.node("Concat", "target", &["batch", "product"], vec![int("axis", 0)]);
        b.node("Reshape", "end", &["x", "target"], vec![]);
    });
    assert_eq!(found, []);
}
