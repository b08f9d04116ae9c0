//! Function-preserving rewrites of convolutional networks (network morphisms), with inheritance of weights.
//!
//! A trained network gets deeper, wider, or new connections, and computes what it computed before; or it gets smaller and
//! computes nearly that. Training goes on from there and need not start anew. This crate holds architectures, weights,
//! and the rewrites between them. It trains nothing, searches nothing and reads no data: it is made to be embedded.
//!
//! # In five minutes
//!
//! An [`Architecture`] is a graph of [`Layer`]s without weights; a [`Network`] is an architecture with [`Weights`]. A
//! [`Morphism`] finds the [`Site`]s of an architecture where it applies and rewrites it there; the [`Rewrite`] holds
//! the child's architecture and its [`Inheritance`], which says as plain data where each parameter of the child
//! comes from. Nothing has touched a tensor until [`Network::child`] is called.
//!
//! ```
//! use morphisms::{Morphism, Network, Shape, catalog, check};
//!
//! // A network written by hand. `Builder::weights` takes trained weights, `Network::load` stored ones.
//! let parent = Network::builder(Shape::map(1, 8, 8)).conv_bn_relu(8, 3).max_pool(2).head(10).init(0)?;
//!
//! // Where can it be deepened? On paper, at once: a search proposes many children and makes few.
//! let deepen = catalog::named("deepen").expect("in the catalogue");
//! let site = &deepen.sites(parent.architecture())[0];
//! let rewrite = deepen.rewrite(parent.architecture(), site, 0)?;
//! assert!(rewrite.architecture.parameter_count() > parent.architecture().parameter_count());
//!
//! // The child shares every tensor that it keeps. The batch calibrates the batch norm that is inserted.
//! let images = check::images(parent.architecture().input(), 16, 0, parent.dtype())?;
//! let child = parent.child(&rewrite, Some(&images))?;
//! assert!(check::drift(&parent, &child, &images)?.relative < 1e-5);
//! # Ok::<(), morphisms::Error>(())
//! ```
//!
//! # The catalogue
//!
//! | morphism | promise | what it does |
//! |---|---|---|
//! | [`deepen`](catalog::deepen) | exact | inserts convolution, batch norm and ReLU after a ReLU, ReLU6 or clip |
//! | [`widen`](catalog::widen) | exact | adds channels to a group, copies of others or fresh ones |
//! | [`skip_concat`](catalog::skip_concat) | exact | feeds an earlier tensor to a convolution or linear layer, by concatenation |
//! | [`skip_add`](catalog::skip_add) | exact | mixes an earlier tensor of the same shape into a tensor, with a learnable factor |
//! | [`drop_layer`](catalog::drop_layer) | approximate | removes a convolution with its normalisation and activation, where that keeps the shape |
//! | [`drop_skip`](catalog::drop_skip) | approximate | removes an input of a mix, add or concat that is read elsewhere too |
//! | [`prune`](catalog::prune) | approximate | removes a quarter or a half of a group's channels, those of the smallest norms |
//! | [`separate`](catalog::separate) | approximate | replaces a dense convolution by a depthwise and a 1x1 convolution |
//! | [`widen_kernel`](catalog::widen_kernel) | exact | adds a ring of zeros to a convolution's kernel |
//! | [`shrink_kernel`](catalog::shrink_kernel) | approximate | crops the outer ring of a convolution's kernel |
//! | [`branch`](catalog::branch) | exact | splits a convolution with its normalisation and ReLU into two that sum to it |
//! | [`deepen_residual`](catalog::deepen_residual) | exact | adds a residual branch that starts as zero, anywhere |
//!
//! [`Promise::Exact`]: in evaluation mode the child computes its parent's function on any finite input, to rounding: in
//! f64 to 1e-10 of the largest logit, in f32 to [`check::rounding`]. What is added receives gradients and can learn.
//! [`Promise::Approximate`]: the child costs less and computes nearly the same. Where a promise cannot be kept there is
//! no site. [`catalog::all`] lists them.
//!
//! # Training
//!
//! [`forward`] runs an architecture on any tensors that you look up for it: candle `Var`s, or variables of a
//! [`Tape`](candle_convnet::Tape). The program `examples/embed.rs` trains, grows and trains on in 130 lines.
//! [`Role::is_trained`] and [`Role::decays`] say which parameters gradient descent moves and which weight decay shrinks.
//! After an approximate morphism, [`Network::recalibrated`] takes new statistics for batch norms;
//! [`Network::fold_batch_norms`] makes a network ready for deployment.
//!
//! # A morphism of your own
//!
//! Implement [`Morphism`]: change the [draft](Architecture::draft) of an architecture, start from [`Inheritance::keep`], and
//! [set](Inheritance::set) the sources of what is new. Then let [`check::contract`] look at it: one line that runs every
//! site and checks function, storage, sameness, JSON and composition. `examples/own_morphism.rs` moves a 1x1 convolution
//! behind a pooling.
//!
//! # A model of your own
//!
//! Where the model is a struct of tensors or a `VarMap`, [`surgery`] has the same mathematics as plain functions.
//! `examples/own_model.rs` widens, deepens and trains such a model.
//!
//! # Children without weights
//!
//! An [`Inheritance`] names what changes, and the rest is kept. It may depend on the parent's numbers: the channels with the
//! largest norms, statistics of a batch. [`Inheritance::resolve`] replaces those by plain values. The result can be printed,
//! stored as JSON, sent elsewhere, [replayed](Inheritance::apply) from the stored parent to the same bytes, and composed with
//! [`then`](Inheritance::then): `examples/replay.rs`.
//!
//! # Formats
//!
//! [`Network::save`] and [`Network::load`] use a folder of two files: `architecture.json` and `weights.safetensors`, in
//! which a parameter is called `LAYER.ROLE`, as `3.weight` ([`ParamKey`]). [`Architecture`], [`Inheritance`] and [`Site`]
//! are serde values. Whatever a file holds, reading it yields a valid value or an [`Error`].
//!
//! # Testing and fuzzing
//!
//! With the feature `proptest`, `strategies` draws random valid networks that shrink: branches, strides, groups, batch
//! norms with statistics of their own. They make property tests of what you build on this crate, and inputs for
//! [`check::contract`]. The same architecture, site and seed give the same child, bit for bit.
//!
//! `fuzz`, under the same feature, runs chains of edits by your morphisms and ours, ten thousand a second, checks every
//! promise after every edit, and makes what breaks one as small as it can be: a network, a chain, a file to replay.
//!
//! # Limits
//!
//! One input, an image or a map, and one output, a vector of logits; the layers are those of [`Layer`]. Numbers are f32
//! or f64. Weights at rest are plain tensors: whoever trains copies them into `Var`s or
//! [`Parameter`](candle_convnet::Parameter)s of their own. The feature `cuda` computes on NVIDIA GPUs and needs their
//! toolkit to build; without it the crate needs a Rust compiler and nothing else.
#![warn(missing_docs)]

mod activation;
mod architecture;
mod builder;
pub mod catalog;
mod channels;
pub mod check;
mod cost;
mod dead;
mod error;
mod extent;
mod files;
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
#[cfg(feature = "onnx")]
pub mod onnx;
mod reach;
mod rescale;
mod resize;
mod rows;
mod select;
mod shared_map;
#[cfg(feature = "proptest")]
pub mod strategies;
pub mod surgery;
mod weights;

pub use activation::Activation;
pub use architecture::{Architecture, Draft, Node, ParamKey};
pub use builder::Builder;
pub use candle_convnet::ConvAlgorithm;
pub use channels::{ChannelGroup, Channels, Segment, Tie};
pub use error::{Error, Result};
pub use fingerprint::Fingerprint;
pub use forward::{BatchStatistics, Mode, Pass, forward, forward_by};
pub use inheritance::{FactorPart, Index, Inheritance, Piece, Rest, Source, Statistic};
pub use init::{Seed, he_std, init};
pub use layer::{Conv, Grouping, Layer, LayerId, Padding, PoolKind, Role, Shape, Window};
pub use morphism::{Morphism, Promise, Rewrite, Site};
pub use network::Network;
pub use rescale::Rescaled;
pub use select::{Selection, Slices};
pub use weights::Weights;

/// The code of the page in the registry compiles too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
