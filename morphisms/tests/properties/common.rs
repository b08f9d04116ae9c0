//! What the tests share.

use candle_core::{DType, Tensor};
use morphisms::check::images;
use morphisms::strategies::Limits;
use morphisms::{Architecture, Morphism, Network, Promise, Rewrite, Site, catalog};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestCaseError};

/// Smaller than the default, for tests that visit every site.
pub const SMALL: Limits = Limits { depth: 30, steps: 9, channels: 6, features: 48, classes: 3 };

/// As many cases as named when `PROPTEST_CASES` is not set, in proportion when it is. They are the same in every run,
/// so that a test fails for a change and not by chance, unless `PROPTEST_RNG_SEED` is set.
pub fn cases(count: u32) -> ProptestConfig {
    let mut wanted = ProptestConfig::default();
    if wanted.rng_seed == RngSeed::Random {
        wanted.rng_seed = RngSeed::Fixed(2019);
    }
    let cases = (u64::from(count) * u64::from(wanted.cases)).div_ceil(256) as u32;
    ProptestConfig { cases, max_shrink_iters: wanted.max_shrink_iters.min(2_000), ..wanted }
}

/// The morphisms that promise this.
pub fn promising(promise: Promise) -> impl Iterator<Item = &'static dyn Morphism> {
    catalog::all().iter().copied().filter(move |morphism| morphism.promise() == promise)
}

/// A batch for a network; the batch size follows from the seed, 1 included.
pub fn batch(network: &Network, seed: u64) -> Tensor {
    let size = [4, 1, 2, 7][(seed % 4) as usize];
    images(network.architecture().input(), size, seed, network.dtype()).unwrap()
}

/// The largest absolute value, in f64.
pub fn largest(tensor: &Tensor) -> f64 {
    tensor.to_dtype(DType::F64).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
}

/// The largest absolute difference, in f64.
pub fn distance(a: &Tensor, b: &Tensor) -> f64 {
    largest(&(a.to_dtype(DType::F64).unwrap() - b.to_dtype(DType::F64).unwrap()).unwrap())
}

/// The rewrite at a site, or a failed test that names the site.
pub fn rewritten(
    morphism: &dyn Morphism,
    architecture: &Architecture,
    site: &Site,
    seed: u64,
) -> Result<Rewrite, TestCaseError> {
    morphism.rewrite(architecture, site, seed).map_err(|error| at(morphism, site, error))
}

/// The child at a site, or a failed test that names the site.
pub fn child(
    parent: &Network,
    morphism: &dyn Morphism,
    site: &Site,
    seed: u64,
    calibration: Option<&Tensor>,
) -> Result<Network, TestCaseError> {
    let rewrite = rewritten(morphism, parent.architecture(), site, seed)?;
    parent.child(&rewrite, calibration).map_err(|error| at(morphism, site, error))
}

/// A failed test, with its place.
pub fn at(morphism: &dyn Morphism, site: &Site, problem: impl std::fmt::Display) -> TestCaseError {
    TestCaseError::fail(format!("{} at {site}: {problem}", morphism.name()))
}
