//! Stand-ins that speak the real protocols on real loopback ports: a cluster of CouchDB nodes, a Kubernetes API
//! server, and what the kubelet computes. They know wire formats only, none of our crates, so they can't share a
//! mistake with what they test.
//!
//! | module | stands in for | held to |
//! |---|---|---|
//! | [`couchdb`] | CouchDB nodes, the network and Erlang between them | [`conformance`] scripts, recorded on 3.5.0 |
//! | [`apiserver`] | the API server, admission included | reviews recorded on 1.36.2 |
//! | [`kubelet`] | a pod's names, environment and DNS | Kubernetes' own tables |
//!
//! Each has a pure core (state, request and time in; answer out) in a shell of sockets. What is not as in reality:
//!
//! # CouchDB
//!
//! - **Time** is the [`couchdb::Clock`]'s, and may run faster. Starting a node takes none. Passwords are hashed with
//!   10 rounds instead of 600000, so the slow first login after a start is missing; users' documents have the new kind in each release.
//! - **One world, one lock**: calls are served one after another. So three finishes at the same time give 201, 400,
//!   400, not 201, 201, 400, and two nodes that make one database in different seconds conflict only when they
//!   aren't connected, or with `FinishFault::SpreadsLate`.
//! - **Replication** of `_nodes` and `_dbs` is all at once after a delay, not around a ring; shard copies are filled
//!   all at once after another delay, when a node comes up, after a write, and on `_sync_shards`. A shard map that is
//!   changed by hand fills nothing (the references disagree here).
//! - **Connections** come from the dial at start, from new members, from the reconnect timer, and from requests that
//!   need another node: those for a database or about the node, and all with a name, which read `_users` once there is
//!   one. Background jobs that connect nodes in reality don't exist.
//! - **Silence** holds a call about a node, a call with a name and a database call up. A neighbour's kernel may find
//!   out earlier that nobody answers ARP (3 s): here nobody does. Whether a real user is found
//!   in a cache isn't imitated: an admin never is.
//! - **The first call for a node's own file** (`/_node/{node}/_dbs`, `_nodes`, ..) makes a file for users. On real
//!   nodes other such calls are answered 500 or 409 for 20 to 80 ms; here only with [`couchdb::Timings`]'s
//!   `auth_file`, and which of the two is chance. While connected nodes are of two kinds of release (before 3.4, 3.4,
//!   since 3.5), one in four is answered 409, by chance, and nothing is written for it. Of the older HTTP stack that serves these files no more than
//!   documents is imitated: no `_all_dbs`, `_session`, `_uuids`, no creation and deletion of files but of shards.
//! - **Databases** have documents with revisions, conflicts, quorum and `_all_docs`. No views, Mango, attachments,
//!   `_changes`, `_bulk_docs`, replication, purge, compaction, or `_security` other than admins only. Sizes, sequences
//!   and uptimes are made up. `_design/_auth` has the recorded revision, and not the recorded body.
//! - **Placement** deals shards out as recorded; zones and `[cluster] placement` are not read.
//! - **Resharding** can be stopped and started, and does nothing. `_stats`, `_versions` and `_system` are stubs, but
//!   for `internal_replication_jobs`. No `_utils`, no `_metrics`, no proxy or JWT authentication, no logs.
//! - **Cookies** of sessions are not refreshed; a session cookie is checked as the real ones are.
//! - **Other versions** than 3.5: where the secret is, what `features` says, the admin party and `cluster_disabled`
//!   of 2.x, `/_node/{node}/_nodes` since 3.0. Not port 5986, nor what else differs.
//! - `add_node` and `remote_node` call within the world: no socket, hence no door or rule sees those calls.
//!   `enable_cluster` with a `remote_node` answers 201 and does nothing at all.
//! - A shard map whose sides disagree is refused in words of our own, and so is what a read-only ini
//!   answers: the real ones weren't recorded.
//! - **TLS**, where a network has it, is on every HTTP port, with one certificate for all nodes; real nodes serve it on
//!   another port (6984) beside the plain one. Erlang's own connections are never encrypted.
//! - **Erlang's ports** (4369, 9100) are there for probes: EPMD answers names and ports, the distribution accepts and
//!   hangs up at the first word.
//!
//! # API server
//!
//! - **Kinds** are not known: any JSON is stored, fields are neither dropped nor checked. Defaults and rules exist for
//!   StatefulSets, Secrets and Namespaces, as far as this project needs them. No controller runs: nobody makes pods,
//!   endpoints or tokens, and namespaces needn't exist.
//! - **Patches**: strategic merge and server-side apply merge the lists that this project meets by their key, and
//!   replace all others; `$patch: delete` is the only directive. Apply records its manager and fields, finds no
//!   conflicts, and removes nothing that an applier no longer sends.
//! - **Admission**: mutating webhooks in order of their configurations' names, nobody is asked twice
//!   (`reinvocationPolicy`), `matchConditions` count as true, `matchPolicy` as `Exact`. No validating webhooks.
//! - **Authorization**: everything is allowed but what a test forbids, or, when it asks for it, what Roles in the
//!   store allow. No client certificates, no TokenReview, no impersonation.
//! - **Lists** come in one page; **watches** know the last 10000 changes, and send bookmarks at the start only.
//! - **Pods are asked** (`/pods/{name}:{port}/proxy/{path}`) by GET over plain HTTP, at addresses that a test leads
//!   somewhere, since there are no pods. An answer comes back with its status, type and body only; what fails is worded
//!   as Kubernetes' sources have it (a pod without address is refused with 400, one that doesn't answer is a 503).
//! - No discovery, OpenAPI, protobuf, compression, HTTP/2, `/exec`, `/log`, `/proxy` of Services and nodes.
//!
//! # Kubelet
//!
//! - Service variables (`KUBERNETES_SERVICE_HOST`, ..), the image's own environment, `fileKeyRef`, and
//!   `resourceFieldRef` with a divisor are missing. Volumes are made by hand
//!   ([`kubelet::Volume`]), probes not run.

pub mod apiserver;
pub mod conformance;
pub mod couchdb;
pub mod kubelet;

mod date;
mod port;
mod query;
mod random;
mod tls;

pub use tls::TlsError;
