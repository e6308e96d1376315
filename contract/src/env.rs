//! Environment variables, each named once.
//!
//! The first group is read by CouchDB's images, the second by the agent, some by both.

/// Erlang cookie, as the official image reads it.
pub const COUCHDB_ERLANG_COOKIE: &str = "COUCHDB_ERLANG_COOKIE";
/// Erlang cookie, as the image of the Python couchdiscover reads it.
pub const ERLANG_COOKIE: &str = "ERLANG_COOKIE";
/// `[chttpd_auth] secret`, which signs session cookies; the same on all nodes.
pub const COUCHDB_SECRET: &str = "COUCHDB_SECRET";
/// Size at which the first cluster is founded.
pub const COUCHDB_CLUSTER_SIZE: &str = "COUCHDB_CLUSTER_SIZE";
/// Flags of the Erlang VM; `-name couchdb` makes it take a long name from the pod's FQDN.
pub const ERL_FLAGS: &str = "ERL_FLAGS";
/// Host part of the Erlang node name, as the official image reads it.
pub const NODENAME: &str = "NODENAME";

/// Name of the admin; read before [`COUCHDB_USER`].
pub const COUCHDB_ADMIN_USER: &str = "COUCHDB_ADMIN_USER";
/// Password of the admin that [`COUCHDB_ADMIN_USER`] names.
pub const COUCHDB_ADMIN_PASS: &str = "COUCHDB_ADMIN_PASS";
/// Name of the admin, as the official image reads it.
pub const COUCHDB_USER: &str = "COUCHDB_USER";
/// Password of the admin that [`COUCHDB_USER`] names.
pub const COUCHDB_PASSWORD: &str = "COUCHDB_PASSWORD";

/// The two families of credential names, the preferred one first: (user, password).
pub const CREDENTIALS: [(&str, &str); 2] =
    [(COUCHDB_ADMIN_USER, COUCHDB_ADMIN_PASS), (COUCHDB_USER, COUCHDB_PASSWORD)];

/// Set by the container runtime: the pod's hostname.
pub const HOSTNAME: &str = "HOSTNAME";
/// The pod's name, by fieldRef `metadata.name`.
pub const POD_NAME: &str = "POD_NAME";
/// The pod's namespace, by fieldRef `metadata.namespace`.
pub const POD_NAMESPACE: &str = "POD_NAMESPACE";
/// The pod's address, by fieldRef `status.podIP`.
pub const POD_IP: &str = "POD_IP";
/// The pod's uid, by fieldRef `metadata.uid`.
pub const POD_UID: &str = "POD_UID";

/// URL of the CouchDB beside the agent.
pub const COUCHDISCOVER_COUCHDB_URL: &str = "COUCHDISCOVER_COUCHDB_URL";
/// The governing headless Service.
pub const COUCHDISCOVER_SERVICE: &str = "COUCHDISCOVER_SERVICE";
/// Name of the CouchDB container.
pub const COUCHDISCOVER_CONTAINER: &str = "COUCHDISCOVER_CONTAINER";
/// `true`: [`COUCHDB_CLUSTER_SIZE`] is the user's override and wins over `spec.replicas`.
pub const COUCHDISCOVER_SIZE_PINNED: &str = "COUCHDISCOVER_SIZE_PINNED";
/// The StatefulSet's `podManagementPolicy`, which can't change in its lifetime: an agent that may not ask the
/// API server must still know whether the next pod waits for this one to become ready.
pub const COUCHDISCOVER_POD_MANAGEMENT_POLICY: &str = "COUCHDISCOVER_POD_MANAGEMENT_POLICY";
/// The StatefulSet's `spec.ordinals.start` at injection, where it isn't 0: the first pod's ordinal, for an agent that may
/// not ask the API server.
pub const COUCHDISCOVER_ORDINALS_START: &str = "COUCHDISCOVER_ORDINALS_START";
/// `auto`, or `off`: never call the Kubernetes API.
pub const COUCHDISCOVER_KUBERNETES: &str = "COUCHDISCOVER_KUBERNETES";
/// Where the agent serves probes, status and metrics.
pub const COUCHDISCOVER_LISTEN: &str = "COUCHDISCOVER_LISTEN";
/// CA file for an https CouchDB.
pub const COUCHDISCOVER_CA_FILE: &str = "COUCHDISCOVER_CA_FILE";
/// `error` .. `trace`, in any case.
pub const LOG_LEVEL: &str = "LOG_LEVEL";
/// `text` or `json`.
pub const LOG_FORMAT: &str = "LOG_FORMAT";
