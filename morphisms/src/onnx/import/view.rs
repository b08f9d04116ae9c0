//! How a model looks at the output of a layer: the same numbers in another shape.

use super::super::constant::resolve;
use super::{Activation, Importer, Reason, Value};
use crate::architecture::ParamKey;
use crate::layer::{Conv, Layer, LayerId, Role, Shape};

/// The shape that a model gives the numbers of a layer, behind the axis of the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// The shape of the layer: `[channels, height, width]` or `[features]`.
    Plain,
    /// The images of a model that keeps its channels last.
    ChannelsLast,
    /// `[groups, the rest]`, as exporters write group norms.
    Groups(usize),
    /// `[groups, channels / groups, height, width]`: the first step of a channel shuffle.
    Split {
        groups: usize,
        /// Whether height and width are one axis.
        flat: bool,
    },
    /// `[channels / groups, groups, height, width]`: the second step.
    Swapped {
        groups: usize,
        /// Whether height and width are one axis.
        flat: bool,
    },
    /// The map with zeros around it: top, left, bottom, right.
    Padded([usize; 4]),
    /// A step on the way from the layer to its GELU.
    Gelu(super::gelu::Step),
}

impl Importer<'_> {
    /// The sizes that the model sees, the batch among them.
    pub fn dims(&self, x: &Activation) -> Vec<usize> {
        let shape = self.shapes[&x.layer];
        let (channels, (height, width)) = (shape.channels(), shape.spatial());
        let dims = match x.view {
            View::Plain | View::Gelu(_) => shape.into(),
            View::ChannelsLast => vec![height, width, channels],
            View::Groups(groups) => vec![groups, shape.elements() / groups],
            View::Split { groups, flat } => [vec![groups, channels / groups], space(shape, flat)].concat(),
            View::Swapped { groups, flat } => [vec![channels / groups, groups], space(shape, flat)].concat(),
            View::Padded([top, left, bottom, right]) => {
                vec![channels, height + top + bottom, width + left + right]
            }
        };
        [vec![self.batch], dims].concat()
    }

    /// The layer behind a tensor that the model sees as the layer makes it.
    pub fn plain(&self, x: &Activation) -> Result<LayerId, Reason> {
        match x.view {
            _ if x.softmax => Err("reads a softmax; that is taken as a model's last layer only".into()),
            View::Plain => Ok(x.layer),
            View::ChannelsLast => Err("reads images before their channels are put first".into()),
            View::Groups(_) | View::Split { .. } | View::Swapped { .. } => {
                Err(format!("reads a tensor of shape {:?}", self.dims(x)).into())
            }
            View::Padded(_) => Err("reads a padded map; only a convolution may do that".into()),
            View::Gelu(_) => Err("reads an error function; that is taken as a part of GELU only".into()),
        }
    }

    /// The output of a layer as a vector.
    pub fn vector(&mut self, x: &Activation) -> Result<LayerId, Reason> {
        let layer = if x.softmax { x.layer } else { self.plain(x)? };
        match self.shapes[&layer] {
            Shape::Map { .. } => self.push(Layer::Flatten, &[layer]),
            Shape::Vector(_) => Ok(layer),
        }
    }

    /// A tensor under other sizes, as Reshape, Flatten, Squeeze and Unsqueeze give it.
    pub fn reshape(&mut self, x: &Activation, target: &[i64], allow_zero: bool) -> Result<Value, Reason> {
        let dims = self.dims(x);
        let target = resolve(&dims, target, allow_zero)?;
        let refused = || Reason::from(format!("reshapes {dims:?} to {target:?}, which is no layer"));
        let shape = self.shapes[&x.layer];
        let (channels, elements) = (shape.channels(), shape.elements());
        let plain: Vec<usize> = [vec![self.batch], shape.into()].concat();
        let viewed = |view| Ok(Value::Activation(Activation { view, ..x.clone() }));
        if target == dims {
            return viewed(x.view);
        }
        match x.view {
            View::ChannelsLast | View::Padded(_) | View::Gelu(_) => return Err(refused()),
            View::Swapped { groups, .. } if target == plain => {
                let layer = self.push(Layer::ChannelShuffle { groups }, &[x.layer])?;
                return Ok(Value::Activation(Activation {
                    layer,
                    view: View::Plain,
                    shared: false,
                    softmax: false,
                }));
            }
            View::Swapped { .. } => return Err(refused()),
            View::Plain | View::Groups(_) | View::Split { .. } => {}
        }
        let divides = |groups: usize| channels.checked_rem(groups) == Some(0);
        match target[..] {
            _ if target.first() != Some(&self.batch) => Err(refused()),
            _ if target == plain => viewed(View::Plain),
            [_, features] if features == elements => {
                let plain = Activation { view: View::Plain, ..x.clone() };
                let layer = self.vector(&plain)?;
                Ok(Value::Activation(Activation { layer, ..plain }))
            }
            [_, features, 1, 1] if shape == Shape::Vector(features) && x.view == View::Plain => {
                let layer = self.map_of(x)?;
                Ok(Value::Activation(Activation { layer, ..x.clone() }))
            }
            [_, groups, _] if divides(groups) && !x.softmax => viewed(View::Groups(groups)),
            [_, groups, each, ref rest @ ..]
                if divides(groups) && each == channels / groups && rest == space(shape, rest.len() == 1) =>
            {
                viewed(View::Split { groups, flat: rest.len() == 1 })
            }
            _ => Err(refused()),
        }
    }

    /// A vector as a map of 1x1: the linear layers that made it become convolutions of 1x1, back to where a map of 1x1
    /// was made a vector. Each layer is gone through once, however many vectors behind it are made maps.
    fn map_of(&mut self, x: &Activation) -> Result<LayerId, Reason> {
        let mut chain = Vec::new();
        let mut at = self.plain(x)?;
        let mut map = loop {
            if let Some(&known) = self.maps.get(&at) {
                break known;
            }
            match self.draft.get(at) {
                Some((Layer::Flatten, &[from])) if self.shapes[&from].spatial() == (1, 1) => {
                    break Some(from);
                }
                Some((layer, &[from])) if is_on_vectors(&layer) => {
                    chain.push((at, layer));
                    at = from;
                }
                _ => break None,
            }
        };
        for (id, layer) in chain.into_iter().rev() {
            map = map.map(|x| self.on_map(layer, id, x)).transpose()?;
            self.maps.insert(id, map);
        }
        map.ok_or_else(|| "a vector made a map, but not one that comes from a map of 1x1".into())
    }

    /// What `layer` does to a vector, done to a map of 1x1, with the parameters of `id`.
    fn on_map(&mut self, layer: Layer, id: LayerId, x: LayerId) -> Result<LayerId, Reason> {
        let (layer, roles): (Layer, &[Role]) = match layer {
            Layer::Linear { out_features, bias } => {
                let conv = Conv { bias, ..Conv::same(out_features, 1) };
                (Layer::Conv(conv), if bias { &[Role::Weight, Role::Bias] } else { &[Role::Weight] })
            }
            Layer::Prelu => (layer, &[Role::Slope]),
            other => (other, &[]),
        };
        let copy = self.push(layer, &[x])?;
        for &role in roles {
            let tensor = self.weights.get(ParamKey::new(id, role))?.clone();
            let (rows, columns) = (tensor.dim(0)?, tensor.elem_count() / tensor.dim(0)?);
            let tensor = if role == Role::Weight { tensor.reshape((rows, columns, 1, 1))? } else { tensor };
            self.weights.insert(ParamKey::new(copy, role), tensor);
        }
        Ok(copy)
    }
}

/// Whether a layer does to a map of 1x1 what it does to a vector.
fn is_on_vectors(layer: &Layer) -> bool {
    matches!(
        layer,
        Layer::Linear { .. }
            | Layer::Activation(_)
            | Layer::Prelu
            | Layer::Scale { .. }
            | Layer::Dropout { .. }
    )
}

/// The axes of a map behind its channels.
fn space(shape: Shape, flat: bool) -> Vec<usize> {
    match (shape, flat) {
        (Shape::Map { height, width, .. }, true) => vec![height * width],
        (Shape::Map { height, width, .. }, false) => vec![height, width],
        (Shape::Vector(_), _) => vec![],
    }
}
