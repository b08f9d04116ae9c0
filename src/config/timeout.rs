//! How long to wait for something, and how that is written.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Budget;
use crate::error::{Error, Result};

/// The longest wait before something counts as hung. Text form: `90s`, `10m`, `1.5h`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timeout {
    seconds: f64,
}

impl Timeout {
    /// A week: nobody waits longer for a single measurement.
    const LONGEST: f64 = 604_800.0;

    /// A wait of so many seconds.
    pub const fn seconds(seconds: u32) -> Self {
        Self { seconds: seconds as f64 }
    }

    /// The wait.
    pub fn duration(self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

impl FromStr for Timeout {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.parse() {
            Ok(Budget::Seconds(seconds)) if seconds <= Self::LONGEST => Ok(Self { seconds }),
            Ok(_) | Err(_) => {
                Err(Error::Usage(format!("`{text}`: expected a duration: 30s, 10m or 1.5h, at most 168h")))
            }
        }
    }
}

impl fmt::Display for Timeout {
    /// The shortest exact form: reading it back gives the same wait.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Budget::Seconds(self.seconds).fmt(f)
    }
}

impl TryFrom<String> for Timeout {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Timeout> for String {
    fn from(timeout: Timeout) -> Self {
        timeout.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, seconds) in [("30s", 30.0), ("0.5s", 0.5), ("2m", 120.0), ("1.5h", 5400.0)] {
            let timeout: Timeout = text.parse().unwrap();
            assert_eq!(timeout.duration(), Duration::from_secs_f64(seconds), "{text}");
            assert_eq!(timeout.to_string().parse::<Timeout>().unwrap(), timeout, "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "30", "0s", "-1s", "10gens", "5evals", "soon", "169h", "1e300h"] {
            let message = text.parse::<Timeout>().unwrap_err().to_string();
            assert!(message.contains(&format!("`{text}`")) && message.contains("30s"), "{message}");
        }
    }
}
