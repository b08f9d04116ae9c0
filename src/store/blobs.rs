//! Weights by content, and checkpoints by job.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use candle_core::Device;
use morphisms::Weights;

use super::write_atomically;
use crate::{Error, Result};

/// The files of a run folder that hold tensors.
#[derive(Debug, Clone)]
pub struct Blobs {
    weights: PathBuf,
    checkpoints: PathBuf,
}

impl Blobs {
    /// Makes the folders where they are missing.
    ///
    /// # Errors
    /// If they cannot be made.
    pub fn create(run: &Path) -> Result<Self> {
        let blobs = Self { weights: run.join("weights"), checkpoints: run.join("checkpoints") };
        for folder in [&blobs.weights, &blobs.checkpoints] {
            if !folder.is_dir() {
                std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
            }
        }
        Ok(blobs)
    }

    /// Stores weights; returns the hash of their bytes (BLAKE3, hexadecimal), which is their name.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn put(&self, weights: &Weights) -> Result<String> {
        let bytes = weights.to_safetensors()?;
        let hash = hash(&bytes);
        let path = self.path(&hash);
        if !path.exists() {
            write_atomically(&path, &bytes)?;
        }
        Ok(hash)
    }

    /// The content hash of weights.
    ///
    /// # Errors
    /// When a tensor cannot be read back from its device.
    pub fn hash(weights: &Weights) -> Result<String> {
        Ok(hash(&weights.to_safetensors()?))
    }

    /// Loads weights and checks that they are the ones that were stored.
    ///
    /// # Errors
    /// If the file is missing, cut short or changed.
    pub fn get(&self, hash: &str, device: &Device) -> Result<Weights> {
        let path = self.path(hash);
        let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
        let found = self::hash(&bytes);
        if found != hash {
            let expected = format!("bytes with the hash {hash}");
            return Err(Error::data(
                path,
                "weights",
                expected,
                format!("{} bytes with {found}", bytes.len()),
            ));
        }
        Ok(Weights::from_safetensors(&bytes, device)?)
    }

    /// Where weights with this hash lie.
    pub fn path(&self, hash: &str) -> PathBuf {
        self.weights.join(format!("{hash}.safetensors"))
    }

    /// Removes all weights but those in `keep`.
    ///
    /// # Errors
    /// If the folder cannot be read or a file not be removed.
    pub fn retain(&self, keep: &BTreeSet<String>) -> Result<()> {
        for entry in std::fs::read_dir(&self.weights).map_err(Error::io("read", &self.weights))? {
            let path = entry.map_err(Error::io("read", &self.weights))?.path();
            let is_kept = path.file_stem().is_some_and(|stem| keep.contains(&*stem.to_string_lossy()));
            if !is_kept {
                std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Where the checkpoint of a job lies.
    pub fn checkpoint(&self, job: &str) -> PathBuf {
        self.checkpoints.join(format!("{job}.safetensors"))
    }

    /// Removes the checkpoint of a job, if there is one.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove_checkpoint(&self, job: &str) -> Result<()> {
        let path = self.checkpoint(job);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", path)(error))
            }
            _ => Ok(()),
        }
    }
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use candle_core::Tensor;
    use morphisms::{LayerId, ParamKey, Role};

    use super::*;

    fn weights(value: f32) -> Weights {
        let tensor = Tensor::new(&[value, 2.0], &Device::Cpu).unwrap();
        Weights::from_iter([(ParamKey::new(LayerId(1), Role::Bias), tensor)])
    }

    #[test]
    fn content_names_the_file_and_cut_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::create(folder.path()).unwrap();
        let hash = blobs.put(&weights(1.0)).unwrap();
        assert_eq!(hash, blobs.put(&weights(1.0)).unwrap());
        let other = blobs.put(&weights(3.0)).unwrap();
        assert_ne!(hash, other);
        let loaded = blobs.get(&hash, &Device::Cpu).unwrap();
        let tensor = loaded.get(ParamKey::new(LayerId(1), Role::Bias)).unwrap();
        assert_eq!(tensor.to_vec1::<f32>().unwrap(), [1.0, 2.0]);
        let bytes = std::fs::read(blobs.path(&hash)).unwrap();
        std::fs::write(blobs.path(&hash), &bytes[..bytes.len() - 3]).unwrap();
        let error = blobs.get(&hash, &Device::Cpu).unwrap_err().to_string();
        assert!(error.contains(&hash) && error.contains("expected"), "{error}");
        blobs.retain(&BTreeSet::from([other.clone()])).unwrap();
        assert!(!blobs.path(&hash).exists() && blobs.path(&other).exists());
    }
}
