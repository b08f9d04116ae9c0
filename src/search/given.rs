//! Networks that a search is given to start from.

use std::path::{Path, PathBuf};

use morphisms::onnx::{ExportOptions, ImportOptions};
use morphisms::{Architecture, Rescaled, Shape};
use serde::{Deserialize, Serialize};

use crate::config::{Config, DataConfig};
use crate::data::Dataset;
use crate::model::Model;
use crate::progress::{Event, Observer};
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

/// Networks that were read, with their files.
pub(super) type Models = Vec<(PathBuf, Model)>;

/// Reads the networks that the settings name, and checks that they suit the data.
pub(super) fn load(config: &Config, data: &Dataset) -> Result<Models> {
    let input = Shape::map(data.shape.channels, data.shape.height, data.shape.width);
    let load = |path: &PathBuf| {
        let options = ImportOptions { input: None, ..ImportOptions::default() };
        let model = match Model::load(path, &options) {
            // A model that leaves the size of its images open takes those of the data.
            Err(_) => Model::load(path, &ImportOptions { input: Some(input), ..options })?,
            Ok(model) => model,
        };
        check(path, &model, data, input)?;
        Ok((path.clone(), model))
    };
    config.from.iter().map(load).collect()
}

/// Brings networks to unit scale that could not be trained on as they are, and the images with them; the settings then say
/// how those are normalised. No decision of a network changes.
pub(super) fn rescale(
    models: &mut Models,
    config: &mut DataConfig,
    data: &mut Dataset,
    observer: &dyn Observer,
) -> Result<()> {
    if models.is_empty() {
        return Ok(());
    }
    let batch = data.calibration_batch()?;
    let rescaled = |keep_images| -> Result<Vec<Rescaled>> {
        models.iter().map(|(_, model)| Ok(model.network.rescaled(&batch, keep_images)?)).collect()
    };
    let mut all = rescaled(false)?;
    if all.iter().any(|one| one.images != all[0].images) {
        // They read the same images.
        all = rescaled(true)?;
    }
    let images = all[0].images;
    for ((path, model), rescaled) in models.iter_mut().zip(all) {
        if !rescaled.computes_the_same() {
            let powers = format!("images by 2^{images}, logits by 2^{}", rescaled.logits);
            let text = format!(
                "{}: brought to unit scale ({powers}), so that it can be trained on; what it decides is the same",
                path.display()
            );
            observer.observe(&Event::Note { text });
        }
        model.network = rescaled.network;
    }
    if images != 0 {
        data.normalisation.scale(f32::exp2(images as f32));
        let exact = |values: &[f32]| values.iter().copied().map(f64::from).collect();
        (config.mean, config.std) = (exact(&data.normalisation.mean), exact(&data.normalisation.std));
    }
    Ok(())
}

/// What is to be remembered of them.
pub(super) fn describe(models: &Models) -> Result<Vec<Given>> {
    let describe = |(path, Model { network, .. }): &(PathBuf, Model)| {
        let weights = Blobs::hash(network.weights())?;
        Ok(Given { path: path.clone(), architecture: network.architecture().clone(), weights })
    };
    models.iter().map(describe).collect()
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
