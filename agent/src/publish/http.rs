//! Probes, status and metrics over plain HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use contract::error::chain;
use contract::moves::Plan;
use contract::ports;
use contract::status::Page;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::accept::Caller;
use super::{accept, exposition, html};
use crate::act::PlanInputs;
use crate::metrics::Metrics;

/// Serves until the future is dropped.
pub async fn serve(listener: TcpListener, shown: Shown) {
    accept::serve(listener, router(shown)).await;
}

/// The state that is served.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The page after the last round.
    pub page: watch::Receiver<Page>,
    /// The counters since the start.
    pub metrics: Arc<Metrics>,
    /// The inputs of plans; `None` before the first round.
    pub plans: watch::Receiver<Option<PlanInputs>>,
    /// The last plan, with its time: each reads all shard maps, and the port is open to every pod.
    pub last_plan: Arc<Mutex<Option<(Plan, Instant)>>>,
}

/// The paths `/`, `/livez`, `/readyz`, `/status`, `/plan` and `/metrics`.
pub fn router(shown: Shown) -> Router {
    Router::new()
        .route(ports::HOME, get(home))
        .route(ports::LIVEZ, get(async || "ok\n"))
        .route(ports::READYZ, get(readyz))
        .route(ports::STATUS, get(status))
        .route(ports::PLAN, get(plan))
        .route(ports::METRICS, get(metrics))
        .with_state(shown)
}

async fn readyz(State(shown): State<Shown>) -> impl IntoResponse {
    let page = shown.page.borrow();
    let code = if page.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (
        code,
        [(CONTENT_TYPE, "text/plain; charset=utf-8")],
        format!("{}: {}\n", page.readiness.reason, page.readiness.message),
    )
}

/// The page for people.
async fn home(State(shown): State<Shown>, Extension(caller): Extension<Caller>) -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, ports::HOME_TYPE),
        (CONTENT_SECURITY_POLICY, ports::HOME_POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, html::render(&shown.page_for(caller), Timestamp::now()))
}

async fn status(State(shown): State<Shown>, Extension(caller): Extension<Caller>) -> Json<Page> {
    Json(shown.page_for(caller))
}

impl Shown {
    /// The page. The admin's name and the source of the password are for callers in the pod only: the port is open to every
    /// pod of the Kubernetes cluster.
    fn page_for(&self, caller: Caller) -> Page {
        let page = self.page.borrow().clone();
        match caller {
            Caller::Pod => page,
            Caller::Network => Page { admin: None, ..page },
        }
    }
}

/// The query of a plan.
#[derive(Debug, Deserialize)]
struct PlanQuery {
    replicas: u32,
}

async fn plan(State(shown): State<Shown>, Query(PlanQuery { replicas }): Query<PlanQuery>) -> Response {
    // One at a time, and none twice within a moment.
    let mut last = shown.last_plan.lock().await;
    if let Some((plan, at)) = last.as_ref()
        && plan.replicas == replicas
        && at.elapsed() < PLAN_IS_FRESH
    {
        return Json(plan.clone()).into_response();
    }
    let inputs = shown.plans.borrow().clone();
    let Some(inputs) = inputs else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the agent has not completed a round\n").into_response();
    };
    match inputs.plan(replicas).await {
        Ok(plan) => {
            *last = Some((plan.clone(), Instant::now()));
            Json(plan).into_response()
        }
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{}\n", chain(&error))).into_response(),
    }
}

/// The time for which a plan is served again.
const PLAN_IS_FRESH: Duration = Duration::from_secs(5);

async fn metrics(State(shown): State<Shown>) -> impl IntoResponse {
    let page = shown.page.borrow().clone();
    ([(CONTENT_TYPE, exposition::CONTENT_TYPE)], exposition::render(page, shown.metrics.counts()))
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use contract::status::Admin;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn the_admins_name_is_shown_within_the_pod_only() {
        let admin = Admin { user: "an-admin".to_owned(), source: "COUCHDB_USER".to_owned() };
        let page = Page { admin: Some(admin), ..Page::default() };
        let (_sender, page) = watch::channel(page);
        for (caller, shown) in [(Caller::Pod, true), (Caller::Network, false)] {
            let plans = watch::channel(None).1;
            let app = router(Shown {
                page: page.clone(),
                metrics: Arc::default(),
                plans,
                last_plan: Arc::default(),
            });
            for path in [ports::STATUS, ports::HOME] {
                let request = Request::get(path).extension(caller).body(Body::empty()).unwrap();
                let answer = app.clone().oneshot(request).await.unwrap();
                let body = to_bytes(answer.into_body(), 20_000).await.unwrap();
                let body = String::from_utf8_lossy(&body);
                assert_eq!(body.contains("COUCHDB_USER"), shown, "{path} {caller:?}");
                assert_eq!(body.contains("an-admin"), shown, "{path} {caller:?}");
            }
        }
    }
}
