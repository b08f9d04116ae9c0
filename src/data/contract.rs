//! What every data set owes the rest of the program, checked over [`SOURCES`] on the small example each writes.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;

/// Runs `check` on every source's example and the settings that read it.
fn every(check: impl Fn(&'static dyn Source, DataConfig)) {
    for source in SOURCES {
        let dir = tempfile::tempdir().unwrap();
        check(source, source.write_example(dir.path()));
    }
}

/// Images with their labels, in no order.
fn sorted<'a>(splits: impl IntoIterator<Item = &'a Split>) -> Vec<(&'a [u8], u32)> {
    let mut all: Vec<_> = splits
        .into_iter()
        .flat_map(|split| (0..split.len()).map(|i| (split.image(i), split.labels[i])))
        .collect();
    all.sort_unstable();
    all
}

#[test]
fn names_are_unique_and_described() {
    let names: BTreeSet<_> = SOURCES.iter().map(|source| source.name()).collect();
    assert_eq!(names.len(), SOURCES.len());
    for source in SOURCES {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(source.name().chars().all(plain), "{}", source.name());
        assert!(source.describe().len() > 20 && !source.describe().contains('\n'), "{}", source.name());
    }
}

#[test]
fn what_is_read_is_whole() {
    every(|source, config| {
        let raw = source.load(&config).unwrap();
        for split in [&raw.train, &raw.test] {
            assert_eq!(split.pixels.len(), split.len() * raw.shape.volume(), "{}", source.name());
            let counts = split.class_counts(raw.classes.len());
            assert!(counts.iter().all(|&count| count > 0), "{}: {counts:?}", source.name());
            assert_eq!(counts.iter().sum::<usize>(), split.len(), "{}", source.name());
        }
    });
}

#[test]
fn the_splits_are_a_partition_with_every_class_in_each() {
    every(|source, config| {
        let (raw, dataset) = (source.load(&config).unwrap(), Dataset::load(&config, 3).unwrap());
        assert_eq!(sorted([&raw.train]), sorted([&dataset.train, &dataset.validation]), "{}", source.name());
        assert_eq!(&raw.test, dataset.test(), "{}", source.name());
        let classes = dataset.classes.len();
        let (all, held_out) = (raw.train.class_counts(classes), dataset.validation.class_counts(classes));
        for (all, held_out) in all.into_iter().zip(held_out) {
            let exact = all as f64 * config.validation;
            assert!((held_out as f64 - exact).abs() <= 0.5, "{}: {held_out} of {all}", source.name());
        }
    });
}

#[test]
fn the_seed_decides_the_validation_split_and_never_the_test_split() {
    every(|source, config| {
        let load = |seed| Dataset::load(&config, seed).unwrap();
        assert_eq!(load(1), load(1), "{}", source.name());
        assert_ne!(load(1).validation, load(2).validation, "{}", source.name());
        assert_ne!(load(1).digest, load(2).digest, "{}", source.name());
        assert_eq!(load(1).test(), load(2).test(), "{}", source.name());
        let other = DataConfig { validation: 0.4, limit: 35, ..config.clone() };
        assert_eq!(Dataset::load(&other, 9).unwrap().test(), load(1).test(), "{}", source.name());
    });
}

#[test]
fn training_images_alone_are_normalised_to_mean_0_and_deviation_1() {
    every(|source, config| {
        let dataset = Dataset::load(&config, 3).unwrap();
        let images = dataset.normalisation.tensor(&dataset.train.pixels, dataset.shape).unwrap();
        for (channel, &std) in dataset.normalisation.std.iter().enumerate() {
            let values =
                images.narrow(1, channel, 1).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let moment =
                |power| values.iter().map(|&v| f64::from(v).powi(power)).sum::<f64>() / values.len() as f64;
            assert!(moment(1).abs() < 1e-4, "{} channel {channel}: mean {}", source.name(), moment(1));
            assert!(
                (moment(2) - 1.0).abs() < 1e-3,
                "{} channel {channel} ({std}): {}",
                source.name(),
                moment(2)
            );
        }
    });
}

#[test]
fn every_data_set_can_be_resized_and_limited() {
    every(|source, config| {
        let full = Dataset::load(&config, 3).unwrap();
        let small = Dataset::load(&DataConfig { size: 3, limit: 35, ..config }, 3).unwrap();
        let shape = ImageShape { height: 3, width: 3, ..full.shape };
        assert_eq!(small.shape, shape, "{}", source.name());
        assert_eq!(
            small.train.len() + small.validation.len(),
            35.min(full.train.len() + full.validation.len())
        );
        assert_eq!(small.train.pixels.len(), small.train.len() * shape.volume(), "{}", source.name());
        assert_eq!(small.test().labels, full.test().labels, "{}", source.name());
        assert_eq!(small.test().pixels.len(), small.test().len() * shape.volume(), "{}", source.name());
    });
}

#[test]
fn a_folder_is_recognised_by_itself() {
    every(|source, config| {
        let Some(dir) = &config.dir else {
            return assert!(source.layout().is_none(), "{} needs a folder", source.name());
        };
        let mut resolved = DataConfig { name: "digits".into(), dir: None, ..config.clone() };
        resolve(dir.to_str().unwrap(), &mut resolved).unwrap();
        assert_eq!(resolved, config);
    });
}

#[test]
fn a_missing_folder_is_an_error_that_names_it() {
    every(|source, config| {
        if config.dir.is_some() {
            let config = DataConfig { dir: Some("/no/such/folder".into()), ..config };
            let message = Dataset::load(&config, 0).unwrap_err().to_string();
            assert!(message.contains("/no/such/folder"), "{}: {message}", source.name());
        }
    });
}

#[test]
fn settings_out_of_range_are_refused_by_key() {
    every(|source, config| {
        let refusal = |config: DataConfig| Dataset::load(&config, 0).unwrap_err().to_string();
        for validation in [0.0, 1.0, -0.1, f64::NAN] {
            let message = refusal(DataConfig { validation, ..config.clone() });
            assert!(
                message.contains("data.validation") && message.contains(&validation.to_string()),
                "{message}"
            );
        }
        let message = refusal(DataConfig { size: 1 << 40, ..config.clone() });
        assert!(message.contains("data.size"), "{}: {message}", source.name());
        let message = refusal(DataConfig { limit: 3, ..config });
        assert!(
            message.contains("at least 2 training images") && message.contains("data.limit = 3"),
            "{message}"
        );
    });
}

#[test]
fn an_unknown_name_is_an_error_before_anything_is_read() {
    let config = DataConfig { name: "digit".into(), ..digits::Digits.write_example(Path::new("")) };
    let message = Dataset::load(&config, 0).unwrap_err().to_string();
    assert!(message.contains("did you mean `digits`?"), "{message}");
}
