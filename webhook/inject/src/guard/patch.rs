//! The JSON Patches of the guard.

use contract::keys;
use serde_json::{Value, json};

use super::request::{Annotations, ScaleDown};

impl ScaleDown {
    /// The patch of an updated StatefulSet that keeps the replicas and sets the target size; `others` is the patch of the
    /// injection.
    pub fn drain_patch(&self, others: &str, target: u32) -> String {
        let mut operations = vec![self.kept_replicas()];
        if self.annotations == Annotations::Missing {
            operations.push(json!({ "op": "add", "path": "/metadata/annotations", "value": {} }));
        }
        let value = target.to_string();
        operations.push(json!({ "op": "add", "path": target_path(), "value": value }));
        extended(others, &operations)
    }

    /// The patch of a Scale that keeps the replicas.
    pub fn scale_patch(&self) -> String {
        extended("", &[self.kept_replicas()])
    }

    fn kept_replicas(&self) -> Value {
        // Adds or replaces: a Scale omits 0 replicas.
        json!({ "op": "add", "path": "/spec/replicas", "value": self.old.count })
    }
}

/// The patch `others`, and the removal of the target size.
pub(crate) fn without_target(others: &str) -> String {
    extended(others, &[json!({ "op": "remove", "path": target_path() })])
}

fn target_path() -> String {
    format!("/metadata/annotations/{}", keys::TARGET_SIZE.replace('/', "~1"))
}

/// Appends operations to a JSON Patch, which is empty or a list.
fn extended(patch: &str, operations: &[Value]) -> String {
    let added = Value::from(operations).to_string();
    match patch.trim_end().strip_suffix(']') {
        Some(before) => format!("{before},{}", added.trim_start_matches('[')),
        None => added,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_appended_to_those_of_the_injection() {
        let one = json!({ "op": "add", "path": "/a", "value": 1 });
        let alone = extended("", std::slice::from_ref(&one));
        assert_eq!(alone, r#"[{"op":"add","path":"/a","value":1}]"#);
        let both: Value = serde_json::from_str(&extended(&alone, &[one])).unwrap();
        assert_eq!(both.as_array().unwrap().len(), 2);
        assert_eq!(target_path(), "/metadata/annotations/couchdiscover.io~1target-size");
    }
}
