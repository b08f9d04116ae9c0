//! Convolution by cuDNN.

use super::cudnn::{Attribute, Handle};
use super::frame::{frame, unframe};
use super::launch::{Real, Walk, kernel, room, storage, values};
use super::plan::{Direction, Key, Plan};
use super::{columns, options};
use crate::conv::Geometry;
use crate::op::Argument;
use crate::tensor::with_float;
use candle_core::Result;
use candle_core::backend::BackendStorage;
use candle_core::cuda::cudarc::driver::sys::CUevent_flags;
use candle_core::cuda::cudarc::driver::{CudaSlice, CudaView, DevicePtr, DevicePtrMut, PushKernelArg};
use candle_core::cuda::{CudaDevice, CudaStorage, DeviceId, WrapErr};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

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
        if columns::applies(geometry, size_of::<T>(), options().workspace) {
            return Ok(storage(columns::weight_gradient(op, device, geometry, &x, &dy)?, device));
        }
        let size = geometry.weight_shape().iter().product();
        Ok(storage(run(op, device, Direction::WeightGradient, geometry, [&x, &dy], size)?, device))
    })
}

/// Computes one of x, weight and y from the other two, in that order.
fn run<T: Real + Attribute>(
    op: &str,
    device: &CudaDevice,
    direction: Direction,
    geometry: &Geometry,
    arguments: [&CudaView<T>; 2],
    size: usize,
) -> Result<CudaSlice<T>> {
    if !geometry.is_evenly_padded() {
        return run_framed(op, device, direction, geometry, arguments, size);
    }
    let mut out = room::<T>(device, size)?;
    let stream = device.cuda_stream();
    {
        let (first, _first_used) = arguments[0].device_ptr(&stream);
        let (second, _second_used) = arguments[1].device_ptr(&stream);
        let (result, _result_written) = out.device_ptr_mut(&stream);
        let tensors = match direction {
            Direction::Forward => [first, second, result],
            Direction::InputGradient => [result, first, second],
            Direction::WeightGradient => [first, result, second],
        };
        let alignment =
            tensors.iter().fold(16, |alignment, at| alignment.min(1 << at.trailing_zeros().min(4)));
        let key = Key { direction, dtype: T::SUFFIX, geometry: *geometry, alignment, options: options() };
        // SAFETY: the callers' slices have the sizes of the geometry.
        with_context(op, device, |context| unsafe { context.run::<T>(op, device, key, tensors) })?;
    }
    Ok(out)
}

/// [`run`] on an input whose padding is written down.
fn run_framed<T: Real + Attribute>(
    op: &str,
    device: &CudaDevice,
    direction: Direction,
    geometry: &Geometry,
    [first, second]: [&CudaView<T>; 2],
    size: usize,
) -> Result<CudaSlice<T>> {
    let framed = geometry.framed();
    match direction {
        Direction::Forward | Direction::WeightGradient => {
            let x = frame(op, device, geometry, first)?;
            run(op, device, direction, &framed, [&x.as_view(), second], size)
        }
        Direction::InputGradient => {
            let framed_size = framed.input_shape().iter().product();
            let dx = run(op, device, direction, &framed, [first, second], framed_size)?;
            unframe(op, device, geometry, &dx.as_view())
        }
    }
}

/// A thread's access to cuDNN on a device: a handle belongs to one thread.
struct Context {
    device: DeviceId,
    // Dropped before the handle.
    plans: BTreeMap<Key, Plan>,
    workspace: Option<CudaSlice<u8>>,
    handle: Handle,
}

/// Plans that a context keeps. One takes some kilobytes; a search makes new ones as long as it runs.
const MOST_PLANS: usize = 2048;

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
    /// # Safety
    /// The tensors x, weight and y must have the sizes of the geometry.
    unsafe fn run<T: Real + Attribute>(
        &mut self,
        op: &str,
        device: &CudaDevice,
        key: Key,
        tensors: [u64; 3],
    ) -> Result<()> {
        let stream = device.cuda_stream();
        stream.context().bind_to_thread().w()?;
        if self.plans.len() >= MOST_PLANS && !self.plans.contains_key(&key) {
            self.plans.clear();
        }
        let plan = match self.plans.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let most = if key.options.timed { MOST_TIMED } else { 1 };
                let plans = Plan::find::<T>(op, &self.handle, &key, most)?;
                // SAFETY: as this function's.
                let plan = unsafe { fastest(op, device, &self.handle, &mut self.workspace, plans, tensors) }?;
                entry.insert(plan)
            }
        };
        let workspace = workspace(device, &mut self.workspace, plan.workspace)?;
        let at = workspace.map_or(0, |workspace| workspace.device_ptr_mut(&stream).0);
        // SAFETY: as this function's; the workspace is as large as the plan says, and its uses are in the
        // order of the stream.
        unsafe { plan.run(op, &self.handle, tensors, at) }
    }
}

/// Plans that are timed against each other.
const MOST_TIMED: usize = 8;
/// Runs of each; the shortest counts.
const TIMED_RUNS: usize = 3;

/// The fastest of some plans; if there is only one it is not run.
///
/// # Safety
/// The tensors x, weight and y must have the sizes of the geometry. The one to be computed is overwritten.
unsafe fn fastest(
    op: &str,
    device: &CudaDevice,
    handle: &Handle,
    room: &mut Option<CudaSlice<u8>>,
    mut plans: Vec<Plan>,
    tensors: [u64; 3],
) -> Result<Plan> {
    let mut best = (0, f32::INFINITY);
    for (i, plan) in plans.iter().enumerate().filter(|_| plans.len() > 1) {
        // SAFETY: as this function's.
        let time = unsafe { milliseconds(op, device, handle, room, plan, tensors) };
        // A plan that cannot run is not chosen.
        if let Some(time) = time.ok().filter(|&time| time < best.1) {
            best = (i, time);
        }
    }
    Ok(plans.swap_remove(best.0))
}

/// # Safety
/// As of [`fastest`].
unsafe fn milliseconds(
    op: &str,
    device: &CudaDevice,
    handle: &Handle,
    room: &mut Option<CudaSlice<u8>>,
    plan: &Plan,
    tensors: [u64; 3],
) -> Result<f32> {
    let stream = device.cuda_stream();
    let at = workspace(device, room, plan.workspace)?.map_or(0, |room| room.device_ptr_mut(&stream).0);
    // SAFETY: as this function's; the workspace is as large as the plan says.
    let run = || unsafe { plan.run(op, handle, tensors, at) };
    // The first run may load or make kernels.
    run()?;
    let mut shortest = f32::INFINITY;
    for _ in 0..TIMED_RUNS {
        let timed = Some(CUevent_flags::CU_EVENT_DEFAULT);
        let start = stream.record_event(timed).w()?;
        run()?;
        let end = stream.record_event(timed).w()?;
        shortest = shortest.min(start.elapsed_ms(&end).w()?);
    }
    Ok(shortest)
}

/// The workspace, made larger if need be.
fn workspace<'a>(
    device: &CudaDevice,
    workspace: &'a mut Option<CudaSlice<u8>>,
    bytes: usize,
) -> Result<Option<&'a mut CudaSlice<u8>>> {
    if workspace.as_ref().map_or(0, CudaSlice::len) < bytes {
        // The old one goes first: both together may be more than there is.
        *workspace = None;
        *workspace = Some(room::<u8>(device, bytes)?);
    }
    Ok(workspace.as_mut())
}
