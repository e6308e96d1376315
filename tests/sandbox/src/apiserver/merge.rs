//! The four kinds of patches, and the field ownership that server-side apply records.

use serde_json::{Map, Value};

/// The kind of a patch, which its content type determines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatchKind {
    /// RFC 6902.
    Json,
    /// RFC 7386: lists are replaced.
    Merge,
    /// Strategic merge patch: lists with a merge key are merged by it.
    Strategic,
    /// Server-side apply: merges like `Strategic`, and records the field manager.
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

/// Returns the object with the patch applied.
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

/// Applies an RFC 6902 patch, all operations or none. The error names the operation that failed.
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
        // In a patch, null removes the field.
        if change.is_null() {
            object.shift_remove(key);
            continue;
        }
        let current = object.entry(key.clone()).or_insert(Value::Null);
        if let Some(items) = change.as_array()
            && let Some(by) = merge_key(key)
        {
            merge_list(current, items, by);
        } else {
            merge_named(current, change);
        }
    }
}

fn merge_list(list: &mut Value, items: &[Value], by: &str) {
    if !list.is_array() {
        *list = Value::Array(Vec::new());
    }
    let Some(list) = list.as_array_mut() else { return };
    for item in items {
        // Items that the patch does not name are kept.
        let existing = list.iter().position(|old| old[by] == item[by]);
        if item["$patch"] == "delete" {
            existing.map(|index| list.remove(index));
            continue;
        }
        match existing {
            Some(index) => merge_named(&mut list[index], item),
            None => list.push(item.clone()),
        }
    }
}

/// The `patchMergeKey` of a list, for the lists that this project uses; other lists are replaced.
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

/// The `fieldsV1` of an applied object: its leaves, which the applier owns.
pub(crate) fn fields_v1(applied: &Value) -> Value {
    let Value::Object(map) = applied else { return Value::Object(Map::new()) };
    let owned = map.iter().filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind"));
    Value::Object(owned.map(|(key, value)| (format!("f:{key}"), owned_fields(key, value))).collect())
}

fn owned_fields(key: &str, value: &Value) -> Value {
    let (Some(items), Some(by)) = (value.as_array(), merge_key(key)) else { return fields_v1(value) };
    // An item of a merged list is named by its key, for example `k:{"name":"agent"}`.
    let items = items.iter().map(|item| (format!("k:{{\"{by}\":{}}}", item[by]), fields_v1(item)));
    Value::Object(items.collect())
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
    fn null_removes_a_field_and_a_delete_directive_removes_an_item() {
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
