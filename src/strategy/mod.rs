//! How a search chooses what to train next.
pub mod kde;
