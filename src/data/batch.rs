//! From splits to tensors: batches for training, distorted, and for evaluation, as they are.

use candle_core::{Device, Tensor};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::augment::{Mixup, distort};
use super::{Dataset, ImageShape, Normalisation, Split, normalisation};
use crate::config::Recipe;
use crate::{Error, Result};

/// Images of a [`Dataset::calibration_batch`], about.
const CALIBRATION: usize = 256;

/// The order in which an epoch visits `n` images: all of them once.
pub fn epoch_order(n: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(rng);
    order
}

impl Dataset {
    /// The training images at `indices`, normalised and distorted, and their targets, on the CPU:
    /// f32 `[batch, channels, height, width]` and f32 `[batch, classes]`, whose rows sum to 1.
    ///
    /// Each is off when its field of `recipe` is 0 or false:
    /// - `crop`: a random shift with zero padding (He et al., CVPR 2016, section 4.2);
    /// - `flip`: mirrored left to right with probability 1/2 (same place);
    /// - `cutout`: a blank square around a random pixel (DeVries and Taylor 2017, section 3.2);
    /// - `label_smoothing`: that share of the target spread evenly over the classes (Szegedy et al., CVPR 2016,
    ///   section 7);
    /// - `mixup`: images and targets averaged with those of a permutation of the batch, by one weight from
    ///   Beta(`mixup`, `mixup`) a batch (Zhang et al., ICLR 2018, section 2).
    ///
    /// Blank is 0 in normalised values, the mean colour. Nothing but `rng` decides, drawn image by image in the
    /// order of the list, then for mixup.
    ///
    /// # Errors
    /// [`Error::Config`] for a label smoothing or mixup out of range.
    ///
    /// # Panics
    /// If an index is not that of a training image.
    pub fn train_batch(
        &self,
        indices: &[usize],
        recipe: &Recipe,
        rng: &mut ChaCha8Rng,
    ) -> Result<(Tensor, Tensor)> {
        let mut images = self.distorted(indices, recipe, rng);
        let mut targets = self.targets(indices, recipe.label_smoothing)?;
        if recipe.mixup != 0.0 {
            let mix = Mixup::draw(recipe.mixup, indices.len(), rng)?;
            mix.apply(&mut images, self.shape.volume());
            mix.apply(&mut targets, self.classes.len());
        }
        let ImageShape { channels, height, width } = self.shape;
        let images = Tensor::from_vec(images, (indices.len(), channels, height, width), &Device::Cpu)?;
        let targets = Tensor::from_vec(targets, (indices.len(), self.classes.len()), &Device::Cpu)?;
        Ok((images, targets))
    }

    fn distorted(&self, indices: &[usize], recipe: &Recipe, rng: &mut ChaCha8Rng) -> Vec<f32> {
        let volume = self.shape.volume();
        let tables = self.normalisation.tables();
        let mut images = vec![0f32; indices.len() * volume];
        for (image, &index) in images.chunks_exact_mut(volume).zip(indices) {
            normalisation::apply(&tables, self.train.image(index), image);
            distort(image, self.shape, recipe, rng);
        }
        images
    }

    /// One row a label: 1 - `smoothing` at its class, and `smoothing` over all classes alike.
    fn targets(&self, indices: &[usize], smoothing: f64) -> Result<Vec<f32>> {
        if !(0.0..1.0).contains(&smoothing) {
            return Err(Error::Config {
                origin: "configuration".into(),
                key: "recipe.label_smoothing".into(),
                expected: "a share from 0 to less than 1".into(),
                found: smoothing.to_string(),
                hint: None,
            });
        }
        let classes = self.classes.len();
        let mut targets = vec![(smoothing / classes as f64) as f32; indices.len() * classes];
        for (row, &index) in targets.chunks_exact_mut(classes).zip(indices) {
            row[self.train.labels[index] as usize] += (1.0 - smoothing) as f32;
        }
        Ok(targets)
    }

    /// The training images of [`Dataset::calibration_batch`].
    pub fn calibration_images(&self) -> impl Iterator<Item = usize> {
        let step = (self.train.len() / CALIBRATION).max(1);
        (0..self.train.len()).step_by(step)
    }

    /// Training images taken at even distances, as they are: for statistics. f32 `[batch, channels, height, width]` on the
    /// CPU.
    ///
    /// # Errors
    /// As [`Normalisation::tensor`].
    pub fn calibration_batch(&self) -> Result<Tensor> {
        let pixels: Vec<u8> =
            self.calibration_images().flat_map(|index| self.train.image(index)).copied().collect();
        self.normalisation.tensor(&pixels, self.shape)
    }
}

impl Split {
    /// All images in their order, `batch` at a time (the last batch may be smaller), normalised and otherwise as
    /// they are: f32 `[batch, channels, height, width]` on the CPU, with their labels. A `batch` of 0 counts as 1.
    ///
    /// # Errors
    /// Each batch can fail as [`Normalisation::tensor`] does.
    pub fn eval_batches<'a>(
        &'a self,
        shape: ImageShape,
        normalisation: &'a Normalisation,
        batch: usize,
    ) -> impl Iterator<Item = Result<(Tensor, &'a [u32])>> {
        let batch = batch.max(1);
        let images = self.pixels.chunks(shape.volume().saturating_mul(batch).max(1));
        images
            .zip(self.labels.chunks(batch))
            .map(move |(pixels, labels)| Ok((normalisation.tensor(pixels, shape)?, labels)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DataConfig;
    use crate::rng;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static DIGITS: LazyLock<Dataset> = LazyLock::new(|| {
        let config = DataConfig {
            name: "digits".into(),
            dir: None,
            validation: 0.2,
            limit: 200,
            ..DataConfig::default()
        };
        Dataset::load(&config, 1).unwrap()
    });

    fn off() -> Recipe {
        Recipe { crop: 0, flip: false, cutout: 0, mixup: 0.0, label_smoothing: 0.0, ..Recipe::default() }
    }

    fn batch(indices: &[usize], recipe: &Recipe, seed: u64) -> (Vec<f32>, Vec<Vec<f32>>) {
        let (images, targets) =
            DIGITS.train_batch(indices, recipe, &mut rng::stream(seed, "test", &[])).unwrap();
        assert_eq!(images.dims(), [indices.len(), 1, 8, 8]);
        (images.flatten_all().unwrap().to_vec1().unwrap(), targets.to_vec2().unwrap())
    }

    #[test]
    fn epochs_visit_every_image_once_in_an_order_of_their_own() {
        let order = |seed| epoch_order(100, &mut rng::stream(seed, "test", &[]));
        let mut sorted = order(1);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }

    #[test]
    fn without_distortion_a_batch_is_the_normalised_images_and_one_hot_targets() {
        let (images, targets) = batch(&[3, 0, 3], &off(), 1);
        let bytes = [3, 0, 3].map(|i| DIGITS.train.image(i)).concat();
        let plain = DIGITS.normalisation.tensor(&bytes, DIGITS.shape).unwrap();
        assert_eq!(images, plain.flatten_all().unwrap().to_vec1::<f32>().unwrap());
        for (row, index) in targets.iter().zip([3, 0, 3]) {
            let label = DIGITS.train.labels[index] as usize;
            assert_eq!((row[label], row.iter().sum::<f32>()), (1.0, 1.0));
        }
    }

    #[test]
    fn label_smoothing_spreads_its_share_over_all_classes() {
        let (_, targets) = batch(&[5], &Recipe { label_smoothing: 0.1, ..off() }, 1);
        let label = DIGITS.train.labels[5] as usize;
        let expected: Vec<f32> = (0..10).map(|class| if class == label { 0.91 } else { 0.01 }).collect();
        assert!(
            targets[0].iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6),
            "{targets:?}"
        );
    }

    #[test]
    fn mixup_mixes_images_as_it_mixes_their_targets() {
        // Two images of different classes: the targets tell the weight, and whether they were mixed at all.
        let other = DIGITS.train.labels.iter().position(|&label| label != DIGITS.train.labels[0]).unwrap();
        let (plain, _) = batch(&[0, other], &off(), 0);
        let mut mixed = 0;
        for seed in 0..20 {
            let (images, targets) = batch(&[0, other], &Recipe { mixup: 1.0, ..off() }, seed);
            let own = targets[0][DIGITS.train.labels[0] as usize];
            let expected = plain[..64].iter().zip(&plain[64..]).map(|(x, y)| own * x + (1.0 - own) * y);
            assert!(images.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-5));
            mixed += usize::from(own < 1.0);
        }
        assert!((3..18).contains(&mixed), "half of the permutations of two swap them: {mixed} of 20");
    }

    #[test]
    fn values_out_of_range_are_refused_by_key() {
        let message = |recipe| {
            DIGITS.train_batch(&[0], &recipe, &mut rng::stream(1, "test", &[])).unwrap_err().to_string()
        };
        assert!(message(Recipe { label_smoothing: 1.0, ..off() }).contains("recipe.label_smoothing"));
        assert!(message(Recipe { label_smoothing: f64::NAN, ..off() }).contains("recipe.label_smoothing"));
        assert!(message(Recipe { mixup: -0.2, ..off() }).contains("recipe.mixup"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn targets_sum_to_one_and_the_stream_alone_decides(
            indices in prop::collection::vec(0usize..100, 1..20),
            (crop, flip, cutout) in (0usize..4, any::<bool>(), 0usize..4),
            (mixup, label_smoothing) in (prop_oneof![Just(0.0), 0.1f64..2.0], 0.0f64..0.5),
            seed: u64,
        ) {
            let recipe = Recipe { crop, flip, cutout, mixup, label_smoothing, ..off() };
            let (images, targets) = batch(&indices, &recipe, seed);
            prop_assert!(targets.iter().all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-5));
            prop_assert!(targets.iter().flatten().all(|&target| (0.0..=1.0).contains(&target)));
            prop_assert!(images.iter().all(|value| value.is_finite()));
            prop_assert_eq!((images, targets), batch(&indices, &recipe, seed));
        }
    }

    #[test]
    fn evaluation_walks_the_whole_split_in_order() {
        for size in [0, 1, 7, 64, 10_000] {
            let batches = DIGITS.validation.eval_batches(DIGITS.shape, &DIGITS.normalisation, size);
            let batches = batches.collect::<Result<Vec<_>>>().unwrap();
            assert!(
                batches.iter().all(|(images, labels)| images.dims4().unwrap() == (labels.len(), 1, 8, 8))
            );
            assert_eq!(
                batches.iter().map(|(_, labels)| *labels).collect::<Vec<_>>().concat(),
                DIGITS.validation.labels
            );
            let images: Vec<_> = batches.into_iter().map(|(images, _)| images).collect();
            let whole = DIGITS.normalisation.tensor(&DIGITS.validation.pixels, DIGITS.shape).unwrap();
            let difference = (Tensor::cat(&images, 0).unwrap() - whole).unwrap().abs().unwrap();
            assert_eq!(difference.sum_all().unwrap().to_scalar::<f32>().unwrap(), 0.0);
        }
    }
}
