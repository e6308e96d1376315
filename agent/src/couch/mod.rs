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
//! | [`shards`] | documents of single shard files |
//!
//! Each group uses [`transport`] only. `add_node` is not used: CouchDB answers 201 to refused joins, and the receiver logs
//! the Erlang cookie in clear.

mod config;
mod error;
mod identity;
mod maps;
mod membership;
mod node;
mod setup;
mod shards;
pub mod tls;
mod transport;

use std::sync::Arc;

use reqwest::Client;

pub use config::Standing;
pub use error::CouchError;
pub use maps::{Databases, Held};
pub use membership::Membership;
pub use node::Pulse;
pub use setup::SetupState;
pub use transport::QUARANTINE;
use transport::Transport;

use crate::metrics::Metrics;
use crate::settings::Credentials;

/// HTTP client for the cluster's nodes, with admin credentials.
#[derive(Debug)]
pub struct Couch {
    transport: Transport,
}

impl Couch {
    /// A client that sends through `client`, which brings TLS and connect timeouts, and counts its calls in `metrics`.
    pub fn new(client: Client, credentials: Credentials, metrics: Arc<Metrics>) -> Self {
        Self { transport: Transport::new(client, credentials, metrics) }
    }

    /// The credentials in use.
    pub fn credentials(&self) -> Arc<Credentials> {
        self.transport.credentials()
    }

    /// Replaces the HTTP client, for example by one that trusts other authorities.
    pub fn set_client(&self, client: Client) {
        self.transport.set_client(client);
    }

    /// Replaces the credentials; nodes that refused the old ones are asked again at once.
    pub fn set_credentials(&self, credentials: Credentials) {
        self.transport.set_credentials(credentials);
    }
}
