//! Running a stored case again.

use candle_core::Device;

use super::Failure;
use super::case::{Case, CaseEdit};
use super::walk::{Conditions, Walk, caught};
use crate::morphism::{Morphism, Site};
use crate::{Error, Result};

/// What came of a case that was run again.
#[derive(Debug, Clone, PartialEq)]
pub enum Replayed {
    /// It fails, perhaps in another way than before.
    Fails {
        /// The morphism.
        morphism: String,
        /// Where; none if its list of sites is the problem.
        site: Option<Site>,
        /// What is broken, in words.
        problem: String,
    },
    /// Every promise was kept.
    Passes,
    /// A morphism has no such site any more, so that nothing is promised there.
    NoSite {
        /// The morphism.
        morphism: String,
        /// The site it had.
        site: Site,
    },
}

impl Replayed {
    /// Whether it is the failure that was found.
    pub fn is_same_as(&self, failure: &Failure) -> bool {
        let Self::Fails { morphism, site, problem } = self else { return false };
        *morphism == failure.morphism && *site == failure.site && *problem == failure.problem
    }
}

/// Runs a case again with the morphisms of these names, on a device.
///
/// # Errors
/// If the case names an unknown morphism, its weights do not fit, or its network cannot be run.
pub fn replay(case: &Case, morphisms: &[&'static dyn Morphism], device: &Device) -> Result<Replayed> {
    let conditions = Conditions { macs: u64::MAX, train_mode: case.train_mode };
    let mut walk = Walk::start(&case.network()?, case.images, conditions, device)?;
    for CaseEdit { morphism: name, site, seed } in &case.edits {
        let morphism = named(name, morphisms)?;
        let fails = |site: Option<&Site>, problem: super::Problem| Replayed::Fails {
            morphism: name.clone(),
            site: site.cloned(),
            problem: problem.text(),
        };
        match caught(|| Ok(morphism.sites(walk.architecture()).contains(site))) {
            Err(problem) => return Ok(fails(None, problem)),
            Ok(false) => return Ok(Replayed::NoSite { morphism: name.clone(), site: site.clone() }),
            Ok(true) => {}
        }
        if let Err(problem) = caught(|| walk.edit(morphism, site, *seed)) {
            return Ok(fails(Some(site), problem));
        }
    }
    Ok(Replayed::Passes)
}

fn named(name: &str, morphisms: &[&'static dyn Morphism]) -> Result<&'static dyn Morphism> {
    let found = morphisms.iter().copied().find(|morphism| morphism.name() == name);
    found.ok_or_else(|| {
        let known: Vec<&str> = morphisms.iter().map(|morphism| morphism.name()).collect();
        Error::Morphism { expected: known.join(", "), found: name.to_string() }
    })
}
