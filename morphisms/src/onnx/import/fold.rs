//! Nodes that read constants alone.

use super::super::constant::{Arithmetic, Constant, count};
use super::super::tensor::{self, Beside};
use super::inputs::{Inputs, constant, place};
use super::node::Operator;
use super::shape::{permutation, squeezed, unsqueezed};
use super::window::{operand_or_attribute, shape_constant};
use super::{Importer, Reason};

impl Importer<'_> {
    /// What a node yields that reads constants alone.
    pub fn fold(&mut self, node: &Operator, inputs: Inputs<'_>) -> Result<Constant, Reason> {
        if node.proto.op_type() == "Constant" {
            let stored = literal(node)?;
            self.may_compute_from(&stored);
            return Ok(stored);
        }
        // What it makes is counted when it is there; of what is too much there is no more than this once.
        self.compute(1)?;
        let made = self.folded(node, inputs)?;
        self.compute(made.held())?;
        Ok(made)
    }

    fn folded(&self, node: &Operator, inputs: Inputs<'_>) -> Result<Constant, Reason> {
        let axes = |place: usize| operand_or_attribute(node, inputs, place, "axes");
        let combine = |operation| constant(inputs, 0)?.combine(operation, constant(inputs, 1)?);
        match node.proto.op_type() {
            "ConstantOfShape" => filled(node, constant(inputs, 0)?, self.room),
            "Identity" | "Dropout" => Ok(constant(inputs, 0)?.clone()),
            "Cast" => match node.int("to") {
                Some(1 | 10 | 11 | 16) => constant(inputs, 0)?.to_floats(),
                Some(2..=7 | 9 | 12 | 13) => constant(inputs, 0)?.to_ints(),
                other => Err(format!("a cast to the type {other:?}").into()),
            },
            "Shape" => Ok(shape_constant(constant(inputs, 0)?.dims())),
            "Gather" => match node.int("axis").unwrap_or(0) {
                0 => constant(inputs, 0)?.gather(constant(inputs, 1)?),
                axis => Err(format!("entries along axis {axis} of a constant").into()),
            },
            "Concat" => {
                let parts = (0..inputs.len()).map(|place| constant(inputs, place));
                Constant::concat(&parts.collect::<Result<Vec<_>, _>>()?)
            }
            "Slice" => {
                let bound = |place, name| operand_or_attribute(node, inputs, place, name);
                match [bound(1, "starts")?, bound(2, "ends")?, bound(3, "axes")?, bound(4, "steps")?] {
                    [Some(start), Some(end), axes, steps]
                        if start.len() == 1
                            && end.len() == 1
                            && axes.as_ref().is_none_or(|axes| *axes == [0]) =>
                    {
                        let step = steps.as_ref().map_or(Some(&1), |steps| steps.first());
                        constant(inputs, 0)?.slice(start[0], end[0], *step.ok_or("no step")?)
                    }
                    _ => Err("a slice of more than one axis".into()),
                }
            }
            "Reshape" => {
                let target = constant(inputs, 1)?.as_ints()?;
                constant(inputs, 0)?.reshape(target, node.int("allowzero") == Some(1))
            }
            "Flatten" => {
                let dims = constant(inputs, 0)?.dims();
                let axis = place(node.int("axis").unwrap_or(1), dims.len() + 1)?;
                let (rows, columns) = dims.split_at(axis);
                constant(inputs, 0)?.with_dims(&[rows.iter().product(), columns.iter().product()])
            }
            "Squeeze" => {
                let dims = squeezed(constant(inputs, 0)?.dims(), axes(1)?.as_deref(), 0)?;
                constant(inputs, 0)?.with_dims(&dims)
            }
            "Unsqueeze" => {
                let dims = unsqueezed(constant(inputs, 0)?.dims(), &axes(1)?.ok_or("no axes")?)?;
                constant(inputs, 0)?.with_dims(&dims)
            }
            "Transpose" => {
                let rank = constant(inputs, 0)?.dims().len();
                constant(inputs, 0)?.transpose(&permutation(node, rank)?)
            }
            "Add" => combine(Arithmetic::Add),
            "Sub" => combine(Arithmetic::Sub),
            "Mul" => combine(Arithmetic::Mul),
            "Div" => combine(Arithmetic::Div),
            _ => Err("taken on what depends on the images only".into()),
        }
    }
}

/// The value of a Constant.
fn literal(node: &Operator) -> Result<Constant, Reason> {
    if let Some(stored) = node.tensor("value") {
        return tensor::read(stored, &mut Beside::default());
    }
    if let Some(value) = node.int("value_int") {
        return Constant::stored_ints(vec![], vec![value]);
    }
    if let Some(values) = node.ints("value_ints") {
        return Constant::stored_ints(vec![values.len()], values);
    }
    if let Some(value) = node.float("value_float") {
        return Constant::full(value, &[]);
    }
    match node.floats("value_floats") {
        Some(values) => Ok(Constant::Floats(candle_core::Tensor::new(values, &candle_core::Device::Cpu)?)),
        None => Err("a constant that is neither numbers nor a tensor".into()),
    }
}

/// ConstantOfShape: of at most `room` numbers.
fn filled(node: &Operator, shape: &Constant, room: usize) -> Result<Constant, Reason> {
    let size = |&size: &i64| usize::try_from(size).map_err(|_| Reason::from(format!("a size of {size}")));
    let dims = shape.as_ints()?.iter().map(size).collect::<Result<Vec<_>, _>>()?;
    let count = count(&dims)?;
    if count > room {
        return Err(format!("{count} numbers; {room} more are taken").into());
    }
    let value = node.tensor("value").map(|stored| tensor::read(stored, &mut Beside::default()));
    match value.transpose()? {
        None => Constant::full(0.0, &dims),
        Some(Constant::Ints { values, .. }) => Constant::full_int(*values.first().ok_or("no value")?, &dims),
        Some(value @ Constant::Floats(_)) => {
            Constant::full(value.as_scalar().ok_or("its value is not one number")? as f32, &dims)
        }
    }
}
