//! Parameters.

use super::{Kind, Objective};

/// Trained parameters; the running statistics of batch norms do not count.
pub const PARAMS: Objective = Objective {
    name: "params",
    unit: "parameters",
    summary: "trained parameters",
    kind: Kind::Counted(|architecture| architecture.parameter_count() as f64),
};
