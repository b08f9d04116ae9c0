//! Channel groups: the channels that must change together.
//!
//! Widening or pruning a convolution changes the tensor it makes, and with it every layer that works on that tensor
//! channel by channel, whatever is added to it, and the kernels that read it. These ties are computed here once, so
//! that the morphisms need not know the layers in between. The idea is that of dependency graphs in structured
//! pruning (Fang et al., "DepGraph", CVPR 2023).

use std::rc::Rc;
use std::sync::Arc;

use crate::architecture::{Architecture, Node};
use crate::layer::{Conv, Grouping, Layer, LayerId};

/// Segments of a tensor's channel axis of which each may change by itself. A dense block of DenseNet-264 has 64.
const MOST_PIECES: usize = 1024;

/// A stretch of a tensor's channel axis that belongs to one group: `repeat` slices for each of its channels, the
/// slices of a channel side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Place in [`Channels::groups`]; none if the channels cannot change.
    pub group: Option<usize>,
    /// Channels of the group.
    pub channels: usize,
    /// Slices a channel: the multiplier of depthwise convolutions, height times width behind a flatten.
    pub repeat: usize,
}

impl Segment {
    /// Slices.
    #[expect(clippy::len_without_is_empty, reason = "in a valid architecture it never is")]
    pub fn len(&self) -> usize {
        self.channels * self.repeat
    }
}

/// How a layer's parameters hang on a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tie {
    /// A convolution or linear layer makes the channels: axis 0 of its weight and bias.
    Makes,
    /// A normalisation, PReLU or depthwise convolution has parameters channel by channel: axis 0 of all of them.
    Follows,
    /// A convolution or linear layer reads the channels: axis 1 of its weight.
    Reads,
    /// A grouped convolution reads the channels: axis 1 of its weight lists those of one block.
    ReadsInBlocks {
        /// Its groups.
        blocks: usize,
    },
}

/// Channels that change together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelGroup {
    /// How many.
    pub channels: usize,
    /// Blocks of equally many channels that must change alike, because of grouped convolutions; 1: none.
    pub blocks: usize,
    /// Whether growing must give every channel equally many copies: a layer or group norm takes means over them.
    pub even: bool,
    /// The layers whose parameters hang on the group, in the order of their ids.
    pub ties: Vec<(LayerId, Tie)>,
}

impl ChannelGroup {
    /// The first layer that makes the channels; it names the group.
    pub fn name(&self) -> LayerId {
        self.ties.iter().find(|(_, tie)| *tie == Tie::Makes).map_or(LayerId(0), |&(layer, _)| layer)
    }
}

/// The channel groups of an architecture.
#[derive(Debug, Clone)]
pub struct Channels {
    /// The groups that can change, in the order of their names. Those that touch the image or the logits cannot,
    /// nor can those whose ties do not line up.
    pub groups: Vec<ChannelGroup>,
    /// Sorted by id; shared by neighbours that leave the channels where they are.
    layouts: Vec<(LayerId, Arc<[Segment]>)>,
}

impl Channels {
    /// Computes the groups.
    pub fn of(architecture: &Architecture) -> Self {
        let mut ties = Ties::default();
        for node in architecture.nodes() {
            ties.visit(architecture, node);
        }
        let logits = ties.layouts[architecture.place(architecture.output())].clone();
        logits.iter().for_each(|segment| ties.freeze(segment.set));
        ties.finish(architecture)
    }

    /// The channel axis of a layer's output, segment by segment.
    ///
    /// # Panics
    /// If the architecture has no such layer.
    pub fn layout(&self, layer: LayerId) -> &[Segment] {
        match self.layouts.binary_search_by_key(&layer, |entry| entry.0) {
            Ok(place) => &self.layouts[place].1,
            Err(_) => panic!("no layer {layer} in this architecture"),
        }
    }

    /// The group that layer `name` names.
    pub fn named(&self, name: LayerId) -> Option<usize> {
        self.groups.iter().position(|group| group.name() == name)
    }
}

/// A segment before sets are joined and numbered.
#[derive(Debug, Clone, Copy)]
struct Open {
    set: usize,
    channels: usize,
    repeat: usize,
}

#[derive(Debug)]
struct Set {
    parent: usize,
    channels: usize,
    blocks: usize,
    even: bool,
    frozen: bool,
    ties: Vec<(LayerId, Tie)>,
}

/// Sets of tied channels, joined as the layers are visited (union-find).
#[derive(Debug, Default)]
struct Ties {
    sets: Vec<Set>,
    /// Of the layers so far, in topological order. Shared by those that leave the channels where they are.
    layouts: Vec<Rc<[Open]>>,
}

impl Ties {
    fn visit(&mut self, architecture: &Architecture, node: &Node) {
        let layout = |&input: &LayerId| self.layouts[architecture.place(input)].clone();
        let inputs: Vec<Rc<[Open]>> = node.inputs.iter().map(layout).collect();
        let layout = match &node.layer {
            Layer::Input => {
                let made = self.make(node, node.shape.channels());
                self.freeze(made.set);
                self.sets[made.set].ties.clear();
                Rc::from([made])
            }
            Layer::Conv(conv) => self.conv(node, conv, &inputs[0], architecture.input_shape(node).channels()),
            Layer::Linear { out_features, .. } => {
                self.tie(&inputs[0], node, Tie::Reads);
                Rc::from([self.make(node, *out_features)])
            }
            Layer::BatchNorm { .. } | Layer::Prelu => {
                self.tie(&inputs[0], node, Tie::Follows);
                inputs[0].clone()
            }
            Layer::GroupNorm { grouping, .. } => {
                self.tie(&inputs[0], node, Tie::Follows);
                self.average(*grouping, &inputs[0]);
                inputs[0].clone()
            }
            // A response reaches over to the channels beside it, and what is put between them moves them away.
            Layer::LocalResponseNorm { .. } => {
                inputs[0].iter().for_each(|piece| self.freeze(piece.set));
                inputs[0].clone()
            }
            // One group leaves the channels where they are. Others scatter those of a piece, and as many groups as channels
            // would be too few after growing. What cannot change may be laid out as before.
            Layer::ChannelShuffle { groups } => {
                if *groups > 1 {
                    inputs[0].iter().for_each(|piece| self.freeze(piece.set));
                }
                inputs[0].clone()
            }
            Layer::Activation(_)
            | Layer::Scale { .. }
            | Layer::Dropout { .. }
            | Layer::Pool { .. }
            | Layer::GlobalAveragePool => inputs[0].clone(),
            Layer::Flatten => {
                let (height, width) = architecture.input_shape(node).spatial();
                repeated(&inputs[0], height * width)
            }
            Layer::Add | Layer::Mix | Layer::Multiply => {
                inputs[1..].iter().for_each(|other| self.align(&inputs[0], other));
                inputs[0].clone()
            }
            Layer::Concat => self.concat(&inputs, node.shape.channels()),
        };
        self.layouts.push(layout);
    }

    fn conv(&mut self, node: &Node, conv: &Conv, input: &[Open], in_channels: usize) -> Rc<[Open]> {
        if conv.is_depthwise(in_channels) {
            self.tie(input, node, Tie::Follows);
            return repeated(input, conv.out_channels / in_channels);
        }
        let made = self.make(node, conv.out_channels);
        if conv.groups == 1 {
            self.tie(input, node, Tie::Reads);
            return Rc::from([made]);
        }
        self.need_blocks(made.set, conv.groups);
        match input {
            [Open { set, repeat: 1, .. }] => {
                self.need_blocks(*set, conv.groups);
                self.tie(input, node, Tie::ReadsInBlocks { blocks: conv.groups });
            }
            // The blocks of the convolution cut across channels of several origins.
            pieces => pieces.iter().for_each(|piece| self.freeze(piece.set)),
        }
        Rc::from([made])
    }

    /// Pieces side by side. Forty concatenations of a tensor and itself are 2^40 of them, so where there are too many,
    /// none can change.
    fn concat(&mut self, inputs: &[Rc<[Open]>], channels: usize) -> Rc<[Open]> {
        let pieces = inputs.iter().flat_map(|input| input.iter());
        if inputs.iter().map(|input| input.len()).sum::<usize>() <= MOST_PIECES {
            return pieces.copied().collect();
        }
        pieces.for_each(|piece| self.freeze(piece.set));
        let set = self.sets.len();
        self.sets.push(Set { parent: set, channels, blocks: 1, even: false, frozen: true, ties: Vec::new() });
        Rc::from([Open { set, channels, repeat: 1 }])
    }

    fn make(&mut self, node: &Node, channels: usize) -> Open {
        let set = self.sets.len();
        let ties = vec![(node.id, Tie::Makes)];
        self.sets.push(Set { parent: set, channels, blocks: 1, even: false, frozen: false, ties });
        Open { set, channels, repeat: 1 }
    }

    fn tie(&mut self, layout: &[Open], node: &Node, tie: Tie) {
        for segment in layout {
            let root = self.root(segment.set);
            self.sets[root].ties.push((node.id, tie));
        }
    }

    fn freeze(&mut self, set: usize) {
        let root = self.root(set);
        self.sets[root].frozen = true;
    }

    fn need_blocks(&mut self, set: usize, blocks: usize) {
        let root = self.root(set);
        self.sets[root].blocks = least_common_multiple(self.sets[root].blocks, blocks);
    }

    /// Ties channels that a normalisation averages over. Copies keep the average if every channel gets equally many;
    /// beside channels of another origin, which get none, they would not.
    fn average(&mut self, grouping: Grouping, layout: &[Open]) {
        let blocks = match grouping {
            Grouping::Each => return,
            Grouping::All => 1,
            Grouping::Groups(groups) => groups,
        };
        match *layout {
            [Open { set, channels, .. }] if channels % blocks == 0 => {
                self.need_blocks(set, blocks);
                let root = self.root(set);
                self.sets[root].even = true;
            }
            _ => layout.iter().for_each(|piece| self.freeze(piece.set)),
        }
    }

    /// Ties two tensors channel by channel. Where their segments do not line up, nothing of them can change.
    fn align(&mut self, a: &[Open], b: &[Open]) {
        let alike = |(a, b): (&Open, &Open)| (a.channels, a.repeat) == (b.channels, b.repeat);
        if a.len() == b.len() && a.iter().zip(b).all(alike) {
            a.iter().zip(b).for_each(|(a, b)| self.join(a.set, b.set));
        } else {
            a.iter().chain(b).for_each(|segment| self.freeze(segment.set));
        }
    }

    fn root(&self, mut set: usize) -> usize {
        while self.sets[set].parent != set {
            set = self.sets[set].parent;
        }
        set
    }

    fn join(&mut self, a: usize, b: usize) {
        let (mut a, mut b) = (self.root(a), self.root(b));
        if a == b {
            return;
        }
        // The larger set stays, so that many joins in a row take no time by their square.
        if self.sets[a].ties.len() < self.sets[b].ties.len() {
            (a, b) = (b, a);
        }
        let Set { blocks, even, frozen, ref mut ties, .. } = self.sets[b];
        let ties = std::mem::take(ties);
        self.sets[b].parent = a;
        let set = &mut self.sets[a];
        set.ties.extend(ties);
        set.even |= even;
        set.frozen |= frozen;
        set.blocks = least_common_multiple(set.blocks, blocks);
    }

    fn finish(mut self, architecture: &Architecture) -> Channels {
        let mut groups: Vec<(usize, ChannelGroup)> = Vec::new();
        for place in 0..self.sets.len() {
            let Set { parent, channels, blocks, even, frozen, ref mut ties } = self.sets[place];
            if parent == place && !frozen {
                let mut ties = std::mem::take(ties);
                ties.sort_unstable();
                ties.dedup();
                groups.push((place, ChannelGroup { channels, blocks, even, ties }));
            }
        }
        groups.sort_by_key(|(_, group)| group.name());
        let mut places = vec![None; self.sets.len()];
        groups.iter().enumerate().for_each(|(place, &(set, _))| places[set] = Some(place));
        let layouts = self.segments(architecture, &places);
        Channels { groups: groups.into_iter().map(|(_, group)| group).collect(), layouts }
    }

    /// The layouts with the places of their groups, by layer.
    fn segments(
        &self,
        architecture: &Architecture,
        places: &[Option<usize>],
    ) -> Vec<(LayerId, Arc<[Segment]>)> {
        let segment = |open: &Open| Segment {
            group: places[self.root(open.set)],
            channels: open.channels,
            repeat: open.repeat,
        };
        let mut layouts: Vec<(LayerId, Arc<[Segment]>)> = Vec::with_capacity(self.layouts.len());
        for (at, (node, layout)) in architecture.nodes().zip(&self.layouts).enumerate() {
            // Most have the layout of the layer before.
            let shared = at > 0 && Rc::ptr_eq(layout, &self.layouts[at - 1]);
            let segments =
                if shared { layouts[at - 1].1.clone() } else { layout.iter().map(segment).collect() };
            layouts.push((node.id, segments));
        }
        layouts.sort_by_key(|&(id, _)| id);
        layouts
    }
}

fn repeated(layout: &[Open], times: usize) -> Rc<[Open]> {
    layout.iter().map(|segment| Open { repeat: segment.repeat * times, ..*segment }).collect()
}

fn least_common_multiple(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y > 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::Draft;
    use crate::layer::Shape;

    /// Of what is drawn behind the image, with a head.
    fn groups(draw: impl FnOnce(&mut Draft) -> LayerId) -> Vec<ChannelGroup> {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let end = draw(&mut draft);
        draft.head(end, 2);
        Channels::of(&draft.build().unwrap()).groups
    }

    fn conv(draft: &mut Draft, channels: usize) -> LayerId {
        draft.push(Layer::Conv(Conv::same(channels, 3)), &[draft.input()])
    }

    fn norm(draft: &mut Draft, x: LayerId, grouping: Grouping) -> LayerId {
        draft.push(Layer::GroupNorm { grouping, eps: Layer::EPS }, &[x])
    }

    #[test]
    fn what_is_added_to_averaged_channels_grows_evenly_too() {
        for both in [false, true] {
            let found = groups(|draft| {
                let [a, b] = [4, 4].map(|channels| conv(draft, channels));
                let a = if both { norm(draft, a, Grouping::All) } else { a };
                let b = norm(draft, b, Grouping::All);
                draft.push(Layer::Add, &[a, b])
            });
            assert_eq!(found.iter().map(|group| group.even).collect::<Vec<_>>(), [true], "both: {both}");
        }
    }

    #[test]
    fn tensors_of_other_pieces_cannot_change_when_added() {
        let found = groups(|draft| {
            let joined = [[3, 1], [2, 2]].map(|pieces| {
                let pieces = pieces.map(|channels| conv(draft, channels));
                draft.push(Layer::Concat, &pieces)
            });
            draft.push(Layer::Add, &joined)
        });
        assert_eq!(found, []);
    }

    #[test]
    fn what_cannot_change_still_cannot_when_added_to_its_like() {
        let found = groups(|draft| {
            let pair = [4, 4].map(|channels| conv(draft, channels));
            let joined = draft.push(Layer::Concat, &pair);
            let averaged = norm(draft, joined, Grouping::All);
            let sum = draft.push(Layer::Add, &pair);
            draft.push(Layer::Concat, &[averaged, sum])
        });
        assert_eq!(found, []);
    }

    #[test]
    fn channels_that_blocks_of_a_group_norm_cut_cannot_change() {
        let found = groups(|draft| {
            let x = conv(draft, 3);
            let six = draft.push(Layer::Conv(Conv { out_channels: 6, ..Conv::depthwise(3, 3) }), &[x]);
            norm(draft, six, Grouping::Groups(2))
        });
        assert_eq!(found, []);
    }

    /// Nor can what is added to them.
    #[test]
    fn shuffled_channels_and_those_of_a_local_response_cannot_change() {
        let response = Layer::LocalResponseNorm { size: 3, alpha: 1.0, beta: 0.75, bias: 1.0 };
        let shuffle = |groups| Layer::ChannelShuffle { groups };
        for (layer, count) in [(response, 0), (shuffle(2), 0), (shuffle(4), 0), (shuffle(1), 1)] {
            let found = groups(|draft| {
                let [x, other] = [4, 4].map(|channels| conv(draft, channels));
                let changed = draft.push(layer, &[x]);
                draft.push(Layer::Add, &[changed, other])
            });
            assert_eq!(found.len(), count, "{layer}");
        }
    }

    #[test]
    fn blocks_are_the_least_that_suit_all() {
        let found = groups(|draft| {
            let x = conv(draft, 8);
            let grouped = |groups| Layer::Conv(Conv { groups, ..Conv::same(8, 3) });
            let read = [2, 2, 4].map(|groups| draft.push(grouped(groups), &[x]));
            draft.push(Layer::Add, &read)
        });
        assert_eq!(found.iter().map(|group| group.blocks).collect::<Vec<_>>(), [4, 4]);
    }
}
