//! Comparing an answer with what is expected.

use std::collections::BTreeMap;

use serde_json::Value;

/// Names that stand for what differs from run to run, and what they stood for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names(BTreeMap<String, Value>);

impl Names {
    /// A later request with the names replaced.
    pub(crate) fn fill_in(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, value)| {
            let plain = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            text.replace(&format!("<{name}>"), &plain)
        })
    }

    /// True when the answer is as expected. Names are only learnt from answers that are.
    pub(crate) fn matches(&mut self, expected: &str, answer: &str) -> bool {
        let (expected, answer) = (expected.trim(), answer.trim());
        if expected.is_empty() {
            return true;
        }
        let parsed =
            serde_json::from_str::<Value>(expected).ok().zip(serde_json::from_str::<Value>(answer).ok());
        let mut learnt = self.clone();
        let same = match parsed {
            Some((expected, answer)) => learnt.same(&expected, &answer),
            None => expected == answer,
        };
        if same {
            *self = learnt;
        }
        same
    }

    /// Different names stand for different things: two uuids that should differ must.
    fn stands_for(&mut self, name: &str, value: &Value) -> bool {
        match self.0.get(name) {
            Some(known) => known == value,
            None if self.0.values().any(|known| known == value) => false,
            None => {
                self.0.insert(name.to_owned(), value.clone());
                true
            }
        }
    }

    fn same(&mut self, expected: &Value, answer: &Value) -> bool {
        match (expected, answer) {
            (Value::String(name), _) if name.starts_with('<') && name.ends_with('>') => {
                let name = &name[1..name.len() - 1];
                name == "any" || self.stands_for(name, answer)
            }
            (Value::Array(expected), Value::Array(answer)) => {
                expected.len() == answer.len() && expected.iter().zip(answer).all(|(e, a)| self.same(e, a))
            }
            (Value::Object(expected), Value::Object(answer)) => {
                let open = expected.contains_key("...");
                let wanted = expected.iter().filter(|(key, _)| *key != "...");
                wanted.clone().all(|(key, e)| answer.get(key).is_some_and(|a| self.same(e, a)))
                    && (open || answer.len() == wanted.count())
            }
            (expected, answer) => expected == answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let mut names = Names::default();
        assert!(names.matches(r#"{"a":"<any>","b":"<x>"}"#, "{\"a\":[1],\"b\":\"v\"}\n"));
        assert!(names.matches(r#""<x>""#, "\"v\""));
        assert!(!names.matches(r#""<x>""#, "\"w\""), "a name stands for one thing");
        assert_eq!(names.fill_in("/db?rev=<x>"), "/db?rev=v");
        assert!(!names.matches(r#""<z>""#, "\"v\""), "and no two stand for the same");
        assert!(names.matches(r#"{"a":1,"...":0}"#, r#"{"a":1,"b":2}"#));
        assert!(!names.matches(r#"{"a":1}"#, r#"{"a":1,"b":2}"#));
        assert!(!names.matches("[1]", "[1,2]"));
        assert!(!names.matches(r#"{"y":"<y>","z":1}"#, r#"{"y":1,"z":2}"#));
        assert_eq!(names.fill_in("<y>"), "<y>", "nothing is learnt from a wrong answer");
    }
}
