//! The few calls that the agent makes to CouchDB, and their wire types.
//!
//! `add_node` is not among them: it answers 201 to refused joins, and the receiver logs the Erlang cookie in clear.

mod error;
mod identity;
mod maps;
mod shards;
pub mod tls;
mod wire;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use agent_core::facts::{MaintenanceMode, Release, SystemDatabase, VolumeNote};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::SERVER;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tracing::debug;

pub use error::CouchError;
pub use shards::{Holder, Survey, Surveyed};
use wire::Maps;
pub use wire::{Databases, Held, Membership, Pulse, SetupState, Standing};

use crate::metrics::Metrics;
use crate::settings::Credentials;

/// Speaks to any CouchDB of the cluster as the admin that the settings name.
#[derive(Debug)]
pub struct Couch {
    http: RwLock<Client>,
    credentials: RwLock<Arc<Credentials>>,
    /// Base URLs that refused the credentials, and until when they are left alone.
    refused: Mutex<HashMap<String, Instant>>,
    metrics: Arc<Metrics>,
}

impl Couch {
    /// `http` brings TLS and timeouts; calls are counted in `metrics`.
    pub fn new(http: Client, credentials: Credentials, metrics: Arc<Metrics>) -> Self {
        Self {
            http: RwLock::new(http),
            credentials: RwLock::new(Arc::new(credentials)),
            refused: Mutex::default(),
            metrics,
        }
    }

    /// The admin that this client is just now.
    pub fn credentials(&self) -> Arc<Credentials> {
        Arc::clone(&self.credentials.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes another client, which trusts others.
    pub fn speak_through(&self, http: Client) {
        *self.http.write().unwrap_or_else(PoisonError::into_inner) = http;
    }

    /// Takes other credentials, and forgets who refused the ones before.
    pub fn become_admin(&self, credentials: Credentials) {
        *self.credentials.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(credentials);
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// What the node at `base` calls itself, and the release that its answer's header names.
    pub async fn name(&self, base: &str) -> Result<(String, Option<Release>), CouchError> {
        #[derive(Deserialize)]
        struct Name {
            name: String,
        }
        let path = "/_node/_local";
        let response = self.send(base, Method::GET, path, READ, |request| request).await?;
        let server = response.headers().get(SERVER).and_then(|server| server.to_str().ok());
        let release = server.and_then(Release::from_server);
        let Name { name } = read(format!("GET {base}{path}"), response).await?;
        Ok((name, release))
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

    /// Whether the node is still the same, in one cheap call.
    pub async fn pulse(&self, base: &str) -> Result<Pulse, CouchError> {
        self.get(base, "/_node/_local/_system").await
    }

    /// Sets an option in memory only.
    async fn set(&self, base: &str, section: &str, key: &str, value: &Value) -> Result<(), CouchError> {
        let key = utf8_percent_encode(key, NON_ALPHANUMERIC);
        let path = format!("/_node/_local/_config/{section}/{key}");
        let change = |request: RequestBuilder| request.header("X-Couch-Persist", "false").json(value);
        self.send(base, Method::PUT, &path, WRITE, change).await.map(drop)
    }

    /// Values are taken as they come: an error about one would show it.
    async fn section(&self, base: &str, section: &str) -> Result<HashMap<String, Value>, CouchError> {
        self.get(base, &format!("/_node/_local/_config/{section}")).await
    }

    /// The copies that the node makes of a new database: `[cluster] n`, which is 3 where it isn't set. One, where
    /// `placement` says in which zones they go: copies that are added elsewhere would break a rule that somebody made.
    pub async fn copies(&self, base: &str) -> Result<u32, CouchError> {
        let options = self.section(base, "cluster").await?;
        if options.contains_key("placement") {
            return Ok(1);
        }
        let n = options.get("n").and_then(Value::as_str).and_then(|n| n.parse().ok());
        Ok(n.unwrap_or(DEFAULT_COPIES))
    }

    /// What agents have written down on the node's volume. The document is local to the node's own `_dbs`: it is never
    /// replicated, and goes with the volume.
    pub async fn note(&self, base: &str) -> Result<VolumeNote, CouchError> {
        #[derive(Deserialize)]
        struct Written {
            #[serde(default)]
            state: String,
        }
        match self.get::<Written>(base, NOTE).await {
            Ok(Written { state }) if state == FILLING => Ok(VolumeNote::Filling),
            Ok(Written { state }) if state == WHOLE => Ok(VolumeNote::Complete),
            Ok(Written { .. }) => Ok(VolumeNote::None),
            Err(CouchError::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(VolumeNote::None),
            Err(error) => Err(error),
        }
    }

    /// Writes `note` down.
    pub async fn write_note(&self, base: &str, note: VolumeNote) -> Result<(), CouchError> {
        let state = match note {
            VolumeNote::Filling => FILLING,
            VolumeNote::None => "",
            VolumeNote::Complete => WHOLE,
        };
        let body = json!({ "state": state });
        self.send(base, Method::PUT, NOTE, WRITE, |request| request.json(&body)).await.map(drop)
    }

    /// Whether the node takes part in reads and writes, and what has been seen of it since it started.
    pub async fn standing(&self, base: &str) -> Result<Standing, CouchError> {
        let options = self.section(base, COUCHDB).await?;
        Ok(Standing {
            // CouchDB takes any other value for `false`.
            mode: match options.get(MAINTENANCE).and_then(Value::as_str) {
                Some("true") => MaintenanceMode::On,
                Some("nolb") => MaintenanceMode::NoLb,
                Some(_) | None => MaintenanceMode::Off,
            },
            compared: options.contains_key(COMPARED),
        })
    }

    /// Notes, in the node's memory only, that its shards have been compared with the other copies since it started.
    pub async fn mark_compared(&self, base: &str) -> Result<(), CouchError> {
        self.set(base, COUCHDB, COMPARED, &json!("true")).await
    }

    /// Puts the node into maintenance, or takes it out. In memory only: a restart must not find it closed by nobody.
    pub async fn set_maintenance(&self, base: &str, on: bool) -> Result<(), CouchError> {
        self.set(base, COUCHDB, MAINTENANCE, &json!(on.to_string())).await
    }

    /// Lets the node listen on `bind_address`, with an admin. 201 after about a second.
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
        // A node makes its uuid when it is first asked for it, and before 3.2 fails to finish without one.
        self.uuid(base).await?;
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
        let admin = self.credentials();
        let body = json!({ "name": admin.user, "password": admin.password.reveal() });
        self.post(base, "/_session", &body).await
    }

    /// A question that is answered with a conflict is asked again: nodes of two releases overwrite a design document in
    /// each other's `_users` for as long as there are both (`couch_auth_cache` of 3.3, 3.4 and 3.5), and who asks below
    /// `/_node/_local/` in such a moment is told of it.
    async fn get<T: DeserializeOwned>(&self, base: &str, path: &str) -> Result<T, CouchError> {
        let mut conflicts = 0;
        let response = loop {
            match self.send(base, Method::GET, path, READ, |request| request).await {
                Err(CouchError::Refused { status: StatusCode::CONFLICT, .. }) if conflicts < CONFLICTS => {
                    conflicts += 1;
                    sleep(AFTER_A_CONFLICT).await;
                }
                answered => break answered?,
            }
        };
        read(format!("GET {base}{path}"), response).await
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
        let result = self.send_uncounted(base, method, path, within, with).await;
        self.metrics.called(result.as_ref().map_or_else(CouchError::outcome, |_| "answered"));
        result
    }

    async fn send_uncounted(
        &self,
        base: &str,
        method: Method,
        path: &str,
        within: Duration,
        with: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, CouchError> {
        let call = format!("{method} {base}{path}");
        let admin = self.credentials();
        if self.is_quarantined(base) {
            return Err(rejects(call, &admin));
        }
        let http = self.http.read().unwrap_or_else(PoisonError::into_inner).clone();
        let request = http
            .request(method, format!("{base}{path}"))
            .basic_auth(&admin.user, Some(admin.password.reveal()));
        let response = with(request.timeout(within)).send().await;
        let response = response.map_err(|source| CouchError::unanswered(call.clone(), source))?;
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::UNAUTHORIZED => {
                self.quarantine(base, &admin);
                Err(rejects(call, &admin))
            }
            status => Err(self.refusal(base, call, status, response, &admin).await),
        }
    }

    async fn refusal(
        &self,
        base: &str,
        call: String,
        status: StatusCode,
        response: Response,
        admin: &Arc<Credentials>,
    ) -> CouchError {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Complaint {
            error: String,
            reason: String,
        }
        let body = response.bytes().await.unwrap_or_default();
        let Complaint { error, reason } = serde_json::from_slice(&body).unwrap_or_default();
        if status == StatusCode::FORBIDDEN && reason.contains("temporarily locked") {
            self.quarantine(base, admin);
            return CouchError::LockedOut { call, user: admin.user.clone() };
        }
        CouchError::Refused { call, status, error, reason }
    }

    fn is_quarantined(&self, base: &str) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.retain(|_, until| *until > Instant::now());
        refused.contains_key(base)
    }

    /// An answer to credentials that were replaced meanwhile says nothing about the new ones.
    fn quarantine(&self, base: &str, admin: &Arc<Credentials>) {
        if !Arc::ptr_eq(admin, &self.credentials()) {
            return;
        }
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.insert(base.to_owned(), Instant::now() + QUARANTINE);
    }
}

async fn read<T: DeserializeOwned>(call: String, response: Response) -> Result<T, CouchError> {
    let body = response.bytes().await.map_err(|source| CouchError::unanswered(call.clone(), source))?;
    serde_json::from_slice(&body).map_err(|source| CouchError::Garbled { call, source: source.into() })
}

fn rejects(call: String, admin: &Credentials) -> CouchError {
    let Credentials { user, source, .. } = admin;
    CouchError::Rejects { call, user: user.clone(), origin: source.clone() }
}

/// Where the note lies.
const NOTE: &str = "/_node/_local/_dbs/_local/couchdiscover";
const FILLING: &str = "filling";
const WHOLE: &str = "whole";
const MAINTENANCE: &str = "maintenance_mode";
/// An option that CouchDB doesn't know, and forgets when it ends.
const COMPARED: &str = "couchdiscover_compared";
const COUCHDB: &str = "couchdb";

/// Takes the server's "already so" for success.
fn accept(done: Result<(), CouchError>, status: StatusCode, reason: &str) -> Result<(), CouchError> {
    match done {
        Err(CouchError::Refused { status: s, reason: r, .. }) if s == status && r.contains(reason) => Ok(()),
        Ok(()) | Err(_) => done,
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
/// How often a question is asked again, and after how long: the moment between two overwritings lasts some 10 ms.
const CONFLICTS: u8 = 5;
const AFTER_A_CONFLICT: Duration = Duration::from_millis(30);
/// `[cluster] n` where nobody set it.
const DEFAULT_COPIES: u32 = 3;
