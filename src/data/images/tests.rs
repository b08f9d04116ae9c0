//! Folders of pictures, right and wrong, and single pictures.

use image::{GrayImage, Luma, Rgb, RgbImage, Rgba, RgbaImage};

use super::*;
use crate::data::{Dataset, resolve};

/// Three classes with 10 grey pictures of 6x5 each, told apart by their brightness.
pub fn write(dir: &Path) {
    for (class, brightness) in [("bus", 50), ("car", 120), ("train", 200)] {
        fill(&dir.join(class), 10, brightness);
    }
}

fn fill(folder: &Path, count: u8, brightness: u8) {
    fs::create_dir_all(folder).unwrap();
    (0..count).for_each(|i| grey(&folder.join(format!("{i}.png")), 6, 5, brightness + i));
}

fn grey(path: &Path, width: u32, height: u32, brightness: u8) {
    GrayImage::from_fn(width, height, |x, _| Luma([brightness + x as u8])).save(path).unwrap();
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path());
        Self(dir)
    }

    fn join(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn config(&self) -> DataConfig {
        DataConfig {
            name: "images".into(),
            dir: Some(self.0.path().into()),
            validation: 0.25,
            ..DataConfig::default()
        }
    }

    fn load(&self) -> Result<Raw> {
        Images.load(&self.config())
    }

    fn assert_complains(&self, parts: &[&str]) {
        let message = self.load().unwrap_err().to_string();
        parts.iter().for_each(|part| assert!(message.contains(part), "`{part}` is not in: {message}"));
    }
}

#[test]
fn classes_and_pictures_come_by_name_with_a_fifth_for_the_test() {
    let raw = Folder::new().load().unwrap();
    assert_eq!(raw.shape, ImageShape { channels: 1, height: 5, width: 6 });
    assert_eq!(raw.classes, ["bus", "car", "train"]);
    assert_eq!((raw.train.class_counts(3), raw.test.class_counts(3)), (vec![8; 3], vec![2; 3]));
    assert!(raw.train.labels.is_sorted());
    let first: Vec<u8> = (0..raw.train.len()).map(|i| raw.train.image(i)[0]).collect();
    assert!(first.is_sorted(), "{first:?}");
}

#[test]
fn train_and_test_folders_are_used_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("train"));
    ["bus", "car", "train"].iter().for_each(|class| fill(&dir.path().join("test").join(class), 1, 7));
    let folder = Folder(dir);
    let raw = folder.load().unwrap();
    assert_eq!((raw.train.len(), raw.test.len()), (30, 3));
    assert_eq!(raw.test.image(0)[..6], [7, 8, 9, 10, 11, 12]);

    fs::rename(folder.join("test/car"), folder.join("test/cat")).unwrap();
    folder.assert_complains(&["only in train/: car", "only in test/: cat"]);
    fs::rename(folder.join("test/cat"), folder.join("test/car")).unwrap();
    fs::create_dir(folder.join("val")).unwrap();
    folder.assert_complains(&["/val", "nothing beside train/ and test/"]);
}

#[test]
fn one_colour_picture_makes_three_channels() {
    let folder = Folder::new();
    RgbImage::from_pixel(6, 5, Rgb([10, 20, 30])).save(folder.join("bus/0.png")).unwrap();
    let raw = folder.load().unwrap();
    assert_eq!(raw.shape.channels, 3);
    let all: Vec<_> =
        [&raw.train, &raw.test].into_iter().flat_map(|s| (0..s.len()).map(|i| s.image(i))).collect();
    let colour: Vec<u8> = [10, 20, 30].into_iter().flat_map(|value| [value; 30]).collect();
    assert_eq!(all.iter().filter(|image| ***image == colour).count(), 1);
    assert_eq!(
        all.iter().filter(|image| image[..30] == image[30..60] && image[..30] == image[60..]).count(),
        29
    );
}

#[test]
fn several_sizes_need_data_size_and_are_cut_in_the_middle() {
    let folder = Folder::new();
    grey(&folder.join("car/3.png"), 8, 4, 100);
    folder.assert_complains(&["data.size", "bus/0.png has 5x6", "car/3.png has 4x8"]);
    let config = DataConfig { size: 2, ..folder.config() };
    let raw = Images.load(&config).unwrap();
    assert_eq!(raw.shape, ImageShape { channels: 1, height: 2, width: 2 });
    // Columns 2 to 5 of 8 remain; pairs of them are averaged: 102.5, 104.5, rounded up.
    let cut = read_image(&folder.join("car/3.png"), raw.shape).unwrap();
    assert_eq!(cut, [103, 105, 103, 105]);
    assert_eq!(Dataset::load(&config, 0).unwrap().shape, raw.shape);
}

#[test]
fn hidden_files_are_ignored_and_others_named() {
    let folder = Folder::new();
    fs::write(folder.join(".DS_Store"), "x").unwrap();
    fs::write(folder.join("bus/.hidden.txt"), "x").unwrap();
    assert_eq!(folder.load().unwrap().train.len(), 24);
    fs::write(folder.join("car/notes.txt"), "not a picture").unwrap();
    folder.assert_complains(&["car/notes.txt", "a PNG, JPEG"]);
    fs::remove_file(folder.join("car/notes.txt")).unwrap();
    fs::write(folder.join("README"), "x").unwrap();
    folder.assert_complains(&["/README", "a sub-folder for each class"]);
}

#[test]
fn an_unreadable_picture_is_named() {
    let folder = Folder::new();
    let good = fs::read(folder.join("bus/4.png")).unwrap();
    for bad in [&good[..good.len() / 2], &good[..10], b"", b"garbage that is no picture at all"] {
        fs::write(folder.join("bus/4.png"), bad).unwrap();
        folder.assert_complains(&["bus/4.png", "picture"]);
    }
}

#[test]
fn empty_classes_folders_in_classes_and_single_classes_are_refused() {
    let folder = Folder::new();
    fs::create_dir(folder.join("bus/more")).unwrap();
    folder.assert_complains(&["bus/more", "found a folder"]);
    fs::remove_dir(folder.join("bus/more")).unwrap();
    fs::create_dir(folder.join("empty")).unwrap();
    folder.assert_complains(&["/empty", "class folder", "at least one picture"]);
    fs::remove_dir(folder.join("empty")).unwrap();
    fs::remove_dir_all(folder.join("bus")).unwrap();
    fs::remove_dir_all(folder.join("car")).unwrap();
    folder.assert_complains(&["at least 2 sub-folders", "found 1"]);
}

#[test]
fn a_missing_folder_is_named() {
    let config = DataConfig { dir: Some("/nowhere".into()), ..Folder::new().config() };
    assert!(Images.load(&config).unwrap_err().to_string().contains("cannot read /nowhere"));
    let message = Images.load(&DataConfig { dir: None, ..config }).unwrap_err().to_string();
    assert!(message.contains("data.dir"), "{message}");
}

#[test]
fn a_class_of_one_picture_cannot_be_split() {
    let folder = Folder::new();
    fill(&folder.join("van"), 1, 90);
    let message = Dataset::load(&folder.config(), 0).unwrap_err().to_string();
    assert!(message.contains("class `van`") && message.contains("at least 2 training images"), "{message}");
}

#[test]
fn a_folder_of_pictures_is_recognised() {
    let folder = Folder::new();
    let mut config = DataConfig { name: "digits".into(), dir: None, ..folder.config() };
    resolve(folder.0.path().to_str().unwrap(), &mut config).unwrap();
    assert_eq!(config, folder.config());
}

#[test]
fn single_pictures_are_converted_to_the_networks_shape() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("picture.png");
    RgbaImage::from_fn(4, 4, |x, _| Rgba([if x < 2 { 0 } else { 200 }, 40, 60, 128])).save(&path).unwrap();
    let shape = |channels| ImageShape { channels, height: 1, width: 1 };
    assert_eq!(read_image(&path, shape(3)).unwrap(), [100, 40, 60]);
    let luma = read_image(&path, shape(1)).unwrap()[0];
    // Half of 0.7152*40 + 0.0722*60 = 33 and half of 0.2126*200 more = 75 (ITU-R BT.709).
    assert!(luma.abs_diff(54) <= 1, "{luma}");
    assert!(read_image(&path, shape(2)).unwrap_err().to_string().contains("1 or 3 channels"));
    let missing = read_image(&dir.path().join("missing.png"), shape(1)).unwrap_err();
    assert!(matches!(missing, Error::Io { .. }) && missing.to_string().contains("missing.png"));
}

#[test]
fn pictures_are_turned_upright() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("turned.jpg");
    let picture = GrayImage::from_fn(16, 8, |x, _| Luma([if x < 8 { 0 } else { 255 }]));
    let mut jpeg = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut jpeg, image::ImageFormat::Jpeg).unwrap();
    // An APP1 segment after the start marker: EXIF, big-endian, one entry: orientation (0x0112) 6, a quarter turn.
    let exif = b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let (start, rest) = jpeg.get_ref().split_at(2);
    fs::write(&path, [start, exif, rest].concat()).unwrap();
    assert_eq!(header(&path).unwrap(), ImageShape { channels: 1, height: 16, width: 8 });
    let upright = read_image(&path, ImageShape { channels: 1, height: 2, width: 1 }).unwrap();
    assert!(upright[0] < 20 && upright[1] > 235, "{upright:?}");
}
