//! cuDNN's objects, each destroyed with its owner.

use candle_core::Result;
use candle_core::cuda::CudaDevice;
use cudarc::cudnn::{CudnnError, result, sys};
use std::ffi::c_int;

/// Runs cuDNN's calls with an error of our own.
pub(super) fn checked<T>(op: &str, result: std::result::Result<T, CudnnError>) -> Result<T> {
    result.map_err(|error| match error.0 {
        sys::cudnnStatus_t::CUDNN_STATUS_ALLOC_FAILED => super::memory::out_of_memory(),
        _ => candle_core::Error::Msg(format!("{op}: cuDNN: {error}")).bt(),
    })
}

macro_rules! owned {
    ($name:ident, $raw:ty, $destroy:path) => {
        #[derive(Debug)]
        pub(super) struct $name(pub $raw);

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: made by its constructor, destroyed once. A failure leaves nothing to be done.
                let _ = unsafe { $destroy(self.0) };
            }
        }
    };
}
owned!(Handle, sys::cudnnHandle_t, result::destroy_handle);
owned!(TensorDescriptor, sys::cudnnTensorDescriptor_t, result::destroy_tensor_descriptor);
owned!(FilterDescriptor, sys::cudnnFilterDescriptor_t, result::destroy_filter_descriptor);
owned!(ConvolutionDescriptor, sys::cudnnConvolutionDescriptor_t, result::destroy_convolution_descriptor);

const FORMAT: sys::cudnnTensorFormat_t = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NCHW;

impl Handle {
    /// A handle of this thread that works on the device's stream.
    pub fn new(op: &str, device: &CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream();
        stream.context().bind_to_thread().map_err(candle_core::Error::wrap)?;
        let handle = Self(checked(op, result::create_handle())?);
        // SAFETY: a new handle, and a stream that the device keeps alive.
        checked(op, unsafe { result::set_stream(handle.0, stream.cu_stream() as _) })?;
        Ok(handle)
    }
}

impl TensorDescriptor {
    /// Contiguous numbers of `[batch, channels, height, width]`.
    pub fn new(op: &str, dtype: sys::cudnnDataType_t, shape: [c_int; 4]) -> Result<Self> {
        let descriptor = Self(checked(op, result::create_tensor_descriptor())?);
        // SAFETY: a new descriptor.
        checked(op, unsafe { result::set_tensor4d_descriptor(descriptor.0, FORMAT, dtype, shape) })?;
        Ok(descriptor)
    }
}

impl FilterDescriptor {
    /// Contiguous numbers of `[out, channels / groups, kernel height, kernel width]`.
    pub fn new(op: &str, dtype: sys::cudnnDataType_t, shape: [c_int; 4]) -> Result<Self> {
        let descriptor = Self(checked(op, result::create_filter_descriptor())?);
        // SAFETY: a new descriptor.
        checked(op, unsafe { result::set_filter4d_descriptor(descriptor.0, dtype, FORMAT, shape) })?;
        Ok(descriptor)
    }
}

/// How a convolution walks, pairs of (height, width).
pub(super) struct Walk {
    pub padding: [c_int; 2],
    pub stride: [c_int; 2],
    pub dilation: [c_int; 2],
    pub groups: c_int,
}

impl ConvolutionDescriptor {
    pub fn new(
        op: &str,
        dtype: sys::cudnnDataType_t,
        walk: &Walk,
        math: sys::cudnnMathType_t,
    ) -> Result<Self> {
        let descriptor = Self(checked(op, result::create_convolution_descriptor())?);
        let Walk { padding, stride, dilation, groups } = *walk;
        let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        // SAFETY: a new descriptor.
        checked(op, unsafe {
            result::set_convolution2d_descriptor(
                descriptor.0,
                padding[0],
                padding[1],
                stride[0],
                stride[1],
                dilation[0],
                dilation[1],
                mode,
                dtype,
            )
        })?;
        // SAFETY: the same.
        checked(op, unsafe { result::set_convolution_group_count(descriptor.0, groups) })?;
        // SAFETY: the same.
        checked(op, unsafe { result::set_convolution_math_type(descriptor.0, math) })?;
        Ok(descriptor)
    }
}
