//! What a user applies, and what injection makes of it.

use inject::{Decision, Outcome, Question, Settings, decide};
use sandbox::kubelet::{self, Pod, PodPlacement};
use serde_json::{Value, json};
use thiserror::Error;

/// The newcomer's first file.
pub const EXAMPLE: &str = include_str!("../../../manifests/examples/couchdb.yaml");

/// Why a manifest can't be played.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// It is not YAML.
    #[error("the manifest is not YAML")]
    Yaml(#[source] serde_saphyr::Error),
    /// It has no StatefulSet.
    #[error("the manifest has no StatefulSet, and that is what is labelled")]
    NoStatefulSet,
    /// A container's environment refers to what isn't there.
    #[error("failed to make the environment of pod {ordinal}")]
    Environment {
        /// The pod's ordinal.
        ordinal: u64,
        /// What lacks.
        source: kubelet::EnvError,
    },
}

/// The objects of a YAML stream, in order.
pub fn objects(text: &str) -> Result<Vec<Value>, ManifestError> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(text).map_err(ManifestError::Yaml)?;
    Ok(objects.into_iter().filter(|object| !object.is_null()).collect())
}

/// The one StatefulSet among them.
pub fn statefulset(objects: &[Value]) -> Result<&Value, ManifestError> {
    objects.iter().find(|object| object["kind"] == "StatefulSet").ok_or(ManifestError::NoStatefulSet)
}

/// What the webhook makes of a StatefulSet, without a server between.
///
/// # Panics
///
/// When it denies it, or its patch doesn't apply: neither may happen to the example.
pub fn injected(statefulset: &Value) -> Value {
    let settings = Settings {
        agent_image: "couchdiscover-agent:test".to_owned(),
        cluster_domain: DOMAIN.to_owned(),
        version: "0.0.0".to_owned(),
    };
    let object = statefulset.to_string();
    let Decision { outcome, patch, .. } =
        decide(&settings, &Question { object: &object, old: None, namespace: Some(NAMESPACE) });
    assert_eq!(outcome, Outcome::Inject);
    let patch: json_patch::Patch = serde_json::from_str(&patch).expect("a JSON patch");
    let mut injected = statefulset.clone();
    json_patch::patch(&mut injected, &patch).expect("a patch that applies");
    injected["metadata"]["namespace"] = json!(NAMESPACE);
    injected
}

/// The Secret that the webhook's controller makes for a labelled StatefulSet, in its namespace.
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

/// The pods of the injected example, so many of them, with each of its objects changed before.
///
/// # Panics
///
/// When the example can't be injected.
pub fn example_pods(count: usize, change: impl Fn(&mut Value)) -> Result<Vec<Pod>, ManifestError> {
    pods_of(count, DOMAIN, change)
}

/// The same, in a cluster of another domain.
///
/// # Panics
///
/// When the example can't be injected.
pub fn pods_of(count: usize, domain: &str, change: impl Fn(&mut Value)) -> Result<Vec<Pod>, ManifestError> {
    let mut objects = objects(EXAMPLE)?;
    for object in &mut objects {
        match object["kind"].as_str() {
            Some("Secret") => object["stringData"]["password"] = json!(PASSWORD),
            Some("StatefulSet") => object["spec"]["replicas"] = json!(count),
            _ => {}
        }
        object["metadata"]["namespace"] = json!(NAMESPACE);
        change(object);
    }
    let injected = injected(statefulset(&objects)?);
    objects.push(companion_secret(&injected, "ck", "sec"));
    pods_in(domain, &injected, objects)
}

/// The pods of a StatefulSet, as the kubelet would start them.
pub fn pods(statefulset: &Value, secrets: Vec<Value>) -> Result<Vec<Pod>, ManifestError> {
    pods_in(DOMAIN, statefulset, secrets)
}

fn pods_in(domain: &str, statefulset: &Value, secrets: Vec<Value>) -> Result<Vec<Pod>, ManifestError> {
    let cluster = kubelet::Cluster { secrets, domain: domain.to_owned(), ..kubelet::Cluster::default() };
    let pod = |ordinal| {
        let seen = PodPlacement::at(&format!("10.42.0.{}", 10 + ordinal));
        cluster
            .pod(statefulset, ordinal, &seen)
            .map_err(|source| ManifestError::Environment { ordinal, source })
    };
    kubelet::ordinals(statefulset).map(pod).collect()
}

/// The namespace of everything on the stage.
pub const NAMESPACE: &str = "default";
/// The example's password here, with characters that a URL or a shell would take for something else.
pub const PASSWORD: &str = "s3:cr@t/ %$'\"ü";
const DOMAIN: &str = "cluster.local";
