//! Tables of designs that somebody has trained once and for all: what a strategy asks for is looked up, and the true front is
//! known. One file a format.

mod nas_bench_101;
mod nas_bench_201;
mod nas_bench_macro;
mod space;
mod tfrecord;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

pub use space::{Point, Rows};

use crate::{Error, Result};

/// How a table is written in a file.
pub struct Format {
    /// Its name in a study.
    pub name: &'static str,
    /// The column that is the accuracy, if a study names none.
    pub accuracy: &'static str,
    /// Whether accuracies are percentages; else they are shares.
    pub percent: bool,
    read: fn(&Path, &[u8]) -> Result<Contents>,
}

/// The formats.
pub const FORMATS: &[Format] = &[nas_bench_macro::FORMAT, nas_bench_201::FORMAT, nas_bench_101::FORMAT];

/// What a reader makes of a file.
struct Contents {
    /// How many choices each gene has.
    choices: Vec<usize>,
    /// The names of the numbers of a row.
    columns: Vec<String>,
    /// A design as people write it, and its numbers.
    rows: Vec<(String, Vec<f64>)>,
    /// From genes to rows.
    rows_by_genes: Lookup,
}

/// How a row is found by its genes.
enum Lookup {
    /// Each row has genes of its own.
    Genes(BTreeMap<Vec<u8>, usize>),
    /// Different genes may be the same graph.
    Graph(BTreeMap<nas_bench_101::Canonical, usize>),
}

/// A table of designs with their objective values.
pub struct Table {
    /// The file.
    pub path: PathBuf,
    format: &'static Format,
    contents: Contents,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} with {} rows", self.format.name, self.len())
    }
}

impl Table {
    /// Reads a table, plain or gzipped.
    ///
    /// # Errors
    /// If there is no such format, or the file cannot be read or is not what the format says.
    pub fn read(path: &Path, format: &str) -> Result<Self> {
        let format = FORMATS.iter().find(|one| one.name == format).ok_or_else(|| {
            let names: Vec<&str> = FORMATS.iter().map(|one| one.name).collect();
            Error::Usage(format!("no table format `{format}`; there are {}", names.join(", ")))
        })?;
        let mut bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut plain = Vec::new();
            let packed = flate2::read::MultiGzDecoder::new(bytes.as_slice());
            // Nobody's table is larger; a file that unpacks to more is no table.
            packed.take(MOST_BYTES).read_to_end(&mut plain).map_err(Error::io("unpack", path))?;
            bytes = plain;
        }
        let contents = (format.read)(path, &bytes)?;
        match contents.rows.is_empty() {
            true => Err(wrong(path, "it has no rows")),
            false => Ok(Self { path: path.into(), format, contents }),
        }
    }

    /// The format it was read as.
    pub fn format(&self) -> &'static Format {
        self.format
    }

    /// How many designs it has.
    pub fn len(&self) -> usize {
        self.contents.rows.len()
    }

    /// Whether it has none; a table that was read has some.
    pub fn is_empty(&self) -> bool {
        self.contents.rows.is_empty()
    }

    /// The names of the numbers of a row.
    pub fn columns(&self) -> &[String] {
        &self.contents.columns
    }

    /// The numbers of epochs in the names of columns that are called like `accuracy` but for that number, up to its own, with the
    /// columns: "accuracy_4", "accuracy_12" and "accuracy_36" for the last one. One of 1 if there is no number in the name.
    pub fn fidelities(&self, accuracy: &str) -> Vec<(usize, usize)> {
        let parts = |name: &str| -> Option<(String, usize, String)> {
            let end = name.rfind(|c: char| c.is_ascii_digit())? + 1;
            let start = name[..end].rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1);
            Some((name[..start].into(), name[start..end].parse().ok()?, name[end..].into()))
        };
        let place = self.columns().iter().position(|column| column == accuracy).unwrap_or_default();
        let Some((before, most, after)) = parts(accuracy) else { return vec![(1, place)] };
        let alike = |(place, column): (usize, &String)| {
            let (start, epochs, end) = parts(column)?;
            (start == before && end == after && (1..=most).contains(&epochs)).then_some((epochs, place))
        };
        let mut known: Vec<(usize, usize)> = self.columns().iter().enumerate().filter_map(alike).collect();
        known.sort_unstable();
        known
    }

    /// How many choices each gene has.
    pub fn choices(&self) -> &[usize] {
        &self.contents.choices
    }

    /// A row's design, as people write it.
    pub fn label(&self, row: usize) -> &str {
        &self.contents.rows[row].0
    }

    /// A row's number in a column.
    pub fn value(&self, row: usize, column: usize) -> f64 {
        self.contents.rows[row].1[column]
    }

    /// The row of these choices; none if the table has none.
    pub fn row(&self, genes: &[u8]) -> Option<usize> {
        match &self.contents.rows_by_genes {
            Lookup::Genes(rows) => rows.get(genes).copied(),
            Lookup::Graph(rows) => rows.get(&nas_bench_101::canonical(genes)?).copied(),
        }
    }
}

/// Of an unpacked table: NAS-Bench-101 has 1.9 GB.
const MOST_BYTES: u64 = 8 << 30;

/// A table that is not what it should be.
fn wrong(path: &Path, problem: impl Into<String>) -> Error {
    Error::Table { path: path.into(), problem: problem.into() }
}

#[cfg(test)]
mod tests;
