//! Convolution by cuDNN.

use super::choice::{Algorithm, Descriptors, Direction, choose};
use super::cudnn::{self, ConvolutionDescriptor, FilterDescriptor, Handle, TensorDescriptor, checked};
use super::launch::{Real, Walk, int, kernel, room, storage, values};
use super::{Options, options};
use crate::conv::Geometry;
use crate::op::Argument;
use crate::tensor::with_float;
use candle_core::Result;
use candle_core::backend::BackendStorage;
use candle_core::cuda::cudarc::driver::{CudaSlice, CudaView, DevicePtr, DevicePtrMut, PushKernelArg};
use candle_core::cuda::{CudaDevice, CudaStorage, DeviceId, WrapErr};
use cudarc::cudnn::{result, sys};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};

pub(crate) fn conv_forward(
    op: &str,
    geometry: &Geometry,
    (x, lx): Argument<CudaStorage>,
    (weight, lweight): Argument<CudaStorage>,
    bias: Option<Argument<CudaStorage>>,
) -> Result<CudaStorage> {
    let device = x.device();
    with_float!(op, x.dtype(), T => {
        let (x, weight) = (values::<T>(op, (x, lx))?, values::<T>(op, (weight, lweight))?);
        let size = geometry.output_shape().iter().product();
        let mut y = run(op, device, Direction::Forward, geometry, [&x, &weight], size)?;
        if let Some((bias, lbias)) = bias {
            let bias = values::<T>(op, (bias, lbias))?;
            let walk = Walk::new(op, &geometry.output_shape())?;
            let add = kernel::<T>(device, "add_bias")?;
            let mut launch = add.builder();
            launch.arg(&mut y).arg(&bias).arg(&walk);
            // SAFETY: the kernel's arguments, y of the walk's shape and bias of its channels.
            unsafe { launch.launch(walk.grid()) }.w()?;
        }
        Ok(storage(y, device))
    })
}

/// (weight, dy) -> dx
pub(crate) fn conv_input_gradient(
    op: &str,
    geometry: &Geometry,
    (weight, lweight): Argument<CudaStorage>,
    (dy, ldy): Argument<CudaStorage>,
) -> Result<CudaStorage> {
    let device = weight.device();
    with_float!(op, weight.dtype(), T => {
        let (weight, dy) = (values::<T>(op, (weight, lweight))?, values::<T>(op, (dy, ldy))?);
        let size = geometry.input_shape().iter().product();
        Ok(storage(run(op, device, Direction::InputGradient, geometry, [&weight, &dy], size)?, device))
    })
}

/// (x, dy) -> dweight
pub(crate) fn conv_weight_gradient(
    op: &str,
    geometry: &Geometry,
    (x, lx): Argument<CudaStorage>,
    (dy, ldy): Argument<CudaStorage>,
) -> Result<CudaStorage> {
    let device = x.device();
    with_float!(op, x.dtype(), T => {
        let (x, dy) = (values::<T>(op, (x, lx))?, values::<T>(op, (dy, ldy))?);
        let size = geometry.weight_shape().iter().product();
        Ok(storage(run(op, device, Direction::WeightGradient, geometry, [&x, &dy], size)?, device))
    })
}

/// Computes one of the three from the other two.
fn run<T: Real>(
    op: &str,
    device: &CudaDevice,
    direction: Direction,
    geometry: &Geometry,
    arguments: [&CudaView<T>; 2],
    size: usize,
) -> Result<CudaSlice<T>> {
    let mut out = room::<T>(device, size)?;
    with_context(op, device, |context| {
        let key = Key { direction, dtype: T::SUFFIX, geometry: *geometry, options: options() };
        context.launch(op, device, key, arguments, &mut out)
    })?;
    Ok(out)
}

/// What a plan depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    direction: Direction,
    dtype: &'static str,
    geometry: Geometry,
    options: Options,
}

/// All about a convolution that does not change from one call to the next.
struct Plan {
    descriptors: Descriptors,
    algorithm: Algorithm,
    /// In bytes.
    workspace: usize,
}

/// A thread's access to cuDNN on a device: a handle belongs to one thread.
struct Context {
    device: DeviceId,
    // Dropped before the handle.
    plans: BTreeMap<Key, Plan>,
    workspace: Option<CudaSlice<u8>>,
    handle: Handle,
}

/// Plans that a context keeps. One takes a few kilobytes; a search makes new ones as long as it runs.
const MOST_PLANS: usize = 4096;

thread_local! {
    static CONTEXTS: RefCell<Vec<Context>> = const { RefCell::new(Vec::new()) };
}

fn with_context<R>(op: &str, device: &CudaDevice, run: impl FnOnce(&mut Context) -> Result<R>) -> Result<R> {
    CONTEXTS.with_borrow_mut(|contexts| {
        let known = contexts.iter().position(|context| context.device == device.id());
        let at = match known {
            Some(at) => at,
            None => {
                super::memory::keep_freed_memory(device)?;
                let handle = Handle::new(op, device)?;
                let plans = BTreeMap::new();
                contexts.push(Context { device: device.id(), plans, workspace: None, handle });
                contexts.len() - 1
            }
        };
        run(&mut contexts[at])
    })
}

impl Context {
    fn launch<T: Real>(
        &mut self,
        op: &str,
        device: &CudaDevice,
        key: Key,
        arguments: [&CudaView<T>; 2],
        out: &mut CudaSlice<T>,
    ) -> Result<()> {
        let stream = device.cuda_stream();
        stream.context().bind_to_thread().w()?;
        if self.plans.len() >= MOST_PLANS && !self.plans.contains_key(&key) {
            self.plans.clear();
        }
        let plan = match self.plans.entry(key) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(Plan::new::<T>(op, &self.handle, &key)?)
            }
        };
        if self.workspace.as_ref().map_or(0, CudaSlice::len) < plan.workspace {
            // The old one goes first: both together may be more than there is.
            self.workspace = None;
            self.workspace = Some(room::<u8>(device, plan.workspace)?);
        }
        let workspace = self.workspace.as_mut().map(|workspace| workspace.device_ptr_mut(&stream));
        let room = workspace.as_ref().map_or(0, |(pointer, _)| *pointer);
        let (first, _first_used) = arguments[0].device_ptr(&stream);
        let (second, _second_used) = arguments[1].device_ptr(&stream);
        let (result, _result_written) = out.device_ptr_mut(&stream);
        // SAFETY: the callers' slices have the sizes of the geometry, and so of the descriptors; the workspace
        // is as large as the plan says and its uses are in the order of the stream.
        checked(op, unsafe { plan.launch(&self.handle, [first, second, room, result], T::ONE, T::ZERO) })
    }
}

impl Plan {
    fn new<T: Real>(op: &str, handle: &Handle, key: &Key) -> Result<Self> {
        let g = &key.geometry;
        let shape = |shape: [usize; 4]| -> Result<[c_int; 4]> {
            let [a, b, c, d] = shape.map(|size| int(op, size));
            Ok([a?, b?, c?, d?])
        };
        let pair = |h: usize, w: usize| -> Result<[c_int; 2]> { Ok([int(op, h)?, int(op, w)?]) };
        let walk = cudnn::Walk {
            padding: pair(g.height.padding, g.width.padding)?,
            stride: pair(g.height.stride, g.width.stride)?,
            dilation: pair(g.height.dilation, g.width.dilation)?,
            groups: int(op, g.groups)?,
        };
        let math = if key.options.allow_tf32 {
            sys::cudnnMathType_t::CUDNN_DEFAULT_MATH
        } else {
            sys::cudnnMathType_t::CUDNN_FMA_MATH
        };
        let descriptors = Descriptors {
            x: TensorDescriptor::new(op, T::DATA_TYPE, shape(g.input_shape())?)?,
            weight: FilterDescriptor::new(op, T::DATA_TYPE, shape(g.weight_shape())?)?,
            y: TensorDescriptor::new(op, T::DATA_TYPE, shape(g.output_shape())?)?,
            convolution: ConvolutionDescriptor::new(op, T::DATA_TYPE, &walk, math)?,
        };
        let (algorithm, workspace) = choose(op, handle, key.direction, &descriptors, &key.options)?;
        Ok(Self { descriptors, algorithm, workspace })
    }

    /// `result = alpha * convolution(first, second) + beta * result`
    ///
    /// # Safety
    /// All must be pointers to as many numbers of the plan's type as its descriptors say, the third to its
    /// workspace.
    unsafe fn launch<T>(
        &self,
        handle: &Handle,
        [first, second, workspace, result]: [u64; 4],
        alpha: T,
        beta: T,
    ) -> std::result::Result<(), cudarc::cudnn::CudnnError> {
        let Descriptors { x, weight, y, convolution } = &self.descriptors;
        let (alpha, beta) = ((&raw const alpha).cast::<c_void>(), (&raw const beta).cast::<c_void>());
        let [a, b] = [first, second].map(|pointer| pointer as *const c_void);
        let [workspace, result] = [workspace, result].map(|pointer| pointer as *mut c_void);
        let (h, conv, bytes) = (handle.0, convolution.0, self.workspace);
        // SAFETY: as this function's.
        unsafe {
            match self.algorithm {
                Algorithm::Forward(algorithm) => result::convolution_forward(
                    h, alpha, x.0, a, weight.0, b, conv, algorithm, workspace, bytes, beta, y.0, result,
                ),
                Algorithm::InputGradient(algorithm) => result::convolution_backward_data(
                    h, alpha, weight.0, a, y.0, b, conv, algorithm, workspace, bytes, beta, x.0, result,
                ),
                Algorithm::WeightGradient(algorithm) => result::convolution_backward_filter(
                    h, alpha, x.0, a, y.0, b, conv, algorithm, workspace, bytes, beta, weight.0, result,
                ),
            }
        }
    }
}
