//! Data sets: where images come from, how they are split, normalised and batched.
//!
//! A [`Source`] reads one format and knows nothing of splits by seed; [`Dataset::load`] does the rest in one order
//! for all of them: limit, resize, hold out validation images, measure the normalisation.
//!
//! To add a data set, write one file with a [`Source`] and name it in [`SOURCES`]; the contract tests walk that list.

mod augment;
mod batch;
mod cifar10;
mod digits;
mod idx;
mod images;
mod normalisation;
mod resize;
mod source;
mod split;

#[cfg(test)]
mod contract;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use batch::epoch_order;
pub use images::read_image;
pub use normalisation::Normalisation;
pub use source::{Raw, SOURCES, Source, find, resolve};

use crate::config::DataConfig;
use crate::{Error, Result, rng};

/// The largest `data.size`: beyond it a slip of the keyboard would ask for more memory than any machine has.
const LARGEST_SIZE: usize = 1024;

/// The shape of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageShape {
    /// 1 for grey, 3 for red, green and blue.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl ImageShape {
    /// Numbers in one image.
    pub fn volume(&self) -> usize {
        self.channels * self.height * self.width
    }
}

impl fmt::Display for ImageShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}

/// Images and their labels, in a fixed order.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Split {
    /// Bytes, `[images, channels, height, width]`.
    pub pixels: Vec<u8>,
    /// The class of each image, an index into [`Dataset::classes`].
    pub labels: Vec<u32>,
}

impl Split {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The bytes of image `index`, `[channels, height, width]`.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn image(&self, index: usize) -> &[u8] {
        let volume = self.pixels.len() / self.len().max(1);
        &self.pixels[index * volume..][..volume]
    }

    /// How many images each of `classes` classes has.
    pub fn class_counts(&self, classes: usize) -> Vec<usize> {
        split::by_class(&self.labels, classes).iter().map(Vec::len).collect()
    }

    /// The images at `indices`, in that order.
    fn select(&self, indices: &[usize]) -> Self {
        let mut pixels = Vec::with_capacity(self.pixels.len() / self.len().max(1) * indices.len());
        indices.iter().for_each(|&index| pixels.extend_from_slice(self.image(index)));
        Self { pixels, labels: indices.iter().map(|&index| self.labels[index]).collect() }
    }
}

/// Only the number of images: the bytes of a data set help nobody in a message.
impl fmt::Debug for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Split").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// A data set, split and ready for training.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// The name it was asked for by, such as "fashion-mnist".
    pub name: String,
    /// The shape of every image of the three splits.
    pub shape: ImageShape,
    /// Names of the classes, by label.
    pub classes: Vec<String>,
    /// Mean and standard deviation of the training images.
    pub normalisation: Normalisation,
    /// What the weights are fitted to.
    pub train: Split,
    /// What the search compares networks by.
    pub validation: Split,
    test: Split,
    /// BLAKE3 of the shape and the three splits, in hexadecimal: equal digests, equal data.
    pub digest: String,
}

impl Dataset {
    /// Reads, limits, resizes and splits the data set that `config` names.
    ///
    /// `seed` decides which training images are used (`limit`) and which of them are held out (`validation`).
    /// The test images depend on the data alone.
    ///
    /// # Errors
    /// An unknown name, files that are missing or do not follow their format, settings out of range, and a class
    /// that has too few images to be in both the training and the validation split.
    pub fn load(config: &DataConfig, seed: u64) -> Result<Self> {
        check(config)?;
        let raw = find(&config.name)?.load(config)?.limited(config.limit, seed).resized(config.size);
        enough(&raw, config)?;
        let split = split::hold_out(&raw.train.labels, raw.classes.len(), config.validation, |class| {
            rng::stream(seed, "validation split", &[class])
        });
        let (train, validation) = (raw.train.select(&split.kept), raw.train.select(&split.taken));
        Self::new(config, raw, train, validation)
    }

    fn new(config: &DataConfig, raw: Raw, train: Split, validation: Split) -> Result<Self> {
        let normalisation = Normalisation::chosen(config, &train, raw.shape)?;
        let digest = digest(raw.shape, [&train, &validation, &raw.test]);
        let Raw { shape, classes, test, .. } = raw;
        let name = config.name.clone();
        Ok(Self { name, shape, classes, normalisation, train, validation, test, digest })
    }

    /// The test images, which never depend on a seed.
    ///
    /// They are touched once, at the end of a run, for the figures that are reported: a choice made by looking at
    /// them makes those figures worthless. Every later use is recorded and shown in the report.
    pub fn test(&self) -> &Split {
        &self.test
    }
}

/// Refuses settings that no data set could satisfy, before a file is read.
fn check(config: &DataConfig) -> Result<()> {
    if !(config.validation > 0.0 && config.validation < 1.0) {
        let expected = "a share of the training images, more than 0 and less than 1";
        return Err(setting("validation", expected, config.validation.to_string()));
    }
    if config.size > LARGEST_SIZE {
        return Err(setting("size", &format!("at most {LARGEST_SIZE} pixels"), config.size.to_string()));
    }
    Ok(())
}

/// An [`Error::Config`] for the key `data.<key>`.
fn setting(key: &str, expected: &str, found: impl Into<String>) -> Error {
    Error::Config {
        origin: "configuration".into(),
        key: format!("data.{key}"),
        expected: expected.into(),
        found: found.into(),
        hint: None,
    }
}

/// Refuses a class that could not be in both the training and the validation split.
fn enough(raw: &Raw, config: &DataConfig) -> Result<()> {
    let counts = raw.train.class_counts(raw.classes.len());
    let Some(class) = counts.iter().position(|&count| count < 2) else { return Ok(()) };
    let limit = match config.limit {
        0 => String::new(),
        limit => format!(" with data.limit = {limit}"),
    };
    Err(Error::data(
        &raw.origin,
        format!("class `{}`", raw.classes[class]),
        "at least 2 training images, one to train on and one to validate on",
        format!("{}{limit}", counts[class]),
    ))
}

fn digest(shape: ImageShape, splits: [&Split; 3]) -> String {
    let mut hash = blake3::Hasher::new();
    for size in [shape.channels, shape.height, shape.width] {
        hash.update(&(size as u64).to_le_bytes());
    }
    for split in splits {
        hash.update(&(split.len() as u64).to_le_bytes());
        hash.update(&split.pixels);
        split.labels.iter().for_each(|label| {
            hash.update(&label.to_le_bytes());
        });
    }
    hash.finalize().to_hex().to_string()
}
