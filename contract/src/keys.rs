//! Label and annotation keys, all under one domain.

/// The domain of every key.
pub const DOMAIN: &str = "couchdiscover.io";

/// Label on a StatefulSet: `enabled` asks for injection, `disabled` takes it out again.
///
/// The webhook's objectSelector asks for the existence of this key, so an unlabelled workload never meets it.
pub const INJECT: &str = "couchdiscover.io/inject";
/// Value of [`INJECT`] that asks for injection.
pub const INJECT_ENABLED: &str = "enabled";
/// Value of [`INJECT`] that opts out.
pub const INJECT_DISABLED: &str = "disabled";

/// Annotation on the pod template: compact JSON that names what the webhook added, so that it can take exactly
/// that out again.
pub const INJECTED: &str = "couchdiscover.io/injected";

/// Name of the CouchDB container, where it can't be told from the template.
pub const CONTAINER: &str = "couchdiscover.io/container";
/// Size at which the first cluster is founded; wins over `spec.replicas`.
pub const CLUSTER_SIZE: &str = "couchdiscover.io/cluster-size";
/// `name` or `name/key` of an existing Secret that holds the Erlang cookie.
pub const ERLANG_COOKIE_SECRET: &str = "couchdiscover.io/erlang-cookie-secret";
/// `name` or `name/key` of an existing Secret that holds the authority of CouchDB's certificates: it is asked by https.
pub const COUCHDB_CA_SECRET: &str = "couchdiscover.io/couchdb-ca-secret";
/// Image of the agent.
pub const AGENT_IMAGE: &str = "couchdiscover.io/agent-image";
/// Pull policy of the agent's image: `Always`, `IfNotPresent` or `Never`.
pub const AGENT_IMAGE_PULL_POLICY: &str = "couchdiscover.io/agent-image-pull-policy";
/// Log level of the agent: `error`, `warn`, `info`, `debug` or `trace`.
pub const AGENT_LOG_LEVEL: &str = "couchdiscover.io/agent-log-level";
/// Log format of the agent: `text` or `json`.
pub const AGENT_LOG_FORMAT: &str = "couchdiscover.io/agent-log-format";
/// CPU request of the agent, a Kubernetes quantity.
pub const AGENT_CPU_REQUEST: &str = "couchdiscover.io/agent-cpu-request";
/// Memory request of the agent, a Kubernetes quantity.
pub const AGENT_MEMORY_REQUEST: &str = "couchdiscover.io/agent-memory-request";
/// CPU limit of the agent, a Kubernetes quantity.
pub const AGENT_CPU_LIMIT: &str = "couchdiscover.io/agent-cpu-limit";
/// Memory limit of the agent, a Kubernetes quantity.
pub const AGENT_MEMORY_LIMIT: &str = "couchdiscover.io/agent-memory-limit";
/// How the agent is added: `container`, or `native` (an init container with `restartPolicy: Always`).
pub const SIDECAR: &str = "couchdiscover.io/sidecar";
/// Whether the pod is ready only as a member: `joined` or `off`.
pub const READINESS: &str = "couchdiscover.io/readiness";
/// Comma list of variable names that are never injected.
pub const KEEP: &str = "couchdiscover.io/keep";
/// Any new value renders the injection anew at the next update.
pub const REFRESH: &str = "couchdiscover.io/refresh";

/// Every annotation that a user may set on a StatefulSet. Anything else under [`DOMAIN`] is a spelling mistake.
pub const STATEFULSET_ANNOTATIONS: [&str; 17] = [
    AGENT_CPU_LIMIT,
    AGENT_CPU_REQUEST,
    AGENT_IMAGE,
    AGENT_IMAGE_PULL_POLICY,
    AGENT_LOG_FORMAT,
    AGENT_LOG_LEVEL,
    AGENT_MEMORY_LIMIT,
    AGENT_MEMORY_REQUEST,
    CLUSTER_SIZE,
    CONTAINER,
    COUCHDB_CA_SECRET,
    ERLANG_COOKIE_SECRET,
    KEEP,
    READINESS,
    REFRESH,
    SIDECAR,
    FORM_ANEW,
];

/// Confirms, with the lost cluster's uuid as its value, that empty nodes may found a new cluster.
pub const FORM_ANEW: &str = "couchdiscover.io/form-anew";

/// On the Lease: when the cluster was founded, RFC 3339.
pub const FORMED_AT: &str = "couchdiscover.io/formed-at";
/// On the Lease: the founded cluster's uuid.
pub const FORMED_UUID: &str = "couchdiscover.io/uuid";
/// On the Lease: how many nodes founded it.
pub const FORMED_SIZE: &str = "couchdiscover.io/size";
/// On the Lease and on the authority's Secret: who understands what is in it, a number.
pub const RECORD_SCHEMA: &str = "couchdiscover.io/schema";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_under_the_domain_and_listed_once() {
        let mut seen = STATEFULSET_ANNOTATIONS.to_vec();
        seen.extend([INJECT, INJECTED, FORMED_AT, FORMED_UUID, FORMED_SIZE, RECORD_SCHEMA]);
        assert!(seen.iter().all(|key| key.strip_prefix(DOMAIN).is_some_and(|rest| rest.starts_with('/'))));
        let before = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), before);
    }
}
