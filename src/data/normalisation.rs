//! From bytes to what a network sees: zero mean and unit variance in each channel.

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{ImageShape, Split};
use crate::config::DataConfig;
use crate::{Error, Result};

/// Mean and standard deviation of `byte / 255`, one of each a channel.
///
/// Measured on the training images alone; it travels with every network that leaves the program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Normalisation {
    /// Means.
    pub mean: Vec<f32>,
    /// Standard deviations (of the population, dividing by n); 1 for a channel that never changes.
    pub std: Vec<f32>,
}

/// The normalised value of each byte, for one channel.
pub(super) type Table = [f32; 256];

impl Normalisation {
    /// Measures the images of `split`. Sums are of whole numbers, so the order of the images does not matter.
    pub(super) fn of(split: &Split, shape: ImageShape) -> Self {
        let plane = (shape.height * shape.width).max(1);
        let mut histograms = vec![[0u64; 256]; shape.channels];
        for (index, plane) in split.pixels.chunks_exact(plane).enumerate() {
            let histogram = &mut histograms[index % shape.channels];
            plane.iter().for_each(|&byte| histogram[usize::from(byte)] += 1);
        }
        let (mean, std) = histograms.iter().map(moments).unzip();
        Self { mean, std }
    }

    /// What the settings ask for, or else what is measured on `split`.
    ///
    /// # Errors
    /// [`Error::Config`] if the settings have means for another number of channels.
    pub(super) fn chosen(config: &DataConfig, split: &Split, shape: ImageShape) -> Result<Self> {
        let every = |value: f32| vec![value; shape.channels];
        if !config.mean.is_empty() {
            if config.mean.len() != shape.channels {
                return Err(Error::Config {
                    origin: "configuration".into(),
                    key: "data.mean".into(),
                    expected: format!("a number for each of {} channels", shape.channels),
                    found: format!("{:?}", config.mean),
                    hint: None,
                });
            }
            let single = |values: &[f64]| values.iter().map(|&value| value as f32).collect();
            return Ok(Self { mean: single(&config.mean), std: single(&config.std) });
        }
        Ok(match config.normalise.as_str() {
            "unit" => Self { mean: every(0.0), std: every(1.0) },
            "raw" => Self { mean: every(0.0), std: every(1.0 / 255.0) },
            _ => Self::of(split, shape),
        })
    }

    /// The images in `pixels`, bytes `[n, channels, height, width]`, as a normalised f32 tensor of the same shape on
    /// the CPU.
    ///
    /// # Errors
    /// If `pixels` is not a whole number of images of this shape, or the channels differ in number.
    pub fn tensor(&self, pixels: &[u8], shape: ImageShape) -> Result<Tensor> {
        let volume = shape.volume();
        if self.mean.len() != shape.channels || self.std.len() != shape.channels || volume == 0 {
            let channels = self.mean.len().min(self.std.len());
            return Err(Error::Usage(format!(
                "a normalisation of {channels} channels cannot be used on {shape} images"
            )));
        }
        if !pixels.len().is_multiple_of(volume) {
            return Err(Error::Usage(format!(
                "{} bytes are not a whole number of {shape} images",
                pixels.len()
            )));
        }
        let tables = self.tables();
        let mut values = vec![0f32; pixels.len()];
        values
            .chunks_exact_mut(volume)
            .zip(pixels.chunks_exact(volume))
            .for_each(|(to, from)| apply(&tables, from, to));
        let dims = (pixels.len() / volume, shape.channels, shape.height, shape.width);
        Ok(Tensor::from_vec(values, dims, &Device::Cpu)?)
    }

    /// Multiplies what it makes of every byte, whose mean stays what it is.
    pub(crate) fn scale(&mut self, factor: f32) {
        self.std.iter_mut().for_each(|std| *std /= factor);
    }

    /// One table a channel: a look-up is cheaper than the arithmetic, and the same for every user of it.
    pub(super) fn tables(&self) -> Vec<Table> {
        let table =
            |(&mean, &std): (&f32, &f32)| std::array::from_fn(|byte| (byte as f32 / 255.0 - mean) / std);
        self.mean.iter().zip(&self.std).map(table).collect()
    }
}

/// Normalises one image, planes one after the other.
pub(super) fn apply(tables: &[Table], bytes: &[u8], values: &mut [f32]) {
    let plane = bytes.len() / tables.len();
    for ((table, bytes), values) in
        tables.iter().zip(bytes.chunks_exact(plane)).zip(values.chunks_exact_mut(plane))
    {
        values.iter_mut().zip(bytes).for_each(|(value, &byte)| *value = table[usize::from(byte)]);
    }
}

fn moments(histogram: &[u64; 256]) -> (f32, f32) {
    let total =
        |power: u32| (0u64..).zip(histogram).map(|(byte, &n)| n as f64 * byte.pow(power) as f64).sum::<f64>();
    let count = total(0).max(1.0);
    let mean = total(1) / count;
    let variance =
        histogram.iter().enumerate().map(|(byte, &n)| n as f64 * (byte as f64 - mean).powi(2)).sum::<f64>()
            / count;
    let std = if variance > 0.0 { variance.sqrt() / 255.0 } else { 1.0 };
    ((mean / 255.0) as f32, std as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ImageShape = ImageShape { channels: 2, height: 1, width: 2 };

    fn split() -> Split {
        // Channel 0: 0, 255, 0, 255 has mean 1/2 and deviation 1/2. Channel 1 never changes.
        Split { pixels: vec![0, 255, 51, 51, 0, 255, 51, 51], labels: vec![0, 1] }
    }

    #[test]
    fn measures_each_channel() {
        let normalisation = Normalisation::of(&split(), SHAPE);
        assert_eq!(normalisation, Normalisation { mean: vec![0.5, 0.2], std: vec![0.5, 1.0] });
    }

    #[test]
    fn tensors_are_normalised_by_channel() -> Result<()> {
        let tensor = Normalisation::of(&split(), SHAPE).tensor(&split().pixels, SHAPE)?;
        assert_eq!(tensor.dims(), [2, 2, 1, 2]);
        assert_eq!(tensor.flatten_all()?.to_vec1::<f32>()?, [-1.0, 1.0, 0.0, 0.0, -1.0, 1.0, 0.0, 0.0]);
        Ok(())
    }

    #[test]
    fn images_of_another_shape_are_refused() {
        let normalisation = Normalisation::of(&split(), SHAPE);
        let message = |pixels: &[u8], shape| normalisation.tensor(pixels, shape).unwrap_err().to_string();
        assert!(message(&[0; 5], SHAPE).contains("5 bytes are not a whole number of 2x1x2 images"));
        assert!(message(&[0; 4], ImageShape { channels: 1, ..SHAPE }).contains("2 channels"));
    }
}
