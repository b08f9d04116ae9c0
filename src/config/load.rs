//! From TOML text and `--set KEY=VALUE` to a [`Config`], with errors that say where and how to mend it.

use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::Value;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::setting::{Mismatch, Setting};
use super::{Config, documentation};
use crate::error::{Error, Result};

/// One value of a TOML document, and the byte at which it starts.
struct Entry {
    path: Vec<String>,
    value: Value,
    start: usize,
}

impl Config {
    /// The defaults, then the TOML file at `path`, then each of `sets` (`KEY=VALUE`) in order.
    ///
    /// # Errors
    /// A file that cannot be read or is not TOML; a key that does not exist; a value of the wrong type.
    /// Whether the values make sense together is left to [`Config::validate`].
    pub fn load(path: Option<&Path>, sets: &[String]) -> Result<Self> {
        Self::default().overlay(path, sets)
    }

    /// As [`Config::load`], from other values than the defaults: those of [`Config::for_data`].
    ///
    /// # Errors
    /// Those of [`Config::load`].
    pub fn overlay(mut self, path: Option<&Path>, sets: &[String]) -> Result<Self> {
        if let Some(path) = path {
            let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
            self.merge(&text, &path.display().to_string())?;
        }
        for text in sets {
            self.set(text)?;
        }
        Ok(self)
    }

    /// The configuration in TOML `text`; keys that are absent have their defaults. `origin` names the text in
    /// errors.
    ///
    /// # Errors
    /// Those of [`Config::load`].
    pub fn from_toml(text: &str, origin: &str) -> Result<Self> {
        let mut config = Self::default();
        config.merge(text, origin)?;
        Ok(config)
    }

    /// The whole configuration as TOML, every key with its value; [`Config::from_toml`] reads it back.
    ///
    /// # Errors
    /// A value that TOML cannot express: a path that is not UTF-8.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| Error::Usage(format!("settings cannot be written: {error}")))
    }

    /// Applies one `KEY=VALUE`: KEY is dotted (`recipe.epochs`), VALUE is TOML, or else taken as a string.
    ///
    /// # Errors
    /// A missing `=`, a key that does not exist, a value of the wrong type.
    pub fn set(&mut self, text: &str) -> Result<()> {
        let origin = format!("--set {text}");
        let Some((key, value)) = text.split_once('=') else {
            return Err(Error::Usage(format!("{origin}: expected KEY=VALUE, as in --set recipe.epochs=12")));
        };
        let value = value.trim();
        let value = value.parse::<Value>().unwrap_or_else(|_| Value::String(value.into()));
        let path: Vec<String> = key.split('.').map(|part| part.trim().to_string()).collect();
        for (path, value) in flatten(path, value) {
            self.assign_at(&path, value, &origin)?;
        }
        Ok(())
    }

    /// Applies the values of a TOML table, as if they stood in a file of their own; `origin` names the table in errors.
    ///
    /// # Errors
    /// Those of [`Config::load`].
    pub fn apply(&mut self, table: &toml::Table, origin: &str) -> Result<()> {
        let values = flatten(Vec::new(), Value::Table(table.clone()));
        values
            .into_iter()
            .filter(|(path, _)| !path.is_empty())
            .try_for_each(|(path, value)| self.assign_at(&path, value, origin))
    }

    fn merge(&mut self, text: &str, origin: &str) -> Result<()> {
        for entry in entries(text, origin)? {
            let line = 1 + text[..entry.start].matches('\n').count();
            self.assign_at(&entry.path, entry.value, &format!("{origin}:{line}"))?;
        }
        Ok(())
    }

    fn assign_at(&mut self, path: &[String], value: Value, origin: &str) -> Result<()> {
        let found = describe(&value);
        self.assign(path, value).map_err(|mismatch| explain(mismatch, &path.join("."), found, origin))
    }
}

/// The error for `key`, with the nearest known key or the setting's meaning as its hint.
fn explain(mismatch: Mismatch, key: &str, found: String, origin: &str) -> Error {
    let (expected, found, hint) = match mismatch {
        Mismatch::Unknown => {
            let hint = format!("the nearest known key is `{}`", nearest_key(key));
            ("a known key".into(), "an unknown one".into(), Some(hint))
        }
        Mismatch::Kind { expected } => (expected, found, meaning(key)),
    };
    Error::Config { origin: origin.into(), key: key.into(), expected, found, hint }
}

fn meaning(key: &str) -> Option<String> {
    let entry = documentation().into_iter().find(|entry| entry.key == key)?;
    Some(format!("{} Default: {}", entry.doc, entry.default))
}

/// The known key most like `key`; one with the same last part (`epochs` for `recipe.epochs`) counts too.
fn nearest_key(key: &str) -> String {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_string();
    let similarity = |known: &str| {
        let whole = strsim::normalized_damerau_levenshtein(key, known);
        let name = strsim::normalized_damerau_levenshtein(&last(key), &last(known));
        whole.max(0.9 * name)
    };
    let keys = documentation().into_iter().map(|entry| entry.key);
    keys.max_by(|a, b| similarity(a).total_cmp(&similarity(b))).unwrap_or_default()
}

/// A value and its type, cut short if it is long: `12.5 (a float)`.
fn describe(value: &Value) -> String {
    const LONGEST: usize = 40;
    let article = if value.type_str().starts_with(['a', 'i']) { "an" } else { "a" };
    let mut text = value.to_string();
    if text.chars().count() > LONGEST {
        text = text.chars().take(LONGEST).chain("...".chars()).collect();
    }
    format!("{text} ({article} {})", value.type_str())
}

/// The plain values at and below `value`; an empty table is kept as a value.
fn flatten(path: Vec<String>, value: Value) -> Vec<(Vec<String>, Value)> {
    match value {
        Value::Table(table) if !table.is_empty() => table
            .into_iter()
            .flat_map(|(name, value)| flatten(path.iter().cloned().chain([name]).collect(), value))
            .collect(),
        value => vec![(path, value)],
    }
}

/// The values of a TOML document in the order of the text.
fn entries(text: &str, origin: &str) -> Result<Vec<Entry>> {
    let syntax = |error: toml::de::Error| Error::Usage(format!("{origin}: not TOML\n{error}"));
    let document = DeTable::parse(text).map_err(syntax)?;
    let mut entries = Vec::new();
    collect(&[], document.into_inner(), &mut entries).map_err(syntax)?;
    entries.sort_by_key(|entry| entry.start);
    Ok(entries)
}

fn collect(
    path: &[String],
    table: DeTable<'_>,
    out: &mut Vec<Entry>,
) -> std::result::Result<(), toml::de::Error> {
    for (name, value) in table {
        let start = name.span().start;
        let path: Vec<String> = path.iter().cloned().chain([name.into_inner().into_owned()]).collect();
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) if !table.is_empty() => collect(&path, table, out)?,
            value => {
                let value = Value::deserialize(ValueDeserializer::from(Spanned::new(span, value)))?;
                out.push(Entry { path, value, start });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Budget;

    fn error(text: &str) -> String {
        Config::from_toml(text, "my.toml").unwrap_err().to_string()
    }

    fn set_error(text: &str) -> String {
        Config::default().set(text).unwrap_err().to_string()
    }

    #[test]
    fn file_then_sets_in_order_over_the_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, "seed = 3\nbudget = \"2m\"\n[recipe]\nepochs = 4\nlr = 1\n").unwrap();
        let sets = ["recipe.epochs=5", "recipe.epochs = 6", "strategy=random", "max.params=2e4"];
        let config = Config::load(Some(&path), &sets.map(String::from)).unwrap();
        assert_eq!((config.seed, config.recipe.epochs, config.recipe.lr), (3, 6, 1.0));
        assert_eq!((config.budget, config.strategy.as_str()), (Budget::Seconds(120.0), "random"));
        assert_eq!(config.max["params"], 2e4);
        assert_eq!(config.recipe.batch, Config::default().recipe.batch);
    }

    #[test]
    fn set_takes_toml_bare_words_lists_and_tables() {
        let mut config = Config::default();
        for text in [
            "objectives=[\"error\", 'macs']",
            "data.dir=/srv/my images",
            "budget=30gens",
            "recipe.flip=true",
            "finish={epochs = 7}",
            "max = { macs = 1_000_000, latency = 0.5 }",
            "max.macs=5",
        ] {
            config.set(text).unwrap();
        }
        assert_eq!(config.objectives, ["error", "macs"]);
        assert_eq!(config.data.dir.as_deref(), Some(Path::new("/srv/my images")));
        assert_eq!((config.budget, config.recipe.flip), (Budget::Generations(30), true));
        assert_eq!((config.finish.epochs, config.finish.lr), (7, Config::default().finish.lr));
        assert_eq!(
            config.max.clone().into_iter().collect::<Vec<_>>(),
            [("latency".into(), 0.5), ("macs".into(), 5.0)]
        );
        config.set("max={}").unwrap();
        assert!(config.max.is_empty());
    }

    #[test]
    fn an_unknown_key_names_file_line_full_key_and_the_nearest_known_key() {
        let message = error("seed = 1\n\n[recipe]\nepoch = 3\n");
        for part in ["my.toml:4", "`recipe.epoch`", "`recipe.epochs`"] {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
        for (text, near) in [
            ("workrs = 2", "`workers`"),
            ("epochs = 2", "epochs`"),
            ("[lemonade]\nacepted = 2", "`lemonade.accepted`"),
            ("[recip]\ncrop = 1", "`recipe.crop`"),
            ("[nothing]", "`"),
            ("seed.a = 1", "`seed`"),
            ("max.latency.p50 = 1", "`latency"),
        ] {
            let message = error(text);
            assert!(message.contains("unknown") && message.contains(near), "{text}: {message}");
        }
        assert!(set_error("recipe.epohcs=3").contains("--set recipe.epohcs=3: key `recipe.epohcs`"));
    }

    #[test]
    fn a_wrong_type_names_line_key_expected_and_found() {
        let message = error("[recipe]\nlr = 0.1\nepochs = 12.5\n");
        for part in ["my.toml:3", "`recipe.epochs`", "a whole number, 0 or more", "12.5 (a float)"] {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
        for (text, expected) in [
            ("seed = -1", "a whole number"),
            ("recipe.flip = 1", "true or false"),
            ("budget = 10", "200evals"),
            ("budget = \"soon\"", "200evals"),
            ("objectives = \"error\"", "a list of strings"),
            ("data = \"digits\"", "a section with the keys name, dir"),
            ("data = []", "a section"),
            ("max.params = \"many\"", "a number"),
            ("max = 3", "a table"),
        ] {
            let message = error(text);
            assert!(message.contains(expected) && message.contains("found"), "{text}: {message}");
        }
    }

    #[test]
    fn broken_toml_a_missing_file_and_a_set_without_value_are_errors() {
        assert!(error("seed = \n").contains("my.toml") && error("seed = \n").contains("line 1"));
        assert!(error("seed = 1\nseed = 2\n").contains("line 2"));
        assert!(set_error("seed").contains("KEY=VALUE"));
        let missing = Config::load(Some(Path::new("no/such.toml")), &[]).unwrap_err().to_string();
        assert!(missing.contains("no/such.toml"));
    }

    #[test]
    fn every_value_survives_toml() {
        let mut config = Config::default();
        for text in
            ["seed=9223372036854775807", "data.dir=/a b/ü", "max.error=0.1", "budget=0.1h", "recipe.lr=1e-9"]
        {
            config.set(text).unwrap();
        }
        assert_eq!(Config::from_toml(&config.to_toml().unwrap(), "").unwrap(), config);
        assert_eq!(toml::from_str::<Config>(&config.to_toml().unwrap()).unwrap(), config);
    }
}
