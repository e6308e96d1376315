//! HTTP client for CouchDB: the few calls that the agent makes, grouped by resource.
//!
//! | module | calls |
//! |---|---|
//! | [`node`] | name, uuid, uptime, connections |
//! | [`membership`] | `_membership` and the node's own `_nodes` |
//! | [`setup`] | `_cluster_setup`, system databases, the session secret |
//! | [`config`] | `_config`: copies, maintenance mode, marks that a restart removes |
//! | [`identity`] | uuid, session secret and admin hashes, compared and copied by digest |
//! | [`maps`] | shard maps in `_dbs` |
//! | [`moves`] | maps of databases that are moved, and redirects of replication |
//! | [`shards`] | single shard files: counts, checkpoints, properties |
//! | [`volume`] | the note about completeness, and the volumes of other members |
//!
//! Each group uses [`transport`] only, which sends calls about members to the local node (`/_node/<name>/..`), withholds the
//! password from all other nodes but those that have not joined, and logs in by password or session cookie. `add_node` is not used: CouchDB answers 201 to refused joins, and the receiver logs
//! the Erlang cookie in clear.

mod client;
mod config;
mod error;
mod first_login;
mod identity;
mod login;
mod maps;
mod membership;
mod moves;
mod node;
mod password;
mod redact;
mod setup;
mod shards;
pub mod tls;
mod transport;
mod volume;

pub use client::Couch;
pub use config::Standing;
pub use error::CouchError;
pub use identity::IdentityReport;
pub use login::LoginRefusal;
pub use login::QUARANTINE;
pub(crate) use maps::MapPage;
pub use maps::{Databases, Held, MapFindings};
pub(crate) use membership::Listed;
pub use membership::Membership;
pub(crate) use moves::FoundMap;
pub use node::{Pulse, Welcome};
pub(crate) use password::is_hash_of;
pub use setup::SetupState;
pub(crate) use shards::{FileAt, Read};
pub use transport::Routes;
pub use volume::Note;
