//! The shapes of sources, known before anything is allocated: an inheritance may come from a file.

use std::cell::Cell;

use crate::architecture::Architecture;
use crate::inheritance::{Index, Piece, Source};
use crate::network::Network;
use crate::select::Selection;
use crate::weights::Weights;
use crate::{Error, Result};

/// No source yields more numbers than this, 2 GiB of f64.
const LARGEST: usize = 1 << 28;
/// All sources together compute no more numbers than this, steps in between included, for each number of the parent.
const EACH: usize = 1 << 10;
/// And for each number of the child, where it is known.
const EACH_OF_CHILD: usize = 1 << 4;
/// And this, if there are no numbers.
const FEW: usize = 1 << 22;
/// A factorisation goes over a kernel many times.
const FACTOR: usize = 1 << 6;

/// What shapes are read off.
pub(crate) struct Extents<'a> {
    parent: &'a Weights,
    /// For symbolic sources: the parent itself, and how many channels each selection keeps.
    symbolic: Option<(&'a Network, &'a [Selection])>,
    /// The child, where it is known: it may be much larger than its parent.
    child: Option<&'a Architecture>,
    /// How many numbers may still be computed.
    room: Cell<usize>,
    /// Whether parent and child have been counted: a child that changes little does not need to know how large they are.
    counted: Cell<bool>,
}

impl<'a> Extents<'a> {
    /// For all sources of one inheritance.
    pub(crate) fn new(parent: &'a Weights, symbolic: Option<(&'a Network, &'a [Selection])>) -> Self {
        Self { parent, symbolic, child: None, room: Cell::new(FEW), counted: Cell::new(false) }
    }

    /// For a child that is known.
    pub(crate) fn of_child(self, child: &'a Architecture) -> Self {
        Self { child: Some(child), ..self }
    }

    /// How many numbers parent and child account for.
    fn accounted(&self) -> usize {
        let sizes = self.parent.iter().map(|(_, tensor)| tensor.elem_count());
        let parent = sizes.fold(0, usize::saturating_add).saturating_mul(EACH);
        let child = self.child.map_or(0, Architecture::parameter_count);
        let child = usize::try_from(child).unwrap_or(usize::MAX).saturating_mul(EACH_OF_CHILD);
        parent.saturating_add(child)
    }

    /// The shape of what a source yields.
    ///
    /// # Errors
    /// [`Error::Weights`] when its parts do not fit each other or the parent, or it is too large.
    pub(crate) fn of(&self, source: &Source) -> Result<Vec<usize>> {
        match source {
            Source::Parent(key) => Ok(self.parent.get(*key)?.dims().to_vec()),
            Source::Gather { of, axis, index, scale } => {
                let mut shape = self.of(of)?;
                let size = along(&shape, *axis)?;
                shape[*axis] = self.gathered(index, size)?;
                match scale {
                    Some(scale) if scale.len() != shape[*axis] => {
                        Err(invalid(format!("{} scales for {} slices", scale.len(), shape[*axis])))
                    }
                    _ => self.sized(shape),
                }
            }
            Source::Join { of, axis } => self.joined(of, *axis),
            Source::Sum { of } => self.summed(of),
            Source::Dirac { channels, kernel } => self.sized(vec![*channels, *channels, kernel.0, kernel.1]),
            Source::Constant { shape, .. } => self.sized(shape.clone()),
            Source::Normal { shape, std, .. } => {
                let shape = self.sized(shape.clone())?;
                if std.is_finite() { Ok(shape) } else { Err(invalid("a deviation that is not finite")) }
            }
            Source::Values { shape, values } => {
                let shape = self.sized(shape.clone())?;
                match shape.iter().product::<usize>() == values.len() {
                    true => Ok(shape),
                    false => Err(invalid(format!("{} values of shape {shape:?}", values.len()))),
                }
            }
            Source::Factor { of, part } => match self.of(of)?[..] {
                [out, channels, height, width] => {
                    let taps = [out, channels, height, width].iter().product::<usize>();
                    self.take(taps.saturating_mul(FACTOR))?;
                    self.sized(part.shape(out, channels, (height, width)))
                }
                ref other => Err(invalid(format!("expected a kernel to factorise, found shape {other:?}"))),
            },
            Source::Statistic { layer, .. } => {
                let (network, _) = self.symbolic.ok_or_else(unresolved)?;
                let node = network.architecture().get(*layer);
                let node = node
                    .ok_or_else(|| invalid(format!("statistics of layer {layer}, which does not exist")))?;
                Ok(vec![node.shape.channels()])
            }
        }
    }

    fn joined(&self, of: &[Source], axis: usize) -> Result<Vec<usize>> {
        let shapes = of.iter().map(|part| self.of(part)).collect::<Result<Vec<_>>>()?;
        let (first, rest) = shapes.split_first().ok_or_else(|| invalid("nothing to join"))?;
        let mut whole = first.clone();
        along(&whole, axis)?;
        for shape in rest {
            let fits =
                shape.len() == first.len() && (0..shape.len()).all(|i| i == axis || shape[i] == first[i]);
            if !fits {
                return Err(invalid(format!("shapes {first:?} and {shape:?} do not join along axis {axis}")));
            }
            whole[axis] = whole[axis].saturating_add(shape[axis]);
        }
        self.sized(whole)
    }

    fn summed(&self, of: &[Source]) -> Result<Vec<usize>> {
        let shapes = of.iter().map(|part| self.of(part)).collect::<Result<Vec<_>>>()?;
        let (first, rest) = shapes.split_first().ok_or_else(|| invalid("nothing to add"))?;
        match rest.iter().find(|shape| *shape != first) {
            Some(shape) => Err(invalid(format!("shapes {first:?} and {shape:?} do not add up"))),
            None => self.sized(first.clone()),
        }
    }

    /// A shape that numbers are computed for.
    fn sized(&self, shape: Vec<usize>) -> Result<Vec<usize>> {
        let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        match count {
            Some(count) if (1..=LARGEST).contains(&count) => self.take(count).map(|()| shape),
            _ => Err(invalid(format!("a tensor of shape {shape:?}; expected 1 to {LARGEST} numbers"))),
        }
    }

    fn take(&self, count: usize) -> Result<()> {
        if count > self.room.get() && !self.counted.replace(true) {
            self.room.set(self.room.get().saturating_add(self.accounted()));
        }
        let left = self.room.get().checked_sub(count);
        self.room
            .set(left.ok_or_else(|| invalid("more numbers are computed than parent and child account for"))?);
        Ok(())
    }

    /// How many slices an index takes of an axis of `size`.
    fn gathered(&self, index: &Index, size: usize) -> Result<usize> {
        match index {
            Index::Fixed(index) => match index.iter().find(|&&slice| slice >= size) {
                Some(slice) => Err(invalid(format!("slice {slice} of an axis of {size}"))),
                None => Ok(index.len()),
            },
            Index::Selected { selection, pieces } => {
                let (_, selections) = self.symbolic.ok_or_else(unresolved)?;
                let chosen = selections.get(*selection);
                let chosen =
                    chosen.ok_or_else(|| invalid(format!("selection {selection} does not exist")))?;
                let slices = pieces.iter().map(|piece| taken(piece, chosen, size));
                slices
                    .sum::<Option<usize>>()
                    .ok_or_else(|| invalid(format!("{pieces:?} of an axis of {size}")))
            }
        }
    }
}

/// How many slices a piece takes, none if it reaches beyond the axis.
fn taken(piece: &Piece, selection: &Selection, size: usize) -> Option<usize> {
    let within = |end: Option<usize>, taken| end.filter(|&end| end <= size).and(taken);
    match *piece {
        Piece::All { start, length } => within(start.checked_add(length), Some(length)),
        Piece::Chosen { start, repeat } => within(
            selection.channels.checked_mul(repeat).and_then(|length| length.checked_add(start)),
            selection.keep.checked_mul(repeat),
        ),
        Piece::ChosenInBlock { blocks } => {
            within(selection.channels.checked_div(blocks), selection.keep.checked_div(blocks))
        }
    }
}

fn along(shape: &[usize], axis: usize) -> Result<usize> {
    shape.get(axis).copied().ok_or_else(|| invalid(format!("axis {axis} of shape {shape:?}")))
}

fn invalid(problem: impl std::fmt::Display) -> Error {
    Error::Weights(format!("the inheritance does not fit: {problem}"))
}

pub(crate) fn unresolved() -> Error {
    Error::Weights("a symbolic inheritance must be resolved before it is applied".into())
}
