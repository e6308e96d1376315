//! Requests and answers as values, between the core and the sockets.

use std::time::Duration;

use serde_json::{Value, json};

use crate::query::{decode, param};

/// A time on the network's clock, counted from 1970.
pub type Time = Duration;

/// The interval at which a waiting call is handled again.
pub(crate) const POLL: Duration = Duration::from_millis(100);

/// The parts of an HTTP call that CouchDB uses.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// HTTP method in upper case.
    pub method: String,
    /// The path without the query, still percent-encoded.
    pub path: String,
    /// The query without its `?`, still percent-encoded.
    pub query: String,
    /// The `Authorization` header: basic credentials.
    pub authorization: Option<String>,
    /// The `Cookie` header: a session.
    pub cookie: Option<String>,
    /// The `Content-Type` header; `/_cluster_setup` accepts only JSON.
    pub content_type: Option<String>,
    /// The `X-Couch-Persist` header: `false` keeps a change of the configuration in memory.
    pub persist: Option<String>,
    /// The body as sent; empty if the call has none.
    pub body: Vec<u8>,
    /// The caller that the address is for, or the peer's IP address. The lockout counts per source.
    pub source: String,
    /// `true` if the caller is in the node's own pod and so reaches 127.0.0.1.
    pub local: bool,
    /// Time of arrival. It stays the same while a call waits and is handled again.
    pub received: Time,
}

impl Request {
    /// The decoded segments of the path, without empty ones.
    pub(crate) fn segments(&self) -> Vec<String> {
        self.path.split('/').filter(|part| !part.is_empty()).map(|part| decode(part, false)).collect()
    }

    pub(crate) fn param(&self, name: &str) -> Option<String> {
        param(&self.query, name)
    }

    pub(crate) fn param_json(&self, name: &str) -> Option<Value> {
        self.param(name).and_then(|text| serde_json::from_str(&text).ok())
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.param(name).as_deref() == Some("true")
    }

    pub(crate) fn is_json(&self) -> bool {
        self.content_type.as_deref().is_some_and(|t| t.trim_start().starts_with("application/json"))
    }

    pub(crate) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    pub(crate) fn is_read(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD")
    }
}

/// The HTTP answer to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// HTTP status code.
    pub status: u16,
    /// The body, its trailing newline included.
    pub body: String,
    /// Headers beyond those that every answer has, with names in lower case.
    pub headers: Vec<(&'static str, String)>,
}

impl Response {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self { status, body: format!("{body}\n"), headers: Vec::new() }
    }

    pub(crate) fn text(status: u16, body: impl Into<String>) -> Self {
        Self { status, body: body.into(), headers: Vec::new() }
    }

    pub(crate) fn ok(status: u16) -> Self {
        Self::json(status, &json!({"ok": true}))
    }

    pub(crate) fn error(status: u16, error: &str, reason: &str) -> Self {
        Self::json(status, &json!({"error": error, "reason": reason}))
    }

    /// An error with the hash of an Erlang stack, which CouchDB adds to errors that it does not expect.
    pub(crate) fn crash(error: &str, reason: &str, stack: u64) -> Self {
        Self::json(500, &json!({"error": error, "reason": reason, "ref": stack}))
    }

    pub(crate) fn missing() -> Self {
        Self::error(404, "not_found", "missing")
    }

    pub(crate) fn no_db() -> Self {
        Self::error(404, "not_found", "Database does not exist.")
    }

    pub(crate) fn disk_full() -> Self {
        Self::error(507, "insufficient_storage", "database_dir is too full")
    }

    pub(crate) fn conflict() -> Self {
        Self::error(409, "conflict", "Document update conflict.")
    }

    pub(crate) fn not_allowed(methods: &str) -> Self {
        let mut response = Self::error(405, "method_not_allowed", &format!("Only {methods} allowed"));
        response.headers.push(("allow", methods.to_owned()));
        response
    }

    pub(crate) fn not_admin() -> Self {
        Self::error(401, "unauthorized", "You are not a server admin.")
    }
}

/// The core's decision about a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The call is answered.
    Ready {
        /// The answer to send.
        response: Response,
        /// The time that CouchDB takes for it, on the network's clock.
        after: Duration,
    },
    /// The call waits: it must be handled again at this time, with the same `received`.
    Later(Time),
    /// The connection is closed without an answer.
    Dropped,
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        Self::Ready { response, after: Duration::ZERO }
    }
}

impl Response {
    pub(crate) fn after(self, after: Duration) -> Answer {
        Answer::Ready { response: self, after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_parameters_are_decoded() {
        let request =
            Request { query: "q=8&list=%5B%22_users%22%5D&flag=true".to_owned(), ..Request::default() };
        assert_eq!(request.param("q").as_deref(), Some("8"));
        assert_eq!(request.param_json("list"), Some(json!(["_users"])));
        assert!(request.flag("flag") && !request.flag("q"));
    }
}
