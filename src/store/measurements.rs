//! What was measured of architectures, each act of measuring a row.

use morphisms::Architecture;
use rusqlite::{OptionalExtension, Row, params};

use super::database::{Database, encode};
use crate::Result;

/// The table: `again` is 0 for the measurement that counts, of which there is one an architecture and name, and from 1 on
/// for later ones that only tell how repeatable it is. What failed has no values but a reason.
pub(super) const SCHEMA: &str = "
CREATE TABLE measurements (
    fingerprint TEXT NOT NULL, name TEXT NOT NULL, again INTEGER NOT NULL, value REAL, low REAL, high REAL,
    failure TEXT, predicted REAL, seconds REAL NOT NULL, architecture TEXT NOT NULL,
    PRIMARY KEY (fingerprint, name, again));
";

/// The median and quartiles of several measured values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Median.
    pub value: f64,
    /// Lower quartile.
    pub low: f64,
    /// Upper quartile.
    pub high: f64,
}

impl Spread {
    /// The spread of these values, of which there is one at least.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let quantile = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
        Self { value: quantile(0.5), low: quantile(0.25), high: quantile(0.75) }
    }
}

/// What came of measuring.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Values.
    Measured(Spread),
    /// Why there are none: that is kept too, and the architecture never asked again.
    Failed(String),
    /// Somebody asked to stop before there were any. That is not kept.
    Stopped,
}

/// An act of measuring.
#[derive(Debug, Clone, PartialEq)]
pub struct MeasurementRow {
    /// The architecture.
    pub architecture: Architecture,
    /// What was measured: the objective's name.
    pub name: String,
    /// The spread, or why there is none.
    pub outcome: std::result::Result<Spread, String>,
    /// What was predicted before.
    pub predicted: Option<f64>,
    /// Seconds that it took, retries included.
    pub seconds: f64,
}

impl MeasurementRow {
    /// The measured value, if there is one.
    pub fn value(&self) -> Option<f64> {
        self.outcome.as_ref().ok().map(|spread| spread.value)
    }
}

impl Database {
    /// The measurement of an architecture that counts.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn measurement(
        &self,
        fingerprint: &str,
        name: &str,
    ) -> Result<Option<std::result::Result<Spread, String>>> {
        let query = "SELECT value, low, high, failure FROM measurements
                     WHERE fingerprint = ?1 AND name = ?2 AND again = 0";
        Ok(self.lock().query_row(query, [fingerprint, name], outcome).optional()?)
    }

    /// Every measurement of something that counts, in the order in which they were made.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn measurements(&self, name: &str) -> Result<Vec<MeasurementRow>> {
        self.rows("name = ?1 AND again = 0", name)
    }

    /// Every measurement that was made again, in order.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn repeated_measurements(&self, name: &str) -> Result<Vec<MeasurementRow>> {
        self.rows("name = ?1 AND again > 0", name)
    }

    /// How many architectures have a value.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn measured_count(&self, name: &str) -> Result<usize> {
        let query = "SELECT COUNT(value) FROM measurements WHERE name = ?1 AND again = 0";
        Ok(self.lock().query_row(query, [name], |row| row.get::<_, i64>(0))? as usize)
    }

    /// Keeps what was measured of an architecture: the first row counts, and it is never measured for that again.
    ///
    /// # Errors
    /// If the database cannot be written, or the architecture has a measurement already.
    pub fn add_measurement(&self, row: &MeasurementRow) -> Result<()> {
        self.insert_measurement(row, "0")
    }

    /// Keeps a measurement that was made again; it replaces nothing.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub fn add_repeated_measurement(&self, row: &MeasurementRow) -> Result<()> {
        self.insert_measurement(
            row,
            "(SELECT COALESCE(MAX(again), 0) + 1 FROM measurements WHERE fingerprint = ?1 AND name = ?2)",
        )
    }

    fn insert_measurement(&self, row: &MeasurementRow, again: &str) -> Result<()> {
        let insert = format!("INSERT INTO measurements VALUES (?1, ?2, {again}, ?3, ?4, ?5, ?6, ?7, ?8, ?9)");
        let spread = row.outcome.as_ref().ok();
        self.lock().execute(
            &insert,
            params![
                row.architecture.fingerprint().to_string(),
                row.name,
                spread.map(|spread| spread.value),
                spread.map(|spread| spread.low),
                spread.map(|spread| spread.high),
                row.outcome.as_ref().err(),
                row.predicted,
                row.seconds,
                encode(&row.architecture)?,
            ],
        )?;
        Ok(())
    }

    /// Takes over what another database holds of measurements that count.
    pub(super) fn copy_measurements(&self, other: &Self) -> Result<()> {
        for row in other.rows("?1 = '' AND again = 0", "")? {
            self.add_measurement(&row)?;
        }
        Ok(())
    }

    fn rows(&self, which: &str, name: &str) -> Result<Vec<MeasurementRow>> {
        let connection = self.lock();
        let mut query =
            connection.prepare(&format!("SELECT * FROM measurements WHERE {which} ORDER BY rowid"))?;
        let mut rows = query.query([name])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(MeasurementRow {
                architecture: self.decode(&row.get::<_, String>("architecture")?)?,
                name: row.get("name")?,
                outcome: outcome(row)?,
                predicted: row.get("predicted")?,
                seconds: row.get("seconds")?,
            });
        }
        Ok(all)
    }
}

fn outcome(row: &Row<'_>) -> rusqlite::Result<std::result::Result<Spread, String>> {
    if let Some(why) = row.get("failure")? {
        return Ok(Err(why));
    }
    Ok(Ok(Spread { value: row.get("value")?, low: row.get("low")?, high: row.get("high")? }))
}

#[cfg(test)]
mod tests {
    use morphisms::{Conv, Draft, Shape};

    use super::*;

    fn row(width: usize, outcome: std::result::Result<Spread, String>) -> MeasurementRow {
        let mut draft = Draft::new(Shape::map(1, 8, 8));
        let x = draft.conv_bn_relu(draft.input(), Conv::same(width, 3));
        draft.head(x, 10);
        let architecture = draft.build().unwrap();
        MeasurementRow { architecture, name: "latency".into(), outcome, predicted: Some(0.5), seconds: 2.0 }
    }

    #[test]
    fn a_spread_is_the_median_with_the_quartiles() {
        assert_eq!(Spread::of(vec![5.0, 1.0, 3.0, 2.0, 4.0]), Spread { value: 3.0, low: 2.0, high: 4.0 });
        assert_eq!(Spread::of(vec![7.0]), Spread { value: 7.0, low: 7.0, high: 7.0 });
    }

    #[test]
    fn values_and_failures_are_kept_and_what_is_measured_again_replaces_nothing() {
        let database = Database::in_memory().unwrap();
        let (first, failed) = (row(2, Ok(Spread::of(vec![1.0, 2.0, 3.0]))), row(3, Err("no route".into())));
        let again = MeasurementRow { outcome: Ok(Spread::of(vec![9.0])), predicted: None, ..first.clone() };
        database.add_measurement(&first).unwrap();
        database.add_measurement(&failed).unwrap();
        database.add_repeated_measurement(&again).unwrap();
        database.add_repeated_measurement(&again).unwrap();
        assert!(database.add_measurement(&again).is_err(), "the first one counts");
        let fingerprint = |row: &MeasurementRow| row.architecture.fingerprint().to_string();
        let known = |row| database.measurement(&fingerprint(row), "latency").unwrap();
        assert_eq!(
            (known(&first), known(&failed)),
            (Some(first.outcome.clone()), Some(failed.outcome.clone()))
        );
        assert_eq!(known(&row(4, Err(String::new()))), None);
        assert_eq!(database.measurements("latency").unwrap(), [first.clone(), failed.clone()]);
        assert_eq!(database.repeated_measurements("latency").unwrap(), [again.clone(), again]);
        assert_eq!(database.measured_count("latency").unwrap(), 1);
        let copy = Database::in_memory().unwrap();
        copy.copy_measurements(&database).unwrap();
        assert_eq!(copy.measurements("latency").unwrap(), [first, failed]);
        assert!(copy.repeated_measurements("latency").unwrap().is_empty());
    }
}
