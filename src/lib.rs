//! Multi-objective neural architecture search by network morphisms.
pub mod config;
pub mod data;
mod error;
pub mod machine;
pub mod pareto;
pub mod progress;
pub mod report;
pub mod rng;
pub mod strategy;
pub use error::{Error, Result};
