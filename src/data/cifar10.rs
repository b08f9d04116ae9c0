//! CIFAR-10 in its binary version: a record is one label and 3,072 bytes, the red, green and blue plane of 32x32.
//!
//! Format: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009) and the data set's page,
//! <https://www.cs.toronto.edu/~kriz/cifar.html>.

use std::fs;
use std::path::{Path, PathBuf};

use super::{ImageShape, Raw, Source, Split, setting};
use crate::config::DataConfig;
use crate::{Error, Result};

const SHAPE: ImageShape = ImageShape { channels: 3, height: 32, width: 32 };
const RECORD: usize = 1 + 3 * 32 * 32;
const CLASSES: usize = 10;
const TRAIN: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];
const TEST: &str = "test_batch.bin";
const NAMES: &str = "batches.meta.txt";
/// The folder in which the archive unpacks.
const UNPACKED: &str = "cifar-10-batches-bin";
const GET: &str = "unpack cifar-10-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html and set data.dir to its folder";

/// CIFAR-10 (Krizhevsky 2009).
pub(super) struct Cifar10;

impl Source for Cifar10 {
    fn name(&self) -> &'static str {
        "cifar10"
    }

    fn describe(&self) -> &'static str {
        "50,000 + 10,000 colour pictures of animals and vehicles, 32x32 (the binary version of CIFAR-10)"
    }

    fn layout(&self) -> Option<&'static str> {
        Some(
            "CIFAR-10's binary version (data_batch_1.bin to data_batch_5.bin, test_batch.bin, batches.meta.txt)",
        )
    }

    fn recognises(&self, dir: &Path) -> bool {
        let dir = home(dir);
        TRAIN.iter().chain([&TEST]).any(|name| dir.join(name).exists())
    }

    fn load(&self, config: &DataConfig) -> Result<Raw> {
        let dir = config
            .dir
            .as_deref()
            .ok_or_else(|| setting("dir", "the folder of cifar10", format!("none; {GET}")))?;
        let dir = home(dir);
        let batches = TRAIN.map(|name| read_batch(&dir, name)).into_iter().collect::<Result<Vec<_>>>()?;
        same_lengths(&dir, &batches)?;
        let mut train = Split::default();
        for batch in batches {
            train.pixels.extend(batch.pixels);
            train.labels.extend(batch.labels);
        }
        Ok(Raw {
            shape: SHAPE,
            classes: class_names(&dir)?,
            train,
            test: read_batch(&dir, TEST)?,
            origin: dir,
        })
    }

    #[cfg(test)]
    fn write_example(&self, dir: &Path) -> DataConfig {
        tests::write(dir);
        DataConfig {
            name: self.name().into(),
            dir: Some(dir.into()),
            validation: 0.25,
            ..DataConfig::default()
        }
    }
}

/// The folder itself, or the archive's folder in it.
fn home(dir: &Path) -> PathBuf {
    let inner = dir.join(UNPACKED);
    if inner.is_dir() { inner } else { dir.into() }
}

/// The bytes of the file `name`, which belongs to every copy of the data set.
fn read(dir: &Path, name: &str) -> Result<Vec<u8>> {
    let path = dir.join(name);
    if !path.exists() {
        let found = if dir.is_dir() { "no such file" } else { "no such folder" };
        return Err(Error::data(dir, "a file of cifar10", name, format!("{found}\n  hint: {GET}")));
    }
    fs::read(&path).map_err(Error::io("read", &path))
}

fn read_batch(dir: &Path, name: &str) -> Result<Split> {
    let (bytes, path) = (read(dir, name)?, dir.join(name));
    if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
        let found = format!(
            "{} bytes: {} records and {} bytes",
            bytes.len(),
            bytes.len() / RECORD,
            bytes.len() % RECORD
        );
        return Err(Error::data(
            &path,
            "length",
            format!("records of {RECORD} bytes"),
            format!("{found} (truncated file?)"),
        ));
    }
    let mut split = Split::default();
    for (record, bytes) in bytes.chunks_exact(RECORD).enumerate() {
        let label = bytes[0];
        if usize::from(label) >= CLASSES {
            return Err(Error::data(&path, format!("label of record {record}"), "0 to 9", label.to_string()));
        }
        split.labels.push(label.into());
        split.pixels.extend(&bytes[1..]);
    }
    Ok(split)
}

/// A file that was cut between two records is told by its companions: all five have equally many.
fn same_lengths(dir: &Path, batches: &[Split]) -> Result<()> {
    let most = batches.iter().map(Split::len).max().unwrap_or(0);
    match batches.iter().zip(TRAIN).find(|(batch, _)| batch.len() < most) {
        None => Ok(()),
        Some((batch, name)) => {
            let expected = format!("{most}, like the longest of the five");
            Err(Error::data(
                dir.join(name),
                "number of records",
                expected,
                format!("{} (truncated file?)", batch.len()),
            ))
        }
    }
}

/// One name a line; the published file ends with an empty one.
fn class_names(dir: &Path) -> Result<Vec<String>> {
    let text = String::from_utf8_lossy(&read(dir, NAMES)?).into_owned();
    let names: Vec<_> =
        text.lines().map(str::trim).filter(|name| !name.is_empty()).map(String::from).collect();
    match names.len() {
        CLASSES => Ok(names),
        found => Err(Error::data(
            dir.join(NAMES),
            "class names",
            format!("{CLASSES}, one a line"),
            found.to_string(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";

    /// Records whose planes have one value each: 20 and the label, 100 and the place in the file, and `batch`.
    fn batch(batch: u8, records: u8) -> Vec<u8> {
        let record = |i: u8| {
            let plane = |value: u8| vec![value; 32 * 32];
            [vec![i % 10], plane(20 + i % 10), plane(100 + i), plane(batch)].concat()
        };
        (0..records).flat_map(record).collect()
    }

    pub fn write(dir: &Path) {
        TRAIN
            .iter()
            .zip(1..)
            .for_each(|(name, number)| fs::write(dir.join(name), batch(number, 10)).unwrap());
        fs::write(dir.join(TEST), batch(9, 20)).unwrap();
        fs::write(dir.join(NAMES), TEXT).unwrap();
    }

    /// The message when `name` of an otherwise good folder holds `bytes`; it starts with the file's path.
    fn complaint(name: &str, bytes: &[u8]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let config = Cifar10.write_example(dir.path());
        fs::write(dir.path().join(name), bytes).unwrap();
        let message = Cifar10.load(&config).unwrap_err().to_string();
        message.strip_prefix(&dir.path().join(name).display().to_string()).expect(&message).to_string()
    }

    #[test]
    fn records_become_planes_in_the_order_of_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let raw = Cifar10.load(&Cifar10.write_example(dir.path())).unwrap();
        assert_eq!((raw.train.len(), raw.test.len()), (50, 20));
        assert_eq!(raw.classes[9], "truck");
        let image = raw.train.image(23);
        assert_eq!(raw.train.labels[23], 3);
        assert_eq!([0, 1023, 1024, 2047, 2048, 3071].map(|i: usize| image[i]), [23, 23, 103, 103, 3, 3]);
    }

    #[test]
    fn the_archives_own_folder_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join(UNPACKED);
        fs::create_dir(&inner).unwrap();
        write(&inner);
        let config = DataConfig { dir: Some(dir.path().into()), ..Cifar10.write_example(&inner) };
        assert!(Cifar10.recognises(dir.path()));
        assert_eq!(Cifar10.load(&config).unwrap().origin, inner);
    }

    #[test]
    fn a_missing_file_is_named_with_where_to_get_it() {
        let dir = tempfile::tempdir().unwrap();
        let config = Cifar10.write_example(dir.path());
        for name in ["data_batch_4.bin", "test_batch.bin", "batches.meta.txt"] {
            fs::rename(dir.path().join(name), dir.path().join("away")).unwrap();
            let message = Cifar10.load(&config).unwrap_err().to_string();
            assert!(message.contains(name) && message.contains("cifar-10-binary.tar.gz"), "{message}");
            fs::rename(dir.path().join("away"), dir.path().join(name)).unwrap();
        }
        let message = Cifar10.load(&DataConfig { dir: None, ..config }).unwrap_err().to_string();
        assert!(message.contains("data.dir") && message.contains("cifar-10-binary.tar.gz"), "{message}");
    }

    #[test]
    fn a_cut_file_is_refused_even_between_records() {
        let good = batch(2, 10);
        assert!(complaint("data_batch_2.bin", &good[..good.len() - 1]).contains("9 records and 3072 bytes"));
        assert!(complaint("data_batch_2.bin", &good[..9 * RECORD]).contains("expected 10"));
        assert!(complaint("test_batch.bin", &[]).contains("length"));
    }

    #[test]
    fn a_label_out_of_range_is_named_by_its_record() {
        let mut file = batch(2, 10);
        file[7 * RECORD] = 10;
        let message = complaint("data_batch_2.bin", &file);
        assert!(message.contains("label of record 7") && message.contains("found 10"), "{message}");
    }

    #[test]
    fn ten_names_are_needed() {
        assert!(complaint(NAMES, b"cat\ndog\n").contains("class names: expected 10, one a line, found 2"));
    }
}
