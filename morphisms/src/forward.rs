//! The forward pass of an architecture.

use std::collections::{BTreeMap, BTreeSet};

use candle_convnet::{self as ops, Operand};
use candle_core::{Result, Tensor};
use rand::RngExt;

use crate::architecture::{Architecture, Node, ParamKey};
use crate::init::Seed;
use crate::layer::{Conv, Layer, LayerId, PoolKind, Role, Window};

/// Which statistics a batch norm uses, and whether dropout drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The running ones: the function that is deployed.
    Eval,
    /// Those of the batch, which are handed out for the running ones.
    Train {
        /// The seed of what dropout zeroes; none: nothing.
        dropout: Option<u64>,
    },
}

impl Mode {
    /// Training without dropout.
    pub const TRAIN: Self = Self::Train { dropout: None };
}

/// Statistics of one channel axis over a batch.
#[derive(Debug, Clone)]
pub struct BatchStatistics {
    /// Mean, `[channels]`.
    pub mean: Tensor,
    /// Biased variance, `[channels]`.
    pub variance: Tensor,
    /// Numbers a channel: batch x height x width.
    pub count: usize,
}

impl BatchStatistics {
    /// The variance as running statistics keep it: the sum of squares over one less than the count.
    ///
    /// # Errors
    /// When candle cannot multiply.
    pub fn unbiased_variance(&self) -> Result<Tensor> {
        &self.variance * (self.count as f64 / (self.count as f64 - 1.0).max(1.0))
    }
}

/// What a forward pass yields: tensors, or values on a [`Tape`](ops::Tape).
#[derive(Debug)]
pub struct Pass<V = Tensor> {
    /// `[batch, classes]`.
    pub logits: V,
    /// In training mode, the batch statistics each batch norm saw.
    pub statistics: BTreeMap<LayerId, BatchStatistics>,
}

/// Runs `images`, `[batch, channels, height, width]`, through the architecture; `param` looks up its parameters:
/// plain tensors, candle variables, or variables of a [`Tape`](ops::Tape).
///
/// # Errors
/// When a tensor operation fails, shapes of images and parameters included.
pub fn forward<'a, V: Operand>(
    architecture: &Architecture,
    param: &dyn Fn(ParamKey) -> Result<&'a V>,
    images: &V,
    mode: Mode,
) -> Result<Pass<V>> {
    forward_by(architecture, param, images, mode, ops::ConvAlgorithm::Auto)
}

/// [`forward`] with a choice of how convolutions are computed. Networks that are compared number by number in f32 must
/// be computed alike; left to itself, a wider child may go another way than its parent.
///
/// # Errors
/// As [`forward`].
pub fn forward_by<'a, V: Operand>(
    architecture: &Architecture,
    param: &dyn Fn(ParamKey) -> Result<&'a V>,
    images: &V,
    mode: Mode,
    algorithm: ops::ConvAlgorithm,
) -> Result<Pass<V>> {
    let mut run = Run { algorithm, ..Run::new(architecture, param, mode) };
    run.until(images, architecture.output())?;
    let logits = run.take(architecture.output())?;
    Ok(Pass { logits, statistics: run.statistics })
}

/// The output of one layer, `[batch, ...]`.
///
/// # Errors
/// As [`forward`].
pub fn activation<'a, V: Operand>(
    architecture: &Architecture,
    param: &dyn Fn(ParamKey) -> Result<&'a V>,
    images: &V,
    layer: LayerId,
    mode: Mode,
) -> Result<V> {
    let mut run = Run::new(architecture, param, mode);
    run.until(images, layer)?;
    run.take(layer)
}

/// Shows every layer's output in evaluation mode.
pub(crate) fn each_output<'a, V: Operand>(
    architecture: &Architecture,
    param: &dyn Fn(ParamKey) -> Result<&'a V>,
    images: &V,
    see: &mut dyn FnMut(&Node, &V) -> Result<()>,
) -> Result<()> {
    let mut run = Run { fuses: false, ..Run::new(architecture, param, Mode::Eval) };
    for node in architecture.nodes() {
        let output = run.layer(node, images, architecture.output())?;
        see(node, &output)?;
        run.keep(node.id, output, architecture.output());
    }
    Ok(())
}

struct Run<'r, 'a, V> {
    architecture: &'r Architecture,
    param: &'r dyn Fn(ParamKey) -> Result<&'a V>,
    mode: Mode,
    algorithm: ops::ConvAlgorithm,
    /// Outputs that somebody still has to read, with how often.
    live: BTreeMap<LayerId, (V, usize)>,
    statistics: BTreeMap<LayerId, BatchStatistics>,
    /// Whether a layer may compute those behind it too.
    fuses: bool,
    /// Layers that the one before them computes.
    fused: BTreeSet<LayerId>,
}

impl<'r, 'a, V: Operand> Run<'r, 'a, V> {
    fn new(architecture: &'r Architecture, param: &'r dyn Fn(ParamKey) -> Result<&'a V>, mode: Mode) -> Self {
        let algorithm = ops::ConvAlgorithm::Auto;
        Self {
            architecture,
            param,
            mode,
            algorithm,
            live: BTreeMap::new(),
            statistics: BTreeMap::new(),
            fuses: true,
            fused: BTreeSet::new(),
        }
    }

    fn until(&mut self, images: &V, last: LayerId) -> Result<()> {
        for node in self.architecture.nodes() {
            let output = self.layer(node, images, last)?;
            self.keep(node.id, output, last);
            if node.id == last {
                break;
            }
        }
        Ok(())
    }

    /// Keeps an output for its readers, of whom the pass itself is one if it is the last.
    fn keep(&mut self, id: LayerId, output: V, last: LayerId) {
        let readers = self.architecture.consumers(id).len() + usize::from(id == last);
        self.live.insert(id, (output, readers));
    }

    /// Reads the output of `id`; the last reader takes it out.
    fn take(&mut self, id: LayerId) -> Result<V> {
        match self.live.get_mut(&id) {
            Some((_, readers)) if *readers <= 1 => Ok(self.live.remove(&id).expect("just found").0),
            Some((tensor, readers)) => {
                *readers -= 1;
                Ok(tensor.clone())
            }
            None => Err(candle_core::Error::Msg(format!("layer {id} has no output yet"))),
        }
    }

    fn layer(&mut self, node: &Node, images: &V, last: LayerId) -> Result<V> {
        let inputs = node.inputs.iter().map(|&id| self.take(id)).collect::<Result<Vec<_>>>()?;
        let param = |role| (self.param)(ParamKey::new(node.id, role));
        match node.layer {
            Layer::Input => Ok(images.clone()),
            Layer::Conv(conv) => {
                let (weight, config) = (param(Role::Weight)?, conv_config(&conv, self.algorithm));
                if let Some((norm, eps)) = self.norm_behind(node, last) {
                    return self.conv_norm((&inputs[0], weight, &config), norm, eps, last);
                }
                let bias = conv.bias.then(|| param(Role::Bias)).transpose()?;
                let (epilogue, _) = self.fuse(node.id, last);
                ops::conv2d_epilogue(&inputs[0], weight, bias, &config, epilogue)
            }
            _ if self.fused.contains(&node.id) => Ok(inputs[0].clone()),
            Layer::BatchNorm { eps } => {
                let (epilogue, _) = self.fuse(node.id, last);
                self.batch_norm(node.id, &inputs[0], eps, epilogue)
            }
            Layer::GroupNorm { grouping, eps } => {
                let groups = grouping.count(node.shape.channels());
                ops::group_norm(&inputs[0], param(Role::Gamma)?, param(Role::Beta)?, groups, eps)
            }
            Layer::Activation(function) => ops::activation(&inputs[0], function.operation()),
            Layer::Prelu => ops::prelu(&inputs[0], param(Role::Slope)?),
            Layer::Scale { factor } => ops::scale(&inputs[0], factor),
            Layer::Dropout { probability } => match self.mode {
                Mode::Train { dropout: Some(seed) } => {
                    // Layers drop independently of each other.
                    let seed = Seed { seed, stream: u64::from(node.id.0) }.rng().random();
                    ops::dropout(&inputs[0], probability, seed)
                }
                Mode::Train { dropout: None } | Mode::Eval => Ok(inputs[0].clone()),
            },
            Layer::Pool { kind: PoolKind::Max, window } => ops::max_pool2d(&inputs[0], &pool_config(&window)),
            Layer::Pool { kind: PoolKind::Average, window } => {
                ops::avg_pool2d(&inputs[0], &pool_config(&window))
            }
            Layer::Pool { kind: PoolKind::AverageExcludingPadding, window } => {
                ops::avg_pool2d_excluding_padding(&inputs[0], &pool_config(&window))
            }
            Layer::GlobalAveragePool => ops::global_avg_pool2d(&inputs[0]),
            Layer::Add => match self.rectified_sum(node, last) {
                Some(relu) => {
                    self.fused.insert(relu);
                    ops::add_relu(&inputs[0], &inputs[1])
                }
                None => inputs[1..].iter().try_fold(inputs[0].clone(), |sum, next| ops::add(&sum, next)),
            },
            Layer::Multiply => ops::multiply(&inputs[0], &inputs[1]),
            Layer::Mix => ops::mix(&inputs[0], &inputs[1], param(Role::Lambda)?),
            Layer::Concat => ops::concat(&inputs.iter().collect::<Vec<_>>()),
            Layer::LocalResponseNorm { size, alpha, beta, bias } => {
                let config = ops::LocalResponseNormConfig { size, alpha, beta, bias };
                ops::local_response_norm(&inputs[0], &config)
            }
            Layer::ChannelShuffle { groups } => ops::channel_shuffle(&inputs[0], groups),
            Layer::Flatten => ops::flatten(&inputs[0]),
            Layer::Linear { bias, .. } => {
                let bias = bias.then(|| param(Role::Bias)).transpose()?;
                ops::linear(&inputs[0], param(Role::Weight)?, bias)
            }
        }
    }

    /// In training, the batch norm that alone reads a convolution without a bias: they are one step.
    fn norm_behind(&self, conv: &Node, last: LayerId) -> Option<(LayerId, f64)> {
        let fits = matches!(self.mode, Mode::Train { .. })
            && matches!(conv.layer, Layer::Conv(Conv { bias: false, .. }));
        let reader = self.reader(conv.id, last).filter(|_| fits)?;
        match reader.layer {
            Layer::BatchNorm { eps } => Some((reader.id, eps)),
            _ => None,
        }
    }

    /// A convolution and what [`Self::norm_behind`] found.
    fn conv_norm(
        &mut self,
        (x, weight, config): (&V, &V, &ops::Conv2dConfig),
        norm: LayerId,
        eps: f64,
        last: LayerId,
    ) -> Result<V> {
        let (epilogue, end) = self.fuse(norm, last);
        self.fused.insert(norm);
        let param = |role| (self.param)(ParamKey::new(norm, role));
        let parameters = (param(Role::Gamma)?, param(Role::Beta)?);
        let output = ops::conv2d_batch_norm_train(x, weight, config, parameters, eps, epilogue)?;
        let readers = self.architecture.consumers(end);
        let normalises = |id| {
            let reader = self.architecture.node(id);
            matches!(reader.layer, Layer::Conv(_)) || self.rectified_sum(reader, last).is_some()
        };
        if readers.len() > 1 && !readers.iter().all(|&(reader, _)| normalises(reader)) {
            // Somebody will need the numbers: now, before the others compute them once more.
            output.output.tensor();
        }
        Ok(self.note(norm, output))
    }

    /// The output of a batch norm, whose statistics are kept.
    fn note(&mut self, norm: LayerId, output: ops::BatchNormOutput<V>) -> V {
        let ops::BatchNormOutput { output, mean, variance, count } = output;
        self.statistics.insert(norm, BatchStatistics { mean, variance, count });
        output
    }

    /// The ReLU that alone reads a layer.
    fn relu_behind(&self, id: LayerId, last: LayerId) -> Option<LayerId> {
        self.reader(id, last).filter(|reader| reader.layer == Layer::RELU).map(|relu| relu.id)
    }

    /// The ReLU that alone reads a sum of two, if that is what a layer is: they are one step.
    fn rectified_sum(&self, sum: &Node, last: LayerId) -> Option<LayerId> {
        let fits = sum.layer == Layer::Add && sum.inputs.len() == 2;
        self.relu_behind(sum.id, last).filter(|_| fits)
    }

    /// The only layer that reads another, unless the pass itself does: the other may compute it too.
    fn reader(&self, id: LayerId, last: LayerId) -> Option<&'r Node> {
        if self.fuses && id != last { self.architecture.only_consumer(id) } else { None }
    }

    /// A convolution or a batch norm that only a ReLU reads computes that ReLU too, and the pooling that alone reads the
    /// ReLU; those then pass on what they get. The last of these layers is told too.
    fn fuse(&mut self, layer: LayerId, last: LayerId) -> (ops::Epilogue, LayerId) {
        let Some(relu) = self.relu_behind(layer, last) else {
            return (ops::Epilogue::None, layer);
        };
        let pool = self.reader(relu, last).filter(|reader| halves(&reader.layer)).map(|pool| pool.id);
        self.fused.extend([Some(relu), pool].into_iter().flatten());
        match pool {
            Some(pool) => (ops::Epilogue::ReluMaxPool, pool),
            None => (ops::Epilogue::Relu, relu),
        }
    }

    fn batch_norm(&mut self, id: LayerId, x: &V, eps: f64, epilogue: ops::Epilogue) -> Result<V> {
        let param = |role| (self.param)(ParamKey::new(id, role));
        let (gamma, beta) = (param(Role::Gamma)?, param(Role::Beta)?);
        match self.mode {
            Mode::Eval => {
                let (mean, variance) = (param(Role::Mean)?, param(Role::Variance)?);
                ops::batch_norm_eval(x, gamma, beta, mean.tensor(), variance.tensor(), eps, epilogue)
            }
            Mode::Train { .. } => {
                let output = ops::batch_norm_train(x, gamma, beta, eps, epilogue)?;
                Ok(self.note(id, output))
            }
        }
    }
}

fn conv_config(conv: &Conv, algorithm: ops::ConvAlgorithm) -> ops::Conv2dConfig {
    let Window { stride, padding, .. } = conv.window;
    ops::Conv2dConfig { stride, padding, dilation: conv.dilation, groups: conv.groups, algorithm }
}

/// Whether a layer is max pooling with windows of 2x2, stride 2.
fn halves(layer: &Layer) -> bool {
    *layer == Layer::Pool { kind: PoolKind::Max, window: Window::tiles(2) }
}

fn pool_config(window: &Window) -> ops::Pool2dConfig {
    ops::Pool2dConfig { kernel: window.kernel, stride: window.stride, padding: window.padding }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::architecture::Draft;
    use crate::layer::Shape;
    use crate::network::Network;

    /// The logits are the image, or what two dropouts leave of it.
    fn dropped(mode: Mode) -> Vec<f64> {
        let mut draft = Draft::new(Shape::map(1, 20, 50));
        let once = draft.push(Layer::Dropout { probability: 0.5 }, &[draft.input()]);
        let twice = draft.push(Layer::Dropout { probability: 0.5 }, &[once]);
        let logits = draft.push(Layer::Flatten, &[twice]);
        draft.set_output(logits);
        let network = Network::init(draft.build().unwrap(), 0, DType::F64, &Device::Cpu).unwrap();
        let image = Tensor::ones((1, 1, 20, 50), DType::F64, &Device::Cpu).unwrap();
        network.forward(&image, mode).unwrap().logits.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn dropout_drops_by_seed_in_training_alone_and_each_layer_by_itself() {
        let by = |seed| dropped(Mode::Train { dropout: Some(seed) });
        assert_eq!(dropped(Mode::Eval), [1.0; 1000]);
        assert_eq!(dropped(Mode::TRAIN), [1.0; 1000]);
        assert_eq!(by(1), by(1));
        assert_ne!(by(1), by(2));
        // Layers that dropped the same numbers would leave 500, of value 4 as well.
        let left = by(1).iter().filter(|&&value| value == 4.0).count();
        assert!((200..300).contains(&left), "{left}");
    }
}
