//! The client that the calls of all groups belong to.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use reqwest::Client;

use super::first_login::FirstLogins;
use super::maps::PAGE;
use super::transport::Transport;
use crate::metrics::Metrics;
use crate::settings::Credentials;

/// HTTP client for the cluster's nodes, with admin credentials.
#[derive(Debug)]
pub struct Couch {
    pub(super) transport: Transport,
    pub(super) first_logins: FirstLogins,
    /// The number of shard maps in the last page that was not too long.
    pub(super) fitting_page: AtomicUsize,
}

impl Couch {
    /// A client that sends through `client`, which brings TLS and connect timeouts, and counts its calls in `metrics`.
    pub fn new(client: Client, credentials: Credentials, metrics: Arc<Metrics>) -> Self {
        let transport = Transport::new(client, credentials, metrics);
        Self { transport, first_logins: FirstLogins::default(), fitting_page: AtomicUsize::new(PAGE) }
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
