//! Stand-ins that speak the real protocols on real loopback ports: a cluster of CouchDB nodes, a Kubernetes API
//! server, and the names and environment that the kubelet computes. They depend on none of this project's crates, so
//! that a mistake in a shared type cannot appear on both sides of a test.
//!
//! | module | stands in for | checked against |
//! |---|---|---|
//! | [`couchdb`] | CouchDB nodes, the network and Erlang between them | [`conformance`] scripts, recorded on 3.5.0 |
//! | [`apiserver`] | the API server, admission included | reviews recorded on 1.36.2 |
//! | [`kubelet`] | a pod's names, environment and DNS | Kubernetes' own tables |
//! | [`hostile`] | a host that does harm at a pod's name | |
//!
//! Each has a pure core (state, request and time in; answer out) in a shell of sockets. The differences from the real
//! programs are:
//!
//! # CouchDB
//!
//! - **Time** is that of [`couchdb::Clock`], which may run faster. A node starts at once. Passwords are hashed with
//!   10 rounds instead of 600000, so the first login after a start is not slow. Documents in `_users` get the newest
//!   kind of hash in every release.
//! - **One world, one lock**: calls are served one after another. Three concurrent `finish_cluster` calls therefore
//!   return 201, 400, 400 instead of 201, 201, 400, and two nodes that create one database in different seconds
//!   conflict only while they are not connected, or with `FinishFault::CreatesOnOwnNode`.
//! - **Replication** of `_nodes` and `_dbs` reaches all nodes at once after a delay, not one after another around a
//!   ring, unless `ring_hop` of [`couchdb::Timings`] is set. `_users` files of nodes are not replicated.
//! - **Internal replication** pushes a changed copy after `sync_delay`, all copies when two nodes connect, and one pass on
//!   `_sync_shards`, to the holders in the pushing node's own map; `[mem3.redirects]` applies. A failed push is tried again
//!   after 5 s until its process ends. A pass takes `pass` of [`couchdb::Timings`] and `pass_per_doc` for each
//!   document; there is no limit of concurrent jobs. Checkpoints have only the last entry of their history, and purge checkpoints no
//!   range. A manual change of a shard map fills nothing (the references disagree on this point).
//! - **Connections** come from the dial at start, from new members, from the reconnect timer, and from requests that
//!   need another node: requests for a database or about the node, and all requests with a user name, which read
//!   `_users` once it exists. The background jobs that connect real nodes do not exist.
//! - **Silence** of a node delays calls about it, calls with a user name and database calls. The kernel of a real
//!   neighbour may detect the missing ARP answer earlier (after 3 s); here that never happens. The user cache of real
//!   nodes is not imitated: admins never use it.
//! - **The first call for a node-local file** (`/_node/{node}/_dbs`, `_nodes`, ..) creates a file for users. Real
//!   nodes answer further such calls with 500 or 409 for 20 to 80 ms; here this needs `auth_file` of
//!   [`couchdb::Timings`], and the choice between the two is random. While connected nodes are of two kinds of release
//!   (before 3.4, 3.4, since 3.5), a random quarter of the calls is answered with 409 and writes nothing. Of the older
//!   HTTP stack that serves these files only documents and `_all_dbs` are imitated: no `_session` or `_uuids`, and only
//!   shard files can be created and deleted. Of a shard file there is no `_revs_diff` or view.
//! - **Partitioned databases** have the `props`; their documents are placed as those of other databases.
//! - **Databases** have documents with revisions, conflicts, quorum, `_all_docs`, `_purge`, and the properties of each
//!   copy: `_security`, `_revs_limit`, `_purged_infos_limit`. `_revs_limit` has no effect, and `_security` decides only about
//!   the access to documents. No Mango, attachments, clustered `_changes` and `_bulk_docs`, or replication.
//!   Sizes, clustered sequences and uptimes are not real. `_design/_auth` has the recorded revision, but not the
//!   recorded body.
//! - **Views** have a number of rows, and no rows: one for each document that is no design document. They are always built,
//!   unless `index` of [`couchdb::Timings`] is set; then each change of a file begins a build of its views, which
//!   `_active_tasks` lists. A node that restarts has forgotten its builds. There is no queue and no limit of builds.
//! - **Compaction** does nothing but forget the purges beyond `_purged_infos_limit`, whether or not they were replicated.
//! - **A full disk** ([`couchdb::World::fill_disk`]) refuses documents, properties and pushes, with 507, as `[disk_monitor]`
//!   would; without it, real nodes answer 500. Maps are still replicated to the node.
//! - **Reads** take the worst answer that CouchDB could give: of a document, the oldest revision that `r` copies agree on;
//!   of `_all_docs` and `GET /{db}`, the ring of copies with the fewest documents. Writes reach every copy that answers
//!   before the call returns, and a read repairs nothing.
//! - **Placement** distributes shards as recorded, by zones if `[cluster] placement` or the call has them.
//! - **Resharding** splits a shard after `split` of [`couchdb::Timings`], in one moment; the halves begin without
//!   checkpoints. Jobs can't fail or be changed. `_stats`, `_versions` and `_system` are stubs;
//!   `internal_replication_jobs` is 0, as it is while jobs run. No `_utils`, no `_metrics`, no proxy or JWT authentication,
//!   no logs.
//! - **The first login** with a password costs time only where `first_login` of [`couchdb::NodeSettings`] sets it.
//! - **Cookies** of sessions are validated and extended as by real nodes; `[chttpd_auth] timeout` is ignored.
//! - **Other versions** than 3.5 differ in the location of the secret, the content of `features`, the admin party and
//!   `cluster_disabled` of 2.x, and `/_node/{node}/_nodes` since 3.0. Port 5986 and all other differences are missing.
//! - `add_node` and `remote_node` call within the world without a socket, so faults and rules of the network do not
//!   apply to them. `enable_cluster` with a `remote_node` answers 201 and does nothing.
//! - The messages for a shard map with contradicting sides and for a read-only ini file are not CouchDB's own: these were
//!   not recorded.
//! - **TLS**, if enabled for a network, is on every HTTP port, with one certificate for all nodes. Real nodes serve it
//!   on a second port (6984). Erlang's own connections are never encrypted.
//! - **In a process of its own** (the program `couchdb-node`, in the form of the official image) a node assembles, for each
//!   call, a world of itself and of the peers that it reaches over the network; see `couchdb/standalone`.
//! - **Erlang's ports** (4369, 9100) exist for probes: EPMD answers names and ports; the distribution port accepts
//!   connections and closes them at the first message.
//!
//! # API server
//!
//! - **Kinds** have no schema: any JSON is stored, fields are neither dropped nor validated. Defaults and rules exist
//!   for StatefulSets, Secrets and Namespaces, as far as this project needs them. No controller runs: pods, endpoints
//!   and tokens are not created, and an object's namespace need not exist.
//! - **Patches**: strategic merge and server-side apply merge the lists that this project uses by their key, and
//!   replace all others; `$patch: delete` is the only directive. Apply records its manager and fields, but finds no
//!   conflicts, and keeps fields that an applier no longer sends.
//! - **Admission**: mutating webhooks in order of their configurations' names, each called once
//!   (no `reinvocationPolicy`); `matchConditions` count as true, `matchPolicy` as `Exact`. No validating webhooks.
//! - **Authorization**: a request is allowed unless a test forbids it or, with [`apiserver::ApiServer::enforce_rbac`],
//!   no Role in the store allows it. No client certificates, TokenReview or impersonation.
//! - **Lists** come in one page; **watches** remember the last 10000 changes, and send bookmarks only at the start.
//! - **Requests to pods** (`/pods/{name}:{port}/proxy/{path}`) are sent by GET over plain HTTP, to the address that a
//!   test registered for the pod's IP address and port. Only status, type and body of the answer are passed on. Errors
//!   are worded as in Kubernetes' sources (400 for a pod without an address, 503 for a pod that does not answer).
//! - No discovery, OpenAPI, protobuf, compression, HTTP/2, `/exec`, `/log`, `/proxy` of Services and nodes.
//!
//! # Kubelet
//!
//! - Service variables (`KUBERNETES_SERVICE_HOST`, ..), the image's own environment, `fileKeyRef`, and
//!   `resourceFieldRef` with a divisor are missing. Tests create the volumes ([`kubelet::Volume`]); probes are not run.

pub mod apiserver;
pub mod conformance;
pub mod couchdb;
pub mod hostile;
pub mod kubelet;

mod date;
mod json;
mod port;
mod query;
mod random;
mod tls;

pub use tls::TlsError;
