//! Probes, status and metrics over plain HTTP.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use contract::ports;
use contract::status::Page;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{accept, exposition};
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
}

/// The paths `/livez`, `/readyz`, `/status` and `/metrics`.
pub fn router(shown: Shown) -> Router {
    Router::new()
        .route(ports::LIVEZ, get(async || "ok\n"))
        .route(ports::READYZ, get(readyz))
        .route(ports::STATUS, get(status))
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

async fn status(State(shown): State<Shown>) -> Json<Page> {
    Json(shown.page.borrow().clone())
}

async fn metrics(State(shown): State<Shown>) -> impl IntoResponse {
    let page = shown.page.borrow().clone();
    ([(CONTENT_TYPE, exposition::CONTENT_TYPE)], exposition::render(page, shown.metrics.counts()))
}
