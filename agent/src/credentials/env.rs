//! A container's environment as the kubelet makes it: first `envFrom`, then `env`; an entry can refer to earlier ones, and
//! replaces an earlier one of the same name. Pure, over objects that were fetched before.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use contract::expand::{expand, references};
use serde_json::Value;
use thiserror::Error;

use super::container::{Container, KeyRef, Source, ValueFrom, Variable};

/// A Secret or ConfigMap in the pod's namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// A ConfigMap.
    ConfigMap(String),
    /// A Secret.
    Secret(String),
}

/// The data of a ConfigMap or Secret. Never printed.
pub(super) type Data = BTreeMap<String, Vec<u8>>;

/// The fetched objects; `None` for an object that does not exist.
pub(super) type Objects = BTreeMap<Object, Option<Data>>;

/// A variable whose value cannot be resolved. The kubelet does not start a container in most of these cases.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum EnvError {
    /// A field of the pod that the downward API does not offer to variables.
    #[error("variable '{variable}' refers to the pod's field '{path}', which the agent cannot resolve")]
    Field {
        /// The variable.
        variable: String,
        /// The field.
        path: String,
    },
    /// The object has no such key.
    #[error("variable '{variable}' refers to key '{key}' of {object}, which has no such key")]
    NoKey {
        /// The variable.
        variable: String,
        /// The key.
        key: String,
        /// The object.
        object: Object,
    },
    /// There is no such object.
    #[error("the container's environment refers to {object}, which does not exist")]
    NoObject {
        /// The object.
        object: Object,
    },
    /// The value is not text.
    #[error("key '{key}' of {object} is not UTF-8")]
    NotText {
        /// The key.
        key: String,
        /// The object.
        object: Object,
    },
    /// Another kind of reference: `resourceFieldRef` or `fileKeyRef`.
    #[error(
        "variable '{variable}' refers to {kind}, which the agent cannot resolve. Fix: set it as a value or from a Secret"
    )]
    Unknown {
        /// The variable.
        variable: String,
        /// The field's name.
        kind: String,
    },
}

/// The objects that must be read to resolve the variables of these names.
pub(super) fn objects_of(container: &Container, names: &[&str]) -> BTreeSet<Object> {
    let wanted = with_references(container, names);
    let mut objects = BTreeSet::new();
    let mut set_by_env = BTreeSet::new();
    for entry in container.env.iter().filter(|entry| wanted.contains(entry.name.as_str())) {
        let reference = reference_of(entry);
        // Without its object, an optional reference leaves the variable to `envFrom`.
        if !reference.as_ref().is_some_and(|(_, key)| key.optional) {
            set_by_env.insert(entry.name.as_str());
        }
        objects.extend(reference.map(|(object, _)| object));
    }
    // `env` replaces `envFrom`, so the latter is not read for variables that `env` sets in any case.
    if !wanted.is_subset(&set_by_env) {
        objects.extend(container.env_from.iter().filter_map(Source::object));
    }
    objects
}

/// Resolves the variables of these names. Variables that are not set are missing in the result.
pub(super) fn resolve(
    pod: &Value,
    container: &Container,
    names: &[&str],
    objects: &Objects,
) -> Result<BTreeMap<String, String>, EnvError> {
    let wanted = with_references(container, names);
    let mut env = from_whole_objects(container, &wanted, objects)?;
    for entry in container.env.iter().filter(|entry| wanted.contains(entry.name.as_str())) {
        let value = match &entry.value_from {
            Some(from) if entry.value.is_empty() => referenced(pod, entry, from, objects)?,
            Some(_) | None => Some(expand(&entry.value, |name| env.get(name))),
        };
        // An optional reference without its object keeps an earlier value.
        if let Some(value) = value {
            env.insert(entry.name.clone(), value);
        }
    }
    env.retain(|name, _| names.contains(&name.as_str()));
    Ok(env)
}

/// The wanted variables that `envFrom` sets.
fn from_whole_objects(
    container: &Container,
    wanted: &BTreeSet<&str>,
    objects: &Objects,
) -> Result<BTreeMap<String, String>, EnvError> {
    let mut env = BTreeMap::new();
    for source in &container.env_from {
        // An object that is not needed was not fetched.
        let Some((object, data)) = source.object().and_then(|object| objects.get_key_value(&object)) else {
            continue;
        };
        let Some(data) = data else {
            if source.is_optional() {
                continue;
            }
            return Err(EnvError::NoObject { object: object.clone() });
        };
        for (key, value) in data {
            let name = format!("{}{key}", source.prefix);
            if wanted.contains(name.as_str()) {
                env.insert(name, text(object, key, value)?);
            }
        }
    }
    Ok(env)
}

/// These names and those that their values refer to, directly or through others.
fn with_references<'a>(container: &'a Container, names: &[&'a str]) -> BTreeSet<&'a str> {
    let mut wanted: BTreeSet<&str> = names.iter().copied().collect();
    loop {
        let entries = container.env.iter().filter(|entry| wanted.contains(entry.name.as_str()));
        let more: BTreeSet<&str> = entries.flat_map(|entry| references(&entry.value)).collect();
        if more.is_subset(&wanted) {
            return wanted;
        }
        wanted.extend(more);
    }
}

fn referenced(
    pod: &Value,
    entry: &Variable,
    from: &ValueFrom,
    objects: &Objects,
) -> Result<Option<String>, EnvError> {
    let variable = entry.name.clone();
    if let Some(field) = &from.field_ref {
        let path = field.field_path.clone();
        return field_of(pod, &path).map(Some).ok_or(EnvError::Field { variable, path });
    }
    let Some((object, KeyRef { key, optional, .. })) = reference_of(entry) else {
        let kind = from.unknown.keys().next().cloned().unwrap_or_else(|| "nothing".to_owned());
        return Err(EnvError::Unknown { variable, kind });
    };
    let data = objects.get(&object).and_then(Option::as_ref);
    if let Some(value) = data.and_then(|data| data.get(key)) {
        return text(&object, key, value).map(Some);
    }
    if *optional {
        return Ok(None);
    }
    Err(match data {
        Some(_) => EnvError::NoKey { variable, key: key.clone(), object },
        None => EnvError::NoObject { object },
    })
}

/// The key of a Secret or ConfigMap that an entry refers to.
fn reference_of(entry: &Variable) -> Option<(Object, &KeyRef)> {
    // The API server refuses a value beside a reference, and the kubelet would use the value.
    let from = entry.value_from.as_ref().filter(|_| entry.value.is_empty())?;
    if let Some(key) = &from.secret_key_ref {
        return Some((Object::Secret(key.name.clone()), key));
    }
    from.config_map_key_ref.as_ref().map(|key| (Object::ConfigMap(key.name.clone()), key))
}

impl Source {
    fn object(&self) -> Option<Object> {
        let secret = self.secret_ref.as_ref().map(|secret| Object::Secret(secret.name.clone()));
        secret.or_else(|| self.config_map_ref.as_ref().map(|map| Object::ConfigMap(map.name.clone())))
    }

    fn is_optional(&self) -> bool {
        [&self.secret_ref, &self.config_map_ref].into_iter().flatten().any(|object| object.optional)
    }
}

/// The value of a field that the downward API offers to variables.
fn field_of(pod: &Value, path: &str) -> Option<String> {
    let status = &pod["status"];
    let value = match path {
        "metadata.name" => &pod["metadata"]["name"],
        "metadata.namespace" => &pod["metadata"]["namespace"],
        "metadata.uid" => &pod["metadata"]["uid"],
        "spec.nodeName" => &pod["spec"]["nodeName"],
        "spec.serviceAccountName" => &pod["spec"]["serviceAccountName"],
        "status.hostIP" => &status["hostIP"],
        "status.hostIPs" => return addresses(&status["hostIPs"]),
        "status.podIP" => &status["podIP"],
        "status.podIPs" => return addresses(&status["podIPs"]),
        path => return label_or_annotation(&pod["metadata"], path),
    };
    value.as_str().map(str::to_owned)
}

fn addresses(list: &Value) -> Option<String> {
    let addresses = list.as_array()?.iter().filter_map(|entry| entry["ip"].as_str());
    Some(addresses.collect::<Vec<_>>().join(","))
}

/// The value at a path such as `metadata.labels['app']`.
fn label_or_annotation(metadata: &Value, path: &str) -> Option<String> {
    let (map, key) = path.strip_prefix("metadata.")?.strip_suffix("']")?.split_once("['")?;
    if !matches!(map, "labels" | "annotations") {
        return None;
    }
    // A missing label is an empty value, not an error.
    Some(metadata[map][key].as_str().unwrap_or_default().to_owned())
}

fn text(object: &Object, key: &str, value: &[u8]) -> Result<String, EnvError> {
    String::from_utf8(value.to_vec())
        .map_err(|_| EnvError::NotText { key: key.to_owned(), object: object.clone() })
}

impl Object {
    /// The resource's name in URLs and roles.
    pub(super) fn plural(&self) -> &'static str {
        match self {
            Self::ConfigMap(_) => "configmaps",
            Self::Secret(_) => "secrets",
        }
    }

    /// The object's name.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::ConfigMap(name) | Self::Secret(name) => name,
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConfigMap(name) => write!(f, "ConfigMap '{name}'"),
            Self::Secret(name) => write!(f, "Secret '{name}'"),
        }
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    const NAMES: [&str; 2] = ["U", "P"];

    fn objects() -> Objects {
        let data = |pairs: &[(&str, &str)]| {
            Some(pairs.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect())
        };
        BTreeMap::from([
            (Object::Secret("login".to_owned()), data(&[("user", "admin"), ("pass", "s3$(U)")])),
            (
                Object::Secret("whole".to_owned()),
                data(&[("U", "whole"), ("S_P", "prefixed?"), ("P", "whole")]),
            ),
            (Object::ConfigMap("conf".to_owned()), data(&[("U", "conf"), ("HOST", "h")])),
            (Object::Secret("none".to_owned()), None),
            (Object::Secret("bytes".to_owned()), Some(BTreeMap::from([("k".to_owned(), vec![0xff])]))),
        ])
    }

    fn pod() -> Value {
        json!({
            "metadata": { "name": "db-2", "namespace": "shop", "uid": "u-1", "labels": { "app": "couch" },
                          "annotations": { "a/b": "note" } },
            "spec": { "nodeName": "node-7", "serviceAccountName": "sa" },
            "status": { "podIP": "10.0.0.7", "podIPs": [{ "ip": "10.0.0.7" }, { "ip": "fd00::7" }],
                        "hostIP": "10.1.0.1", "hostIPs": [{ "ip": "10.1.0.1" }] },
        })
    }

    fn read(container: &Value) -> Result<String, EnvError> {
        let container = Container::deserialize(container).unwrap();
        let fetched = objects_of(&container, &NAMES);
        let objects = objects().into_iter().filter(|(object, _)| fetched.contains(object)).collect();
        let env = resolve(&pod(), &container, &NAMES, &objects)?;
        Ok(NAMES.map(|name| env.get(name).map_or("-", String::as_str)).join(" "))
    }

    fn secret(name: &str, key: &str) -> Value {
        json!({ "secretKeyRef": { "name": name, "key": key } })
    }

    #[test]
    fn a_value_is_resolved_from_every_kind_of_source() {
        let optional =
            |name: &str, key: &str| json!({ "secretKeyRef": { "name": name, "key": key, "optional": true } });
        for (container, found) in [
            (json!({}), "- -"),
            (json!({ "env": [{ "name": "U", "value": "a" }, { "name": "P" }] }), "a "),
            (json!({ "env": [{ "name": "P", "valueFrom": secret("login", "pass") }] }), "- s3$(U)"),
            (
                json!({ "env": [{ "name": "U", "valueFrom": { "configMapKeyRef": { "name": "conf", "key": "HOST" } } }] }),
                "h -",
            ),
            (json!({ "env": [{ "name": "U", "value": "1" }, { "name": "U", "value": "$(U)2" }] }), "12 -"),
            (
                json!({ "env": [{ "name": "U", "value": "$(P)" }, { "name": "P", "value": "late" }] }),
                "$(P) late",
            ),
            (
                json!({ "env": [{ "name": "X", "value": "x$(Y)" }, { "name": "U", "value": "$(X)$$(X)" }] }),
                "x$(Y)$(X) -",
            ),
            (
                json!({ "env": [{ "name": "Y", "value": "y" }, { "name": "X", "value": "x$(Y)" }, { "name": "U", "value": "$(X)" }] }),
                "xy -",
            ),
            (
                json!({ "env": [{ "name": "U", "value": "kept" }, { "name": "U", "valueFrom": optional("none", "k") }] }),
                "kept -",
            ),
            (json!({ "env": [{ "name": "U", "valueFrom": optional("login", "k") }] }), "- -"),
            (json!({ "envFrom": [{ "secretRef": { "name": "whole" } }] }), "whole whole"),
            (
                json!({ "envFrom": [{ "secretRef": { "name": "whole" } }, { "configMapRef": { "name": "conf" } }] }),
                "conf whole",
            ),
            (
                json!({ "envFrom": [{ "configMapRef": { "name": "conf" } }], "env": [{ "name": "U", "value": "env" }] }),
                "env -",
            ),
            (
                json!({ "envFrom": [{ "configMapRef": { "name": "conf" } }], "env": [{ "name": "P", "value": "$(U)@$(HOST)" }] }),
                "conf conf@h",
            ),
            (
                json!({ "envFrom": [{ "configMapRef": { "name": "conf" } }], "env": [{ "name": "U", "valueFrom": optional("none", "k") }] }),
                "conf -",
            ),
            (
                json!({ "envFrom": [{ "prefix": "S_", "secretRef": { "name": "whole" } }], "env": [{ "name": "P", "value": "$(S_P)" }] }),
                "- whole",
            ),
            (json!({ "envFrom": [{ "secretRef": { "name": "none", "optional": true } }] }), "- -"),
        ] {
            assert_eq!(read(&container).as_deref(), Ok(found), "{container}");
        }
    }

    #[test]
    fn fields_of_the_downward_api_are_resolved() {
        for (path, value) in [
            ("metadata.name", "db-2"),
            ("metadata.namespace", "shop"),
            ("metadata.uid", "u-1"),
            ("metadata.labels['app']", "couch"),
            ("metadata.labels['none']", ""),
            ("metadata.annotations['a/b']", "note"),
            ("spec.nodeName", "node-7"),
            ("spec.serviceAccountName", "sa"),
            ("status.podIP", "10.0.0.7"),
            ("status.podIPs", "10.0.0.7,fd00::7"),
            ("status.hostIP", "10.1.0.1"),
            ("status.hostIPs", "10.1.0.1"),
        ] {
            let env = json!({ "env": [{ "name": "U", "valueFrom": { "fieldRef": { "fieldPath": path } } }] });
            assert_eq!(read(&env).unwrap(), format!("{value} -"), "{path}");
        }
    }

    #[test]
    fn missing_objects_and_keys_are_named() {
        let message = |from: &Value| {
            read(&json!({ "env": [{ "name": "U", "valueFrom": from }] })).unwrap_err().to_string()
        };
        assert_snapshot!(message(&secret("none", "k")), @"the container's environment refers to Secret 'none', which does not exist");
        assert_snapshot!(message(&secret("login", "k")), @"variable 'U' refers to key 'k' of Secret 'login', which has no such key");
        assert_snapshot!(message(&secret("bytes", "k")), @"key 'k' of Secret 'bytes' is not UTF-8");
        assert_snapshot!(message(&json!({ "fieldRef": { "fieldPath": "status.phase" } })), @"variable 'U' refers to the pod's field 'status.phase', which the agent cannot resolve");
        assert_snapshot!(message(&json!({ "resourceFieldRef": { "resource": "limits.cpu" } })), @"variable 'U' refers to resourceFieldRef, which the agent cannot resolve. Fix: set it as a value or from a Secret");
        let whole = json!({ "envFrom": [{ "secretRef": { "name": "none" } }] });
        assert_snapshot!(read(&whole).unwrap_err(), @"the container's environment refers to Secret 'none', which does not exist");
    }

    #[test]
    fn only_objects_that_are_needed_are_read() {
        let container = Container::deserialize(json!({
            "envFrom": [{ "secretRef": { "name": "whole" } }],
            "env": [
                { "name": "OTHER", "valueFrom": secret("private", "k") },
                { "name": "HELPER", "valueFrom": secret("helper", "k") },
                { "name": "U", "value": "$(HELPER)" },
                { "name": "P", "valueFrom": secret("login", "pass") },
            ],
        }));
        let container = container.unwrap();
        let names = |names: &[&str]| {
            objects_of(&container, names)
                .into_iter()
                .map(|object| object.name().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&["P"]), ["login"]);
        assert_eq!(names(&["U", "P"]), ["helper", "login"]);
        assert_eq!(names(&["U", "ELSE"]), ["helper", "whole"]);
    }
}
