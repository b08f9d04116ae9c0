//! When a search ends, and how that is written.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The end of a search. Text form: `10m`, `90s`, `1.5h`, `200evals`, `30gens`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Budget {
    /// Wall-clock seconds since the search began, resumed parts added up.
    Seconds(f64),
    /// Trained and evaluated networks, the initial population included.
    Evaluations(usize),
    /// Generations after the initial population.
    Generations(usize),
}

impl FromStr for Budget {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        parse(text).ok_or_else(|| {
            Error::Usage(format!(
                "budget `{text}`: expected a positive number and a unit: \
                 s, m or h (as in 90s, 10m, 1.5h), evals (200evals) or gens (30gens)"
            ))
        })
    }
}

fn parse(text: &str) -> Option<Budget> {
    let digits = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(digits);
    match unit {
        "s" => seconds(number, 1.0),
        "m" => seconds(number, 60.0),
        "h" => seconds(number, 3600.0),
        "evals" => count(number).map(Budget::Evaluations),
        "gens" => count(number).map(Budget::Generations),
        _ => None,
    }
}

fn seconds(number: &str, unit: f64) -> Option<Budget> {
    let seconds = number.trim().parse::<f64>().ok()? * unit;
    (seconds.is_finite() && seconds > 0.0).then_some(Budget::Seconds(seconds))
}

fn count(number: &str) -> Option<usize> {
    number.trim().parse().ok().filter(|&count| count > 0)
}

impl fmt::Display for Budget {
    /// The shortest exact form: reading it back gives the same budget.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Seconds(seconds) if seconds % 3600.0 == 0.0 => write!(f, "{}h", seconds / 3600.0),
            Self::Seconds(seconds) if seconds % 60.0 == 0.0 => write!(f, "{}m", seconds / 60.0),
            Self::Seconds(seconds) => write!(f, "{seconds}s"),
            Self::Evaluations(count) => write!(f, "{count}evals"),
            Self::Generations(count) => write!(f, "{count}gens"),
        }
    }
}

impl TryFrom<String> for Budget {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Budget> for String {
    fn from(budget: Budget) -> Self {
        budget.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_every_documented_form() {
        let read = |text: &str| text.parse::<Budget>().unwrap();
        assert_eq!(read("10m"), Budget::Seconds(600.0));
        assert_eq!(read("90s"), Budget::Seconds(90.0));
        assert_eq!(read("1.5h"), Budget::Seconds(5400.0));
        assert_eq!(read("200evals"), Budget::Evaluations(200));
        assert_eq!(read("30 gens"), Budget::Generations(30));
    }

    #[test]
    fn refuses_what_is_no_budget_and_says_what_is() {
        for text in ["", "10", "m", "-3m", "0s", "0evals", "1.5gens", "10 minutes", "infs", "nanm", "1e400s"]
        {
            let message = text.parse::<Budget>().unwrap_err().to_string();
            assert!(message.contains(&format!("`{text}`")) && message.contains("200evals"), "{message}");
        }
    }

    #[test]
    fn writes_the_largest_unit_that_divides() {
        let written: Vec<String> = [7200.0, 600.0, 160.0, 0.5].map(|s| Budget::Seconds(s).to_string()).into();
        assert_eq!(written, ["2h", "10m", "160s", "0.5s"]);
    }

    proptest! {
        #[test]
        fn text_round_trips(seconds in 1e-3..1e9f64, count in 1usize..1_000_000) {
            for budget in [
                Budget::Seconds(seconds),
                Budget::Seconds(seconds.ceil()),
                Budget::Seconds(count as f64 * 60.0),
                Budget::Evaluations(count),
                Budget::Generations(count),
            ] {
                prop_assert_eq!(budget.to_string().parse::<Budget>().unwrap(), budget);
            }
        }
    }
}
