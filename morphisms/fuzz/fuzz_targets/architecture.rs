//! Architectures from JSON: never a panic, and what is read writes back to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use morphisms::{Architecture, catalog};

/// A rewrite of a larger one may take long, which is no finding.
const LARGEST: u64 = 100_000;

fuzz_target!(|data: &[u8]| {
    let Ok(read) = serde_json::from_slice::<Architecture>(data) else { return };
    let text = serde_json::to_string(&read).expect("an architecture can be written");
    let again: Architecture = serde_json::from_str(&text).expect("what was written can be read");
    assert_eq!(again, read);
    assert_eq!(serde_json::to_string(&again).expect("an architecture can be written"), text);
    let _ = (read.fingerprint(), read.macs(), read.activation_memory());
    for morphism in catalog::all() {
        let sites = morphism.sites(&read);
        if read.parameter_count() < LARGEST {
            for site in sites.iter().take(3) {
                morphism.rewrite(&read, site, 0).expect("a site can be rewritten");
            }
        }
    }
});
