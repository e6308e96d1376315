//! The four kinds of patches.

use serde_json::{Map, Value};

/// How a patch is to be read, from its content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatchKind {
    /// RFC 6902.
    Json,
    /// RFC 7386: lists are replaced.
    Merge,
    /// Lists of named things are merged by their key.
    Strategic,
    /// Server-side apply: as `Strategic`, and the manager is written down.
    Apply,
}

impl PatchKind {
    pub(crate) fn of(content_type: &str) -> Option<Self> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::Strategic),
            "application/apply-patch+yaml" | "application/apply-patch+cbor" => Some(Self::Apply),
            _ => None,
        }
    }
}

/// The object with the patch applied.
pub(crate) fn apply(kind: PatchKind, mut object: Value, patch: &Value) -> Result<Value, String> {
    match kind {
        PatchKind::Json => json_patch(object, patch),
        PatchKind::Merge => {
            json_patch::merge(&mut object, patch);
            Ok(object)
        }
        PatchKind::Strategic | PatchKind::Apply => {
            merge_named(&mut object, patch);
            Ok(object)
        }
    }
}

/// RFC 6902, all or nothing; the error says which operation failed.
pub(crate) fn json_patch(mut object: Value, patch: &Value) -> Result<Value, String> {
    let operations: json_patch::Patch = serde_json::from_value(patch.clone()).map_err(|e| e.to_string())?;
    json_patch::patch(&mut object, &operations).map_err(|e| e.to_string())?;
    Ok(object)
}

fn merge_named(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        patch.clone_into(target);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(object) = target.as_object_mut() else { return };
    for (key, change) in changes {
        match (change, merge_key(key)) {
            (Value::Null, _) => {
                object.shift_remove(key);
            }
            (Value::Array(items), Some(by)) => {
                let list = object.entry(key.clone()).or_insert_with(|| Value::Array(Vec::new()));
                merge_list(list, items, by);
            }
            (change, _) => merge_named(object.entry(key.clone()).or_insert(Value::Null), change),
        }
    }
}

fn merge_list(list: &mut Value, items: &[Value], by: &str) {
    if !list.is_array() {
        *list = Value::Array(Vec::new());
    }
    let Some(list) = list.as_array_mut() else { return };
    for item in items {
        let existing = list.iter().position(|old| old[by] == item[by]);
        match (existing, item["$patch"] == "delete") {
            (Some(index), true) => {
                list.remove(index);
            }
            (Some(index), false) => merge_named(&mut list[index], item),
            (None, true) => {}
            (None, false) => list.push(item.clone()),
        }
    }
}

/// The `patchMergeKey` of the lists that this project meets; other lists are replaced.
fn merge_key(list: &str) -> Option<&'static str> {
    match list {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "webhooks"
        | "matchConditions"
        | "secrets" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        "ports" => Some("containerPort"),
        "conditions" => Some("type"),
        "ownerReferences" => Some("uid"),
        _ => None,
    }
}

/// What an applier owns: the leaves of what it sent.
pub(crate) fn fields_v1(applied: &Value) -> Value {
    let Value::Object(map) = applied else { return Value::Object(Map::new()) };
    let owned = map.iter().filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind"));
    let fields = owned.map(|(key, value)| match (value, merge_key(key)) {
        (Value::Array(items), Some(by)) => {
            let items = items.iter().map(|item| (format!("k:{{\"{by}\":{}}}", item[by]), fields_v1(item)));
            (format!("f:{key}"), Value::Object(items.collect()))
        }
        (value, _) => (format!("f:{key}"), fields_v1(value)),
    });
    Value::Object(fields.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn apply_merges_webhooks_by_name() {
        let object = json!({"webhooks": [{"name": "a", "failurePolicy": "Fail", "clientConfig": {"url": "u"}}, {"name": "b"}]});
        let patch = json!({"webhooks": [{"name": "a", "clientConfig": {"caBundle": "x"}}]});
        let merged = apply(PatchKind::Apply, object.clone(), &patch).unwrap();
        assert_eq!(
            merged["webhooks"][0],
            json!({"name": "a", "failurePolicy": "Fail", "clientConfig": {"url": "u", "caBundle": "x"}})
        );
        assert_eq!(merged["webhooks"][1]["name"], "b");
        // A merge patch replaces the list.
        let replaced = apply(PatchKind::Merge, object, &patch).unwrap();
        assert_eq!(replaced["webhooks"].as_array().unwrap().len(), 1);
        assert_eq!(
            fields_v1(&patch),
            json!({"f:webhooks": {"k:{\"name\":\"a\"}": {"f:name": {}, "f:clientConfig": {"f:caBundle": {}}}}})
        );
    }

    #[test]
    fn null_removes_and_delete_deletes() {
        let object = json!({"a": 1, "env": [{"name": "X", "value": "1"}, {"name": "Y"}]});
        let patch = json!({"a": null, "env": [{"name": "X", "$patch": "delete"}, {"name": "Z"}]});
        let merged = apply(PatchKind::Strategic, object, &patch).unwrap();
        assert_eq!(merged, json!({"env": [{"name": "Y"}, {"name": "Z"}]}));
    }

    #[test]
    fn a_json_patch_is_all_or_nothing() {
        let patch = json!([{"op": "add", "path": "/a", "value": 1}, {"op": "remove", "path": "/nope"}]);
        assert!(apply(PatchKind::Json, json!({}), &patch).is_err());
    }
}
