//! The device that networks are trained on.

use std::time::Duration;
#[cfg(not(feature = "cuda"))]
use std::time::Instant;

use candle_core::Device;

use crate::config::Config;
use crate::{Error, Result};

/// Opens the device of a configuration.
///
/// # Errors
/// If this program was built without CUDA, or the machine has no such device or cannot limit its memory.
pub fn open(config: &Config) -> Result<Device> {
    let name = &config.device;
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
    return cuda(ordinal, config.cuda.memory)
        .map_err(|error| wrong(format!("a CUDA device of this machine ({error})")));
    #[cfg(not(feature = "cuda"))]
    {
        let _ = ordinal;
        Err(wrong("cpu: this program was built without CUDA (cargo build --features cuda)".into()))
    }
}

/// The device of this number, the same one for the whole process: tensors of two openings cannot meet.
#[cfg(feature = "cuda")]
fn cuda(ordinal: usize, mebibytes: u64) -> candle_core::Result<Device> {
    use std::collections::BTreeMap;
    use std::sync::{Mutex, PoisonError};

    static OPENED: Mutex<BTreeMap<usize, Device>> = Mutex::new(BTreeMap::new());
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = opened.get(&ordinal) {
        return Ok(device.clone());
    }
    let device = candle_convnet::cuda::device(ordinal)?;
    if mebibytes > 0 {
        candle_convnet::cuda::limit_memory(&device, mebibytes << 20)?;
    }
    opened.insert(ordinal, device.clone());
    Ok(device)
}

/// Runs `work` and tells how long it took: by the device's own clock on CUDA, which runs behind the program.
///
/// # Errors
/// Those of `work`.
pub(crate) fn time<R>(
    device: &Device,
    work: impl FnOnce() -> candle_core::Result<R>,
) -> candle_core::Result<(R, Duration)> {
    #[cfg(feature = "cuda")]
    return candle_convnet::cuda::time(device, work);
    #[cfg(not(feature = "cuda"))]
    {
        let _ = device;
        let begun = Instant::now();
        let result = work()?;
        Ok((result, begun.elapsed()))
    }
}

/// Whether an error says that a device's memory is full, which is a property of the network and not of the run.
pub(crate) fn is_out_of_memory(error: &Error) -> bool {
    let text = error.to_string().to_lowercase();
    text.contains("out_of_memory") || text.contains("out of memory")
}
