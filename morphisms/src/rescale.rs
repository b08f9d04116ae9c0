//! Networks whose numbers are too large or too small to train on, brought to unit scale without a change of what they decide.
//!
//! Weights that somebody else trained, without batch norms and on pixels from 0 to 255, make activations and logits in the
//! thousands. Gradients grow with them: the first step of any usual learning rate destroys such a network. A factor passes
//! through everything that is homogeneous, `f(a x) = a f(x)`, so what one layer's weights are divided by the next one's can
//! be multiplied with (Neyshabur, Salakhutdinov, Srebro, "Path-SGD", NIPS 2015, section 2). Unit scale at every layer is what
//! "layer-sequential unit-variance" asks for (Mishkin, Matas, ICLR 2016). Factors are powers of two, which round nothing.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use petgraph::unionfind::UnionFind;

use crate::Result;
use crate::architecture::{Architecture, Node, ParamKey};
use crate::forward;
use crate::layer::{Layer, LayerId, Role};
use crate::network::Network;

/// Root mean squares from the inverse of this to this are left as they are.
const COMFORTABLE: f64 = 4.0;
/// The root mean square of logits from which on softmax is so sure of itself that it learns nothing.
const SURE: f64 = 16.0;
/// What larger logits are brought to.
const LOGITS: f64 = 4.0;

/// What [`Network::rescaled`] makes: the network, and the powers of two between its numbers and the original's.
#[derive(Debug, Clone)]
pub struct Rescaled {
    /// The network at unit scale.
    pub network: Network,
    /// It takes images that are multiplied by 2 to this power.
    pub images: i32,
    /// Its logits are the original's, multiplied by 2 to this power: the order of the classes is the same.
    pub logits: i32,
}

impl Rescaled {
    /// Whether it computes the very same function, of the same images.
    pub fn computes_the_same(&self) -> bool {
        self.images == 0 && self.logits == 0
    }
}

impl Network {
    /// This network with every activation that is not of unit scale on `images`, `[batch, channels, height, width]`, brought
    /// there by powers of two, as far as its layers let factors through: `network.logits(2^images x)` is
    /// `2^logits self.logits(x)`, bit for bit unless a number leaves the range of the number format. With `keep_images` they
    /// are taken as they are.
    ///
    /// # Errors
    /// When the images do not have the architecture's shape.
    pub fn rescaled(&self, images: &Tensor, keep_images: bool) -> Result<Rescaled> {
        let architecture = self.architecture();
        let classes = Classes::of(architecture);
        let mut powers = self.powers(&classes, images)?;
        if keep_images {
            powers.remove(&classes.input);
        }
        let of_class = |class: usize| powers.get(&class).copied().unwrap_or(0);
        let power = |layer: LayerId| of_class(classes.of[&layer]);
        let mut weights = self.weights().clone();
        for node in architecture.nodes() {
            for (role, power) in changes(node, &power).into_iter().filter(|&(_, power)| power != 0) {
                let key = ParamKey::new(node.id, role);
                if let Ok(tensor) = self.weights().get(key) {
                    weights.insert(key, (tensor * f64::exp2(power.into()))?);
                }
            }
        }
        Ok(Rescaled {
            network: self.with_weights(weights)?,
            images: of_class(classes.input),
            logits: power(architecture.output()),
        })
    }

    /// The power of two for each class that is not of unit scale.
    fn powers(&self, classes: &Classes, images: &Tensor) -> Result<BTreeMap<usize, i32>> {
        let mut squares: BTreeMap<usize, f64> = BTreeMap::new();
        let param = |key| self.lookup(key);
        forward::each_output(self.architecture(), &param, images, &mut |node, output: &Tensor| {
            let class = classes.of[&node.id];
            if passage(&node.layer) != Passage::Homogeneous && !classes.is_fixed(class) {
                let square = output.sqr()?.mean_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
                let most = squares.entry(class).or_insert(0.0);
                *most = most.max(square);
            }
            Ok(())
        })?;
        let logits = classes.of[&self.architecture().output()];
        let power = |(class, square): (usize, f64)| (class, power(square.sqrt(), class == logits));
        Ok(squares.into_iter().map(power).collect())
    }
}

/// The power of two that brings a root mean square to where it is comfortable.
fn power(size: f64, are_logits: bool) -> i32 {
    let (is_fine, target) = match are_logits {
        true => (size <= SURE, LOGITS),
        false => ((1.0 / COMFORTABLE..=COMFORTABLE).contains(&size), 1.0),
    };
    // Of nothing but zeros, or of what overflows, no factor makes anything else.
    if is_fine || size == 0.0 || !size.is_finite() { 0 } else { (target / size).log2().round() as i32 }
}

/// What a layer does to a factor of its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passage {
    /// It starts one anew: whatever the factors of its input and output, its parameters make up for them.
    Free,
    /// Its output has the factor of its inputs, which is one.
    Homogeneous,
    /// Its input must stay as it is; its output may have any factor, by its scale and shift.
    Normalises,
    /// Neither may have a factor.
    Fixed,
}

fn passage(layer: &Layer) -> Passage {
    match layer {
        Layer::Input | Layer::Conv(_) | Layer::Linear { .. } => Passage::Free,
        // The epsilon beside the variance does not grow along.
        Layer::BatchNorm { .. } | Layer::GroupNorm { .. } => Passage::Normalises,
        Layer::Activation(function) if function.is_homogeneous() => Passage::Homogeneous,
        Layer::Prelu
        | Layer::Scale { .. }
        | Layer::Dropout { .. }
        | Layer::Pool { .. }
        | Layer::GlobalAveragePool
        | Layer::Add
        | Layer::Mix
        | Layer::Concat
        | Layer::ChannelShuffle { .. }
        | Layer::Flatten => Passage::Homogeneous,
        Layer::Activation(_) | Layer::LocalResponseNorm { .. } | Layer::Multiply => Passage::Fixed,
    }
}

/// Layers whose outputs must have the same factor.
struct Classes {
    of: BTreeMap<LayerId, usize>,
    /// That of the images.
    input: usize,
    /// That of what must stay as it is.
    fixed: usize,
}

impl Classes {
    fn of(architecture: &Architecture) -> Self {
        let places: BTreeMap<LayerId, usize> = architecture.nodes().map(|node| node.id).zip(0..).collect();
        let (mut image, fixed) = (0, places.len());
        let mut sets = UnionFind::new(fixed + 1);
        for node in architecture.nodes() {
            let own = places[&node.id];
            if node.layer == Layer::Input {
                image = own;
            }
            for input in node.inputs.iter().map(|input| places[input]) {
                let pairs: &[(usize, usize)] = match passage(&node.layer) {
                    Passage::Free => &[],
                    Passage::Homogeneous => &[(input, own)],
                    Passage::Normalises => &[(input, fixed)],
                    Passage::Fixed => &[(input, fixed), (own, fixed)],
                };
                for &(a, b) in pairs {
                    sets.union(a, b);
                }
            }
        }
        let of = places.into_iter().map(|(layer, place)| (layer, sets.find(place))).collect();
        Self { of, input: sets.find(image), fixed: sets.find(fixed) }
    }

    fn is_fixed(&self, class: usize) -> bool {
        class == self.fixed
    }
}

/// The powers of two that a layer's parameters are multiplied with, given those of outputs.
fn changes(node: &Node, power: &dyn Fn(LayerId) -> i32) -> Vec<(Role, i32)> {
    let own = power(node.id);
    match passage(&node.layer) {
        Passage::Free => node
            .inputs
            .iter()
            .flat_map(|&input| [(Role::Weight, own - power(input)), (Role::Bias, own)])
            .collect(),
        Passage::Normalises => vec![(Role::Gamma, own), (Role::Beta, own)],
        Passage::Homogeneous | Passage::Fixed => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::architecture::Draft;
    use crate::check::images;
    use crate::layer::Shape;

    /// Weights a hundred times too large, on pixels.
    fn loud() -> (Network, Tensor) {
        let shape = Shape::map(1, 8, 8);
        let network = Network::builder(shape).conv(4, 3).relu().max_pool(2).conv(6, 3).relu().head(3);
        let network = network.init(0).unwrap();
        let louder = |(key, tensor): (ParamKey, &Tensor)| (key, (tensor * 100.0).unwrap());
        let weights = network.weights().iter().map(louder).collect();
        let pixels = (images(shape, 16, 0, DType::F32).unwrap().abs().unwrap() * 100.0).unwrap();
        (network.with_weights(weights).unwrap(), pixels)
    }

    fn size(tensor: &Tensor) -> f32 {
        tensor.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap().sqrt()
    }

    #[test]
    fn a_loud_network_gets_quiet_and_decides_the_same() {
        let (network, pixels) = loud();
        let Rescaled { network: quiet, images, logits } = network.rescaled(&pixels, false).unwrap();
        assert!((-9..=-6).contains(&images) && logits < -10, "{images} {logits}");
        let scaled = (&pixels * f64::exp2(images.into())).unwrap();
        let (before, after) = (network.logits(&pixels).unwrap(), quiet.logits(&scaled).unwrap());
        let expected = (before * f64::exp2(logits.into())).unwrap();
        assert_eq!(after.to_vec2::<f32>().unwrap(), expected.to_vec2::<f32>().unwrap());
        assert!((LOGITS as f32 / 1.5..LOGITS as f32 * 1.5).contains(&size(&after)), "{}", size(&after));
        for node in quiet.architecture().nodes().filter(|node| matches!(node.layer, Layer::Conv(_))) {
            let size = size(&quiet.activation(&scaled, node.id).unwrap());
            assert!((0.7..1.5).contains(&size), "{size}");
        }
    }

    #[test]
    fn a_network_at_unit_scale_stays_as_it_is() {
        let shape = Shape::map(1, 8, 8);
        let network = Network::builder(shape).conv_bn_relu(4, 3).head(3).init(0).unwrap();
        let batch = images(shape, 16, 0, DType::F32).unwrap();
        let rescaled = network.rescaled(&batch, false).unwrap();
        assert!(rescaled.computes_the_same());
        for ((_, old), (_, new)) in network.weights().iter().zip(rescaled.network.weights().iter()) {
            assert_eq!(old.id(), new.id(), "shared, not copied");
        }
    }

    /// A sigmoid or a batch norm reads the images: they cannot have a factor.
    #[test]
    fn what_lets_no_factor_through_keeps_its_images() {
        let shape = Shape::map(1, 4, 4);
        let mut draft = Draft::new(shape);
        let norm = draft.push(Layer::BATCH_NORM, &[draft.input()]);
        draft.head(norm, 2);
        let network = Network::init(draft.build().unwrap(), 0, DType::F32, &Device::Cpu).unwrap();
        let batch = (images(shape, 4, 0, DType::F32).unwrap() * 1000.0).unwrap();
        assert_eq!(network.rescaled(&batch, false).unwrap().images, 0);
        let (loud, pixels) = loud();
        assert_eq!(loud.rescaled(&pixels, true).unwrap().images, 0);
    }
}
