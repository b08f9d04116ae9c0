//! Asking a search to stop: by the clock, or by Ctrl-C.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Shared by everything that runs for long; asked often, answered at the next chance.
#[derive(Debug, Default)]
pub struct Stop {
    interrupted: AtomicBool,
    deadline: Option<Instant>,
    /// When this one is interrupted, so is ours.
    leader: OnceLock<Arc<Stop>>,
}

impl Stop {
    /// Stops after `seconds` from now; none: only when interrupted.
    pub fn after(seconds: Option<f64>) -> Self {
        let deadline =
            seconds.map(|seconds| Instant::now() + Duration::from_secs_f64(seconds.clamp(0.0, 1e9)));
        Self { interrupted: AtomicBool::new(false), deadline, leader: OnceLock::new() }
    }

    /// Asks for a stop now.
    pub fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Relaxed);
    }

    /// From now on, whoever interrupts `leader` interrupts this too; the first leader counts.
    pub fn follow(&self, leader: Arc<Self>) {
        let _ = self.leader.set(leader);
    }

    /// Whether a person asked.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
            || self.leader.get().is_some_and(|leader| leader.is_interrupted())
    }

    /// Whether the time is up.
    pub fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Whether to stop, for whatever reason.
    pub fn is_asked(&self) -> bool {
        self.is_interrupted() || self.is_late()
    }
}
