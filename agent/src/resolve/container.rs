//! The CouchDB container in a pod's spec, and what of it makes its environment.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// A container, as far as its environment goes.
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

/// Where one value comes from. Exactly one is set; one that this agent doesn't know leaves all empty.
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

/// The CouchDB container of a pod: the one that is named; else `couchdb`; else the StatefulSet's namesake; else the one
/// whose image is called so; else the only one beside the agent. As the webhook finds it: the namesake gives way where its
/// image says nothing of CouchDB and one other's is `couchdb` exactly.
pub(super) fn find(pod: &Value, wanted: Option<&str>, set: &str) -> Result<Container, Vec<String>> {
    let containers = pod["spec"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let parsed = containers.iter().filter_map(|container| Container::deserialize(container).ok());
    let mut others: Vec<_> =
        parsed.filter(|container| container.name != contract::objects::AGENT_CONTAINER).collect();
    let named = |name: &str| others.iter().position(|container| container.name == name);
    let by_image = |is_it: &dyn Fn(&str) -> bool| {
        let mut found =
            others.iter().enumerate().filter(|(_, container)| is_it(image_name(&container.image)));
        let first = found.next().map(|(index, _)| index);
        first.filter(|_| found.next().is_none())
    };
    let namesake = named(set);
    let says_so = |index: &usize| image_name(&others[*index].image).contains(contract::name::COUCHDB);
    let found = match wanted {
        Some(wanted) => named(wanted),
        None => named(contract::name::COUCHDB)
            .or_else(|| namesake.filter(says_so))
            .or_else(|| by_image(&|image| image == contract::name::COUCHDB))
            .or_else(|| {
                by_image(&|image| image.ends_with(contract::name::COUCHDB)).filter(|_| namesake.is_none())
            })
            .or(namesake)
            .or_else(|| by_image(&|image| image.contains(contract::name::COUCHDB)))
            .or((others.len() == 1).then_some(0)),
    };
    match found {
        Some(index) => Ok(others.swap_remove(index)),
        None => Err(others.into_iter().map(|container| container.name).collect()),
    }
}

/// The last part of the image's path, without tag and digest.
fn image_name(image: &str) -> &str {
    let path = image.split('@').next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    last.split(':').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_couchdb_container_is_found_as_the_webhook_finds_it() {
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
