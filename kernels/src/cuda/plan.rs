//! How cuDNN computes a convolution: the operation, and the engine that is chosen for it.
//!
//! cuDNN's heuristics put its engines in the order of the time they expect; the first one that is allowed,
//! works and whose workspace fits is taken. Engines that go through the Fourier transform come last: for small
//! kernels they were several times slower than the heuristics expect, with workspaces of 100 MiB.

use super::cudnn::{Attribute, Descriptor, Handle};
use super::{Options, launch::Real};
use crate::conv::Geometry;
use crate::tensor::mismatch;
use candle_core::Result;
use cudarc::cudnn::sys;
use std::rc::Rc;
use sys::cudnnBackendAttributeName_t as Name;
use sys::cudnnBackendAttributeType_t as Type;
use sys::cudnnBackendDescriptorType_t as Kind;
use sys::cudnnBackendHeurMode_t as Mode;
use sys::cudnnBackendNumericalNote_t as Note;

/// What a convolution computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    Forward,
    InputGradient,
    WeightGradient,
}

/// What a plan depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub direction: Direction,
    pub dtype: &'static str,
    pub geometry: Geometry,
    /// Of all addresses, in bytes.
    pub alignment: i64,
    pub options: Options,
}

/// A convolution that is ready to run.
pub(super) struct Plan {
    plan: Descriptor,
    /// In bytes.
    pub workspace: usize,
    /// What the plan was made of.
    _parts: (Descriptor, Rc<Descriptor>),
}

/// The numbers by which plans and variant packs know the tensors: x, weight, y.
const IDS: [i64; 3] = [1, 2, 3];

impl Plan {
    /// At most `most` plans that the options allow, the best first by cuDNN's heuristics.
    pub fn find<T: Real + Attribute>(op: &str, handle: &Handle, key: &Key, most: usize) -> Result<Vec<Self>> {
        let fits = |plan: &Self| plan.workspace <= key.options.workspace;
        // Some engines turn out not to be able to do it only now.
        let plan = |parts| Self::new(op, handle, parts).ok().filter(fits);
        let (mut plans, mut slow) = (Vec::new(), Vec::new());
        for mode in [Mode::CUDNN_HEUR_MODE_A, Mode::CUDNN_HEUR_MODE_FALLBACK] {
            let graph = Rc::new(graph::<T>(op, handle, key)?);
            for config in configs(op, &graph, mode)? {
                let notes = notes(op, &config)?;
                let parts = (config, graph.clone());
                if !allowed(&notes, &key.options) {
                    continue;
                }
                if notes.contains(&(Note::CUDNN_NUMERICAL_NOTE_FFT as u32)) {
                    slow.push(parts);
                    continue;
                }
                plans.extend(plan(parts));
                if plans.len() == most {
                    return Ok(plans);
                }
            }
        }
        let missing = most - plans.len();
        plans.extend(slow.into_iter().filter_map(plan).take(missing));
        if plans.is_empty() {
            let expected = format!("a cuDNN engine for {:?} that the options allow", key.direction);
            return Err(mismatch(op, expected, format!("none with {:?}", key.options)));
        }
        Ok(plans)
    }

    fn new(op: &str, handle: &Handle, parts: (Descriptor, Rc<Descriptor>)) -> Result<Self> {
        let plan = Descriptor::new(op, Kind::CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)?;
        plan.set_handle(op, Name::CUDNN_ATTR_EXECUTION_PLAN_HANDLE, handle)?;
        plan.set_descriptors(op, Name::CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, &[&parts.0])?;
        let plan = plan.finish(op)?;
        let workspace = plan.number(op, Name::CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE)?.max(0) as usize;
        Ok(Self { plan, workspace, _parts: parts })
    }

    /// Runs with the tensors x, weight and y and a workspace at these addresses.
    ///
    /// # Safety
    /// They must be as large as the plan's geometry and workspace.
    pub unsafe fn run(&self, op: &str, handle: &Handle, tensors: [u64; 3], workspace: u64) -> Result<()> {
        let pack = Descriptor::new(op, Kind::CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)?;
        pack.set(op, Name::CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, &IDS)?;
        pack.set_addresses(op, Name::CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, &tensors)?;
        pack.set_addresses(op, Name::CUDNN_ATTR_VARIANT_PACK_WORKSPACE, &[workspace])?;
        let pack = pack.finish(op)?;
        // SAFETY: as this function's.
        unsafe { handle.execute(op, &self.plan, &pack) }
    }
}

/// What the heuristics propose for a graph, the best first.
fn configs(op: &str, graph: &Descriptor, mode: Mode) -> Result<Vec<Descriptor>> {
    let heuristics = Descriptor::new(op, Kind::CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR)?;
    heuristics.set_descriptors(op, Name::CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, &[graph])?;
    heuristics.set(op, Name::CUDNN_ATTR_ENGINEHEUR_MODE, &[mode])?;
    match heuristics.finish(op) {
        Ok(heuristics) => heuristics.descriptors(
            op,
            Name::CUDNN_ATTR_ENGINEHEUR_RESULTS,
            Kind::CUDNN_BACKEND_ENGINECFG_DESCRIPTOR,
        ),
        // Heuristics that know nothing of an operation are no error.
        Err(_) => Ok(Vec::new()),
    }
}

/// Whether an engine with these properties gives what the options ask for.
fn allowed(notes: &[u32], options: &Options) -> bool {
    let has = |note: Note| notes.contains(&(note as u32));
    let same = !has(Note::CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC);
    let exact = !has(Note::CUDNN_NUMERICAL_NOTE_TENSOR_CORE)
        && !has(Note::CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS)
        && !has(Note::CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION);
    (same || !options.deterministic) && (exact || options.allow_tf32)
}

fn notes(op: &str, config: &Descriptor) -> Result<Vec<u32>> {
    let engines =
        config.descriptors(op, Name::CUDNN_ATTR_ENGINECFG_ENGINE, Kind::CUDNN_BACKEND_ENGINE_DESCRIPTOR)?;
    let engine = engines.first().ok_or_else(|| mismatch(op, "an engine", "none"))?;
    engine.enumerators(op, Name::CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, Type::CUDNN_TYPE_NUMERICAL_NOTE)
}

/// The graph of one operation.
fn graph<T: Real + Attribute>(op: &str, handle: &Handle, key: &Key) -> Result<Descriptor> {
    let operation = operation::<T>(op, key)?;
    let graph = Descriptor::new(op, Kind::CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)?;
    graph.set_handle(op, Name::CUDNN_ATTR_OPERATIONGRAPH_HANDLE, handle)?;
    graph.set_descriptors(op, Name::CUDNN_ATTR_OPERATIONGRAPH_OPS, &[&operation])?;
    graph.finish(op)
}

fn operation<T: Real + Attribute>(op: &str, key: &Key) -> Result<Descriptor> {
    let g = &key.geometry;
    let shapes = [g.input_shape(), g.weight_shape(), g.output_shape()];
    let tensor = |i: usize| tensor::<T>(op, IDS[i], shapes[i], key.alignment);
    let (x, weight, y) = (tensor(0)?, tensor(1)?, tensor(2)?);
    let (kind, [alpha, beta, conv, x_name, weight_name, y_name]) = match key.direction {
        Direction::Forward => (
            Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
            [
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
            ],
        ),
        Direction::InputGradient => (
            Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
            [
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
            ],
        ),
        Direction::WeightGradient => (
            Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
            [
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
            ],
        ),
    };
    let operation = Descriptor::new(op, kind)?;
    operation.set_descriptors(op, conv, &[&convolution::<T>(op, g)?])?;
    operation.set_descriptors(op, x_name, &[&x])?;
    operation.set_descriptors(op, weight_name, &[&weight])?;
    operation.set_descriptors(op, y_name, &[&y])?;
    operation.set(op, alpha, &[T::ONE])?;
    operation.set(op, beta, &[T::ZERO])?;
    operation.finish(op)
}

/// Contiguous numbers.
fn tensor<T: Real>(op: &str, id: i64, shape: [usize; 4], alignment: i64) -> Result<Descriptor> {
    let [_, b, c, d] = shape;
    let strides = [b * c * d, c * d, d, 1].map(|stride| stride as i64);
    let tensor = Descriptor::new(op, Kind::CUDNN_BACKEND_TENSOR_DESCRIPTOR)?;
    tensor.set(op, Name::CUDNN_ATTR_TENSOR_DATA_TYPE, &[T::DATA_TYPE])?;
    tensor.set(op, Name::CUDNN_ATTR_TENSOR_DIMENSIONS, &shape.map(|size| size as i64))?;
    tensor.set(op, Name::CUDNN_ATTR_TENSOR_STRIDES, &strides)?;
    tensor.set(op, Name::CUDNN_ATTR_TENSOR_UNIQUE_ID, &[id])?;
    tensor.set(op, Name::CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, &[alignment])?;
    tensor.finish(op)
}

/// How a convolution walks. cuDNN sees the groups from the channels.
fn convolution<T: Real>(op: &str, g: &Geometry) -> Result<Descriptor> {
    let pair = |h: usize, w: usize| [h as i64, w as i64];
    // Alike on opposite sides: any other is written down before.
    let padding = pair(g.height.padding, g.width.padding);
    let convolution = Descriptor::new(op, Kind::CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR)?;
    let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
    convolution.set(op, Name::CUDNN_ATTR_CONVOLUTION_COMP_TYPE, &[T::DATA_TYPE])?;
    convolution.set(op, Name::CUDNN_ATTR_CONVOLUTION_CONV_MODE, &[mode])?;
    convolution.set(op, Name::CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, &[2_i64])?;
    convolution.set(
        op,
        Name::CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES,
        &pair(g.height.stride, g.width.stride),
    )?;
    convolution.set(
        op,
        Name::CUDNN_ATTR_CONVOLUTION_DILATIONS,
        &pair(g.height.dilation, g.width.dilation),
    )?;
    convolution.set(op, Name::CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, &padding)?;
    convolution.set(op, Name::CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, &padding)?;
    convolution.finish(op)
}
