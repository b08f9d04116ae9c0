//! Weights from safetensors: never a panic, and what is read writes back to the same.
#![no_main]

use candle_core::Device;
use libfuzzer_sys::fuzz_target;
use morphisms::Weights;

fuzz_target!(|data: &[u8]| {
    let Ok(read) = Weights::from_safetensors(data, &Device::Cpu) else { return };
    let bytes = read.to_safetensors().expect("what was read can be written");
    let again = Weights::from_safetensors(&bytes, &Device::Cpu).expect("what was written can be read");
    assert_eq!(again.to_safetensors().expect("what was read can be written"), bytes);
    assert_eq!(again.len(), read.len());
});
