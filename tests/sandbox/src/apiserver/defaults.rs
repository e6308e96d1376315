//! The defaults that the API server sets before admission (`pkg/apis/apps/v1/defaults.go` and
//! `pkg/apis/core/v1/defaults.go`, as far as recorded reviews contain them), and its validation.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::path::Resource;
use super::status::ApiError;
use crate::json::text;

/// Sets the fields that a client may leave out.
pub(crate) fn fill(resource: &Resource, object: &mut Value) {
    match resource.plural.as_str() {
        "statefulsets" => stateful_set(object),
        "secrets" => secret(object),
        "namespaces" => {
            let name = object["metadata"]["name"].clone();
            set(&mut object["metadata"]["labels"], "kubernetes.io/metadata.name", name);
        }
        _ => {}
    }
}

fn stateful_set(object: &mut Value) {
    let spec = &mut object["spec"];
    set(spec, "replicas", json!(1));
    set(spec, "podManagementPolicy", json!("OrderedReady"));
    set(spec, "updateStrategy", json!({"type": "RollingUpdate"}));
    if spec["updateStrategy"]["type"] == "RollingUpdate" {
        set(&mut spec["updateStrategy"], "rollingUpdate", json!({}));
        set(&mut spec["updateStrategy"]["rollingUpdate"], "partition", json!(0));
    }
    set(spec, "revisionHistoryLimit", json!(10));
    set(spec, "persistentVolumeClaimRetentionPolicy", json!({}));
    set(&mut spec["persistentVolumeClaimRetentionPolicy"], "whenDeleted", json!("Retain"));
    set(&mut spec["persistentVolumeClaimRetentionPolicy"], "whenScaled", json!("Retain"));
    pod(&mut spec["template"]["spec"]);
    for claim in items(spec, "volumeClaimTemplates") {
        set(claim, "kind", json!("PersistentVolumeClaim"));
        set(claim, "apiVersion", json!("v1"));
        set(&mut claim["spec"], "volumeMode", json!("Filesystem"));
        set(claim, "status", json!({"phase": "Pending"}));
    }
    // Reviews of a creation already have a status, with these two of its fields.
    set(object, "status", json!({"replicas": 0, "availableReplicas": 0}));
}

fn pod(spec: &mut Value) {
    for list in ["initContainers", "containers"] {
        for item in items(spec, list) {
            container(item);
        }
    }
    set(spec, "restartPolicy", json!("Always"));
    set(spec, "terminationGracePeriodSeconds", json!(30));
    set(spec, "dnsPolicy", json!("ClusterFirst"));
    if let Some(account) = spec["serviceAccountName"].as_str().map(str::to_owned) {
        // The deprecated name of the field is kept in step.
        set(spec, "serviceAccount", json!(account));
    }
    set(spec, "securityContext", json!({}));
    set(spec, "schedulerName", json!("default-scheduler"));
    for volume in items(spec, "volumes") {
        for source in ["secret", "configMap", "projected"] {
            if let Some(source) = volume.get_mut(source) {
                // 0644 in octal.
                set(source, "defaultMode", json!(420));
            }
        }
    }
}

fn container(container: &mut Value) {
    for port in items(container, "ports") {
        set(port, "protocol", json!("TCP"));
    }
    for entry in items(container, "env") {
        if entry["valueFrom"]["fieldRef"].is_object() {
            set(&mut entry["valueFrom"]["fieldRef"], "apiVersion", json!("v1"));
        }
    }
    set(container, "resources", json!({}));
    // A limit without a request is also the request.
    let limits = container["resources"]["limits"].as_object().cloned().unwrap_or_default();
    for (name, value) in limits {
        set(&mut container["resources"]["requests"], &name, value);
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe) {
            fill_probe(probe);
        }
    }
    set(container, "terminationMessagePath", json!("/dev/termination-log"));
    set(container, "terminationMessagePolicy", json!("File"));
    // Without a tag or digest, the image is `latest`, which is pulled at each start.
    let image = container["image"].as_str().unwrap_or_default();
    let file = image.rsplit('/').next().unwrap_or_default();
    let latest = !image.contains('@') && (!file.contains(':') || file.ends_with(":latest"));
    set(container, "imagePullPolicy", json!(if latest { "Always" } else { "IfNotPresent" }));
}

fn fill_probe(probe: &mut Value) {
    if let Some(http) = probe.get_mut("httpGet") {
        set(http, "path", json!("/"));
        set(http, "scheme", json!("HTTP"));
    }
    for (key, value) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        set(probe, key, json!(value));
    }
}

/// Encodes `stringData` into `data`, where it takes precedence; `stringData` itself is never stored.
fn secret(object: &mut Value) {
    let plain = object.as_object_mut().and_then(|o| o.shift_remove("stringData"));
    for (key, value) in plain.as_ref().and_then(Value::as_object).into_iter().flatten() {
        let encoded = STANDARD.encode(text(value));
        object["data"][key] = json!(encoded);
    }
    set(object, "type", json!("Opaque"));
}

/// Validates an object: its name, and the rules for StatefulSets.
pub(crate) fn check(resource: &Resource, object: &Value, old: Option<&Value>) -> Result<(), ApiError> {
    let name = text(&object["metadata"]["name"]);
    let rule = if name.is_empty() {
        Some("metadata.name: Required value: name or generateName is required")
    } else if resource.plural == "statefulsets" {
        broken_rule(object, old)
    } else {
        None
    };
    let Some(rule) = rule else { return Ok(()) };
    let group = if resource.group.is_empty() { String::new() } else { format!(".{}", resource.group) };
    Err(ApiError::Invalid {
        kind: format!("{}{group}", resource.kind()),
        name: name.to_owned(),
        reason: rule.to_owned(),
    })
}

/// The rule that a StatefulSet breaks, in the words of a real server.
fn broken_rule(object: &Value, old: Option<&Value>) -> Option<&'static str> {
    let spec = &object["spec"];
    if !super::select::label_selector_matches(&spec["selector"], &spec["template"]["metadata"]["labels"]) {
        return Some(
            "spec.template.metadata.labels: Invalid value: `selector` does not match template `labels`",
        );
    }
    if spec["template"]["spec"]["containers"].as_array().is_none_or(Vec::is_empty) {
        return Some("spec.template.spec.containers: Required value");
    }
    // A creation may set every field.
    if old.is_some_and(|old| fixed_part(&old["spec"]) != fixed_part(spec)) {
        return Some(
            "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
             'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' \
             are forbidden",
        );
    }
    None
}

/// The fields of a StatefulSet's spec that cannot be changed.
fn fixed_part(spec: &Value) -> Map<String, Value> {
    let mut fixed = spec.as_object().cloned().unwrap_or_default();
    for free in [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ] {
        fixed.shift_remove(free);
    }
    fixed
}

/// Sets a member of an object if it is absent or null.
fn set(target: &mut Value, key: &str, value: Value) {
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Some(map) = target.as_object_mut() {
        let slot = map.entry(key.to_owned()).or_insert(Value::Null);
        if slot.is_null() {
            *slot = value;
        }
    }
}

/// The items of a list that may be absent. (Indexing with `[list]` would insert a null.)
fn items<'a>(object: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From a recorded review (create-statefulsets-main.json of a real 1.36.2).
    #[test]
    fn a_stateful_set_gets_the_recorded_defaults() {
        let resource = Resource::new("apps/v1", "statefulsets");
        let mut object = json!({
            "metadata": {"name": "web"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "serviceName": "web", "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"terminationGracePeriodSeconds": 2, "containers": [
                    {"image": "couchdb:3", "name": "c", "ports": [{"containerPort": 5984, "name": "http"}]}]}}},
        });
        fill(&resource, &mut object);
        let expected = json!({
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                "containers": [{
                    "name": "c", "image": "couchdb:3",
                    "ports": [{"name": "http", "containerPort": 5984, "protocol": "TCP"}],
                    "resources": {}, "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File", "imagePullPolicy": "IfNotPresent"}],
                "restartPolicy": "Always", "terminationGracePeriodSeconds": 2, "dnsPolicy": "ClusterFirst",
                "securityContext": {}, "schedulerName": "default-scheduler"}},
            "serviceName": "web", "podManagementPolicy": "OrderedReady",
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "revisionHistoryLimit": 10,
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
        });
        assert_eq!(object["spec"], expected);
        assert_eq!(object["status"], json!({"replicas": 0, "availableReplicas": 0}));
        let once = object.clone();
        fill(&resource, &mut object);
        assert_eq!(object, once, "setting defaults again changes nothing");
        assert_eq!(check(&resource, &object, None), Ok(()));
        let mut other = object.clone();
        other["spec"]["serviceName"] = json!("else");
        assert!(check(&resource, &other, Some(&object)).is_err());
    }

    #[test]
    fn string_data_of_a_secret_is_stored_encoded() {
        let mut object = json!({"metadata": {"name": "s"}, "data": {"a": "eA=="}, "stringData": {"b": "y"}});
        fill(&Resource::new("v1", "secrets"), &mut object);
        assert_eq!(
            object,
            json!({"metadata": {"name": "s"}, "data": {"a": "eA==", "b": "eQ=="}, "type": "Opaque"})
        );
    }
}
