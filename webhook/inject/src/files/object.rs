//! The parts of a Kubernetes object that matter for a command on a file.

use contract::{keys, workload};
use serde_json::Value;

/// `true` for an apps/v1 StatefulSet.
pub(super) fn is_stateful_set(object: &Value) -> bool {
    object["apiVersion"] == workload::API_VERSION && object["kind"] == workload::KIND
}

/// The items of a List; `None` for another object.
pub(super) fn items(object: &mut Value) -> Option<&mut Vec<Value>> {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    // Typed lists such as StatefulSetList have items, too.
    if kind == "List" || kind.ends_with("List") && object.get("items").is_some() {
        return object.get_mut("items").and_then(Value::as_array_mut);
    }
    None
}

/// The value of the label that requests injection.
pub(super) fn label(object: &Value) -> Option<&str> {
    object.pointer("/metadata/labels")?.get(keys::INJECT)?.as_str()
}

/// The name of a StatefulSet in reports.
pub(super) fn name(object: &Value) -> String {
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str().unwrap_or("(unnamed)");
    match metadata["namespace"].as_str() {
        Some(namespace) => format!("statefulset/{name} in {namespace}"),
        None => format!("statefulset/{name}"),
    }
}

/// Advice about an object that is not injected.
#[derive(Clone, Debug)]
pub(super) struct Hint {
    /// Kind and name of the object.
    pub(super) subject: String,
    /// The advice.
    pub(super) advice: String,
}

impl Hint {
    fn about(object: &Value, advice: String) -> Self {
        let kind = object["kind"].as_str().unwrap_or_default().to_ascii_lowercase();
        let name = object["metadata"]["name"].as_str().unwrap_or("(unnamed)");
        Self { subject: format!("{kind}/{name}"), advice }
    }
}

/// Advice for an object that the user may regard as a StatefulSet.
pub(super) fn outdated_kind(object: &Value) -> Option<Hint> {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    // PetSet became StatefulSet in Kubernetes 1.5. Versions before apps/v1 are not served since 1.16.
    let advice = match object["kind"].as_str()? {
        kind @ "PetSet" => format!("'{kind}' of '{version}' was renamed: write it as StatefulSet of apps/v1"),
        kind @ workload::KIND => format!("{kind} of '{version}' is no longer served: write it as apps/v1"),
        _ => return None,
    };
    Some(Hint::about(object, advice))
}

/// Advice for an object of another kind with the label, where it has no effect.
pub(super) fn labelled_kind(object: &Value) -> Option<Hint> {
    let on_pods = object["spec"]["template"]["metadata"]["labels"].get(keys::INJECT);
    let labelled = object["metadata"]["labels"].get(keys::INJECT).or(on_pods).is_some();
    let kind = object["kind"].as_str()?;
    let advice = format!("'{}' has no effect on a {kind}: only StatefulSets are injected", keys::INJECT);
    labelled.then(|| Hint::about(object, advice))
}

/// Advice for a label that is misspelt, set as an annotation, or on the pods, where it has no effect.
pub(super) fn misplaced_label(object: &Value) -> Option<Hint> {
    let key = keys::INJECT;
    if object["metadata"]["labels"].get(key).is_some() {
        return None;
    }
    let hint = |advice: String| Some(Hint::about(object, advice));
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    // A key of the same domain, or one that differs in a few letters.
    let similar = labels
        .map(|(label, _)| label)
        .find(|label| label.starts_with(keys::DOMAIN) || strsim::levenshtein(label, key) <= 4);
    if let Some(similar) = similar {
        return hint(format!("the label '{similar}' is unknown: did you mean '{key}'?"));
    }
    if object["metadata"]["annotations"].get(key).is_some() {
        return hint(format!("'{key}' is a label, not an annotation: move it there"));
    }
    if object["spec"]["template"]["metadata"]["labels"].get(key).is_some() {
        return hint(format!(
            "'{key}' is the StatefulSet's label, not the pods': move it to metadata.labels"
        ));
    }
    None
}

/// The line of the report that lists the contents of an injected StatefulSet's record.
pub(super) fn added(object: &Value) -> Option<String> {
    let record = object["spec"]["template"]["metadata"]["annotations"].get(keys::INJECTED)?.as_str()?;
    let record: Value = serde_json::from_str(record).ok()?;
    let mut parts = Vec::new();
    for (key, what) in [
        ("containers", "container"),
        ("initContainers", "init container"),
        ("volumes", "volume"),
        ("imagePullSecrets", "pull secret"),
    ] {
        parts.extend(record.get(key).map(|added| format!("{what} {}", fields(added))));
    }
    for (container, variables) in record.get("env").and_then(Value::as_object).into_iter().flatten() {
        parts.push(format!("variables of {container} {}", fields(variables)));
    }
    Some(format!("  added: {}", parts.join("; ")))
}

fn fields(object: &Value) -> String {
    let fields = object.as_object().into_iter().flatten();
    fields.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
}
