//! What a run of a study leaves behind, and where it is kept.

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use crate::store::Lock;
use crate::{Error, Result, machine};

/// A design that a run evaluated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The design, as people write it.
    pub design: String,
    /// Its objective values, in the order of the study; none if it could not be trained or is over a bound.
    pub values: Option<Vec<f64>>,
    /// Evaluations up to and with it; in a table, one that was given up counts as the share of its epochs that it had.
    pub spent: f64,
    /// Multiply-adds of training up to and with it; 0 where a table answers.
    pub compute: f64,
    /// Seconds of the run when it was known.
    pub seconds: f64,
}

/// A run of a study: what was evaluated, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// The method.
    pub method: String,
    /// The seed.
    pub seed: u64,
    /// Seconds from its start to its end, test of the front included.
    pub seconds: f64,
    /// Why it ended.
    pub end: String,
    /// What it evaluated.
    pub evaluations: Vec<Evaluation>,
}

/// The folder of a study.
pub struct StudyFolder {
    /// Where it is.
    pub path: PathBuf,
    connection: Mutex<Connection>,
    _lock: Lock,
}

const FILE: &str = "study.sqlite";
const FORMAT: &str = "2";
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS runs (
    method TEXT NOT NULL, seed INTEGER NOT NULL, seconds REAL NOT NULL, \"end\" TEXT NOT NULL,
    evaluations BLOB NOT NULL, PRIMARY KEY (method, seed));
";

impl StudyFolder {
    /// Opens the folder of a study, or makes it. `text` is the study's file.
    ///
    /// # Errors
    /// If another process is at it, it cannot be written, or it holds another study.
    pub fn open(path: &Path, text: &str) -> Result<Self> {
        let of_study = |problem: String| Error::Run { path: path.into(), problem };
        let occupied = path.read_dir().is_ok_and(|mut entries| entries.next().is_some());
        if occupied && !path.join(FILE).exists() {
            return Err(of_study(format!(
                "it is not empty and has no {FILE}; choose a new folder with --out"
            )));
        }
        std::fs::create_dir_all(path).map_err(Error::io("create", path))?;
        let lock = Lock::take(path)?;
        let connection = Connection::open(path.join(FILE))?;
        connection.execute_batch(SCHEMA)?;
        let folder = Self { path: path.into(), connection: Mutex::new(connection), _lock: lock };
        match folder.fact("format")? {
            None => {
                folder.set("study", text)?;
                folder.set("started", &machine::now())?;
                folder.set("machine", &crate::store::encode(&machine::describe())?)?;
                folder.set("format", FORMAT)?;
            }
            Some(format) if format != FORMAT => {
                return Err(of_study(format!("it has format {format}; this version reads format {FORMAT}")));
            }
            Some(_) if folder.fact("study")?.as_deref() != Some(text) => {
                let problem = "it belongs to another study, or the study's file was changed since it began; \
                               choose a new folder with --out";
                return Err(of_study(problem.into()));
            }
            Some(_) => {}
        }
        Ok(folder)
    }

    /// A fact about the study.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn fact(&self, key: &str) -> Result<Option<String>> {
        use rusqlite::OptionalExtension;
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let query = "SELECT value FROM meta WHERE key = ?1";
        Ok(connection.query_row(query, [key], |row| row.get(0)).optional()?)
    }

    /// What the study was begun on, as name and value, the program among them.
    ///
    /// # Errors
    /// If the folder cannot be read, or holds something else.
    pub fn machine(&self) -> Result<Vec<(String, String)>> {
        let text = self.fact("machine")?.unwrap_or_else(|| "[]".into());
        let what = || format!("`machine` in {}", self.path.join(FILE).display());
        serde_json::from_str(&text).map_err(|source| Error::Json { what: what(), source })
    }

    fn set(&self, key: &str, value: &str) -> Result<()> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", [key, value])?;
        Ok(())
    }

    /// Keeps a run that has ended.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn add(&self, trace: &Trace) -> Result<()> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        let text = crate::store::encode(&trace.evaluations)?;
        let packed = packed.write_all(text.as_bytes()).and_then(|()| packed.finish());
        let evaluations = packed.map_err(Error::io("write", &self.path))?;
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        connection.execute(
            "INSERT OR REPLACE INTO runs VALUES (?1, ?2, ?3, ?4, ?5)",
            params![trace.method, trace.seed as i64, trace.seconds, trace.end, evaluations],
        )?;
        Ok(())
    }

    /// The methods and seeds of the runs that have ended.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn ended(&self) -> Result<Vec<(String, u64)>> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut query = connection.prepare("SELECT method, seed FROM runs")?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The runs that have ended, by method, in the order of their seeds.
    ///
    /// # Errors
    /// If the folder cannot be read, or holds something else.
    pub fn traces(&self) -> Result<BTreeMap<String, Vec<Trace>>> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut query = connection.prepare("SELECT * FROM runs ORDER BY seed")?;
        let mut rows = query.query([])?;
        let mut traces: BTreeMap<String, Vec<Trace>> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let method: String = row.get("method")?;
            let seed = row.get::<_, i64>("seed")? as u64;
            let packed: Vec<u8> = row.get("evaluations")?;
            let text = GzDecoder::new(packed.as_slice());
            let what =
                || format!("the run of {method} with seed {seed} in {}", self.path.join(FILE).display());
            let evaluations = serde_json::from_reader(BufReader::new(text))
                .map_err(|source| Error::Json { what: what(), source })?;
            let (seconds, end) = (row.get("seconds")?, row.get("end")?);
            let trace = Trace { method: method.clone(), seed, seconds, end, evaluations };
            traces.entry(method).or_default().push(trace);
        }
        Ok(traces)
    }
}
