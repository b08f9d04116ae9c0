//! What sources stand for on the CPU. The parent's numbers are read where they are and written once, into the tensor that is
//! made: a child is to cost what copying costs.

use std::ops::Range;

use candle_core::{Device, Storage, StorageRef, Tensor, WithDType};

use super::{Index, Source};
use crate::extent::unresolved;
use crate::weights::Weights;
use crate::{Error, Result, rows, surgery};

/// The tensor that `source` stands for.
pub(super) fn tensor<T: WithDType>(source: &Source, parent: &Weights) -> Result<Tensor> {
    let numbers = Numbers::<T>::of(source, parent)?;
    let shape = numbers.shape.clone();
    Ok(Tensor::from_vec(numbers.into_vec()?, shape, &Device::Cpu)?)
}

/// Numbers of a shape, row by row.
struct Numbers<'a, T> {
    shape: Vec<usize>,
    values: Values<'a, T>,
}

enum Values<'a, T> {
    /// A part of what a tensor of the parent's holds.
    Stored(StorageRef<'a>, Range<usize>),
    Made(Vec<T>),
    /// One everywhere.
    Constant(T),
}

/// [`Values`] to read from.
#[derive(Clone, Copy)]
enum View<'a, T> {
    Slice(&'a [T]),
    Constant(T),
}

impl<T: Copy> View<'_, T> {
    fn append(self, range: Range<usize>, to: &mut Vec<T>) {
        match self {
            View::Slice(all) => to.extend_from_slice(&all[range]),
            View::Constant(value) => to.resize(to.len() + range.len(), value),
        }
    }
}

impl<'a, T: WithDType> Numbers<'a, T> {
    fn of(source: &Source, parent: &'a Weights) -> Result<Self> {
        let made = |shape: &[usize], values| Self { shape: shape.to_vec(), values: Values::Made(values) };
        let cast = |values: &[f64]| values.iter().map(|&value| T::from_f64(value)).collect();
        let all = |of: &[Source]| of.iter().map(|part| Self::of(part, parent)).collect::<Result<Vec<_>>>();
        Ok(match source {
            Source::Parent(key) => Self::stored(parent.get(*key)?)?,
            Source::Gather { of, axis, index: Index::Fixed(index), scale } => match (&**of, scale) {
                // Slices are taken from the parts that would be joined.
                (Source::Join { of, axis: joined }, None) if joined == axis => {
                    let runs: Vec<_> = rows::runs(index).map(|run| run[0]..run[0] + run.len()).collect();
                    Self::joined(&all(of)?, *axis, &runs)?
                }
                (of, scale) => Self::of(of, parent)?.gathered(*axis, index, scale.as_deref())?,
            },
            Source::Join { of, axis } => {
                let parts = all(of)?;
                let size = parts.iter().map(|part| part.shape[*axis]).sum();
                Self::joined(&parts, *axis, std::slice::from_ref(&(0..size)))?
            }
            Source::Sum { of } => Self::sum(all(of)?)?,
            Source::Dirac { channels, kernel } => made(
                &[*channels, *channels, kernel.0, kernel.1],
                surgery::impulses("inheritance", *channels, *kernel)?,
            ),
            Source::Constant { shape, value } => {
                Self { shape: shape.clone(), values: Values::Constant(T::from_f64(*value)) }
            }
            Source::Normal { shape, std, seed } => {
                made(shape, cast(&seed.normal(*std, shape.iter().product())))
            }
            Source::Values { shape, values } => made(shape, cast(values)),
            Source::Gather { index: Index::Selected { .. }, .. }
            | Source::Factor { .. }
            | Source::Statistic { .. } => return Err(unresolved()),
        })
    }

    fn stored(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let here = matches!(&*storage, Storage::Cpu(_)) && tensor.dtype() == T::DTYPE;
        let values = match layout.contiguous_offsets().filter(|_| here) {
            Some((start, end)) => Values::Stored(storage, start..end),
            None => Values::Made(
                tensor.to_device(&Device::Cpu)?.to_dtype(T::DTYPE)?.flatten_all()?.to_vec1::<T>()?,
            ),
        };
        Ok(Self { shape: tensor.dims().to_vec(), values })
    }

    fn view(&self) -> Result<View<'_, T>> {
        Ok(match &self.values {
            Values::Stored(storage, range) => match &**storage {
                Storage::Cpu(storage) => View::Slice(&T::cpu_storage_as_slice(storage)?[range.clone()]),
                Storage::Cuda(_) | Storage::Metal(_) => unreachable!("what is stored elsewhere is copied"),
            },
            Values::Made(values) => View::Slice(values),
            Values::Constant(value) => View::Constant(*value),
        })
    }

    fn count(&self) -> usize {
        self.shape.iter().product()
    }

    fn into_vec(self) -> Result<Vec<T>> {
        match self.values {
            Values::Made(values) => Ok(values),
            Values::Stored(..) | Values::Constant(_) => {
                let mut values = Vec::with_capacity(self.count());
                self.view()?.append(0..self.count(), &mut values);
                Ok(values)
            }
        }
    }

    /// Slices along an axis, each one scaled.
    fn gathered(&self, axis: usize, index: &[usize], scale: Option<&[f64]>) -> Result<Self> {
        let whole;
        let all = match self.view()? {
            View::Slice(all) => all,
            View::Constant(value) => {
                whole = vec![value; self.count()];
                &whole
            }
        };
        let scale: Option<Vec<T>> = scale.map(|s| s.iter().map(|&factor| T::from_f64(factor)).collect());
        let values = rows::gathered(all, self.shape[axis], self.length(axis), index, scale.as_deref());
        let shape = resized(&self.shape, axis, index.len());
        Ok(Self { shape, values: Values::Made(values) })
    }

    /// Of parts side by side along an axis these runs of slices.
    fn joined(parts: &[Self], axis: usize, runs: &[Range<usize>]) -> Result<Self> {
        let sides =
            parts.iter().map(|part| Ok((part.view()?, part.shape[axis]))).collect::<Result<Vec<_>>>()?;
        let (length, blocks) = (parts[0].length(axis), parts[0].shape[..axis].iter().product());
        let shape = resized(&parts[0].shape, axis, runs.iter().map(ExactSizeIterator::len).sum());
        let mut values = Vec::with_capacity(shape.iter().product());
        for block in 0..blocks {
            for run in runs {
                let mut first = 0;
                for &(view, size) in &sides {
                    // What the run has of this part.
                    let from = run.start.max(first) - first;
                    let to = run.end.clamp(first, first + size) - first;
                    if from < to {
                        let at = |slice: usize| (block * size + slice) * length;
                        view.append(at(from)..at(to), &mut values);
                    }
                    first += size;
                }
            }
        }
        Ok(Self { shape, values: Values::Made(values) })
    }

    fn sum(terms: Vec<Self>) -> Result<Self> {
        let mut terms = terms.into_iter();
        let first = terms.next().ok_or_else(|| Error::Weights("nothing to add".into()))?;
        let shape = first.shape.clone();
        let mut values = first.into_vec()?;
        for term in terms {
            match term.view()? {
                View::Slice(all) => values.iter_mut().zip(all).for_each(|(value, &more)| *value += more),
                View::Constant(more) => values.iter_mut().for_each(|value| *value += more),
            }
        }
        Ok(Self { shape, values: Values::Made(values) })
    }

    /// Numbers of one slice along an axis.
    fn length(&self, axis: usize) -> usize {
        self.shape[axis + 1..].iter().product()
    }
}

fn resized(shape: &[usize], axis: usize, size: usize) -> Vec<usize> {
    let mut shape = shape.to_vec();
    shape[axis] = size;
    shape
}
