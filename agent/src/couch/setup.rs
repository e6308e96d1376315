//! Cluster setup: `_cluster_setup`, the system databases and the session secret.

use agent_core::facts::SystemDatabase;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Couch;
use super::error::CouchError;
use super::transport::accept;

impl Couch {
    /// The node's setup state.
    pub async fn setup_state(&self, base: &str) -> Result<SetupState, CouchError> {
        #[derive(Deserialize)]
        struct Setup {
            state: SetupState,
        }
        self.transport.get(base, "/_cluster_setup").await.map(|Setup { state }| state)
    }

    /// Makes the node listen on `bind_address`, with an admin. CouchDB answers after about a second.
    pub async fn enable_cluster(&self, base: &str, bind_address: &str, nodes: u32) -> Result<(), CouchError> {
        let admin = self.credentials();
        let body = json!({
            "action": "enable_cluster",
            "bind_address": bind_address,
            "username": admin.user,
            "password": admin.password.reveal(),
            // A number: the string "1" becomes n=3, because Erlang sorts every string above every number.
            "node_count": nodes,
        });
        let done = self.transport.post(base, "/_cluster_setup", &body).await;
        accept(done, StatusCode::BAD_REQUEST, "Cluster is already enabled")
    }

    /// Makes admins, uuid and session secret equal on all members, then creates the system databases. CouchDB waits up to
    /// 5 s for the members to connect.
    pub async fn finish_cluster(&self, base: &str) -> Result<(), CouchError> {
        // A node generates its uuid at the first `GET /`; without one, releases before 3.2 fail to finish.
        self.uuid(base).await?;
        let body = json!({ "action": "finish_cluster" });
        let done = self.transport.post(base, "/_cluster_setup", &body).await;
        accept(done, StatusCode::BAD_REQUEST, "Cluster is already finished")
    }

    /// Creates a database; 412 means that it exists.
    pub async fn create_database(&self, base: &str, database: SystemDatabase) -> Result<(), CouchError> {
        let done = self.transport.put(base, &format!("/{}", database.name()), &Value::Null).await;
        accept(done, StatusCode::PRECONDITION_FAILED, "")
    }

    /// Logs in once: CouchDB generates a session secret at the first login.
    pub async fn make_session_secret(&self, base: &str) -> Result<(), CouchError> {
        self.transport.open_session(base).await
    }
}

/// The answer to `GET /_cluster_setup`. CouchDB computes it at each call and stores it nowhere.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum SetupState {
    /// The node listens on loopback only, or has no admin.
    ClusterDisabled,
    /// The node listens to others; a system database is missing or can't be opened.
    ClusterEnabled,
    /// All system databases can be opened.
    ClusterFinished,
    /// `[cluster] n` is 1, and a system database can't be opened.
    SingleNodeDisabled,
    /// `[cluster] n` is 1 or `[couchdb] single_node` is set, and all system databases can be opened.
    SingleNodeEnabled,
}

impl SetupState {
    /// `true` if the node listens to others and has an admin.
    pub fn is_enabled(self) -> bool {
        self != Self::ClusterDisabled
    }

    /// `true` if the node can open its system databases.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::ClusterFinished | Self::SingleNodeEnabled)
    }
}
