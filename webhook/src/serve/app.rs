//! The routes of both ports.

use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::map_response_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use contract::error::chain;
use contract::ports;
use contract::text::{MESSAGE_LIMIT, cut, one_line};
use inject::{Reason, Settings, Text};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::{CatchPanicLayer, ResponseForPanic};
use tracing::{error, info, warn};

use super::body::{self, BodyError};
use super::budget::Budget;
use super::pool::{Connection, Pool};
use super::readiness::Readiness;
use crate::admission::review::Error as ReviewError;
use crate::admission::{self, Answer, admit_body, scale_request};
use crate::guard::Guard;
use crate::metrics::{CONTENT_TYPE as METRICS_TYPE, Metrics};

/// The state that all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<Metrics>,
    /// One permit per review that is being answered.
    pub(crate) slots: Semaphore,
    pub(crate) budget: Arc<Budget>,
    /// The connections of the TLS port.
    pub(crate) connections: Arc<Pool>,
    pub(crate) readiness: Arc<Readiness>,
    /// Judges requests that remove nodes.
    pub(crate) guard: Guard,
    /// Cancelled on SIGTERM.
    pub(crate) draining: CancellationToken,
}

/// The routes of the TLS port.
pub(crate) fn admission(shared: Arc<Shared>) -> Router {
    Router::new()
        .route(ports::MUTATE, post(mutate))
        .route(ports::SCALE, post(scale))
        .fallback(async || refuse(StatusCode::NOT_FOUND, ONLY_REVIEWS))
        .method_not_allowed_fallback(async || refuse(StatusCode::METHOD_NOT_ALLOWED, ONLY_REVIEWS))
        .layer(CatchPanicLayer::custom(PanicHandler(shared.clone())))
        .layer(map_response_with_state(shared.clone(), close_unless_answered))
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

const ONLY_REVIEWS: &str = "only 'POST /mutate' and 'POST /scale' are served here";

async fn mutate(
    State(shared): State<Arc<Shared>>,
    Extension(connection): Extension<Arc<Connection>>,
    request: Request,
) -> Response {
    review(&shared, connection, request, Reviewed::StatefulSet).await
}

async fn scale(
    State(shared): State<Arc<Shared>>,
    Extension(connection): Extension<Arc<Connection>>,
    request: Request,
) -> Response {
    review(&shared, connection, request, Reviewed::Scale).await
}

/// The kind of the reviewed objects, which the path tells apart.
#[derive(Clone, Copy, Debug)]
enum Reviewed {
    StatefulSet,
    Scale,
}

async fn review(
    shared: &Shared,
    connection: Arc<Connection>,
    request: Request,
    reviewed: Reviewed,
) -> Response {
    let begun = Instant::now();
    let exchange = connection.receive();
    let body = match body::read(request, &shared.budget).await {
        Ok(body) => body.bytes,
        Err(BodyError::Crowded) => return shed(shared),
        Err(error) => {
            shared.metrics.refused(error.as_str());
            return refuse(error.status(), &error.to_string());
        }
    };
    exchange.answer();
    // After the body is there: a caller that holds its body back must not keep others from being answered.
    let Ok(_slot) = shared.slots.try_acquire() else { return shed(shared) };
    shared.metrics.body(body.len());
    let answered = match reviewed {
        Reviewed::StatefulSet => stateful_set(shared, &body).await,
        Reviewed::Scale => subresource(shared, &body).await,
    };
    match answered {
        Ok((request, answer)) => {
            let json = answer.response.to_json();
            if json.len() > MAX_ANSWER_LENGTH {
                shared.metrics.refused("answer-too-large");
                return refuse(StatusCode::PAYLOAD_TOO_LARGE, ANSWER_TOO_LARGE);
            }
            let duration = begun.elapsed();
            shared.metrics.answered(request.operation, &answer, duration);
            log(&request, &answer, duration);
            exchange.prove();
            ([(CONTENT_TYPE, "application/json")], json).into_response()
        }
        Err(error) => {
            // It may quote the body, which any pod can send.
            let error = one_line(&error.to_string(), MESSAGE_LIMIT).into_owned();
            warn!(error, "malformed review");
            shared.metrics.refused("malformed");
            refuse(StatusCode::BAD_REQUEST, &error)
        }
    }
}

/// Answers the review of a StatefulSet. Only one that removes nodes takes I/O.
async fn stateful_set<'a>(
    shared: &Shared,
    body: &'a [u8],
) -> Result<(admission::Request<'a>, Answer), ReviewError> {
    let (request, mut answer) = admit_body(&shared.settings, body)?;
    if let Some(scale_down) = answer.scale_down.take() {
        let verdict = shared.guard.judge_update(&scale_down).await;
        answer = answer.judged(&shared.settings, &scale_down, &verdict);
    }
    Ok((request, answer))
}

/// Answers the review of a Scale.
async fn subresource<'a>(
    shared: &Shared,
    body: &'a [u8],
) -> Result<(admission::Request<'a>, Answer), ReviewError> {
    let request = admission::Request::parse(body)?;
    let allowed = |reason| Answer::scale_allowed(&shared.settings, &request, reason);
    let answer = match scale_request(&request) {
        None => allowed(Reason::NoNodesRemoved),
        Some(scale) => match shared.guard.judge_scale(&scale, request.dry_run).await {
            Ok(None) => allowed(Reason::NotLabelled),
            Ok(Some((scale_down, verdict))) => {
                allowed(Reason::NodesRemovable).scale_judged(&shared.settings, &scale_down, &verdict)
            }
            // It may be any StatefulSet of the cluster. Those of others must not be held up, so this is like an absent
            // webhook.
            Err(error) => {
                let error = chain(&error);
                warn!(error, namespace = scale.namespace, name = scale.name, "scaled down without a check");
                let mut answer = allowed(Reason::SetUnread);
                answer.response.warnings.push(one_line(&unread(&error), MESSAGE_LIMIT).into_owned());
                answer
            }
        },
    };
    Ok((request, answer))
}

fn unread(error: &str) -> String {
    // An API server may cut a warning at 256 characters.
    format!(
        "couchdiscover could not check whether nodes of a CouchDB cluster are removed: {}",
        cut(error, 160)
    )
}

/// Answers are held until the caller fetches them, and all connections together must fit into the memory limit. The
/// longest known one has about 12 kB.
const MAX_ANSWER_LENGTH: usize = 128 << 10;
const ANSWER_TOO_LARGE: &str =
    "the patch of this review would be longer than 128 kB. Fix: shorten the annotations of couchdiscover.io";

/// Refuses a review that may be sent again. Refused rather than queued: past its timeout the caller is gone. Go's client
/// retries after `Retry-After`, so the wait takes place where the caller's deadline is known.
fn shed(shared: &Shared) -> Response {
    shared.metrics.shed.inc();
    let error = BodyError::Crowded;
    let mut response = refuse(error.status(), &error.to_string());
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, format!("{message}\n")).into_response()
}

fn log(request: &admission::Request<'_>, answer: &Answer, duration: Duration) {
    info!(
        uid = &*cut(request.uid.as_str(), NAME_LIMIT),
        namespace = &*text(&request.namespace),
        name = &*text(&request.name),
        operation = request.operation.as_str(),
        dry_run = request.dry_run,
        outcome = answer.outcome.as_str(),
        reason = answer.reason.as_str(),
        denial = answer.response.denial.as_ref().map(|denial| cut(&denial.message, DENIAL_LIMIT)).as_deref(),
        warnings = answer.response.warnings.len(),
        duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
        "review"
    );
}

fn text<'t>(text: &'t Option<Text<'_>>) -> Cow<'t, str> {
    cut(text.as_ref().map_or("", Text::as_str), NAME_LIMIT)
}

/// The longest name in Kubernetes. A review that no API server sent can contain names of megabytes, and a log line of
/// that length would push others out of the kubelet's rotated files.
const NAME_LIMIT: usize = 253;
/// The denial of a StatefulSet with every setting wrong has about 3 kB.
const DENIAL_LIMIT: usize = 4096;

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
        let text = cut(text.unwrap_or("unknown"), MESSAGE_LIMIT);
        error!(panic = &*text, "a review made the webhook panic: please report it");
        self.0.metrics.panics.inc();
        refuse(StatusCode::INTERNAL_SERVER_ERROR, "the webhook failed on this review: please report it")
    }
}

/// Keeps the connection only after an answered review. A refused request was not an API server's, and after SIGTERM
/// callers must move to another replica, so that they lose no call.
async fn close_unless_answered(State(shared): State<Arc<Shared>>, mut response: Response) -> Response {
    if shared.draining.is_cancelled() || response.status() != StatusCode::OK {
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
    let in_flight = shared.connections.in_flight();
    ([(CONTENT_TYPE, METRICS_TYPE)], shared.metrics.encode(in_flight)).into_response()
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt as _;

    use super::*;
    use crate::kubernetes::Kubernetes;
    use crate::serve::budget::Limits;
    use crate::serve::pool::Capacity;

    fn shared(slots: usize) -> Arc<Shared> {
        Arc::new(Shared {
            settings: Settings {
                agent_image: String::new(),
                cluster_domain: String::new(),
                version: String::new(),
                defaults: inject::Defaults::default(),
            },
            metrics: Arc::new(Metrics::new()),
            slots: Semaphore::new(slots),
            budget: Budget::new(Limits::default()),
            connections: Arc::new(Pool::new(Capacity { total: 1, per_address: 1 })),
            readiness: Arc::new(Readiness::default()),
            guard: Guard::new(Kubernetes::Off),
            draining: CancellationToken::new(),
        })
    }

    #[tokio::test]
    async fn a_panic_is_answered_and_counted() {
        let shared = shared(1);
        let panics = Router::new()
            .route("/", get(async || -> &'static str { panic!("on purpose") }))
            .layer(CatchPanicLayer::custom(PanicHandler(shared.clone())));
        for _ in 0..2 {
            let answer = panics.clone().oneshot(Request::new(Body::empty())).await.unwrap();
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        }
        assert!(shared.metrics.encode(0).contains("couchdiscover_webhook_panics_total 2"));
    }

    #[tokio::test]
    async fn a_review_without_a_slot_may_be_sent_again() {
        let shared = shared(0);
        let (connection, _) = shared.connections.enter([10, 0, 0, 1].into()).unwrap();
        let mut request = Request::post(ports::MUTATE).body(Body::from("{}")).unwrap();
        request.extensions_mut().insert(Arc::new(connection));
        let answer = admission(shared.clone()).oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(answer.headers()[RETRY_AFTER], "1");
        assert!(shared.metrics.encode(0).contains("couchdiscover_webhook_reviews_shed_total 1"));
        assert_eq!(shared.connections.in_flight(), 0);
    }
}
