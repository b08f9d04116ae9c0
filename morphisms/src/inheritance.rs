//! Inheritance: where each parameter of a child comes from, as plain data.

mod evaluate;
mod numbers;
mod resolve;
mod source;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::architecture::{Architecture, ParamKey};
use crate::extent::Extents;
use crate::layer::{LayerId, Role};
use crate::network::Network;
use crate::select::Selection;
use crate::weights::Weights;
use crate::{Error, Result};

pub use source::{FactorPart, Index, Piece, Source, Statistic};

/// Where every parameter of a child comes from. Plain data: it can be printed, stored, sent elsewhere and applied
/// there to the same bits, once it is closed, that is, free of symbolic sources.
///
/// In JSON, of a child that loses layer 4 and gets other numbers for the bias of layer 7:
///
/// ```
/// let text = r#"{
///   "rest": {"kept_but": ["4.weight"]},
///   "sources": {"7.bias": {"constant": {"shape": [10], "value": 0.0}}}
/// }"#;
/// let inheritance: morphisms::Inheritance = serde_json::from_str(text)?;
/// assert!(inheritance.is_closed());
/// # Ok::<(), morphisms::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inheritance {
    /// What becomes of the parent's parameters that `sources` does not name.
    #[serde(default, skip_serializing_if = "Rest::is_dropped")]
    pub rest: Rest,
    /// Sources of the child's parameters.
    pub sources: BTreeMap<ParamKey, Source>,
    /// The channel selections that symbolic indices refer to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selections: Vec<Selection>,
}

/// What becomes of the parameters of a parent that an [`Inheritance`] gives no source for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    /// The child has none of them.
    #[default]
    Dropped,
    /// The child keeps all of them but these.
    KeptBut(BTreeSet<ParamKey>),
}

impl Rest {
    fn is_dropped(&self) -> bool {
        *self == Self::Dropped
    }

    fn keeps(&self, key: ParamKey) -> bool {
        match self {
            Self::Dropped => false,
            Self::KeptBut(others) => !others.contains(&key),
        }
    }
}

impl Inheritance {
    /// Every parameter of `child` that `parent` has too, in the same shape, is kept; the rest is to be set.
    pub fn keep(parent: &Architecture, child: &Architecture) -> Self {
        let lost = child.differences(parent);
        let lost = lost.iter().copied().filter(|key| parent.has_parameter(*key)).collect();
        Self { rest: Rest::KeptBut(lost), sources: BTreeMap::new(), selections: Vec::new() }
    }

    /// Sets the source of a parameter.
    pub fn set(&mut self, layer: LayerId, role: Role, source: Source) {
        self.insert(ParamKey::new(layer, role), source);
    }

    /// Wraps the source of a parameter, the parent's tensor if none is set yet.
    pub fn change(&mut self, key: ParamKey, wrap: impl FnOnce(Source) -> Source) {
        let source = self.sources.remove(&key).unwrap_or(Source::Parent(key));
        self.insert(key, wrap(source));
    }

    fn insert(&mut self, key: ParamKey, source: Source) {
        if let Rest::KeptBut(others) = &mut self.rest {
            others.remove(&key);
        }
        self.sources.insert(key, source);
    }

    /// A batch norm that changes nothing where it is inserted, behind layer `at`: normalised by the statistics
    /// there, then scaled and shifted back.
    pub fn identity_norm(&mut self, norm: LayerId, at: LayerId, eps: f64) {
        let of = |of| Source::Statistic { layer: at, of, eps };
        self.set(norm, Role::Gamma, of(Statistic::Deviation));
        self.set(norm, Role::Beta, of(Statistic::Mean));
        self.set(norm, Role::Mean, of(Statistic::Mean));
        self.set(norm, Role::Variance, of(Statistic::Variance));
    }

    /// Whether no source is symbolic.
    pub fn is_closed(&self) -> bool {
        self.sources.values().all(Source::is_closed)
    }

    /// Where the child's parameter `key` comes from, none if the child has no such parameter. What is kept with the rest
    /// comes from the parent's parameter of that name, whether there is one or not.
    pub fn source(&self, key: ParamKey) -> Option<Cow<'_, Source>> {
        let kept = || self.rest.keeps(key).then_some(Cow::Owned(Source::Parent(key)));
        self.sources.get(&key).map(Cow::Borrowed).or_else(kept)
    }

    /// The child's parameters that are untouched ones of `parent`.
    pub fn kept(&self, parent: &Architecture) -> impl Iterator<Item = ParamKey> {
        let rest = parent.parameters().into_keys();
        let rest = rest.filter(|&key| self.rest.keeps(key) && !self.sources.contains_key(&key));
        let named = self.sources.iter().filter(|(_, source)| matches!(source, Source::Parent(_)));
        rest.chain(named.map(|(&key, _)| key))
    }

    /// Replaces symbolic sources by what they stand for in `parent`. `batch` is what [`Source::Statistic`] is
    /// measured on, `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// When a source does not fit the parent.
    pub fn resolve(&self, parent: &Network, batch: Option<&Tensor>) -> Result<Self> {
        let extents = Extents::new(parent.weights(), Some((parent, &self.selections)));
        Ok(self.resolved(parent, batch, &extents)?.into_owned())
    }

    /// The child's weights. What is kept shares the parent's storage and costs nothing, however much it is.
    ///
    /// # Errors
    /// When the inheritance is symbolic or does not fit the parent.
    pub fn apply(&self, parent: &Weights, dtype: DType, device: &Device) -> Result<Weights> {
        let extents = Extents::new(parent, None);
        self.computed().try_for_each(|(_, source)| extents.of(source).map(drop))?;
        self.evaluate(parent, dtype, device)
    }

    /// The child's weights, of sources whose shapes were checked.
    pub(crate) fn evaluate(&self, parent: &Weights, dtype: DType, device: &Device) -> Result<Weights> {
        let mut child = match &self.rest {
            Rest::Dropped => Weights::default(),
            Rest::KeptBut(others) => parent.without(others),
        };
        for (&key, source) in &self.sources {
            child.insert(key, source.evaluate(parent, dtype, device)?);
        }
        Ok(child)
    }

    /// What is not simply the parent's, which has a shape already.
    fn computed(&self) -> impl Iterator<Item = (&ParamKey, &Source)> {
        self.sources.iter().filter(|(_, source)| !matches!(source, Source::Parent(_)))
    }

    /// The inheritance of a grandchild from its grandparent: `self` from grandparent to parent, `next` from parent
    /// to child.
    ///
    /// # Errors
    /// When one of the two is symbolic, or `next` reads a parameter that `self` does not make.
    pub fn then(&self, next: &Self) -> Result<Self> {
        if !self.is_closed() || !next.is_closed() {
            return Err(Error::Weights("only resolved inheritances compose".into()));
        }
        let mut substitute = |source| match source {
            Source::Parent(key) => {
                let found = self.source(key).map(Cow::into_owned);
                found.ok_or_else(|| Error::Weights(format!("no parameter {key} to inherit from")))
            }
            other => Ok(other),
        };
        let made = next.sources.iter().map(|(&key, source)| Ok((key, source.clone().map(&mut substitute)?)));
        let mut sources: BTreeMap<_, _> = made.collect::<Result<_>>()?;
        for (&key, source) in self.sources.iter().filter(|(key, _)| next.rest.keeps(**key)) {
            sources.entry(key).or_insert_with(|| source.clone());
        }
        let rest = match (&self.rest, &next.rest) {
            (Rest::KeptBut(first), Rest::KeptBut(second)) => {
                let lost = first.union(second).filter(|key| !sources.contains_key(key));
                Rest::KeptBut(lost.copied().collect())
            }
            (Rest::Dropped, _) | (_, Rest::Dropped) => Rest::Dropped,
        };
        Ok(Self { rest, sources, selections: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::Draft;
    use crate::layer::{Conv, Layer, Shape};

    fn one_conv(channels: usize) -> Architecture {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let relu = draft.conv_bn_relu(draft.input(), Conv::same(channels, 3));
        draft.head(relu, 2);
        draft.build().unwrap()
    }

    #[test]
    fn what_has_another_shape_is_not_kept() {
        let kept = |channels| Inheritance::keep(&one_conv(4), &one_conv(channels)).kept(&one_conv(4)).count();
        // Of the wider one the bias of the logits is left.
        assert_eq!([kept(4), kept(6)], [one_conv(4).parameters().len(), 1]);
    }

    #[test]
    fn what_says_nothing_is_not_written() {
        let nothing = Inheritance { rest: Rest::Dropped, sources: BTreeMap::new(), selections: Vec::new() };
        let written = serde_json::to_value(&nothing).unwrap();
        assert_eq!(written, serde_json::json!({ "sources": {} }));
        assert_eq!(serde_json::from_value::<Inheritance>(written).unwrap(), nothing);
    }

    #[test]
    fn symbolic_inheritances_do_not_compose() {
        let architecture = one_conv(4);
        let closed = Inheritance::keep(&architecture, &architecture);
        let mut symbolic = closed.clone();
        symbolic.identity_norm(LayerId(2), LayerId(1), Layer::EPS);
        assert!(closed.then(&closed).is_ok());
        assert!(closed.then(&symbolic).is_err() && symbolic.then(&closed).is_err());
    }

    #[test]
    fn halves_of_a_kernel_add_up_with_what_has_their_shape() {
        let parent = Network::init(one_conv(4), 0, DType::F64, &Device::Cpu).unwrap();
        let weight = ParamKey::new(LayerId(1), Role::Weight);
        for (part, shape) in [(FactorPart::Depthwise, [1, 1, 3, 3]), (FactorPart::Pointwise, [4, 1, 1, 1])] {
            let half = Source::Factor { of: Box::new(Source::Parent(weight)), part };
            let zeros = Source::Constant { shape: shape.to_vec(), value: 0.0 };
            let sources = BTreeMap::from([(weight, Source::Sum { of: vec![half, zeros] })]);
            let closed = Inheritance { rest: Rest::Dropped, sources, selections: Vec::new() }
                .resolve(&parent, None)
                .unwrap();
            let made = closed.apply(parent.weights(), DType::F64, &Device::Cpu).unwrap();
            assert_eq!(made.get(weight).unwrap().dims(), shape);
        }
    }

    /// It may come from a file: what is too large is refused before memory is asked for.
    #[test]
    fn sizes_are_checked_before_anything_is_made() {
        let parent = Network::init(one_conv(4), 0, DType::F64, &Device::Cpu).unwrap();
        let weight = ParamKey::new(LayerId(1), Role::Weight);
        let huge = Source::Constant { shape: vec![1 << 24, 1 << 24], value: 0.0 };
        let half = Source::Factor { of: Box::new(huge.clone()), part: FactorPart::Depthwise };
        let inheritance = |source| Inheritance {
            rest: Rest::Dropped,
            sources: [(weight, source)].into(),
            selections: Vec::new(),
        };
        let applied = inheritance(huge).apply(parent.weights(), DType::F64, &Device::Cpu);
        assert!(matches!(applied, Err(Error::Weights(_))));
        assert!(matches!(inheritance(half).resolve(&parent, None), Err(Error::Weights(_))));
    }

    /// As inheritances were written before they left out what is kept.
    #[test]
    fn every_source_may_be_named() {
        let network = Network::init(one_conv(2), 0, DType::F32, &Device::Cpu).unwrap();
        let text = r#"{"sources": {
            "1.weight": {"parent": "1.weight"}, "2.gamma": {"parent": "2.beta"}, "2.beta": {"parent": "2.beta"},
            "2.mean": {"parent": "2.mean"}, "2.variance": {"parent": "2.variance"}, "6.weight": {"parent": "6.weight"},
            "6.bias": {"values": {"shape": [2], "values": [0.5, -0.5]}}
        }}"#;
        let named: Inheritance = serde_json::from_str(text).unwrap();
        assert_eq!(named.rest, Rest::Dropped);
        assert_eq!(named.kept(network.architecture()).count(), 6);
        let mut short = Inheritance::keep(network.architecture(), network.architecture());
        for key in ["2.gamma", "6.bias"] {
            let key: ParamKey = key.parse().unwrap();
            short.set(key.layer, key.role, named.sources[&key].clone());
        }
        let bytes = |inheritance: &Inheritance| {
            let child = inheritance.apply(network.weights(), DType::F32, &Device::Cpu).unwrap();
            child.to_safetensors().unwrap()
        };
        assert_eq!(bytes(&short), bytes(&named));
        assert!(
            serde_json::to_string(&short).unwrap().len() < 170,
            "{}",
            serde_json::to_string(&short).unwrap()
        );
    }

    /// The same with a source for every parameter.
    fn in_full(inheritance: &Inheritance, parent: &Architecture) -> Inheritance {
        let kept = inheritance.kept(parent).map(|key| (key, inheritance.source(key).unwrap().into_owned()));
        let sources = inheritance.sources.clone().into_iter().chain(kept).collect();
        Inheritance { rest: Rest::Dropped, sources, selections: Vec::new() }
    }

    #[test]
    fn what_is_named_and_what_is_left_out_compose() {
        let step = |network: &Network, name: &str| {
            let morphism = crate::catalog::named(name).unwrap();
            let site = morphism.sites(network.architecture()).pop().unwrap();
            let rewrite = morphism.rewrite(network.architecture(), &site, 1).unwrap();
            (rewrite.inheritance.resolve(network, None).unwrap(), network.child(&rewrite, None).unwrap())
        };
        // Of two layers of one shape, so that one can go.
        let parent = step(&Network::init(one_conv(4), 0, DType::F32, &Device::Cpu).unwrap(), "deepen").1;
        for [first, second] in [["deepen", "drop_layer"], ["drop_layer", "deepen"], ["widen", "prune"]] {
            let (a, child) = step(&parent, first);
            let (b, grandchild) = step(&child, second);
            let expected = grandchild.weights().to_safetensors().unwrap();
            for a in [&a, &in_full(&a, parent.architecture())] {
                for b in [&b, &in_full(&b, child.architecture())] {
                    let both = a.then(b).unwrap();
                    let found = both.apply(parent.weights(), DType::F32, &Device::Cpu).unwrap();
                    assert_eq!(found.to_safetensors().unwrap(), expected, "{first}, {second}: {both:?}");
                }
            }
        }
    }

    #[test]
    fn what_the_first_step_drops_the_second_cannot_read() {
        let architecture = one_conv(4);
        let mut without = Inheritance::keep(&architecture, &architecture);
        let key: ParamKey = "2.beta".parse().unwrap();
        without.rest = Rest::KeptBut([key].into());
        let mut reads = Inheritance::keep(&architecture, &architecture);
        reads.set(LayerId(2), Role::Gamma, Source::Parent(key));
        assert!(reads.then(&without).is_ok());
        assert!(without.then(&reads).unwrap_err().to_string().contains("2.beta"));
    }
}
