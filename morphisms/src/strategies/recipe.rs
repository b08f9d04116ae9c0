//! Recipes: lists of small numbers, each list of which builds a valid architecture.
//!
//! A step that does not fit, because a map is too small or a limit is reached, is left out; numbers are taken modulo
//! the choices there are. So any shorter list and any smaller number is a recipe too, which is what shrinking needs.

use proptest::prelude::*;

use super::Limits;
use crate::activation::Activation;
use crate::architecture::{Architecture, Draft};
use crate::layer::{Conv, Grouping, Layer, Padding, PoolKind, Shape, Window};

/// Height and width of the image, the smallest first.
const SIZES: [(usize, usize); 6] = [(4, 4), (1, 1), (5, 7), (7, 5), (6, 7), (2, 3)];
/// Layers that the head adds to a path at most.
const HEAD: usize = 7;
const KERNELS: [(usize, usize); 5] = [(1, 1), (3, 3), (5, 5), (1, 3), (3, 1)];
const STRIDES: [(usize, usize); 4] = [(1, 1), (2, 2), (2, 1), (1, 2)];
/// Windows of poolings: tiling, overlapping, padded, unevenly padded.
const POOLS: [Window; 9] = [
    pool((2, 2), (2, 2), Padding::NONE),
    pool((3, 3), (2, 2), Padding::even(1, 1)),
    pool((3, 3), (1, 1), Padding::even(1, 1)),
    pool((2, 2), (1, 1), Padding::NONE),
    pool((2, 1), (2, 1), Padding::even(1, 0)),
    pool((3, 2), (1, 2), Padding::even(1, 1)),
    pool((2, 2), (2, 2), Padding { bottom: 1, right: 1, ..Padding::NONE }),
    pool((3, 3), (2, 2), Padding { top: 0, left: 1, bottom: 2, right: 0 }),
    pool((3, 2), (1, 1), Padding { top: 2, left: 0, bottom: 0, right: 1 }),
];

const fn pool(kernel: (usize, usize), stride: (usize, usize), padding: Padding) -> Window {
    Window { kernel, stride, padding }
}

/// What builds an architecture.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    size: usize,
    channels: usize,
    classes: usize,
    steps: Vec<Step>,
    head: Head,
}

/// A building step. `at` counts tensors back from the newest, `with` the partners there are.
#[derive(Debug, Clone)]
enum Step {
    /// A convolution with what follows it.
    Block {
        at: usize,
        conv: Block,
        norm: Option<Layer>,
        activation: Option<Layer>,
    },
    /// A layer that reads one map.
    Unary {
        at: usize,
        layer: Layer,
    },
    /// Squeeze-and-excite, with so many channels between its two convolutions.
    Gate {
        at: usize,
        width: usize,
        squash: Activation,
    },
    Join {
        at: usize,
        with: usize,
        more: Option<usize>,
        how: How,
    },
}

#[derive(Debug, Clone)]
struct Block {
    kernel: usize,
    out: usize,
    groups: Groups,
    stride: usize,
    dilation: usize,
    padded: Padded,
    bias: bool,
}

/// How a convolution is padded.
#[derive(Debug, Clone, Copy)]
enum Padded {
    /// By half of its kernel.
    Evenly,
    /// By one pixel more behind the map and one less before it.
    Later,
    /// The other way round.
    Earlier,
    /// By one pixel less before the map.
    Less,
    Not,
}

impl Padded {
    /// Before and behind the map, where even padding has `half` on both sides.
    fn sides(self, half: usize) -> (usize, usize) {
        let one = half.min(1);
        match self {
            Self::Evenly => (half, half),
            Self::Later => (half - one, half + one),
            Self::Earlier => (half + one, half - one),
            Self::Less => (half - one, half),
            Self::Not => (0, 0),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Groups {
    Dense,
    /// Two or three groups, where they divide the input.
    Grouped(usize),
    /// Depthwise, with a multiplier.
    Depthwise(usize),
}

#[derive(Debug, Clone, Copy)]
enum How {
    Add,
    Mix,
    Multiply,
    Concat,
    /// The partner first.
    Swapped,
}

/// The way from the last map to the logits.
#[derive(Debug, Clone)]
struct Head {
    /// Flatten instead of a global average.
    flatten: bool,
    /// Whether branches that nobody reads are joined to the vector; else they are left out.
    collect: bool,
    bias: bool,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Linear,
    /// A hidden linear layer of this width and a ReLU.
    Hidden(usize),
    /// Two hidden layers, joined.
    Two(usize, How),
    /// The sum of two linear layers is the logits.
    SumOfLogits,
    /// A 1x1 convolution makes the logits, averaged over the map.
    ConvLogits,
}

/// Mostly 0.
fn seldom(most: usize) -> BoxedStrategy<usize> {
    prop_oneof![3 => Just(0), 1 => 0..=most].boxed()
}

fn any_how() -> impl Strategy<Value = How> {
    prop_oneof![
        2 => Just(How::Add),
        2 => Just(How::Mix),
        1 => Just(How::Multiply),
        2 => Just(How::Concat),
        2 => Just(How::Swapped),
    ]
}

/// Mostly batch norm.
fn any_norm() -> impl Strategy<Value = Layer> {
    let grouping =
        prop_oneof![1 => Just(Grouping::All), 1 => Just(Grouping::Each), 2 => Just(Grouping::Groups(2))];
    prop_oneof![
        6 => prop_oneof![Just(Layer::BATCH_NORM), Just(Layer::BatchNorm { eps: 1e-3 })],
        1 => grouping.prop_map(|grouping| Layer::GroupNorm { grouping, eps: 1e-3 }),
    ]
}

/// Mostly ReLU.
fn any_activation() -> impl Strategy<Value = Layer> {
    let others = proptest::sample::select(&Activation::ALL[1..]);
    let slope = prop_oneof![Just(0.01), Just(-0.5), Just(1.5)];
    // Zero is inside, at the end, and outside.
    let clip = prop_oneof![Just((-0.5, 2.0)), Just((0.0, 1.5)), Just((0.25, 3.0))];
    prop_oneof![
        8 => Just(Layer::RELU),
        3 => others.prop_map(Layer::Activation),
        1 => slope.prop_map(|slope| Layer::Activation(Activation::LeakyRelu { slope })),
        1 => clip.prop_map(|(low, high)| Layer::Activation(Activation::Clip { low, high })),
        1 => Just(Layer::Prelu),
    ]
}

fn any_pool() -> impl Strategy<Value = Layer> {
    let kind =
        prop_oneof![Just(PoolKind::Max), Just(PoolKind::Average), Just(PoolKind::AverageExcludingPadding)];
    (kind, proptest::sample::select(&POOLS[..])).prop_map(|(kind, window)| Layer::Pool { kind, window })
}

/// Strong enough for channels to feel each other.
fn any_response() -> impl Strategy<Value = Layer> {
    let layer = |(size, beta)| Layer::LocalResponseNorm { size, alpha: 1.5, beta, bias: 1.0 };
    (2..=5usize, prop_oneof![Just(0.75), Just(0.5)]).prop_map(layer)
}

fn any_unary() -> impl Strategy<Value = Layer> {
    prop_oneof![
        4 => any_activation(),
        4 => any_norm(),
        4 => any_pool(),
        4 => Just(Layer::GlobalAveragePool),
        1 => prop_oneof![Just(0.5), Just(-2.0)].prop_map(|factor| Layer::Scale { factor }),
        1 => Just(Layer::Dropout { probability: 0.25 }),
        1 => (2..=3usize).prop_map(|groups| Layer::ChannelShuffle { groups }),
        1 => any_response(),
    ]
}

fn any_block() -> impl Strategy<Value = Block> {
    let groups = prop_oneof![
        6 => Just(Groups::Dense),
        2 => (2..=3usize).prop_map(Groups::Grouped),
        2 => (1..=2usize).prop_map(Groups::Depthwise),
    ];
    let dilation = prop_oneof![6 => Just(1), 1 => Just(2usize)];
    let (kernel, out) = (0..KERNELS.len(), 1..=4usize);
    let padded = prop_oneof![
        10 => Just(Padded::Evenly),
        1 => Just(Padded::Later),
        1 => Just(Padded::Earlier),
        1 => Just(Padded::Less),
        2 => Just(Padded::Not),
    ];
    (kernel, out, groups, seldom(STRIDES.len() - 1), dilation, padded, any::<bool>()).prop_map(
        |(kernel, out, groups, stride, dilation, padded, bias)| Block {
            kernel,
            out,
            groups,
            stride,
            dilation,
            padded,
            bias,
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    let join = (seldom(3), 0..5usize, proptest::option::weighted(0.2, 0..4usize), any_how());
    let mostly = |layer: BoxedStrategy<Layer>| proptest::option::weighted(0.75, layer);
    let (norm, activation) = (mostly(any_norm().boxed()), mostly(any_activation().boxed()));
    let squash = prop_oneof![Just(Activation::Sigmoid), Just(Activation::HardSigmoid)];
    prop_oneof![
        4 => (seldom(4), any_unary()).prop_map(|(at, layer)| Step::Unary { at, layer }),
        8 => (seldom(4), any_block(), norm, activation)
            .prop_map(|(at, conv, norm, activation)| Step::Block { at, conv, norm, activation }),
        4 => join.prop_map(|(at, with, more, how)| Step::Join { at, with, more, how }),
        1 => (seldom(4), 1..=3usize, squash).prop_map(|(at, width, squash)| Step::Gate { at, width, squash }),
    ]
}

fn any_head() -> impl Strategy<Value = Head> {
    let kind = prop_oneof![
        3 => Just(Kind::Linear),
        1 => (1..=6usize).prop_map(Kind::Hidden),
        1 => ((1..=5usize), any_how()).prop_map(|(width, how)| Kind::Two(width, how)),
        1 => Just(Kind::SumOfLogits),
        1 => Just(Kind::ConvLogits),
    ];
    (any::<bool>(), any::<bool>(), any::<bool>(), kind).prop_map(|(flatten, collect, bias, kind)| Head {
        flatten,
        collect,
        bias,
        kind,
    })
}

/// All recipes within the limits.
pub(super) fn any_recipe(limits: Limits) -> impl Strategy<Value = Recipe> {
    let steps = proptest::collection::vec(any_step(), 0..=limits.steps);
    (0..SIZES.len(), 1..=3usize, 1..=limits.classes, steps, any_head())
        .prop_map(|(size, channels, classes, steps, head)| Recipe { size, channels, classes, steps, head })
}

impl Recipe {
    /// The architecture that this recipe builds.
    pub(super) fn architecture(&self, limits: &Limits) -> Architecture {
        let (height, width) = SIZES[self.size];
        let input = Shape::map(self.channels, height, width);
        let mut site = Building::new(input, *limits);
        for step in &self.steps {
            site.step(step);
        }
        let logits = site.head(&self.head, self.classes);
        site.finish(logits)
    }
}

/// A layer that stands, with the places of its inputs.
struct Placed {
    layer: Layer,
    inputs: Vec<usize>,
    shape: Shape,
    depth: usize,
}

/// An architecture in the making: whatever cannot be built is left out.
struct Building {
    placed: Vec<Placed>,
    /// The maps that a step may read: not what is inside of a block.
    maps: Vec<usize>,
    limits: Limits,
    /// The most layers on a path, so far.
    deepest: usize,
}

impl Building {
    fn new(input: Shape, limits: Limits) -> Self {
        let image = Placed { layer: Layer::Input, inputs: Vec::new(), shape: input, depth: 0 };
        Self { placed: vec![image], maps: vec![0], limits, deepest: limits.depth.saturating_sub(HEAD) }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Block { at, conv, norm, activation } => {
                let built = self.map(*at);
                if let Some(conv) = self.conv(conv, built) {
                    let after = |this: &mut Self, end, layer: Option<Layer>| {
                        layer.and_then(|layer| this.layer(layer, &[end])).unwrap_or(end)
                    };
                    let end = after(self, conv, *norm);
                    let end = after(self, end, *activation);
                    self.maps.push(end);
                }
            }
            Step::Unary { at, layer } => {
                if let Some(made) = self.layer(*layer, &[self.map(*at)]) {
                    self.maps.push(made);
                }
            }
            Step::Gate { at, width, squash } => self.gate(self.map(*at), *width, *squash),
            Step::Join { at, with, more, how } => self.join(*at, *with, *more, *how),
        }
    }

    /// The map that is `back` maps older than the newest.
    fn map(&self, back: usize) -> usize {
        self.maps[self.maps.len() - 1 - back % self.maps.len()]
    }

    /// Squeeze-and-excite on a map; nothing of it if the whole does not fit.
    fn gate(&mut self, map: usize, width: usize, squash: Activation) {
        let before = self.placed.len();
        let conv = |out| Layer::Conv(Conv { bias: true, ..Conv::same(out, 1) });
        let channels = self.placed[map].shape.channels();
        let squeeze =
            [Layer::GlobalAveragePool, conv(width), Layer::RELU, conv(channels), Layer::Activation(squash)];
        let excite = squeeze.into_iter().try_fold(map, |x, layer| self.layer(layer, &[x]));
        match excite.and_then(|gate| self.layer(Layer::Multiply, &[map, gate])) {
            Some(made) => self.maps.push(made),
            None => self.placed.truncate(before),
        }
    }

    fn conv(&mut self, block: &Block, input: usize) -> Option<usize> {
        let channels = self.placed[input].shape.channels();
        let (out, groups) = match block.groups {
            Groups::Dense => (block.out, 1),
            Groups::Grouped(groups) if channels.is_multiple_of(groups) => {
                (block.out.div_ceil(groups) * groups, groups)
            }
            Groups::Grouped(_) => (block.out, 1),
            Groups::Depthwise(multiplier) => (channels * multiplier, channels),
        };
        let (kernel, dilation) = (KERNELS[block.kernel], block.dilation);
        let (top, bottom) = block.padded.sides(kernel.0 / 2 * dilation);
        let (left, right) = block.padded.sides(kernel.1 / 2 * dilation);
        let padding = Padding { top, left, bottom, right };
        let window = Window { kernel, stride: STRIDES[block.stride], padding };
        let conv =
            Conv { out_channels: out, window, dilation: (dilation, dilation), groups, bias: block.bias };
        self.layer(Layer::Conv(conv), &[input])
    }

    /// Joins a map with a partner that fits: another one if there is one, else itself.
    fn join(&mut self, at: usize, with: usize, more: Option<usize>, how: How) {
        let first = self.map(at);
        let shape = self.placed[first].shape;
        let fits = |&place: &usize| match how {
            How::Add | How::Mix | How::Multiply => self.placed[place].shape == shape,
            How::Concat | How::Swapped => self.placed[place].shape.same_space(&shape),
        };
        let others = self.maps.iter().rev().copied().filter(|&place| place != first);
        let partners: Vec<usize> = others.filter(fits).chain([first]).collect();
        let pick = |number: usize| partners[number % partners.len()];
        let third = more.filter(|_| !matches!(how, How::Mix | How::Multiply)).map(pick);
        let inputs = match how {
            How::Swapped => [pick(with), first],
            How::Add | How::Mix | How::Multiply | How::Concat => [first, pick(with)],
        };
        let inputs: Vec<usize> = inputs.into_iter().chain(third).collect();
        if let Some(made) = self.layer(merge(how), &inputs) {
            self.maps.push(made);
        }
    }

    /// Places a layer if its inputs and the limits allow it.
    fn layer(&mut self, layer: Layer, inputs: &[usize]) -> Option<usize> {
        let shapes: Vec<Shape> = inputs.iter().map(|&place| self.placed[place].shape).collect();
        let shape = layer.output_shape(&shapes).ok()?;
        let depth = 1 + inputs.iter().map(|&place| self.placed[place].depth).max().unwrap_or(0);
        let most = match shape {
            Shape::Map { .. } => self.limits.channels,
            Shape::Vector(_) => self.limits.features,
        };
        if shape.channels() > most || depth > self.deepest || normalises_one_number(&layer, shape) {
            return None;
        }
        self.placed.push(Placed { layer, inputs: inputs.to_vec(), shape, depth });
        Some(self.placed.len() - 1)
    }

    /// A layer that the limits are known to allow.
    fn must(&mut self, layer: Layer, inputs: &[usize]) -> usize {
        self.layer(layer, inputs).unwrap_or_else(|| panic!("{layer} of {inputs:?} exceeds {:?}", self.limits))
    }

    fn head(&mut self, head: &Head, classes: usize) -> usize {
        self.deepest = self.limits.depth.max(HEAD);
        let last = self.map(0);
        if matches!(head.kind, Kind::ConvLogits) {
            let conv = Conv { bias: head.bias, ..Conv::same(classes, 1) };
            let map = self.must(Layer::Conv(conv), &[last]);
            let mean = self.must(Layer::GlobalAveragePool, &[map]);
            return self.must(Layer::Flatten, &[mean]);
        }
        let mut x = self.vector(last, head.flatten);
        if head.collect {
            x = self.collected(x);
        }
        let linear = |out_features| Layer::Linear { out_features, bias: head.bias };
        match head.kind {
            Kind::Linear | Kind::ConvLogits => self.must(linear(classes), &[x]),
            Kind::Hidden(width) => {
                let hidden = self.must(linear(width), &[x]);
                let relu = self.must(Layer::RELU, &[hidden]);
                self.must(linear(classes), &[relu])
            }
            Kind::Two(width, how) => {
                let hidden = [0, 1].map(|_| self.must(linear(width), &[x]));
                let relu = self.must(Layer::RELU, &[hidden[1]]);
                let joined = self.must(merge(how), &[hidden[0], relu]);
                self.must(linear(classes), &[joined])
            }
            Kind::SumOfLogits => {
                let two = [0, 1].map(|_| self.must(linear(classes), &[x]));
                self.must(Layer::Add, &two)
            }
        }
    }

    fn vector(&mut self, map: usize, flatten: bool) -> usize {
        let flat = if flatten { self.layer(Layer::Flatten, &[map]) } else { None };
        flat.unwrap_or_else(|| {
            let mean = self.must(Layer::GlobalAveragePool, &[map]);
            self.must(Layer::Flatten, &[mean])
        })
    }

    /// The vector together with the means of the maps that nobody reads.
    fn collected(&mut self, x: usize) -> usize {
        let read = |place: usize| self.placed.iter().any(|placed| placed.inputs.contains(&place));
        let loose: Vec<usize> = self.maps.iter().copied().filter(|&map| !read(map)).take(2).collect();
        let vectors = loose.into_iter().map(|map| self.vector(map, false));
        let inputs: Vec<usize> = [x].into_iter().chain(vectors).collect();
        self.layer(Layer::Concat, &inputs).unwrap_or(x)
    }

    /// The architecture of the layers that lead to the logits.
    fn finish(self, logits: usize) -> Architecture {
        let mut wanted = vec![false; self.placed.len()];
        wanted[logits] = true;
        for place in (0..self.placed.len()).rev() {
            if wanted[place] {
                self.placed[place].inputs.iter().for_each(|&input| wanted[input] = true);
            }
        }
        let mut draft = Draft::new(self.placed[0].shape);
        let mut ids = vec![draft.input(); self.placed.len()];
        for (place, placed) in self.placed.iter().enumerate().skip(1).filter(|(place, _)| wanted[*place]) {
            let inputs: Vec<_> = placed.inputs.iter().map(|&input| ids[input]).collect();
            ids[place] = draft.push(placed.layer, &inputs);
        }
        draft.set_output(ids[logits]);
        draft.build().expect("only layers that fit were placed")
    }
}

/// Whether a normalisation takes its mean over a single number, and so yields a constant.
fn normalises_one_number(layer: &Layer, shape: Shape) -> bool {
    let Layer::GroupNorm { grouping, .. } = *layer else { return false };
    shape.elements() == grouping.count(shape.channels())
}

fn merge(how: How) -> Layer {
    match how {
        How::Add => Layer::Add,
        How::Mix => Layer::Mix,
        How::Multiply => Layer::Multiply,
        How::Concat | How::Swapped => Layer::Concat,
    }
}
