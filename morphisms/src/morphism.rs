//! Morphisms: what rewrites an architecture and says where the child's parameters come from.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::architecture::Architecture;
use crate::inheritance::Inheritance;
use crate::layer::LayerId;
use crate::{Error, Result};

/// What a morphism promises about the child's function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Promise {
    /// The child computes the parent's function, to rounding, in evaluation mode.
    Exact,
    /// The child is smaller and computes nearly the parent's function; distillation mends the rest.
    Approximate,
}

/// A place where a morphism applies, and how.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Site {
    /// The layers it is about; which and in what order is each morphism's own.
    pub layers: Vec<LayerId>,
    /// A number: kernel size, channels added or kept.
    #[serde(default)]
    pub amount: usize,
    /// A way of doing it, where there are several; at each place that which learns best is listed first.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl Site {
    /// A site at `layers` with an `amount`.
    pub fn new(layers: &[LayerId], amount: usize) -> Self {
        Self { layers: layers.to_vec(), amount, variant: String::new() }
    }

    /// The same site with a variant.
    pub fn variant(mut self, variant: &str) -> Self {
        self.variant = variant.to_string();
        self
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layers: Vec<String> = self.layers.iter().map(LayerId::to_string).collect();
        write!(f, "{}", layers.join("→"))?;
        if self.amount > 0 {
            write!(f, ", {}", self.amount)?;
        }
        if !self.variant.is_empty() {
            write!(f, ", {}", self.variant)?;
        }
        Ok(())
    }
}

/// A child on paper: its architecture, and where each of its parameters comes from. No tensor has been touched.
#[derive(Debug, Clone)]
pub struct Rewrite {
    /// The child's architecture.
    pub architecture: Architecture,
    /// Where its parameters come from.
    pub inheritance: Inheritance,
}

/// A rewrite of architectures with inheritance of weights.
pub trait Morphism: Send + Sync {
    /// The name used in configurations and run folders.
    fn name(&self) -> &'static str;

    /// What it does, in a line.
    fn summary(&self) -> &'static str;

    /// What it promises.
    fn promise(&self) -> Promise;

    /// Every place where it applies, in a fixed order; where it does not apply there is no site.
    fn sites(&self, architecture: &Architecture) -> Vec<Site>;

    /// Rewrites at a site. The same architecture, site and seed give the same rewrite.
    ///
    /// # Errors
    /// [`Error::Site`] if `site` is not one of this architecture's.
    fn rewrite(&self, architecture: &Architecture, site: &Site, seed: u64) -> Result<Rewrite>;
}

/// An [`Error::Site`].
pub(crate) fn no_site(morphism: &dyn Morphism, site: &Site, reason: impl Into<String>) -> Error {
    Error::Site { morphism: morphism.name().into(), site: site.to_string(), reason: reason.into() }
}
