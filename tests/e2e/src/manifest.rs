//! Manifests of users, injection without a server, and the pods of an injected StatefulSet.

use inject::{Decision, Defaults, Outcome, Question, Settings, decide};
use sandbox::kubelet::{self, Pod, PodPlacement};
use serde_json::{Value, json};
use thiserror::Error;

/// The manifest that the README starts with.
pub const EXAMPLE: &str = include_str!("../../../manifests/examples/couchdb.yaml");

/// A reason for a manifest not to result in pods.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// The file is not YAML.
    #[error("the manifest is not YAML")]
    Yaml(#[source] serde_saphyr::Error),
    /// The file contains no StatefulSet.
    #[error("the manifest contains no StatefulSet. Fix: add the one that runs CouchDB to the file")]
    NoStatefulSet,
    /// A container's environment refers to a missing object.
    #[error("failed to compute the environment of pod {ordinal}")]
    Environment {
        /// The pod's ordinal.
        ordinal: u64,
        /// The missing object or key.
        source: kubelet::EnvError,
    },
}

/// Parses a YAML stream into its objects, in order.
pub fn objects(text: &str) -> Result<Vec<Value>, ManifestError> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(text).map_err(ManifestError::Yaml)?;
    Ok(objects.into_iter().filter(|object| !object.is_null()).collect())
}

/// The first StatefulSet of these objects.
pub fn statefulset(objects: &[Value]) -> Result<&Value, ManifestError> {
    objects.iter().find(|object| object["kind"] == "StatefulSet").ok_or(ManifestError::NoStatefulSet)
}

/// Injects the agent into a StatefulSet, without a server.
///
/// # Panics
///
/// If the webhook denies the StatefulSet, or its patch doesn't apply.
pub fn injected(statefulset: &Value) -> Value {
    let settings = Settings {
        agent_image: "couchdiscover-agent:test".to_owned(),
        cluster_domain: DOMAIN.to_owned(),
        version: "0.0.0".to_owned(),
        defaults: Defaults::default(),
    };
    let object = statefulset.to_string();
    let Decision { outcome, patch, .. } =
        decide(&settings, &Question { object: &object, old: None, namespace: Some(NAMESPACE) });
    assert_eq!(outcome, Outcome::Inject);
    let patch: json_patch::Patch = serde_json::from_str(&patch).expect("the patch is a JSON patch");
    let mut injected = statefulset.clone();
    json_patch::patch(&mut injected, &patch).expect("the patch applies");
    // The API server would set it from the URL.
    injected["metadata"]["namespace"] = json!(NAMESPACE);
    injected
}

/// The Secret that the webhook creates for a labelled StatefulSet, with these values.
pub fn companion_secret(statefulset: &Value, cookie: &str, auth_secret: &str) -> Value {
    let metadata = &statefulset["metadata"];
    let name = contract::objects::companion(metadata["name"].as_str().unwrap_or_default());
    let namespace = metadata["namespace"].as_str().unwrap_or(NAMESPACE);
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": name, "namespace": namespace },
        "stringData": {
            contract::objects::ERLANG_COOKIE_KEY: cookie,
            contract::objects::AUTH_SECRET_KEY: auth_secret,
        },
    })
}

/// The pods of the injected example with this many replicas, after `change` was applied to each of its objects.
///
/// # Panics
///
/// If the example can't be injected.
pub fn example_pods(count: usize, change: impl Fn(&mut Value)) -> Result<Vec<Pod>, ManifestError> {
    example_pods_in(DOMAIN, count, change)
}

/// Like [`example_pods`], in a cluster with another DNS domain.
///
/// # Panics
///
/// If the example can't be injected.
pub fn example_pods_in(
    domain: &str,
    count: usize,
    change: impl Fn(&mut Value),
) -> Result<Vec<Pod>, ManifestError> {
    let mut objects = objects(EXAMPLE)?;
    for object in &mut objects {
        match object["kind"].as_str() {
            Some("Secret") => object["stringData"]["password"] = json!(PASSWORD),
            Some("StatefulSet") => object["spec"]["replicas"] = json!(count),
            _ => {}
        }
        // The API server would set it from the URL.
        object["metadata"]["namespace"] = json!(NAMESPACE);
        change(object);
    }
    let injected = injected(statefulset(&objects)?);
    objects.push(companion_secret(&injected, "ck", "sec"));
    pods_in(domain, &injected, objects)
}

/// The pods of an injected StatefulSet, as the kubelet would start them.
pub fn pods(statefulset: &Value, secrets: Vec<Value>) -> Result<Vec<Pod>, ManifestError> {
    pods_in(DOMAIN, statefulset, secrets)
}

fn pods_in(domain: &str, statefulset: &Value, secrets: Vec<Value>) -> Result<Vec<Pod>, ManifestError> {
    let cluster = kubelet::Cluster { secrets, domain: domain.to_owned(), ..kubelet::Cluster::default() };
    let mut pods = Vec::new();
    for ordinal in kubelet::ordinals(statefulset) {
        let placement = PodPlacement::at(&format!("10.42.0.{}", 10 + ordinal));
        let pod = cluster.pod(statefulset, ordinal, &placement);
        pods.push(pod.map_err(|source| ManifestError::Environment { ordinal, source })?);
    }
    Ok(pods)
}

/// The namespace of objects without one in their manifest.
pub const NAMESPACE: &str = "default";
/// The admin password in tests, with characters that are special in URLs and shells.
pub const PASSWORD: &str = "s3:cr@t/ %$'\"ü";
const DOMAIN: &str = "cluster.local";
