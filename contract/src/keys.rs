//! Keys of labels and annotations, all under one domain.

/// The domain of every key.
pub const DOMAIN: &str = "couchdiscover.io";

/// Label on a StatefulSet: `enabled` requests the injection, `disabled` removes it.
///
/// The webhook's objectSelector requires this key, so workloads without the label are never sent to the webhook.
pub const INJECT: &str = "couchdiscover.io/inject";
/// Value of [`INJECT`] that requests the injection.
pub const INJECT_ENABLED: &str = "enabled";
/// Value of [`INJECT`] that removes the injection.
pub const INJECT_DISABLED: &str = "disabled";

/// Annotation on the pod template: the additions of the webhook as compact JSON, so that it can remove exactly these.
pub const INJECTED: &str = "couchdiscover.io/injected";

/// Name of the CouchDB container, if the [rule](crate::container::choose) does not find it.
pub const CONTAINER: &str = "couchdiscover.io/container";
/// The number of nodes that form the first cluster. Takes precedence over `spec.replicas`.
pub const CLUSTER_SIZE: &str = "couchdiscover.io/cluster-size";
/// `name` or `name/key` of an existing Secret with the Erlang cookie.
pub const ERLANG_COOKIE_SECRET: &str = "couchdiscover.io/erlang-cookie-secret";
/// The way in which CouchDB is given the cookie: `variable`, or `flag` where the image cannot write it to a file.
pub const ERLANG_COOKIE: &str = "couchdiscover.io/erlang-cookie";
/// Comma-separated names of other containers that need the Erlang cookie, such as clouseau.
pub const COOKIE_CONTAINERS: &str = "couchdiscover.io/cookie-containers";
/// `name` or `name/key` of an existing Secret with the authority of CouchDB's certificates. Makes the agent use https.
pub const COUCHDB_CA_SECRET: &str = "couchdiscover.io/couchdb-ca-secret";
/// Image of the agent.
pub const AGENT_IMAGE: &str = "couchdiscover.io/agent-image";
/// Pull policy of the agent's image: `Always`, `IfNotPresent` or `Never`.
pub const AGENT_IMAGE_PULL_POLICY: &str = "couchdiscover.io/agent-image-pull-policy";
/// Comma-separated names of Secrets that the agent's image is pulled with.
pub const AGENT_IMAGE_PULL_SECRETS: &str = "couchdiscover.io/agent-image-pull-secrets";
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
/// Kind of the agent's container: `container`, or `native` (an init container with `restartPolicy: Always`).
pub const SIDECAR: &str = "couchdiscover.io/sidecar";
/// Readiness of the pod: `joined` (ready only as a member) or `off` (the agent has no readiness probe).
pub const READINESS: &str = "couchdiscover.io/readiness";
/// Use of the Kubernetes API: `auto` (the default), or `off`: agents never call it and have no token.
pub const KUBERNETES: &str = "couchdiscover.io/kubernetes";
/// Comma-separated names of variables that are never injected.
pub const KEEP: &str = "couchdiscover.io/keep";
/// Any new value re-renders the injection. Restarts the pods one by one.
pub const REFRESH: &str = "couchdiscover.io/refresh";
/// The parts of an injection that opting out removes: `agent` (the default) or `everything`.
pub const ON_REMOVAL: &str = "couchdiscover.io/on-removal";
/// The uuid of a cluster whose data is lost for good. Allows the empty nodes to form a new cluster, once.
pub const FORM_ANEW: &str = "couchdiscover.io/form-anew";
/// The tokens that `ShardsLost` refusals print, separated by commas. Accepts that the only copies on the lost volumes are
/// gone.
pub const ACCEPT_LOSS: &str = "couchdiscover.io/accept-loss";
/// Comma-separated Erlang names, or patterns with `*` and `?`, of nodes that are members of the cluster without being pods
/// of this StatefulSet.
pub const OTHER_MEMBERS: &str = "couchdiscover.io/other-members";
/// The zone that the agent writes into its own node's `_nodes` entry, by which CouchDB places copies: `topology` for that of the
/// Kubernetes node, or a literal.
pub const ZONE: &str = "couchdiscover.io/zone";
/// Value of [`ZONE`] for the label `topology.kubernetes.io/zone`.
pub const ZONE_TOPOLOGY: &str = "topology";
/// Label of a pod with the zone of its Kubernetes node. Set by Kubernetes itself.
pub const TOPOLOGY_ZONE: &str = "topology.kubernetes.io/zone";
/// The number of nodes that the cluster will have: those with higher ordinals are drained, the highest first.
pub const TARGET_SIZE: &str = "couchdiscover.io/target-size";
/// The webhook's answer to a request that lowers `replicas` below what is drained: `guard` (the default) denies it, `drain`
/// sets [`TARGET_SIZE`] instead, `allow` accepts it.
pub const SCALE_DOWN: &str = "couchdiscover.io/scale-down";
/// The databases whose copies are spread over nodes that were added: `system` (the default), `all` or `off`.
pub const REBALANCE: &str = "couchdiscover.io/rebalance";
/// The number of copies to which databases that have fewer are raised.
pub const COPIES: &str = "couchdiscover.io/copies";

/// Every annotation that a user may set on a StatefulSet. Any other key under [`DOMAIN`] is a spelling mistake.
pub const STATEFULSET_ANNOTATIONS: &[&str] = &[
    AGENT_CPU_LIMIT,
    AGENT_CPU_REQUEST,
    AGENT_IMAGE,
    AGENT_IMAGE_PULL_POLICY,
    AGENT_IMAGE_PULL_SECRETS,
    AGENT_LOG_FORMAT,
    AGENT_LOG_LEVEL,
    AGENT_MEMORY_LIMIT,
    AGENT_MEMORY_REQUEST,
    CLUSTER_SIZE,
    CONTAINER,
    COOKIE_CONTAINERS,
    COUCHDB_CA_SECRET,
    ERLANG_COOKIE,
    ERLANG_COOKIE_SECRET,
    KEEP,
    KUBERNETES,
    ON_REMOVAL,
    READINESS,
    REFRESH,
    SIDECAR,
    FORM_ANEW,
    ACCEPT_LOSS,
    OTHER_MEMBERS,
    ZONE,
    TARGET_SIZE,
    SCALE_DOWN,
    REBALANCE,
    COPIES,
];

/// On the Lease: when the cluster was formed, RFC 3339.
pub const FORMED_AT: &str = "couchdiscover.io/formed-at";
/// On the Lease: the uuid of the formed cluster.
pub const FORMED_UUID: &str = "couchdiscover.io/uuid";
/// On the Lease: the number of founders.
pub const FORMED_SIZE: &str = "couchdiscover.io/size";
/// On the Lease and on the authority's Secret: the [schema](crate::record::SCHEMA) of the content, a number.
pub const RECORD_SCHEMA: &str = "couchdiscover.io/schema";
/// On the Lease: the [record of copies](crate::moves::CopiesRecord) as JSON.
pub const COPIES_RECORD: &str = "couchdiscover.io/copies-record";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_under_the_domain_and_listed_once() {
        let mut seen = STATEFULSET_ANNOTATIONS.to_vec();
        seen.extend([INJECT, INJECTED, FORMED_AT, FORMED_UUID, FORMED_SIZE, RECORD_SCHEMA, COPIES_RECORD]);
        assert!(seen.iter().all(|key| key.strip_prefix(DOMAIN).is_some_and(|rest| rest.starts_with('/'))));
        let before = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), before);
    }
}
