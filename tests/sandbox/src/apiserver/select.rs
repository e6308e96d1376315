//! Field and label selectors, in query strings and in objects.

use serde_json::Value;

use crate::json::{items, strings, text};

/// The selectors that restrict a list or a watch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    /// `k`
    Exists,
    /// `!k`
    Absent,
    /// `k=v`, `k in (v, w)`
    In(Vec<String>),
    /// `k!=v`, `k notin (v, w)`; also true if the key is absent
    NotIn(Vec<String>),
}

impl Selector {
    pub(crate) fn parse(labels: Option<&str>, fields: Option<&str>) -> Self {
        Self { labels: parse(labels.unwrap_or_default()), fields: parse(fields.unwrap_or_default()) }
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels.iter().all(|r| r.holds(labels[&r.key].as_str()))
            // An absent field is the same as an empty one.
            && self.fields.iter().all(|r| r.holds(Some(field(object, &r.key)).filter(|f| !f.is_empty())))
    }
}

impl Requirement {
    fn new(key: &str, test: Test) -> Self {
        Self { key: key.trim().to_owned(), test }
    }

    fn holds(&self, value: Option<&str>) -> bool {
        match &self.test {
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            // `k=` also selects objects without the key.
            Test::In(list) => is_listed(list, value) || value.is_none() && list.iter().all(String::is_empty),
            Test::NotIn(list) => !is_listed(list, value),
        }
    }
}

fn is_listed(list: &[String], value: Option<&str>) -> bool {
    value.is_some_and(|value| list.iter().any(|listed| listed == value))
}

/// The string at a dotted path such as `metadata.name` or `involvedObject.uid`.
fn field<'a>(object: &'a Value, path: &str) -> &'a str {
    text(path.split('.').fold(object, |value, part| &value[part]))
}

fn parse(text: &str) -> Vec<Requirement> {
    split_outside_parentheses(text).into_iter().filter(|part| !part.is_empty()).map(requirement).collect()
}

fn requirement(part: &str) -> Requirement {
    if let Some((key, value)) = part.split_once("!=") {
        Requirement::new(key, Test::NotIn(vec![value.trim().to_owned()]))
    } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        Requirement::new(key, Test::In(vec![value.trim().to_owned()]))
    } else if let Some((key, values)) = part.split_once(" notin (") {
        Requirement::new(key, Test::NotIn(value_list(values)))
    } else if let Some((key, values)) = part.split_once(" in (") {
        Requirement::new(key, Test::In(value_list(values)))
    } else if let Some(key) = part.strip_prefix('!') {
        Requirement::new(key, Test::Absent)
    } else {
        Requirement::new(part, Test::Exists)
    }
}

/// The values of `v, w)`.
fn value_list(text: &str) -> Vec<String> {
    text.trim_end_matches(')').split(',').map(|value| value.trim().to_owned()).collect()
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_i32, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            // A comma in parentheses separates values, not requirements.
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts
}

/// `true` if a `LabelSelector` object matches a map of labels; an empty selector matches everything.
pub(crate) fn label_selector_matches(selector: &Value, labels: &Value) -> bool {
    let mut exact = selector["matchLabels"].as_object().into_iter().flatten();
    exact.all(|(key, value)| labels[key] == *value)
        && items(&selector["matchExpressions"]).all(|expression| expression_matches(expression, labels))
}

fn expression_matches(expression: &Value, labels: &Value) -> bool {
    let value = labels[text(&expression["key"])].as_str();
    let listed = value.is_some_and(|value| strings(&expression["values"]).any(|allowed| allowed == value));
    match text(&expression["operator"]) {
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "In" => listed,
        "NotIn" => !listed,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_in_queries_match_labels_and_fields() {
        let object = json!({"metadata": {"name": "web", "labels": {"app": "db", "tier": "1"}}});
        for (labels, fields, expected) in [
            ("", "metadata.name=web", true),
            ("", "metadata.name=other", false),
            ("app=db,tier!=2", "", true),
            ("app in (x, db),!gone", "", true),
            ("app notin (db)", "", false),
            ("tier", "metadata.name!=web", false),
            ("gone", "", false),
        ] {
            let selector = Selector::parse(Some(labels), Some(fields));
            assert_eq!(selector.matches(&object), expected, "{labels} {fields}");
        }
    }

    #[test]
    fn selectors_in_objects_match_labels() {
        let labels = json!({"couchdiscover.io/inject": "enabled"});
        let expression = |operator: &str, values: Value| json!({"matchExpressions": [{"key": "couchdiscover.io/inject", "operator": operator, "values": values}]});
        assert!(label_selector_matches(&expression("Exists", Value::Null), &labels));
        assert!(!label_selector_matches(&expression("NotIn", json!(["enabled"])), &labels));
        assert!(label_selector_matches(&expression("DoesNotExist", Value::Null), &Value::Null));
        assert!(label_selector_matches(&json!({}), &Value::Null));
        assert!(!label_selector_matches(&json!({"matchLabels": {"a": "b"}}), &labels));
    }
}
