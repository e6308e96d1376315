//! A request, read from its connection.

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::select::Selector;
use super::status::ApiError;
use crate::query;

/// A request with its whole body.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Without its `?`.
    pub(crate) query: String,
    pub(crate) authorization: Option<String>,
    pub(crate) content_type: String,
    pub(crate) user_agent: String,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) async fn read(request: hyper::Request<Incoming>) -> Result<Self, hyper::Error> {
        let (parts, body) = request.into_parts();
        Ok(Self {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            authorization: header(&parts.headers, "authorization"),
            content_type: header(&parts.headers, "content-type").unwrap_or_default(),
            user_agent: header(&parts.headers, "user-agent").unwrap_or_default(),
            body: body.collect().await?.to_bytes().to_vec(),
        })
    }

    /// The decoded value of a query parameter.
    pub(crate) fn param(&self, name: &str) -> Option<String> {
        query::param(&self.query, name)
    }

    /// `true` if a query parameter is `true` or `1`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.param(name).as_deref(), Some("true" | "1"))
    }

    /// The selectors of a list or a watch.
    pub(crate) fn selector(&self) -> Selector {
        Selector::parse(self.param("labelSelector").as_deref(), self.param("fieldSelector").as_deref())
    }

    /// The body as an object; an empty object without a body.
    pub(crate) fn object(&self) -> Result<Value, ApiError> {
        if self.body.is_empty() {
            return Ok(json!({}));
        }
        let json = serde_json::from_slice(&self.body);
        // Server-side apply declares YAML, but most clients send JSON, which is valid YAML and parsed faster.
        if json.is_err() && self.content_type.contains("yaml") {
            let text = std::str::from_utf8(&self.body).map_err(bad_request)?;
            return serde_saphyr::from_str(text).map_err(bad_request);
        }
        json.map_err(bad_request)
    }
}

fn header(headers: &hyper::HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn bad_request(error: impl ToString) -> ApiError {
    ApiError::BadRequest { message: error.to_string() }
}
