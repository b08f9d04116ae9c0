//! Function-preserving rewrites of convolutional networks (network morphisms), with inheritance of weights.
//!
//! An [`Architecture`] is a graph of [`Layer`]s without weights; a [`Network`] is an architecture with [`Weights`]. A
//! [`Morphism`] finds the [`Site`]s of an architecture where it applies and rewrites it there; the [`Rewrite`] holds
//! the child's architecture and its [`Inheritance`], which says as plain data where each parameter of the child
//! comes from. Nothing has touched a tensor until [`Network::child`] is called.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use morphisms::{Conv, Draft, Morphism, Network, Shape, catalog};
//!
//! let mut draft = Draft::new(Shape::map(1, 8, 8));
//! let x = draft.conv_bn_relu(draft.input(), Conv::same(8, 3));
//! draft.head(x, 10);
//! let parent = Network::init(draft.build()?, 0, DType::F32, &Device::Cpu)?;
//!
//! let deepen = catalog::named("deepen").expect("in the catalogue");
//! let site = &deepen.sites(parent.architecture())[0];
//! let rewrite = deepen.rewrite(parent.architecture(), site, 0)?;
//! let child = parent.child(&rewrite, None)?;
//!
//! let images = Tensor::ones((2, 1, 8, 8), DType::F32, &Device::Cpu)?;
//! let difference = (parent.logits(&images)? - child.logits(&images)?)?.abs()?.max_all()?.to_scalar::<f32>()?;
//! assert!(difference < 1e-5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![warn(missing_docs)]

mod architecture;
pub mod catalog;
mod channels;
pub mod check;
mod cost;
mod error;
mod extent;
mod factor;
mod fingerprint;
mod fold;
mod forward;
#[cfg(feature = "proptest")]
pub mod fuzz;
mod inheritance;
mod init;
mod layer;
mod morphism;
mod network;
mod resize;
mod select;
#[cfg(feature = "proptest")]
pub mod strategies;
mod weights;

pub use architecture::{Architecture, Draft, Node, ParamKey};
pub use candle_convnet::ConvAlgorithm;
pub use channels::{ChannelGroup, Channels, Segment, Tie};
pub use error::{Error, Result};
pub use fingerprint::Fingerprint;
pub use forward::{BatchStatistics, Mode, Pass, forward, forward_by};
pub use inheritance::{FactorPart, Index, Inheritance, Piece, Source, Statistic};
pub use init::{Seed, he_std, init};
pub use layer::{Conv, Layer, LayerId, PoolKind, Role, Shape, Window};
pub use morphism::{Morphism, Promise, Rewrite, Site};
pub use network::Network;
pub use select::{Selection, Slices};
pub use weights::Weights;
