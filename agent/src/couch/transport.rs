//! One HTTP call: credentials, deadlines, the meaning of a status, and the quarantine of nodes that refuse the login.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::error::CouchError;
use crate::metrics::Metrics;
use crate::settings::Credentials;

/// Sends calls to any node of the cluster as the same admin, and counts them.
#[derive(Debug)]
pub(super) struct Transport {
    client: RwLock<Client>,
    credentials: RwLock<Arc<Credentials>>,
    /// Base URLs that refused the credentials, each with the end of its quarantine.
    refused: Mutex<HashMap<String, (Instant, LoginRefusal)>>,
    metrics: Arc<Metrics>,
}

/// The way in which a node refused the credentials.
#[derive(Clone, Copy, Debug)]
enum LoginRefusal {
    /// It has locked the user out; the right password would be refused too.
    Lockout,
    /// It does not accept the user or the password.
    Rejection,
}

impl LoginRefusal {
    fn error(self, call: String, Credentials { user, source, .. }: &Credentials) -> CouchError {
        match self {
            Self::Lockout => CouchError::LockedOut { call, user: user.clone() },
            Self::Rejection => CouchError::Rejects { call, user: user.clone(), origin: source.clone() },
        }
    }
}

impl Transport {
    pub(super) fn new(client: Client, credentials: Credentials, metrics: Arc<Metrics>) -> Self {
        Self {
            client: RwLock::new(client),
            credentials: RwLock::new(Arc::new(credentials)),
            refused: Mutex::default(),
            metrics,
        }
    }

    pub(super) fn credentials(&self) -> Arc<Credentials> {
        Arc::clone(&self.credentials.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_client(&self, client: Client) {
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = client;
    }

    /// Replaces the credentials. The quarantine ends: it was about the old ones.
    pub(super) fn set_credentials(&self, credentials: Credentials) {
        *self.credentials.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(credentials);
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Sends a GET and parses the JSON answer.
    pub(super) async fn get<T: DeserializeOwned>(&self, base: &str, path: &str) -> Result<T, CouchError> {
        self.get_up_to(ANSWER, base, path).await
    }

    /// The same for an answer that may have up to `limit` bytes.
    pub(super) async fn get_up_to<T: DeserializeOwned>(
        &self,
        limit: usize,
        base: &str,
        path: &str,
    ) -> Result<T, CouchError> {
        let response = self.get_response(base, path).await?;
        parse(format!("GET {base}{path}"), response, limit).await
    }

    /// Sends a GET; the answer's headers are available too.
    ///
    /// A 409 to a GET is repeated: while two releases run, their nodes overwrite the design document `_auth` in each
    /// other's `_users` (`couch_auth_cache` of 3.3, 3.4 and 3.5), and calls below `/_node/_local/` get the conflict.
    pub(super) async fn get_response(&self, base: &str, path: &str) -> Result<Response, CouchError> {
        let mut conflicts = 0;
        loop {
            match self.send(base, Method::GET, path, READ_TIMEOUT, |request| request).await {
                Err(CouchError::Refused { status: StatusCode::CONFLICT, .. })
                    if conflicts < CONFLICT_RETRIES =>
                {
                    conflicts += 1;
                    sleep(CONFLICT_PAUSE).await;
                }
                answered => return answered,
            }
        }
    }

    /// Sends a POST with a JSON body; the answer's body is ignored.
    pub(super) async fn post(&self, base: &str, path: &str, body: &Value) -> Result<(), CouchError> {
        self.send(base, Method::POST, path, WRITE_TIMEOUT, |request| request.json(body)).await.map(drop)
    }

    /// Sends a PUT with a JSON body, or without one for `Value::Null`; the answer's body is ignored.
    pub(super) async fn put(&self, base: &str, path: &str, body: &Value) -> Result<(), CouchError> {
        self.send(base, Method::PUT, path, WRITE_TIMEOUT, |request| {
            if body.is_null() { request } else { request.json(body) }
        })
        .await
        .map(drop)
    }

    /// Sends one call and counts its outcome.
    pub(super) async fn send(
        &self,
        base: &str,
        method: Method,
        path: &str,
        timeout: Duration,
        complete: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, CouchError> {
        let result = self.send_uncounted(base, method, path, timeout, complete).await;
        self.metrics.called(result.as_ref().map_or_else(CouchError::outcome, |_| "answered"));
        result
    }

    async fn send_uncounted(
        &self,
        base: &str,
        method: Method,
        path: &str,
        timeout: Duration,
        complete: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, CouchError> {
        let call = format!("{method} {base}{path}");
        let admin = self.credentials();
        // Another failure would bring the lockout closer, also for the other containers behind this address.
        if let Some(refusal) = self.quarantined(base) {
            return Err(refusal.error(call, &admin));
        }
        let request = self
            .client()
            .request(method, format!("{base}{path}"))
            .basic_auth(&admin.user, Some(admin.password.reveal()))
            .timeout(timeout);
        let response = complete(request).send().await;
        let response = response.map_err(|source| CouchError::unanswered(call.clone(), source))?;
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::UNAUTHORIZED => {
                self.quarantine(base, &admin, LoginRefusal::Rejection);
                Err(LoginRefusal::Rejection.error(call, &admin))
            }
            _ => Err(self.refusal(base, call, response, &admin).await),
        }
    }

    /// The error behind an answer that is neither a success nor a 401.
    async fn refusal(
        &self,
        base: &str,
        call: String,
        response: Response,
        admin: &Arc<Credentials>,
    ) -> CouchError {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct ErrorBody {
            error: String,
            reason: String,
        }
        let status = response.status();
        // An answer that is longer is not CouchDB's, and is reported by its status alone.
        let body = body(response, ERROR_ANSWER).await.unwrap_or_default();
        let ErrorBody { error, reason } = serde_json::from_slice(&body).unwrap_or_default();
        // CouchDB's words for a lockout since 3.4; the right password gets this answer too.
        if status == StatusCode::FORBIDDEN && reason.contains("temporarily locked") {
            self.quarantine(base, admin, LoginRefusal::Lockout);
            return LoginRefusal::Lockout.error(call, admin);
        }
        CouchError::Refused { call, status, error, reason }
    }

    /// Sends a GET without credentials, as any client may. It neither needs a login nor counts as a failed one, so a
    /// quarantine does not apply.
    pub(super) async fn get_openly(&self, base: &str, path: &str) -> Result<Response, CouchError> {
        let request = self.client().get(format!("{base}{path}")).timeout(READ_TIMEOUT);
        let response = request.send().await;
        let result = response.map_err(|source| CouchError::unanswered(format!("GET {base}{path}"), source));
        self.metrics.called(result.as_ref().map_or_else(CouchError::outcome, |_| "answered"));
        result
    }

    fn client(&self) -> Client {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The refusal of `base` that its quarantine began with, while it lasts.
    fn quarantined(&self, base: &str) -> Option<LoginRefusal> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.retain(|_, (until, _)| *until > Instant::now());
        refused.get(base).map(|(_, refusal)| *refusal)
    }

    /// Starts the quarantine of `base`, unless the credentials were replaced while the call was under way.
    fn quarantine(&self, base: &str, admin: &Arc<Credentials>, refusal: LoginRefusal) {
        if !Arc::ptr_eq(admin, &self.credentials()) {
            return;
        }
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.insert(base.to_owned(), (Instant::now() + QUARANTINE, refusal));
    }
}

/// Parses a JSON answer to `call` that may have up to `limit` bytes.
pub(super) async fn parse<T: DeserializeOwned>(
    call: String,
    response: Response,
    limit: usize,
) -> Result<T, CouchError> {
    match body(response, limit).await {
        Ok(body) => serde_json::from_slice(&body)
            .map_err(|source| CouchError::Garbled { call, source: source.into() }),
        Err(BodyError::TooLong) => Err(CouchError::TooLong { call, limit }),
        Err(BodyError::Lost(source)) => Err(CouchError::unanswered(call, source)),
    }
}

/// A body that could not be read.
enum BodyError {
    /// The connection ended, or the time was over.
    Lost(reqwest::Error),
    /// It has more bytes than it may have.
    TooLong,
}

/// Reads a body of up to `limit` bytes. A broken or hostile node may send one without an end, and the agent's memory is
/// small.
async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, BodyError> {
    let mut body = vec![];
    while let Some(chunk) = response.chunk().await.map_err(BodyError::Lost)? {
        if body.len() + chunk.len() > limit {
            return Err(BodyError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Treats CouchDB's refusal of something that is already done as success.
pub(super) fn accept(
    done: Result<(), CouchError>,
    status: StatusCode,
    reason: &str,
) -> Result<(), CouchError> {
    match done {
        Err(CouchError::Refused { status: s, reason: r, .. }) if s == status && r.contains(reason) => Ok(()),
        Ok(()) | Err(_) => done,
    }
}

/// The longest answer to an ordinary read, in bytes. `_membership` of 64 nodes has about 10 kB.
pub(super) const ANSWER: usize = 64 * 1024;
/// The longest error, in bytes. Those of CouchDB have a few hundred.
const ERROR_ANSWER: usize = 4 * 1024;
/// The longest time that a read may take. The first login after a start costs CouchDB 0.25 to 0.9 s of hashing, more on
/// a busy machine.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time that a change may take. finish_cluster alone waits 5 s for its members; 6.5 s were observed.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// The time for which a node that refused the credentials gets no further calls. CouchDB locks a user's address out
/// after more than 5 failures within 5 minutes, and the pod's other containers share the address.
pub const QUARANTINE: Duration = Duration::from_secs(75);
/// Repeats of a GET that is answered with a conflict. A conflict between two releases lasts about 10 ms.
const CONFLICT_RETRIES: u8 = 5;
const CONFLICT_PAUSE: Duration = Duration::from_millis(30);
