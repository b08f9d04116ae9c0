//! When a search ends, and how that is written.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The end of a search. Text form: `10m`, `90s`, `1.5h`, `200evals`, `30gens`, `25Tmacs`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Budget {
    /// Wall-clock seconds since the search began, resumed parts added up.
    Seconds(f64),
    /// Trained and evaluated networks, the initial population included.
    Evaluations(usize),
    /// Generations after the initial population.
    Generations(usize),
    /// Multiply-adds of training, everything counted that runs a network.
    Compute(u64),
}

impl FromStr for Budget {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        parse(text).ok_or_else(|| {
            Error::Usage(format!(
                "budget `{text}`: expected a positive number and a unit: \
                 s, m or h (as in 90s, 10m, 1.5h), evals (200evals), gens (30gens) \
                 or multiply-adds of training (900Gmacs, 25Tmacs, 2Pmacs)"
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
        unit => {
            let (_, size) = PREFIXES.iter().find(|(prefix, _)| unit.strip_suffix("macs") == Some(*prefix))?;
            macs(number, *size)
        }
    }
}

/// Prefixes of multiply-adds, the largest first.
const PREFIXES: [(&str, u64); 4] =
    [("P", 1_000_000_000_000_000), ("T", 1_000_000_000_000), ("G", 1_000_000_000), ("", 1)];

fn macs(number: &str, unit: u64) -> Option<Budget> {
    // Not by way of a float: what is written is read to the last multiply-add.
    let (whole, fraction) = number.trim().split_once('.').unwrap_or((number.trim(), "0"));
    let digits =
        |text: &str| text.parse::<u64>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let part = u128::from(digits(fraction)?) * u128::from(unit) / 10u128.checked_pow(fraction.len() as u32)?;
    let macs = u128::from(digits(whole)?) * u128::from(unit) + part;
    let macs = i64::try_from(macs).ok().filter(|&macs| macs > 0)?;
    Some(Budget::Compute(macs.unsigned_abs()))
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
            Self::Compute(macs) => {
                // A tenth of a unit is still exact.
                let fits = |(_, size): &&(&str, u64)| *size == 1 || macs >= *size && macs % (size / 10) == 0;
                let (prefix, size) = PREFIXES.iter().find(fits).unwrap_or(&("", 1));
                match macs % size {
                    0 => write!(f, "{}{prefix}macs", macs / size),
                    rest => write!(f, "{}.{}{prefix}macs", macs / size, rest / (size / 10)),
                }
            }
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
        assert_eq!(read("2.5Tmacs"), Budget::Compute(2_500_000_000_000));
        assert_eq!(read("7macs"), Budget::Compute(7));
    }

    #[test]
    fn refuses_what_is_no_budget_and_says_what_is() {
        for text in [
            "",
            "10",
            "m",
            "-3m",
            "0s",
            "0evals",
            "1.5gens",
            "10 minutes",
            "infs",
            "nanm",
            "1e400s",
            "0macs",
            "3Kmacs",
            "1Pmac",
            "99999999Pmacs",
        ] {
            let message = text.parse::<Budget>().unwrap_err().to_string();
            assert!(message.contains(&format!("`{text}`")) && message.contains("200evals"), "{message}");
        }
    }

    #[test]
    fn writes_the_largest_unit_that_divides() {
        let written: Vec<String> = [7200.0, 600.0, 160.0, 0.5].map(|s| Budget::Seconds(s).to_string()).into();
        assert_eq!(written, ["2h", "10m", "160s", "0.5s"]);
        let macs = [3_000_000_000_000_000, 25_500_000_000_000, 900_000_000_000, 123_456_789];
        assert_eq!(
            macs.map(|macs| Budget::Compute(macs).to_string()),
            ["3Pmacs", "25.5Tmacs", "900Gmacs", "123456789macs"]
        );
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
                Budget::Compute(count as u64),
                Budget::Compute(count as u64 * 100_000_000_000),
            ] {
                prop_assert_eq!(budget.to_string().parse::<Budget>().unwrap(), budget);
            }
        }
    }
}
