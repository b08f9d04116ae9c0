//! Changing the number of channels of a group: what widening and pruning have in common.

use std::collections::BTreeMap;

use crate::Result;
use crate::architecture::{Architecture, ParamKey};
use crate::channels::{ChannelGroup, Channels, Segment, Tie};
use crate::inheritance::{Index, Inheritance, Piece, Source};
use crate::init::{SLOPE, Seed, he_std};
use crate::layer::{Conv, Layer, LayerId, Role};
use crate::morphism::Rewrite;
use crate::select::{Selection, Slices};

/// The deviation of noise relative to that of fresh weights: enough that copies soon differ, and still the lesser part
/// of what a trained kernel weighs.
const NOISE: f64 = 0.1;

/// What becomes of the channels of a group.
pub(crate) enum Resize {
    /// Channel i of the child is a copy of channel `of[i]`; who reads it takes the share `share[i]`, the shares of
    /// the copies of one channel adding up to 1. With a seed for noise, noise that adds up to 0 over those copies comes
    /// on top.
    Replicate { of: Vec<usize>, share: Vec<f64>, noise: Option<u64> },
    /// Channel i of the child is channel `of[i]`, or a fresh one that nobody reads yet.
    Extend { of: Vec<Option<usize>>, seed: u64 },
    /// The best `keep` channels stay.
    Keep(usize),
}

impl Resize {
    fn channels(&self) -> usize {
        match self {
            Self::Replicate { of, .. } => of.len(),
            Self::Extend { of, .. } => of.len(),
            Self::Keep(keep) => *keep,
        }
    }
}

/// Resizes the group at `place` among the groups of `architecture`.
pub(crate) fn resize(
    architecture: &Architecture,
    channels: &Channels,
    place: usize,
    to: &Resize,
) -> Result<Rewrite> {
    let child = resized(architecture, channels, place, to.channels())?;
    let group = &channels.groups[place];
    let mut inheritance = Inheritance::keep(architecture, &child);
    if let Resize::Keep(keep) = to {
        inheritance.selections.push(selection(architecture, channels, place, *keep));
    }
    let mut work = Work { architecture, channels, place, to, inheritance, shapes: BTreeMap::new() };
    // Axis 0 before axis 1: a layer may make and read the same group.
    for axis in [0, 1] {
        for &(layer, tie) in &group.ties {
            work.tie(layer, tie, axis)?;
        }
    }
    Ok(Rewrite { architecture: child, inheritance: work.inheritance })
}

/// The architecture with `size` channels in the group.
fn resized(
    architecture: &Architecture,
    channels: &Channels,
    place: usize,
    size: usize,
) -> Result<Architecture> {
    let mut draft = architecture.draft();
    let total = |layer: LayerId| -> usize {
        let slices = |segment: &Segment| match segment.group == Some(place) {
            true => size * segment.repeat,
            false => segment.len(),
        };
        channels.layout(layer).iter().map(slices).sum()
    };
    for &(id, tie) in &channels.groups[place].ties {
        match (draft.layer_mut(id), tie) {
            (Some(Layer::Conv(conv)), Tie::Makes) => conv.out_channels = size,
            (Some(Layer::Linear { out_features, .. }), Tie::Makes) => *out_features = size,
            (Some(Layer::Conv(conv)), Tie::Follows) => {
                *conv =
                    Conv { out_channels: total(id), groups: total(architecture.node(id).inputs[0]), ..*conv };
            }
            _ => {}
        }
    }
    draft.build()
}

struct Work<'a> {
    architecture: &'a Architecture,
    channels: &'a Channels,
    place: usize,
    to: &'a Resize,
    inheritance: Inheritance,
    /// Shapes of the parameters that have changed.
    shapes: BTreeMap<ParamKey, Vec<usize>>,
}

impl Work<'_> {
    fn tie(&mut self, layer: LayerId, tie: Tie, axis: usize) -> Result<()> {
        let node = self.architecture.node(layer);
        let is_conv = matches!(node.layer, Layer::Conv(_));
        let input = || self.channels.layout(node.inputs[0]).to_vec();
        let (layout, blocks) = match (tie, axis) {
            (Tie::Makes, 0) => (vec![self.whole_group()], 1),
            (Tie::Follows, 0) if is_conv => (self.channels.layout(layer).to_vec(), 1),
            (Tie::Follows, 0) | (Tie::Reads, 1) => (input(), 1),
            (Tie::ReadsInBlocks { blocks }, 1) => (vec![self.whole_group()], blocks),
            (Tie::Makes | Tie::Follows, _) | (Tie::Reads | Tie::ReadsInBlocks { .. }, _) => return Ok(()),
        };
        let channels = self.architecture.input_shape(node).channels();
        for (role, shape) in node.layer.parameters(channels) {
            if axis < shape.len() && (axis == 0 || role == Role::Weight) {
                self.change(ParamKey::new(layer, role), axis, &layout, blocks)?;
            }
        }
        Ok(())
    }

    fn whole_group(&self) -> Segment {
        Segment { group: Some(self.place), channels: self.channels.groups[self.place].channels, repeat: 1 }
    }

    /// Resizes one axis of one parameter, laid out as `layout`; of a grouped convolution's input axis only the
    /// first of `blocks` equal parts is there.
    fn change(&mut self, key: ParamKey, axis: usize, layout: &[Segment], blocks: usize) -> Result<()> {
        let reads = axis == 1;
        let changed = self.shapes.get(&key).cloned();
        let mut shape = changed.or_else(|| self.architecture.parameter(key)).unwrap_or_default();
        let (size, wrap): (usize, Box<dyn FnOnce(Source) -> Source>) = match self.to {
            Resize::Replicate { of, share, noise } => {
                let of = &of[..of.len() / blocks];
                let moved: Vec<(usize, f64)> = of.iter().copied().zip(share.iter().copied()).collect();
                let slices = self.slices(layout, &moved, |&(channel, _)| Some(channel));
                let index: Vec<usize> = slices.iter().filter_map(|(slice, _)| *slice).collect();
                let scale = slices.iter().map(|(_, moved)| moved.map_or(1.0, |&(_, share)| share)).collect();
                let size = index.len();
                let noise = noise.filter(|_| reads).map(|seed| {
                    let shape =
                        shape.iter().enumerate().map(|(at, &old)| if at == axis { size } else { old });
                    self.noise(shape.collect(), axis, layout, of, Seed::of(seed, key))
                });
                let shared = move |source: Source| source.gather(axis, index, reads.then_some(scale));
                (size, Box::new(move |source| with_noise(shared(source), noise)))
            }
            Resize::Extend { of, seed } => {
                let moved = &of[..of.len() / blocks];
                let old = shape[axis];
                let slices = self.slices(layout, moved, |channel| *channel);
                let mut next = old;
                let mut number = || (next, next += 1).0;
                let index: Vec<usize> =
                    slices.iter().map(|(slice, _)| slice.unwrap_or_else(&mut number)).collect();
                let fresh = fresh(key, &shape, axis, next - old, *seed);
                let join = move |source| Source::Join { of: vec![source, fresh], axis };
                let in_order = index.iter().copied().eq(0..index.len());
                let size = index.len();
                let wrap = move |source| match in_order {
                    true => join(source),
                    false => join(source).gather(axis, index, None),
                };
                (size, Box::new(wrap))
            }
            Resize::Keep(keep) => {
                let pieces = self.pieces(layout, blocks);
                let size = self.slices(layout, &vec![0; keep / blocks], |channel| Some(*channel)).len();
                let index = Index::Selected { selection: 0, pieces };
                (
                    size,
                    Box::new(move |source| Source::Gather { of: Box::new(source), axis, index, scale: None }),
                )
            }
        };
        self.inheritance.change(key, wrap);
        shape[axis] = size;
        self.shapes.insert(key, shape);
        Ok(())
    }

    /// The slices of the child's axis: where each comes from in the parent's (none: fresh), and for a slice of the
    /// group the entry of `moved` it belongs to.
    fn slices<'m, T>(
        &self,
        layout: &[Segment],
        moved: &'m [T],
        channel: impl Fn(&T) -> Option<usize>,
    ) -> Vec<(Option<usize>, Option<&'m T>)> {
        let (mut slices, mut start) = (Vec::new(), 0);
        for segment in layout {
            if segment.group == Some(self.place) {
                for entry in moved {
                    let first = channel(entry).map(|channel| start + channel * segment.repeat);
                    slices.extend((0..segment.repeat).map(|j| (first.map(|first| first + j), Some(entry))));
                }
            } else {
                slices.extend((start..start + segment.len()).map(|slice| (Some(slice), None)));
            }
            start += segment.len();
        }
        slices
    }

    /// Noise for the slices that read copies: each has a draw of its own less that of the next copy, so that it adds up to
    /// 0 over the copies of a channel, and is 0 where there is but one.
    fn noise(&self, shape: Vec<usize>, axis: usize, layout: &[Segment], of: &[usize], seed: Seed) -> Source {
        let mut next = Vec::new();
        for segment in layout {
            let start = next.len();
            if segment.group == Some(self.place) {
                let copy = |place| start + next_copy(of, place) * segment.repeat;
                next.extend((0..of.len()).flat_map(|place| copy(place)..copy(place) + segment.repeat));
            } else {
                next.extend(start..start + segment.len());
            }
        }
        // The difference of two draws deviates by the root of two as much.
        let std = NOISE * he_std(&shape) * std::f64::consts::FRAC_1_SQRT_2;
        let draws = Source::Normal { shape, std, seed };
        let minus = vec![-1.0; next.len()];
        Source::Sum { of: vec![draws.clone(), draws.gather(axis, next, Some(minus))] }
    }

    fn pieces(&self, layout: &[Segment], blocks: usize) -> Vec<Piece> {
        let mut start = 0;
        let piece = |segment: &Segment| {
            let first = start;
            start += segment.len();
            match segment.group == Some(self.place) {
                true if blocks > 1 => Piece::ChosenInBlock { blocks },
                true => Piece::Chosen { start: first, repeat: segment.repeat },
                false => Piece::All { start: first, length: segment.len() },
            }
        };
        layout.iter().map(piece).collect()
    }
}

/// The place of the next copy of the channel at `place`, the first one after the last.
fn next_copy(of: &[usize], place: usize) -> usize {
    let mut others = (place + 1..of.len()).chain(0..place);
    others.find(|&other| of[other] == of[place]).unwrap_or(place)
}

fn with_noise(source: Source, noise: Option<Source>) -> Source {
    match noise {
        Some(noise) => Source::Sum { of: vec![source, noise] },
        None => source,
    }
}

/// Fresh slices: kernels drawn anew, batch norms the identity on standardised input, and zeros where they are read.
pub(crate) fn fresh(key: ParamKey, shape: &[usize], axis: usize, slices: usize, seed: u64) -> Source {
    let mut size = shape.to_vec();
    size[axis] = slices;
    match key.role {
        Role::Weight if axis == 0 => {
            Source::Normal { std: he_std(shape), shape: size, seed: Seed::of(seed, key) }
        }
        Role::Gamma | Role::Variance => Source::Constant { shape: size, value: 1.0 },
        Role::Slope => Source::Constant { shape: size, value: SLOPE },
        Role::Weight | Role::Bias | Role::Beta | Role::Mean | Role::Lambda => {
            Source::Constant { shape: size, value: 0.0 }
        }
    }
}

/// What the scores of the group's channels are made of.
fn selection(architecture: &Architecture, channels: &Channels, place: usize, keep: usize) -> Selection {
    let group = &channels.groups[place];
    let ChannelGroup { channels: count, blocks, ties, .. } = group;
    let (mut norms, mut kernels, mut readers) = (Vec::new(), Vec::new(), Vec::new());
    for &(layer, tie) in ties {
        let node = architecture.node(layer);
        let slices =
            |role, axis, start, repeat| Slices { key: ParamKey::new(layer, role), axis, start, repeat };
        match (tie, node.layer) {
            (Tie::Makes, _) => kernels.push(slices(Role::Weight, 0, 0, 1)),
            (Tie::Follows, layer) if layer.is_norm() => norms.extend(
                stretches(channels.layout(node.inputs[0]), place).map(|(s, r)| slices(Role::Gamma, 0, s, r)),
            ),
            (Tie::Reads, _) => readers.extend(
                stretches(channels.layout(node.inputs[0]), place).map(|(s, r)| slices(Role::Weight, 1, s, r)),
            ),
            // A depthwise kernel is one of many factors, and a grouped one lists a block only: neither decides.
            (Tie::Follows | Tie::ReadsInBlocks { .. }, _) => {}
        }
    }
    let makers = if norms.is_empty() { kernels } else { norms };
    Selection { group: group.name(), channels: *count, blocks: *blocks, keep, makers, readers }
}

/// The stretches of an axis that belong to a group: first slice and slices a channel.
fn stretches(layout: &[Segment], place: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut start = 0;
    layout.iter().filter_map(move |segment| {
        let first = start;
        start += segment.len();
        (segment.group == Some(place)).then_some((first, segment.repeat))
    })
}
