//! The promises of the catalogue, on random networks from a generator that does not use it.
//!
//! Every test walks `catalog::all()`, so a new morphism is held to them at once. Failures shrink, and their seeds are
//! kept in `tests/proptest-regressions`. `PROPTEST_CASES` scales the number of networks (256: as written here),
//! `PROPTEST_RNG_SEED` draws others.

mod common;
mod composition;
mod contract;
mod cost;
mod coverage;
mod exact;
mod fuzz;
mod greedy;
mod hostile;
mod identity;
mod life;
mod onnx;
mod removal;
mod rescale;
mod training;
