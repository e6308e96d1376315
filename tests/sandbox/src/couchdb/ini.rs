//! CouchDB's configuration: sections of keys, and what is printed of them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Sections of keys and values, in the order in which CouchDB prints them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ini(BTreeMap<String, BTreeMap<String, String>>);

impl Ini {
    /// The value of `section`/`key`.
    pub fn get(&self, section: &str, key: &str) -> Option<&str> {
        self.0.get(section)?.get(key).map(String::as_str)
    }

    /// Sets a key; gives back what was there.
    pub fn set(&mut self, section: &str, key: &str, value: impl Into<String>) -> Option<String> {
        self.0.entry(section.to_owned()).or_default().insert(key.to_owned(), value.into())
    }

    /// Removes a key; gives back what was there.
    pub fn remove(&mut self, section: &str, key: &str) -> Option<String> {
        self.0.get_mut(section)?.remove(key)
    }

    /// The keys of a section; none when there is no such section.
    pub fn section(&self, section: &str) -> impl Iterator<Item = (&String, &String)> {
        self.0.get(section).into_iter().flatten()
    }

    /// This, overlaid with `later`, as a later ini file overrides an earlier one.
    pub(crate) fn overlaid(&self, later: &Self) -> Self {
        let mut merged = self.clone();
        for (section, keys) in &later.0 {
            merged.0.entry(section.clone()).or_default().extend(keys.clone());
        }
        merged
    }

    /// One section as the JSON object that `_config/{section}` answers.
    pub(crate) fn section_json(&self, section: &str) -> Value {
        Value::Object(self.section(section).map(|(k, v)| (k.clone(), Value::String(v.clone()))).collect())
    }

    /// Everything, as `_config` answers it.
    pub(crate) fn json(&self) -> Value {
        let sections: Map<String, Value> =
            self.0.keys().map(|section| (section.clone(), self.section_json(section))).collect();
        Value::Object(sections)
    }
}
