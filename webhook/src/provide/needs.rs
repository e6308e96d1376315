//! The fields of a labelled StatefulSet, and the objects it needs.

use std::borrow::Cow;
use std::collections::BTreeMap;

use contract::{keys, objects};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::Resource;
use kube::api::ObjectMeta;
use serde::{Deserialize, Deserializer};

/// The fields of a StatefulSet that decide. The rest, which is most of it, is skipped while it is parsed.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Labelled {
    #[serde(deserialize_with = "lean_metadata")]
    metadata: ObjectMeta,
    spec: Spec,
}

#[derive(Clone, Debug, Deserialize)]
struct Spec {
    replicas: Option<u32>,
    ordinals: Option<Ordinals>,
    template: Template,
}

#[derive(Clone, Debug, Deserialize)]
struct Ordinals {
    #[serde(default)]
    start: u32,
}

#[derive(Clone, Debug, Deserialize)]
struct Template {
    #[serde(default)]
    metadata: TemplateMetadata,
    spec: PodSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct TemplateMetadata {
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    service_account_name: Option<String>,
    containers: Vec<Container>,
    #[serde(default)]
    init_containers: Vec<Container>,
}

#[derive(Clone, Debug, Deserialize)]
struct Container {
    name: Option<String>,
    #[serde(default)]
    env: Vec<Variable>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Variable {
    value_from: Option<ValueSource>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ValueSource {
    secret_key_ref: Option<SecretKey>,
}

#[derive(Clone, Debug, Deserialize)]
struct SecretKey {
    name: String,
}

impl Labelled {
    /// `spec.replicas`.
    pub(crate) fn replicas(&self) -> u32 {
        self.spec.replicas.unwrap_or(1)
    }

    /// `spec.ordinals.start`.
    pub(crate) fn first_ordinal(&self) -> u32 {
        self.spec.ordinals.as_ref().map_or(0, |ordinals| ordinals.start)
    }
}

/// The objects that a StatefulSet needs, and the facts they are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Needs {
    /// The StatefulSet's uid. It owns the RoleBinding, which is deleted with it.
    pub(crate) uid: String,
    /// The service account of the pods.
    pub(crate) account: String,
    /// `true` if the pods refer to the StatefulSet's own Secret.
    pub(crate) secret: bool,
    /// `true` if the template contains the agent.
    pub(crate) injected: bool,
}

impl Needs {
    /// Returns `None` for a StatefulSet that is being deleted, which needs nothing.
    pub(crate) fn of(set: &Labelled) -> Option<Self> {
        if set.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let Template { metadata, spec } = &set.spec.template;
        let companion = objects::companion(set.metadata.name.as_deref()?);
        // A native sidecar is among the init containers.
        let containers = spec.containers.iter().chain(&spec.init_containers);
        let variables = containers.flat_map(|container| &container.env);
        let mut secrets =
            variables.filter_map(|variable| variable.value_from.as_ref()?.secret_key_ref.as_ref());
        let has_agent = spec
            .containers
            .iter()
            .chain(&spec.init_containers)
            .any(|container| container.name.as_deref() == Some(objects::AGENT_CONTAINER));
        // Kubernetes treats an empty name as none.
        let account = spec.service_account_name.as_deref().filter(|name| !name.is_empty());
        Some(Self {
            uid: set.metadata.uid.clone()?,
            account: account.unwrap_or("default").to_owned(),
            // Secrets of other names are the user's own.
            secret: secrets.any(|secret| secret.name == companion),
            // After opting out, the record describes variables alone.
            injected: has_agent
                && metadata.annotations.as_ref().is_some_and(|all| all.contains_key(keys::INJECTED)),
        })
    }
}

/// Namespace and name of a StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn of(set: &Labelled) -> Self {
        let ObjectMeta { namespace, name, .. } = &set.metadata;
        Self { namespace: namespace.clone().unwrap_or_default(), name: name.clone().unwrap_or_default() }
    }
}

/// Skips managed fields, and annotations but for a target size, which are larger than everything that is kept.
fn lean_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Lean {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        resource_version: Option<String>,
        deletion_timestamp: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>,
        #[serde(default)]
        annotations: Option<SizeChange>,
    }
    #[derive(Deserialize)]
    struct SizeChange {
        #[serde(rename = "couchdiscover.io/target-size")]
        target: Option<String>,
        #[serde(rename = "couchdiscover.io/scale-down")]
        mode: Option<String>,
    }
    let Lean { name, namespace, uid, resource_version, deletion_timestamp, annotations } =
        Lean::deserialize(deserializer)?;
    // Most StatefulSets have neither, or only the mode.
    let annotations = annotations.and_then(|SizeChange { target, mode }| {
        let [target, mode] = [(keys::TARGET_SIZE, target?), (keys::SCALE_DOWN, mode?)];
        Some([target, mode].map(|(key, value)| (key.to_owned(), value)).into())
    });
    Ok(ObjectMeta {
        name,
        namespace,
        uid,
        resource_version,
        deletion_timestamp,
        annotations,
        ..ObjectMeta::default()
    })
}

impl Resource for Labelled {
    type DynamicType = ();
    type Scope = kube::core::NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        StatefulSet::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        StatefulSet::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        StatefulSet::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        StatefulSet::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn needs(metadata: Value, template: Value) -> Option<Needs> {
        let mut set = json!({ "metadata": { "name": "db", "uid": "u" }, "spec": { "template": template } });
        set["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
        Needs::of(&serde_json::from_value(set).unwrap())
    }

    fn reference(secret: &str) -> Value {
        json!({ "env": [{ "name": "A", "value": "x" }, { "name": "B", "valueFrom": { "secretKeyRef": { "name": secret, "key": "k" } } }] })
    }

    #[test]
    fn a_secret_is_needed_if_a_container_refers_to_it() {
        let secret = |containers: Value| {
            needs(json!({}), json!({ "spec": { "containers": containers } })).unwrap().secret
        };
        assert!(secret(json!([{}, reference("db-couchdiscover")])));
        assert!(!secret(json!([reference("cookies"), reference("couchdiscover")])));
        let native =
            json!({ "spec": { "containers": [], "initContainers": [reference("db-couchdiscover")] } });
        assert!(needs(json!({}), native).unwrap().secret);
    }

    #[test]
    fn the_account_is_the_pods_own_or_the_namespaces_default() {
        let account = |spec: Value| needs(json!({}), json!({ "spec": spec })).unwrap().account;
        assert_eq!(account(json!({ "containers": [] })), "default");
        assert_eq!(account(json!({ "containers": [], "serviceAccountName": "" })), "default");
        assert_eq!(account(json!({ "containers": [], "serviceAccountName": "couch" })), "couch");
    }

    #[test]
    fn the_record_marks_an_injected_template_and_a_deleted_statefulset_needs_nothing() {
        let template = |annotations: Value| {
            let containers = json!([{ "name": objects::AGENT_CONTAINER }]);
            json!({ "metadata": { "annotations": annotations }, "spec": { "containers": containers } })
        };
        let injected = template(json!({ keys::INJECTED: "{}" }));
        assert!(needs(json!({}), injected.clone()).unwrap().injected);
        let mut without_agent = injected;
        without_agent["spec"]["containers"] = json!([]);
        assert!(
            !needs(json!({}), without_agent).unwrap().injected,
            "opted out, and in again while the webhook was down"
        );
        assert!(!needs(json!({}), template(Value::Null)).unwrap().injected);
        let deleted = json!({ "deletionTimestamp": "2026-01-01T00:00:00Z" });
        assert_eq!(needs(deleted, template(Value::Null)), None);
    }

    #[test]
    fn annotations_and_managed_fields_are_not_kept() {
        let set = json!({
            "metadata": {
                "name": "db", "uid": "u", "annotations": { "big": "x" }, "managedFields": [{ "manager": "m" }]
            },
            "spec": { "template": { "spec": { "containers": [] } } },
        });
        let read: Labelled = serde_json::from_value(set).unwrap();
        assert_eq!((read.meta().annotations.as_ref(), read.meta().managed_fields.as_ref()), (None, None));
    }
}
