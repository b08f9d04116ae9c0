//! Architectures from JSON: never a panic; what is read writes back to the same, and runs.
#![no_main]

use candle_core::{DType, Device};
use libfuzzer_sys::fuzz_target;
use morphisms::{Architecture, Network, catalog, check};

/// A rewrite of a network with more parameters may take long, which is no finding.
const LARGEST: u64 = 100_000;
/// A network with more multiply-adds, or bytes of activations, may take long to run.
const LARGEST_RUN: u64 = 1_000_000;

fuzz_target!(|data: &[u8]| {
    let Ok(read) = serde_json::from_slice::<Architecture>(data) else { return };
    let text = serde_json::to_string(&read).expect("an architecture can be written");
    let again: Architecture = serde_json::from_str(&text).expect("what was written can be read");
    assert_eq!(again, read);
    assert_eq!(serde_json::to_string(&again).expect("an architecture can be written"), text);
    let _ = read.fingerprint();
    if read.parameter_count() < LARGEST && read.macs().max(read.activation_memory()) < LARGEST_RUN {
        run(&read);
    }
    for morphism in catalog::all() {
        let sites = morphism.sites(&read);
        if read.parameter_count() < LARGEST {
            for site in sites.iter().take(3) {
                morphism.rewrite(&read, site, 0).expect("a site can be rewritten");
            }
        }
    }
});

fn run(architecture: &Architecture) {
    let network = Network::init(architecture.clone(), 0, DType::F32, &Device::Cpu).expect("it is small");
    let images = check::images(architecture.input(), 2, 0, DType::F32).expect("they are small");
    let logits = network.logits(&images).expect("a valid network runs");
    assert_eq!(logits.dims(), [2, architecture.classes()]);
}
