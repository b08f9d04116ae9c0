//! A batch norm's output that is computed where it is read.

use super::channel::Channel;
use super::plane::{Backward, Follows, Normalised, Sums, SumsOnTheWay};
use crate::parallel;
use crate::simd::Float;
use crate::source::Source;
use crate::tensor::{host, with_float};
use candle_core::{Device, Result, Tensor};
use std::cell::{Cell, OnceCell};
use std::rc::Rc;

/// A tensor, or what becomes one if somebody needs all of it.
#[derive(Clone)]
pub(crate) enum Held {
    Whole(Tensor),
    Normalised(Rc<Pending>),
}

/// The output of a batch norm, with a ReLU or without.
pub(crate) struct Pending {
    /// What is normalised, contiguous and on the CPU.
    x: Tensor,
    channels: Rc<[Channel]>,
    relu: bool,
    whole: OnceCell<Tensor>,
    /// How many operations read it as it is computed.
    readers: Cell<usize>,
}

impl Held {
    /// `x` must be `[batch, channels, ...]`, contiguous, on the CPU, in f32 or f64.
    pub fn normalised(x: Tensor, channels: Rc<[Channel]>, relu: bool) -> Self {
        Self::Normalised(Rc::new(Pending {
            x,
            channels,
            relu,
            whole: OnceCell::new(),
            readers: Cell::new(0),
        }))
    }

    /// The numbers; computed once.
    pub fn whole(&self) -> &Tensor {
        match self {
            Self::Whole(tensor) => tensor,
            Self::Normalised(pending) => pending.whole(),
        }
    }

    /// A tensor of the same shape and number type on the same device.
    pub fn like(&self) -> &Tensor {
        match self {
            Self::Whole(tensor) => tensor,
            Self::Normalised(pending) => &pending.x,
        }
    }

    /// For one more operation that will [`read`](Self::read).
    pub fn read_by_one_more(&self) -> Self {
        if let Self::Normalised(pending) = self {
            pending.readers.set(pending.readers.get() + 1);
        }
        self.clone()
    }

    /// Shows the numbers, which must be contiguous and on the CPU, to somebody who reads them plane by plane.
    pub fn read<T: Float, R>(&self, reader: impl FnOnce(&Source<'_, T>) -> R) -> Result<R> {
        match self {
            Self::Normalised(pending) if pending.whole.get().is_none() => pending.read(reader),
            Self::Whole(_) | Self::Normalised(_) => Ok(reader(&Source::Plain(host(self.whole()).values()?))),
        }
    }

    /// Gives somebody who computes the gradient of these numbers a place for the sums that the batch norm will need,
    /// if that is of use, that is if nobody else's gradient will be added; and the sums.
    pub fn sum<T: Float, R>(
        &self,
        of_use: bool,
        work: impl FnOnce(Option<&SumsOnTheWay<'_, T>>) -> R,
    ) -> Result<(R, Option<Vec<Sums>>)> {
        match self {
            Self::Normalised(pending) if of_use && pending.has_one_reader() => {
                let x = host(&pending.x);
                let follows = if pending.relu { Follows::Relu } else { Follows::Nothing };
                let pixels = pending.pixels();
                let norm = Backward { x: x.values::<T>()?, pixels, channels: &pending.channels, follows };
                let (result, sums) = SumsOnTheWay::gather(norm, |sums| work(Some(sums)));
                Ok((result, Some(sums)))
            }
            Self::Whole(_) | Self::Normalised(_) => Ok((work(None), None)),
        }
    }
}

impl Pending {
    fn has_one_reader(&self) -> bool {
        self.whole.get().is_none() && self.readers.get() == 1
    }

    fn pixels(&self) -> usize {
        self.x.dims()[2..].iter().product()
    }

    fn read<T: Float, R>(&self, reader: impl FnOnce(&Source<'_, T>) -> R) -> Result<R> {
        let x = host(&self.x);
        let affines = self.channels.iter().map(Channel::affine).collect();
        let normalised = Normalised { x: x.values()?, pixels: self.pixels(), affines, relu: self.relu };
        Ok(reader(&Source::Normalised(normalised)))
    }

    fn whole(&self) -> &Tensor {
        let compute = || -> Result<Tensor> {
            with_float!("batch_norm", self.x.dtype(), T => {
                let (count, sample) = (self.x.elem_count(), self.channels.len() * self.pixels());
                let values = self.read::<T, _>(|source| {
                    parallel::build_chunks(count, sample, |i, room| {
                        source.read(i * sample..(i + 1) * sample, room);
                    })
                })?;
                Tensor::from_vec(values, self.x.shape(), &Device::Cpu)
            })
        };
        self.whole.get_or_init(|| compute().expect("x is contiguous, on the CPU, and of floats"))
    }
}
