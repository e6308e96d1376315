//! Access to fields of objects that are kept as JSON.

use serde_json::Value;

/// The entries of a list; none if the value is not a list.
pub(crate) fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// The strings of a list.
pub(crate) fn strings(list: &Value) -> impl Iterator<Item = &str> {
    items(list).filter_map(Value::as_str)
}

/// A string; empty if the value is not a string.
pub(crate) fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
