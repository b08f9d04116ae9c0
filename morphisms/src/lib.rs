//! Function-preserving rewrites of convolutional networks.
mod error;
pub use error::{Error, Result};
