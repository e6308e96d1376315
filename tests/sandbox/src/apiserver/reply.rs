//! Answers, and their form on the wire.

use std::convert::Infallible;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use serde_json::{Value, json};

/// A body that is sent at once, or as a stream.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// An answer.
pub(crate) enum Reply {
    /// Status, body and warnings.
    Object(u16, Value, Vec<String>),
    /// Plain text with status 200.
    Text(&'static str),
    /// The events of a watch.
    Stream(Body),
    /// The answer of a pod.
    Page(Page),
}

/// The answer of a pod to a request through the API server, unchanged.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Object(status, _, _) => *status,
            Self::Page(page) => page.status,
            Self::Text(_) | Self::Stream(_) => 200,
        }
    }

    pub(crate) fn into_response(self) -> hyper::Response<Body> {
        let status = hyper::StatusCode::from_u16(self.status());
        let json = HeaderValue::from_static("application/json");
        let (content_type, body, warnings) = match self {
            Self::Object(_, value, warnings) => (json, full(value.to_string()), warnings),
            Self::Text(text) => (HeaderValue::from_static("text/plain"), full(text), Vec::new()),
            Self::Stream(body) => (json, body, Vec::new()),
            Self::Page(page) => {
                let content_type = HeaderValue::from_str(&page.content_type).unwrap_or(json);
                (content_type, full(page.body), Vec::new())
            }
        };
        let mut response = hyper::Response::new(body);
        *response.status_mut() = status.unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert("content-type", content_type);
        headers.insert("cache-control", HeaderValue::from_static("no-cache, private"));
        // One header for each warning, which `kubectl` prints on its own line.
        for warning in warnings {
            if let Ok(value) = HeaderValue::from_str(&warning_header(&warning)) {
                headers.append("warning", value);
            }
        }
        response
    }
}

fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).boxed_unsync()
}

/// Formats as `299 - "text"`, with control characters replaced by spaces, since a header must be one line.
fn warning_header(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("299 - {}", json!(plain))
}
