//! The one error type of the engine: every variant carries what a person needs to mend the input.

use std::path::{Path, PathBuf};

/// What can go wrong outside of our own bugs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A table of trained designs is not what its format says.
    #[error("the table {}: {problem}", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A file or folder could not be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was attempted, as a verb: "read", "create", "write".
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A configuration key, on the command line or in a TOML file, is unknown or has a value of the wrong kind.
    #[error("{origin}: key `{key}`: expected {expected}, found {found}{}", hint.as_ref().map(|h| format!("\n  hint: {h}")).unwrap_or_default())]
    Config {
        /// The TOML file, or the option of the command line.
        origin: String,
        /// The dotted key.
        key: String,
        /// What would have been right.
        expected: String,
        /// What was there.
        found: String,
        /// How to mend it, such as the nearest known key.
        hint: Option<String>,
    },
    /// A data file does not follow its format.
    #[error("{}: {what}: expected {expected}, found {found}", path.display())]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// The part of the file that is wrong: "label of record 17", "magic number".
        what: String,
        /// What the format asks for.
        expected: String,
        /// What was there.
        found: String,
    },
    /// A run folder, or a file in it, cannot be used.
    #[error("run folder {}: {problem}", path.display())]
    Run {
        /// The run folder.
        path: PathBuf,
        /// What is wrong, and what to do about it.
        problem: String,
    },
    /// No initial network satisfies a bound.
    #[error(
        "--max {name}={bound}: no initial network meets this bound; the smallest reachable value is {smallest}"
    )]
    Bound {
        /// The objective.
        name: String,
        /// The bound asked for.
        bound: f64,
        /// The smallest value among the initial networks.
        smallest: f64,
    },
    /// Networks could not be measured, so many that it is not theirs.
    #[error("{name} could not be measured for {networks}; the last time: {why}")]
    Unmeasurable {
        /// The objective.
        name: &'static str,
        /// Which networks: "any of the 4 initial networks".
        networks: String,
        /// Why, in the words of what measures.
        why: String,
    },
    /// A request that cannot be carried out as asked.
    #[error("{0}")]
    Usage(String),
    /// An architecture, its weights or a rewrite is invalid.
    #[error(transparent)]
    Morphism(#[from] morphisms::Error),
    /// A tensor operation failed.
    #[error("tensor operation failed: {0}")]
    Candle(#[from] candle_core::Error),
    /// The run's database failed.
    #[error("database: {0}")]
    Database(#[from] rusqlite::Error),
    /// A value in the run's database or an exported file is not what this version wrote.
    #[error("cannot decode {what}: {source}")]
    Json {
        /// What was being decoded.
        what: String,
        /// The decoder's answer.
        source: serde_json::Error,
    },
}

impl Error {
    /// An [`Error::Io`] for `path`; for use in `map_err`.
    pub fn io(doing: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { doing, path, source }
    }

    /// An [`Error::Data`].
    pub fn data(
        path: impl AsRef<Path>,
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Data {
            path: path.as_ref().to_path_buf(),
            what: what.into(),
            expected: expected.into(),
            found: found.into(),
        }
    }
}

/// The engine's result type.
pub type Result<T> = std::result::Result<T, Error>;
