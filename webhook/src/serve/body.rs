//! Reading a review's body within limits of size, time and memory.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderName, StatusCode};
use http_body_util::BodyExt as _;
use thiserror::Error;
use tokio::time::timeout;

use super::budget::{Budget, Reservation, Short};

/// The longest body. API servers accept objects of 3 MiB, and a review contains the old and the new one.
const MAX_LENGTH: usize = 7 << 20;
/// An API server sends a body within milliseconds; a slower client only occupies memory.
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
    /// The memory for bodies is taken, or another body took this one's part of it.
    #[error("too many reviews at a time: try again")]
    Crowded,
}

impl From<Short> for BodyError {
    fn from(_: Short) -> Self {
        Self::Crowded
    }
}

impl BodyError {
    /// The label of the metric.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::MediaType => "media-type",
            Self::TooLarge => "too-large",
            Self::Incomplete => "incomplete",
            Self::TooSlow => "too-slow",
            Self::Crowded => "crowded",
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Incomplete => StatusCode::BAD_REQUEST,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Crowded => StatusCode::TOO_MANY_REQUESTS,
        }
    }
}

/// A complete body, and its part of the budget.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    _room: Reservation,
}

pub(crate) async fn read(request: Request, budget: &Arc<Budget>) -> Result<Received, BodyError> {
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
    let room = budget.open();
    let length = announced.unwrap_or(MAX_LENGTH);
    let collected = tokio::select! {
        collected = timeout(READ_TIMEOUT, collect(request, length, &room)) => collected,
        () = room.dropped() => return Err(BodyError::Crowded),
    };
    let bytes = collected.map_err(|_| BodyError::TooSlow)??;
    room.complete()?;
    Ok(Received { bytes, _room: room })
}

/// `expected` is the announced length, or the longest one.
async fn collect(request: Request, expected: usize, room: &Reservation) -> Result<Vec<u8>, BodyError> {
    let mut body = request.into_body();
    let mut bytes = Vec::with_capacity(ORDINARY_LENGTH);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyError::Incomplete)?;
        // Trailers are not part of the body.
        let Ok(data) = frame.into_data() else { continue };
        let length = bytes.len() + data.len();
        if length > MAX_LENGTH {
            return Err(BodyError::TooLarge);
        }
        room.grow(length, expected)?;
        if length > bytes.capacity() {
            // One allocation for the rest: while a long body is moved to a larger one, it would take twice its room. Pages
            // that are not written yet take none.
            bytes.reserve_exact(expected.max(length) - bytes.len());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// A review of a StatefulSet in about twice its usual length, so that most bodies are collected without a reallocation.
const ORDINARY_LENGTH: usize = 16 << 10;

fn header<'r>(request: &'r Request, name: &HeaderName) -> Option<&'r str> {
    request.headers().get(name)?.to_str().ok()
}
