//! From sources to tensors.

use candle_core::{DType, Device, Tensor};

use super::{Index, Source, numbers};
use crate::extent::unresolved;
use crate::weights::Weights;
use crate::{Error, Result, surgery};

impl Source {
    /// The tensor that a closed source stands for; its [extent](crate::extent::Extents) has been looked at.
    pub(super) fn evaluate(&self, parent: &Weights, dtype: DType, device: &Device) -> Result<Tensor> {
        match (self, device, dtype) {
            (Self::Parent(key), _, _) => Ok(parent.get(*key)?.clone()),
            (_, Device::Cpu, DType::F32) => numbers::tensor::<f32>(self, parent),
            (_, Device::Cpu, DType::F64) => numbers::tensor::<f64>(self, parent),
            _ => self.evaluate_by_candle(parent, dtype, device),
        }
    }

    /// Operation by operation, where the parent's numbers are not at hand.
    fn evaluate_by_candle(&self, parent: &Weights, dtype: DType, device: &Device) -> Result<Tensor> {
        let tensor = |values: Vec<f64>, shape: &[usize]| -> Result<Tensor> {
            Ok(Tensor::from_vec(values, shape, device)?.to_dtype(dtype)?)
        };
        let all = |of: &[Self]| -> Result<Vec<Tensor>> {
            of.iter().map(|part| part.evaluate_by_candle(parent, dtype, device)).collect()
        };
        match self {
            Self::Parent(key) => Ok(parent.get(*key)?.clone()),
            Self::Gather { of, axis, index: Index::Fixed(index), scale } => {
                let all = of.evaluate_by_candle(parent, dtype, device)?;
                surgery::gather("inheritance", &all, *axis, index, scale.as_deref())
            }
            Self::Join { of, axis } => Ok(Tensor::cat(&all(of)?, *axis)?),
            Self::Sum { of } => {
                let each = |part: &Self| part.evaluate_by_candle(parent, dtype, device);
                let sum = of.iter().map(each).reduce(|sum, next| Ok((sum? + next?)?));
                sum.ok_or_else(|| Error::Weights("nothing to add".into()))?
            }
            Self::Dirac { channels, kernel } => surgery::dirac(*channels, *kernel, dtype, device),
            Self::Constant { shape, value } => tensor(vec![*value; shape.iter().product()], shape),
            Self::Normal { shape, std, seed } => tensor(seed.normal(*std, shape.iter().product()), shape),
            Self::Values { shape, values } => tensor(values.clone(), shape),
            Self::Gather { index: Index::Selected { .. }, .. }
            | Self::Factor { .. }
            | Self::Statistic { .. } => Err(unresolved()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::architecture::ParamKey;
    use crate::extent::Extents;
    use crate::init::Seed;
    use crate::layer::{LayerId, Role};

    const KEY: ParamKey = ParamKey { layer: LayerId(1), role: Role::Weight };
    const SHAPE: [usize; 4] = [3, 2, 3, 3];

    fn parent(dtype: DType) -> Weights {
        let seed = Seed { seed: 1, stream: 2 };
        let values = Tensor::from_vec(seed.normal(1.0, SHAPE.iter().product()), &SHAPE, &Device::Cpu);
        [(KEY, values.unwrap().to_dtype(dtype).unwrap())].into_iter().collect()
    }

    fn leaf(choice: usize, shape: &[usize]) -> Source {
        let shape = shape.to_vec();
        match choice % 3 {
            0 => Source::Constant { shape, value: 0.3 },
            1 => Source::Normal { shape, std: 0.5, seed: Seed { seed: 7, stream: choice as u64 } },
            _ => {
                let values = (0..shape.iter().product()).map(|value: usize| value as f64 / 7.0).collect();
                Source::Values { shape, values }
            }
        }
    }

    /// One expression more around `source`.
    fn wrapped(source: Source, (choice, axis, picks): (usize, usize, Vec<usize>)) -> Source {
        let parent = parent(DType::F64);
        let extents = Extents::new(&parent, None);
        let mut shape = extents.of(&source).unwrap();
        let index: Vec<usize> = picks.iter().map(|pick| pick % shape[axis]).collect();
        match choice % 4 {
            0 => source.gather(axis, index, None),
            1 => {
                let scale = picks.iter().map(|&pick| pick as f64 / 3.0 - 0.5).collect();
                source.gather(axis, index, Some(scale))
            }
            2 => {
                shape[axis] = picks.len();
                Source::Join { of: vec![source, leaf(choice, &shape)], axis }
            }
            _ => Source::Sum { of: vec![leaf(choice, &shape), source.clone(), source] },
        }
    }

    fn any_closed_source() -> impl Strategy<Value = Source> {
        let start = prop_oneof![
            Just(Source::Parent(KEY)),
            Just(Source::Dirac { channels: 3, kernel: (3, 1) }),
            (0..3usize).prop_map(|choice| leaf(choice, &SHAPE)),
        ];
        let wrap = (0..12usize, 0..4usize, prop::collection::vec(0..9usize, 1..4));
        (start, prop::collection::vec(wrap, 1..5))
            .prop_map(|(start, wraps)| wraps.into_iter().fold(start, wrapped))
    }

    fn bits(tensor: &Tensor) -> (Vec<usize>, Vec<u64>) {
        let values = tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        (tensor.dims().to_vec(), values.into_iter().map(f64::to_bits).collect())
    }

    proptest! {
        #[test]
        fn in_one_pass_the_numbers_are_those_of_candle(source in any_closed_source(), double: bool) {
            let dtype = if double { DType::F64 } else { DType::F32 };
            let parent = parent(dtype);
            let expected = source.evaluate_by_candle(&parent, dtype, &Device::Cpu).unwrap();
            let found = source.evaluate(&parent, dtype, &Device::Cpu).unwrap();
            prop_assert_eq!(found.dtype(), dtype);
            prop_assert_eq!(bits(&found), bits(&expected));
        }
    }

    #[test]
    fn what_is_no_stretch_of_memory_is_inherited_like_any_other() {
        let tensor = parent(DType::F64).get(KEY).unwrap().transpose(0, 1).unwrap();
        let transposed: Weights = [(KEY, tensor.clone())].into_iter().collect();
        let copy: Weights = [(KEY, tensor.contiguous().unwrap())].into_iter().collect();
        let source = Source::Parent(KEY).gather(1, vec![2, 0], None);
        let [found, expected] =
            [transposed, copy].map(|parent| source.evaluate(&parent, DType::F64, &Device::Cpu).unwrap());
        assert_eq!(bits(&found), bits(&expected));
    }
}
