//! Names of Kubernetes objects, and of keys in Secrets.

/// Name of the sidecar container.
pub const AGENT_CONTAINER: &str = "couchdiscover-agent";
/// Beginning of the names of the volumes that are added to pods.
pub const VOLUME_PREFIX: &str = "couchdiscover-";
/// ClusterRole that is bound to the service account of injected pods.
pub const AGENT_CLUSTER_ROLE: &str = "couchdiscover-agent";
/// Secret with the webhook's certificate authority, in the webhook's namespace, shared by its replicas.
pub const CA_SECRET: &str = "couchdiscover-webhook-ca";
/// Namespaces for which the webhook is not called: objects that a cluster needs to start must not wait for it. Neither is it
/// called for its own.
pub const SYSTEM_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];
/// Field manager of the webhook's writes.
pub const WEBHOOK_MANAGER: &str = "couchdiscover-webhook";
/// Key of the Erlang cookie in the generated Secret, and the default key in a user's Secret.
pub const ERLANG_COOKIE_KEY: &str = "erlang-cookie";
/// Default key of the certificate authority in a user's Secret; cert-manager uses the same.
pub const CA_KEY: &str = "ca.crt";
/// Key of CouchDB's session secret in the generated Secret.
pub const AUTH_SECRET_KEY: &str = "auth-secret";

/// Name of the Secret, the RoleBinding and the Lease of one StatefulSet.
///
/// ```
/// assert_eq!(contract::objects::companion("orders-db"), "orders-db-couchdiscover");
/// ```
pub fn companion(set: &str) -> String {
    format!("{set}{COMPANION_SUFFIX}")
}

/// The name of the StatefulSet that the [`companion`] `name` belongs to; `None` if `name` is not a companion's.
///
/// ```
/// assert_eq!(contract::objects::companion_of("orders-db-couchdiscover"), Some("orders-db"));
/// assert_eq!(contract::objects::companion_of("orders-db"), None);
/// ```
pub fn companion_of(name: &str) -> Option<&str> {
    name.strip_suffix(COMPANION_SUFFIX).filter(|set| !set.is_empty())
}

const COMPANION_SUFFIX: &str = "-couchdiscover";
