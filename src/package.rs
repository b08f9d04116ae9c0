//! Networks that leave the program: weights, architecture, and what is needed to use them.

use std::collections::BTreeMap;
use std::path::Path;

use morphisms::onnx::{self, ExportOptions, InputAffine};
use morphisms::{Architecture, Network, Shape};
use serde::{Deserialize, Serialize};

use crate::config::DataConfig;
use crate::data::{ImageShape, Normalisation};
use crate::store::write_atomically;
use crate::{Error, Result};

/// The file with everything but the weights. [`Network::load`] reads a package too, and passes over what is ours in it.
const DESCRIPTION: &str = Network::ARCHITECTURE_FILE;

/// A network with what it takes to classify an image: how pixels are normalised and what the classes are called.
#[derive(Debug, Clone)]
pub struct Package {
    /// The network.
    pub network: Network,
    /// The rest.
    pub description: Description,
}

/// Everything but the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// The layers.
    pub architecture: Architecture,
    /// The shape of an image.
    pub image: ImageShape,
    /// Mean and standard deviation of `pixel / 255`, by channel.
    pub normalisation: Normalisation,
    /// The classes, in the order of the logits.
    pub classes: Vec<String>,
    /// The data set it was trained on.
    pub data: DataConfig,
    /// The digest of that data set's splits, [`Dataset::digest`](crate::data::Dataset::digest).
    pub data_digest: String,
    /// Where it comes from.
    pub provenance: Provenance,
}

/// Where a network comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Version of the program.
    pub paretomorph: String,
    /// Seed of the run.
    pub seed: u64,
    /// The individual in its run.
    pub id: u64,
    /// What it is worth there.
    pub objectives: BTreeMap<String, f64>,
    /// Content hash of the weights in the run.
    pub weights: String,
}

impl Package {
    /// Whether a folder holds an exported network.
    pub fn is_at(folder: &Path) -> bool {
        folder.join(DESCRIPTION).is_file()
    }

    /// Writes `architecture.json` and `weights.safetensors` into a folder, which is made if it is missing.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let what = || DESCRIPTION.to_string();
        let text = serde_json::to_string_pretty(&self.description);
        let text = text.map_err(|source| Error::Json { what: what(), source })?;
        write_atomically(&folder.join(Network::WEIGHTS_FILE), &self.network.weights().to_safetensors()?)?;
        write_atomically(&folder.join(DESCRIPTION), text.as_bytes())
    }

    /// Loads what [`Package::save`] wrote.
    ///
    /// # Errors
    /// If a file is missing, cut short, or does not fit the other.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(DESCRIPTION);
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let what = || path.display().to_string();
        let description: Description =
            serde_json::from_str(&text).map_err(|source| Error::Json { what: what(), source })?;
        description.check(&path)?;
        let network = Network::load(folder)?;
        Ok(Self { network, description })
    }
}

impl Package {
    /// Writes an ONNX model with the classes, the normalisation and the provenance as metadata. `normalise`: it takes
    /// pixels from 0 to 255; `fold`: batch norms become a part of the convolutions before them.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_onnx(&self, path: &Path, normalise: bool, fold: bool) -> Result<()> {
        let options = ExportOptions {
            fold_batch_norms: fold,
            input: normalise.then(|| self.description.normalisation.of_pixels()),
            input_name: if normalise { "pixels" } else { "images" }.into(),
            producer: "paretomorph".into(),
            metadata: self.description.metadata(normalise)?,
            ..ExportOptions::default()
        };
        write_atomically(path, &onnx::export(&self.network, &options)?)
    }
}

impl Normalisation {
    /// What makes of pixels from 0 to 255 what the network takes.
    fn of_pixels(&self) -> InputAffine {
        let channels =
            || self.mean.iter().zip(&self.std).map(|(&mean, &std)| (f64::from(mean), f64::from(std)));
        InputAffine {
            scale: channels().map(|(_, std)| 1.0 / (255.0 * std)).collect(),
            shift: channels().map(|(mean, std)| -mean / std).collect(),
        }
    }
}

impl Description {
    /// What goes with an ONNX model, as JSON by key.
    pub(crate) fn metadata(&self, normalise: bool) -> Result<BTreeMap<String, String>> {
        let input = match normalise {
            true => "pixels from 0 to 255, in the order red, green, blue",
            false => "(pixel / 255 - mean) / std, channel by channel",
        };
        let Provenance { paretomorph, seed, id, objectives, weights } = &self.provenance;
        let entries = [
            ("input", serde_json::to_string(input)),
            ("classes", serde_json::to_string(&self.classes)),
            ("mean", serde_json::to_string(&self.normalisation.mean)),
            ("std", serde_json::to_string(&self.normalisation.std)),
            ("data", serde_json::to_string(&self.data.name)),
            ("paretomorph", serde_json::to_string(paretomorph)),
            ("seed", serde_json::to_string(seed)),
            ("id", serde_json::to_string(id)),
            ("objectives", serde_json::to_string(objectives)),
            ("weights", serde_json::to_string(weights)),
        ];
        let entry = |(key, text): (&str, serde_json::Result<String>)| {
            let text = text.map_err(|source| Error::Json { what: format!("metadata `{key}`"), source })?;
            Ok((key.to_string(), text))
        };
        entries.into_iter().map(entry).collect()
    }

    /// Whether its parts fit each other; `path` is where it came from.
    fn check(&self, path: &Path) -> Result<()> {
        let Self { architecture, image, normalisation, classes, .. } = self;
        let input = Shape::map(image.channels, image.height, image.width);
        let equal = |what: &str, expected: String, found: String| match expected == found {
            true => Ok(()),
            false => Err(Error::data(path, what, format!("{expected}, as the architecture has"), found)),
        };
        equal("shape of an image", architecture.input().to_string(), input.to_string())?;
        equal("number of classes", architecture.classes().to_string(), classes.len().to_string())?;
        for (what, values) in [("mean", &normalisation.mean), ("std", &normalisation.std)] {
            let what = format!("channels of normalisation.{what}");
            equal(&what, image.channels.to_string(), values.len().to_string())?;
        }
        Ok(())
    }
}
