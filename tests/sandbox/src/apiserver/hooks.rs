//! Calling webhooks: TLS, timeouts, and the words that users get when it fails.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::admission::Hook;
use crate::tls::{self, TlsError};

/// Where Services lead, since there is no cluster network: (namespace, name, port) to address.
pub(crate) type Services = BTreeMap<(String, String, u16), SocketAddr>;

/// A webhook as it is called: one connection pool each, as the real one keeps.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    client: reqwest::Client,
    /// With the `?timeout=` that the API server appends.
    url: String,
}

/// Where a webhook is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address {
    url: String,
    bundle: String,
    /// The address that stands for the host name of a Service.
    resolve: Option<(String, SocketAddr)>,
    timeout_seconds: u64,
}

/// Why a webhook gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The configuration names a Service that leads nowhere.
    #[error("no endpoints available for service {0:?}")]
    NoEndpoints(String),
    /// No certificate to trust.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The connection, the deadline or the certificate.
    #[error("Post {url:?}: {why}")]
    Post {
        /// With the timeout.
        url: String,
        /// In Go's words where we know them.
        why: String,
    },
    /// Not 200.
    #[error("the server rejected our request for an unknown reason (HTTP {0})")]
    Status(u16),
    /// Not JSON.
    #[error("couldn't get version/kind; json parse error: {0}")]
    Garbage(String),
}

impl Address {
    pub(crate) fn of(hook: &Hook, services: &Services) -> Result<Self, CallError> {
        let config = hook.client_config();
        let timeout_seconds = hook.timeout_seconds();
        let bundle = config["caBundle"].as_str().unwrap_or_default().to_owned();
        if let Some(url) = config["url"].as_str() {
            return Ok(Self {
                url: format!("{url}?timeout={timeout_seconds}s"),
                bundle,
                resolve: None,
                timeout_seconds,
            });
        }
        let service = &config["service"];
        let text = |key: &str| service[key].as_str().unwrap_or_default();
        let port = service["port"].as_u64().and_then(|p| u16::try_from(p).ok()).unwrap_or(443);
        let key = (text("namespace").to_owned(), text("name").to_owned(), port);
        let Some(address) = services.get(&key) else { return Err(CallError::NoEndpoints(key.1)) };
        let host = format!("{}.{}.svc", key.1, key.0);
        Ok(Self {
            url: format!("https://{host}:{}{}?timeout={timeout_seconds}s", address.port(), text("path")),
            bundle,
            resolve: Some((host, *address)),
            timeout_seconds,
        })
    }

    pub(crate) fn endpoint(&self) -> Result<Endpoint, CallError> {
        let pem = STANDARD.decode(&self.bundle).unwrap_or_default();
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_for(&pem)?)
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent("kube-apiserver-admission")
            .timeout(Duration::from_secs(self.timeout_seconds));
        if let Some((host, address)) = &self.resolve {
            builder = builder.resolve(host, *address);
        }
        let client = builder.build().map_err(|e| self.failed(&e))?;
        Ok(Endpoint { client, url: self.url.clone() })
    }

    fn failed(&self, error: &reqwest::Error) -> CallError {
        CallError::Post { url: self.url.clone(), why: in_gos_words(error) }
    }
}

impl Endpoint {
    pub(crate) async fn call(&self, review: &Value) -> Result<Value, CallError> {
        let failed =
            |error: reqwest::Error| CallError::Post { url: self.url.clone(), why: in_gos_words(&error) };
        let request = self.client.post(&self.url).header("accept", "application/json, */*").json(review);
        let response = request.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(failed)?;
        if status != 200 {
            return Err(CallError::Status(status));
        }
        serde_json::from_slice(&body).map_err(|e| CallError::Garbage(e.to_string()))
    }
}

fn in_gos_words(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "context deadline exceeded".to_owned();
    }
    let mut chain = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        chain = cause.to_string();
        source = cause.source();
    }
    if chain.contains("UnknownIssuer") || chain.contains("certificate") {
        return format!("tls: failed to verify certificate: x509: {chain}");
    }
    if chain.contains("onnection refused") {
        return "connect: connection refused".to_owned();
    }
    chain
}

/// One webhook that was asked, for tests to look at.
#[derive(Debug, Clone, PartialEq)]
pub struct Admission {
    /// The webhook's name.
    pub webhook: String,
    /// The review that was sent.
    pub review: Value,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of asking a webhook.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It let the request pass.
    Allowed {
        /// The decoded patch.
        patch: Option<Value>,
        /// What the user is told.
        warnings: Vec<String>,
        /// What goes to the audit log.
        audit: Value,
    },
    /// It said no.
    Denied {
        /// What the user gets.
        message: String,
        /// What the user is told besides.
        warnings: Vec<String>,
        /// What goes to the audit log.
        audit: Value,
    },
    /// It couldn't be asked, or its answer is no answer.
    Failed {
        /// What is wrong.
        message: String,
        /// The failure policy let the request pass.
        ignored: bool,
    },
}

/// `Warning: 299 - "text"`, one header each.
pub(crate) fn warning_header(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("299 - {}", json!(plain))
}
