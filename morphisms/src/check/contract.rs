//! The contract of a morphism.

use candle_convnet::ConvAlgorithm;
use candle_core::{DType, Tensor};
use serde::{Serialize, de::DeserializeOwned};

use super::{drift, images, largest, rounding, shares_storage};
use crate::architecture::{Architecture, ParamKey};
use crate::inheritance::{Inheritance, Source};
use crate::morphism::{Morphism, Promise, Rewrite, Site};
use crate::network::Network;
use crate::{Error, Result};

/// The largest relative drift of an exact child in f64.
pub(crate) const DRIFT: f64 = 1e-10;
/// Images a comparison takes; enough that the rounding of the parent, a maximum over them, says something.
const IMAGES: usize = 32;

/// A broken promise of a morphism.
#[derive(Debug, thiserror::Error)]
#[error("{morphism}, network {network}{}: {violation}", site.as_ref().map(|site| format!(" at {site}")).unwrap_or_default())]
pub struct ContractError {
    /// The morphism's name.
    pub morphism: String,
    /// Which of the networks.
    pub network: usize,
    /// Where; none if it concerns the list of sites.
    pub site: Option<Site>,
    /// What is broken.
    pub violation: Violation,
}

/// What can be broken.
#[derive(Debug, thiserror::Error)]
pub enum Violation {
    /// The list of sites is another the second time, or after the architecture went through JSON.
    #[error("the sites are others the second time")]
    SitesVary,
    /// A site is listed twice.
    #[error("the site is listed twice")]
    SiteTwice,
    /// It fails at a site of its own.
    #[error("it fails: {0}")]
    Fails(#[from] Error),
    /// A rewrite or an architecture does not survive JSON.
    #[error("{0} does not survive JSON")]
    Json(&'static str),
    /// The child takes other images or yields other classes.
    #[error("the child takes {found}, the parent {expected}")]
    Interface {
        /// The parent's input shape and classes.
        expected: String,
        /// The child's.
        found: String,
    },
    /// The parent's bytes changed.
    #[error("the parent changed")]
    ParentChanged,
    /// A tensor of the child equals the parent's of that name but is a copy.
    #[error("parameter {0} is untouched but does not share the parent's storage")]
    Copied(ParamKey),
    /// An exact child computes something else.
    #[error("the logits differ by {found:e}, allowed are {allowed:e}")]
    Drift {
        /// The largest difference.
        found: f64,
        /// The bound.
        allowed: f64,
    },
    /// An approximate child costs more in something, or less in nothing.
    #[error("an approximate child must cost less: parent {parent:?}, child {child:?}")]
    Cost {
        /// Parameters, multiply-adds, connections of the parent.
        parent: [u64; 3],
        /// Those of the child.
        child: [u64; 3],
    },
    /// The same seed gave another child.
    #[error("the same seed gave another child")]
    SeedVaries,
    /// The closed inheritance, through JSON, gave other weights than the child's.
    #[error("the resolved inheritance replays to other weights")]
    Replay,
    /// Two closed inheritances in one gave other weights than one after the other.
    #[error("composed with a second edit, the inheritance gives other weights than step by step")]
    Composition,
}

/// Runs a morphism at every site of every network and checks what each morphism owes:
///
/// - its sites are repeatable, each listed once, and the same after the architecture went through JSON;
/// - the parent's bytes do not change, and untouched tensors of the child share its storage;
/// - the child is a network for the same images and classes;
/// - an exact child computes the parent's function in evaluation mode: in f64 to 1e-10 of the largest logit, in f32 to
///   [`rounding`];
/// - an approximate child has no more parameters and no more multiply-adds, and fewer of either or, where a sum loses
///   a term, fewer connections;
/// - the same seed gives the same bytes;
/// - the inheritance survives JSON, and once resolved replays to the same bytes, alone and composed with a second one.
///
/// # Errors
/// The first broken promise.
pub fn contract(
    morphism: &dyn Morphism,
    networks: &[Network],
) -> std::result::Result<(), Box<ContractError>> {
    for (network, parent) in networks.iter().enumerate() {
        let failed = |site: Option<&Site>, violation| {
            let (morphism, site) = (morphism.name().into(), site.cloned());
            Box::new(ContractError { morphism, network, site, violation })
        };
        let sites = morphism.sites(parent.architecture());
        check_sites(morphism, parent.architecture(), &sites).map_err(|violation| failed(None, violation))?;
        let case = Case::new(morphism, parent).map_err(|error| failed(None, error.into()))?;
        for (place, site) in sites.iter().enumerate() {
            if sites[..place].contains(site) {
                return Err(failed(Some(site), Violation::SiteTwice));
            }
            case.check(site, place as u64).map_err(|violation| failed(Some(site), violation))?;
        }
    }
    Ok(())
}

pub(crate) type Check = std::result::Result<(), Violation>;

pub(crate) fn ensure(holds: bool, violation: Violation) -> Check {
    if holds { Ok(()) } else { Err(violation) }
}

fn check_sites(morphism: &dyn Morphism, architecture: &Architecture, sites: &[Site]) -> Check {
    ensure(morphism.sites(architecture) == sites, Violation::SitesVary)?;
    let copy: Architecture = through_json(architecture)?;
    ensure(copy == *architecture, Violation::Json("the architecture"))?;
    ensure(morphism.sites(&copy) == sites, Violation::SitesVary)?;
    let copies: Vec<Site> = through_json(&sites)?;
    ensure(copies == sites, Violation::Json("a site"))
}

fn through_json<T: Serialize, U: DeserializeOwned>(value: &T) -> Result<U> {
    Ok(serde_json::from_str(&serde_json::to_string(value)?)?)
}

/// A morphism on a network.
struct Case<'a> {
    morphism: &'a dyn Morphism,
    parent: &'a Network,
    images: Tensor,
    bytes: Vec<u8>,
    logits: Tensor,
    /// What the logits of an exact child may differ by.
    allowed: f64,
}

impl<'a> Case<'a> {
    fn new(morphism: &'a dyn Morphism, parent: &'a Network) -> Result<Self> {
        let images =
            images(parent.architecture().input(), IMAGES, 0, parent.dtype())?.to_device(&parent.device())?;
        let precise = parent.to_dtype(DType::F64)?.logits(&images.to_dtype(DType::F64)?)?;
        let allowed = match parent.dtype() {
            DType::F64 => DRIFT * largest(&precise)?,
            _ => rounding(parent, &images, ConvAlgorithm::Direct)?,
        };
        let bytes = parent.weights().to_safetensors()?;
        Ok(Self { morphism, parent, images, bytes, logits: precise, allowed })
    }

    fn check(&self, site: &Site, seed: u64) -> Check {
        let rewrite = self.morphism.rewrite(self.parent.architecture(), site, seed)?;
        let again = self.morphism.rewrite(self.parent.architecture(), site, seed)?;
        let child = self.parent.child(&rewrite, Some(&self.images))?;
        let bytes = child.weights().to_safetensors()?;
        let twin = self.parent.child(&again, Some(&self.images))?.weights().to_safetensors()?;
        ensure(rewrite.architecture == again.architecture && bytes == twin, Violation::SeedVaries)?;
        same_interface(self.parent, &child)?;
        shared(self.parent, &rewrite.inheritance, &child)?;
        self.check_promise(&child)?;
        self.check_replay(&rewrite, &child, &bytes, seed)?;
        ensure(self.parent.weights().to_safetensors()? == self.bytes, Violation::ParentChanged)
    }

    fn check_promise(&self, child: &Network) -> Check {
        match self.morphism.promise() {
            Promise::Exact => {
                let logits =
                    child.logits_by(&self.images, ConvAlgorithm::Direct).map_err(Violation::Fails)?;
                let logits = logits.to_dtype(DType::F64).map_err(Error::from)?;
                let found = largest(&(logits - &self.logits).map_err(Error::from)?)?;
                let allowed = self.allowed;
                ensure(found <= allowed, Violation::Drift { found, allowed })
            }
            Promise::Approximate => {
                drift(self.parent, child, &self.images)?;
                costs_less(self.parent.architecture(), child.architecture())
            }
        }
    }

    fn check_replay(&self, rewrite: &Rewrite, child: &Network, bytes: &[u8], seed: u64) -> Check {
        let copy: Inheritance = through_json(&rewrite.inheritance)?;
        ensure(copy == rewrite.inheritance, Violation::Json("the inheritance"))?;
        let closed = rewrite.inheritance.resolve(self.parent, Some(&self.images))?;
        let copy: Inheritance = through_json(&closed)?;
        ensure(copy == closed && closed.is_closed(), Violation::Json("the resolved inheritance"))?;
        ensure(self.applied(&copy)? == bytes, Violation::Replay)?;
        let sites = self.morphism.sites(child.architecture());
        let Some(site) = sites.get(seed as usize % sites.len().max(1)) else { return Ok(()) };
        let next = self.morphism.rewrite(child.architecture(), site, seed)?;
        let grandchild = child.child(&next, Some(&self.images))?.weights().to_safetensors()?;
        let both = closed.then(&next.inheritance.resolve(child, Some(&self.images))?)?;
        ensure(self.applied(&both)? == grandchild, Violation::Composition)
    }

    fn applied(&self, inheritance: &Inheritance) -> Result<Vec<u8>> {
        inheritance.apply(self.parent.weights(), self.parent.dtype(), &self.parent.device())?.to_safetensors()
    }
}

/// Whether a child takes the images and yields the classes of its parent.
pub(crate) fn same_interface(parent: &Network, child: &Network) -> Check {
    let face = |network: &Network| (network.architecture().input(), network.architecture().classes());
    let text = |(input, classes): (crate::Shape, usize)| format!("{input} for {classes} classes");
    let (expected, found) = (text(face(parent)), text(face(child)));
    ensure(face(parent) == face(child), Violation::Interface { expected, found })
}

/// Whether a child shares what it keeps. That is judged by the numbers, not by what the inheritance says: a gather of
/// everything is a copy too.
pub(crate) fn shared(parent: &Network, inheritance: &Inheritance, child: &Network) -> Check {
    for (key, tensor) in child.weights().iter() {
        if let Some(Source::Parent(origin)) = inheritance.source(key).as_deref() {
            let kept = parent.weights().get(*origin)?;
            ensure(shares_storage(kept, tensor), Violation::Copied(key))?;
        } else if let Ok(before) = parent.weights().get(key) {
            let equal = before.dims() == tensor.dims() && bits(before)? == bits(tensor)?;
            // Zeros in proportion are zeros still.
            ensure(!equal || largest(tensor)? == 0.0, Violation::Copied(key))?;
        }
    }
    Ok(())
}

/// Whether an approximate child costs no more in anything, and less in something.
pub(crate) fn costs_less(parent: &Architecture, child: &Architecture) -> Check {
    let (parent, child) = (cost(parent), cost(child));
    let [parameters, macs, connections] = std::array::from_fn(|i| child[i].cmp(&parent[i]));
    let no_more = parameters.is_le() && macs.is_le();
    let less = parameters.is_lt() || macs.is_lt() || connections.is_lt();
    ensure(no_more && less, Violation::Cost { parent, child })
}

/// Parameters, multiply-adds, and connections between layers: what is left to save where a sum loses a term.
fn cost(architecture: &Architecture) -> [u64; 3] {
    let connections = architecture.nodes().map(|node| node.inputs.len() as u64).sum();
    [architecture.parameter_count(), architecture.macs(), connections]
}

/// The numbers, bit for bit: f64 holds every f32.
pub(crate) fn bits(tensor: &Tensor) -> Result<Vec<u64>> {
    let values: Vec<f64> = tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    Ok(values.into_iter().map(f64::to_bits).collect())
}
