//! Comparison of an answer with the expected one.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The values that `<name>` placeholders stand for; they differ from run to run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names(BTreeMap<String, Value>);

impl Names {
    /// Replaces every known `<name>` in a later request by its value.
    pub(crate) fn fill_in(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, value)| {
            let plain = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            text.replace(&format!("<{name}>"), &plain)
        })
    }

    /// Compares an answer with the expected one, and learns the names that it contains.
    pub(crate) fn matches(&mut self, expected: &str, answer: &str) -> bool {
        let (expected, answer) = (expected.trim(), answer.trim());
        // An expectation without a body is about the status only.
        if expected.is_empty() {
            return true;
        }
        let parsed =
            serde_json::from_str::<Value>(expected).ok().zip(serde_json::from_str::<Value>(answer).ok());
        let Some((expected, answer)) = parsed else { return expected == answer };
        // Names are learned only from an answer that matches completely: a partial match would bind them to values of
        // an answer that an `eventually` step is still waiting to change.
        let mut learned = self.clone();
        let is_match = learned.matches_value(&expected, &answer);
        if is_match {
            *self = learned;
        }
        is_match
    }

    /// `true` if `name` can stand for `value`; a name without a value gets this one.
    fn bind(&mut self, name: &str, value: &Value) -> bool {
        if let Some(known) = self.0.get(name) {
            return known == value;
        }
        // Two names never stand for one value, so that two uuids that must differ do differ.
        if self.0.values().any(|known| known == value) {
            return false;
        }
        self.0.insert(name.to_owned(), value.clone());
        true
    }

    fn matches_value(&mut self, expected: &Value, answer: &Value) -> bool {
        match expected {
            Value::String(text)
                if text.starts_with('<') && text.ends_with('>') && !text[1..].contains('<') =>
            {
                let name = &text[1..text.len() - 1];
                name == "any" || self.bind(name, answer)
            }
            Value::Array(expected) if expected.first() == Some(&Value::from("...")) => {
                let answer = answer.as_array().map_or(&[][..], Vec::as_slice);
                expected[1..].iter().all(|e| answer.iter().any(|a| self.tries_value(e, a)))
            }
            Value::Array(expected) => answer.as_array().is_some_and(|answer| {
                expected.len() == answer.len()
                    && expected.iter().zip(answer).all(|(e, a)| self.matches_value(e, a))
            }),
            Value::Object(expected) => {
                answer.as_object().is_some_and(|answer| self.matches_object(expected, answer))
            }
            // Names that are known may also be parts of a string.
            Value::String(text) => answer.as_str() == Some(&self.fill_in(text)),
            Value::Null | Value::Bool(_) | Value::Number(_) => expected == answer,
        }
    }

    /// Like [`Names::matches_value`], but learns nothing from a value that does not match.
    fn tries_value(&mut self, expected: &Value, answer: &Value) -> bool {
        let mut learned = self.clone();
        let is_match = learned.matches_value(expected, answer);
        if is_match {
            *self = learned;
        }
        is_match
    }

    fn matches_object(&mut self, expected: &Map<String, Value>, answer: &Map<String, Value>) -> bool {
        let mut wanted = 0;
        for (key, value) in expected.iter().filter(|(key, _)| *key != "...") {
            wanted += 1;
            if !answer.get(key).is_some_and(|a| self.matches_value(value, a)) {
                return false;
            }
        }
        expected.contains_key("...") || answer.len() == wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_matches_its_pattern() {
        let mut names = Names::default();
        assert!(names.matches(r#"{"a":"<any>","b":"<x>"}"#, "{\"a\":[1],\"b\":\"v\"}\n"));
        assert!(names.matches(r#""<x>""#, "\"v\""));
        assert!(!names.matches(r#""<x>""#, "\"w\""), "a name stands for one value");
        assert_eq!(names.fill_in("/db?rev=<x>"), "/db?rev=v");
        assert!(!names.matches(r#""<z>""#, "\"v\""), "two names do not stand for one value");
        assert!(names.matches(r#"{"a":1,"...":0}"#, r#"{"a":1,"b":2}"#));
        assert!(!names.matches(r#"{"a":1}"#, r#"{"a":1,"b":2}"#));
        assert!(!names.matches("[1]", "[1,2]"));
        assert!(!names.matches(r#"{"y":"<y>","z":1}"#, r#"{"y":1,"z":2}"#));
        assert_eq!(names.fill_in("<y>"), "<y>", "names are not learned from a wrong answer");
    }
}
