//! The routes of both ports.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::map_response_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use contract::ports;
use inject::{Settings, Text};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::{CatchPanicLayer, ResponseForPanic};
use tracing::{error, info, warn};

use super::body;
use super::readiness::Readiness;
use crate::admission::{self, Answer, admit_body};
use crate::metrics::{CONTENT_TYPE as METRICS_TYPE, Metrics};

/// The state that all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<Metrics>,
    /// One permit per review in flight.
    pub(crate) slots: Semaphore,
    pub(crate) max_inflight: usize,
    pub(crate) readiness: Arc<Readiness>,
    /// Cancelled on SIGTERM.
    pub(crate) draining: CancellationToken,
}

/// The routes of the TLS port.
pub(crate) fn admission(shared: Arc<Shared>) -> Router {
    Router::new()
        .route(ports::MUTATE, post(mutate))
        .fallback(async || refuse(StatusCode::NOT_FOUND, ONLY_MUTATE))
        .method_not_allowed_fallback(async || refuse(StatusCode::METHOD_NOT_ALLOWED, ONLY_MUTATE))
        .layer(CatchPanicLayer::custom(PanicHandler(shared.clone())))
        .layer(map_response_with_state(shared.clone(), close_when_draining))
        .with_state(shared)
}

/// The routes of the plain port.
pub(crate) fn probes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route(ports::LIVEZ, get(async || "ok\n"))
        .route(ports::READYZ, get(readyz))
        .route(ports::METRICS, get(metrics))
        .with_state(shared)
}

const ONLY_MUTATE: &str = "only 'POST /mutate' is served here";

async fn mutate(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    // Refused rather than queued: past its timeout the caller is gone. Go's client retries after `Retry-After`, so the
    // wait takes place where the caller's deadline is known.
    let Ok(_slot) = shared.slots.try_acquire() else {
        shared.metrics.shed.inc();
        let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, "too many reviews at a time: try again");
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        return response;
    };
    // From here on: the time of a refused request would distort the histogram.
    let begun = Instant::now();
    let body = match body::read(request).await {
        Ok(body) => body,
        Err(error) => {
            shared.metrics.refused(error.as_str());
            return refuse(error.status(), &error.to_string());
        }
    };
    shared.metrics.body(body.len());
    match admit_body(&shared.settings, &body) {
        Ok((request, answer)) => {
            let duration = begun.elapsed();
            shared.metrics.answered(request.operation, &answer, duration);
            log(&request, &answer, duration);
            ([(CONTENT_TYPE, "application/json")], answer.response.to_json()).into_response()
        }
        Err(error) => {
            let error = error.to_string();
            warn!(error, "malformed review");
            shared.metrics.refused("malformed");
            refuse(StatusCode::BAD_REQUEST, &error)
        }
    }
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, format!("{message}\n")).into_response()
}

fn log(request: &admission::Request<'_>, answer: &Answer, duration: Duration) {
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

fn text<'t>(text: &'t Option<Text<'_>>) -> &'t str {
    text.as_ref().map_or("", Text::as_str)
}

/// Answers a request after a panic of its handler. No panic is known; if there is one, its caller still gets an answer,
/// and other callers are not affected.
#[derive(Clone)]
struct PanicHandler(Arc<Shared>);

impl ResponseForPanic for PanicHandler {
    type ResponseBody = Body;

    fn response_for_panic(&mut self, panic: Box<dyn Any + Send>) -> axum::http::Response<Body> {
        // `panic!` carries a &str without arguments and a String with some.
        let text =
            panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        error!(panic = text.unwrap_or("unknown"), "a review made the webhook panic: please report it");
        self.0.metrics.panics.inc();
        refuse(StatusCode::INTERNAL_SERVER_ERROR, "the webhook failed on this review: please report it")
    }
}

/// After SIGTERM, closes each connection with its next answer, so that callers move to another replica and lose no call.
async fn close_when_draining(State(shared): State<Arc<Shared>>, mut response: Response) -> Response {
    if shared.draining.is_cancelled() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    // Before anything else: the endpoint must leave the Service although its certificate is accepted.
    if shared.draining.is_cancelled() {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "stopping");
    }
    match shared.readiness.problem() {
        Some(problem) => refuse(StatusCode::SERVICE_UNAVAILABLE, &problem),
        None => "ok\n".into_response(),
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    // Derived from the free slots, so that no path can forget to count down.
    let in_flight = shared.max_inflight - shared.slots.available_permits();
    ([(CONTENT_TYPE, METRICS_TYPE)], shared.metrics.encode(in_flight)).into_response()
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
            .layer(CatchPanicLayer::custom(PanicHandler(shared.clone())));
        for _ in 0..2 {
            let answer = panics.clone().oneshot(Request::new(Body::empty())).await.unwrap();
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        }
        assert!(shared.metrics.encode(0).contains("couchdiscover_webhook_panics_total 2"));
    }
}
