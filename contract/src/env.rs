//! Names of environment variables.
//!
//! The first group is read by CouchDB's images, the second by the agent, the credentials and the size by both.

/// Erlang cookie in the official image.
pub const COUCHDB_ERLANG_COOKIE: &str = "COUCHDB_ERLANG_COOKIE";
/// Erlang cookie in the image of the Python couchdiscover.
pub const ERLANG_COOKIE: &str = "ERLANG_COOKIE";
/// `[chttpd_auth] secret`, which signs session cookies; must be equal on all nodes.
pub const COUCHDB_SECRET: &str = "COUCHDB_SECRET";
/// The number of nodes that form the first cluster.
pub const COUCHDB_CLUSTER_SIZE: &str = "COUCHDB_CLUSTER_SIZE";
/// Flags of the Erlang VM. With `-name couchdb` the VM takes the host part of its name from the pod's FQDN.
pub const ERL_FLAGS: &str = "ERL_FLAGS";
/// Further flags of the Erlang VM, behind those of [`ERL_FLAGS`].
pub const ERL_ZFLAGS: &str = "ERL_ZFLAGS";
/// Host part of the Erlang node name in the official image.
pub const NODENAME: &str = "NODENAME";

/// Name of the admin; preferred to [`COUCHDB_USER`].
pub const COUCHDB_ADMIN_USER: &str = "COUCHDB_ADMIN_USER";
/// Password of the admin in [`COUCHDB_ADMIN_USER`].
pub const COUCHDB_ADMIN_PASS: &str = "COUCHDB_ADMIN_PASS";
/// Name of the admin in the official image.
pub const COUCHDB_USER: &str = "COUCHDB_USER";
/// Password of the admin in [`COUCHDB_USER`].
pub const COUCHDB_PASSWORD: &str = "COUCHDB_PASSWORD";

/// The two pairs of user and password variables, the preferred pair first.
pub const CREDENTIALS: [(&str, &str); 2] =
    [(COUCHDB_ADMIN_USER, COUCHDB_ADMIN_PASS), (COUCHDB_USER, COUCHDB_PASSWORD)];

/// The address of the API server, which the kubelet sets in every pod.
pub const KUBERNETES_SERVICE_HOST: &str = "KUBERNETES_SERVICE_HOST";
/// The pod's hostname, set by the container runtime.
pub const HOSTNAME: &str = "HOSTNAME";
/// The pod's name, from fieldRef `metadata.name`.
pub const POD_NAME: &str = "POD_NAME";
/// The pod's namespace, from fieldRef `metadata.namespace`.
pub const POD_NAMESPACE: &str = "POD_NAMESPACE";
/// The pod's IP address, from fieldRef `status.podIP`.
pub const POD_IP: &str = "POD_IP";
/// The pod's uid, from fieldRef `metadata.uid`.
pub const POD_UID: &str = "POD_UID";

/// URL of the CouchDB in the agent's own pod.
pub const COUCHDISCOVER_COUCHDB_URL: &str = "COUCHDISCOVER_COUCHDB_URL";
/// Name of the governing headless Service.
pub const COUCHDISCOVER_SERVICE: &str = "COUCHDISCOVER_SERVICE";
/// Name of the CouchDB container.
pub const COUCHDISCOVER_CONTAINER: &str = "COUCHDISCOVER_CONTAINER";
/// `true` if [`COUCHDB_CLUSTER_SIZE`] was set by the user and takes precedence over `spec.replicas`.
pub const COUCHDISCOVER_SIZE_PINNED: &str = "COUCHDISCOVER_SIZE_PINNED";
/// The StatefulSet's `podManagementPolicy`, which is immutable. Injected because an agent without access to the API
/// server must know if the next pod starts only after this one is ready.
pub const COUCHDISCOVER_POD_MANAGEMENT_POLICY: &str = "COUCHDISCOVER_POD_MANAGEMENT_POLICY";
/// The StatefulSet's `spec.ordinals.start` at injection, if it is not 0. Injected because an agent without access to the
/// API server must know the first pod's ordinal.
pub const COUCHDISCOVER_ORDINALS_START: &str = "COUCHDISCOVER_ORDINALS_START";
/// `auto`, or `off`: the agent does not call the Kubernetes API.
pub const COUCHDISCOVER_KUBERNETES: &str = "COUCHDISCOVER_KUBERNETES";
/// Socket address of the agent's probes, status page and metrics.
pub const COUCHDISCOVER_LISTEN: &str = "COUCHDISCOVER_LISTEN";
/// The time in seconds for which a copy that is moved off a node that is drained stays beside the new one, so that readers of
/// `_changes` can continue from it; ten times as long where nodes are added.
pub const COUCHDISCOVER_READERS_STAY: &str = "COUCHDISCOVER_READERS_STAY";
/// File with the certificate authority of an https CouchDB, PEM.
pub const COUCHDISCOVER_CA_FILE: &str = "COUCHDISCOVER_CA_FILE";
/// `error`, `warn`, `info`, `debug` or `trace`, in upper or lower case.
pub const LOG_LEVEL: &str = "LOG_LEVEL";
/// `text` or `json`.
pub const LOG_FORMAT: &str = "LOG_FORMAT";
