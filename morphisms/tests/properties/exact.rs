//! Exact morphisms keep the function in evaluation mode.

use candle_core::DType;
use morphisms::check::{images, is_alive, rounding};
use morphisms::strategies::{Edit, Limits, any_dead_network, any_edits, any_network};
use morphisms::{ConvAlgorithm, Layer, Morphism, Network, Node, Promise, Site};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::common::{SMALL, at, batch, cases, child, distance, largest, promising};

/// f64: relative to the largest output.
const F64: f64 = 1e-10;

/// Whether the child computes what the parent computes on a batch.
fn same_in_f64(
    parent: &Network,
    child: &Network,
    seed: u64,
    morphism: &dyn Morphism,
    site: &Site,
) -> Result<(), TestCaseError> {
    let images = batch(parent, seed);
    let (expected, found) = (parent.logits(&images).unwrap(), child.logits(&images).unwrap());
    let (drift, scale) = (distance(&expected, &found), largest(&expected));
    if drift <= F64 * scale { Ok(()) } else { Err(at(morphism, site, format!("{drift:e} of {scale:e}"))) }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn at_every_site_in_f64(parent in any_network(SMALL, DType::F64), seed in 0..1000u64) {
        for morphism in promising(Promise::Exact) {
            for site in morphism.sites(parent.architecture()) {
                let child = child(&parent, morphism, &site, seed, None)?;
                same_in_f64(&parent, &child, seed, morphism, &site)?;
            }
        }
    }
}

/// How much more Winograd rounds than direct convolution.
const WINOGRAD: f64 = 5.0;
/// Parent and child are computed alike: errors of the two differ.
const ALGORITHMS: [ConvAlgorithm; 2] = [ConvAlgorithm::Direct, ConvAlgorithm::Winograd];

/// What an f32 child is compared with.
struct Rounding {
    allowed: f64,
    exact: candle_core::Tensor,
    images: candle_core::Tensor,
    algorithm: ConvAlgorithm,
    /// Layers of the parent that Winograd can compute.
    by_winograd: usize,
}

/// The number of convolutions with kernels of 3x3.
fn winograd(network: &Network) -> usize {
    let is_3x3 = |node: &&Node| matches!(node.layer, Layer::Conv(conv) if conv.window.kernel == (3, 3));
    network.architecture().nodes().filter(is_3x3).count()
}

impl Rounding {
    fn of(parent: &Network, seed: u64, algorithm: ConvAlgorithm) -> Self {
        let images = images(parent.architecture().input(), 32, seed, DType::F32).unwrap();
        let exact =
            parent.to_dtype(DType::F64).unwrap().logits(&images.to_dtype(DType::F64).unwrap()).unwrap();
        // A parent may round well by chance; `rounding` also looks at it with its weights moved by half a unit.
        let allowed = rounding(parent, &images, algorithm).unwrap();
        Self { allowed, exact, images, algorithm, by_winograd: winograd(parent) }
    }

    fn check(&self, child: &Network, morphism: &dyn Morphism, site: &Site) -> Result<(), TestCaseError> {
        let drift = distance(&child.logits_by(&self.images, self.algorithm).unwrap(), &self.exact);
        // Winograd is for 3x3 kernels: one more, and the child is computed by it where the parent is not.
        let more = self.algorithm == ConvAlgorithm::Winograd && winograd(child) > self.by_winograd;
        let allowed = self.allowed * if more { WINOGRAD } else { 1.0 };
        if drift <= allowed {
            Ok(())
        } else {
            Err(at(morphism, site, format!("{:?}: {drift:e} of {allowed:e}", self.algorithm)))
        }
    }
}

proptest! {
    #![proptest_config(cases(250))]

    #[test]
    fn at_every_site_in_f32(parent in any_network(SMALL, DType::F32), seed in 0..1000u64) {
        let roundings = ALGORITHMS.map(|algorithm| Rounding::of(&parent, seed, algorithm));
        for morphism in promising(Promise::Exact) {
            for site in morphism.sites(parent.architecture()) {
                let child = child(&parent, morphism, &site, seed, None)?;
                roundings.iter().try_for_each(|rounding| rounding.check(&child, morphism, &site))?;
            }
        }
    }
}

/// Walks a chain of exact edits; an edit without a site is left out, and so is one that would make a network too
/// large for a quick test.
fn walk(
    parent: &Network,
    chain: &[Edit],
    mut visit: impl FnMut(&Network, &dyn Morphism, &Site) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let exact: Vec<_> = promising(Promise::Exact).collect();
    let mut network = parent.clone();
    for edit in chain {
        let morphism = *edit.pick_morphism(&exact);
        let sites = morphism.sites(network.architecture());
        let Some(site) = edit.pick_site(&sites).filter(|_| network.architecture().macs() <= 300_000) else {
            continue;
        };
        network = child(&network, morphism, site, edit.seed(), None)?;
        visit(&network, morphism, site)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn in_chains_in_f64(
        parent in any_network(Limits::default(), DType::F64), chain in any_edits(10), seed in 0..1000u64,
    ) {
        walk(&parent, &chain, |network, morphism, site| same_in_f64(&parent, network, seed, morphism, site))?;
    }

    #[test]
    fn in_chains_in_f32(
        parent in any_network(Limits::default(), DType::F32), chain in any_edits(10), seed in 0..1000u64,
    ) {
        let roundings = ALGORITHMS.map(|algorithm| Rounding::of(&parent, seed, algorithm));
        walk(&parent, &chain, |network, morphism, site| {
            roundings.iter().try_for_each(|rounding| rounding.check(network, morphism, site))
        })?;
    }

    #[test]
    fn of_dead_networks_by_absolute_bounds(
        parent in any_dead_network(SMALL, DType::F64), seed in 0..1000u64,
    ) {
        let images = batch(&parent, seed);
        let expected = parent.logits(&images).unwrap();
        prop_assert!(!is_alive(&expected).unwrap());
        for morphism in promising(Promise::Exact) {
            let sites = morphism.sites(parent.architecture());
            for site in sites.iter().skip((seed % 3) as usize).step_by(3) {
                let child = child(&parent, morphism, site, seed, None)?;
                let drift = distance(&expected, &child.logits(&images).unwrap());
                if drift > 1e-9 {
                    return Err(at(morphism, site, format!("{drift:e}")));
                }
            }
        }
    }
}
