//! The few calls that the agent makes to CouchDB, and their wire types.
//!
//! `add_node` is not among them: it answers 201 to refused joins, and the receiver logs the Erlang cookie in clear.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};
use thiserror::Error;
use tokio::time::Instant;
use tracing::debug;

use crate::settings::Credentials;
use crate::step::SystemDatabase;

/// Speaks to any CouchDB of the cluster as the admin that the settings name.
#[derive(Debug)]
pub struct Couch {
    http: Client,
    credentials: Credentials,
    /// Base URLs that refused the credentials, and until when they are left alone.
    refused: Mutex<HashMap<String, Instant>>,
}

/// Why a call brought nothing.
#[derive(Debug, Error)]
pub enum CouchError {
    /// The answer is not what CouchDB says to this call.
    #[error("'{call}' answered something that CouchDB doesn't say")]
    Garbled {
        /// Method and URL.
        call: String,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// CouchDB has locked the user out for this address, for 5 minutes from the first wrong password.
    #[error("'{call}' is locked: too many wrong passwords of '{user}' came from this address")]
    LockedOut {
        /// Method and URL.
        call: String,
        /// The admin's name.
        user: String,
    },
    /// The host's name does not resolve.
    #[error("the name in '{call}' is not in DNS")]
    NameUnknown {
        /// Method and URL.
        call: String,
        /// What the resolver says.
        source: reqwest::Error,
    },
    /// No answer in time.
    #[error("'{call}' got no answer in time")]
    NoAnswer {
        /// Method and URL.
        call: String,
        /// What the client says.
        source: reqwest::Error,
    },
    /// CouchDB answered with an error.
    #[error("'{call}' was refused with {status} {error}: {reason}")]
    Refused {
        /// Method and URL.
        call: String,
        /// The HTTP status.
        status: StatusCode,
        /// CouchDB's word for it.
        error: String,
        /// CouchDB's sentence.
        reason: String,
    },
    /// User or password are wrong; or they were within the last [`QUARANTINE`], and nothing was sent.
    #[error("'{call}' rejects user '{user}' or the password from {origin}")]
    Rejects {
        /// Method and URL.
        call: String,
        /// The admin's name.
        user: String,
        /// The variables that the credentials come from.
        origin: String,
    },
    /// Nothing listens, or there is no way.
    #[error("'{call}' can't be reached")]
    Unreachable {
        /// Method and URL.
        call: String,
        /// What the client says.
        source: reqwest::Error,
    },
}

/// What `GET /_cluster_setup` says. It is computed anew at each call and stored nowhere.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum SetupState {
    /// It listens on loopback only, or has no admin.
    ClusterDisabled,
    /// It listens to others; a system database can't be opened, or isn't there.
    ClusterEnabled,
    /// All system databases can be opened.
    ClusterFinished,
    /// `[cluster] n` is 1, and a system database can't be opened.
    SingleNodeDisabled,
    /// `[cluster] n` is 1 or `[couchdb] single_node` is set, and all system databases can be opened.
    SingleNodeEnabled,
}

/// What `GET /_membership` says.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Membership {
    /// Connected just now, itself included.
    pub all_nodes: Vec<String>,
    /// In the node's `_nodes`: whom it expects.
    pub cluster_nodes: Vec<String>,
}

/// What a node's `_dbs` says: how many databases, and how the system databases are spread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Databases {
    /// How many there are.
    pub count: u64,
    /// Of each system database: the copies of the range that has the fewest.
    pub system: BTreeMap<SystemDatabase, u32>,
}

impl Couch {
    /// `http` brings TLS and timeouts.
    pub fn new(http: Client, credentials: Credentials) -> Self {
        Self { http, credentials, refused: Mutex::default() }
    }

    /// The admin that this client is.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// What the node at `base` calls itself.
    pub async fn name(&self, base: &str) -> Result<String, CouchError> {
        #[derive(Deserialize)]
        struct Name {
            name: String,
        }
        self.get(base, "/_node/_local").await.map(|Name { name }| name)
    }

    /// The uuid that the node calls its cluster by.
    pub async fn uuid(&self, base: &str) -> Result<String, CouchError> {
        #[derive(Deserialize)]
        struct Welcome {
            uuid: String,
        }
        self.get(base, "/").await.map(|Welcome { uuid }| uuid)
    }

    /// Whom the node expects and whom it is connected to.
    pub async fn membership(&self, base: &str) -> Result<Membership, CouchError> {
        self.get(base, "/_membership").await
    }

    /// How far the node is set up.
    pub async fn setup_state(&self, base: &str) -> Result<SetupState, CouchError> {
        #[derive(Deserialize)]
        struct Setup {
            state: SetupState,
        }
        self.get(base, "/_cluster_setup").await.map(|Setup { state }| state)
    }

    /// The node's own list of databases, in one call: `total_rows` counts them all, and only system databases have
    /// names that begin with an underscore.
    pub async fn databases(&self, base: &str) -> Result<Databases, CouchError> {
        let path = "/_node/_local/_dbs/_all_docs?startkey=%22_%22&endkey=%22_z%22&include_docs=true";
        self.get::<Maps>(base, path).await.map(Databases::from)
    }

    /// Whether the node has a secret to sign sessions with. Before 3.2.1 it stood in another section.
    pub async fn has_session_secret(&self, base: &str) -> Result<bool, CouchError> {
        for section in ["chttpd_auth", "couch_httpd_auth"] {
            let path = format!("/_node/_local/_config/{section}");
            let options: HashMap<String, IgnoredAny> = self.get(base, &path).await?;
            if options.contains_key("secret") {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The copies that the node makes of a new database: `[cluster] n`, which is 3 where it isn't set.
    pub async fn copies(&self, base: &str) -> Result<u32, CouchError> {
        let options: HashMap<String, Value> = self.get(base, "/_node/_local/_config/cluster").await?;
        let n = options.get("n").and_then(Value::as_str).and_then(|n| n.parse().ok());
        Ok(n.unwrap_or(DEFAULT_COPIES))
    }

    /// Lets the node listen on `bind_address`, with an admin. 201 after about a second.
    pub async fn enable_cluster(&self, base: &str, bind_address: &str, nodes: u32) -> Result<(), CouchError> {
        let body = json!({
            "action": "enable_cluster",
            "bind_address": bind_address,
            "username": self.credentials.user,
            "password": self.credentials.password.reveal(),
            // A number: the string "1" becomes n=3, because Erlang sorts every string above every number.
            "node_count": nodes,
        });
        let done = self.post(base, "/_cluster_setup", &body).await;
        accept(done, StatusCode::BAD_REQUEST, "Cluster is already enabled")
    }

    /// Writes `peer` into the node's `_nodes`. The blank document has the same revision on every node, so writers
    /// never conflict; a repeat is a 409.
    pub async fn join(&self, base: &str, peer: &str) -> Result<(), CouchError> {
        let path = format!("/_node/_local/_nodes/{peer}");
        let done = self.send(base, Method::PUT, &path, WRITE, |request| request.json(&json!({}))).await;
        accept(done.map(drop), StatusCode::CONFLICT, "")
    }

    /// Makes the node dial `peer`: to answer a question about another node, it has to connect to it. Whether it could
    /// is seen in its membership, so the answer doesn't matter.
    pub async fn dial(&self, base: &str, peer: &str) {
        let path = format!("/_node/{peer}/_config/cluster");
        if let Err(error) = self.get::<IgnoredAny>(base, &path).await {
            debug!(error = &error as &dyn std::error::Error, "dialling failed");
        }
    }

    /// Makes admins, uuid and secret equal on all members, then the system databases. CouchDB itself waits up to 5 s
    /// for the members to connect.
    pub async fn finish_cluster(&self, base: &str) -> Result<(), CouchError> {
        let done = self.post(base, "/_cluster_setup", &json!({ "action": "finish_cluster" })).await;
        accept(done, StatusCode::BAD_REQUEST, "Cluster is already finished")
    }

    /// Makes a database; one that is there already is a 412.
    pub async fn create_database(&self, base: &str, database: SystemDatabase) -> Result<(), CouchError> {
        let path = format!("/{}", database.name());
        let done = self.send(base, Method::PUT, &path, WRITE, |request| request).await;
        accept(done.map(drop), StatusCode::PRECONDITION_FAILED, "")
    }

    /// Logs in once: CouchDB makes itself a session secret at the first login.
    pub async fn make_session_secret(&self, base: &str) -> Result<(), CouchError> {
        let body = json!({ "name": self.credentials.user, "password": self.credentials.password.reveal() });
        self.post(base, "/_session", &body).await
    }

    async fn get<T: DeserializeOwned>(&self, base: &str, path: &str) -> Result<T, CouchError> {
        let response = self.send(base, Method::GET, path, READ, |request| request).await?;
        let call = format!("GET {base}{path}");
        let body = response.bytes().await.map_err(|source| unanswered(call.clone(), source))?;
        serde_json::from_slice(&body).map_err(|source| CouchError::Garbled { call, source: source.into() })
    }

    async fn post(&self, base: &str, path: &str, body: &Value) -> Result<(), CouchError> {
        self.send(base, Method::POST, path, WRITE, |request| request.json(body)).await.map(drop)
    }

    async fn send(
        &self,
        base: &str,
        method: Method,
        path: &str,
        within: Duration,
        with: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, CouchError> {
        let call = format!("{method} {base}{path}");
        if self.is_quarantined(base) {
            return Err(self.rejects(call));
        }
        let Credentials { user, password, .. } = &self.credentials;
        let request =
            self.http.request(method, format!("{base}{path}")).basic_auth(user, Some(password.reveal()));
        let response = with(request.timeout(within)).send().await;
        let response = response.map_err(|source| unanswered(call.clone(), source))?;
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::UNAUTHORIZED => {
                self.quarantine(base);
                Err(self.rejects(call))
            }
            status => Err(self.refusal(base, call, status, response).await),
        }
    }

    async fn refusal(&self, base: &str, call: String, status: StatusCode, response: Response) -> CouchError {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Complaint {
            error: String,
            reason: String,
        }
        let body = response.bytes().await.unwrap_or_default();
        let Complaint { error, reason } = serde_json::from_slice(&body).unwrap_or_default();
        if status == StatusCode::FORBIDDEN && reason.contains("temporarily locked") {
            self.quarantine(base);
            return CouchError::LockedOut { call, user: self.credentials.user.clone() };
        }
        CouchError::Refused { call, status, error, reason }
    }

    fn rejects(&self, call: String) -> CouchError {
        let Credentials { user, source, .. } = &self.credentials;
        CouchError::Rejects { call, user: user.clone(), origin: source.clone() }
    }

    fn is_quarantined(&self, base: &str) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.retain(|_, until| *until > Instant::now());
        refused.contains_key(base)
    }

    fn quarantine(&self, base: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.insert(base.to_owned(), Instant::now() + QUARANTINE);
    }
}

impl SetupState {
    /// Whether the node listens to others and has an admin.
    pub fn is_enabled(self) -> bool {
        match self {
            Self::ClusterDisabled => false,
            Self::ClusterEnabled
            | Self::ClusterFinished
            | Self::SingleNodeDisabled
            | Self::SingleNodeEnabled => true,
        }
    }

    /// Whether the node can open its system databases.
    pub fn is_finished(self) -> bool {
        match self {
            Self::ClusterFinished | Self::SingleNodeEnabled => true,
            Self::ClusterDisabled | Self::ClusterEnabled | Self::SingleNodeDisabled => false,
        }
    }
}

/// `_dbs/_all_docs` as CouchDB writes it.
#[derive(Deserialize)]
struct Maps {
    total_rows: u64,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    id: String,
    doc: Option<Map>,
}

/// A shard map: which nodes hold which range.
#[derive(Deserialize)]
struct Map {
    #[serde(default)]
    by_range: BTreeMap<String, Vec<IgnoredAny>>,
}

impl From<Maps> for Databases {
    fn from(Maps { total_rows, rows }: Maps) -> Self {
        // A design document in `_dbs` is no database.
        let designs = rows.iter().filter(|row| row.id.starts_with("_design/")).count();
        let copies = |row: &Row| {
            let ranges = &row.doc.as_ref()?.by_range;
            ranges.values().map(|nodes| u32::try_from(nodes.len()).unwrap_or(u32::MAX)).min()
        };
        let system = SystemDatabase::ALL.into_iter().filter_map(|database| {
            let row = rows.iter().find(|row| row.id == database.name())?;
            Some((database, copies(row).unwrap_or_default()))
        });
        let designs = u64::try_from(designs).unwrap_or_default();
        Self { count: total_rows.saturating_sub(designs), system: system.collect() }
    }
}

/// Takes the server's "already so" for success.
fn accept(done: Result<(), CouchError>, status: StatusCode, reason: &str) -> Result<(), CouchError> {
    match done {
        Err(CouchError::Refused { status: s, reason: r, .. }) if s == status && r.contains(reason) => Ok(()),
        Ok(()) | Err(_) => done,
    }
}

fn unanswered(call: String, source: reqwest::Error) -> CouchError {
    // The URL stands in `call` already.
    let source = source.without_url();
    match &source {
        error if error.is_dns() => CouchError::NameUnknown { call, source },
        error if error.is_timeout() => CouchError::NoAnswer { call, source },
        error if error.is_decode() => CouchError::Garbled { call, source: source.into() },
        _ => CouchError::Unreachable { call, source },
    }
}

/// The longest that a question may take. The first one after a start costs CouchDB 0.25 to 0.9 s of hashing, more on
/// a busy machine.
const READ: Duration = Duration::from_secs(5);
/// The longest that a change may take. finish_cluster alone waits 5 s for its members and was seen to take 6.5 s.
const WRITE: Duration = Duration::from_secs(20);
/// How long a node that refused the credentials is left alone. CouchDB locks a user's address out after more than 5
/// failures within 5 minutes, and the address is shared with the pod's other containers.
pub const QUARANTINE: Duration = Duration::from_secs(75);
/// `[cluster] n` where nobody set it.
const DEFAULT_COPIES: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn databases(text: &str) -> Databases {
        serde_json::from_str::<Maps>(text).unwrap().into()
    }

    #[test]
    fn a_node_is_virgin_when_its_dbs_holds_design_documents_at_most() {
        assert_eq!(databases(r#"{"total_rows":0,"offset":0,"rows":[]}"#), Databases::default());
        let design = r#"{"total_rows":1,"offset":0,"rows":[{"id":"_design/x","key":"_design/x","value":{},"doc":{}}]}"#;
        assert_eq!(databases(design).count, 0);
        assert_eq!(databases(r#"{"total_rows":7,"offset":2,"rows":[]}"#).count, 7);
    }

    #[test]
    fn the_thinnest_range_counts() {
        let text = r#"{"total_rows":2,"offset":0,"rows":[
            {"id":"_replicator","key":"_replicator","value":{},"doc":{"by_range":{"00000000-7fffffff":["a","b"],"80000000-ffffffff":["a"]}}},
            {"id":"_users","key":"_users","value":{},"doc":{"by_range":{}}}]}"#;
        let system = databases(text).system;
        assert_eq!(system, BTreeMap::from([(SystemDatabase::Replicator, 1), (SystemDatabase::Users, 0)]));
    }
}
