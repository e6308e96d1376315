//! A container's environment, as the kubelet's `makeEnvironmentVariables` computes it.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::expand::expand;
use super::facts::{Cluster, PodFacts};
use crate::json::{items, string_map, text};

/// A reason for the kubelet not to start a container (`CreateContainerConfigError`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// A Secret that isn't optional doesn't exist.
    #[error("secret \"{name}\" not found")]
    NoSecret {
        /// `metadata.name` of the Secret.
        name: String,
    },
    /// A ConfigMap that isn't optional doesn't exist.
    #[error("configmap \"{name}\" not found")]
    NoConfigMap {
        /// `metadata.name` of the ConfigMap.
        name: String,
    },
    /// A key that isn't optional doesn't exist.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey {
        /// `Secret` or `ConfigMap`.
        kind: &'static str,
        /// Namespace of the object, which is that of the pod.
        namespace: String,
        /// `metadata.name` of the object.
        name: String,
        /// The key that `data` does not contain.
        key: String,
    },
    /// A `valueFrom` that the downward API, or this stand-in, doesn't support.
    #[error("unsupported fieldPath \"{path}\"")]
    Field {
        /// The `fieldPath` or `resource`, or the whole `valueFrom`.
        path: String,
    },
}

/// The kind of object that a reference points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// `data` is base64, `stringData` is plain text.
    Secret,
    /// `data` is plain text.
    ConfigMap,
}

impl Source {
    /// The first of the two references that is set; a Secret takes precedence.
    fn of<'a>(secret: &'a Value, config_map: &'a Value) -> (Self, &'a Value) {
        if secret.is_null() { (Self::ConfigMap, config_map) } else { (Self::Secret, secret) }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        }
    }

    fn objects(self, cluster: &Cluster) -> &[Value] {
        match self {
            Self::Secret => &cluster.secrets,
            Self::ConfigMap => &cluster.config_maps,
        }
    }

    fn not_found(self, name: &str) -> EnvError {
        match self {
            Self::Secret => EnvError::NoSecret { name: name.to_owned() },
            Self::ConfigMap => EnvError::NoConfigMap { name: name.to_owned() },
        }
    }
}

/// Computes `envFrom` first, then `env`. Each entry can refer to those before it; a later entry of the same name
/// replaces an earlier one.
pub(super) fn environment(
    cluster: &Cluster,
    facts: &PodFacts<'_>,
    container: &Value,
) -> Result<BTreeMap<String, String>, EnvError> {
    let mut env = BTreeMap::new();
    for source in items(&container["envFrom"]) {
        let prefix = text(&source["prefix"]);
        for (key, value) in all_of(cluster, facts, source)? {
            env.insert(format!("{prefix}{key}"), value);
        }
    }
    for entry in items(&container["env"]) {
        let Some(name) = entry["name"].as_str() else { continue };
        let from = &entry["valueFrom"];
        let value = if from.is_null() {
            Some(expand(text(&entry["value"]), |variable| env.get(variable).cloned()))
        } else {
            // Values that come from elsewhere are not expanded: a password may contain `$(`.
            referred(cluster, facts, container, from)?
        };
        // An optional reference to a missing object keeps the value that envFrom set.
        if let Some(value) = value {
            env.insert(name.to_owned(), value);
        }
    }
    Ok(env)
}

/// All entries of the object that an `envFrom` source refers to; none if it is optional and missing.
fn all_of(
    cluster: &Cluster,
    facts: &PodFacts<'_>,
    source: &Value,
) -> Result<BTreeMap<String, String>, EnvError> {
    let (kind, reference) = Source::of(&source["secretRef"], &source["configMapRef"]);
    let object = object(cluster, facts, kind, reference)?;
    Ok(object.map(|object| entries(kind, object)).unwrap_or_default())
}

/// The value that a `valueFrom` refers to; `None` if it is optional and missing.
fn referred(
    cluster: &Cluster,
    facts: &PodFacts<'_>,
    container: &Value,
    from: &Value,
) -> Result<Option<String>, EnvError> {
    if let Some(path) = from["fieldRef"]["fieldPath"].as_str() {
        return facts.field(path).map(Some).ok_or_else(|| EnvError::Field { path: path.to_owned() });
    }
    if let Some(resource) = from["resourceFieldRef"]["resource"].as_str() {
        return resource_field(container, resource)
            .map(Some)
            .ok_or_else(|| EnvError::Field { path: resource.to_owned() });
    }
    let (kind, reference) = Source::of(&from["secretKeyRef"], &from["configMapKeyRef"]);
    if reference.is_null() {
        return Err(EnvError::Field { path: from.to_string() });
    }
    let Some(object) = object(cluster, facts, kind, reference)? else { return Ok(None) };
    let key = text(&reference["key"]);
    let value = entries(kind, object).remove(key);
    if value.is_some() || is_optional(reference) {
        return Ok(value);
    }
    Err(EnvError::NoKey {
        kind: kind.kind(),
        namespace: facts.namespace.to_owned(),
        name: text(&reference["name"]).to_owned(),
        key: key.to_owned(),
    })
}

/// The Secret or ConfigMap in the pod's namespace; `None` if it is optional and missing.
fn object<'a>(
    cluster: &'a Cluster,
    facts: &PodFacts<'_>,
    kind: Source,
    reference: &Value,
) -> Result<Option<&'a Value>, EnvError> {
    let name = text(&reference["name"]);
    let found = kind.objects(cluster).iter().find(|object| {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
        object["metadata"]["name"] == name && namespace == facts.namespace
    });
    // An optional object that is missing counts as empty.
    if found.is_none() && !is_optional(reference) {
        return Err(kind.not_found(name));
    }
    Ok(found)
}

fn is_optional(reference: &Value) -> bool {
    reference["optional"] == true
}

/// The decoded entries of a Secret or ConfigMap.
fn entries(kind: Source, object: &Value) -> BTreeMap<String, String> {
    let data = string_map(&object["data"]);
    if kind == Source::ConfigMap {
        return data;
    }
    let decoded = data.into_iter().filter_map(|(key, value)| Some((key, decoded(&value)?)));
    let mut merged: BTreeMap<String, String> = decoded.collect();
    // The API server merges `stringData` over `data`; a manifest that was never applied still has both.
    merged.extend(string_map(&object["stringData"]));
    merged
}

fn decoded(base64: &str) -> Option<String> {
    // Base64 in hand-written manifests may contain line breaks, which the decoder rejects.
    let compact: String = base64.split_whitespace().collect();
    String::from_utf8(STANDARD.decode(compact).ok()?).ok()
}

fn resource_field(container: &Value, resource: &str) -> Option<String> {
    let (kind, name) = resource.split_once('.')?;
    container["resources"][kind][name].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::facts::PodPlacement;
    use super::*;

    fn env_of(container: Value) -> Result<BTreeMap<String, String>, EnvError> {
        let cluster = Cluster {
            secrets: vec![
                json!({"metadata": {"name": "login", "namespace": "db"},
                       "data": {"username": "YWRtaW4=", "password": "czMk\nY3JldA=="}, "stringData": {"plain": "$(A)"}}),
                json!({"metadata": {"name": "elsewhere", "namespace": "other"}, "data": {}}),
            ],
            config_maps: vec![
                json!({"metadata": {"name": "conf", "namespace": "db"}, "data": {"A": "from map", "B": "b"}}),
            ],
            ..Cluster::default()
        };
        let statefulset = json!({
            "metadata": {"name": "couchdb", "namespace": "db"},
            "spec": {"serviceName": "svc", "template": {
                "metadata": {"labels": {"app": "couch"}, "annotations": {"note": "n"}},
                "spec": {"serviceAccountName": "sa", "containers": [container]},
            }},
        });
        let pod = cluster.pod(&statefulset, 2, &PodPlacement::at("10.0.0.7"));
        pod.map(|pod| pod.containers[0].env.clone())
    }

    #[test]
    fn later_entries_refer_to_and_replace_earlier_ones() {
        let env = env_of(json!({
            "envFrom": [
                {"configMapRef": {"name": "conf"}},
                {"secretRef": {"name": "login"}, "prefix": "S_"},
                {"secretRef": {"name": "nowhere", "optional": true}},
            ],
            "env": [
                {"name": "EARLY", "value": "$(LATE)-$(B)"},
                {"name": "LATE", "value": "late"},
                {"name": "A", "value": "own"},
                {"name": "A", "value": "$(A), later"},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "login", "key": "no", "optional": true}}},
                {"name": "NOTHING"},
                {"name": "RAW", "valueFrom": {"secretKeyRef": {"name": "login", "key": "plain"}}},
                {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "login", "key": "password"}}},
                {"name": "URL", "value": "http://$(S_username):$(PASSWORD)@$(HOSTNAME)"},
            ],
        }))
        .unwrap();
        for (name, value) in [
            ("EARLY", "$(LATE)-b"),
            ("A", "own, later"),
            ("B", "b"),
            ("NOTHING", ""),
            ("RAW", "$(A)"),
            ("URL", "http://admin:s3$cret@$(HOSTNAME)"),
            ("S_password", "s3$cret"),
        ] {
            assert_eq!(env.get(name).map(String::as_str), Some(value), "{name}");
        }
    }

    #[test]
    fn downward_api_fields_are_resolved() {
        let field = |path: &str| {
            let name = "X";
            env_of(json!({"env": [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}]}))
                .map(|env| env[name].clone())
        };
        for (path, value) in [
            ("metadata.name", "couchdb-2"),
            ("metadata.namespace", "db"),
            ("metadata.labels['app']", "couch"),
            ("metadata.labels['apps.kubernetes.io/pod-index']", "2"),
            ("metadata.annotations['note']", "n"),
            ("metadata.annotations['none']", ""),
            ("status.podIP", "10.0.0.7"),
            ("spec.serviceAccountName", "sa"),
        ] {
            assert_eq!(field(path).as_deref(), Ok(value), "{path}");
        }
        assert!(field("status.nothing").is_err());
    }

    #[test]
    fn a_missing_object_or_key_is_named() {
        let refer = |name: &str, key: &str| {
            env_of(json!({"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}]}))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(refer("nope", "k"), "secret \"nope\" not found");
        assert_eq!(refer("elsewhere", "k"), "secret \"elsewhere\" not found");
        assert_eq!(refer("login", "k"), "couldn't find key k in Secret db/login");
        let all = env_of(json!({"envFrom": [{"configMapRef": {"name": "nope"}}]}));
        assert_eq!(all.unwrap_err().to_string(), "configmap \"nope\" not found");
    }
}
