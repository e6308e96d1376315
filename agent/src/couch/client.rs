//! The client that the calls of all groups belong to.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use agent_core::facts::Digest;
use reqwest::Client;

use super::error::CouchError;
use super::first_login::FirstLogins;
use super::login::LoginRefusal;
use super::login::lock;
use super::password::is_hash_of;
use super::transport::{Routes, Transport};
use crate::metrics::Metrics;
use crate::settings::Credentials;

/// HTTP client for the cluster's nodes, with admin credentials.
#[derive(Debug)]
pub struct Couch {
    pub(super) transport: Transport,
    pub(super) first_logins: FirstLogins,
    /// The number of shard maps in the last page that was not too long.
    pub(super) fitting_page: AtomicUsize,
    /// Hashes that were compared with the password, by their digest with the password.
    hashes: Mutex<HashMap<Digest, bool>>,
}

impl Couch {
    /// A client that sends through `client`, which brings TLS and connect timeouts, and counts its calls in `metrics`.
    pub fn new(client: Client, credentials: Credentials, metrics: Arc<Metrics>) -> Self {
        let transport = Transport::new(client, credentials, metrics);
        Self {
            transport,
            first_logins: FirstLogins::default(),
            fitting_page: AtomicUsize::new(PAGE),
            hashes: Mutex::default(),
        }
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

    /// From now on, sends calls along these routes. Until it is called, any node gets the password.
    pub fn set_routes(&self, routes: Routes) {
        self.transport.set_routes(routes);
    }

    /// The way in which the node at `base` refused the password a short time ago, if it did.
    pub fn login_refusal(&self, base: &str) -> Option<LoginRefusal> {
        self.transport.logins.quarantined(base)
    }

    /// Opens a session at the node, unless there is one. It works where the password is refused later, by a lockout for
    /// example. [`Couch::pulse`] extends it.
    pub async fn keep_session(&self, base: &str) -> Result<(), CouchError> {
        match self.transport.logins.session(base) {
            Some(_) => Ok(()),
            None => self.transport.open_session(base).await,
        }
    }

    /// `true` if there is a session at the node.
    pub fn has_session(&self, base: &str) -> bool {
        self.transport.logins.session(base).is_some()
    }

    /// Returns `true` if `stored`, a hash in the configuration of a node, is one of the password. Each hash is compared
    /// once, because that takes a third of a second of a core.
    pub async fn is_own_password(&self, stored: String) -> bool {
        let admin = self.credentials();
        let key = Digest::of([stored.as_str(), admin.password.reveal()]);
        if let Some(known) = lock(&self.hashes).get(&key) {
            return *known;
        }
        let compared =
            tokio::task::spawn_blocking(move || is_hash_of(&stored, admin.password.reveal())).await;
        let is_own = compared.unwrap_or(false);
        let mut hashes = lock(&self.hashes);
        // Each restart of a container makes another hash.
        if hashes.len() >= KEPT_HASHES {
            hashes.clear();
        }
        hashes.insert(key, is_own);
        is_own
    }
}

/// More than a cluster has nodes.
const KEPT_HASHES: usize = 256;

/// Maps in one answer: about 500 kB with two ranges of three copies.
pub(super) const PAGE: usize = 500;
