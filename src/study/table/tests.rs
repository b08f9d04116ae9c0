use std::collections::BTreeSet;

use base64::Engine;
use prost::Message;

use super::nas_bench_101::{EvaluationData, ModelMetrics};
use super::*;
use crate::rng;
use crate::strategy::Space;

fn read(format: &str, bytes: &[u8]) -> Result<Table> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table");
    std::fs::write(&path, bytes).unwrap();
    Table::read(&path, format)
}

fn problem(format: &str, bytes: &[u8]) -> String {
    read(format, bytes).map(|table| format!("{table:?}")).unwrap_err().to_string()
}

const MACRO: &str = r#"{"01": {"test_acc": [80.0, 81.0, 82.0], "mean_acc": 81.0, "std": 0.5, "params": 10, "flops": 100},
"21": {"test_acc": [90.0, 91.0, 92.0], "mean_acc": 91.0, "std": 0.5, "params": 20, "flops": 300}}"#;

#[test]
fn nas_bench_macro_is_read_plain_and_gzipped() {
    use std::io::Write;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(MACRO.as_bytes()).unwrap();
    for bytes in [MACRO.as_bytes().to_vec(), packed.finish().unwrap()] {
        let table = read("nas-bench-macro", &bytes).unwrap();
        let flops = table.columns().iter().position(|name| name == "flops").unwrap();
        let row = table.row(&[2, 1]).unwrap();
        assert_eq!((table.len(), table.label(row), table.value(row, flops)), (2, "21", 300.0));
        assert_eq!((table.choices(), table.row(&[0, 0])), ([3, 3].as_slice(), None));
    }
}

#[test]
fn columns_alike_but_for_their_epochs_are_fidelities_of_one_another() {
    let table = read("nas-bench-101", &small_101()).unwrap();
    let of = |accuracy: &str| {
        let found = table.fidelities(accuracy).into_iter();
        found.map(|(epochs, column)| (epochs, table.columns()[column].as_str())).collect::<Vec<_>>()
    };
    assert_eq!(
        of("validation_accuracy_108"),
        [(4, "validation_accuracy_4"), (108, "validation_accuracy_108")]
    );
    assert_eq!(of("validation_accuracy_4"), [(4, "validation_accuracy_4")]);
    let other = read("nas-bench-macro", MACRO.as_bytes()).unwrap();
    let place = other.columns().iter().position(|column| column == "mean_acc").unwrap();
    assert_eq!(other.fidelities("mean_acc"), [(1, place)]);
}

#[test]
fn tables_that_are_none_are_refused_with_the_place() {
    assert!(problem("nas-bench-macro", b"{").contains("EOF"));
    assert!(problem("nas-bench-macro", b"{}").contains("no rows"));
    let long = MACRO.replace("\"21\"", "\"213\"");
    assert!(problem("nas-bench-macro", long.as_bytes()).contains("found `213`"));
    assert!(problem("nas-bench-301", b"").contains("nas-bench-201"));
    assert!(problem("nas-bench-201", b"a,b\n1,2\n").contains("expected a column `cell`, found a, b"));
    let cell = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|";
    for (row, expected) in [
        (format!("{},1", cell.replace("none~2", "none~1")), "line 2"),
        (format!("{},1", cell.replacen("none", "conv", 1)), "nor_conv_3x3"),
        (format!("{cell},x"), "column acc: expected a number, found `x`"),
        (format!("{cell},inf"), "found `inf`"),
        (format!("{cell},1\n{cell},2"), "line 3: the cell"),
        (cell.to_string(), "record"),
    ] {
        let text = problem("nas-bench-201", format!("cell,acc\n{row}\n").as_bytes());
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn nas_bench_201_takes_any_columns_of_numbers() {
    let text = "arch,cell,acc\n\
                7,|avg_pool_3x3~0|+|none~0|skip_connect~1|+|none~0|nor_conv_1x1~1|nor_conv_3x3~2|,88.5\n";
    let table = read("nas-bench-201", text.as_bytes()).unwrap();
    let row = table.row(&[4, 0, 1, 0, 2, 3]).unwrap();
    assert_eq!((table.columns(), table.value(row, 1)), (["arch".to_string(), "acc".into()].as_slice(), 88.5));
}

/// A record in the official layout.
fn record(adjacency: &str, operations: &str, epochs: u32, validation: f64) -> Vec<u8> {
    let at = |validation: f64, time: f64| EvaluationData {
        validation_accuracy: Some(validation),
        test_accuracy: Some(validation - 0.01),
        training_time: Some(time),
        ..EvaluationData::default()
    };
    let metrics = ModelMetrics {
        evaluation_data: vec![at(0.1, 0.0), at(0.5, 10.0), at(validation, 20.0)],
        trainable_parameters: Some(1234),
        total_time: Some(30.0),
    };
    let metrics = base64::engine::general_purpose::STANDARD.encode(metrics.encode_to_vec());
    framed(serde_json::to_string(&("hash", epochs, adjacency, operations, metrics)).unwrap().as_bytes())
}

fn framed(data: &[u8]) -> Vec<u8> {
    let masked =
        |data: &[u8]| (crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)).to_le_bytes();
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), data, &masked(data)].concat()
}

/// input -> conv1x1 -> conv3x3 -> output, and the same with an edge past them.
const CHAIN: (&str, &str) = ("0100001000010000", "input,conv1x1-bn-relu,conv3x3-bn-relu,output");
const SKIP: (&str, &str) = ("0101001000010000", "input,conv1x1-bn-relu,conv3x3-bn-relu,output");

fn small_101() -> Vec<u8> {
    let mut bytes = Vec::new();
    for (adjacency, operations) in [CHAIN, SKIP] {
        for epochs in [4, 108] {
            for repeat in 0..3 {
                bytes.extend(record(adjacency, operations, epochs, 0.9 + 0.01 * f64::from(repeat)));
            }
        }
    }
    bytes
}

#[test]
fn nas_bench_101_is_read_in_the_official_layout() {
    let table = read("nas-bench-101", &small_101()).unwrap();
    assert_eq!(table.len(), 2);
    let names = ["trainable_parameters", "validation_accuracy_4", "test_accuracy_4", "training_time_4"];
    assert_eq!(table.columns()[..4], names.map(String::from));
    let last = table.columns().iter().position(|name| name == "validation_accuracy_108").unwrap();
    assert!((table.value(0, last) - 0.91).abs() < 1e-12, "the mean of three repeats");
    assert_eq!(table.value(0, 0), 1234.0);
}

/// The genes of a cell of seven vertices with these edges, and operations of the inner vertices.
fn genes(edges: &[(usize, usize)], operations: [u8; 5]) -> Vec<u8> {
    let pairs = (0..7).flat_map(|from| (from + 1..7).map(move |to| (from, to)));
    pairs.map(|pair| u8::from(edges.contains(&pair))).chain(operations).collect()
}

#[test]
fn cells_are_found_whatever_the_order_and_the_dead_ends_of_their_vertices() {
    let table = read("nas-bench-101", &small_101()).unwrap();
    let (conv1, conv3, pool) = (0, 1, 2);
    // The chain along vertices 1 and 2, along 2 and 5, and with a vertex that leads nowhere.
    let chains = [
        genes(&[(0, 1), (1, 2), (2, 6)], [conv1, conv3, pool, pool, pool]),
        genes(&[(0, 2), (2, 5), (5, 6)], [pool, conv1, pool, pool, conv3]),
        genes(&[(0, 1), (1, 2), (2, 6), (1, 4)], [conv1, conv3, pool, pool, pool]),
    ];
    let found: BTreeSet<_> = chains.iter().map(|genes| table.row(genes)).collect();
    assert_eq!(found, BTreeSet::from([Some(0)]));
    let skip = genes(&[(0, 1), (1, 2), (2, 6), (0, 6)], [conv1, conv3, pool, pool, pool]);
    assert_eq!(table.row(&skip), Some(1));
    // Other operations, the order of the chain turned, no way to the output, too many edges.
    let turned = genes(&[(0, 1), (1, 2), (2, 6)], [conv3, conv1, pool, pool, pool]);
    let cut = genes(&[(0, 1), (1, 2)], [conv1, conv3, pool, pool, pool]);
    let all: Vec<(usize, usize)> = (0..7).flat_map(|from| (from + 1..7).map(move |to| (from, to))).collect();
    for outside in [turned, cut, genes(&all, [0; 5])] {
        assert_eq!(table.row(&outside), None);
    }
}

#[test]
fn a_damaged_record_is_named() {
    let whole = small_101();
    let cut = &whole[..whole.len() - 3];
    assert!(problem("nas-bench-101", cut).contains("record 12: the file ends within it"));
    let mut length = whole.clone();
    length[8] ^= 1;
    assert!(problem("nas-bench-101", &length).contains("record 1: the checksum of its length"));
    let mut data = whole.clone();
    data[20] ^= 1;
    assert!(problem("nas-bench-101", &data).contains("record 1: the checksum of its data"));
    let huge = framed(b"x").into_iter().enumerate().map(|(place, byte)| if place == 6 { 255 } else { byte });
    assert!(problem("nas-bench-101", &huge.collect::<Vec<_>>()).contains("checksum of its length"));
    for (adjacency, operations, expected) in [
        ("0000", "input,output", "outside the benchmark's space"),
        ("0010", "input,output", "edge to an earlier vertex"),
        ("01", "input,output", "no adjacency matrix of 2 vertices"),
        ("010001000", "input,conv9x9,output", "no operation `conv9x9`"),
    ] {
        let text = problem("nas-bench-101", &record(adjacency, operations, 4, 0.5));
        assert!(text.contains(expected) && text.contains("record 1"), "{text}");
    }
    let text = problem("nas-bench-101", &framed(b"[1]"));
    assert!(text.contains("record 1"), "{text}");
    let mixed = [record(CHAIN.0, CHAIN.1, 4, 0.5), record(SKIP.0, SKIP.1, 108, 0.5)].concat();
    assert!(problem("nas-bench-101", &mixed).contains("never trained for 108 epochs"));
}

#[test]
fn neighbours_differ_in_one_gene_and_genes_decide_the_row() {
    let rows = Rows(std::sync::Arc::new(read("nas-bench-macro", MACRO.as_bytes()).unwrap()));
    let mut rng = rng::stream(0, "table", &[]);
    for _ in 0..50 {
        let (_, point) = rows.random(&mut rng).unwrap().unwrap();
        let (flips, next) = rows.step(&point, 1, &mut rng).unwrap().unwrap();
        // The two rows differ in their first gene alone.
        assert_eq!((flips.len(), flips[0].gene, next.row), (1, 0, 1 - point.row));
        let genes = rows.genes(&next).unwrap().to_vec();
        assert_eq!(rows.at(genes).unwrap().row, next.row);
        let child = rows.cross(&point, &next, &mut rng).unwrap();
        assert!(child.row == point.row || child.row == next.row);
    }
}
