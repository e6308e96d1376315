//! Calls to webhooks: TLS, timeouts, and the messages for users if a call fails.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::admission::Hook;
use crate::json::text;
use crate::tls::{self, TlsError};

/// The addresses that stand for Services, since there is no cluster network, by namespace, name and port.
pub(crate) type Services = BTreeMap<(String, String, u16), SocketAddr>;

/// A client for one webhook, with a connection pool of its own, as in a real server.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    client: reqwest::Client,
    /// Includes the `?timeout=` that the API server appends.
    url: String,
}

/// The address and trust settings of a webhook.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address {
    url: String,
    bundle: String,
    /// The host name of a Service, and the address that stands for it.
    resolve: Option<(String, SocketAddr)>,
    timeout_seconds: u64,
}

/// A reason for a call to a webhook to fail.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The configuration names a Service without a registered address.
    #[error("no endpoints available for service {0:?}")]
    NoEndpoints(String),
    /// The `caBundle` contains no certificate.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The connection failed, the deadline passed or the certificate is not trusted. The reason is worded as in Go
    /// where the wording is known.
    #[error("Post {url:?}: {reason}")]
    Post { url: String, reason: String },
    /// The status is not 200.
    #[error("the server rejected our request for an unknown reason (HTTP {0})")]
    Status(u16),
    /// The body is not JSON.
    #[error("couldn't get version/kind; json parse error: {0}")]
    NotJson(String),
}

impl Address {
    /// The address of a webhook; a Service is looked up among the registered ones.
    pub(crate) fn of(hook: &Hook, services: &Services) -> Result<Self, CallError> {
        let config = hook.client_config();
        let timeout_seconds = hook.timeout_seconds();
        let bundle = text(&config["caBundle"]).to_owned();
        if let Some(url) = config["url"].as_str() {
            return Ok(Self {
                url: format!("{url}?timeout={timeout_seconds}s"),
                bundle,
                resolve: None,
                timeout_seconds,
            });
        }
        let service = &config["service"];
        let (namespace, name) = (text(&service["namespace"]), text(&service["name"]));
        // 443 is the default of a Service reference.
        let port = service["port"].as_u64().and_then(|p| u16::try_from(p).ok()).unwrap_or(443);
        let address = services.get(&(namespace.to_owned(), name.to_owned(), port));
        let Some(address) = address else { return Err(CallError::NoEndpoints(name.to_owned())) };
        // The certificate must be valid for this name, whatever address stands for it.
        let host = format!("{name}.{namespace}.svc");
        let path = text(&service["path"]);
        Ok(Self {
            url: format!("https://{host}:{}{path}?timeout={timeout_seconds}s", address.port()),
            bundle,
            resolve: Some((host, *address)),
            timeout_seconds,
        })
    }

    /// Builds a client that trusts only the `caBundle`.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, CallError> {
        let pem = STANDARD.decode(&self.bundle).unwrap_or_default();
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_for(&pem)?)
            .http1_only()
            .no_proxy()
            // A webhook must answer itself: a redirect is an unexpected status.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent("kube-apiserver-admission")
            .timeout(Duration::from_secs(self.timeout_seconds));
        if let Some((host, address)) = &self.resolve {
            builder = builder.resolve(host, *address);
        }
        let client = builder.build().map_err(|error| post_failed(&self.url, &error))?;
        Ok(Endpoint { client, url: self.url.clone() })
    }
}

impl Endpoint {
    /// Posts a review, and returns the parsed answer.
    pub(crate) async fn call(&self, review: &Value) -> Result<Value, CallError> {
        let request = self.client.post(&self.url).header("accept", "application/json, */*").json(review);
        let response = request.send().await.map_err(|error| post_failed(&self.url, &error))?;
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(|error| post_failed(&self.url, &error))?;
        if status != 200 {
            return Err(CallError::Status(status));
        }
        serde_json::from_slice(&body).map_err(|e| CallError::NotJson(e.to_string()))
    }
}

fn post_failed(url: &str, error: &reqwest::Error) -> CallError {
    CallError::Post { url: url.to_owned(), reason: worded_as_in_go(error) }
}

fn worded_as_in_go(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        // Go reports the deadline of the request, not the state of the connection.
        return "context deadline exceeded".to_owned();
    }
    // reqwest's own message names only the URL; the innermost error has the reason.
    let mut innermost = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        innermost = cause.to_string();
        source = cause.source();
    }
    if innermost.contains("UnknownIssuer") || innermost.contains("certificate") {
        return format!("tls: failed to verify certificate: x509: {innermost}");
    }
    if innermost.contains("onnection refused") {
        return "connect: connection refused".to_owned();
    }
    innermost
}

/// A recorded call to a webhook, for tests.
#[derive(Debug, Clone, PartialEq)]
pub struct Admission {
    /// The webhook's name in its configuration.
    pub webhook: String,
    /// The `AdmissionReview` that was sent.
    pub review: Value,
    /// The result of the call.
    pub outcome: Outcome,
}

/// The result of a call to a webhook.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The webhook allowed the request.
    Allowed {
        /// The decoded JSON patch, if the answer has one.
        patch: Option<Value>,
        /// The warnings that the user gets.
        warnings: Vec<String>,
        /// The `auditAnnotations` of the answer.
        audit: Value,
    },
    /// The webhook denied the request.
    Denied {
        /// The error message that the user gets.
        message: String,
        /// The warnings that the user gets besides.
        warnings: Vec<String>,
        /// The `auditAnnotations` of the answer.
        audit: Value,
    },
    /// The call failed, or its answer is invalid.
    Failed {
        /// The reason.
        message: String,
        /// `true` if the failure policy let the request pass.
        ignored: bool,
    },
}
