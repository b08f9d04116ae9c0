//! The lock of a run folder.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// How long a taken lock is asked for again: a command that was about to start when its process was killed holds the lock
/// for a moment more.
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(10);

/// Held while a process owns a run folder; the system releases it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of `run`.
    ///
    /// # Errors
    /// If another process holds it, or the folder cannot be written.
    pub fn take(run: &Path) -> Result<Self> {
        let path = run.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::io("lock", &path))?;
        let started = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) if started.elapsed() < PATIENCE => sleep(PAUSE),
                Err(TryLockError::WouldBlock) => {
                    let problem = "another process is working on it; wait for it or stop it first".into();
                    return Err(Error::Run { path: run.into(), problem });
                }
                Err(TryLockError::Error(source)) => return Err(Error::Io { doing: "lock", path, source }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_lock_is_refused_and_free_again_when_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(folder.path()).unwrap();
        let refused = Lock::take(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("another process"), "{refused}");
        drop(lock);
        Lock::take(folder.path()).unwrap();
    }
}
