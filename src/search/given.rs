//! Networks that a search is given to start from.

use std::path::{Path, PathBuf};

use morphisms::onnx::{ExportOptions, ImportOptions};
use morphisms::{Architecture, Shape};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::data::Dataset;
use crate::model::Model;
use crate::store::Blobs;
use crate::{Error, Result};

/// A network of the initial population that somebody brought along, trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Given {
    /// The file it came from.
    pub path: PathBuf,
    /// The architecture.
    pub architecture: Architecture,
    /// Content hash of the weights.
    pub weights: String,
}

/// Reads the networks that the settings name, and checks that they suit the data.
pub(super) fn load(config: &Config, data: &Dataset) -> Result<Vec<(Given, Model)>> {
    let input = Shape::map(data.shape.channels, data.shape.height, data.shape.width);
    let load = |path: &PathBuf| {
        let options = ImportOptions { input: None, ..ImportOptions::default() };
        let model = match Model::load(path, &options) {
            // A model that leaves the size of its images open takes those of the data.
            Err(_) => Model::load(path, &ImportOptions { input: Some(input), ..options })?,
            Ok(model) => model,
        };
        check(path, &model, data, input)?;
        let architecture = model.network.architecture().clone();
        let weights = Blobs::hash(model.network.weights())?;
        Ok((Given { path: path.clone(), architecture, weights }, model))
    };
    config.from.iter().map(load).collect()
}

fn check(path: &Path, model: &Model, data: &Dataset, input: Shape) -> Result<()> {
    let architecture = model.network.architecture();
    let equal = |what: &str, expected: String, found: String| match expected == found {
        true => Ok(()),
        false => Err(Error::data(path, what, format!("{expected}, as {} has", data.name), found)),
    };
    equal("shape of an image", input.to_string(), architecture.input().to_string())?;
    equal("number of classes", data.classes.len().to_string(), architecture.classes().to_string())?;
    check_normalisation(path, &model.options, data)
}

/// A network that this program exported says what it takes.
fn check_normalisation(path: &Path, options: &ExportOptions, data: &Dataset) -> Result<()> {
    if options.input_name == "pixels" {
        return Ok(());
    }
    let stated = |key: &str| -> Option<Vec<f32>> { serde_json::from_str(options.metadata.get(key)?).ok() };
    for (key, of) in [("mean", &data.normalisation.mean), ("std", &data.normalisation.std)] {
        if let Some(stated) = stated(key)
            && stated != *of
        {
            let expected = format!("{of:?}, as the data are normalised (settings data.mean and data.std)");
            return Err(Error::data(path, format!("metadata `{key}`"), expected, format!("{stated:?}")));
        }
    }
    Ok(())
}
