//! Files that nobody should write are errors, never panics.

use candle_core::{DType, Device};
use morphisms::strategies::{Limits, any_architecture};
use morphisms::{Architecture, Conv, Draft, Inheritance, Network, Shape, Site, catalog, check};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::common::cases;

fn document() -> Value {
    let mut draft = Draft::new(Shape::map(1, 8, 8));
    let x = draft.conv_bn_relu(draft.input(), Conv::same(4, 3));
    let x = draft.max_pool(x, 2);
    draft.head(x, 2);
    serde_json::to_value(draft.build().unwrap()).unwrap()
}

/// The error that a changed document gives.
fn refused(change: impl FnOnce(&mut Value)) -> String {
    let mut document = document();
    change(&mut document);
    match serde_json::from_value::<Architecture>(document.clone()) {
        Ok(_) => panic!("accepted {document}"),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn assert_refused(expected: &str, change: impl FnOnce(&mut Value)) {
    let error = refused(change);
    assert!(error.contains(expected), "expected `{expected}`, found `{error}`");
}

#[test]
fn graphs_that_are_no_networks() {
    assert_refused("cycle", |d| d["layers"][1]["inputs"] = json!([3]));
    assert_refused("cycle", |d| d["layers"][3]["inputs"] = json!([3]));
    assert_refused("reads layer 99", |d| d["layers"][1]["inputs"] = json!([99]));
    assert_refused("layer 99, does not exist", |d| d["output"] = json!(99));
    assert_refused("layer 2 is listed twice", |d| d["layers"][3]["id"] = json!(2));
    assert_refused("do not lead to the output", |d| {
        d["layers"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "id": 50, "type": "activation", "function": "relu", "inputs": [3] }));
    });
    assert_refused("do not lead to the output", |d| d["output"] = json!(6));
    assert_refused("must be a vector", |d| {
        d["layers"].as_array_mut().unwrap().truncate(5);
        d["output"] = json!(4);
    });
    assert_refused("one input layer, found 0", |d| drop(d["layers"].as_array_mut().unwrap().remove(0)));
    assert_refused("one input layer, found 2", |d| {
        d["layers"].as_array_mut().unwrap().push(json!({ "id": 50, "type": "input" }));
    });
    assert_refused("cycle", |d| d["layers"][0]["inputs"] = json!([1]));
    assert_refused("one map", |d| d["layers"][1]["inputs"] = json!([]));
    assert_refused("one map", |d| d["layers"][1]["inputs"] = json!([0, 0]));
}

#[test]
fn layers_that_compute_nothing() {
    let window = |key: &'static str, value: Value| move |d: &mut Value| d["layers"][1]["window"][key] = value;
    assert_refused("groups divide", |d| d["layers"][1]["groups"] = json!(0));
    assert_refused("groups divide", |d| d["layers"][1]["groups"] = json!(3));
    assert_refused("groups divide", |d| d["layers"][1]["out_channels"] = json!(0));
    assert_refused("kernel", window("kernel", json!([0, 3])));
    assert_refused("kernel", window("stride", json!([1, 0])));
    assert_refused("kernel", window("kernel", json!([11, 3])));
    assert_refused("dilation", |d| d["layers"][1]["dilation"] = json!([0, 1]));
    assert_refused("epsilon", |d| d["layers"][2]["eps"] = json!(0.0));
    assert_refused("epsilon", |d| d["layers"][2]["eps"] = json!(-1e-5));
    let pooled = |padding: Value| move |d: &mut Value| d["layers"][4]["window"]["padding"] = padding;
    assert_refused("less than the kernel", pooled(json!([2, 0])));
    for side in 0..4 {
        let mut sides = [0; 4];
        sides[side] = 2;
        assert_refused("less than the kernel", pooled(json!(sides)));
    }
    assert_refused("[top, left, bottom, right]", pooled(json!([1, 0, 1])));
    assert_refused("[top, left, bottom, right]", window("padding", json!(1)));
    assert_refused("usize", window("padding", json!([0, 1, -1, 0])));
    assert_refused("output feature", |d| d["layers"][7]["out_features"] = json!(0));
    let third = |layer: Value| {
        move |d: &mut Value| {
            let fields = d["layers"][3].as_object_mut().unwrap();
            fields.retain(|key, _| ["id", "inputs"].contains(&key.as_str()));
            fields.extend(layer.as_object().unwrap().clone());
        }
    };
    let group_norm =
        |groups: Value, eps: f64| json!({ "type": "group_norm", "grouping": groups, "eps": eps });
    assert_refused("groups divide", third(group_norm(json!({ "groups": 0 }), 1e-5)));
    assert_refused("groups divide", third(group_norm(json!({ "groups": 3 }), 1e-5)));
    assert_refused("epsilon", third(group_norm(json!("all"), 0.0)));
    assert_refused("unknown variant `any`", third(group_norm(json!("any"), 1e-5)));
    assert_refused("probability", third(json!({ "type": "dropout", "probability": 1.0 })));
    assert_refused("probability", third(json!({ "type": "dropout", "probability": -0.5 })));
    assert_refused("missing field `function`", third(json!({ "type": "activation" })));
    assert_refused("unknown variant `relo`", third(json!({ "type": "activation", "function": "relo" })));
    let leaky = json!({ "type": "activation", "function": "leaky_relu" });
    assert_refused("missing field `slope`", third(leaky));
    let clip = |low: Value, high: Value| json!({ "type": "activation", "function": "clip", "low": low, "high": high });
    assert_refused("the low one not above the high one", third(clip(json!(1.0), json!(0.5))));
    assert_refused("invalid type: null", third(clip(json!(null), json!(1.0))));
    assert_refused(
        "missing field `high`",
        third(json!({ "type": "activation", "function": "clip", "low": 0.0 })),
    );
    assert_refused("groups divide", third(json!({ "type": "channel_shuffle", "groups": 3 })));
    assert_refused("groups divide", third(json!({ "type": "channel_shuffle", "groups": 0 })));
    assert_refused("missing field `groups`", third(json!({ "type": "channel_shuffle" })));
    let response = |size: u64, alpha: f64, bias: f64| json!({ "type": "local_response_norm", "size": size, "alpha": alpha, "beta": 0.75, "bias": bias });
    assert_refused("size of at least 1", third(response(0, 1.0, 1.0)));
    assert_refused("alpha not negative", third(response(3, -1.0, 1.0)));
    assert_refused("bias positive", third(response(3, 1.0, 0.0)));
    assert_refused("two inputs", third(json!({ "type": "multiply" })));
    assert_refused("empty", |d| d["input"] = json!([0, 8, 8]));
    assert_refused("empty", |d| d["input"] = json!([1, 0, 8]));
}

#[test]
fn sizes_beyond_all_bounds() {
    for huge in [1u64 << 32, 1 << 41, 1 << 62, u64::MAX] {
        refused(|d| d["layers"][7]["out_features"] = json!(huge << 9 | huge));
        refused(|d| d["layers"][1]["window"]["padding"] = json!([huge, huge]));
        refused(|d| d["layers"][1]["window"]["padding"] = json!([huge, huge, huge, 1]));
        refused(|d| d["layers"][4]["window"]["padding"] = json!([0, 0, huge, 0]));
        refused(|d| d["layers"][1]["window"]["kernel"] = json!([huge, 1]));
        refused(|d| d["layers"][1]["dilation"] = json!([huge, 1]));
        refused(|d| d["layers"][1]["groups"] = json!(huge));
        refused(|d| d["layers"][4]["window"]["padding"] = json!([huge, huge]));
        refused(|d| d["input"] = json!([1, huge, huge]));
        refused(|d| d["layers"][1]["id"] = json!(huge));
        refused(|d| d["next_id"] = json!(huge));
    }
    assert_refused("layer 4294967295", |d| d["layers"][1]["id"] = json!(u32::MAX));
    assert_refused("next_id", |d| d["next_id"] = json!(u32::MAX));
}

#[test]
fn fields_that_do_not_exist() {
    assert_refused("unknown field `colour`", |d| d["colour"] = json!("red"));
    assert_refused("unknown field `colour`", |d| d["layers"][1]["colour"] = json!("red"));
    assert_refused("unknown field `colour`", |d| d["layers"][1]["window"]["colour"] = json!("red"));
    assert_refused("unknown field `colour`", |d| d["layers"][2]["colour"] = json!("red"));
    assert_refused("unknown field `colour`", |d| d["layers"][3]["colour"] = json!("red"));
    assert_refused("unknown field `colour`", |d| d["layers"][4]["colour"] = json!("red"));
    assert_refused("1 or 3 sizes", |d| d["input"] = json!([1, 8]));
    assert_refused("unknown variant `conw`", |d| d["layers"][1]["type"] = json!("conw"));
    assert_refused("missing field `stride`", |d| {
        d["layers"][1]["window"].as_object_mut().unwrap().remove("stride");
    });
}

/// A number, or something else, in the place of another.
fn any_scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0..6u64).prop_map(|n| json!(n)),
        prop::sample::select(vec![1u64 << 20, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 63, u64::MAX])
            .prop_map(|n| json!(n)),
        Just(json!(-1)),
        Just(json!(0.5)),
        Just(json!(null)),
        Just(json!("prelu")),
        Just(json!([])),
        Just(json!({})),
    ]
}

/// Every place in a document.
fn places(value: &Value, at: String, found: &mut Vec<String>) {
    found.push(at.clone());
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(place, item)| places(item, format!("{at}/{place}"), found))
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| places(field, format!("{at}/{name}"), found))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The document with some places changed.
fn damaged(mut document: Value, damage: &[(prop::sample::Index, Value)]) -> Value {
    for (place, value) in damage {
        let mut all = Vec::new();
        places(&document, String::new(), &mut all);
        if let Some(found) = document.pointer_mut(place.get(&all[..]).as_str()) {
            *found = value.clone();
        }
    }
    document
}

/// Everything that is asked of an architecture that was read.
fn exercise(architecture: &Architecture) {
    architecture.fingerprint();
    let cost = architecture.macs().max(architecture.activation_memory());
    if architecture.parameter_count() < 100_000 && cost < 1_000_000 {
        let network = Network::init(architecture.clone(), 0, DType::F32, &Device::Cpu).unwrap();
        let images = check::images(architecture.input(), 2, 0, DType::F32).unwrap();
        assert_eq!(network.logits(&images).unwrap().dims(), [2, architecture.classes()]);
    }
    for morphism in catalog::all() {
        let sites = morphism.sites(architecture);
        if architecture.parameter_count() < 100_000 {
            sites.iter().take(3).for_each(|site| drop(morphism.rewrite(architecture, site, 0).unwrap()));
        }
    }
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn damaged_architectures(
        architecture in any_architecture(Limits { steps: 5, ..Limits::default() }),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any_scalar()), 1..4),
    ) {
        let document = damaged(serde_json::to_value(&architecture).unwrap(), &damage);
        if let Ok(read) = serde_json::from_value::<Architecture>(document) {
            exercise(&read);
        }
    }
}

fn network() -> Network {
    let architecture: Architecture = serde_json::from_value(document()).unwrap();
    Network::init(architecture, 0, DType::F64, &Device::Cpu).unwrap()
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn damaged_inheritances(
        place in any::<prop::sample::Index>(), which in 0..catalog::all().len(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any_scalar()), 1..3),
    ) {
        let (parent, morphism) = (network(), catalog::all()[which]);
        let sites = morphism.sites(parent.architecture());
        if sites.is_empty() {
            return Ok(());
        }
        let rewrite = morphism.rewrite(parent.architecture(), place.get(&sites), 0).unwrap();
        let document = damaged(serde_json::to_value(&rewrite.inheritance).unwrap(), &damage);
        if let Ok(inheritance) = serde_json::from_value::<Inheritance>(document) {
            // Once as this parent's, of which little is checked, once as any network's.
            let stranger = serde_json::from_value(serde_json::to_value(&rewrite.architecture).unwrap()).unwrap();
            let children = [rewrite.architecture, stranger].map(|architecture| {
                parent.child(&morphisms::Rewrite { architecture, inheritance: inheritance.clone() }, None)
            });
            prop_assert_eq!(children[0].is_ok(), children[1].is_ok());
            for child in children.into_iter().flatten() {
                child.weights().check(child.architecture()).unwrap();
            }
        }
    }

    #[test]
    fn foreign_sites(
        layers in prop::collection::vec(0..12u32, 0..3), variant in prop::sample::select(vec!["", "replicate", "fresh", "noise"]),
        amount in prop_oneof![0..10usize, Just(1 << 40), Just(usize::MAX)],
    ) {
        let parent = network();
        let layers: Vec<_> = layers.into_iter().map(morphisms::LayerId).collect();
        let site = Site::new(&layers, amount).variant(variant);
        for morphism in catalog::all() {
            let known = morphism.sites(parent.architecture()).contains(&site);
            match morphism.rewrite(parent.architecture(), &site, 0) {
                Ok(_) => prop_assert!(known, "{} accepts {}", morphism.name(), site),
                Err(error) => {
                    prop_assert!(matches!(error, morphisms::Error::Site { .. }), "{error:?}");
                    prop_assert!(!known, "{error}");
                }
            }
        }
    }
}
