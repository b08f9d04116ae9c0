//! Multiply-adds.

use super::{Kind, Objective};

/// Multiply-adds of convolutions and linear layers for one image.
pub const MACS: Objective = Objective {
    name: "macs",
    unit: "multiply-adds",
    summary: "multiply-adds of convolutions and linear layers for one image",
    kind: Kind::Counted(|architecture| architecture.macs() as f64),
};
