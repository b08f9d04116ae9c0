//! Chains of edits on random networks: eight bytes pick the network, six each an edit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use morphisms::fuzz::{Settings, run_edits};
use morphisms::strategies::Edit;

/// Longer chains show nothing that their beginnings do not.
const CHAIN: usize = 16;

fuzz_target!(|data: &[u8]| {
    let Some((seed, rest)) = data.split_first_chunk::<8>() else { return };
    let (numbers, _) = rest.as_chunks::<6>();
    let edit =
        |bytes: &[u8; 6]| Edit::from([0, 2, 4].map(|at| u16::from_le_bytes([bytes[at], bytes[at + 1]])));
    let edits: Vec<Edit> = numbers.iter().take(CHAIN).map(edit).collect();
    // Odd cases have every morphism to choose from.
    let settings = Settings { train_mode: seed[0] % 4 == 0, ..Settings::default() };
    if let Err(failure) = run_edits(&settings, u64::from_le_bytes(*seed), u64::from(seed[1]), &edits) {
        panic!("{failure}\n{}", failure.to_json().unwrap_or_default());
    }
});
