//! How a setting is documented and assigned: the one place where names, defaults and texts meet.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use toml::Value;

use super::{Budget, Timeout};

/// One key of the configuration, as `search --help` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDoc {
    /// The dotted key, `recipe.epochs`.
    pub key: String,
    /// The default as TOML text; `unset` for a key that has none.
    pub default: String,
    /// What the key decides, in one or two sentences.
    pub doc: String,
}

/// Why a value could not be assigned.
#[derive(Debug)]
pub(super) enum Mismatch {
    /// No setting has this key.
    Unknown,
    /// The setting exists and takes something else.
    Kind {
        /// What it takes: "a whole number, 0 or more".
        expected: String,
    },
}

/// A setting, or a section of settings.
pub(super) trait Setting {
    /// What the setting takes, for an error message.
    fn expected() -> String;
    /// Appends the documentation of every key at and below `key`; `self` holds the defaults.
    fn document(&self, key: &str, doc: &str, out: &mut Vec<KeyDoc>);
    /// Sets the value at `path`, relative to this setting.
    fn assign(&mut self, path: &[String], value: Value) -> Result<(), Mismatch>;
}

/// A plain value behind serde.
fn assign_leaf<T: DeserializeOwned + Setting>(
    target: &mut T,
    path: &[String],
    value: Value,
) -> Result<(), Mismatch> {
    if !path.is_empty() {
        return Err(Mismatch::Unknown);
    }
    *target = value.try_into().map_err(|_| Mismatch::Kind { expected: T::expected() })?;
    Ok(())
}

/// Implements [`Setting`] for plain values: the type and what to call it.
macro_rules! leaves {
    ($($kind:ty: $expected:literal;)+) => {$(
        impl Setting for $kind {
            fn expected() -> String {
                $expected.into()
            }
            fn document(&self, key: &str, doc: &str, out: &mut Vec<KeyDoc>) {
                let default = Value::try_from(self).map_or_else(|_| "unset".into(), |value| value.to_string());
                out.push(KeyDoc { key: key.into(), default, doc: doc.into() });
            }
            fn assign(&mut self, path: &[String], value: Value) -> Result<(), Mismatch> {
                assign_leaf(self, path, value)
            }
        }
    )+};
}

leaves! {
    u64: "a whole number, 0 or more";
    usize: "a whole number, 0 or more";
    f64: "a number";
    bool: "true or false";
    String: "a string";
    Option<PathBuf>: "a path, as a string";
    Vec<f64>: "a list of numbers, such as [0.5, 0.5, 0.5]";
    Vec<PathBuf>: "a list of paths, such as [\"model.onnx\"]";
    Vec<String>: "a list of strings, such as [\"error\", \"params\"]";
    Budget: "a budget: 10m, 90s, 1.5h, 200evals or 30gens";
    Timeout: "a duration: 30s, 10m or 1.5h, at most 168h";
}

impl Setting for BTreeMap<String, f64> {
    fn expected() -> String {
        "a table from names to numbers".into()
    }

    fn document(&self, key: &str, doc: &str, out: &mut Vec<KeyDoc>) {
        let default = Value::try_from(self).map_or_else(|_| "unset".into(), |value| value.to_string());
        out.push(KeyDoc { key: key.into(), default, doc: doc.into() });
    }

    /// `max.latency = 2.0` adds one entry; `max = {}` (a whole table) replaces them all.
    fn assign(&mut self, path: &[String], value: Value) -> Result<(), Mismatch> {
        match path {
            [] => assign_leaf(self, path, value),
            [name] => {
                let bound = value.try_into().map_err(|_| Mismatch::Kind { expected: f64::expected() })?;
                self.insert(name.clone(), bound);
                Ok(())
            }
            _ => Err(Mismatch::Unknown),
        }
    }
}

/// Joins a section and a name to a dotted key.
pub(super) fn dotted(section: &str, name: &str) -> String {
    if section.is_empty() { name.into() } else { format!("{section}.{name}") }
}

/// A doc comment of several lines as one line of text.
pub(super) fn one_line(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Defines a section of the configuration. A field is written once, with its doc comment and its default;
/// the struct, [`Default`], serde and the text of `search --help` all come from that, so they cannot part.
macro_rules! settings {
    (
        $(#[doc = $about:literal])+
        pub struct $section:ident {
            $( $(#[doc = $doc:literal])+ pub $field:ident: $kind:ty = $default:expr, )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $section {
            $( $(#[doc = $doc])+ pub $field: $kind, )+
        }

        impl Default for $section {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        impl $crate::config::setting::Setting for $section {
            fn expected() -> String {
                format!("a section with the keys {}", [$( stringify!($field) ),+].join(", "))
            }

            fn document(&self, key: &str, _doc: &str, out: &mut Vec<$crate::config::setting::KeyDoc>) {
                use $crate::config::setting::{Setting, dotted, one_line};
                $( Setting::document(
                    &self.$field,
                    &dotted(key, stringify!($field)),
                    &one_line(concat!($( $doc, "\n" ),+)),
                    out,
                ); )+
            }

            fn assign(
                &mut self,
                path: &[String],
                value: toml::Value,
            ) -> Result<(), $crate::config::setting::Mismatch> {
                use $crate::config::setting::{Mismatch, Setting};
                let Some((name, rest)) = path.split_first() else {
                    return match value {
                        toml::Value::Table(table) if table.is_empty() => Ok(()),
                        _ => Err(Mismatch::Kind { expected: Self::expected() }),
                    };
                };
                match name.as_str() {
                    $( stringify!($field) => Setting::assign(&mut self.$field, rest, value), )+
                    _ => Err(Mismatch::Unknown),
                }
            }
        }
    };
}
pub(super) use settings;
