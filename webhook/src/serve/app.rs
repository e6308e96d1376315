//! What is answered on which path.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::map_response_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use contract::ports;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::{CatchPanicLayer, ResponseForPanic};
use tracing::{error, info, warn};

use inject::Settings;

use super::readiness::Readiness;
use crate::admission::{Answer, admit_body, review};
use crate::metrics::{CONTENT, Metrics};

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) slots: Semaphore,
    pub(crate) max_inflight: usize,
    pub(crate) readiness: Arc<Readiness>,
    /// SIGTERM was received.
    pub(crate) draining: CancellationToken,
}

/// The longest body. API servers accept objects of 3 MiB, and a review carries the old and the new one.
pub(crate) const BODY_LIMIT: usize = 7 << 20;

/// What is served over TLS.
pub(crate) fn admission(shared: Arc<Shared>) -> Router {
    Router::new()
        .route(ports::MUTATE, post(mutate))
        .fallback(async || refuse(StatusCode::NOT_FOUND, ONLY))
        .method_not_allowed_fallback(async || refuse(StatusCode::METHOD_NOT_ALLOWED, ONLY))
        .layer(CatchPanicLayer::custom(Panicked(shared.clone())))
        .layer(map_response_with_state(shared.clone(), close_when_draining))
        .with_state(shared)
}

/// What is served in the clear.
pub(crate) fn probes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route(ports::LIVEZ, get(async || "ok\n"))
        .route(ports::READYZ, get(readyz))
        .route(METRICS, get(metrics))
        .with_state(shared)
}

const ONLY: &str = "only 'POST /mutate' is served here";
/// Where Prometheus looks.
const METRICS: &str = "/metrics";
/// A body takes milliseconds from an API server; who takes longer only holds a slot.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

async fn mutate(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    // Not waiting: past its timeout the caller would be gone, and the answer made for nobody. A client of the Go
    // kind comes back after `Retry-After`, so the wait happens where the caller's deadline is known.
    let Ok(_slot) = shared.slots.try_acquire() else {
        shared.metrics.shed.inc();
        let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, "too many reviews at a time: try again");
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        return response;
    };
    let begun = Instant::now();
    let body = match read(request).await {
        Ok(body) => body,
        Err(refusal) => {
            shared.metrics.refused(refusal.word());
            return refusal.answer();
        }
    };
    shared.metrics.body(body.len());
    match admit_body(&shared.settings, &body) {
        Ok((request, answer)) => {
            let duration = begun.elapsed();
            shared.metrics.answered(request.operation, &answer, duration);
            log(&request, &answer, duration);
            let json = answer.response.to_json();
            ([(CONTENT_TYPE, "application/json")], json).into_response()
        }
        Err(error) => {
            warn!(%error, "malformed review");
            shared.metrics.refused("malformed");
            refuse(StatusCode::BAD_REQUEST, &error.to_string())
        }
    }
}

/// Why a body was not read.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    /// It isn't JSON, as its header says.
    MediaType,
    /// It is longer than any review.
    TooLarge,
    /// It ended before its announced end.
    Incomplete,
    /// It took too long to arrive.
    TooSlow,
}

impl Refusal {
    fn word(self) -> &'static str {
        match self {
            Self::MediaType => "media-type",
            Self::TooLarge => "too-large",
            Self::Incomplete => "incomplete",
            Self::TooSlow => "too-slow",
        }
    }

    fn answer(self) -> Response {
        match self {
            Self::MediaType => {
                refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected a body of 'application/json'")
            }
            Self::TooLarge => {
                let message = format!("the body is longer than {BODY_LIMIT} bytes, which no review is");
                refuse(StatusCode::PAYLOAD_TOO_LARGE, &message)
            }
            Self::Incomplete => refuse(StatusCode::BAD_REQUEST, "the body ended early"),
            Self::TooSlow => refuse(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"),
        }
    }
}

async fn read(request: Request) -> Result<Bytes, Refusal> {
    let headers = request.headers();
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if text(CONTENT_TYPE).is_some_and(|kind| !kind.trim_start().starts_with("application/json")) {
        return Err(Refusal::MediaType);
    }
    let announced: Option<usize> = text(CONTENT_LENGTH).and_then(|length| length.parse().ok());
    if announced.is_some_and(|length| length > BODY_LIMIT) {
        return Err(Refusal::TooLarge);
    }
    let collected = Limited::new(request.into_body(), BODY_LIMIT).collect();
    match timeout(BODY_TIMEOUT, collected).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge),
        Ok(Err(_)) => Err(Refusal::Incomplete),
        Err(_) => Err(Refusal::TooSlow),
    }
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, format!("{message}\n")).into_response()
}

fn log(request: &review::Request<'_>, answer: &Answer, duration: Duration) {
    let text = |text: &Option<inject::Text<'_>>| text.as_ref().map_or("", |text| text.as_str()).to_owned();
    info!(
        uid = request.uid.as_str(),
        namespace = text(&request.namespace),
        name = text(&request.name),
        operation = request.operation.as_str(),
        dry_run = request.dry_run,
        outcome = answer.outcome.as_str(),
        reason = answer.reason.as_str(),
        denial = answer.response.denial,
        warnings = answer.response.warnings.len(),
        duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
        "review"
    );
}

/// Never met, since nothing here may panic; but were it, the caller would get an answer and the others theirs.
#[derive(Clone)]
struct Panicked(Arc<Shared>);

impl ResponseForPanic for Panicked {
    type ResponseBody = Body;

    fn response_for_panic(&mut self, panic: Box<dyn Any + Send>) -> axum::http::Response<Body> {
        let text =
            panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        error!(panic = text.unwrap_or("unknown"), "a review made the webhook panic: please report it");
        self.0.metrics.panics.inc();
        refuse(StatusCode::INTERNAL_SERVER_ERROR, "the webhook failed on this review: please report it")
    }
}

/// From SIGTERM on, each connection is closed with its next answer, so that callers move to another replica without
/// a call being lost.
async fn close_when_draining(State(shared): State<Arc<Shared>>, mut response: Response) -> Response {
    if shared.draining.is_cancelled() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    let unready = |why| refuse(StatusCode::SERVICE_UNAVAILABLE, why);
    match (shared.draining.is_cancelled(), shared.readiness.why_not()) {
        (true, _) => unready("stopping"),
        (false, Some(why)) => unready(&why),
        (false, None) => "ok\n".into_response(),
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let in_flight = shared.max_inflight - shared.slots.available_permits();
    ([(CONTENT_TYPE, CONTENT)], shared.metrics.encode(in_flight)).into_response()
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_answered_and_counted() {
        let shared = Arc::new(Shared {
            settings: Settings {
                agent_image: String::new(),
                cluster_domain: String::new(),
                version: String::new(),
            },
            metrics: Arc::new(Metrics::new()),
            slots: Semaphore::new(1),
            max_inflight: 1,
            readiness: Arc::new(Readiness::default()),
            draining: CancellationToken::new(),
        });
        let panics = Router::new()
            .route("/", get(async || -> &'static str { panic!("on purpose") }))
            .layer(CatchPanicLayer::custom(Panicked(shared.clone())));
        for _ in 0..2 {
            let answer = panics.clone().oneshot(Request::new(Body::empty())).await.unwrap();
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        }
        assert!(shared.metrics.encode(0).contains("couchdiscover_webhook_panics_total 2"));
    }
}
