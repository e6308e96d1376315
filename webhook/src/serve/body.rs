//! Reading a review's body within limits of size and time.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderName, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use thiserror::Error;
use tokio::time::timeout;

/// The longest body. API servers accept objects of 3 MiB, and a review contains the old and the new one.
const MAX_LENGTH: usize = 7 << 20;
/// An API server sends a body within milliseconds; a slower client only occupies a slot.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// A body that was not read to its end.
#[derive(Clone, Copy, Debug, Error)]
pub(crate) enum BodyError {
    #[error("expected a body of 'application/json'")]
    MediaType,
    #[error("the body is longer than {MAX_LENGTH} bytes, and no review is")]
    TooLarge,
    /// The connection ended before the announced length.
    #[error("the body ended early")]
    Incomplete,
    #[error("the body did not arrive within {READ_TIMEOUT:?}")]
    TooSlow,
}

impl BodyError {
    /// The label of the metric.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::MediaType => "media-type",
            Self::TooLarge => "too-large",
            Self::Incomplete => "incomplete",
            Self::TooSlow => "too-slow",
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Incomplete => StatusCode::BAD_REQUEST,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
        }
    }
}

pub(crate) async fn read(request: Request) -> Result<Bytes, BodyError> {
    // A request without a media type is read: the review's own fields name its format.
    let media_type = header(&request, &CONTENT_TYPE);
    if media_type.is_some_and(|media_type| !media_type.trim_start().starts_with("application/json")) {
        return Err(BodyError::MediaType);
    }
    // A body that is announced too long is not received at all; a chunked one is cut off at the limit.
    let announced = header(&request, &CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|length| length > MAX_LENGTH) {
        return Err(BodyError::TooLarge);
    }
    let collected = Limited::new(request.into_body(), MAX_LENGTH).collect();
    match timeout(READ_TIMEOUT, collected).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Ok(Err(_)) => Err(BodyError::Incomplete),
        Err(_) => Err(BodyError::TooSlow),
    }
}

fn header<'r>(request: &'r Request, name: &HeaderName) -> Option<&'r str> {
    request.headers().get(name)?.to_str().ok()
}
