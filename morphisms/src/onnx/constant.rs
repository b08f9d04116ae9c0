//! Tensors whose numbers are known when a model is read, and the arithmetic that models do with them: shapes are
//! computed from shapes, weights are reshaped and transposed.

use std::fmt::Debug;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::import::Reason;

/// Integers are for shape arithmetic; nothing sensible has more.
const MOST_INTEGERS: usize = 1 << 12;
/// Axes of a tensor; nothing sensible has more, and some of what is done takes time by their square.
const MOST_AXES: usize = 16;
/// Numbers of a list that a message shows.
const SHOWN: usize = 16;

/// A tensor that does not depend on the images.
#[derive(Debug, Clone)]
pub(super) enum Constant {
    /// Integers and truth values, row by row; shared, because every node that reads them gets them.
    Ints { dims: Vec<usize>, values: Arc<[i64]> },
    /// In f32; it may be stretched (strides of zero), so that a shape alone allocates nothing.
    Floats(Tensor),
}

/// The four operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
}

impl Constant {
    /// A short vector of integers, such as a shape.
    pub fn ints(values: Vec<i64>) -> Self {
        Self::Ints { dims: vec![values.len()], values: values.into() }
    }

    /// Integers of a file: of any number.
    pub fn stored_ints(dims: Vec<usize>, values: Vec<i64>) -> Result<Self, Reason> {
        few(values.len())?;
        Ok(Self::Ints { dims, values: values.into() })
    }

    /// How many numbers it holds in memory.
    pub fn held(&self) -> usize {
        match self {
            Self::Ints { values, .. } => values.len(),
            Self::Floats(tensor) if is_stretched(tensor) => 1,
            Self::Floats(tensor) => tensor.elem_count(),
        }
    }

    /// Every number alike.
    pub fn full(value: f32, dims: &[usize]) -> Result<Self, Reason> {
        Ok(Self::Floats(Tensor::new(value, &Device::Cpu)?.broadcast_as(dims)?))
    }

    pub fn full_int(value: i64, dims: &[usize]) -> Result<Self, Reason> {
        let count = count(dims)?;
        few(count)?;
        Ok(Self::Ints { dims: dims.to_vec(), values: vec![value; count].into() })
    }

    pub fn dims(&self) -> &[usize] {
        match self {
            Self::Ints { dims, .. } => dims,
            Self::Floats(tensor) => tensor.dims(),
        }
    }

    pub fn as_floats(&self) -> Result<&Tensor, Reason> {
        match self {
            Self::Floats(tensor) => Ok(tensor),
            Self::Ints { .. } => Err("expected a tensor of floating-point numbers, found integers".into()),
        }
    }

    pub fn as_ints(&self) -> Result<&[i64], Reason> {
        match self {
            Self::Ints { values, .. } => Ok(values),
            Self::Floats(_) => Err("expected a tensor of integers, found floating-point numbers".into()),
        }
    }

    /// The only number of a tensor.
    pub fn as_scalar(&self) -> Option<f64> {
        match self {
            Self::Ints { values, .. } => <&[i64; 1]>::try_from(&values[..]).ok().map(|one| one[0] as f64),
            Self::Floats(tensor) if tensor.elem_count() == 1 => {
                Some(f64::from(tensor.flatten_all().ok()?.to_vec1::<f32>().ok()?[0]))
            }
            Self::Floats(_) => None,
        }
    }

    pub fn reshape(&self, target: &[i64], allow_zero: bool) -> Result<Self, Reason> {
        self.with_dims(&resolve(self.dims(), target, allow_zero)?)
    }

    /// The same numbers under other sizes.
    pub fn with_dims(&self, dims: &[usize]) -> Result<Self, Reason> {
        match self {
            Self::Ints { values, .. } => Ok(Self::Ints { dims: dims.to_vec(), values: values.clone() }),
            // One number everywhere has the same in any shape, and stays stretched.
            Self::Floats(tensor) if is_stretched(tensor) => {
                let mut one = tensor.clone();
                while one.rank() > 0 {
                    one = one.get(0)?;
                }
                Ok(Self::Floats(one.broadcast_as(dims)?))
            }
            Self::Floats(tensor) => Ok(Self::Floats(tensor.reshape(dims)?)),
        }
    }

    pub fn transpose(&self, permutation: &[usize]) -> Result<Self, Reason> {
        match self {
            Self::Floats(tensor) => Ok(Self::Floats(tensor.permute(permutation)?)),
            Self::Ints { dims, .. } if dims.len() < 2 => Ok(self.clone()),
            Self::Ints { .. } => Err("integers are transposed".into()),
        }
    }

    /// Entries along the first axis of a vector of integers.
    pub fn gather(&self, indices: &Self) -> Result<Self, Reason> {
        let values = self.as_ints()?;
        let at = |&index: &i64| {
            let place = if index < 0 { index.checked_add(values.len() as i64)? } else { index };
            usize::try_from(place).ok().and_then(|place| values.get(place)).copied()
        };
        let picked = indices.as_ints()?.iter().map(at).collect::<Option<Arc<[_]>>>();
        let picked = picked.ok_or_else(|| format!("an index outside {} values", values.len()))?;
        Ok(Self::Ints { dims: indices.dims().to_vec(), values: picked })
    }

    /// Vectors of integers one after the other.
    pub fn concat(parts: &[&Self]) -> Result<Self, Reason> {
        let mut values = Vec::new();
        for part in parts {
            values.extend(part.as_ints()?);
            few(values.len())?;
        }
        Ok(Self::ints(values))
    }

    /// A stretch of a vector of integers; bounds as in Python.
    pub fn slice(&self, start: i64, end: i64, step: i64) -> Result<Self, Reason> {
        let values = self.as_ints()?;
        let length = values.len() as i64;
        let step = usize::try_from(step).ok().filter(|&step| step > 0).ok_or("a step below 1")?;
        let clamp = |bound: i64| {
            let bound = if bound < 0 { bound.saturating_add(length) } else { bound };
            bound.clamp(0, length) as usize
        };
        let (start, end) = (clamp(start), clamp(end));
        Ok(Self::ints(values[start..end.max(start)].iter().copied().step_by(step).collect()))
    }

    pub fn to_floats(&self) -> Result<Self, Reason> {
        match self {
            Self::Floats(_) => Ok(self.clone()),
            Self::Ints { dims, values } => {
                let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
                Ok(Self::Floats(Tensor::from_vec(values, dims.as_slice(), &Device::Cpu)?))
            }
        }
    }

    pub fn to_ints(&self) -> Result<Self, Reason> {
        match self {
            Self::Ints { .. } => Ok(self.clone()),
            Self::Floats(tensor) if tensor.elem_count() <= MOST_INTEGERS => {
                let values = tensor.flatten_all()?.to_vec1::<f32>()?;
                let values = values.into_iter().map(|value| value as i64).collect();
                Ok(Self::Ints { dims: tensor.dims().to_vec(), values })
            }
            Self::Floats(_) => Err(format!("a cast of more than {MOST_INTEGERS} numbers to integers").into()),
        }
    }

    pub fn combine(&self, operation: Arithmetic, other: &Self) -> Result<Self, Reason> {
        match (self, other) {
            (Self::Floats(a), Self::Floats(b)) => {
                // Stretching both makes what one of them holds already, but for an outer product.
                let shape = a.shape().broadcast_shape_binary_op(b.shape(), "arithmetic")?;
                if shape.elem_count() > a.elem_count().max(b.elem_count()) {
                    return Err("an outer product of constants".into());
                }
                Ok(Self::Floats(match operation {
                    Arithmetic::Add => a.broadcast_add(b)?,
                    Arithmetic::Sub => a.broadcast_sub(b)?,
                    Arithmetic::Mul => a.broadcast_mul(b)?,
                    Arithmetic::Div => a.broadcast_div(b)?,
                }))
            }
            (Self::Ints { dims, values: a }, Self::Ints { dims: others, values: b }) => {
                let (dims, length) = if a.len() >= b.len() { (dims, a.len()) } else { (others, b.len()) };
                if (a.len() != length && a.len() != 1) || (b.len() != length && b.len() != 1) {
                    return Err(format!("integers of lengths {} and {}", a.len(), b.len()).into());
                }
                let at = |values: &[i64], place: usize| values[if values.len() == 1 { 0 } else { place }];
                let values = (0..length).map(|place| operation.of(at(a, place), at(b, place))).collect();
                let values: Option<Arc<[i64]>> = values;
                let values = values.ok_or("integers overflow, or are divided by zero")?;
                Ok(Self::Ints { dims: dims.clone(), values })
            }
            _ => Err("integers and floating-point numbers in one operation".into()),
        }
    }
}

impl Arithmetic {
    fn of(self, a: i64, b: i64) -> Option<i64> {
        match self {
            Self::Add => a.checked_add(b),
            Self::Sub => a.checked_sub(b),
            Self::Mul => a.checked_mul(b),
            Self::Div => a.checked_div(b),
        }
    }
}

/// Whether one number stands for all.
fn is_stretched(tensor: &Tensor) -> bool {
    tensor.rank() > 0 && tensor.stride().iter().all(|&stride| stride == 0)
}

fn few(integers: usize) -> Result<(), Reason> {
    match integers <= MOST_INTEGERS {
        true => Ok(()),
        false => Err(format!("{integers} integers; at most {MOST_INTEGERS} are taken").into()),
    }
}

pub(super) fn few_axes(axes: usize) -> Result<(), Reason> {
    match axes <= MOST_AXES {
        true => Ok(()),
        false => Err(format!("a tensor of {axes} axes; at most {MOST_AXES} are taken").into()),
    }
}

/// The number of entries.
pub(super) fn count(dims: &[usize]) -> Result<usize, Reason> {
    few_axes(dims.len())?;
    // Strides are products of sizes, even where a size of 0 leaves no entries.
    let product = dims.iter().try_fold(1usize, |product, &size| product.checked_mul(size.max(1)));
    let product = product.ok_or_else(|| format!("a shape too large to count: {dims:?}"))?;
    Ok(if dims.contains(&0) { 0 } else { product })
}

/// Numbers in a message: not all, if there are many.
pub(super) fn list(numbers: &[impl Debug]) -> String {
    match numbers.len().saturating_sub(SHOWN) {
        0 => format!("{numbers:?}"),
        more => format!("{:?} and {more} more", &numbers[..SHOWN]),
    }
}

/// The sizes that Reshape asks for: 0 is the size in that place, -1 whatever is left.
pub(super) fn resolve(dims: &[usize], target: &[i64], allow_zero: bool) -> Result<Vec<usize>, Reason> {
    few_axes(target.len())?;
    let wrong = || Reason::from(format!("reshapes {dims:?} to {target:?}"));
    let size = |(place, &size): (usize, &i64)| match size {
        0 if !allow_zero => dims.get(place).copied().map(Some),
        -1 => Some(None),
        size => usize::try_from(size).ok().map(Some),
    };
    let sizes: Vec<Option<usize>> =
        target.iter().enumerate().map(size).collect::<Option<_>>().ok_or_else(wrong)?;
    let known: Vec<usize> = sizes.iter().copied().flatten().collect();
    let (total, known) = (count(dims)?, count(&known)?);
    let rest = match sizes.iter().filter(|size| size.is_none()).count() {
        0 if total == known => 1,
        1 if total.checked_rem(known) == Some(0) => total / known,
        _ => return Err(wrong()),
    };
    Ok(sizes.into_iter().map(|size| size.unwrap_or(rest)).collect())
}
