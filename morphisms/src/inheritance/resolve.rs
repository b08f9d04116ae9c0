//! What symbolic sources stand for in a parent.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use candle_core::{DType, Tensor};

use super::{FactorPart, Index, Inheritance, Piece, Source, Statistic};
use crate::architecture::Architecture;
use crate::extent::Extents;
use crate::layer::LayerId;
use crate::network::Network;
use crate::surgery::Separable;
use crate::weights::{check_shape, superfluous};
use crate::{Result, surgery};

impl Inheritance {
    /// As [`Inheritance::resolve`], for a child of this architecture: what is computed has the shapes that it asks for,
    /// which is known before anything is allocated.
    pub(crate) fn resolved_for(
        &self,
        child: &Architecture,
        parent: &Network,
        batch: Option<&Tensor>,
    ) -> Result<Cow<'_, Self>> {
        let weights = parent.weights();
        let extents = Extents::new(weights, Some((parent, &self.selections))).of_child(child);
        let closed = self.resolved(parent, batch, &extents)?;
        let extents = Extents::new(weights, None).of_child(child);
        closed.computed().try_for_each(|(&key, source)| match child.parameter(key) {
            Some(expected) => check_shape(key, &extents.of(source)?, &expected),
            None => Err(superfluous(key)),
        })?;
        Ok(closed)
    }

    /// As [`Inheritance::resolve`], without a copy of what is closed already.
    pub(super) fn resolved(
        &self,
        parent: &Network,
        batch: Option<&Tensor>,
        extents: &Extents<'_>,
    ) -> Result<Cow<'_, Self>> {
        if self.is_closed() {
            return Ok(Cow::Borrowed(self));
        }
        self.sources.values().try_for_each(|source| extents.of(source).map(drop))?;
        let chosen =
            self.selections.iter().map(|selection| selection.choose(parent)).collect::<Result<Vec<_>>>()?;
        let mut measured = BTreeMap::new();
        let mut close = |source| close(source, parent, batch, &chosen, &mut measured);
        let sources = self.sources.iter().map(|(&key, source)| Ok((key, source.clone().map(&mut close)?)));
        let sources = sources.collect::<Result<_>>()?;
        Ok(Cow::Owned(Self { rest: self.rest.clone(), sources, selections: Vec::new() }))
    }
}

/// Channel means and variances of a layer's output; without a batch, and only then, they depend on epsilon, here its bits.
type Measured = BTreeMap<(LayerId, Option<u64>), (Vec<f64>, Vec<f64>)>;

fn close(
    source: Source,
    parent: &Network,
    batch: Option<&Tensor>,
    chosen: &[Vec<usize>],
    measured: &mut Measured,
) -> Result<Source> {
    match source {
        Source::Gather { of, axis, index: Index::Selected { selection, pieces }, scale } => {
            let index = expand(&pieces, &chosen[selection]);
            Ok(Source::Gather { of, axis, index: Index::Fixed(index), scale })
        }
        Source::Factor { of, part } => {
            let kernel =
                of.evaluate(parent.weights(), parent.dtype(), &parent.device())?.to_dtype(DType::F64)?;
            let Separable { depthwise, pointwise } = surgery::separate(&kernel)?;
            let half = match part {
                FactorPart::Depthwise => depthwise,
                FactorPart::Pointwise => pointwise,
            };
            Ok(Source::Values { shape: half.dims().to_vec(), values: half.flatten_all()?.to_vec1()? })
        }
        Source::Statistic { layer, of, eps } => {
            let key = (layer, batch.is_none().then_some(eps.to_bits()));
            let (mean, variance) = match measured.entry(key) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => place.insert(measure(parent, batch, layer, eps)?),
            };
            let values: Vec<f64> = match of {
                Statistic::Mean => mean.clone(),
                Statistic::Variance => variance.clone(),
                Statistic::Deviation => variance.iter().map(|variance| (variance + eps).sqrt()).collect(),
            };
            Ok(Source::Values { shape: vec![values.len()], values })
        }
        closed => Ok(closed),
    }
}

/// The slices that `pieces` of an axis keep when these channels are kept.
fn expand(pieces: &[Piece], channels: &[usize]) -> Vec<usize> {
    let slices = |piece: &Piece| match *piece {
        Piece::All { start, length } => (start..start + length).collect::<Vec<_>>(),
        Piece::Chosen { start, repeat } => channels
            .iter()
            .flat_map(|channel| (0..repeat).map(move |j| start + channel * repeat + j))
            .collect(),
        Piece::ChosenInBlock { blocks } => channels[..channels.len() / blocks].to_vec(),
    };
    pieces.iter().flat_map(slices).collect()
}

fn measure(
    parent: &Network,
    batch: Option<&Tensor>,
    layer: LayerId,
    eps: f64,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let Some(batch) = batch else {
        let channels = parent.architecture().shape(layer).channels();
        return Ok((vec![0.0; channels], vec![1.0 - eps; channels]));
    };
    let (mean, variance) = surgery::channel_statistics(&parent.activation(batch, layer)?)?;
    Ok((mean.to_vec1()?, variance.to_vec1()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_of_an_axis_keeps_the_slices_of_the_chosen_channels() {
        let pieces = [Piece::Chosen { start: 0, repeat: 2 }, Piece::All { start: 8, length: 2 }];
        assert_eq!(expand(&pieces, &[1, 3]), [2, 3, 6, 7, 8, 9]);
        let behind = [Piece::All { start: 0, length: 1 }, Piece::Chosen { start: 1, repeat: 3 }];
        assert_eq!(expand(&behind, &[0, 2]), [0, 1, 2, 3, 7, 8, 9]);
        // A kernel in blocks lists one of them.
        assert_eq!(expand(&[Piece::ChosenInBlock { blocks: 2 }], &[0, 2, 3, 5]), [0, 2]);
    }
}
