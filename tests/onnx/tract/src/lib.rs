//! The Rust program of the chapter on deployment, compiled as a documentation test.
#![doc = include_str!("../../../../docs/deploy.md")]
