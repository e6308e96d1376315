//! Field and label selectors, those of query strings and those of objects.

use serde_json::Value;

/// What a list or a watch is narrowed to.
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
    Lacks,
    /// `k=v`, `k in (v, w)`
    In(Vec<String>),
    /// `k!=v`, `k notin (v, w)`: also true without the key
    NotIn(Vec<String>),
}

impl Selector {
    pub(crate) fn parse(labels: Option<&str>, fields: Option<&str>) -> Self {
        Self { labels: parse(labels.unwrap_or_default()), fields: parse(fields.unwrap_or_default()) }
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels.iter().all(|r| r.holds(labels[&r.key].as_str()))
            && self.fields.iter().all(|r| r.holds(Some(field(object, &r.key)).filter(|f| !f.is_empty())))
    }
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        let listed = |list: &[String]| value.is_some_and(|v| list.iter().any(|l| l == v));
        match &self.test {
            Test::Exists => value.is_some(),
            Test::Lacks => value.is_none(),
            Test::In(list) => listed(list) || value.is_none() && list.iter().all(String::is_empty),
            Test::NotIn(list) => !listed(list),
        }
    }
}

/// `metadata.name`, `involvedObject.uid`, ..
fn field<'a>(object: &'a Value, path: &str) -> &'a str {
    path.split('.').fold(object, |value, part| &value[part]).as_str().unwrap_or_default()
}

fn parse(text: &str) -> Vec<Requirement> {
    split_outside_parentheses(text).into_iter().filter(|part| !part.is_empty()).map(requirement).collect()
}

fn requirement(part: &str) -> Requirement {
    let make = |key: &str, test| Requirement { key: key.trim().to_owned(), test };
    let list = |text: &str| text.trim_end_matches(')').split(',').map(|v| v.trim().to_owned()).collect();
    if let Some((key, value)) = part.split_once("!=") {
        make(key, Test::NotIn(vec![value.trim().to_owned()]))
    } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        make(key, Test::In(vec![value.trim().to_owned()]))
    } else if let Some((key, values)) = part.split_once(" notin (") {
        make(key, Test::NotIn(list(values)))
    } else if let Some((key, values)) = part.split_once(" in (") {
        make(key, Test::In(list(values)))
    } else if let Some(key) = part.strip_prefix('!') {
        make(key, Test::Lacks)
    } else {
        make(part, Test::Exists)
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_i32, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
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

/// A `LabelSelector` object against a map of labels; an empty one matches everything.
pub(crate) fn label_selector_matches(selector: &Value, labels: &Value) -> bool {
    let exact = selector["matchLabels"].as_object().into_iter().flatten();
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    exact.into_iter().all(|(key, value)| labels[key] == *value)
        && expressions.into_iter().all(|expression| {
            let value = labels[expression["key"].as_str().unwrap_or_default()].as_str();
            let listed =
                || expression["values"].as_array().is_some_and(|vs| vs.iter().any(|v| v.as_str() == value));
            match expression["operator"].as_str() {
                Some("Exists") => value.is_some(),
                Some("DoesNotExist") => value.is_none(),
                Some("In") => value.is_some() && listed(),
                Some("NotIn") => value.is_none() || !listed(),
                Some(_) | None => false,
            }
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_of_queries() {
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
    fn selectors_of_objects() {
        let labels = json!({"couchdiscover.io/inject": "enabled"});
        let expression = |operator: &str, values: Value| json!({"matchExpressions": [{"key": "couchdiscover.io/inject", "operator": operator, "values": values}]});
        assert!(label_selector_matches(&expression("Exists", Value::Null), &labels));
        assert!(!label_selector_matches(&expression("NotIn", json!(["enabled"])), &labels));
        assert!(label_selector_matches(&expression("DoesNotExist", Value::Null), &Value::Null));
        assert!(label_selector_matches(&json!({}), &Value::Null));
        assert!(!label_selector_matches(&json!({"matchLabels": {"a": "b"}}), &labels));
    }
}
