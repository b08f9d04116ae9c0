//! Networks and architectures in files.

use std::path::Path;

use candle_core::Device;
use serde::{Deserialize, Serialize};

use crate::architecture::Architecture;
use crate::network::Network;
use crate::weights::Weights;
use crate::{Error, Result};

/// What [`Network::ARCHITECTURE_FILE`] must hold; it may hold more.
#[derive(Serialize, Deserialize)]
struct Document<A> {
    architecture: A,
}

impl Network {
    /// The file of a stored network that holds the layers, as the field `architecture` of a JSON object. Other fields are the
    /// business of whoever wrote them.
    pub const ARCHITECTURE_FILE: &str = "architecture.json";
    /// The file of a stored network that holds the weights, in the safetensors format.
    pub const WEIGHTS_FILE: &str = "weights.safetensors";

    /// Writes the network into a folder, which is made if it is missing. Each file is written beside its place and then
    /// moved there, so that it is never half a file.
    ///
    /// # Errors
    /// [`Error::Io`] with the file's name.
    ///
    /// ```
    /// use morphisms::{Network, Shape};
    /// let network = Network::builder(Shape::map(1, 8, 8)).conv_bn_relu(4, 3).head(10).init(0)?;
    /// let folder = std::env::temp_dir().join(format!("morphisms-{}", std::process::id()));
    /// network.save(&folder)?;
    /// let copy = Network::load(&folder)?;
    /// assert_eq!(copy.architecture(), network.architecture());
    /// assert_eq!(copy.weights().to_safetensors()?, network.weights().to_safetensors()?);
    /// # std::fs::remove_dir_all(&folder).unwrap();
    /// # Ok::<(), morphisms::Error>(())
    /// ```
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder).map_err(io(folder))?;
        let text = serde_json::to_string_pretty(&Document { architecture: self.architecture() })?;
        write(&folder.join(Self::WEIGHTS_FILE), &self.weights().to_safetensors()?)?;
        write(&folder.join(Self::ARCHITECTURE_FILE), text.as_bytes())
    }

    /// Loads what [`Network::save`] wrote, onto the CPU.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::File`], with the file's name, if one is missing, cut short, or does not fit the other.
    pub fn load(folder: impl AsRef<Path>) -> Result<Self> {
        Self::load_on(folder, &Device::Cpu)
    }

    /// [`load`](Self::load) with a choice of device.
    ///
    /// # Errors
    /// As [`Network::load`].
    pub fn load_on(folder: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let path = folder.as_ref().join(Self::ARCHITECTURE_FILE);
        let Document::<Architecture> { architecture } = read_json(&path)?;
        let path = folder.as_ref().join(Self::WEIGHTS_FILE);
        let weights = Weights::load(&path, device)?;
        Self::new(architecture, weights).map_err(|error| {
            let problem = format!("does not fit {}: {}", Self::ARCHITECTURE_FILE, reason(error));
            Error::File { path, problem }
        })
    }
}

impl Architecture {
    /// Writes the layers into a JSON file.
    ///
    /// # Errors
    /// [`Error::Io`] with the file's name.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write(path.as_ref(), serde_json::to_string_pretty(self)?.as_bytes())
    }

    /// Reads what [`Architecture::save`] wrote.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::File`], with the file's name.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        read_json(path.as_ref())
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(io(path))?;
    serde_json::from_str(&text)
        .map_err(|error| Error::File { path: path.to_path_buf(), problem: error.to_string() })
}

/// Writes a file whole or not at all.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".{}.part", std::process::id()));
    std::fs::write(&unfinished, bytes)
        .and_then(|()| std::fs::rename(&unfinished, path))
        .inspect_err(|_| drop(std::fs::remove_file(&unfinished)))
        .map_err(io(path))
}

pub(crate) fn io(path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::Io { path: path.to_path_buf(), source }
}

/// What is wrong, without the words that an error of weights begins with.
fn reason(error: Error) -> String {
    match error {
        Error::Weights(problem) => problem,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Shape;

    /// A folder that goes away with the test.
    struct Folder(std::path::PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("morphisms-{name}-{}", std::process::id())))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn network(channels: usize) -> Network {
        Network::builder(Shape::map(1, 4, 4)).conv_bn_relu(channels, 3).head(2).init(1).unwrap()
    }

    fn text(folder: &Path) -> String {
        Network::load(folder).unwrap_err().to_string()
    }

    #[test]
    fn a_network_comes_back_and_nothing_else_is_left() {
        let folder = Folder::new("back");
        for channels in [2, 3] {
            network(channels).save(&folder.0).unwrap();
            let copy = Network::load(&folder.0).unwrap();
            assert_eq!(copy.architecture(), network(channels).architecture());
            let bytes = |network: &Network| network.weights().to_safetensors().unwrap();
            assert_eq!(bytes(&copy), bytes(&network(channels)));
        }
        let mut names: Vec<_> =
            std::fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [Network::ARCHITECTURE_FILE, Network::WEIGHTS_FILE]);
    }

    #[test]
    fn what_is_missing_cut_short_or_foreign_is_named() {
        let folder = Folder::new("wrong");
        assert!(text(&folder.0).contains(Network::ARCHITECTURE_FILE));
        network(2).save(&folder.0).unwrap();
        let weights = folder.0.join(Network::WEIGHTS_FILE);
        let whole = std::fs::read(&weights).unwrap();
        std::fs::write(&weights, &whole[..whole.len() - 1]).unwrap();
        assert!(text(&folder.0).contains(Network::WEIGHTS_FILE), "{}", text(&folder.0));
        std::fs::write(&weights, network(3).weights().to_safetensors().unwrap()).unwrap();
        let error = text(&folder.0);
        assert!(error.contains(Network::WEIGHTS_FILE) && error.contains("1.weight"), "{error}");
        std::fs::write(folder.0.join(Network::ARCHITECTURE_FILE), "{\"architecture\": 1}").unwrap();
        let error = text(&folder.0);
        assert!(error.contains(Network::ARCHITECTURE_FILE) && error.contains("integer"), "{error}");
    }

    #[test]
    fn an_architecture_has_a_file_of_its_own() {
        let folder = Folder::new("architecture");
        let path = folder.0.join("a.json");
        let architecture = network(2).architecture().clone();
        assert!(architecture.save(&path).unwrap_err().to_string().contains("a.json"), "no such folder");
        std::fs::create_dir_all(&folder.0).unwrap();
        architecture.save(&path).unwrap();
        assert_eq!(Architecture::load(&path).unwrap(), architecture);
    }
}
