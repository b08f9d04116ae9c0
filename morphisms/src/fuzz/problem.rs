//! What a case can find.

use std::mem::{Discriminant, discriminant};

use crate::Error;
use crate::check::Violation;

/// A broken promise of a morphism.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// One that concerns a parent and its child.
    #[error("{0}")]
    Broken(#[from] Violation),
    /// An exact child computes something else than the network with which the stretch of exact edits began, though
    /// each step was within its bound.
    #[error("after {edits} exact edits the logits differ by {found:e}, allowed are {allowed:e}")]
    DriftAlong {
        /// Edits since the stretch began, this one included.
        edits: usize,
        /// The largest difference.
        found: f64,
        /// The bound.
        allowed: f64,
    },
    /// An exact child computes something else in training mode.
    #[error("in training mode the logits differ by {found:e}, allowed are {allowed:e}")]
    DriftInTraining {
        /// The largest difference.
        found: f64,
        /// The bound.
        allowed: f64,
    },
    /// A child of a network with finite logits has others.
    #[error("the child's logits are not finite")]
    NotFinite,
    /// The morphism, or what it made, panics.
    #[error("it panics: {0}")]
    Panics(String),
}

/// Tells one kind of problem from another.
pub(super) type Kind = (Discriminant<Problem>, Option<Discriminant<Violation>>);

impl Problem {
    /// In words, the same every time: without the addresses of a backtrace, which candle adds if it is asked to.
    pub(super) fn text(&self) -> String {
        let text = self.to_string();
        text.split("\n   0: ").next().unwrap_or_default().to_string()
    }

    pub(super) fn kind(&self) -> Kind {
        let violation = match self {
            Self::Broken(violation) => Some(discriminant(violation)),
            Self::DriftAlong { .. } | Self::DriftInTraining { .. } | Self::NotFinite | Self::Panics(_) => {
                None
            }
        };
        (discriminant(self), violation)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Broken(error.into())
    }
}

impl From<candle_core::Error> for Problem {
    fn from(error: candle_core::Error) -> Self {
        Error::from(error).into()
    }
}
