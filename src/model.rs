//! Networks in files of any kind: ONNX, or the folder of an exported network.

use std::path::Path;

use morphisms::Network;
use morphisms::onnx::{ExportOptions, Import, ImportOptions};

use crate::Result;
use crate::package::Package;

/// A network from a file.
#[derive(Debug, Clone)]
pub struct Model {
    /// The network.
    pub network: Network,
    /// What writes it as the model it was; its metadata are those of the file.
    pub options: ExportOptions,
}

impl Model {
    /// Reads an ONNX file, or the folder of an exported network.
    ///
    /// # Errors
    /// If the file cannot be read or is no network that this program can take; the message names it.
    pub fn load(path: &Path, options: &ImportOptions) -> Result<Self> {
        if Package::is_at(path) {
            let Package { network, description } = Package::load(path)?;
            let options =
                ExportOptions { metadata: description.metadata(false)?, ..ExportOptions::default() };
            return Ok(Self { network, options });
        }
        let import = Import::load(path, options)?;
        Ok(Self { options: import.export_options(), network: import.network })
    }
}
