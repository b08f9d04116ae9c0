//! What a node reads.

use super::super::constant::Constant;
use super::{Activation, Reason, Value};

pub(super) type Inputs<'v> = &'v [Option<Value>];

/// The tensor in place `place`, which must be there.
pub(super) fn input(inputs: Inputs<'_>, place: usize) -> Result<&Value, Reason> {
    let value = inputs.get(place).and_then(Option::as_ref);
    value.ok_or_else(|| format!("its input {} is missing", place + 1).into())
}

pub(super) fn activation(inputs: Inputs<'_>, place: usize) -> Result<&Activation, Reason> {
    match input(inputs, place)? {
        Value::Activation(activation) => Ok(activation),
        _ => Err(format!("its input {} does not depend on the images", place + 1).into()),
    }
}

pub(super) fn constant(inputs: Inputs<'_>, place: usize) -> Result<&Constant, Reason> {
    match input(inputs, place)? {
        Value::Constant(constant) => Ok(constant),
        _ => Err(format!("its input {} depends on the images", place + 1).into()),
    }
}

pub(super) fn optional(inputs: Inputs<'_>, place: usize) -> Result<Option<&Constant>, Reason> {
    match inputs.get(place) {
        Some(Some(_)) => constant(inputs, place).map(Some),
        Some(None) | None => Ok(None),
    }
}

/// A whole number, as attributes and shapes hold it, as a place among `length`.
pub(super) fn place(axis: i64, length: usize) -> Result<usize, Reason> {
    let place = if axis < 0 { axis.saturating_add(length as i64) } else { axis };
    let place = usize::try_from(place).ok().filter(|&place| place < length);
    place.ok_or_else(|| format!("axis {axis} of {length}").into())
}

/// The decimal number that was meant: 0.1 in f32 is not 0.1 in f64.
pub(super) fn exact(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}
