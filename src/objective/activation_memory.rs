//! Activation memory.

use super::{Kind, Objective};

/// Peak bytes of live activations while one image is classified in f32.
pub const ACTIVATION_MEMORY: Objective = Objective {
    name: "activation_memory",
    unit: "bytes",
    summary: "peak bytes of live activations while one image is classified",
    kind: Kind::Counted(|architecture| architecture.activation_memory() as f64),
};
