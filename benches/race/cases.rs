//! The list of cases, as plain data: the other side builds the same work from it.

use morphisms::{Architecture, Layer, Node};
use serde::Serialize;

use crate::networks::{self, Named};
use crate::{Result, kernels};

/// Images a batch, but for inference one by one.
pub const BATCH: usize = 64;
const BATCHES_OF_INFERENCE: [usize; 2] = [1, 64];

/// What both sides run and are timed on.
#[derive(Serialize)]
pub struct Case {
    /// Unique.
    pub name: String,
    pub section: &'static str,
    /// Floating-point operations, two for each multiply-add of the definition (a Winograd convolution does fewer).
    pub flops: Option<f64>,
    /// Bytes that must be read and written at least, where a case is a single operation.
    pub bytes: Option<f64>,
    /// What is computed, in a few words.
    pub detail: String,
    pub work: Work,
}

/// Which pass of a single operation is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    Forward,
    /// The gradients of all arguments, the forward pass done before.
    Backward,
}

/// A convolution with "same" padding, without bias.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ConvSpec {
    /// `[batch, channels, height, width]`.
    pub input: [usize; 4],
    pub out_channels: usize,
    pub kernel: usize,
    pub groups: usize,
    /// Whether the backward pass computes the gradient of the input; a network's first layer needs none.
    pub input_gradient: bool,
}

/// What a case computes.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Work {
    /// One convolution.
    Conv { spec: ConvSpec, pass: Pass },
    /// Batch norm with the batch's statistics, then ReLU; `[batch, channels, height, width]`.
    Norm { input: [usize; 4], pass: Pass },
    /// Forward, loss, backward, a step of SGD with Nesterov momentum and weight decay.
    Step { architecture: Architecture, batch: usize },
    /// Evaluation mode, batch norms folded.
    Inference { architecture: Architecture, batch: usize },
    /// An epoch of each network on so many images of Fashion-MNIST, one thread a network.
    Population { architectures: Vec<Architecture>, images: usize },
}

/// All cases; the population trains on `images` images.
pub fn all(images: usize) -> Result<Vec<Case>> {
    let networks = networks::all()?;
    let mut cases = kernels::cases();
    cases.extend(networks.iter().map(step));
    cases.push(population(images)?);
    for batch in BATCHES_OF_INFERENCE {
        cases.extend(networks.iter().map(|network| inference(network, batch)));
    }
    Ok(cases)
}

fn step(Named { name, architecture }: &Named) -> Case {
    Case {
        name: format!("{name}, step"),
        section: "steps",
        flops: Some(step_flops(architecture) * BATCH as f64),
        bytes: None,
        detail: describe(architecture),
        work: Work::Step { architecture: architecture.clone(), batch: BATCH },
    }
}

fn inference(Named { name, architecture }: &Named, batch: usize) -> Case {
    Case {
        name: format!("{name}, batch {batch}"),
        section: "inference",
        flops: Some(2.0 * architecture.macs() as f64 * batch as f64),
        bytes: None,
        detail: String::new(),
        work: Work::Inference { architecture: architecture.clone(), batch },
    }
}

fn population(images: usize) -> Result<Case> {
    let architectures: Vec<_> = networks::members()?.into_iter().map(|member| member.architecture).collect();
    let flops: f64 = architectures.iter().map(step_flops).sum();
    let parameters: Vec<_> = architectures.iter().map(Architecture::parameter_count).collect();
    Ok(Case {
        name: format!("{} networks, an epoch of {images} images each", architectures.len()),
        section: "population",
        flops: Some(flops * images as f64),
        bytes: None,
        detail: format!("parameters {parameters:?}, batch {BATCH}"),
        work: Work::Population { architectures, images },
    })
}

/// Operations of a training step on one image: forward, gradient of the weights, gradient of the input but for the
/// layers that read the image itself.
fn step_flops(architecture: &Architecture) -> f64 {
    let macs = |node: &Node| node.layer.macs(&architecture.input_shape(node), &node.shape) as f64;
    let reads_image = |node: &&Node| {
        node.inputs.iter().all(|&input| matches!(architecture.node(input).layer, Layer::Input))
    };
    let first: f64 = architecture.nodes().filter(reads_image).map(macs).sum();
    2.0 * (3.0 * architecture.macs() as f64 - first)
}

fn describe(architecture: &Architecture) -> String {
    format!(
        "{} parameters, {:.2} M multiply-adds, input {}",
        architecture.parameter_count(),
        architecture.macs() as f64 / 1e6,
        architecture.input()
    )
}
