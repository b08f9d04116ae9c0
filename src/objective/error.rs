//! Validation error.

use super::{Kind, Objective};

/// Share of the validation images that the trained network gets wrong, from 0 to 1.
pub const ERROR: Objective = Objective {
    name: "error",
    unit: "%",
    summary: "share of the validation images that the trained network gets wrong",
    kind: Kind::Trained,
};
