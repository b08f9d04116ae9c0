//! The one error type of the crate.

/// What can go wrong with an architecture, its weights or a rewrite.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The architecture is not a valid network.
    #[error("invalid architecture: {0}")]
    Architecture(String),
    /// The weights do not fit the architecture.
    #[error("invalid weights: {0}")]
    Weights(String),
    /// A rewrite was asked for at a place where it does not apply.
    #[error("{morphism} does not apply at {site}: {reason}")]
    Site {
        /// The morphism's name.
        morphism: String,
        /// The place.
        site: String,
        /// Why.
        reason: String,
    },
    /// A tensor does not fit a function of [`surgery`](crate::surgery).
    #[error("{function}: expected {expected}, found {found}")]
    Surgery {
        /// The function.
        function: &'static str,
        /// What it takes.
        expected: String,
        /// What it was given.
        found: String,
    },
    /// An ONNX model cannot be read or written.
    #[error("ONNX: {0}")]
    Onnx(String),
    /// A file names a morphism that nobody knows.
    #[error("unknown morphism: expected one of {expected}, found `{found}`")]
    Morphism {
        /// The known names.
        expected: String,
        /// The name.
        found: String,
    },
    /// A tensor operation failed.
    #[error("tensor operation failed: {0}")]
    Candle(#[from] candle_core::Error),
    /// JSON could not be read.
    #[error("invalid JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A file holds something else than it should.
    #[error("{path}: {problem}")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
}

/// The crate's result type.
pub type Result<T> = std::result::Result<T, Error>;
