//! What a network computes, for its exact descendants to be held to.

use candle_convnet::ConvAlgorithm;
use candle_core::{DType, Tensor};

use crate::Result;
use crate::architecture::ParamKey;
use crate::check::contract::DRIFT;
use crate::check::{is_alive, largest, nudged, rounding, rounding_in};
use crate::forward::Mode;
use crate::layer::{Layer, Role};
use crate::network::Network;

/// The largest drift in training mode, relative to the largest logit. Looser than in evaluation mode: a batch norm
/// magnifies the rounding of a channel that hardly varies over the batch by up to `1 / sqrt(eps)`.
const TRAINING: f64 = 1e-8;
/// The largest drift of a dead network in f64, whose logits may all be zero.
const DEAD: f64 = 1e-9;

/// Logits smaller than this are rounding themselves: those of a dead network behind weights that cancel.
const ROUNDING: f64 = 1e-14;
/// The same in f32.
const ROUNDING_F32: f64 = 1e-6;
/// Ways of rounding a network's weights in f32 that are tried before a child is said to drift. Of the few that
/// [`rounding`] tries, all turn out well by chance in one chain of five thousand.
const PATIENCE: u64 = 64;

/// Part of its value by which each weight is moved to see how a network magnifies rounding in f64.
const NUDGE: f64 = 2.0 * f64::EPSILON;
/// What a child may do worse than that: it rounds in more places.
const ROUNDINGS: f64 = 16.0;

/// A channel whose deviation is a smaller part of its mean has none but that of rounding.
const CONSTANT: f64 = 1e-12;

/// In evaluation mode, magnified rounding is no excuse for more than this part of the largest logit.
const EXCUSED: f64 = 1e-7;

/// A way to compute logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Evaluation(ConvAlgorithm),
    Training,
}

impl Way {
    /// The ways in which networks of a number format are compared.
    pub(super) fn all(dtype: DType, train_mode: bool) -> Vec<Self> {
        let algorithms = match dtype {
            // Left to itself, a wider child may go another way than its parent, and round otherwise.
            DType::F32 => vec![ConvAlgorithm::Direct, ConvAlgorithm::Winograd],
            _ => vec![ConvAlgorithm::Auto],
        };
        let mut ways: Vec<Self> = algorithms.into_iter().map(Self::Evaluation).collect();
        ways.extend((train_mode && dtype == DType::F64).then_some(Self::Training));
        ways
    }

    /// Logits `[batch, classes]` in f64.
    pub(super) fn logits(self, network: &Network, images: &Tensor) -> Result<Tensor> {
        let logits = match self {
            Self::Evaluation(algorithm) => network.logits_by(images, algorithm)?,
            Self::Training => network.forward(images, Mode::TRAIN)?.logits,
        };
        Ok(logits.to_dtype(DType::F64)?)
    }
}

/// The logits of a network and what those of an exact child may differ by, for each way.
#[derive(Debug, Clone)]
pub(super) struct Yardstick {
    network: Network,
    images: Tensor,
    marks: Vec<Mark>,
}

#[derive(Debug, Clone)]
struct Mark {
    way: Way,
    expected: Tensor,
    scale: f64,
    allowed: f64,
}

/// How far a child is from a yardstick, in one way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Distance {
    pub(super) way: Way,
    pub(super) found: f64,
    pub(super) allowed: f64,
    /// The largest absolute logit of the yardstick; 1 where the bound is absolute.
    scale: f64,
}

impl Yardstick {
    /// `logits` are those of the network, by `ways`.
    pub(super) fn of(network: &Network, images: &Tensor, ways: &[Way], logits: &[Tensor]) -> Result<Self> {
        let precise = match network.dtype() {
            DType::F32 => Some(network.to_dtype(DType::F64)?.logits(&images.to_dtype(DType::F64)?)?),
            _ => None,
        };
        let mark = |(&way, logits): (&Way, &Tensor)| {
            let expected = precise.as_ref().unwrap_or(logits).clone();
            let scale = largest(&expected)?;
            let allowed = match (way, network.dtype()) {
                (Way::Evaluation(algorithm), DType::F32) => {
                    rounding(network, images, algorithm)?.max(ROUNDING_F32)
                }
                (Way::Evaluation(_), _) if !is_alive(&expected)? => (DRIFT * scale).max(DEAD),
                (Way::Evaluation(_), _) => (DRIFT * scale).max(ROUNDING),
                (Way::Training, _) => (TRAINING * scale).max(DEAD),
            };
            // Held to an absolute bound, a drift is absolute too.
            let absolute = network.dtype() == DType::F64 && allowed > DRIFT * scale && way != Way::Training;
            Ok(Mark { way, expected, scale: if absolute { 1.0 } else { scale }, allowed })
        };
        let marks = ways.iter().zip(logits).map(mark).collect::<Result<_>>()?;
        Ok(Self { network: network.clone(), images: images.clone(), marks })
    }

    /// How far the logits of a child are, by the ways of this yardstick.
    pub(super) fn distances(&self, logits: &[Tensor]) -> Result<Vec<Distance>> {
        let distance = |(mark, logits): (&Mark, &Tensor)| {
            let found = largest(&(logits - &mark.expected)?)?;
            let allowed = if found > mark.allowed { self.patiently(mark)? } else { mark.allowed };
            Ok(Distance { way: mark.way, found, allowed, scale: mark.scale })
        };
        self.marks.iter().zip(logits).map(distance).collect()
    }

    /// What is allowed, measured once more where that can only be estimated.
    fn patiently(&self, mark: &Mark) -> Result<f64> {
        match (mark.way, self.network.dtype()) {
            (Way::Evaluation(algorithm), DType::F32) => {
                Ok(rounding_in(PATIENCE, &self.network, &self.images, algorithm)?.max(ROUNDING_F32))
            }
            (way, _) => {
                let excused = match way {
                    Way::Training => f64::INFINITY,
                    Way::Evaluation(_) => EXCUSED * largest(&mark.expected)?,
                };
                Ok(mark.allowed.max(self.magnified(mark)?.min(excused)).max(self.of_constants(mark)?))
            }
        }
    }

    /// How far rounding moves the logits of this network. After an approximate morphism a channel can hardly vary any more while
    /// the scales behind it are still those of one that did, and every batch norm on the way then magnifies its rounding
    /// a hundredfold; in evaluation mode too, if it was calibrated on such a channel.
    fn magnified(&self, mark: &Mark) -> Result<f64> {
        let mut moved = 0.0f64;
        for seed in 1..=PATIENCE {
            let network = nudged(&self.network, seed, NUDGE)?;
            let logits = mark.way.logits(&network, &self.images)?;
            moved = moved.max(largest(&(logits - &mark.expected)?)?);
        }
        Ok(ROUNDINGS * moved)
    }

    /// How far rounding may move the logits where channels are constant. Nudged weights leave them so; a child may compute them
    /// another way, and each batch norm whose variance is zero magnifies what it rounds otherwise by `gamma / sqrt(eps)`.
    /// Zero without such channels.
    fn of_constants(&self, mark: &Mark) -> Result<f64> {
        let mut slope = 1.0;
        for node in self.network.architecture().nodes() {
            let Layer::BatchNorm { eps } = node.layer else { continue };
            let numbers = |role| -> Result<Vec<f64>> {
                Ok(self.network.weights().get(ParamKey::new(node.id, role))?.to_vec1()?)
            };
            let (gamma, mean, variance) =
                (numbers(Role::Gamma)?, numbers(Role::Mean)?, numbers(Role::Variance)?);
            let constant = |&c: &usize| variance[c].sqrt() <= CONSTANT * mean[c].abs().max(1.0);
            let slopes = (0..gamma.len()).filter(constant).map(|c| gamma[c].abs() / eps.sqrt());
            slope *= slopes.fold(1.0, f64::max);
        }
        Ok(if slope > 1.0 { ROUNDINGS * f64::EPSILON * largest(&mark.expected)? * slope } else { 0.0 })
    }
}

impl Distance {
    pub(super) fn is_allowed(&self) -> bool {
        self.found <= self.allowed
    }

    /// Relative to the yardstick's largest logit, where there is one that is not 0.
    pub(super) fn relative(&self) -> f64 {
        if self.scale > 0.0 { self.found / self.scale } else { self.found }
    }

    /// The part of what is allowed.
    pub(super) fn share(&self) -> f64 {
        if self.found == 0.0 { 0.0 } else { self.found / self.allowed }
    }
}
