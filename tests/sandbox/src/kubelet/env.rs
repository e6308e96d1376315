//! A container's environment (kubelet's `makeEnvironmentVariables`).

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::expand::expand;
use super::pod::{Cluster, Facts};

/// Why a container can't be started: kubelet's `CreateContainerConfigError`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// A Secret that isn't optional doesn't exist.
    #[error("secret \"{name}\" not found")]
    NoSecret {
        /// Its name.
        name: String,
    },
    /// A ConfigMap that isn't optional doesn't exist.
    #[error("configmap \"{name}\" not found")]
    NoConfigMap {
        /// Its name.
        name: String,
    },
    /// A key that isn't optional doesn't exist.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey {
        /// `Secret` or `ConfigMap`.
        kind: &'static str,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// A `valueFrom` that the downward API, or this stand-in, doesn't know.
    #[error("unsupported fieldPath \"{path}\"")]
    Field {
        /// What was asked for.
        path: String,
    },
}

/// Where a reference points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// `data` in base64, `stringData` as it is.
    Secret,
    /// `data` as it is.
    ConfigMap,
}

/// `envFrom` first, then `env`, each entry seeing those before it; a later entry of the same name wins.
pub(super) fn environment(
    cluster: &Cluster,
    facts: &Facts<'_>,
    container: &Value,
) -> Result<BTreeMap<String, String>, EnvError> {
    let mut env = BTreeMap::new();
    for source in list(&container["envFrom"]) {
        let prefix = source["prefix"].as_str().unwrap_or_default();
        for (key, value) in all_of(cluster, facts, source)? {
            env.insert(format!("{prefix}{key}"), value);
        }
    }
    for entry in list(&container["env"]) {
        let Some(name) = entry["name"].as_str() else { continue };
        let from = &entry["valueFrom"];
        let value = if from.is_null() {
            let text = entry["value"].as_str().unwrap_or_default();
            Some(expand(text, |variable| env.get(variable).cloned()))
        } else {
            referred(cluster, facts, container, from)?
        };
        // An optional reference to nothing leaves whatever envFrom set.
        if let Some(value) = value {
            env.insert(name.to_owned(), value);
        }
    }
    Ok(env)
}

fn all_of(cluster: &Cluster, facts: &Facts<'_>, source: &Value) -> Result<Vec<(String, String)>, EnvError> {
    let (kind, reference) = match (&source["secretRef"], &source["configMapRef"]) {
        (Value::Null, config_map) => (Source::ConfigMap, config_map),
        (secret, _) => (Source::Secret, secret),
    };
    let object = object(cluster, facts, kind, reference)?;
    Ok(object.map(|object| entries(kind, object)).unwrap_or_default())
}

fn referred(
    cluster: &Cluster,
    facts: &Facts<'_>,
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
    let (kind, reference) = match (&from["secretKeyRef"], &from["configMapKeyRef"]) {
        (Value::Null, Value::Null) => return Err(EnvError::Field { path: from.to_string() }),
        (Value::Null, config_map) => (Source::ConfigMap, config_map),
        (secret, _) => (Source::Secret, secret),
    };
    let Some(object) = object(cluster, facts, kind, reference)? else { return Ok(None) };
    let key = reference["key"].as_str().unwrap_or_default();
    match entries(kind, object).into_iter().find(|(name, _)| name == key) {
        Some((_, value)) => Ok(Some(value)),
        None if reference["optional"] == true => Ok(None),
        None => Err(EnvError::NoKey {
            kind: match kind {
                Source::Secret => "Secret",
                Source::ConfigMap => "ConfigMap",
            },
            namespace: facts.namespace.to_owned(),
            name: reference["name"].as_str().unwrap_or_default().to_owned(),
            key: key.to_owned(),
        }),
    }
}

/// The Secret or ConfigMap of the pod's namespace; `None` when it lacks and may.
fn object<'a>(
    cluster: &'a Cluster,
    facts: &Facts<'_>,
    kind: Source,
    reference: &Value,
) -> Result<Option<&'a Value>, EnvError> {
    let name = reference["name"].as_str().unwrap_or_default();
    let objects = match kind {
        Source::Secret => &cluster.secrets,
        Source::ConfigMap => &cluster.config_maps,
    };
    let found = objects.iter().find(|object| {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
        object["metadata"]["name"] == name && namespace == facts.namespace
    });
    match found {
        Some(object) => Ok(Some(object)),
        None if reference["optional"] == true => Ok(None),
        None => Err(match kind {
            Source::Secret => EnvError::NoSecret { name: name.to_owned() },
            Source::ConfigMap => EnvError::NoConfigMap { name: name.to_owned() },
        }),
    }
}

/// The API server merges `stringData` over `data`; a manifest that never went there has both.
fn entries(kind: Source, object: &Value) -> Vec<(String, String)> {
    let plain = |field: &str| -> Vec<(String, String)> {
        let map = object[field].as_object().into_iter().flatten();
        map.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
    };
    match kind {
        Source::ConfigMap => plain("data"),
        Source::Secret => {
            let decoded = plain("data").into_iter().filter_map(|(key, value)| {
                // Line breaks are allowed in base64 that people write.
                let compact: String = value.split_whitespace().collect();
                Some((key, String::from_utf8(STANDARD.decode(compact).ok()?).ok()?))
            });
            let mut merged: BTreeMap<String, String> = decoded.collect();
            merged.extend(plain("stringData"));
            merged.into_iter().collect()
        }
    }
}

fn resource_field(container: &Value, resource: &str) -> Option<String> {
    let (kind, name) = resource.split_once('.')?;
    container["resources"][kind][name].as_str().map(str::to_owned)
}

pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::pod::PodSeen;
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
        let pod = cluster.pod(&statefulset, 2, &PodSeen::at("10.0.0.7"));
        pod.map(|pod| pod.containers[0].env.clone())
    }

    #[test]
    fn the_order_of_things() {
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
    fn the_downward_api() {
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
    fn what_lacks_is_named() {
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
