//! The CouchDB container in a pod's spec, and the fields that make its environment.

use std::collections::BTreeMap;

use contract::container::choose;
use serde::Deserialize;
use serde_json::Value;

/// The fields of a container that make its environment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) env: Vec<Variable>,
    pub(super) env_from: Vec<Source>,
}

/// One entry of `env`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) value_from: Option<ValueFrom>,
}

/// A reference to a value. Exactly one field is set; a kind of reference that is not read here is in `unknown`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ValueFrom {
    pub(super) secret_key_ref: Option<KeyRef>,
    pub(super) config_map_key_ref: Option<KeyRef>,
    pub(super) field_ref: Option<FieldRef>,
    #[serde(flatten)]
    pub(super) unknown: BTreeMap<String, Value>,
}

/// One entry of `envFrom`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Source {
    pub(super) prefix: String,
    pub(super) secret_ref: Option<ObjectRef>,
    pub(super) config_map_ref: Option<ObjectRef>,
}

/// A whole Secret or ConfigMap.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ObjectRef {
    pub(super) name: String,
    pub(super) optional: bool,
}

/// A key of a Secret or ConfigMap.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct KeyRef {
    pub(super) name: String,
    pub(super) key: String,
    pub(super) optional: bool,
}

/// A field of the pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct FieldRef {
    pub(super) field_path: String,
}

/// Returns the container of the wanted name, else the one that the webhook would choose. The error contains the names of
/// all containers but the agent's.
pub(super) fn find(pod: &Value, wanted: Option<&str>, set: &str) -> Result<Container, Vec<String>> {
    let containers = pod["spec"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let parsed = containers.iter().filter_map(|container| Container::deserialize(container).ok());
    let mut others: Vec<_> =
        parsed.filter(|container| container.name != contract::objects::AGENT_CONTAINER).collect();
    let known = others.iter().map(|container| (container.name.as_str(), container.image.as_str()));
    let found = match wanted {
        Some(wanted) => others.iter().position(|container| container.name == wanted),
        None => choose(set, known).map(|(index, _)| index),
    };
    match found {
        Some(index) => Ok(others.swap_remove(index)),
        None => Err(others.into_iter().map(|container| container.name).collect()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_couchdb_container_is_the_one_that_the_webhook_chooses() {
        let pick = |containers: &[(&str, &str)], wanted: Option<&str>| {
            let containers: Vec<_> =
                containers.iter().map(|(name, image)| json!({ "name": name, "image": image })).collect();
            find(&json!({ "spec": { "containers": containers } }), wanted, "orders").map(|found| found.name)
        };
        let agent = ("couchdiscover-agent", "couchdiscover-agent:1");
        let backup = ("backup", "example.com/couchdb-backup:1");
        assert_eq!(pick(&[("orders", "x"), ("couchdb", "y"), agent], None).as_deref(), Ok("couchdb"));
        assert_eq!(pick(&[("orders", "x"), backup, agent], None).as_deref(), Ok("orders"));
        assert_eq!(pick(&[("orders", "fabric-peer:2"), ("db", "couchdb:3")], None).as_deref(), Ok("db"));
        assert_eq!(pick(&[("orders", "my-couchdb"), ("db", "couchdb:3")], None).as_deref(), Ok("orders"));
        let exporter = ("exporter", "couchdb-exporter:1");
        assert_eq!(pick(&[exporter, ("db", "fabric-couchdb:3")], None).as_deref(), Ok("db"));
        assert_eq!(pick(&[("db", "a:5000/couchdb:3@sha256:0"), backup], None).as_deref(), Ok("db"));
        assert_eq!(pick(&[("db", "my-couchdb"), ("log", "x")], None).as_deref(), Ok("db"));
        assert_eq!(pick(&[("db", "x"), agent], None).as_deref(), Ok("db"));
        assert_eq!(pick(&[("db", "x"), ("log", "y")], Some("log")).as_deref(), Ok("log"));
        assert_eq!(pick(&[("db", "x"), ("log", "y")], None), Err(vec!["db".to_owned(), "log".to_owned()]));
        assert_eq!(pick(&[("couchdb", "x")], Some("no")), Err(vec!["couchdb".to_owned()]));
    }
}
