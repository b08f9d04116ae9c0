//! The device that networks are trained on.

use candle_core::Device;

use crate::{Error, Result};

/// Opens "cpu" or "cuda:N".
///
/// # Errors
/// If this program was built without CUDA, or the machine has no such device.
pub fn open(name: &str) -> Result<Device> {
    let wrong = |expected: String| Error::Config {
        origin: "--device".into(),
        key: "device".into(),
        expected,
        found: format!("`{name}`"),
        hint: None,
    };
    if name == "cpu" {
        return Ok(Device::Cpu);
    }
    let ordinal = name.strip_prefix("cuda:").and_then(|ordinal| ordinal.parse().ok());
    let ordinal: usize = ordinal.ok_or_else(|| wrong("cpu or cuda:N".into()))?;
    #[cfg(feature = "cuda")]
    return candle_convnet::cuda::device(ordinal)
        .map_err(|error| wrong(format!("a CUDA device of this machine ({error})")));
    #[cfg(not(feature = "cuda"))]
    {
        let _ = ordinal;
        Err(wrong("cpu: this program was built without CUDA (cargo build --features cuda)".into()))
    }
}

/// Whether an error says that a device's memory is full, which is a property of the network and not of the run.
pub(crate) fn is_out_of_memory(error: &Error) -> bool {
    let text = error.to_string().to_lowercase();
    text.contains("out_of_memory") || text.contains("out of memory")
}
