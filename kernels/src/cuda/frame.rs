//! Padding written down, and cut off again.
//!
//! cuDNN's engines are made for padding that is alike on opposite sides; whether one takes any other, its
//! documentation does not say.

use super::launch::{Real, elements, int, kernel, room};
use crate::conv::Geometry;
use candle_core::Result;
use candle_core::cuda::cudarc::driver::{CudaSlice, CudaView, DeviceRepr, PushKernelArg};
use candle_core::cuda::{CudaDevice, WrapErr};

/// Planes copied into larger ones, or the middle of larger ones; `struct Frame` of `kernels.cu`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Frame {
    from: [i32; 2],
    to: [i32; 2],
    /// Where the first pixel of `from` lies in `to`; negative where it is cut off.
    offset: [i32; 2],
}

// SAFETY: six `int`s in the order and the layout of C.
unsafe impl DeviceRepr for Frame {}

impl Frame {
    /// From the planes of `g` to those with its padding.
    fn around(op: &str, g: &Geometry) -> Result<Self> {
        let framed = g.framed();
        let pair = |h: usize, w: usize| Ok::<_, candle_core::Error>([int(op, h)?, int(op, w)?]);
        Ok(Self {
            from: pair(g.height.input, g.width.input)?,
            to: pair(framed.height.input, framed.width.input)?,
            offset: pair(g.height.padding, g.width.padding)?,
        })
    }

    fn back(self) -> Self {
        Self { from: self.to, to: self.from, offset: self.offset.map(|offset| -offset) }
    }
}

/// The input of a convolution with zeros around it.
pub(super) fn frame<T: Real>(
    op: &str,
    device: &CudaDevice,
    g: &Geometry,
    x: &CudaView<T>,
) -> Result<CudaSlice<T>> {
    moved(device, x, Frame::around(op, g)?, g.framed().input_shape())
}

/// The other way: the gradient of the input from that of the framed one.
pub(super) fn unframe<T: Real>(
    op: &str,
    device: &CudaDevice,
    g: &Geometry,
    dx: &CudaView<T>,
) -> Result<CudaSlice<T>> {
    moved(device, dx, Frame::around(op, g)?.back(), g.input_shape())
}

fn moved<T: Real>(
    device: &CudaDevice,
    x: &CudaView<T>,
    frame: Frame,
    shape: [usize; 4],
) -> Result<CudaSlice<T>> {
    let count = shape.iter().product();
    let mut y = room::<T>(device, count)?;
    let (kernel, n) = (kernel::<T>(device, "frame")?, count as i64);
    let mut launch = kernel.builder();
    launch.arg(x).arg(&mut y).arg(&n).arg(&frame);
    // SAFETY: the kernel's arguments, y of n elements in planes of the frame, x of as many planes.
    unsafe { launch.launch(elements(count)) }.w()?;
    Ok(y)
}
