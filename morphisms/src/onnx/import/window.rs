//! Windows: how ONNX pads them.

use super::super::constant::{Constant, list};
use super::node::Operator;
use super::{Reason, Value};

/// A window along both axes, (height, width).
#[derive(Debug, Clone, Copy)]
pub(super) struct Windows {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    /// Top, left, bottom, right.
    pub padding: [usize; 4],
    /// Padding at the bottom and the right that only rounding up brings, beyond `padding`.
    pub rounding: [usize; 2],
}

impl Windows {
    /// The window of a convolution or pooling over a map of `size`.
    pub fn of(operator: &Operator, kernel: [usize; 2], size: (usize, usize)) -> Result<Self, Reason> {
        let stride = pair(operator, "strides")?.unwrap_or([1, 1]);
        let dilation = pair(operator, "dilations")?.unwrap_or([1, 1]);
        if stride.contains(&0) || dilation.contains(&0) || kernel.contains(&0) {
            return Err("a kernel, stride or dilation of 0".into());
        }
        let mut window = Self { kernel, stride, dilation, padding: [0; 4], rounding: [0; 2] };
        let size = [size.0, size.1];
        match operator.text("auto_pad").unwrap_or("NOTSET") {
            "NOTSET" | "" => window.padding = padding(operator)?,
            "VALID" => {}
            upper @ ("SAME_UPPER" | "SAME_LOWER") => {
                for (axis, size) in size.into_iter().enumerate() {
                    let outputs = size.div_ceil(stride[axis]);
                    let reach = window.needed(axis, outputs).ok_or_else(too_large)?;
                    let total = reach.saturating_sub(size);
                    let (less, more) = (total / 2, total - total / 2);
                    let (begin, end) = if upper == "SAME_UPPER" { (less, more) } else { (more, less) };
                    (window.padding[axis], window.padding[axis + 2]) = (begin, end);
                }
            }
            other => return Err(format!("auto_pad `{other}`").into()),
        }
        if operator.int("ceil_mode").unwrap_or(0) != 0 {
            for (axis, size) in size.into_iter().enumerate() {
                window.rounding[axis] = window.round_up(axis, size).ok_or_else(too_large)?;
            }
        }
        Ok(window)
    }

    /// How far `outputs` windows reach.
    fn needed(&self, axis: usize, outputs: usize) -> Option<usize> {
        let kernel = (self.kernel[axis] - 1).checked_mul(self.dilation[axis])?.checked_add(1)?;
        outputs.saturating_sub(1).checked_mul(self.stride[axis])?.checked_add(kernel)
    }

    /// What must be added at the end so that the last window, which starts within the map or the padding before it, is
    /// whole.
    fn round_up(&self, axis: usize, size: usize) -> Option<usize> {
        let (begin, end) = (self.padding[axis], self.padding[axis + 2]);
        let padded = size.checked_add(begin)?.checked_add(end)?;
        let room = padded.checked_sub(self.needed(axis, 1)?)?;
        let mut outputs = room.div_ceil(self.stride[axis]) + 1;
        if (outputs - 1).checked_mul(self.stride[axis])? >= size.checked_add(begin)? {
            outputs -= 1;
        }
        Some(self.needed(axis, outputs)?.saturating_sub(padded))
    }
}

fn too_large() -> Reason {
    "a window that does not fit its map".into()
}

/// Two sizes of an attribute, (height, width).
pub(super) fn pair(operator: &Operator, name: &str) -> Result<Option<[usize; 2]>, Reason> {
    let Some(values) = operator.ints(name) else { return Ok(None) };
    let sizes: Option<Vec<usize>> = values.iter().map(|&size| usize::try_from(size).ok()).collect();
    let sizes = sizes.and_then(|sizes| <[usize; 2]>::try_from(sizes).ok());
    let wrong = || format!("{name}: expected two sizes (images have two axes), found {}", list(&values));
    Ok(Some(sizes.ok_or_else(wrong)?))
}

fn padding(operator: &Operator) -> Result<[usize; 4], Reason> {
    let Some(values) = operator.ints("pads") else { return Ok([0; 4]) };
    let sizes: Option<Vec<usize>> = values.iter().map(|&size| usize::try_from(size).ok()).collect();
    let sizes = sizes.and_then(|sizes| <[usize; 4]>::try_from(sizes).ok());
    sizes.ok_or_else(|| format!("pads: expected four sizes, found {}", list(&values)).into())
}

/// What the operator Pad puts around a map: top, left, bottom, right.
pub(super) fn pad(operator: &Operator, inputs: &[Option<Value>]) -> Result<[usize; 4], Reason> {
    if operator.text("mode").unwrap_or("constant") != "constant" {
        return Err("padding with something else than a constant".into());
    }
    let constant = |place: usize| match inputs.get(place) {
        Some(Some(Value::Constant(constant))) => Ok(Some(constant)),
        Some(Some(_)) => Err(Reason::from("padding that depends on the images")),
        Some(None) | None => Ok(None),
    };
    let value = match constant(2)? {
        Some(value) => value.as_scalar().unwrap_or(f64::NAN),
        None => operator.float("value").unwrap_or(0.0).into(),
    };
    if value != 0.0 {
        return Err(format!("padding with {value}, not with 0").into());
    }
    if constant(3)?.is_some() {
        return Err("padding of chosen axes".into());
    }
    let values = match constant(1)? {
        Some(pads) => pads.as_ints()?.to_vec(),
        None => operator.ints("pads").unwrap_or_default(),
    };
    let sizes: Option<Vec<usize>> = values.iter().map(|&size| usize::try_from(size).ok()).collect();
    match sizes.as_deref() {
        Some(&[0, 0, top, left, 0, 0, bottom, right]) => Ok([top, left, bottom, right]),
        _ => Err(format!("pads: expected zeros but for height and width, found {}", list(&values)).into()),
    }
}

/// The integers of an operand that older operator sets had as an attribute.
pub(super) fn operand_or_attribute(
    operator: &Operator,
    inputs: &[Option<Value>],
    place: usize,
    name: &str,
) -> Result<Option<Vec<i64>>, Reason> {
    match inputs.get(place) {
        Some(Some(Value::Constant(constant))) => constant.as_ints().map(|values| Some(values.to_vec())),
        Some(Some(_)) => Err(format!("{name} that depend on the images").into()),
        Some(None) | None => Ok(operator.ints(name)),
    }
}

/// A vector of sizes.
pub(super) fn shape_constant(dims: &[usize]) -> Constant {
    Constant::ints(dims.iter().map(|&size| size as i64).collect())
}
