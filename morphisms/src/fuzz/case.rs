//! Cases and failures as plain data.

use std::collections::BTreeMap;
use std::fmt;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::architecture::{Architecture, ParamKey};
use crate::morphism::{Morphism, Site};
use crate::network::Network;
use crate::{Error, Result};

/// A broken promise: who broke it, where, how, and the case that shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The seed under which it was found.
    pub seed: u64,
    /// The index of the case in which it was found.
    pub index: u64,
    /// The morphism.
    pub morphism: String,
    /// Where; none if its list of sites is the problem.
    pub site: Option<Site>,
    /// What is broken, in words.
    pub problem: String,
    /// What to run to see it again.
    pub case: Case,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "case {} of seed {}: {}", self.index, self.seed, self.morphism)?;
        self.site.iter().try_for_each(|site| write!(f, " at {site}"))?;
        write!(f, ": {}", self.problem)
    }
}

/// A network and a chain of edits; depends on nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The number format of the weights, `"f32"` or `"f64"`.
    #[serde(serialize_with = "write_dtype", deserialize_with = "read_dtype")]
    pub dtype: DType,
    /// Whether forward passes in training mode are compared too.
    pub train_mode: bool,
    /// The seed of the images; their number follows from it too.
    pub images: u64,
    /// What is done to the network, the failing edit last.
    pub edits: Vec<CaseEdit>,
    /// The network's structure.
    pub architecture: Architecture,
    /// Its numbers.
    pub weights: BTreeMap<ParamKey, Values>,
}

/// An edit of a [`Case`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseEdit {
    /// The morphism's name.
    pub morphism: String,
    /// Where.
    pub site: Site,
    /// The seed of the rewrite.
    pub seed: u64,
}

impl CaseEdit {
    pub(super) fn new(morphism: &dyn Morphism, site: &Site, seed: u64) -> Self {
        Self { morphism: morphism.name().into(), site: site.clone(), seed }
    }
}

/// A tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Values {
    /// Shape.
    pub shape: Vec<usize>,
    /// Numbers, row by row. JSON keeps them bit for bit, those of f32 as the f64 of the same value.
    pub values: Vec<f64>,
}

impl Case {
    /// The case of a network.
    pub(super) fn new(
        network: &Network,
        images: u64,
        train_mode: bool,
        edits: Vec<CaseEdit>,
    ) -> Result<Self> {
        let values = |(key, tensor): (ParamKey, &Tensor)| {
            let values = tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
            Ok((key, Values { shape: tensor.dims().to_vec(), values }))
        };
        Ok(Self {
            dtype: network.dtype(),
            train_mode,
            images,
            edits,
            architecture: network.architecture().clone(),
            weights: network.weights().iter().map(values).collect::<Result<_>>()?,
        })
    }

    /// The network before the edits, on the CPU.
    ///
    /// # Errors
    /// [`Error::Weights`] if the weights do not fit the architecture.
    pub fn network(&self) -> Result<Network> {
        let tensor = |(&key, Values { shape, values }): (&ParamKey, &Values)| {
            let wanted = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
            if wanted != Some(values.len()) {
                let found = values.len();
                return Err(Error::Weights(format!("{key}: {found} values for the shape {shape:?}")));
            }
            let tensor = Tensor::from_slice(values, shape.as_slice(), &Device::Cpu)?;
            Ok((key, tensor.to_dtype(self.dtype)?))
        };
        let weights = self.weights.iter().map(tensor).collect::<Result<_>>()?;
        // A network without parameters would be in f32.
        Network::new(self.architecture.clone(), weights)?.to_dtype(self.dtype)
    }
}

impl Failure {
    /// As JSON for people: indented, each list of numbers on one line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn to_json(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self)?;
        let (mut lines, mut out) = (text.lines().peekable(), String::new());
        while let Some(line) = lines.next() {
            out.push_str(line);
            if line.ends_with('[') && lines.peek().is_some_and(|next| is_number(next)) {
                let numbers: Vec<&str> =
                    std::iter::from_fn(|| lines.next_if(|next| is_number(next))).collect();
                let close = lines.next().unwrap_or_default();
                out.push_str(&numbers.iter().map(|item| item.trim()).collect::<Vec<_>>().join(" "));
                out.push_str(close.trim());
            }
            out.push('\n');
        }
        Ok(out)
    }
}

fn is_number(item: &str) -> bool {
    item.trim().trim_end_matches(',').parse::<f64>().is_ok()
}

fn write_dtype<S: Serializer>(dtype: &DType, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(dtype.as_str())
}

fn read_dtype<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<DType, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "f32" => Ok(DType::F32),
        "f64" => Ok(DType::F64),
        other => Err(serde::de::Error::unknown_variant(other, &["f32", "f64"])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::Draft;
    use crate::layer::{Conv, LayerId, Shape};

    fn failure() -> Failure {
        let mut draft = Draft::new(Shape::map(1, 4, 4));
        let x = draft.conv_bn_relu(draft.input(), Conv::same(2, 3));
        draft.head(x, 3);
        let network = Network::init(draft.build().unwrap(), 0, DType::F32, &Device::Cpu).unwrap();
        let site = Site::new(&[LayerId(1)], 2);
        let edits = vec![CaseEdit { morphism: "widen".into(), site: site.clone(), seed: 3 }];
        let case = Case::new(&network, 5, false, edits).unwrap();
        let (morphism, problem) = ("widen".into(), "it panics: \"so\"".into());
        Failure { seed: 1, index: 2, morphism, site: Some(site), problem, case }
    }

    #[test]
    fn failures_survive_json_bit_for_bit() {
        let failure = failure();
        let text = failure.to_json().unwrap();
        assert_eq!(serde_json::from_str::<Failure>(&text).unwrap(), failure);
        assert!(text.lines().count() < 130, "{text}");
        let again = Case::new(&failure.case.network().unwrap(), 5, false, failure.case.edits.clone());
        assert_eq!(again.unwrap(), failure.case);
    }

    #[test]
    fn weights_that_do_not_fit_are_named() {
        let mut case = failure().case;
        case.weights.first_entry().unwrap().get_mut().values.pop();
        let error = case.network().unwrap_err().to_string();
        assert!(error.contains("1.weight: 17 values for the shape [2, 1, 3, 3]"), "{error}");
    }
}
