//! Names of the Kubernetes objects and Secret keys that more than one part refers to.

/// Name of the sidecar container.
pub const AGENT_CONTAINER: &str = "couchdiscover-agent";
/// ClusterRole that an injected pod's service account is bound to.
pub const AGENT_CLUSTER_ROLE: &str = "couchdiscover-agent";
/// Secret in the webhook's namespace that holds its certificate authority; all replicas share it.
pub const CA_SECRET: &str = "couchdiscover-webhook-ca";
/// Whom the API server names as the author of what the webhook writes.
pub const WEBHOOK_MANAGER: &str = "couchdiscover-webhook";
/// Key of the Erlang cookie in the generated Secret, and the default key of a user's one.
pub const ERLANG_COOKIE_KEY: &str = "erlang-cookie";
/// Default key of the authority in a user's Secret, as cert-manager names it.
pub const CA_KEY: &str = "ca.crt";
/// Key of CouchDB's session secret in the generated Secret.
pub const AUTH_SECRET_KEY: &str = "auth-secret";

/// Name of the Secret, the RoleBinding and the Lease of one StatefulSet.
///
/// ```
/// assert_eq!(contract::objects::companion("orders-db"), "orders-db-couchdiscover");
/// ```
pub fn companion(set: &str) -> String {
    format!("{set}{COMPANION_ENDS}")
}

/// The StatefulSet whose companion has this name; `None`: nobody's has.
///
/// ```
/// assert_eq!(contract::objects::companion_of("orders-db-couchdiscover"), Some("orders-db"));
/// assert_eq!(contract::objects::companion_of("orders-db"), None);
/// ```
pub fn companion_of(name: &str) -> Option<&str> {
    name.strip_suffix(COMPANION_ENDS).filter(|set| !set.is_empty())
}

const COMPANION_ENDS: &str = "-couchdiscover";
