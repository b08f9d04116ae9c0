//! Models whose few bytes ask for much memory, much time, or a panic.

use super::*;
use crate::architecture::Architecture;

/// Enough nodes that a cost by their square is felt.
const MANY: usize = 20_000;

fn refused_with(largest: usize, write: impl FnOnce(&mut GraphBuilder)) -> String {
    let options = ImportOptions { largest, ..ImportOptions::default() };
    import(&model(17, graph(write)), &options).unwrap_err().to_string()
}

/// Reads a model on images of this shape.
fn on(image: &[usize], write: impl FnOnce(&mut GraphBuilder)) -> crate::Result<Import> {
    let mut graph = graph(write);
    graph.input[0] = value("x", image);
    import(&model(17, graph), &ImportOptions::default())
}

#[test]
fn images_beyond_all_bounds() {
    for image in [[1, 1 << 62, 2], [1 << 21, 1 << 21, 1], [1, usize::MAX >> 1, usize::MAX >> 1]] {
        let error = on(&image, |b| drop(b.node("Flatten", "y", &["x"], vec![]))).unwrap_err().to_string();
        assert!(error.contains("input `x`") && error.contains("numbers in one tensor"), "{error}");
    }
}

#[test]
fn maps_beyond_all_bounds() {
    let far = |side: usize| vec![ints("kernel_shape", &[1, 1]), ints("pads", &[side; 4])];
    for side in [1 << 20, 1 << 40, 1 << 61] {
        let padded = refusal(|b| {
            b.floats("w", &[1, 2, 1, 1], &[1.0, 1.0]);
            b.node("Conv", "a", &["x", "w"], far(side));
            b.node("Flatten", "y", &["a"], vec![]);
        });
        assert!(padded.contains("`a` (Conv)") && padded.contains("numbers in one tensor"), "{padded}");
    }
    let joined = refusal(|b| {
        let mut all = "x".to_string();
        for layer in 0..64 {
            all = b.node("Concat", &format!("c{layer}"), &[&all, &all], vec![int("axis", 1)]);
        }
        b.node("Flatten", "y", &[all], vec![]);
    });
    assert!(joined.contains("(Concat)") && joined.contains("numbers in one tensor"), "{joined}");
}

#[test]
fn a_vector_a_channel_is_counted_before_it_is_made() {
    let wide = |write: fn(&mut GraphBuilder)| on(&[1 << 39, 1, 1], write).unwrap_err().to_string();
    let found = [
        wide(|b| {
            b.floats("one", &[1, 1, 1, 1], &[1.0]);
            b.node("Sub", "a", &["one", "x"], vec![]);
            b.node("Flatten", "y", &["a"], vec![]);
        }),
        wide(|b| {
            b.floats("one", &[1], &[1.0]);
            b.node("GroupNormalization", "a", &["x", "one", "one"], vec![int("num_groups", 1)]);
            b.node("Flatten", "y", &["a"], vec![]);
        }),
    ];
    for error in found {
        assert!(error.contains("more numbers are computed"), "{error}");
    }
}

#[test]
fn arithmetic_on_constants_is_bounded() {
    let grown = refused_with(1 << 20, |b| {
        b.ints("sizes", &[1 << 20]);
        b.node("ConstantOfShape", "c0", &["sizes"], vec![]);
        b.floats("one", &[1], &[1.0]);
        for step in 0..8 {
            b.node("Add", &format!("c{}", step + 1), &[&format!("c{step}"), "one"], vec![]);
        }
        b.node("Add", "y", &["x", "c8"], vec![]);
    });
    assert!(grown.contains("`c5` (Add): more numbers are computed"), "{grown}");
    let folded = refused_with(1 << 20, |b| {
        b.ints("sizes", &[1 << 18, 2, 1, 1]);
        b.node("ConstantOfShape", "w", &["sizes"], vec![]);
        b.ints("each", &[1 << 18, 1, 1]);
        b.node("ConstantOfShape", "factor", &["each"], vec![]);
        let mut x = b.node("Conv", "conv", &["x", "w"], vec![]);
        for step in 0..20 {
            x = b.node("Mul", &format!("m{step}"), &[&x, "factor"], vec![]);
        }
        b.node("Flatten", "y", &[x], vec![]);
    });
    assert!(folded.contains("(Mul): more numbers are computed"), "{folded}");
}

#[test]
fn what_real_models_compute_from_their_weights_is_not_too_much() {
    let width = 1 << 20;
    let import = on(&[4, 1, 1], |b| {
        b.floats("stored", &[4, width], &vec![1.0; 4 * width]);
        b.floats("half", &[1], &[0.5]);
        b.node("Mul", "halved", &["stored", "half"], vec![]);
        b.node("Transpose", "turned", &["halved"], vec![ints("perm", &[1, 0])]);
        b.node("Add", "moved", &["turned", "half"], vec![]);
        b.node("Flatten", "flat", &["x"], vec![]);
        b.node("Gemm", "y", &["flat", "moved"], vec![int("transB", 1)]);
    });
    assert_eq!(import.unwrap().network.architecture().classes(), width);
}

#[test]
fn integers_are_few_and_shared() {
    let many = 1 << 13;
    let stored = refusal(|b| {
        b.ints("sizes", &vec![1; many]);
        b.node("Reshape", "y", &["x", "sizes"], vec![]);
    });
    assert!(stored.contains("tensor `sizes`: 8192 integers; at most 4096"), "{stored}");
    let joined = refusal(|b| {
        b.ints("sizes", &[1; 4000]);
        b.node("Concat", "all", &vec!["sizes"; MANY], vec![int("axis", 0)]);
        b.node("Reshape", "y", &["x", "all"], vec![]);
    });
    assert!(joined.contains("`all` (Concat): 8000 integers"), "{joined}");
}

#[test]
fn axes_are_few() {
    let axes: Vec<usize> = (0..MANY).collect();
    let stored = refusal(|b| {
        b.floats("w", &vec![1; MANY], &[1.0]);
        b.node("Add", "y", &["x", "w"], vec![]);
    });
    assert!(stored.contains("a tensor of 20000 axes"), "{stored}");
    let grown = read(11, |b| {
        b.floats("one", &[1], &[1.0]);
        b.node("Unsqueeze", "w", &["one"], vec![ints("axes", &axes)]);
        b.node("Add", "y", &["x", "w"], vec![]);
    });
    let grown = grown.unwrap_err().to_string();
    assert!(grown.contains("a tensor of 20001 axes"), "{grown}");
}

#[test]
fn an_empty_tensor_has_sizes_that_can_be_counted() {
    let error = refusal(|b| {
        b.ints("sizes", &[0, i64::MAX, i64::MAX]);
        b.node("ConstantOfShape", "w", &["sizes"], vec![]);
        b.node("Add", "y", &["x", "w"], vec![]);
    });
    assert!(error.contains("`w` (ConstantOfShape): a shape too large to count"), "{error}");
}

#[test]
fn a_message_shows_the_beginning_of_a_long_list() {
    let error = read(11, |b| {
        b.node("Pad", "a", &["x"], vec![ints("pads", &vec![7; MANY])]);
        b.node("Flatten", "y", &["a"], vec![]);
    });
    let error = error.unwrap_err().to_string();
    assert!(error.contains("7, 7] and 19984 more") && error.len() < 400, "{error}");
}

#[test]
fn of_many_names_the_first_are_shown() {
    let mut crowded = graph(|b| drop(b.node("Flatten", "y", &["x"], vec![])));
    crowded.output.extend((0..MANY).map(|place| value(&format!("o{place}"), &[1])));
    let found =
        |graph: &GraphProto| import(&model(17, graph.clone()), &ImportOptions::default()).unwrap_err();
    let error = found(&crowded).to_string();
    assert!(error.contains("found 20001: y, o0, o1") && error.ends_with("o38, ..."), "{error}");
    crowded.input.extend((0..MANY).map(|place| value(&format!("i{place}"), &[1])));
    let error = found(&crowded).to_string();
    assert!(error.contains("found 20001: x, i0, i1") && error.ends_with("i38, ..."), "{error}");
}

#[test]
fn of_many_reasons_the_first_are_kept() {
    let error = refusal(|b| {
        for node in 0..MANY {
            b.node("Einsum", &format!("n{node}"), &["x"], vec![]);
        }
        let all: Vec<String> = (0..MANY).map(|node| format!("n{node}")).collect();
        b.node("Sum", "y", &all, vec![]);
    });
    assert!(error.contains("`n39` (Einsum)") && !error.contains("`n40`"), "{error}");
    assert!(error.ends_with("and 19960 more"), "{error}");
}

/// Without a memory of what was made a map, the last 300 reshapes bring 300 layers each.
#[test]
fn vectors_that_are_made_maps_again_and_again() {
    let chain = 300;
    let import = read(17, |b| {
        b.node("GlobalAveragePool", "pooled", &["x"], vec![]);
        let mut x = b.node("Flatten", "v", &["pooled"], vec![]);
        for step in 0..chain {
            x = b.node("Tanh", &format!("t{step}"), &[&x], vec![]);
        }
        b.ints("map", &[0, 2, 1, 1]);
        let map = |place: usize| format!("m{place}");
        let maps: Vec<String> =
            (0..chain).map(|place| b.node("Reshape", &map(place), &[&x, "map"], vec![])).collect();
        b.node("Sum", "end", &maps, vec![]);
        b.node("Flatten", "y", &["end"], vec![]);
    });
    let layers = import.unwrap().network.architecture().nodes().len();
    assert_eq!(layers, 1 + 1 + chain + 1 + 1);
    let refused = refusal(|b| {
        let mut x = b.node("Flatten", "v", &["x"], vec![]);
        for step in 0..MANY {
            x = b.node("Tanh", &format!("t{step}"), &[&x], vec![]);
        }
        b.ints("map", &[0, 60, 1, 1]);
        let reshape = |place| b.node("Reshape", &format!("m{place}"), &[&x, "map"], vec![]);
        let maps: Vec<String> = (0..MANY).map(reshape).collect();
        b.node("Sum", "y", &maps, vec![]);
    });
    assert!(refused.contains("not one that comes from a map of 1x1"), "{refused}");
}

#[test]
fn a_name_is_needed() {
    let mut nameless = graph(|b| drop(b.node("Flatten", "y", &["x"], vec![])));
    nameless.input[0].name = None;
    let error = import(&model(17, nameless.clone()), &ImportOptions::default()).unwrap_err().to_string();
    assert!(error.contains("an input without a name"), "{error}");
    nameless.input[0].name = Some("x".into());
    nameless.output[0].name = Some(String::new());
    let error = import(&model(17, nameless), &ImportOptions::default()).unwrap_err().to_string();
    assert!(error.contains("an output without a name"), "{error}");
}

#[test]
fn names_that_a_model_would_have_twice_or_not_at_all() {
    let network = Network::builder(Shape::map(1, 4, 4)).conv_bn_relu(2, 3).head(2).init(1).unwrap();
    let named = |input: &str, output: &str| ExportOptions {
        input_name: input.into(),
        output_name: output.into(),
        ..ExportOptions::default()
    };
    for (options, part) in [
        (named("1.weight", "y"), "called `1.weight`"),
        (named("x", "1.weight"), "called `1.weight`"),
        (named("x", "x"), "called `x`"),
        (named("", "y"), "no name"),
        (named("x", ""), "no name"),
    ] {
        let error = export(&network, &options).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn factors_beyond_f32_are_neither_read_nor_written() {
    let read = refusal(|b| {
        b.floats("tiny", &[], &[1e-45]);
        b.node("Div", "end", &["x", "tiny"], vec![]);
        b.node("Flatten", "y", &["end"], vec![]);
    });
    assert!(read.contains("`end` (Div): a factor of 7.1"), "{read}");
    let mut draft = crate::Draft::new(Shape::map(1, 2, 2));
    let scaled = draft.push(Layer::Scale { factor: 1e300 }, &[draft.input()]);
    draft.head(scaled, 2);
    let network = Network::init(draft.build().unwrap(), 0, DType::F64, &Device::Cpu).unwrap();
    let written = export(&network, &ExportOptions::default()).unwrap_err().to_string();
    assert!(written.contains("1e300"), "{written}");
}

/// JSON has no infinity, so an architecture with one could be written and never be read.
#[test]
fn an_infinite_epsilon() {
    let error = refusal(|b| {
        for name in ["gamma", "beta", "mean", "variance"] {
            b.floats(name, &[2], &[1.0, 1.0]);
        }
        let inputs = ["x", "gamma", "beta", "mean", "variance"];
        b.node("BatchNormalization", "end", &inputs, vec![float("epsilon", f64::INFINITY)]);
        b.node("Flatten", "y", &["end"], vec![]);
    });
    assert!(error.contains("finite epsilon"), "{error}");
}

#[test]
fn images_are_not_made_integers() {
    let cast = |kind| {
        move |b: &mut GraphBuilder| {
            b.node("Cast", "end", &["x"], vec![int("to", kind)]);
            b.node("Flatten", "y", &["end"], vec![]);
        }
    };
    assert!(refusal(cast(3)).contains("a cast of images to the type Some(3)"));
    read(17, cast(1)).unwrap();
}

/// The network of every layer that is read survives JSON.
#[test]
fn what_is_read_can_be_written_as_json() {
    let import = read(17, |b| {
        b.node("LeakyRelu", "a", &["x"], vec![float("alpha", 1e-42)]);
        b.node("LRN", "end", &["a"], vec![int("size", usize::MAX >> 1), float("alpha", 3e38)]);
        b.node("Flatten", "y", &["end"], vec![]);
    });
    let found = import.unwrap().network;
    let text = serde_json::to_string(found.architecture()).unwrap();
    assert_eq!(&serde_json::from_str::<Architecture>(&text).unwrap(), found.architecture());
    let images = images(found.architecture().input(), 1, 0, DType::F32).unwrap();
    found.logits(&images).unwrap();
}

/// A model in a folder of its own, with a convolution whose kernel lies in the file `weights`.
struct Beside(std::path::PathBuf);

impl Beside {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("morphisms-onnx-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("model.onnx"), outside("weights")).unwrap();
        Self(folder)
    }

    fn error(&self) -> String {
        Network::load_onnx(self.0.join("model.onnx")).unwrap_err().to_string()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn weights_beside_a_model_are_as_long_as_their_tensor() {
    let beside = Beside::new("long");
    let wanted = |entries: &[(&str, &str)]| {
        let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
            key: Some((*key).into()),
            value: Some((*value).into()),
        };
        let mut model = ModelProto::decode(outside("weights").as_slice()).unwrap();
        model.graph.as_mut().unwrap().initializer[0].external_data = entries.iter().map(entry).collect();
        std::fs::write(beside.0.join("model.onnx"), model.encode_to_vec()).unwrap();
        beside.error()
    };
    // A sparse file of 2^40 bytes takes no room on the disk, and would take it in memory.
    std::fs::File::create(beside.0.join("weights")).unwrap().set_len(1 << 40).unwrap();
    let whole = wanted(&[("location", "weights")]);
    assert!(whole.contains("expected 8 bytes from 0 on, found 1099511627776"), "{whole}");
    let long = wanted(&[("location", "weights"), ("length", "1000000000000")]);
    assert!(long.contains("expected 8 bytes from 0 on, found 1000000000000"), "{long}");
    let far = wanted(&[("location", "weights"), ("offset", "18446744073709551615"), ("length", "8")]);
    assert!(far.contains("expected 8 bytes from 18446744073709551615 on, found 0"), "{far}");
}

#[test]
fn many_tensors_in_one_place_of_a_file_are_bounded() {
    let beside = Beside::new("same");
    std::fs::write(beside.0.join("weights"), [0; 16]).unwrap();
    let mut model = ModelProto::decode(outside("weights").as_slice()).unwrap();
    let tensors = &mut model.graph.as_mut().unwrap().initializer;
    let more = (0..9).map(|place| TensorProto { name: Some(format!("w{place}")), ..tensors[0].clone() });
    let more: Vec<_> = more.collect();
    tensors.extend(more);
    std::fs::write(beside.0.join("model.onnx"), model.encode_to_vec()).unwrap();
    let load = |largest| {
        let options = ImportOptions { largest, ..ImportOptions::default() };
        Import::load(beside.0.join("model.onnx"), &options)
    };
    let error = load(19).unwrap_err().to_string();
    assert!(error.contains("tensor `w8`: more numbers in files than are taken"), "{error}");
    load(20).unwrap();
}

#[cfg(unix)]
#[test]
fn a_pipe_beside_a_model_is_not_waited_for() {
    let beside = Beside::new("pipe");
    let made = std::process::Command::new("mkfifo").arg(beside.0.join("weights")).status().unwrap();
    assert!(made.success());
    assert!(beside.error().contains("`weights`, which is not a file"), "{}", beside.error());
}
