//! Distortions of training images, in place on slices of f32: cheap enough to run beside the training itself.
//!
//! All work on normalised values, where 0 is the channel's mean: that is what they fill with.

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Beta, Distribution};

use super::ImageShape;
use crate::config::Recipe;
use crate::{Error, Result};

/// Shifts, flips and blanks one image as `recipe` says, in that order. What is off draws no random number.
pub(super) fn distort(image: &mut [f32], shape: ImageShape, recipe: &Recipe, rng: &mut ChaCha8Rng) {
    if recipe.crop > 0 {
        // A longer shift than the image is no different: everything has left it.
        let mut offset = |side: usize| {
            let most = recipe.crop.min(side);
            rng.random_range(0..=2 * most) as isize - most as isize
        };
        let (down, right) = (offset(shape.height), offset(shape.width));
        shift(image, shape, down, right);
    }
    if recipe.flip && rng.random() {
        flip(image, shape);
    }
    if recipe.cutout > 0 {
        let centre = (rng.random_range(0..shape.height), rng.random_range(0..shape.width));
        cutout(image, shape, centre, recipe.cutout);
    }
}

/// Moves the image down and right (up and left, if negative); what comes in is 0.
///
/// The random crop of a zero-padded image: He et al., "Deep Residual Learning" (CVPR 2016), section 4.2.
fn shift(image: &mut [f32], shape: ImageShape, down: isize, right: isize) {
    let (height, width) = (shape.height as isize, shape.width as isize);
    // The plane as one line: rows run into each other, and what ran over is blanked below.
    let by = (down * width + right).unsigned_abs().min(shape.height * shape.width);
    let columns = right.clamp(0, width) as usize..(width + right).clamp(0, width) as usize;
    for plane in image.chunks_exact_mut(shape.height * shape.width) {
        let end = plane.len();
        if down * width + right >= 0 {
            plane.copy_within(..end - by, by);
        } else {
            plane.copy_within(by.., 0);
        }
        for (y, row) in (0..).zip(plane.chunks_exact_mut(shape.width)) {
            let inside = if (0..height).contains(&(y - down)) { columns.clone() } else { 0..0 };
            row[..inside.start].fill(0.0);
            row[inside.end..].fill(0.0);
        }
    }
}

/// Mirrors left and right.
fn flip(image: &mut [f32], shape: ImageShape) {
    image.chunks_exact_mut(shape.width).for_each(<[f32]>::reverse);
}

/// Blanks a square around `centre` (row, column) in all channels; the part outside of the image is lost.
///
/// DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout" (2017,
/// arXiv:1708.04552), section 3.2.
fn cutout(image: &mut [f32], shape: ImageShape, centre: (usize, usize), side: usize) {
    let span = |centre: usize, length: usize| {
        // A square twice as long covers the image from anywhere; longer ones could overflow.
        let side = side.min(2 * length);
        let end = centre + side - side / 2;
        centre.saturating_sub(side / 2)..end.min(length)
    };
    let (rows, columns) = (span(centre.0, shape.height), span(centre.1, shape.width));
    for plane in image.chunks_exact_mut(shape.height * shape.width) {
        for row in plane.chunks_exact_mut(shape.width).take(rows.end).skip(rows.start) {
            row[columns.clone()].fill(0.0);
        }
    }
}

/// Mixup: every image of a batch and its target become a weighted mean with those of another.
///
/// Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: Beyond Empirical Risk Minimization" (ICLR 2018), section 2; one weight
/// a batch, partners by a permutation of the batch, as in the authors' own program.
pub(super) struct Mixup {
    weight: f32,
    partners: Vec<usize>,
}

impl Mixup {
    /// Draws the weight from Beta(`alpha`, `alpha`) and a partner for each of `images`.
    pub fn draw(alpha: f64, images: usize, rng: &mut ChaCha8Rng) -> Result<Self> {
        // Beyond this a weight is 1/2 in all its digits, and the sampler would overflow.
        let beta = Beta::new(alpha.clamp(0.0, 1e12), alpha.clamp(0.0, 1e12)).map_err(|_| Error::Config {
            origin: "configuration".into(),
            key: "recipe.mixup".into(),
            expected: "Beta's parameter alpha, more than 0, or 0 for no mixup".into(),
            found: alpha.to_string(),
            hint: None,
        })?;
        let weight = beta.sample(rng) as f32;
        let mut partners: Vec<usize> = (0..images).collect();
        partners.shuffle(rng);
        Ok(Self { weight, partners })
    }

    /// Mixes `rows`, one of `length` numbers for each image.
    pub fn apply(&self, rows: &mut [f32], length: usize) {
        let unmixed = rows.to_vec();
        for (row, &partner) in rows.chunks_exact_mut(length).zip(&self.partners) {
            let other = &unmixed[partner * length..][..length];
            row.iter_mut().zip(other).for_each(|(x, y)| *x = self.weight * *x + (1.0 - self.weight) * y);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn off() -> Recipe {
        Recipe { crop: 0, flip: false, cutout: 0, mixup: 0.0, label_smoothing: 0.0, ..Recipe::default() }
    }

    /// A shape, and an image of it without equal values or zeros.
    fn images() -> impl Strategy<Value = (ImageShape, Vec<f32>)> {
        (1usize..4, 1usize..9, 1usize..9).prop_map(|(channels, height, width)| {
            let shape = ImageShape { channels, height, width };
            (shape, (0..shape.volume()).map(|i| i as f32 + 1.0).collect())
        })
    }

    /// The value at a place that may be outside.
    fn at(image: &[f32], shape: ImageShape, channel: usize, y: isize, x: isize) -> f32 {
        let inside = (0..shape.height as isize).contains(&y) && (0..shape.width as isize).contains(&x);
        if inside { image[(channel * shape.height + y as usize) * shape.width + x as usize] } else { 0.0 }
    }

    fn places(shape: ImageShape) -> impl Iterator<Item = (usize, isize, isize)> {
        let (height, width) = (shape.height as isize, shape.width as isize);
        (0..shape.channels)
            .flat_map(move |c| (0..height).flat_map(move |y| (0..width).map(move |x| (c, y, x))))
    }

    proptest! {
        #[test]
        fn shift_moves_what_stays_in_the_frame_and_fills_with_zeros(
            (shape, image) in images(), down in -10isize..10, right in -10isize..10,
        ) {
            let (height, width) = (shape.height as isize, shape.width as isize);
            let (down, right) = (down.clamp(-height, height), right.clamp(-width, width));
            let mut shifted = image.clone();
            shift(&mut shifted, shape, down, right);
            for (c, y, x) in places(shape) {
                prop_assert_eq!(at(&shifted, shape, c, y, x), at(&image, shape, c, y - down, x - right));
            }
        }

        #[test]
        fn flipping_twice_is_the_identity_and_once_mirrors((shape, image) in images()) {
            let mut flipped = image.clone();
            flip(&mut flipped, shape);
            for (c, y, x) in places(shape) {
                prop_assert_eq!(at(&flipped, shape, c, y, x), at(&image, shape, c, y, shape.width as isize - 1 - x));
            }
            flip(&mut flipped, shape);
            prop_assert_eq!(flipped, image);
        }

        #[test]
        fn cutout_blanks_the_square_and_nothing_else(
            (shape, image) in images(), centre in (0usize..8, 0usize..8), side in prop_oneof![0usize..20, Just(usize::MAX)],
        ) {
            let centre = (centre.0 % shape.height, centre.1 % shape.width);
            let mut cut = image.clone();
            cutout(&mut cut, shape, centre, side);
            // i128: the plain definition, which no clamping disturbs.
            let blank = |place: isize, centre: usize| {
                let first = centre as i128 - (side / 2) as i128;
                (first..first + side as i128).contains(&(place as i128))
            };
            for (c, y, x) in places(shape) {
                let expected = if blank(y, centre.0) && blank(x, centre.1) { 0.0 } else { at(&image, shape, c, y, x) };
                prop_assert_eq!(at(&cut, shape, c, y, x), expected);
            }
        }

        #[test]
        fn mixup_mixes_images_and_targets_by_one_weight(alpha in 0.05f64..4.0, images in 1usize..20, seed: u64) {
            let mix = Mixup::draw(alpha, images, &mut rng::stream(seed, "test of mixup", &[])).unwrap();
            prop_assert!((0.0..=1.0).contains(&mix.weight));
            let mut seen = mix.partners.clone();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..images).collect::<Vec<_>>());
            // One-hot targets of as many classes as images tell who was mixed with whom, and how much.
            let mut targets: Vec<f32> = (0..images * images).map(|i| f32::from(u8::from(i / images == i % images))).collect();
            mix.apply(&mut targets, images);
            for (image, row) in targets.chunks_exact(images).enumerate() {
                prop_assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
                let own = if mix.partners[image] == image { 1.0 } else { mix.weight };
                prop_assert!((row[image] - own).abs() < 1e-6);
            }
        }

        #[test]
        fn distortions_draw_only_from_the_stream_and_stay_within_its_values(
            (shape, image) in images(), crop in 0usize..5, flip: bool, cutout in 0usize..5, seed: u64,
        ) {
            let recipe = Recipe { crop, flip, cutout, ..off() };
            let distorted = || {
                let mut distorted = image.clone();
                distort(&mut distorted, shape, &recipe, &mut rng::stream(seed, "test of distort", &[]));
                distorted
            };
            prop_assert_eq!(distorted(), distorted());
            prop_assert!(distorted().iter().all(|value| *value == 0.0 || image.contains(value)));
        }
    }

    #[test]
    fn nothing_is_drawn_when_all_is_off() {
        let (mut used, mut unused) =
            (rng::stream(1, "test of distort", &[]), rng::stream(1, "test of distort", &[]));
        let mut image = [1.0, 2.0];
        distort(&mut image, ImageShape { channels: 1, height: 1, width: 2 }, &off(), &mut used);
        assert_eq!((image, used.random::<u64>()), ([1.0, 2.0], unused.random::<u64>()));
    }

    #[test]
    fn shifts_reach_every_offset_and_flips_are_fair() {
        let shape = ImageShape { channels: 1, height: 5, width: 5 };
        let recipe = Recipe { crop: 1, flip: true, ..off() };
        let mut rng = rng::stream(5, "test of distort", &[]);
        let mut seen = BTreeMap::<(usize, bool), usize>::new();
        for _ in 0..3600 {
            // A 1 in the middle and a 2 to its right.
            let mut image = [0.0; 25];
            image[12..14].copy_from_slice(&[1.0, 2.0]);
            distort(&mut image, shape, &recipe, &mut rng);
            let place = |value| image.iter().position(|&v| v == value).unwrap();
            *seen.entry((place(1.0), place(2.0) < place(1.0))).or_default() += 1;
        }
        // Nine places, mirrored or not, 200 times each: 5 standard deviations are 69.
        assert_eq!(seen.len(), 18);
        assert!(seen.values().all(|&n| n.abs_diff(200) < 69), "{seen:?}");
    }

    #[test]
    fn cutout_is_centred_on_every_pixel_alike() {
        let shape = ImageShape { channels: 1, height: 3, width: 4 };
        let recipe = Recipe { cutout: 1, ..off() };
        let mut rng = rng::stream(6, "test of distort", &[]);
        let mut blanked = BTreeMap::<usize, usize>::new();
        for _ in 0..2400 {
            let mut image = [1.0; 12];
            distort(&mut image, shape, &recipe, &mut rng);
            assert_eq!(image.iter().filter(|&&v| v == 0.0).count(), 1);
            *blanked.entry(image.iter().position(|&v| v == 0.0).unwrap()).or_default() += 1;
        }
        // Twelve places, 200 times each: 5 standard deviations are 68.
        assert_eq!(blanked.len(), 12);
        assert!(blanked.values().all(|&n| n.abs_diff(200) < 68), "{blanked:?}");
    }

    /// Mean 1/2 and variance 1 / (4 (2 alpha + 1)) of Beta(alpha, alpha).
    #[test]
    fn weights_follow_the_beta_distribution() {
        let mut rng = rng::stream(2, "test of mixup", &[]);
        for alpha in [0.2, 1.0, 3.0] {
            let weights: Vec<f64> =
                (0..20_000).map(|_| f64::from(Mixup::draw(alpha, 1, &mut rng).unwrap().weight)).collect();
            let mean = weights.iter().sum::<f64>() / 20_000.0;
            let variance = weights.iter().map(|w| (w - mean).powi(2)).sum::<f64>() / 20_000.0;
            assert!((mean - 0.5).abs() < 0.016, "alpha {alpha}: mean {mean}");
            assert!(
                (variance * 4.0 * (2.0 * alpha + 1.0) - 1.0).abs() < 0.05,
                "alpha {alpha}: variance {variance}"
            );
        }
    }

    #[test]
    fn extreme_alphas_give_weights_and_wrong_ones_an_error() {
        let mut rng = rng::stream(3, "test of mixup", &[]);
        for alpha in [1e-300, 1e-9, 1e-3, 1e9, 1e300, f64::INFINITY] {
            for _ in 0..100 {
                let weight = Mixup::draw(alpha, 2, &mut rng).unwrap().weight;
                assert!((0.0..=1.0).contains(&weight), "alpha {alpha}: {weight}");
            }
        }
        for alpha in [-1.0, f64::NAN] {
            let message =
                Mixup::draw(alpha, 2, &mut rng).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(message.contains("recipe.mixup"), "{alpha}: {message}");
        }
    }
}
