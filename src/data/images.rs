//! A folder of pictures, one sub-folder per class, and single pictures for `predict`.

use std::fs;
use std::path::{Path, PathBuf};

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader};
use rayon::prelude::*;

use super::resize::Resize;
use super::{ImageShape, Raw, Source, Split, setting};
use crate::config::DataConfig;
use crate::{Error, Result};

/// PNG, JPEG, BMP, GIF (its first frame), WebP, PNM and TIFF files of any size.
pub(super) struct Images;

impl Source for Images {
    fn name(&self) -> &'static str {
        "images"
    }

    fn describe(&self) -> &'static str {
        "a folder of pictures with one sub-folder per class, or train/ and test/ that have them"
    }

    fn layout(&self) -> Option<&'static str> {
        Some("pictures in one sub-folder per class, or train/ and test/ with one sub-folder per class each")
    }

    fn recognises(&self, dir: &Path) -> bool {
        entries(dir).is_ok_and(|entries| entries.iter().any(|entry| entry.is_dir()))
    }

    fn load(&self, config: &DataConfig) -> Result<Raw> {
        let root = config.dir.as_deref().ok_or_else(|| setting("dir", "a folder of pictures", "none"))?;
        if root.join("train").is_dir() && root.join("test").is_dir() {
            return load_parts(root, config);
        }
        let (classes, files) = walk(root)?;
        let shape = common_shape(&files, config)?;
        Ok(Raw::with_fixed_test(root.into(), shape, classes, &decode(&files, shape)?))
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

/// Reads one picture as bytes `[channels, height, width]` of `shape`, the way the pictures of a data set are read:
/// turned upright as its EXIF data say, grey or colour as `shape` has 1 or 3 channels (transparency is ignored), cut
/// to the wanted proportions around its centre, and resized by area average.
///
/// # Errors
/// [`Error::Io`] or [`Error::Data`] with the path if the file cannot be read or is no picture; [`Error::Usage`] if
/// `shape` is not that of a grey or colour picture.
pub fn read_image(path: &Path, shape: ImageShape) -> Result<Vec<u8>> {
    let mut decoder = open(path)?;
    let orientation = decoder.orientation().map_err(undecodable(path))?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(undecodable(path))?;
    picture.apply_orientation(orientation);
    let (height, width) = (picture.height() as usize, picture.width() as usize);
    let planes = match shape.channels {
        1 => picture.into_luma8().into_raw(),
        3 => planar(picture.into_rgb8().as_raw()),
        _ => {
            return Err(Error::Usage(format!(
                "{}: a picture has 1 or 3 channels, not {shape}",
                path.display()
            )));
        }
    };
    Ok(Resize::new(ImageShape { height, width, ..shape }, shape.height, shape.width).apply(&planes))
}

/// Red, green, blue, red, ... to all of the red, then green, then blue.
fn planar(interleaved: &[u8]) -> Vec<u8> {
    (0..3).flat_map(|channel| interleaved.iter().skip(channel).step_by(3)).copied().collect()
}

/// The decoder of a picture that has at least one pixel; the format is told by the content, then by the name.
fn open(path: &Path) -> Result<impl ImageDecoder> {
    let reader = ImageReader::open(path)
        .and_then(ImageReader::with_guessed_format)
        .map_err(Error::io("read", path))?;
    let decoder = reader.into_decoder().map_err(undecodable(path))?;
    match decoder.dimensions() {
        (0, _) | (_, 0) => Err(Error::data(path, "size", "at least one pixel", "none")),
        _ => Ok(decoder),
    }
}

fn undecodable(path: &Path) -> impl FnOnce(ImageError) -> Error {
    let path = path.to_path_buf();
    move |error| {
        Error::data(path, "picture", "a PNG, JPEG, BMP, GIF, WebP, PNM or TIFF file", error.to_string())
    }
}

/// A picture of a data set, not yet decoded.
struct Picture {
    path: PathBuf,
    label: u32,
}

/// `train/` and `test/`, with the same classes in both.
fn load_parts(root: &Path, config: &DataConfig) -> Result<Raw> {
    if let Some(other) =
        entries(root)?.iter().find(|entry| !entry.ends_with("train") && !entry.ends_with("test"))
    {
        return Err(Error::data(other, "name", "nothing beside train/ and test/", name(other)));
    }
    let (classes, mut pictures) = walk(&root.join("train"))?;
    let (test_classes, test) = walk(&root.join("test"))?;
    if classes != test_classes {
        return Err(different_classes(root, &classes, &test_classes));
    }
    let train = pictures.len();
    pictures.extend(test);
    let shape = common_shape(&pictures, config)?;
    let (train, test) = (decode(&pictures[..train], shape)?, decode(&pictures[train..], shape)?);
    Ok(Raw { origin: root.into(), shape, classes, train, test })
}

fn different_classes(root: &Path, train: &[String], test: &[String]) -> Error {
    let only = |of: &[String], not: &[String]| {
        let names: Vec<_> = of.iter().filter(|name| !not.contains(name)).map(String::as_str).collect();
        if names.is_empty() { "none".into() } else { names.join(", ") }
    };
    let found = format!("only in train/: {}; only in test/: {}", only(train, test), only(test, train));
    Error::data(root, "classes", "the same in train/ and test/", found)
}

/// The classes in `root`, by name, and their pictures, by class and name: the order is that of the names everywhere.
fn walk(root: &Path) -> Result<(Vec<String>, Vec<Picture>)> {
    let folders = entries(root)?;
    if let Some(file) = folders.iter().find(|entry| !entry.is_dir()) {
        return Err(Error::data(file, "kind of file", "a sub-folder for each class", "no folder"));
    }
    if folders.len() < 2 {
        let expected = "at least 2 sub-folders, one per class";
        return Err(Error::data(root, "classes", expected, folders.len().to_string()));
    }
    let mut pictures = Vec::new();
    for (label, folder) in (0..).zip(&folders) {
        pictures.extend(class(folder)?.into_iter().map(|path| Picture { path, label }));
    }
    Ok((folders.iter().map(|folder| name(folder)).collect(), pictures))
}

/// The files of one class, at least one.
fn class(folder: &Path) -> Result<Vec<PathBuf>> {
    let files = entries(folder)?;
    if let Some(inner) = files.iter().find(|entry| entry.is_dir()) {
        return Err(Error::data(inner, "kind of file", "a picture in the folder of a class", "a folder"));
    }
    if files.is_empty() {
        return Err(Error::data(folder, "class folder", "at least one picture", "none"));
    }
    Ok(files)
}

/// What is in `dir`, hidden entries aside, by name: the system's own order differs from machine to machine.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let read = || fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>();
    let mut entries = read().map_err(Error::io("read", dir))?;
    entries.retain(|path| !name(path).starts_with('.'));
    entries.sort();
    Ok(entries)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The shape that every picture will have: read from the headers, so that no picture is kept at its full size.
///
/// Grey if the files of all of them store grey values, colour otherwise.
fn common_shape(pictures: &[Picture], config: &DataConfig) -> Result<ImageShape> {
    let headers: Vec<_> = pictures.par_iter().map(|picture| header(&picture.path)).collect();
    let headers = headers.into_iter().collect::<Result<Vec<_>>>()?;
    let channels = if headers.iter().any(|header| header.channels == 3) { 3 } else { 1 };
    let side = |header: &ImageShape| (header.height, header.width);
    let (height, width) = match config.size {
        0 => side(&headers[0]),
        size => return Ok(ImageShape { channels, height: size, width: size }),
    };
    match headers.iter().position(|header| side(header) != (height, width)) {
        None => Ok(ImageShape { channels, height, width }),
        Some(other) => {
            let size = |i: usize| {
                format!("{} has {}x{}", pictures[i].path.display(), headers[i].height, headers[i].width)
            };
            let expected = "height and width in pixels, because the pictures differ in size";
            Err(setting("size", expected, format!("0 ({}, {})", size(0), size(other))))
        }
    }
}

/// The shape of one picture, upright.
fn header(path: &Path) -> Result<ImageShape> {
    let mut decoder = open(path)?;
    let (width, height) = decoder.dimensions();
    let mut shape = ImageShape { channels: 1, height: height as usize, width: width as usize };
    if decoder.color_type().has_color() {
        shape.channels = 3;
    }
    match decoder.orientation().map_err(undecodable(path))? {
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => Ok(ImageShape { height: shape.width, width: shape.height, ..shape }),
        Orientation::NoTransforms
        | Orientation::Rotate180
        | Orientation::FlipHorizontal
        | Orientation::FlipVertical => Ok(shape),
    }
}

fn decode(pictures: &[Picture], shape: ImageShape) -> Result<Split> {
    let images: Vec<_> = pictures.par_iter().map(|picture| read_image(&picture.path, shape)).collect();
    let pixels = images.into_iter().collect::<Result<Vec<_>>>()?.concat();
    Ok(Split { pixels, labels: pictures.iter().map(|picture| picture.label).collect() })
}

#[cfg(test)]
mod tests;
