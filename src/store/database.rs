//! The tables of a run, in SQLite.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::measurements;
use crate::executor::{Job, JobResult};
use crate::individual::Individual;
use crate::{Error, Result};

/// The file's name in the run folder.
pub(super) const FILE: &str = "run.sqlite";
/// Its name while it is being made.
const UNFINISHED: &str = "run.sqlite.new";

const SCHEMA: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE individuals (
    id INTEGER PRIMARY KEY, generation INTEGER NOT NULL, child INTEGER NOT NULL, parent INTEGER,
    edits TEXT NOT NULL, architecture TEXT NOT NULL, fingerprint TEXT NOT NULL, weights TEXT,
    first_error REAL, epochs INTEGER NOT NULL, planned INTEGER NOT NULL, readings TEXT NOT NULL, seconds REAL NOT NULL, compute REAL NOT NULL, committed_at REAL NOT NULL,
    UNIQUE (generation, child));
CREATE TABLE objectives (
    individual INTEGER NOT NULL REFERENCES individuals (id), name TEXT NOT NULL, value REAL NOT NULL,
    PRIMARY KEY (individual, name));
CREATE TABLE jobs (
    generation INTEGER NOT NULL, child INTEGER NOT NULL, job TEXT NOT NULL, result TEXT,
    PRIMARY KEY (generation, child));
CREATE TABLE tests (
    individual INTEGER NOT NULL, weights TEXT NOT NULL, time TEXT NOT NULL, error REAL NOT NULL, why TEXT NOT NULL);
CREATE TABLE finished (
    individual INTEGER NOT NULL, from_scratch INTEGER NOT NULL, epochs INTEGER NOT NULL, weights TEXT NOT NULL,
    validation_error REAL NOT NULL, test_error REAL NOT NULL, seconds REAL NOT NULL, time TEXT NOT NULL);
CREATE TABLE events (seconds REAL NOT NULL, event TEXT NOT NULL);
";

/// A planned training and, once it is over, its result.
#[derive(Debug, Clone)]
pub struct JobRow {
    /// What to train.
    pub job: Job,
    /// What came of it.
    pub result: Option<JobResult>,
}

impl JobRow {
    /// Whether how long it is trained depends on the other children of its generation.
    pub fn competes(&self) -> bool {
        self.job.course.halving.is_some()
    }
}

/// A use of the test set.
#[derive(Debug, Clone, PartialEq)]
pub struct TestRow {
    /// The individual.
    pub individual: u64,
    /// Content hash of the weights: those of the search, or of `finish`.
    pub weights: String,
    /// When, UTC.
    pub time: String,
    /// Share of the test set it gets wrong.
    pub error: f64,
    /// What for.
    pub why: String,
}

/// A member of the front that was trained longer.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedRow {
    /// The individual.
    pub individual: u64,
    /// Whether its weights were drawn anew.
    pub from_scratch: bool,
    /// Epochs.
    pub epochs: usize,
    /// Content hash of the weights.
    pub weights: String,
    /// Validation error.
    pub validation_error: f64,
    /// Test error.
    pub test_error: f64,
    /// Seconds of training.
    pub seconds: f64,
    /// When, UTC.
    pub time: String,
}

/// The database of a run. Shared by threads; a lock serialises them.
#[derive(Debug)]
pub struct Database {
    connection: Mutex<Connection>,
    path: PathBuf,
}

impl Database {
    /// Makes the database of a new run with what is known of it, and what was measured in `before`.
    ///
    /// It gets its name when it is whole: a process that is killed in between leaves nothing that looks like a run.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn create(run: &Path, facts: &[(&str, String)], before: &Self) -> Result<Self> {
        let (unfinished, path) = (run.join(UNFINISHED), run.join(FILE));
        if unfinished.exists() {
            std::fs::remove_file(&unfinished).map_err(Error::io("remove", &unfinished))?;
        }
        let connection = Connection::open(&unfinished)?;
        connection.execute_batch(&format!("BEGIN; {SCHEMA} {}", measurements::SCHEMA))?;
        let database = Self { connection: Mutex::new(connection), path: unfinished.clone() };
        facts.iter().try_for_each(|(key, value)| database.set_meta(key, value))?;
        database.copy_measurements(before)?;
        database.lock().execute_batch("COMMIT")?;
        drop(database);
        std::fs::rename(&unfinished, &path).map_err(Error::io("create", &path))?;
        let database = Self::connect(run)?;
        // Readers do not wait for the search. The file remembers it.
        database.lock().pragma_update(None, "journal_mode", "WAL")?;
        Ok(database)
    }

    /// Opens the database of a run.
    ///
    /// # Errors
    /// If the file is no database of a run.
    pub fn open(run: &Path) -> Result<Self> {
        let unreadable =
            |error| Error::Run { path: run.into(), problem: format!("its {FILE} cannot be read ({error})") };
        let database = Self::connect(run).map_err(unreadable)?;
        database.meta("format").map_err(unreadable)?;
        Ok(database)
    }

    /// A database that lives in memory only, for measurements before there is a run.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn in_memory() -> Result<Self> {
        let connection = Connection::open_in_memory()?;
        connection.execute_batch(&format!("{SCHEMA} {}", measurements::SCHEMA))?;
        Ok(Self { connection: Mutex::new(connection), path: PathBuf::from("memory") })
    }

    fn connect(run: &Path) -> Result<Self> {
        let path = run.join(FILE);
        let connection = Connection::open(&path)?;
        connection.busy_timeout(std::time::Duration::from_secs(10))?;
        Ok(Self { connection: Mutex::new(connection), path })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Connection> {
        // A transaction of a thread that panicked was rolled back when it was dropped.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A single fact about the run.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn meta(&self, key: &str) -> Result<Option<String>> {
        let query = "SELECT value FROM meta WHERE key = ?1";
        Ok(self.lock().query_row(query, [key], |row| row.get(0)).optional()?)
    }

    /// Sets a single fact about the run.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub fn set_meta(&self, key: &str, value: &str) -> Result<()> {
        self.lock().execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", [key, value])?;
        Ok(())
    }

    /// A single fact about the run that is stored as JSON.
    ///
    /// # Errors
    /// If there is none, or it is not of this type.
    pub fn fact<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        let text = self.meta(key)?.unwrap_or_default();
        let what = || format!("`{key}` in {}", self.path.display());
        serde_json::from_str(&text).map_err(|source| Error::Json { what: what(), source })
    }

    /// As [`Database::fact`], with the default where there is none yet.
    ///
    /// # Errors
    /// If it is not of this type.
    pub fn fact_or_default<T: DeserializeOwned + Default>(&self, key: &str) -> Result<T> {
        match self.meta(key)? {
            Some(_) => self.fact(key),
            None => Ok(T::default()),
        }
    }

    /// Sets a single fact about the run, as JSON.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub fn set_fact(&self, key: &str, value: &impl Serialize) -> Result<()> {
        self.set_meta(key, &encode(value)?)
    }

    /// Every individual, by id.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn individuals(&self) -> Result<Vec<Individual>> {
        let connection = self.lock();
        let mut objectives =
            connection.prepare("SELECT name, value FROM objectives WHERE individual = ?1")?;
        let mut individuals = connection.prepare("SELECT * FROM individuals ORDER BY id")?;
        let mut rows = individuals.query([])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            let mut individual = self.individual(row)?;
            let pairs = objectives.query_map([individual.id as i64], |row| Ok((row.get(0)?, row.get(1)?)))?;
            individual.objectives = pairs.collect::<rusqlite::Result<_>>()?;
            all.push(individual);
        }
        Ok(all)
    }

    fn individual(&self, row: &Row<'_>) -> Result<Individual> {
        let architecture: String = row.get("architecture")?;
        let (edits, fingerprint): (String, String) = (row.get("edits")?, row.get("fingerprint")?);
        let readings: String = row.get("readings")?;
        let number = |name: &str| row.get::<_, i64>(name).map(|value| value as usize);
        Ok(Individual {
            id: number("id")? as u64,
            generation: number("generation")?,
            child: number("child")?,
            parent: row.get::<_, Option<i64>>("parent")?.map(|parent| parent as u64),
            edits: self.decode(&edits)?,
            architecture: self.decode(&architecture)?,
            fingerprint: fingerprint.parse().map_err(|error| Error::Run {
                path: self.path.clone(),
                problem: format!("fingerprint {fingerprint}: {error}"),
            })?,
            objectives: std::collections::BTreeMap::new(),
            weights: row.get("weights")?,
            first_error: row.get("first_error")?,
            epochs: number("epochs")?,
            planned: number("planned")?,
            readings: self.decode(&readings)?,
            seconds: row.get("seconds")?,
            compute: row.get("compute")?,
            committed_at: row.get("committed_at")?,
        })
    }

    /// Adds individuals, all or none.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub fn commit(&self, individuals: &[Individual]) -> Result<()> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        for individual in individuals {
            let id = individual.id as i64;
            transaction.execute(
                "INSERT INTO individuals VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
                params![
                    id,
                    individual.generation as i64,
                    individual.child as i64,
                    individual.parent.map(|parent| parent as i64),
                    encode(&individual.edits)?,
                    encode(&individual.architecture)?,
                    individual.fingerprint.to_string(),
                    individual.weights,
                    individual.first_error,
                    individual.epochs as i64,
                    individual.planned as i64,
                    encode(&individual.readings)?,
                    individual.seconds,
                    individual.compute,
                    individual.committed_at,
                ],
            )?;
            for (name, value) in &individual.objectives {
                transaction
                    .execute("INSERT INTO objectives VALUES (?1, ?2, ?3)", params![id, name, value])?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// The plan of a generation, with the results so far, in the order of the children.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn jobs(&self, generation: usize) -> Result<Vec<JobRow>> {
        let connection = self.lock();
        let mut query =
            connection.prepare("SELECT job, result FROM jobs WHERE generation = ?1 ORDER BY child")?;
        let rows = query.query_map([generation as i64], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.map(|row| {
            let (job, result): (String, Option<String>) = row?;
            Ok(JobRow {
                job: self.decode(&job)?,
                result: result.map(|result| self.decode(&result)).transpose()?,
            })
        })
        .collect()
    }

    /// Stores the plan of a generation, all of it or nothing.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub fn plan(&self, generation: usize, jobs: &[Job]) -> Result<()> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        for (child, job) in jobs.iter().enumerate() {
            let insert = "INSERT INTO jobs VALUES (?1, ?2, ?3, NULL)";
            transaction.execute(insert, params![generation as i64, child as i64, encode(job)?])?;
        }
        Ok(transaction.commit()?)
    }

    /// Stores the result of a planned training.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub fn add_result(&self, generation: usize, child: usize, result: &JobResult) -> Result<()> {
        let update = "UPDATE jobs SET result = ?3 WHERE generation = ?1 AND child = ?2";
        self.lock().execute(update, params![generation as i64, child as i64, encode(result)?])?;
        Ok(())
    }

    /// Every use of the test set, in order.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn tests(&self) -> Result<Vec<TestRow>> {
        let connection = self.lock();
        let mut query = connection.prepare("SELECT * FROM tests ORDER BY rowid")?;
        let rows = query.query_map([], |row| {
            Ok(TestRow {
                individual: row.get::<_, i64>("individual")? as u64,
                weights: row.get("weights")?,
                time: row.get("time")?,
                error: row.get("error")?,
                why: row.get("why")?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Records uses of the test set, all or none.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub fn add_tests(&self, rows: &[TestRow]) -> Result<()> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        for row in rows {
            let TestRow { individual, weights, time, error, why } = row;
            let insert = "INSERT INTO tests VALUES (?1, ?2, ?3, ?4, ?5)";
            transaction.execute(insert, params![*individual as i64, weights, time, error, why])?;
        }
        Ok(transaction.commit()?)
    }

    /// Every finished network, in order.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn finished(&self) -> Result<Vec<FinishedRow>> {
        let connection = self.lock();
        let mut query = connection.prepare("SELECT * FROM finished ORDER BY rowid")?;
        let rows = query.query_map([], |row| {
            Ok(FinishedRow {
                individual: row.get::<_, i64>("individual")? as u64,
                from_scratch: row.get("from_scratch")?,
                epochs: row.get::<_, i64>("epochs")? as usize,
                weights: row.get("weights")?,
                validation_error: row.get("validation_error")?,
                test_error: row.get("test_error")?,
                seconds: row.get("seconds")?,
                time: row.get("time")?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Records a finished network.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub fn add_finished(&self, row: &FinishedRow) -> Result<()> {
        self.lock().execute(
            "INSERT INTO finished VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                row.individual as i64,
                row.from_scratch,
                row.epochs as i64,
                row.weights,
                row.validation_error,
                row.test_error,
                row.seconds,
                row.time
            ],
        )?;
        Ok(())
    }

    /// Records something that happened, `seconds` into the run.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub fn add_event(&self, seconds: f64, event: &impl Serialize) -> Result<()> {
        self.lock().execute("INSERT INTO events VALUES (?1, ?2)", params![seconds, encode(event)?])?;
        Ok(())
    }

    pub(super) fn decode<T: DeserializeOwned>(&self, text: &str) -> Result<T> {
        let what = || self.path.display().to_string();
        serde_json::from_str(text).map_err(|source| Error::Json { what: what(), source })
    }
}

/// A value as JSON, for a column or a fact.
pub(crate) fn encode(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|source| Error::Json { what: "a value for the database".into(), source })
}
