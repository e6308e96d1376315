//! Port numbers, names of container ports, and paths.

/// CouchDB's clustered HTTP interface.
pub const COUCHDB: u16 = 5984;
/// Names of the container port of CouchDB's HTTP interface, the preferred one first.
pub const COUCHDB_PORT_NAMES: [&str; 3] = ["couchdb", "http", "data"];
/// CouchDB's HTTPS interface, if it is enabled.
pub const COUCHDB_TLS: u16 = 6984;
/// Suffix of the name of the container port of CouchDB's HTTPS interface.
pub const COUCHDB_TLS_PORT_NAME: &str = "https";
/// The Erlang port mapper, `epmd`.
pub const EPMD: u16 = 4369;
/// Erlang distribution, fixed by the official image's `vm.args`.
pub const DISTRIBUTION: u16 = 9100;

/// The agent's probes, status page and metrics, plain HTTP.
pub const AGENT: u16 = 8484;
/// Name of the agent's container port.
pub const AGENT_PORT_NAME: &str = "couchdiscover";

/// Path of the liveness probe: the process answers.
pub const LIVEZ: &str = "/livez";
/// Path of the readiness probe. The body of a failure contains the reason.
pub const READYZ: &str = "/readyz";
/// Path of the agent's page for people, HTML.
pub const HOME: &str = "/";
/// Value of the header `Content-Security-Policy` of [`HOME`]: nothing is loaded, run or sent, and no page may frame this one.
pub const HOME_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                               frame-ancestors 'none'";
/// Media type of [`HOME`].
pub const HOME_TYPE: &str = "text/html; charset=utf-8";
/// Path of the agent's [status page](crate::status).
pub const STATUS: &str = "/status";
/// Path of the agent's [plan](crate::moves::Plan) for the number of nodes in the query, `?replicas=3`.
pub const PLAN: &str = "/plan";
/// Path of the metrics of agent and webhook, OpenMetrics text.
pub const METRICS: &str = "/metrics";

/// The webhook's HTTPS port.
pub const WEBHOOK: u16 = 8443;
/// The webhook's probes and metrics, plain HTTP.
pub const WEBHOOK_PROBES: u16 = 8080;
/// Path of the mutating admission handler.
pub const MUTATE: &str = "/mutate";
/// Path of the admission handler for requests that lower the replicas of a StatefulSet by its subresource `scale`.
pub const SCALE: &str = "/scale";
