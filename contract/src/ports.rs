//! Port numbers, port names and probe paths.

/// CouchDB's clustered HTTP interface.
pub const COUCHDB: u16 = 5984;
/// Names of the container port that is CouchDB's HTTP interface, the preferred one first.
pub const COUCHDB_PORT_NAMES: [&str; 3] = ["couchdb", "http", "data"];
/// CouchDB's HTTPS interface, where it has one.
pub const COUCHDB_TLS: u16 = 6984;
/// How the name of a container port ends that is CouchDB's HTTPS interface.
pub const COUCHDB_TLS_PORT_NAME: &str = "https";
/// The Erlang port mapper.
pub const EPMD: u16 = 4369;
/// Erlang distribution, as pinned by the official image's `vm.args`.
pub const DISTRIBUTION: u16 = 9100;

/// The agent's probes, status and metrics.
pub const AGENT: u16 = 8484;
/// Name of the agent's container port.
pub const AGENT_PORT_NAME: &str = "couchdiscover";

/// The process answers.
pub const LIVEZ: &str = "/livez";
/// The pod is a member, or may be taken for one; the body says why not.
pub const READYZ: &str = "/readyz";
/// What the agent is, saw, does and waits for, as JSON.
pub const STATUS: &str = "/status";
/// What the agent or the webhook counts, as OpenMetrics text.
pub const METRICS: &str = "/metrics";

/// The webhook's HTTPS port.
pub const WEBHOOK: u16 = 8443;
/// The webhook's probes and metrics, plain HTTP.
pub const WEBHOOK_PROBES: u16 = 8080;
/// Path of the mutating admission handler.
pub const MUTATE: &str = "/mutate";
