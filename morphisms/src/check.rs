//! Checks of what morphisms promise, for those of the catalogue and for an embedder's own.
//!
//! [`contract`] runs a morphism at every site of given networks; [`drift`], [`shares_storage`] and [`liveness`] look
//! at one child.
//!
//! ```
//! use morphisms::{Network, Shape, catalog, check};
//!
//! let network = Network::builder(Shape::map(1, 5, 5)).conv_bn_relu(4, 3).head(3).init(0)?;
//! check::contract(catalog::named("widen").expect("in the catalogue"), &[network])?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod contract;
mod liveness;

pub use contract::{ContractError, Violation, contract};
pub use liveness::{Starved, is_fully_alive, liveness};

use candle_convnet::ConvAlgorithm;
use candle_core::{DType, Device, Tensor};

use rand::RngExt;

use crate::Result;
use crate::architecture::ParamKey;
use crate::forward::Mode;
use crate::init::Seed;
use crate::layer::{Role, Shape};
use crate::network::Network;

/// The least spread of the logits of a living network, relative to their scale.
const ALIVE: f64 = 0.01;
/// Ways of rounding a network's weights that are tried.
const NUDGES: u64 = 4;

/// How far a child's logits are from its parent's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drift {
    /// The largest absolute difference.
    pub absolute: f64,
    /// The same relative to the parent's largest absolute logit; 0 if there is no difference.
    pub relative: f64,
}

/// Compares a child with its parent in evaluation mode on `images`, `[batch, channels, height, width]`, both computed by
/// [direct](ConvAlgorithm::Direct) convolution: in f32 a wider child may otherwise go another way than its parent.
///
/// # Errors
/// When the images do not have the networks' input shape, or the networks differ in their number of classes.
pub fn drift(parent: &Network, child: &Network, images: &Tensor) -> Result<Drift> {
    let expected = parent.logits_by(images, ConvAlgorithm::Direct)?.to_dtype(DType::F64)?;
    let found = child.logits_by(images, ConvAlgorithm::Direct)?.to_dtype(DType::F64)?;
    let (absolute, scale) = (largest(&(found - &expected)?)?, largest(&expected)?);
    let relative = if absolute == 0.0 { 0.0 } else { absolute / scale };
    Ok(Drift { absolute, relative })
}

/// What the logits of an exact child in f32 may differ by from those of its parent computed in f64: four times the
/// parent's own rounding, so that it is not held against the child, and 1e-6 of the largest logit.
///
/// The parent's own rounding is the largest difference between its logits in f32 and in f64, as it is and with its
/// weights moved by up to half a unit in the last place. As it is, a small network may round well by chance, and a
/// child's weights are rounded anew.
///
/// Both are computed by `algorithm`, as the child must be.
///
/// # Errors
/// When the images do not have the network's input shape.
pub fn rounding(parent: &Network, images: &Tensor, algorithm: ConvAlgorithm) -> Result<f64> {
    rounding_in(NUDGES, parent, images, algorithm)
}

/// [`rounding`] in so many ways of rounding the weights.
pub(crate) fn rounding_in(
    nudges: u64,
    parent: &Network,
    images: &Tensor,
    algorithm: ConvAlgorithm,
) -> Result<f64> {
    let exact = parent.to_dtype(DType::F64)?.logits(&images.to_dtype(DType::F64)?)?;
    let mut own = 0.0f64;
    for seed in 0..nudges {
        let logits = nudged(parent, seed, f64::from(f32::EPSILON))?
            .logits_by(images, algorithm)?
            .to_dtype(DType::F64)?;
        own = own.max(largest(&(logits - &exact)?)?);
    }
    Ok(4.0 * own + 1e-6 * largest(&exact)?)
}

/// The network with every weight moved by up to half of `unit`, a part of its value; as it is for seed 0.
pub(crate) fn nudged(network: &Network, seed: u64, unit: f64) -> Result<Network> {
    if seed == 0 {
        return Ok(network.clone());
    }
    let nudge = |(key, tensor): (ParamKey, &Tensor)| {
        let mut rng = Seed::of(seed, key).rng();
        let mut factor = || 1.0 + (rng.random::<f64>() - 0.5) * unit;
        let factors: Vec<f64> = (0..tensor.elem_count()).map(|_| factor()).collect();
        let factors = Tensor::from_vec(factors, tensor.dims(), tensor.device())?;
        Ok((key, (tensor.to_dtype(DType::F64)? * factors)?.to_dtype(tensor.dtype())?))
    };
    network.with_weights(network.weights().iter().map(nudge).collect::<Result<_>>()?)
}

/// The network with the statistics of `images`, `[batch, channels, height, width]`, as its running ones, so that both
/// modes agree on them: what a comparison in training mode starts from. A variance is the biased one, as it is in that
/// batch; [`Network::recalibrated`] has the unbiased one, which deployment wants.
///
/// # Errors
/// When the images do not have the network's input shape.
pub fn calibrated(network: &Network, images: &Tensor) -> Result<Network> {
    let mut weights = network.weights().clone();
    for (layer, statistics) in network.forward(images, Mode::TRAIN)?.statistics {
        weights.insert(ParamKey::new(layer, Role::Mean), statistics.mean);
        weights.insert(ParamKey::new(layer, Role::Variance), statistics.variance);
    }
    network.with_weights(weights)
}

/// Whether two tensors are the same view of the same memory, not merely equal.
pub fn shares_storage(a: &Tensor, b: &Tensor) -> bool {
    if a.id() == b.id() {
        return true;
    }
    let ((a, a_layout), (b, b_layout)) = (a.storage_and_layout(), b.storage_and_layout());
    std::ptr::eq(&*a, &*b) && a_layout == b_layout
}

/// Whether logits `[batch, classes]` differ over the batch by at least 1 % of their largest absolute value. A network
/// that computes a constant is preserved by anything, so promises are checked on living ones.
///
/// # Errors
/// When the tensor has another rank.
pub fn is_alive(logits: &Tensor) -> Result<bool> {
    let logits = logits.to_dtype(DType::F64)?;
    let scale = largest(&logits)?;
    let spread: f64 = (logits.max(0)? - logits.min(0)?)?.max_all()?.to_scalar()?;
    Ok(scale.is_finite() && spread > 0.0 && spread >= ALIVE * scale)
}

/// Images of unit noise, `[batch, channels, height, width]` for a map and `[batch, features]` for a vector, each with a
/// brightness and a contrast of its own, so that they differ behind a global average too.
///
/// # Errors
/// When the tensor cannot be made.
pub fn images(shape: Shape, batch: usize, seed: u64, dtype: DType) -> Result<Tensor> {
    let stream = |stream| Seed { seed, stream };
    let noise = stream(1).normal(1.0, batch * shape.elements());
    let (brightness, contrast) = (stream(2).normal(0.7, batch), stream(3).normal(0.4, batch));
    let pixel = |(place, value): (usize, f64)| {
        let image = place / shape.elements();
        value * contrast[image].exp() + brightness[image]
    };
    let values: Vec<f64> = noise.into_iter().enumerate().map(pixel).collect();
    let dims = match shape {
        Shape::Map { channels, height, width } => vec![batch, channels, height, width],
        Shape::Vector(features) => vec![batch, features],
    };
    Ok(Tensor::from_vec(values, dims, &Device::Cpu)?.to_dtype(dtype)?)
}

/// The largest absolute value.
pub(crate) fn largest(tensor: &Tensor) -> Result<f64> {
    Ok(tensor.to_dtype(DType::F64)?.abs()?.max_all()?.to_scalar()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::Activation;
    use crate::architecture::Draft;
    use crate::catalog;
    use crate::layer::{Conv, Layer, LayerId};
    use crate::morphism::Promise;

    fn network() -> Network {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let x = draft.conv_bn_relu(draft.input(), Conv::same(2, 3));
        draft.head(x, 3);
        Network::init(draft.build().unwrap(), 0, DType::F64, &Device::Cpu).unwrap()
    }

    /// Found by fuzzing: images of a vector were maps of one pixel, which no linear layer reads.
    #[test]
    fn a_network_that_reads_a_vector_is_checked_like_any_other() {
        let mut draft = Draft::new(Shape::Vector(5));
        let x = draft.push(Layer::Linear { out_features: 4, bias: true }, &[draft.input()]);
        let x = draft.push(Layer::Activation(Activation::Relu), &[x]);
        let x = draft.push(Layer::Linear { out_features: 3, bias: true }, &[x]);
        draft.set_output(x);
        let parent = Network::init(draft.build().unwrap(), 0, DType::F64, &Device::Cpu).unwrap();
        let images = images(parent.architecture().input(), 4, 0, DType::F64).unwrap();
        assert_eq!((images.dims(), parent.logits(&images).unwrap().dims()), (&[4, 5][..], &[4, 3][..]));
        let mut changed = 0;
        for morphism in catalog::all().iter().filter(|one| one.promise() == Promise::Exact) {
            for site in morphism.sites(parent.architecture()) {
                let rewrite = morphism.rewrite(parent.architecture(), &site, 1).unwrap();
                let child = parent.child(&rewrite, Some(&images)).unwrap();
                let drift = drift(&parent, &child, &images).unwrap();
                assert!(drift.relative < 1e-10, "{} {site}: {drift:?}", morphism.name());
                changed += 1;
            }
        }
        assert!(changed > 0);
    }

    #[test]
    fn drift_is_the_largest_difference() {
        let parent = network();
        let bias = ParamKey::new(LayerId(6), Role::Bias);
        let mut weights = parent.weights().clone();
        weights.insert(bias, Tensor::new(&[0.0, -0.25, 0.125], &Device::Cpu).unwrap());
        let child = Network::new(parent.architecture().clone(), weights).unwrap();
        let images = images(parent.architecture().input(), 4, 0, DType::F64).unwrap();
        let scale = largest(&parent.logits(&images).unwrap()).unwrap();
        let found = drift(&parent, &child, &images).unwrap();
        assert!((found.absolute - 0.25).abs() < 1e-12 && (found.relative - 0.25 / scale).abs() < 1e-12);
        assert_eq!(drift(&parent, &parent, &images).unwrap(), Drift { absolute: 0.0, relative: 0.0 });
    }

    #[test]
    fn clones_and_whole_views_share_storage_and_copies_and_parts_do_not() {
        let tensor = Tensor::new(&[1.0, 2.0, 3.0, 4.0], &Device::Cpu).unwrap();
        assert!(shares_storage(&tensor, &tensor.clone()) && shares_storage(&tensor, &tensor.detach()));
        assert!(!shares_storage(&tensor, &tensor.copy().unwrap()));
        assert!(!shares_storage(&tensor, &tensor.narrow(0, 1, 2).unwrap()));
    }

    #[test]
    fn a_constant_is_not_alive() {
        let logits = |rows: [[f64; 2]; 2]| Tensor::new(&rows, &Device::Cpu).unwrap();
        assert!(is_alive(&logits([[1.0, 2.0], [1.0, 2.03]])).unwrap());
        assert!(!is_alive(&logits([[1.0, 2.0], [1.0, 2.01]])).unwrap());
        assert!(!is_alive(&logits([[0.0, 0.0], [0.0, 0.0]])).unwrap());
        assert!(!is_alive(&logits([[0.0, f64::INFINITY], [0.0, 0.0]])).unwrap());
    }
}
