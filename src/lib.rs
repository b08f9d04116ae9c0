//! Multi-objective neural architecture search by network morphisms.
pub mod config;
pub mod data;
mod error;
pub mod rng;
pub use error::{Error, Result};
