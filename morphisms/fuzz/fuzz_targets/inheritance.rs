//! Inheritances from JSON, applied to a fixed parent: an error or a valid child, never a panic. The first byte picks the
//! child's architecture.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use morphisms::{Inheritance, Network, Rewrite};

#[path = "../parent.rs"]
mod parent;

static PARENT: LazyLock<(Network, Vec<Rewrite>)> = LazyLock::new(|| {
    let parent = parent::network();
    let rewrites = parent::rewrites(&parent);
    (parent, rewrites)
});

fuzz_target!(|data: &[u8]| {
    let (parent, rewrites) = &*PARENT;
    let Some((first, text)) = data.split_first() else { return };
    let Ok(inheritance) = serde_json::from_slice::<Inheritance>(text) else { return };
    let architecture = rewrites[usize::from(*first) % rewrites.len()].architecture.clone();
    if let Ok(child) = parent.child(&Rewrite { architecture, inheritance }, None) {
        child.weights().check(child.architecture()).expect("a child is valid");
    }
});
