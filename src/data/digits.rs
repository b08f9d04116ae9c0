//! The 1,797 optical 8x8 digits, embedded: a search needs no download.
//!
//! Attribution and licence: `digits.LICENSE.md` beside this file.

use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;

use super::{ImageShape, Raw, Source, Split, setting};
use crate::config::DataConfig;
use crate::{Error, Result};

const FILE: &str = "digits.csv.gz (embedded)";
const BYTES: &[u8] = include_bytes!("digits.csv.gz");
const SHAPE: ImageShape = ImageShape { channels: 1, height: 8, width: 8 };
/// The largest number in the file: a pixel counts the ink in a block of 4x4.
const INK: u32 = 16;

/// "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998).
pub(super) struct Digits;

impl Source for Digits {
    fn name(&self) -> &'static str {
        "digits"
    }

    fn describe(&self) -> &'static str {
        "1,797 handwritten digits of 8x8 pixels, part of the program"
    }

    fn layout(&self) -> Option<&'static str> {
        None
    }

    fn recognises(&self, _dir: &Path) -> bool {
        false
    }

    fn load(&self, config: &DataConfig) -> Result<Raw> {
        if let Some(dir) = &config.dir {
            let expected = "no folder, because `digits` is part of the program";
            return Err(setting("dir", expected, dir.display().to_string()));
        }
        let mut csv = String::new();
        GzDecoder::new(BYTES).read_to_string(&mut csv).map_err(Error::io("decompress", FILE))?;
        let classes = (0..10).map(|digit| digit.to_string()).collect();
        Ok(Raw::with_fixed_test(FILE.into(), SHAPE, classes, &parse(&csv)?))
    }

    #[cfg(test)]
    fn write_example(&self, _dir: &Path) -> DataConfig {
        DataConfig { name: self.name().into(), dir: None, validation: 0.2, ..DataConfig::default() }
    }
}

/// Lines of 64 numbers from 0 to 16 and a digit.
fn parse(csv: &str) -> Result<Split> {
    let mut split = Split::default();
    for (index, line) in csv.lines().enumerate() {
        let wrong = || Error::data(FILE, format!("line {}", index + 1), "64 numbers to 16 and a digit", line);
        let numbers: Vec<u32> =
            line.split(',').map(str::parse).collect::<std::result::Result<_, _>>().map_err(|_| wrong())?;
        match numbers.split_last() {
            Some((&label, ink))
                if label < 10 && ink.len() == SHAPE.volume() && ink.iter().all(|&v| v <= INK) =>
            {
                split.pixels.extend(ink.iter().map(|&v| byte(v)));
                split.labels.push(label);
            }
            Some(_) | None => return Err(wrong()),
        }
    }
    Ok(split)
}

/// round(v * 255 / 16)
fn byte(ink: u32) -> u8 {
    ((ink * 255 + INK / 2) / INK) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;

    fn digits() -> Raw {
        Digits.load(&Digits.write_example(Path::new(""))).unwrap()
    }

    #[test]
    fn holds_the_uci_test_part() {
        let raw = digits();
        let sum = |a: Vec<usize>, b: Vec<usize>| a.iter().zip(b).map(|(a, b)| a + b).collect::<Vec<_>>();
        // The counts of `optdigits.tes` on the data set's page at UCI.
        let counts = sum(raw.train.class_counts(10), raw.test.class_counts(10));
        assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        assert_eq!(raw.test.class_counts(10), [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]);
    }

    #[test]
    fn ink_becomes_bytes() {
        assert_eq!([0, 1, 8, 15, 16].map(byte), [0, 16, 128, 239, 255]);
    }

    #[test]
    fn a_wrong_line_is_named() {
        let good = vec!["3"; 65].join(",");
        assert_eq!(parse(&good).unwrap().labels, [3]);
        for bad in
            ["", "1,2,3", &good.replacen('3', "17", 1), &good.replacen('3', "x", 1), &format!("{good}0")]
        {
            let message = parse(&format!("{good}\n{bad}\n")).unwrap_err().to_string();
            assert!(message.contains("line 2"), "{message}");
        }
    }

    #[test]
    fn a_folder_is_refused() {
        let config = DataConfig { dir: Some("/data".into()), ..Digits.write_example(Path::new("")) };
        let message = Dataset::load(&config, 0).unwrap_err().to_string();
        assert!(message.contains("data.dir") && message.contains("/data"), "{message}");
    }

    /// The nearest training image has the right digit for all but about 1.1 to 1.4 % of usual splits; a mix-up of
    /// rows, pixels or labels would leave 90 %.
    #[test]
    fn nearest_neighbour_finds_the_digit() {
        let raw = digits();
        let distance =
            |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(&a, &b)| u32::from(a.abs_diff(b)).pow(2)).sum::<u32>();
        let nearest =
            |image: &[u8]| (0..raw.train.len()).min_by_key(|&i| distance(image, raw.train.image(i))).unwrap();
        let wrong = (0..raw.test.len())
            .filter(|&i| raw.train.labels[nearest(raw.test.image(i))] != raw.test.labels[i])
            .count();
        let error = wrong as f64 / raw.test.len() as f64;
        assert!(error < 0.03, "{error}");
    }
}
