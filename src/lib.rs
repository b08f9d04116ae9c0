//! Multi-objective neural architecture search by network morphisms.
pub mod config;
mod error;
pub mod report;
pub mod rng;
pub use error::{Error, Result};
