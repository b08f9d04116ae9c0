//! Weights: the parameters of a network, as plain tensors.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use crate::architecture::{Architecture, ParamKey};
use crate::shared_map::SharedMap;
use crate::{Error, Result, files};

/// The tensors of a network by name, never a `Var`: writing into a `Var` in place would change every network that
/// shares its storage. Cloning copies no numbers, and a clone that
/// gets other tensors shares the rest with the original, names and all.
#[derive(Debug, Clone, Default)]
pub struct Weights(SharedMap<Tensor>);

impl Weights {
    /// The tensor `key`.
    ///
    /// # Errors
    /// [`Error::Weights`] if there is none.
    pub fn get(&self, key: ParamKey) -> Result<&Tensor> {
        self.0.get(key.number()).ok_or_else(|| missing(key))
    }

    /// Sets the tensor `key`.
    pub fn insert(&mut self, key: ParamKey, tensor: Tensor) {
        self.0.insert(key.number(), tensor);
    }

    /// The tensors but these.
    pub(crate) fn without(&self, keys: &BTreeSet<ParamKey>) -> Self {
        let mut others = self.clone();
        keys.iter().for_each(|key| others.0.remove(key.number()));
        others
    }

    /// All tensors in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (ParamKey, &Tensor)> {
        self.0.iter().map(|(number, tensor)| (ParamKey::numbered(number), tensor))
    }

    /// The number of tensors.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tensors in another number format.
    ///
    /// # Errors
    /// When candle cannot convert.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        self.iter().map(|(key, tensor)| Ok((key, tensor.to_dtype(dtype)?))).collect()
    }

    /// Whether every tensor fits `architecture`: the same names and shapes, one number format.
    ///
    /// # Errors
    /// [`Error::Weights`] that names the first parameter that does not fit.
    pub fn check(&self, architecture: &Architecture) -> Result<()> {
        let mut found = self.iter().peekable();
        let dtype = self.iter().next().map_or(DType::F32, |(_, tensor)| tensor.dtype());
        let mut checked = Ok(());
        for node in architecture.nodes_by_id() {
            architecture.each_parameter(node, &mut |key, shape| {
                if checked.is_ok() {
                    // Both are in the order of their names, so what comes before `key` belongs to nothing.
                    checked = match found.next_if(|(next, _)| *next <= key) {
                        Some((next, tensor)) if next == key => fits(key, tensor, shape, dtype),
                        Some((next, _)) => Err(superfluous(next)),
                        None => Err(missing(key)),
                    };
                }
            });
        }
        checked?;
        found.next().map_or(Ok(()), |(next, _)| Err(superfluous(next)))
    }

    /// Whether the parameter `key` is there or not, as `architecture` has it.
    pub(crate) fn check_one(&self, architecture: &Architecture, key: ParamKey, dtype: DType) -> Result<()> {
        match (architecture.parameter(key), self.0.get(key.number())) {
            (Some(shape), Some(tensor)) => fits(key, tensor, &shape, dtype),
            (Some(_), None) => Err(missing(key)),
            (None, Some(_)) => Err(superfluous(key)),
            (None, None) => Ok(()),
        }
    }

    /// The tensors in the safetensors format. Equal weights give equal bytes.
    ///
    /// # Errors
    /// When a tensor cannot be read back from its device.
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        let named: Vec<(String, Tensor)> = self
            .iter()
            .map(|(key, tensor)| Ok((key.to_string(), tensor.contiguous()?)))
            .collect::<Result<_>>()?;
        safetensors::serialize(named.iter().map(|(name, tensor)| (name, tensor)), None)
            .map_err(|error| Error::Weights(format!("safetensors: {error}")))
    }

    /// Reads what [`Weights::to_safetensors`] wrote.
    ///
    /// # Errors
    /// [`Error::Weights`] when the bytes are not safetensors, or a name is not a parameter's.
    pub fn from_safetensors(bytes: &[u8], device: &Device) -> Result<Self> {
        let tensors = candle_core::safetensors::load_buffer(bytes, device)
            .map_err(|error| Error::Weights(format!("not a complete safetensors file: {error}")))?;
        // In order, so that of several foreign names it is always the same that is reported.
        let tensors = BTreeMap::from_iter(tensors);
        tensors.into_iter().map(|(name, tensor)| Ok((name.parse()?, tensor))).collect()
    }

    /// Reads a safetensors file.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::File`], with the file's name.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(files::io(path))?;
        Self::from_safetensors(&bytes, device).map_err(|error| match error {
            Error::Weights(problem) => Error::File { path: path.to_path_buf(), problem },
            other => other,
        })
    }

    /// Writes a safetensors file, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`], with the file's name.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        files::write(path.as_ref(), &self.to_safetensors()?)
    }
}

fn missing(key: ParamKey) -> Error {
    Error::Weights(format!("no parameter {key}"))
}

pub(crate) fn superfluous(key: ParamKey) -> Error {
    Error::Weights(format!("parameter {key} does not belong to the architecture"))
}

pub(crate) fn check_shape(key: ParamKey, found: &[usize], expected: &[usize]) -> Result<()> {
    match found == expected {
        true => Ok(()),
        false => {
            Err(Error::Weights(format!("parameter {key}: expected shape {expected:?}, found {found:?}")))
        }
    }
}

fn fits(key: ParamKey, tensor: &Tensor, shape: &[usize], dtype: DType) -> Result<()> {
    check_shape(key, tensor.dims(), shape)?;
    if !dtype.is_float() {
        return Err(Error::Weights(format!(
            "parameter {key}: expected floating-point numbers, found {dtype:?}"
        )));
    }
    if tensor.dtype() != dtype {
        let found = tensor.dtype();
        return Err(Error::Weights(format!(
            "parameter {key}: expected {dtype:?} like the rest, found {found:?}"
        )));
    }
    Ok(())
}

impl FromIterator<(ParamKey, Tensor)> for Weights {
    fn from_iter<I: IntoIterator<Item = (ParamKey, Tensor)>>(iter: I) -> Self {
        Self(iter.into_iter().map(|(key, tensor)| (key.number(), tensor)).collect())
    }
}
