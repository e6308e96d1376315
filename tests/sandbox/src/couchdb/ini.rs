//! CouchDB's configuration: sections of keys and values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Sections of keys and values, in the order in which CouchDB prints them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ini(BTreeMap<String, BTreeMap<String, String>>);

impl Ini {
    /// The value of `key` in `section`.
    pub fn get(&self, section: &str, key: &str) -> Option<&str> {
        self.0.get(section)?.get(key).map(String::as_str)
    }

    /// Sets a key. Returns the old value.
    pub fn set(&mut self, section: &str, key: &str, value: impl Into<String>) -> Option<String> {
        self.0.entry(section.to_owned()).or_default().insert(key.to_owned(), value.into())
    }

    /// Removes a key. Returns the old value.
    pub fn remove(&mut self, section: &str, key: &str) -> Option<String> {
        self.0.get_mut(section)?.remove(key)
    }

    /// The keys and values of a section; empty if it does not exist.
    pub fn section(&self, section: &str) -> impl Iterator<Item = (&String, &String)> {
        self.0.get(section).into_iter().flatten()
    }

    /// A copy in which the values of `later` override those of `self`, as a later ini file overrides an earlier one.
    pub(crate) fn overlaid(&self, later: &Self) -> Self {
        let mut merged = self.clone();
        for (section, keys) in &later.0 {
            merged.0.entry(section.clone()).or_default().extend(keys.clone());
        }
        merged
    }

    /// Parses the text of an ini file: sections, `key = value`, and comments that begin with a semicolon.
    pub(crate) fn parse(text: &str) -> Self {
        let mut ini = Self::default();
        let mut section = String::new();
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with(';')) {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                name.clone_into(&mut section);
            } else if let Some((key, value)) = line.split_once('=') {
                ini.set(&section, key.trim(), value.trim());
            }
        }
        ini
    }

    /// The text of an ini file with these values.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (section, keys) in &self.0 {
            text += &format!("[{section}]\n");
            for (key, value) in keys {
                text += &format!("{key} = {value}\n");
            }
        }
        text
    }

    /// One section, in the form of an answer to `GET _config/{section}`.
    pub(crate) fn section_json(&self, section: &str) -> Value {
        Value::Object(self.section(section).map(|(k, v)| (k.clone(), Value::String(v.clone()))).collect())
    }

    /// All sections, in the form of an answer to `GET _config`.
    pub(crate) fn json(&self) -> Value {
        let sections: Map<String, Value> =
            self.0.keys().map(|section| (section.clone(), self.section_json(section))).collect();
        Value::Object(sections)
    }
}
