//! One HTTP call: its route, credentials, deadlines, the meaning of a status, and the length of an answer.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::sleep;

use super::error::CouchError;
use super::login::{Login, LoginRefusal, Logins};
use super::redact::redacted;
use crate::metrics::Metrics;
use crate::settings::Credentials;

/// Sends calls to any node of the cluster as the same admin, and counts them.
#[derive(Debug)]
pub(super) struct Transport {
    client: RwLock<Client>,
    credentials: RwLock<Arc<Credentials>>,
    pub(super) logins: Logins,
    routes: RwLock<Option<Routes>>,
    metrics: Arc<Metrics>,
}

/// The hosts that calls with a login are sent to.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// Base URL of the local node.
    pub local: String,
    /// The Erlang name of each connected member by its base URL. Calls about them are sent to the local node, which passes
    /// them on over Erlang.
    pub names: HashMap<String, String>,
    /// Base URLs of nodes that get the password at their own address: without it, none of them could be joined.
    pub addresses: HashSet<String>,
}

impl Routes {
    /// The base URL and path to which a call is sent; `None` if it may not be sent.
    ///
    /// A connection of Erlang proves that the member has the cluster's cookie, while any host may answer at its name. And
    /// the password stays in the pod.
    fn route(&self, base: &str, path: &str) -> Option<(String, String)> {
        let direct = || (base.to_owned(), path.to_owned());
        let Some(name) = self.names.get(base) else {
            return (base == self.local || self.addresses.contains(base)).then(direct);
        };
        match path.strip_prefix(OWN_NODE) {
            Some(rest) => Some((self.local.clone(), format!("/_node/{name}{rest}"))),
            // The welcome contains uuid and version.
            None if path == "/" => Some((self.local.clone(), format!("/_node/{name}"))),
            // A certificate proves the name of the member before anything is sent.
            None => base.starts_with("https://").then(direct),
        }
    }
}

impl Transport {
    pub(super) fn new(client: Client, credentials: Credentials, metrics: Arc<Metrics>) -> Self {
        Self {
            client: RwLock::new(client),
            credentials: RwLock::new(Arc::new(credentials)),
            logins: Logins::default(),
            routes: RwLock::default(),
            metrics,
        }
    }

    pub(super) fn credentials(&self) -> Arc<Credentials> {
        Arc::clone(&self.credentials.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_client(&self, client: Client) {
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = client;
    }

    /// Replaces the credentials. Quarantines and sessions end: they were about the old ones.
    pub(super) fn set_credentials(&self, credentials: Credentials) {
        *self.credentials.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(credentials);
        self.logins.forget();
    }

    pub(super) fn set_routes(&self, routes: Routes) {
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = Some(routes);
    }

    /// Sends a GET and parses the JSON answer.
    pub(super) async fn get<T: DeserializeOwned>(&self, base: &str, path: &str) -> Result<T, CouchError> {
        self.get_up_to(ANSWER, base, path).await
    }

    /// The same for an answer that may have up to `limit` bytes.
    ///
    /// A 409 to a GET is repeated: while two releases run, their nodes overwrite the design document `_auth` in each
    /// other's `_users` (`couch_auth_cache` of 3.3, 3.4 and 3.5), and calls below `/_node/_local/` get the conflict.
    pub(super) async fn get_up_to<T: DeserializeOwned>(
        &self,
        limit: usize,
        base: &str,
        path: &str,
    ) -> Result<T, CouchError> {
        let mut conflicts = 0;
        loop {
            match self.send(base, Method::GET, path, READ_TIMEOUT, |request| request).await {
                Err(CouchError::Refused { status: StatusCode::CONFLICT, .. })
                    if conflicts < CONFLICT_RETRIES =>
                {
                    conflicts += 1;
                    sleep(CONFLICT_PAUSE).await;
                }
                answered => return parse(format!("GET {base}{path}"), answered?, limit).await,
            }
        }
    }

    /// Sends a POST with a JSON body; the answer's body is ignored.
    pub(super) async fn post(&self, base: &str, path: &str, body: &Value) -> Result<(), CouchError> {
        self.send(base, Method::POST, path, WRITE_TIMEOUT, |request| request.json(body)).await.map(drop)
    }

    /// Sends a POST with a JSON body, and parses the JSON answer of up to `limit` bytes.
    pub(super) async fn post_for<T: DeserializeOwned>(
        &self,
        limit: usize,
        base: &str,
        path: &str,
        body: &Value,
    ) -> Result<T, CouchError> {
        let answer = self.send(base, Method::POST, path, READ_TIMEOUT, |request| request.json(body)).await?;
        parse(format!("POST {base}{path}"), answer, limit).await
    }

    /// Sends a DELETE; the answer's body is ignored.
    pub(super) async fn delete(&self, base: &str, path: &str) -> Result<(), CouchError> {
        self.send(base, Method::DELETE, path, WRITE_TIMEOUT, |request| request).await.map(drop)
    }

    /// Sends a PUT with a JSON body, or without one for `Value::Null`; the answer's body is ignored.
    pub(super) async fn put(&self, base: &str, path: &str, body: &Value) -> Result<(), CouchError> {
        self.send(base, Method::PUT, path, WRITE_TIMEOUT, |request| {
            if body.is_null() { request } else { request.json(body) }
        })
        .await
        .map(drop)
    }

    /// Sends one call, with the session where the node does not accept the password, and counts its outcome.
    pub(super) async fn send(
        &self,
        base: &str,
        method: Method,
        path: &str,
        timeout: Duration,
        complete: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, CouchError> {
        let call = self.routed(Call { base: base.to_owned(), method, path: path.to_owned(), timeout })?;
        let admin = self.credentials();
        let result = self.send_as(&admin, &call, complete).await;
        self.metrics.called(result.as_ref().map_or_else(CouchError::outcome, |_| "answered"));
        result
    }

    async fn send_as(
        &self,
        admin: &Arc<Credentials>,
        call: &Call,
        complete: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, CouchError> {
        // Another failure would bring the lockout closer, also for the other containers behind this address.
        let known = self.logins.quarantined(&call.base);
        let refusal = match known {
            Some(refusal) => refusal,
            None => match self.attempt(admin, call, &Login::Password, &complete).await {
                Err(Failure::Login(LoginRefusal::Ignored)) => LoginRefusal::Ignored,
                Err(Failure::Login(refusal)) => self.refused(admin, call, refusal).await?,
                Err(Failure::Other(error)) => return Err(error),
                Ok(response) => return Ok(response),
            },
        };
        if let Some(answered) = self.by_session(admin, call, &complete).await {
            // The session hides that the password is ignored, which the user must know.
            if refusal == LoginRefusal::Ignored && answered.is_ok() && known.is_none() {
                self.quarantine(admin, call, refusal);
            }
            return answered;
        }
        // A password that is refused must not be sent again; one that is ignored opens another session.
        if refusal != LoginRefusal::Ignored {
            return Err(refusal.error(call.to_string(), admin));
        }
        let refusal = self.refused(admin, call, refusal).await?;
        let answered = self.by_session(admin, call, &complete).await;
        answered.unwrap_or_else(|| Err(refusal.error(call.to_string(), admin)))
    }

    /// Sends one call with the session; `None` if there is none, or the node no longer accepts it, for example with another
    /// session secret.
    async fn by_session(
        &self,
        admin: &Credentials,
        call: &Call,
        complete: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Option<Result<Response, CouchError>> {
        let session = self.logins.session(&call.base)?;
        match self.attempt(admin, call, &Login::Session(session), complete).await {
            Err(Failure::Login(_)) => {
                self.logins.end_session(&call.base);
                None
            }
            Err(Failure::Other(error)) => Some(Err(error)),
            Ok(response) => Some(Ok(response)),
        }
    }

    /// Begins the quarantine after `refusal`. A node that ignores the password gets it once more, to open a session.
    async fn refused(
        &self,
        admin: &Arc<Credentials>,
        call: &Call,
        refusal: LoginRefusal,
    ) -> Result<LoginRefusal, CouchError> {
        let refusal = match refusal {
            LoginRefusal::Ignored => match self.open_session(&call.base).await {
                Ok(()) => LoginRefusal::Ignored,
                Err(CouchError::Rejects { .. }) => LoginRefusal::Rejection,
                Err(CouchError::LockedOut { .. }) => LoginRefusal::Lockout,
                Err(error) => return Err(error),
            },
            LoginRefusal::Lockout | LoginRefusal::Rejection => refusal,
        };
        self.quarantine(admin, call, refusal);
        Ok(refusal)
    }

    /// Begins the quarantine, unless the credentials were replaced while the call was under way.
    fn quarantine(&self, admin: &Arc<Credentials>, call: &Call, refusal: LoginRefusal) {
        if Arc::ptr_eq(admin, &self.credentials()) {
            self.logins.quarantine(&call.base, refusal);
        }
    }

    /// Logs in at the node, and keeps the session's cookie.
    pub(super) async fn open_session(&self, base: &str) -> Result<(), CouchError> {
        let admin = self.credentials();
        let call = Call {
            base: base.to_owned(),
            method: Method::POST,
            path: "/_session".to_owned(),
            timeout: WRITE_TIMEOUT,
        };
        let body = serde_json::json!({ "name": admin.user, "password": admin.password.reveal() });
        #[derive(Deserialize)]
        struct Session {
            roles: Vec<String>,
        }
        match self.attempt(&admin, &call, &Login::None, |request| request.json(&body)).await {
            Err(Failure::Login(refusal)) => Err(refusal.error(call.to_string(), &admin)),
            Err(Failure::Other(error)) => Err(error),
            Ok(response) => {
                let Session { roles } = parse(call.to_string(), response, ANSWER).await?;
                if roles.iter().any(|role| role == "_admin") {
                    return Ok(());
                }
                // A user of `_users` with the admin's name and password.
                self.logins.end_session(base);
                Err(LoginRefusal::Rejection.error(call.to_string(), &admin))
            }
        }
    }

    /// A call with the session alone, if there is one that the node accepts. CouchDB extends it with the answer.
    pub(super) async fn get_by_session<T: DeserializeOwned>(
        &self,
        limit: usize,
        base: &str,
        path: &str,
    ) -> Option<Result<T, CouchError>> {
        let call =
            Call { base: base.to_owned(), method: Method::GET, path: path.to_owned(), timeout: READ_TIMEOUT };
        let call = match self.routed(call) {
            Ok(call) => call,
            Err(error) => return Some(Err(error)),
        };
        let response = match self.by_session(&self.credentials(), &call, |request| request).await? {
            Ok(response) => response,
            Err(error) => return Some(Err(error)),
        };
        self.metrics.called("answered");
        Some(parse(call.to_string(), response, limit).await)
    }

    async fn attempt(
        &self,
        admin: &Credentials,
        call: &Call,
        login: &Login,
        complete: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, Failure> {
        let request = self.client().request(call.method.clone(), format!("{}{}", call.base, call.path));
        let request = login.add_to(request, admin).timeout(call.timeout);
        let response = complete(request).send().await;
        let response = response.map_err(|source| CouchError::unanswered(call.to_string(), source))?;
        if response.status().is_success() {
            self.logins.keep_session(&call.base, &response);
            return Ok(response);
        }
        Err(refusal(admin, call, response).await)
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

    /// The call as it is sent, or an error if its host gets no password.
    fn routed(&self, call: Call) -> Result<Call, CouchError> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let Some(routes) = &*routes else { return Ok(call) };
        match routes.route(&call.base, &call.path) {
            Some((base, path)) => Ok(Call { base, path, ..call }),
            None => Err(CouchError::Withheld { call: call.to_string() }),
        }
    }

    fn client(&self) -> Client {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One call, after it was routed.
struct Call {
    base: String,
    method: Method,
    path: String,
    timeout: Duration,
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}{}", self.method, self.base, self.path)
    }
}

/// A call that failed.
enum Failure {
    /// The node does not accept the login.
    Login(LoginRefusal),
    Other(CouchError),
}

impl From<CouchError> for Failure {
    fn from(error: CouchError) -> Self {
        Self::Other(error)
    }
}

/// The failure behind an answer that is no success.
async fn refusal(admin: &Credentials, call: &Call, response: Response) -> Failure {
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
        return Failure::Login(LoginRefusal::Lockout);
    }
    if status == StatusCode::UNAUTHORIZED {
        // With these words CouchDB refuses a caller without a login: none of its handlers has read the password.
        let ignored = reason.contains("not a server admin") || reason.contains("Authentication required");
        return Failure::Login(if ignored { LoginRefusal::Ignored } else { LoginRefusal::Rejection });
    }
    let [error, reason] = [error, reason].map(|text| redacted(&text, admin));
    Failure::Other(CouchError::Refused { call: call.to_string(), status, error, reason })
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

/// The path below which a node answers about itself.
const OWN_NODE: &str = "/_node/_local";
/// The longest answer to an ordinary read, in bytes. `_membership` of 64 nodes has about 10 kB.
pub(super) const ANSWER: usize = 64 * 1024;
/// The longest error, in bytes. Those of CouchDB have a few hundred.
const ERROR_ANSWER: usize = 4 * 1024;
/// The longest time that a read may take. The first login after a start costs CouchDB 0.25 to 0.9 s of hashing, more on
/// a busy machine.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time that a change may take. finish_cluster alone waits 5 s for its members; 6.5 s were observed.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// Repeats of a GET that is answered with a conflict. A conflict between two releases lasts about 10 ms.
const CONFLICT_RETRIES: u8 = 5;
const CONFLICT_PAUSE: Duration = Duration::from_millis(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_about_a_member_go_to_the_local_node_and_others_only_to_nodes_that_get_the_password() {
        let names = HashMap::from([("http://db-1".to_owned(), "couchdb@db-1".to_owned())]);
        let addresses = ["http://db-2".to_owned()].into();
        let routes = Routes { local: "http://[::1]".to_owned(), names, addresses };
        let route = |base, path| {
            let routed = routes.route(base, path);
            routed.map_or_else(|| "withheld".to_owned(), |(base, path)| format!("{base} {path}"))
        };
        assert_eq!(
            route("http://db-1", "/_node/_local/_config/admins"),
            "http://[::1] /_node/couchdb@db-1/_config/admins"
        );
        assert_eq!(route("http://db-1", "/"), "http://[::1] /_node/couchdb@db-1");
        assert_eq!(route("http://db-2", "/_node/_local/_system"), "http://db-2 /_node/_local/_system");
        assert_eq!(route("http://[::1]", "/_node/_local/_system"), "http://[::1] /_node/_local/_system");
        assert_eq!(
            route("http://db-3", "/_node/_local/_system"),
            "withheld",
            "no node that may get the password"
        );
        assert_eq!(route("http://db-1", "/orders"), "withheld", "a member is asked over Erlang only");
    }
}
