//! A container's environment, as the kubelet makes it: `envFrom` first, then `env`, each entry seeing those before it,
//! a later one of the same name winning. Pure, over objects that were fetched before.

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

/// What the objects hold; `None` where there is no such object. It has no `Debug`: these are secrets.
pub(super) type Objects = BTreeMap<Object, Option<BTreeMap<String, Vec<u8>>>>;

/// Why a variable has no value that can be known. In a running pod the kubelet would not have started the container.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum EnvError {
    /// A field of the pod that the downward API doesn't give to variables.
    #[error("variable '{variable}' refers to the pod's field '{path}', which can't be known here")]
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
    #[error("{object} does not exist, and the container's environment refers to it")]
    NoObject {
        /// The object.
        object: Object,
    },
    /// The value isn't text.
    #[error("key '{key}' of {object} is not UTF-8")]
    NotText {
        /// The key.
        key: String,
        /// The object.
        object: Object,
    },
    /// Another kind of source: `resourceFieldRef`, `fileKeyRef`.
    #[error(
        "variable '{variable}' comes from {kind}, which is not resolved: give it as a value or from a Secret"
    )]
    Unknown {
        /// The variable.
        variable: String,
        /// The field's name.
        kind: String,
    },
}

/// The objects that have to be read to know the variables of these names.
pub(super) fn objects_of(container: &Container, names: &[&str]) -> BTreeSet<Object> {
    let wanted = closure(container, names);
    let (by_key, given): (Vec<_>, Vec<_>) = container
        .env
        .iter()
        .filter(|entry| wanted.contains(entry.name.as_str()))
        .map(|entry| (object_of(entry).map(|(object, _)| object), &entry.name, may_lack(entry)))
        .map(|(object, name, may_lack)| (object, (!may_lack).then_some(name.as_str())))
        .unzip();
    let given: BTreeSet<&str> = given.into_iter().flatten().collect();
    // What `env` gives for certain is not asked of `envFrom`.
    let from_whole = container.env_from.iter().filter(|_| wanted.iter().any(|name| !given.contains(name)));
    by_key.into_iter().flatten().chain(from_whole.filter_map(Source::object)).collect()
}

/// The values of these variables, of those that are set.
pub(super) fn resolve(
    pod: &Value,
    container: &Container,
    names: &[&str],
    objects: &Objects,
) -> Result<BTreeMap<String, String>, EnvError> {
    let wanted = closure(container, names);
    let mut env = BTreeMap::new();
    for source in &container.env_from {
        // One that isn't needed was not fetched.
        let Some((object, data)) = source.object().and_then(|object| objects.get_key_value(&object)) else {
            continue;
        };
        let Some(data) = data else {
            match source.is_optional() {
                true => continue,
                false => return Err(EnvError::NoObject { object: object.clone() }),
            }
        };
        for (key, value) in data {
            let name = format!("{}{key}", source.prefix);
            if wanted.contains(name.as_str()) {
                env.insert(name, text(object, key, value)?);
            }
        }
    }
    for entry in container.env.iter().filter(|entry| wanted.contains(entry.name.as_str())) {
        let value = match &entry.value_from {
            Some(from) if entry.value.is_empty() => referred(pod, entry, from, objects)?,
            Some(_) | None => Some(expand(&entry.value, |name| env.get(name))),
        };
        // An optional reference to nothing leaves what stood there before.
        if let Some(value) = value {
            env.insert(entry.name.clone(), value);
        }
    }
    env.retain(|name, _| names.contains(&name.as_str()));
    Ok(env)
}

/// These names, and all that their values refer to.
fn closure<'a>(container: &'a Container, names: &[&'a str]) -> BTreeSet<&'a str> {
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

fn referred(
    pod: &Value,
    entry: &Variable,
    from: &ValueFrom,
    objects: &Objects,
) -> Result<Option<String>, EnvError> {
    let variable = || entry.name.clone();
    if let Some(field) = &from.field_ref {
        let path = field.field_path.clone();
        return field_of(pod, &path).map(Some).ok_or(EnvError::Field { variable: variable(), path });
    }
    let Some((object, KeyRef { key, optional, .. })) = object_of(entry) else {
        let kind = from.unknown.keys().next().cloned().unwrap_or_else(|| "nothing".to_owned());
        return Err(EnvError::Unknown { variable: variable(), kind });
    };
    let data = objects.get(&object).and_then(Option::as_ref);
    match (data, data.and_then(|data| data.get(key))) {
        (_, Some(value)) => text(&object, key, value).map(Some),
        (_, None) if *optional => Ok(None),
        (Some(_), None) => Err(EnvError::NoKey { variable: variable(), key: key.clone(), object }),
        (None, None) => Err(EnvError::NoObject { object }),
    }
}

fn object_of(entry: &Variable) -> Option<(Object, &KeyRef)> {
    // A value beside the source: the API server refuses it, and the kubelet takes the value.
    let from = entry.value_from.as_ref().filter(|_| entry.value.is_empty())?;
    let secret = from.secret_key_ref.as_ref().map(|key| (Object::Secret(key.name.clone()), key));
    let config_map =
        || from.config_map_key_ref.as_ref().map(|key| (Object::ConfigMap(key.name.clone()), key));
    secret.or_else(config_map)
}

fn may_lack(entry: &Variable) -> bool {
    object_of(entry).is_some_and(|(_, key)| key.optional)
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

/// What the downward API gives to variables.
fn field_of(pod: &Value, path: &str) -> Option<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let joined = |list: &Value, field: &str| {
        let addresses = list.as_array()?.iter().filter_map(|entry| entry[field].as_str());
        Some(addresses.collect::<Vec<_>>().join(","))
    };
    let (metadata, status) = (&pod["metadata"], &pod["status"]);
    match path {
        "metadata.name" => text(&metadata["name"]),
        "metadata.namespace" => text(&metadata["namespace"]),
        "metadata.uid" => text(&metadata["uid"]),
        "spec.nodeName" => text(&pod["spec"]["nodeName"]),
        "spec.serviceAccountName" => text(&pod["spec"]["serviceAccountName"]),
        "status.hostIP" => text(&status["hostIP"]),
        "status.hostIPs" => joined(&status["hostIPs"], "ip"),
        "status.podIP" => text(&status["podIP"]),
        "status.podIPs" => joined(&status["podIPs"], "ip"),
        _ => {
            let (map, key) = path.strip_prefix("metadata.")?.strip_suffix("']")?.split_once("['")?;
            // A label that lacks is an empty value.
            matches!(map, "labels" | "annotations").then(|| text(&metadata[map][key]).unwrap_or_default())
        }
    }
}

fn text(object: &Object, key: &str, value: &[u8]) -> Result<String, EnvError> {
    let not_text = |_| EnvError::NotText { key: key.to_owned(), object: object.clone() };
    String::from_utf8(value.to_vec()).map_err(not_text)
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
    fn each_way_to_give_a_value() {
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
    fn the_downward_api() {
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
    fn what_lacks_is_named() {
        let says = |from: &Value| {
            read(&json!({ "env": [{ "name": "U", "valueFrom": from }] })).unwrap_err().to_string()
        };
        assert_snapshot!(says(&secret("none", "k")), @"Secret 'none' does not exist, and the container's environment refers to it");
        assert_snapshot!(says(&secret("login", "k")), @"variable 'U' refers to key 'k' of Secret 'login', which has no such key");
        assert_snapshot!(says(&secret("bytes", "k")), @"key 'k' of Secret 'bytes' is not UTF-8");
        assert_snapshot!(says(&json!({ "fieldRef": { "fieldPath": "status.phase" } })), @"variable 'U' refers to the pod's field 'status.phase', which can't be known here");
        assert_snapshot!(says(&json!({ "resourceFieldRef": { "resource": "limits.cpu" } })), @"variable 'U' comes from resourceFieldRef, which is not resolved: give it as a value or from a Secret");
        let whole = json!({ "envFrom": [{ "secretRef": { "name": "none" } }] });
        assert_snapshot!(read(&whole).unwrap_err(), @"Secret 'none' does not exist, and the container's environment refers to it");
    }

    #[test]
    fn only_what_is_needed_is_read() {
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
