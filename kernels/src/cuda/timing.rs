//! Time on the device.

use candle_core::cuda::WrapErr;
use candle_core::cuda::cudarc::driver::sys::CUevent_flags;
use candle_core::{Device, Result};
use std::time::{Duration, Instant};

/// Runs `work` and returns its result and the time that its operations took on `device`, from the first one's
/// start to the last one's end, by the device's own clock. On a CPU, the time of the call.
///
/// # Errors
/// Those of `work`, and the driver's.
pub fn time<R>(device: &Device, work: impl FnOnce() -> Result<R>) -> Result<(R, Duration)> {
    let Device::Cuda(cuda) = device else {
        let start = Instant::now();
        let result = work()?;
        return Ok((result, start.elapsed()));
    };
    let stream = cuda.cuda_stream();
    let timed = Some(CUevent_flags::CU_EVENT_DEFAULT);
    let start = stream.record_event(timed).w()?;
    let result = work()?;
    let end = stream.record_event(timed).w()?;
    let milliseconds = start.elapsed_ms(&end).w()?;
    Ok((result, Duration::from_secs_f64(f64::from(milliseconds) / 1e3)))
}
