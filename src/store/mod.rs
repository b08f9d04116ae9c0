//! The run folder: everything a run has learnt, on disk before anybody relies on it.
//!
//! ```text
//! RUN/
//!   run.sqlite          individuals, jobs, measurements, events, uses of the test set
//!   config.toml         the resolved settings
//!   weights/HASH.safetensors      named by the hash of their bytes
//!   checkpoints/JOB.safetensors   trainings under way
//!   report.html, plots/
//!   lock                held by the process that owns the run
//! ```

mod blobs;
mod database;
mod lock;
mod measurements;

use std::path::{Path, PathBuf};

pub use blobs::Blobs;
pub(crate) use database::encode;
pub use database::{Database, FinishedRow, JobRow, TestRow};
pub use lock::Lock;
pub use measurements::{MeasurementRow, Outcome, Spread};

use crate::config::{Budget, Config};
use crate::{Error, Result};

/// The layout that this version writes and reads.
pub const FORMAT: &str = "4";
/// The settings, for people to read; the database holds them too.
const CONFIG: &str = "config.toml";
/// What `paretomorph report` writes.
const REPORT: &str = "report.html";
/// How the name of a file begins that is not whole yet; see [`write_atomically`].
const UNFINISHED: &str = ".tmp";

/// A run folder that this process owns or reads.
pub struct Store {
    /// The folder.
    pub path: PathBuf,
    /// The tables.
    pub database: Database,
    /// Weights and checkpoints.
    pub blobs: Blobs,
    /// The settings.
    pub config: Config,
    _lock: Option<Lock>,
}

impl Store {
    /// Makes a new run folder and takes its lock. `facts` are what is known of the run, by key; `measured` is what was
    /// measured before there was one.
    ///
    /// # Errors
    /// If the folder is not [`Store::vacant`], cannot be written, or is taken.
    pub fn create(
        path: &Path,
        config: &Config,
        facts: &[(&str, String)],
        measured: &Database,
    ) -> Result<Self> {
        Self::vacant(path)?;
        std::fs::create_dir_all(path).map_err(Error::io("create", path))?;
        let lock = Lock::take(path)?;
        // Again, because another process may have been between the two.
        Self::vacant(path)?;
        let blobs = Blobs::create(path)?;
        let text = config.to_toml()?;
        let own =
            [("format", FORMAT.into()), ("config", text.clone()), ("version", crate::machine::version())];
        let facts: Vec<(&str, String)> = own.into_iter().chain(facts.iter().cloned()).collect();
        let database = Database::create(path, &facts, measured)?;
        write_atomically(&path.join(CONFIG), text.as_bytes())?;
        Ok(Self { path: path.into(), database, blobs, config: config.clone(), _lock: Some(lock) })
    }

    /// Checks that a run folder can be made at `path` without overwriting anything.
    ///
    /// # Errors
    /// If it holds a run, or a file of somebody else's that a run would overwrite.
    pub fn vacant(path: &Path) -> Result<()> {
        let exists = |file: &&str| path.join(file).exists();
        let problem = match [database::FILE, CONFIG, REPORT].into_iter().find(exists) {
            None => return Ok(()),
            Some(database::FILE) => {
                "it holds a run already; go on with `paretomorph resume`, or choose another --out".into()
            }
            Some(file) => {
                format!("it holds a {file} already, which a run would overwrite; choose another --out")
            }
        };
        Err(Error::Run { path: path.into(), problem })
    }

    /// Opens a run folder and takes its lock.
    ///
    /// # Errors
    /// If it is no run folder, one of another version, or owned by another process.
    pub fn open(path: &Path) -> Result<Self> {
        Self::check(path)?;
        let lock = Lock::take(path)?;
        let store = Self::with_lock(path, Some(lock))?;
        store.remove_unfinished()?;
        Ok(store)
    }

    /// Removes the files that killed processes were at; nobody else writes while the lock is held.
    fn remove_unfinished(&self) -> Result<()> {
        let folders = ["", "weights", "checkpoints", "plots"].map(|name| self.path.join(name));
        for folder in folders.iter().filter(|folder| folder.is_dir()) {
            for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
                let path = entry.map_err(Error::io("read", folder))?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                if name.starts_with(UNFINISHED) {
                    std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
                }
            }
        }
        Ok(())
    }

    /// Opens a run folder to read it, while another process may own it.
    ///
    /// # Errors
    /// If it is no run folder, or one of another version.
    pub fn read(path: &Path) -> Result<Self> {
        Self::check(path)?;
        Self::with_lock(path, None)
    }

    fn check(path: &Path) -> Result<()> {
        let problem = if !path.exists() {
            "it does not exist"
        } else if !path.join(database::FILE).exists() {
            "it holds no run.sqlite, so it is not a run of paretomorph"
        } else {
            return Ok(());
        };
        Err(Error::Run { path: path.into(), problem: problem.into() })
    }

    fn with_lock(path: &Path, lock: Option<Lock>) -> Result<Self> {
        let database = Database::open(path)?;
        let format = database.meta("format")?.unwrap_or_else(|| "none".into());
        if format != FORMAT {
            let problem = format!(
                "expected format {FORMAT}, found {format}; it was written by another version of paretomorph ({})",
                database.meta("version")?.unwrap_or_else(|| "unknown".into())
            );
            return Err(Error::Run { path: path.into(), problem });
        }
        let text = database.meta("config")?.unwrap_or_default();
        let config = Config::from_toml(&text, &path.join(database::FILE).display().to_string())?;
        Ok(Self { path: path.into(), database, blobs: Blobs::create(path)?, config, _lock: lock })
    }

    /// Sets a new budget, for a run that goes on.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn set_budget(&mut self, budget: Budget) -> Result<()> {
        self.config.budget = budget;
        let text = self.config.to_toml()?;
        self.database.set_meta("config", &text)?;
        write_atomically(&self.path.join(CONFIG), text.as_bytes())
    }
}

/// Writes a file so that it is either whole or not there: to a temporary name, then renamed.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(UNFINISHED);
    // Temporary files are private by default; weights are there to be used, as far as the umask lets.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(Error::io("write", path))?;
    std::io::Write::write_all(&mut file, bytes).map_err(Error::io("write", path))?;
    file.as_file().sync_data().map_err(Error::io("write", path))?;
    file.persist(path).map_err(|error| error.error).map_err(Error::io("write", path))?;
    Ok(())
}
