//! cuDNN's handle and the descriptors of its graph interface, each destroyed with its owner.

use candle_core::Result;
use candle_core::cuda::CudaDevice;
use cudarc::cudnn::{CudnnError, result, sys};
use std::ffi::c_void;
use sys::cudnnBackendAttributeName_t as Name;
use sys::cudnnBackendAttributeType_t as Type;
use sys::cudnnBackendDescriptorType_t as Kind;

/// cuDNN's errors as candle's.
pub(super) fn checked<T>(op: &str, result: std::result::Result<T, CudnnError>) -> Result<T> {
    result.map_err(|error| match error.0 {
        sys::cudnnStatus_t::CUDNN_STATUS_ALLOC_FAILED => super::memory::out_of_memory(),
        _ => candle_core::Error::Msg(format!("{op}: cuDNN: {error}")).bt(),
    })
}

/// A handle of one thread.
#[derive(Debug)]
pub(super) struct Handle(sys::cudnnHandle_t);

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

    /// Runs a plan with the tensors, addresses and workspace of a variant pack.
    ///
    /// # Safety
    /// The pack's addresses must be those of tensors as the plan's, and of a workspace as large as it needs.
    pub unsafe fn execute(&self, op: &str, plan: &Descriptor, pack: &Descriptor) -> Result<()> {
        // SAFETY: as this function's.
        checked(op, unsafe { sys::cudnnBackendExecute(self.0, plan.0, pack.0) }.result())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: made by `new`, destroyed once. A failure leaves nothing to be done.
        let _ = unsafe { result::destroy_handle(self.0) };
    }
}

/// A number type of attributes.
pub(super) trait Attribute: Copy {
    const TYPE: Type;
}

macro_rules! attribute {
    ($($t:ty => $kind:ident),+ $(,)?) => {
        $(impl Attribute for $t {
            const TYPE: Type = Type::$kind;
        })+
    };
}
attribute! {
    i64 => CUDNN_TYPE_INT64,
    f32 => CUDNN_TYPE_FLOAT,
    f64 => CUDNN_TYPE_DOUBLE,
    sys::cudnnDataType_t => CUDNN_TYPE_DATA_TYPE,
    sys::cudnnConvolutionMode_t => CUDNN_TYPE_CONVOLUTION_MODE,
    sys::cudnnBackendHeurMode_t => CUDNN_TYPE_HEUR_MODE,
}

/// An object of cuDNN's graph interface: attributes are set, then it is finished and can be used.
#[derive(Debug)]
pub(super) struct Descriptor(sys::cudnnBackendDescriptor_t);

impl Descriptor {
    pub fn new(op: &str, kind: Kind) -> Result<Self> {
        let mut descriptor = std::ptr::null_mut();
        // SAFETY: room for the answer.
        checked(op, unsafe { sys::cudnnBackendCreateDescriptor(kind, &mut descriptor) }.result())?;
        Ok(Self(descriptor))
    }

    pub fn set<T: Attribute>(&self, op: &str, name: Name, values: &[T]) -> Result<()> {
        // SAFETY: as many values as the length says, of the type their trait says.
        unsafe { self.set_raw(op, name, T::TYPE, values.len(), values.as_ptr().cast()) }
    }

    pub fn set_descriptors(&self, op: &str, name: Name, descriptors: &[&Self]) -> Result<()> {
        let raw: Vec<_> = descriptors.iter().map(|descriptor| descriptor.0).collect();
        // SAFETY: live descriptors.
        unsafe { self.set_raw(op, name, Type::CUDNN_TYPE_BACKEND_DESCRIPTOR, raw.len(), raw.as_ptr().cast()) }
    }

    /// Addresses on the device. Nothing is done with them before a plan runs.
    pub fn set_addresses(&self, op: &str, name: Name, addresses: &[u64]) -> Result<()> {
        // SAFETY: pointers on the device have 64 bits.
        unsafe {
            self.set_raw(op, name, Type::CUDNN_TYPE_VOID_PTR, addresses.len(), addresses.as_ptr().cast())
        }
    }

    pub fn set_handle(&self, op: &str, name: Name, handle: &Handle) -> Result<()> {
        // SAFETY: a live handle.
        unsafe { self.set_raw(op, name, Type::CUDNN_TYPE_HANDLE, 1, (&raw const handle.0).cast()) }
    }

    unsafe fn set_raw(
        &self,
        op: &str,
        name: Name,
        kind: Type,
        count: usize,
        values: *const c_void,
    ) -> Result<()> {
        // SAFETY: the callers'.
        checked(
            op,
            unsafe { sys::cudnnBackendSetAttribute(self.0, name, kind, count as i64, values) }.result(),
        )
    }

    pub fn finish(self, op: &str) -> Result<Self> {
        // SAFETY: a live descriptor.
        checked(op, unsafe { sys::cudnnBackendFinalize(self.0) }.result())?;
        Ok(self)
    }

    /// An attribute that is one number.
    pub fn number(&self, op: &str, name: Name) -> Result<i64> {
        let (mut count, mut value) = (0, 0_i64);
        // SAFETY: room for one number.
        checked(op, unsafe {
            let value = (&raw mut value).cast();
            sys::cudnnBackendGetAttribute(self.0, name, Type::CUDNN_TYPE_INT64, 1, &mut count, value).result()
        })?;
        Ok(value)
    }

    /// An attribute that is a list of enumerators, at most 16, as numbers: a newer library may know more of them
    /// than its bindings.
    pub fn enumerators(&self, op: &str, name: Name, kind: Type) -> Result<Vec<u32>> {
        let (mut count, mut values) = (0, [0_u32; 16]);
        // SAFETY: room for 16 enumerators, which have the size of an `int`.
        checked(op, unsafe {
            sys::cudnnBackendGetAttribute(self.0, name, kind, 16, &mut count, values.as_mut_ptr().cast())
                .result()
        })?;
        Ok(values[..count.clamp(0, 16) as usize].to_vec())
    }

    /// An attribute that is a list of descriptors.
    pub fn descriptors(&self, op: &str, name: Name, kind: Kind) -> Result<Vec<Self>> {
        let mut count = 0;
        let get = |raw: &mut [sys::cudnnBackendDescriptor_t], count: &mut i64| {
            let values = if raw.is_empty() { std::ptr::null_mut() } else { raw.as_mut_ptr().cast() };
            let kind = Type::CUDNN_TYPE_BACKEND_DESCRIPTOR;
            // SAFETY: room for as many descriptors as are asked for, each made before.
            checked(op, unsafe {
                sys::cudnnBackendGetAttribute(self.0, name, kind, raw.len() as i64, count, values).result()
            })
        };
        get(&mut [], &mut count)?;
        let mut found = (0..count).map(|_| Self::new(op, kind)).collect::<Result<Vec<_>>>()?;
        let mut raw: Vec<_> = found.iter().map(|descriptor| descriptor.0).collect();
        if !raw.is_empty() {
            get(&mut raw, &mut count)?;
        }
        found.truncate(count.max(0) as usize);
        Ok(found)
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: made by `new`, destroyed once. A failure leaves nothing to be done.
        let _ = unsafe { sys::cudnnBackendDestroyDescriptor(self.0) };
    }
}
