//! Calls of users to the API server.

use reqwest::{Certificate, Method};
use serde_json::Value;

/// A client of the API server, authenticated by a token.
#[derive(Clone, Debug)]
pub struct User {
    http: reqwest::Client,
    url: String,
    token: String,
}

/// An answer of the API server.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status code.
    pub code: u16,
    /// The object, or a `Status` with the reason of the failure.
    pub body: Value,
    /// The texts that `kubectl` prints after `Warning: `.
    pub warnings: Vec<String>,
}

impl User {
    /// A client with this token, which trusts the certificates of `authority`, in PEM.
    pub(crate) fn new(url: &str, authority: &[u8], token: &str) -> Result<Self, reqwest::Error> {
        let authority = Certificate::from_pem_bundle(authority)?;
        let http = reqwest::Client::builder().tls_certs_only(authority).no_proxy().build()?;
        Ok(Self { http, url: url.to_owned(), token: token.to_owned() })
    }

    /// Reads an object.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &Value::Null).await
    }

    /// Creates an object, as `kubectl create` does.
    pub async fn create(&self, object: &Value) -> Answer {
        self.send(Method::POST, &collection(object), object).await
    }

    /// Like [`Self::create`], as a dry run.
    pub async fn try_create(&self, object: &Value) -> Answer {
        self.send(Method::POST, &dry(&collection(object)), object).await
    }

    /// Replaces the stored object, as `kubectl replace` does.
    pub async fn replace(&self, object: &Value) -> Answer {
        self.send(Method::PUT, &path(object), object).await
    }

    /// Like [`Self::replace`], as a dry run.
    pub async fn try_replace(&self, object: &Value) -> Answer {
        self.send(Method::PUT, &dry(&path(object)), object).await
    }

    /// Applies an object, as `kubectl apply --server-side --force-conflicts` does.
    pub async fn apply(&self, object: &Value) -> Answer {
        let path = format!("{}?fieldManager=tests&force=true", path(object));
        let request =
            self.request(Method::PATCH, &path).header("Content-Type", "application/apply-patch+yaml");
        finish(request.body(object.to_string())).await
    }

    /// Applies a merge patch, as `kubectl patch --type=merge` does.
    pub async fn merge(&self, path: &str, change: &Value) -> Answer {
        let request =
            self.request(Method::PATCH, path).header("Content-Type", "application/merge-patch+json");
        finish(request.body(change.to_string())).await
    }

    /// Deletes an object; `options` may be null.
    pub async fn delete(&self, path: &str, options: &Value) -> Answer {
        self.send(Method::DELETE, path, options).await
    }

    /// Sends a request; without a body if `body` is null.
    ///
    /// # Panics
    ///
    /// If the API server doesn't answer.
    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        let request = self.request(method, path);
        let request = if body.is_null() { request } else { request.json(body) };
        finish(request).await
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token)
    }
}

impl Answer {
    /// The object of a successful answer.
    ///
    /// # Panics
    ///
    /// If the API server refused the request. The panic contains its message.
    #[track_caller]
    pub fn accepted(self) -> Value {
        assert!((200..300).contains(&self.code), "{}: {}", self.code, self.message());
        self.body
    }

    /// The message of a refusal.
    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}

/// The path of an object.
pub fn path(object: &Value) -> String {
    format!("{}/{}", collection(object), object["metadata"]["name"].as_str().unwrap_or_default())
}

/// The path of all objects of this kind, in the object's namespace if it has one.
fn collection(object: &Value) -> String {
    let api = object["apiVersion"].as_str().unwrap_or("v1");
    let root = if api.contains('/') { "apis" } else { "api" };
    let kind = object["kind"].as_str().unwrap_or_default().to_ascii_lowercase();
    // The plural of NetworkPolicy is networkpolicies.
    let kinds = match kind.strip_suffix('y') {
        Some(policy) => format!("{policy}ies"),
        None => format!("{kind}s"),
    };
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("/{root}/{api}/namespaces/{namespace}/{kinds}"),
        None => format!("/{root}/{api}/{kinds}"),
    }
}

fn dry(path: &str) -> String {
    format!("{path}?dryRun=All")
}

async fn finish(request: reqwest::RequestBuilder) -> Answer {
    let answer = request.send().await.expect("the API server answers");
    let code = answer.status().as_u16();
    let warnings = answer.headers().get_all("Warning").iter();
    let warnings = warnings.filter_map(|value| warning(&String::from_utf8_lossy(value.as_bytes()))).collect();
    let body = answer.text().await.expect("the API server answers");
    // Errors of the HTTP layer are plain text.
    Answer { code, body: serde_json::from_str(&body).unwrap_or(Value::String(body)), warnings }
}

/// The text of an HTTP warning, `299 - "text"`.
fn warning(header: &str) -> Option<String> {
    let text = header.split_once('"')?.1.rsplit_once('"')?.0;
    Some(text.replace("\\\"", "\"").replace("\\\\", "\\"))
}
