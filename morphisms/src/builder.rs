//! Networks written by hand, a layer a line.

use std::collections::BTreeMap;

use candle_core::{DType, Device};

use crate::activation::Activation;
use crate::architecture::{Architecture, Draft};
use crate::layer::{Conv, Grouping, Layer, LayerId, PoolKind, Shape, Window};
use crate::network::Network;
use crate::weights::Weights;
use crate::{Error, Result};

/// A network in the making: every method adds a layer behind the last one. What does not fit is reported at the end,
/// with the first layer that did not.
///
/// ```
/// use morphisms::{Network, Shape};
///
/// let network = Network::builder(Shape::map(3, 32, 32))
///     .conv_bn_relu(16, 3)
///     .residual(|branch| branch.conv(16, 3).batch_norm().relu().conv(16, 3).batch_norm())
///     .relu()
///     .max_pool(2)
///     .concat(|branch| branch.conv_bn_relu(8, 3))
///     .head(10)
///     .init(0)?;
/// assert_eq!(network.architecture().classes(), 10);
///
/// let error = Network::builder(Shape::map(3, 8, 8)).max_pool(2).max_pool(5).head(10).init(0).unwrap_err();
/// assert!(error.to_string().contains("layer 2"), "{error}"); // the second pooling: 4x4 is too small for it
/// # Ok::<(), morphisms::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder makes nothing until `architecture`, `init` or `weights`"]
pub struct Builder {
    draft: Draft,
    shapes: BTreeMap<LayerId, Shape>,
    /// The last layer.
    at: LayerId,
    /// What is wrong with the first layer that did not fit.
    problem: Option<String>,
}

impl Network {
    /// Starts a network for images of this shape.
    pub fn builder(images: Shape) -> Builder {
        let draft = Draft::new(images);
        let at = draft.input();
        Builder { draft, shapes: BTreeMap::from([(at, images)]), at, problem: None }
    }
}

/// Layers.
impl Builder {
    /// Any layer that has one input.
    pub fn layer(self, layer: Layer) -> Self {
        let at = self.at;
        self.push(layer, &[at])
    }

    /// A dense convolution without bias that keeps the size of the map.
    pub fn conv(self, out_channels: usize, kernel: usize) -> Self {
        self.conv_with(Conv::same(out_channels, kernel))
    }

    /// Any convolution.
    pub fn conv_with(self, conv: Conv) -> Self {
        self.layer(Layer::Conv(conv))
    }

    /// A depthwise convolution without bias that keeps the size of the map.
    pub fn depthwise(self, kernel: usize) -> Self {
        let channels = self.shape().channels();
        self.conv_with(Conv::depthwise(channels, kernel))
    }

    /// A convolution, a batch norm and a ReLU.
    pub fn conv_bn_relu(self, out_channels: usize, kernel: usize) -> Self {
        Self::relu(self.conv(out_channels, kernel).batch_norm())
    }

    /// A batch norm with the usual epsilon.
    pub fn batch_norm(self) -> Self {
        self.layer(Layer::BATCH_NORM)
    }

    /// Layer normalisation, over everything but the batch, with the usual epsilon.
    pub fn layer_norm(self) -> Self {
        self.group_norm(Grouping::All)
    }

    /// A group normalisation with the usual epsilon.
    pub fn group_norm(self, grouping: Grouping) -> Self {
        self.layer(Layer::GroupNorm { grouping, eps: Layer::EPS })
    }

    /// Local response normalisation over `size` channels; see [`Layer::LocalResponseNorm`].
    pub fn local_response_norm(self, size: usize, alpha: f64, beta: f64, bias: f64) -> Self {
        self.layer(Layer::LocalResponseNorm { size, alpha, beta, bias })
    }

    /// `max(x, 0)`.
    pub fn relu(self) -> Self {
        self.layer(Layer::RELU)
    }

    /// A function of each number.
    pub fn activation(self, function: Activation) -> Self {
        self.layer(Layer::Activation(function))
    }

    /// A ReLU with learnable slopes on the left.
    pub fn prelu(self) -> Self {
        self.layer(Layer::Prelu)
    }

    /// Zeroes numbers with this probability in training.
    pub fn dropout(self, probability: f64) -> Self {
        self.layer(Layer::Dropout { probability })
    }

    /// x times a constant.
    pub fn scale(self, factor: f64) -> Self {
        self.layer(Layer::Scale { factor })
    }

    /// Max pooling whose square windows tile the map.
    pub fn max_pool(self, kernel: usize) -> Self {
        self.layer(Layer::Pool { kind: PoolKind::Max, window: Window::tiles(kernel) })
    }

    /// Average pooling whose square windows tile the map.
    pub fn avg_pool(self, kernel: usize) -> Self {
        self.layer(Layer::Pool { kind: PoolKind::Average, window: Window::tiles(kernel) })
    }

    /// The first channel of each group of neighbours, then the second of each, and so on.
    pub fn channel_shuffle(self, groups: usize) -> Self {
        self.layer(Layer::ChannelShuffle { groups })
    }

    /// The mean of each channel.
    pub fn global_average_pool(self) -> Self {
        self.layer(Layer::GlobalAveragePool)
    }

    /// A map as a vector.
    pub fn flatten(self) -> Self {
        self.layer(Layer::Flatten)
    }

    /// A fully connected layer with bias, on a vector.
    pub fn linear(self, out_features: usize) -> Self {
        self.layer(Layer::Linear { out_features, bias: true })
    }

    /// A classifier: global average pooling and a linear layer.
    pub fn head(self, classes: usize) -> Self {
        self.global_average_pool().flatten().linear(classes)
    }
}

/// Branches. A branch goes on from the builder that it is given.
impl Builder {
    /// `x + branch(x)`.
    pub fn residual(self, branch: impl FnOnce(Self) -> Self) -> Self {
        self.beside(Layer::Add, branch)
    }

    /// `x` and `branch(x)` side by side along the channels.
    pub fn concat(self, branch: impl FnOnce(Self) -> Self) -> Self {
        self.beside(Layer::Concat, branch)
    }

    /// `(1 - lambda) x + lambda branch(x)` with a learnable lambda that starts at 0.
    pub fn mix(self, branch: impl FnOnce(Self) -> Self) -> Self {
        self.beside(Layer::Mix, branch)
    }

    /// Squeeze-and-excite: each channel of x times a number in (0, 1) that two convolutions, the first with `width` channels,
    /// make of all channels' means (Hu et al., CVPR 2018).
    ///
    /// ```
    /// use morphisms::{Network, Shape};
    /// let network = Network::builder(Shape::map(3, 8, 8)).conv(16, 3).squeeze_excite(4).head(2).init(0)?;
    /// assert_eq!(network.architecture().nodes().filter(|node| node.inputs.len() == 2).count(), 1);
    /// # Ok::<(), morphisms::Error>(())
    /// ```
    pub fn squeeze_excite(self, width: usize) -> Self {
        let channels = self.shape().channels();
        let conv = |out| Conv { bias: true, ..Conv::same(out, 1) };
        self.beside(Layer::Multiply, |x| {
            let squeezed = Self::relu(x.global_average_pool().conv_with(conv(width)));
            squeezed.conv_with(conv(channels)).activation(Activation::Sigmoid)
        })
    }

    /// Several branches that a layer of as many inputs joins.
    ///
    /// ```
    /// use morphisms::{Layer, Network, Shape};
    /// let architecture = Network::builder(Shape::map(3, 8, 8))
    ///     .branches(Layer::Concat, &[&|x| x.conv(4, 1), &|x| x.conv(4, 3), &|x| x.conv(2, 5)])
    ///     .head(2)
    ///     .architecture()?;
    /// assert_eq!(architecture.shape(architecture.nodes().nth(4).unwrap().id).channels(), 10);
    /// # Ok::<(), morphisms::Error>(())
    /// ```
    pub fn branches(mut self, join: Layer, branches: &[&dyn Fn(Self) -> Self]) -> Self {
        let (from, mut ends) = (self.at, Vec::new());
        for branch in branches {
            self.at = from;
            self = branch(self);
            ends.push(self.at);
        }
        self.push(join, &ends)
    }

    fn beside(self, join: Layer, branch: impl FnOnce(Self) -> Self) -> Self {
        let from = self.at;
        let end = branch(self);
        let at = end.at;
        end.push(join, &[from, at])
    }
}

/// The end.
impl Builder {
    /// The last layer so far: what a [`Site`](crate::Site) may name later.
    pub fn at(&self) -> LayerId {
        self.at
    }

    /// The shape of its output; behind a layer that did not fit, of the one before that.
    pub fn shape(&self) -> Shape {
        self.shapes[&self.at]
    }

    /// The architecture; its logits are the output of the last layer.
    ///
    /// # Errors
    /// [`Error::Architecture`] with the first layer that does not fit, or if the last one yields no vector.
    pub fn architecture(mut self) -> Result<Architecture> {
        if let Some(problem) = self.problem {
            return Err(Error::Architecture(problem));
        }
        self.draft.set_output(self.at);
        self.draft.build()
    }

    /// The network with fresh weights in f32 on the CPU; equal seeds give equal weights.
    ///
    /// # Errors
    /// As [`Builder::architecture`].
    pub fn init(self, seed: u64) -> Result<Network> {
        self.init_on(seed, DType::F32, &Device::Cpu)
    }

    /// [`init`](Self::init) with a choice of number format and device.
    ///
    /// # Errors
    /// As [`Builder::architecture`], or when a tensor cannot be made.
    pub fn init_on(self, seed: u64, dtype: DType, device: &Device) -> Result<Network> {
        Network::init(self.architecture()?, seed, dtype, device)
    }

    /// The network with these weights. Layers are numbered as they were added, the image being layer 0.
    ///
    /// # Errors
    /// As [`Builder::architecture`], or [`Error::Weights`] if they do not fit.
    pub fn weights(self, weights: Weights) -> Result<Network> {
        Network::new(self.architecture()?, weights)
    }

    /// Nothing is added behind a layer that does not fit.
    fn push(mut self, layer: Layer, inputs: &[LayerId]) -> Self {
        if self.problem.is_some() {
            return self;
        }
        let id = self.draft.push(layer, inputs);
        let shapes: Option<Vec<Shape>> = inputs.iter().map(|input| self.shapes.get(input).copied()).collect();
        match shapes.map(|shapes| layer.output_shape(&shapes)) {
            Some(Ok(shape)) => {
                self.shapes.insert(id, shape);
                self.at = id;
            }
            Some(Err(Error::Architecture(problem))) => self.problem = Some(format!("layer {id}: {problem}")),
            Some(Err(error)) => self.problem = Some(format!("layer {id}: {error}")),
            None => {
                let problem = "a branch must go on from the builder that it is given";
                self.problem = Some(format!("layer {id}, {layer}: {problem}"));
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_writes_what_a_draft_writes() {
        let mut draft = Draft::new(Shape::map(3, 8, 8));
        let x = draft.conv_bn_relu(draft.input(), Conv::same(4, 3));
        let conv = draft.push(Layer::Conv(Conv::depthwise(4, 3)), &[x]);
        let norm = draft.push(Layer::BATCH_NORM, &[conv]);
        let sum = draft.push(Layer::Add, &[x, norm]);
        let pooled = draft.max_pool(sum, 2);
        let narrow = draft.push(Layer::Conv(Conv::same(2, 1)), &[pooled]);
        let both = draft.push(Layer::Concat, &[pooled, narrow]);
        draft.head(both, 5);
        let built = Network::builder(Shape::map(3, 8, 8))
            .conv_bn_relu(4, 3)
            .residual(|x| x.depthwise(3).batch_norm())
            .max_pool(2)
            .concat(|x| x.conv(2, 1))
            .head(5);
        assert_eq!(built.at(), LayerId(12));
        assert_eq!(built.architecture().unwrap(), draft.build().unwrap());
    }

    #[test]
    fn the_first_layer_that_does_not_fit_is_named() {
        let start = || Network::builder(Shape::map(1, 6, 6)).conv(4, 3);
        let text = |builder: Builder| builder.init(0).unwrap_err().to_string();
        let error = text(start().max_pool(7).flatten().conv(2, 3));
        assert!(error.contains("layer 2") && error.contains("7x7") && error.contains("4x6x6"), "{error}");
        let error = text(start().residual(|x| x.conv(3, 3)).head(2));
        assert!(error.contains("layer 3") && error.contains("3x6x6"), "{error}");
        let error = text(start().branches(Layer::Add, &[]).head(2));
        assert!(error.contains("layer 2") && error.contains("two inputs or more"), "{error}");
        let error = text(start().relu().residual(|_| Network::builder(Shape::map(4, 6, 6))).head(2));
        assert!(error.contains("layer 1, add") && error.contains("the builder that it is given"), "{error}");
        let error = text(start());
        assert!(error.contains("vector of logits"), "{error}");
    }

    #[test]
    fn weights_are_those_given() {
        let builder = Network::builder(Shape::map(1, 4, 4)).conv(2, 3).head(2);
        let network = builder.clone().init(3).unwrap();
        let same = builder.clone().weights(network.weights().clone()).unwrap();
        assert_eq!(same.weights().to_safetensors().unwrap(), network.weights().to_safetensors().unwrap());
        assert!(matches!(builder.weights(Weights::default()), Err(Error::Weights(_))));
    }
}
