//! Nodes that only look at a tensor in another way.

use super::super::constant::{Constant, few_axes, list};
use super::inputs::{Inputs, activation, place};
use super::node::Operator;
use super::view::View;
use super::window::{operand_or_attribute, shape_constant};
use super::{Activation, Importer, Reason, Value};
use crate::layer::Shape;

impl Importer<'_> {
    pub fn shape_of(&self, node: &Operator, x: &Activation) -> Result<Constant, Reason> {
        let dims = shape_constant(&self.dims(x));
        dims.slice(node.int("start").unwrap_or(0), node.int("end").unwrap_or(i64::MAX), 1)
    }

    pub fn flatten(&mut self, node: &Operator, x: &Activation) -> Result<Value, Reason> {
        let axis = place(node.int("axis").unwrap_or(1), self.dims(x).len() + 1)?;
        match axis {
            1 => self.reshape(x, &[self.batch as i64, -1], false),
            // Without a channel more than one, it is the same.
            axis => Err(format!("flattens from axis {axis} on, not 1").into()),
        }
    }

    pub fn squeeze(&mut self, node: &Operator, inputs: Inputs<'_>) -> Result<Value, Reason> {
        let x = activation(inputs, 0)?;
        let axes = operand_or_attribute(node, inputs, 1, "axes")?;
        let dims = self.dims(x);
        let dims = match node.proto.op_type() {
            // Without axes, all of size 1; the batch is not meant, even if it is one.
            "Squeeze" => squeezed(&dims, axes.as_deref(), 1)?,
            _ => unsqueezed(&dims, &axes.ok_or("no axes")?)?,
        };
        let target: Vec<i64> = dims.iter().map(|&size| size as i64).collect();
        self.reshape(x, &target, true)
    }

    pub fn transpose(&mut self, node: &Operator, x: &Activation) -> Result<Value, Reason> {
        let rank = self.dims(x).len();
        let permutation = permutation(node, rank)?;
        let view = match (x.view, permutation.as_slice()) {
            (view, permutation) if permutation.iter().copied().eq(0..rank) => view,
            (View::ChannelsLast, [0, 3, 1, 2]) => View::Plain,
            (View::Split { groups, flat }, [0, 2, 1, rest @ ..]) if rest.iter().copied().eq(3..rank) => {
                View::Swapped { groups, flat }
            }
            (View::Groups(groups), [0, 2, 1]) if matches!(self.shapes[&x.layer], Shape::Vector(_)) => {
                View::Swapped { groups, flat: false }
            }
            _ => {
                return Err(format!(
                    "the permutation {permutation:?}; taken are [0, 3, 1, 2] on images and the one of a channel shuffle"
                )
                .into());
            }
        };
        Ok(Value::Activation(Activation { view, ..x.clone() }))
    }

    pub fn softmax(&mut self, node: &Operator, x: &Activation) -> Result<Value, Reason> {
        let rank = self.dims(x).len();
        let axis = place(node.int("axis").unwrap_or(if self.opset < 13 { 1 } else { -1 }), rank)?;
        let layer = self.plain(x)?;
        if axis != 1 || self.shapes[&layer].spatial() != (1, 1) {
            return Err("a softmax over something else than the classes".into());
        }
        Ok(Value::Activation(Activation { softmax: true, ..x.clone() }))
    }
}

pub(super) fn permutation(node: &Operator, rank: usize) -> Result<Vec<usize>, Reason> {
    let Some(axes) = node.ints("perm") else { return Ok((0..rank).rev().collect()) };
    let places = axes.iter().map(|&axis| place(axis, rank)).collect::<Result<Vec<_>, _>>()?;
    let mut sorted = places.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..rank) {
        return Err(format!("perm {} on {rank} axes", list(&axes)).into());
    }
    Ok(places)
}

/// Sizes without some that are 1; without axes, all of them from `first` on.
pub(super) fn squeezed(dims: &[usize], axes: Option<&[i64]>, first: usize) -> Result<Vec<usize>, Reason> {
    let drop: Vec<usize> = match axes {
        Some(axes) => axes.iter().map(|&axis| place(axis, dims.len())).collect::<Result<_, _>>()?,
        None => (first..dims.len()).filter(|&axis| dims[axis] == 1).collect(),
    };
    if drop.iter().any(|&axis| dims[axis] != 1) {
        return Err(format!("squeezes the axes {} of {dims:?}", list(&drop)).into());
    }
    Ok((0..dims.len()).filter(|axis| !drop.contains(axis)).map(|axis| dims[axis]).collect())
}

pub(super) fn unsqueezed(dims: &[usize], axes: &[i64]) -> Result<Vec<usize>, Reason> {
    let rank = dims.len() + axes.len();
    few_axes(rank)?;
    let new = axes.iter().map(|&axis| place(axis, rank)).collect::<Result<Vec<_>, _>>()?;
    let mut old = dims.iter();
    let sizes = (0..rank).map(|axis| if new.contains(&axis) { Some(1) } else { old.next().copied() });
    let sizes: Option<Vec<usize>> = sizes.collect();
    sizes
        .filter(|_| old.next().is_none())
        .ok_or_else(|| format!("axes {} are not distinct", list(axes)).into())
}
