//! The volumes that the agent mounts.

use contract::objects;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::read::Planning;
use crate::read::annotations::SecretKey;

/// A volume of the pod.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Volume {
    pub(crate) name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    projected: Option<&'static RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<Value>,
}

/// A mount of one of the volumes in the agent's container.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mount {
    name: &'static str,
    mount_path: &'static str,
    read_only: bool,
}

/// The path of CouchDB's authority in the agent's container, without the file's name.
pub(crate) const CA_PATH: &str = "/var/run/couchdiscover/couchdb-ca";
const CA_VOLUME: &str = "couchdiscover-couchdb-ca";
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const TOKEN_VOLUME: &str = "couchdiscover-token";

/// Returns the volumes that the agent needs.
pub(crate) fn additions(planning: &Planning<'_>) -> Vec<Volume> {
    let token = planning.needs_token().then(token);
    token.into_iter().chain(planning.annotations.couchdb_ca.map(authority)).collect()
}

/// Returns the mounts of these volumes.
pub(super) fn mounts(planning: &Planning<'_>) -> Vec<Mount> {
    let token = Mount { name: TOKEN_VOLUME, mount_path: TOKEN_PATH, read_only: true };
    let authority = Mount { name: CA_VOLUME, mount_path: CA_PATH, read_only: true };
    let token = planning.needs_token().then_some(token);
    token.into_iter().chain(planning.annotations.couchdb_ca.map(|_| authority)).collect()
}

/// Token, authority and namespace in the files in which Kubernetes itself would mount them.
///
/// Always a volume of the agent's own: the pod or its ServiceAccount may switch the automatic one off, which the template
/// need not show. Kubernetes adds none where this path has a mount.
fn token() -> Volume {
    Volume { name: TOKEN_VOLUME, projected: serde_json::from_str(TOKEN).ok(), secret: None }
}

/// 3607 s is the lifetime that Kubernetes chooses, and 420 (0644) the default mode.
const TOKEN: &str = concat!(
    r#"{"defaultMode":420,"sources":["#,
    r#"{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},"#,
    r#"{"configMap":{"items":[{"key":"ca.crt","path":"ca.crt"}],"name":"kube-root-ca.crt"}},"#,
    r#"{"downwardAPI":{"items":[{"fieldRef":{"apiVersion":"v1","fieldPath":"metadata.namespace"},"path":"namespace"}]}}"#,
    "]}",
);

/// The authority of CouchDB's certificates. Nothing else of the Secret is mounted, as it may contain a private key.
fn authority(SecretKey { name, key }: SecretKey<'_>) -> Volume {
    // Under this name the agent expects it, whatever its key in the Secret is.
    let items = json!([{"key": key, "path": objects::CA_KEY}]);
    let secret = json!({"defaultMode": 420, "items": items, "secretName": name});
    Volume { name: CA_VOLUME, projected: None, secret: Some(secret) }
}
