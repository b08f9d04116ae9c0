//! The list of data sets, and how one is found by name or by what is in a folder.

use std::path::{Path, PathBuf};

use super::resize::Resize;
use super::{ImageShape, Split, cifar10, digits, idx, images, split};
use crate::config::DataConfig;
use crate::{Error, Result, rng};

/// What a [`Source`] read: nothing in it depends on a seed.
#[derive(Debug)]
pub struct Raw {
    /// Where the images came from, for messages.
    pub origin: PathBuf,
    /// The shape of every image.
    pub shape: ImageShape,
    /// Names of the classes, by label.
    pub classes: Vec<String>,
    /// All training images.
    pub train: Split,
    /// All test images.
    pub test: Split,
}

impl Raw {
    /// A data set that comes without a test split: a fixed fifth of every class becomes one.
    pub(super) fn with_fixed_test(
        origin: PathBuf,
        shape: ImageShape,
        classes: Vec<String>,
        all: &Split,
    ) -> Self {
        let split = split::fixed_test(&all.labels, classes.len());
        Self { origin, shape, classes, train: all.select(&split.kept), test: all.select(&split.taken) }
    }

    /// At most `limit` training images, stratified by class and chosen by `seed`; 0 leaves them all.
    pub(super) fn limited(mut self, limit: usize, seed: u64) -> Self {
        if limit > 0 && limit < self.train.len() {
            let stream = |class| rng::stream(seed, "limit", &[class]);
            self.train =
                self.train.select(&split::subset(&self.train.labels, self.classes.len(), limit, stream));
        }
        self
    }

    /// The same images with `size` rows and columns; 0 leaves them as they are.
    pub(super) fn resized(mut self, size: usize) -> Self {
        if size == 0 || (self.shape.height, self.shape.width) == (size, size) {
            return self;
        }
        let resize = Resize::new(self.shape, size, size);
        for split in [&mut self.train, &mut self.test] {
            split.pixels = resize.apply(&split.pixels);
        }
        self.shape = ImageShape { height: size, width: size, ..self.shape };
        self
    }
}

/// One data set, or one format of data sets.
pub trait Source: Sync {
    /// What `data.name` calls it; lower case with hyphens.
    fn name(&self) -> &'static str;

    /// One line for the help: what it is and where its files come from.
    fn describe(&self) -> &'static str;

    /// What a folder of it holds, for the message when a folder is not recognised; `None` if it needs no folder.
    fn layout(&self) -> Option<&'static str>;

    /// Whether `dir` looks like a folder of this data set. The first of [`SOURCES`] to say yes reads it.
    fn recognises(&self, dir: &Path) -> bool;

    /// Reads every image. Only [`DataConfig::dir`], and for images of several sizes [`DataConfig::size`], matter here.
    ///
    /// # Errors
    /// [`Error::Data`] and [`Error::Io`] name the file and the place in it; [`Error::Config`] the setting.
    fn load(&self, config: &DataConfig) -> Result<Raw>;

    /// Writes a small data set in this format to `dir` and returns the settings that read it.
    #[cfg(test)]
    fn write_example(&self, dir: &Path) -> DataConfig;
}

/// Every data set, in the order in which a folder is offered to them.
pub const SOURCES: [&dyn Source; 6] =
    [&digits::Digits, &idx::FASHION_MNIST, &idx::MNIST, &idx::ANY, &cifar10::Cifar10, &images::Images];

/// The data set called `name`.
///
/// # Errors
/// [`Error::Config`] with the nearest known name.
pub fn find(name: &str) -> Result<&'static dyn Source> {
    let source = SOURCES.into_iter().find(|source| source.name() == name);
    source.ok_or_else(|| unknown("configuration", "the name of a data set", name, format!("`{name}`")))
}

/// Sets `config` to the data set that `arg`, the value of `--data`, asks for: a name or a folder.
///
/// A name comes first; write `./mnist` for a folder called "mnist". A folder is recognised by the names of what is
/// in it. A name unlike the one already configured forgets the configured folder, which belonged to that one.
///
/// # Errors
/// [`Error::Config`] for a name that is neither a data set nor a folder; [`Error::Data`] for a folder in which no
/// data set was recognised, with what was looked for.
pub fn resolve(arg: &str, config: &mut DataConfig) -> Result<()> {
    if SOURCES.iter().any(|source| source.name() == arg) {
        if config.name != arg {
            config.dir = None;
        }
        config.name = arg.into();
        return Ok(());
    }
    let dir = Path::new(arg);
    if !dir.is_dir() {
        let kind = if dir.is_file() { "a file" } else { "neither" };
        return Err(unknown(
            "--data",
            "a folder or the name of a data set",
            arg,
            format!("`{arg}`, which is {kind}"),
        ));
    }
    let source = SOURCES.iter().find(|source| source.recognises(dir)).ok_or_else(|| unrecognised(dir))?;
    config.name = source.name().into();
    config.dir = Some(dir.to_path_buf());
    Ok(())
}

fn unknown(origin: &str, expected: &str, name: &str, found: String) -> Error {
    let names = SOURCES.map(Source::name);
    // By common beginnings first: "fashon" is nearer to "fashion-mnist" than to "digits".
    let likeness = |known: &str| strsim::jaro_winkler(known, &name.to_lowercase());
    let nearest = names.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    // A path is no misspelt name.
    let nearest = nearest.filter(|_| !name.contains(std::path::is_separator));
    Error::Config {
        origin: origin.into(),
        key: "data.name".into(),
        expected: format!("{expected} ({})", names.join(", ")),
        found,
        hint: nearest.map(|nearest| format!("did you mean `{nearest}`?")),
    }
}

fn unrecognised(dir: &Path) -> Error {
    let layouts: Vec<_> = SOURCES.iter().filter_map(|source| source.layout()).collect();
    Error::data(dir, "data set", layouts.join("; or "), "none of these")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> DataConfig {
        DataConfig {
            name: "cifar10".into(),
            dir: Some("/data".into()),
            validation: 0.2,
            ..DataConfig::default()
        }
    }

    #[test]
    fn a_misspelt_name_gets_the_nearest_one() {
        for (name, nearest) in
            [("fashon-mnist", "fashion-mnist"), ("MNIST", "mnist"), ("cifar", "cifar10"), ("digit", "digits")]
        {
            let message = resolve(name, &mut config()).unwrap_err().to_string();
            assert!(message.contains(&format!("did you mean `{nearest}`?")), "{message}");
            assert!(message.contains("cifar10, images"), "{message}");
            assert_eq!(find(name).err().map(|error| error.to_string().contains(nearest)), Some(true));
        }
    }

    #[test]
    fn another_name_forgets_the_folder_and_the_same_name_keeps_it() -> Result<()> {
        let mut config = config();
        resolve("cifar10", &mut config)?;
        assert_eq!(config.dir, Some("/data".into()));
        resolve("digits", &mut config)?;
        assert_eq!((config.name.as_str(), config.dir), ("digits", None));
        Ok(())
    }

    #[test]
    fn an_unrecognised_folder_is_told_what_was_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut asked = config();
        let message = resolve(dir.path().to_str().unwrap(), &mut asked).unwrap_err().to_string();
        for part in ["train-images-idx3-ubyte", "data_batch_1.bin", "one sub-folder per class"] {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(asked, config(), "a failed request changes nothing");
    }

    #[test]
    fn a_file_is_not_a_folder() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let message = resolve(file.path().to_str().unwrap(), &mut config()).unwrap_err().to_string();
        assert!(message.contains("which is a file"), "{message}");
    }
}
