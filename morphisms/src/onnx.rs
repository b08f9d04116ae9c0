//! Networks from ONNX files and into them (feature `onnx`).
//!
//! ```
//! use morphisms::{Network, Shape, catalog, onnx};
//!
//! let network = Network::builder(Shape::map(3, 16, 16)).conv_bn_relu(8, 3).head(10).init(0)?;
//! let bytes = onnx::export(&network, &onnx::ExportOptions::default())?;
//! let deepen = catalog::named("deepen").unwrap();
//! let parent = Network::from_onnx(&bytes)?;
//! let site = &deepen.sites(parent.architecture())[0];
//! let child = parent.child(&deepen.rewrite(parent.architecture(), site, 0)?, None)?;
//! let deeper = onnx::export(&child, &onnx::ExportOptions::default())?;
//! assert!(deeper.len() > bytes.len());
//! # Ok::<(), morphisms::Error>(())
//! ```
//!
//! The format is that of the ONNX project, <https://onnx.ai/onnx/repo-docs/IR.html>, and its operators are those of
//! <https://onnx.ai/onnx/operators/>. Names of operators in this module are theirs.

mod build;
mod constant;
mod export;
mod import;
#[allow(missing_docs, clippy::all, unreachable_pub)]
mod schema;
mod tensor;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use export::{ExportOptions, InputAffine, export};
pub use import::{Import, ImportOptions, import};

use crate::network::Network;
use crate::{Error, Result, files};

impl Network {
    /// The network of an ONNX file's bytes, in f32 on the CPU: [`import`] without options.
    ///
    /// # Errors
    /// As [`import`].
    pub fn from_onnx(bytes: &[u8]) -> Result<Self> {
        Ok(import(bytes, &ImportOptions::default())?.network)
    }

    /// Reads an ONNX file; weights may lie in files beside it.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::File`], with the file's name.
    pub fn load_onnx(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Import::load(path, &ImportOptions::default())?.network)
    }

    /// Writes an ONNX file, whole or not at all: [`export`].
    ///
    /// # Errors
    /// As [`export`], and [`Error::Io`] with the file's name.
    pub fn save_onnx(&self, path: impl AsRef<Path>, options: &ExportOptions) -> Result<()> {
        files::write(path.as_ref(), &export(self, options)?)
    }
}

impl Import {
    /// What writes the network as the same model: the same names, axes, softmax and metadata.
    pub fn export_options(&self) -> ExportOptions {
        ExportOptions {
            channels_last: self.channels_last,
            softmax: self.softmax,
            input_name: self.input_name.clone(),
            output_name: self.output_name.clone(),
            metadata: self.metadata.clone(),
            ..ExportOptions::default()
        }
    }

    /// Reads an ONNX file with options; weights may lie in files beside it.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::File`], with the file's name.
    pub fn load(path: impl AsRef<Path>, options: &ImportOptions) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(files::io(path))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).to_path_buf();
        let options = ImportOptions { folder: Some(folder), ..options.clone() };
        import::import_owned(bytes.into(), &options)
            .map_err(|error| Error::File { path: path.into(), problem: error.to_string() })
    }
}
