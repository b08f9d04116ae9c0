//! ONNX models: an error or a network, in bounded time and memory; a network goes out, as a model and as JSON, and
//! comes back as what it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use morphisms::onnx::{ExportOptions, ImportOptions, export, import};
use morphisms::{Architecture, Network};

/// Parameters: what fits into libFuzzer's memory many times over.
const LARGEST: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let options = ImportOptions { largest: LARGEST, ..ImportOptions::default() };
    let Ok(first) = import(data, &options) else { return };
    let text = serde_json::to_string(first.network.architecture()).expect("an architecture can be written");
    let again: Architecture = serde_json::from_str(&text).expect("what was written can be read");
    assert_eq!(&again, first.network.architecture());
    let options = ExportOptions { fold_batch_norms: false, ..first.export_options() };
    let Ok(bytes) = export(&first.network, &options) else { return };
    let again = Network::from_onnx(&bytes).unwrap_or_else(|error| panic!("{error}"));
    // Dropout is left out, and a factor of a mix becomes a constant: neither comes from a model.
    assert!(again.architecture().classes() == first.network.architecture().classes());
    assert!(again.architecture().macs() == first.network.architecture().macs());
});
