//! Probes, status and metrics over plain HTTP.

use std::sync::Arc;

use axum::Extension;
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

use super::accept::Caller;
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

/// The page. The admin's name and the source of the password are for callers in the pod only: the port is open to every
/// pod of the Kubernetes cluster.
async fn status(State(shown): State<Shown>, Extension(caller): Extension<Caller>) -> Json<Page> {
    let page = shown.page.borrow().clone();
    Json(match caller {
        Caller::Pod => page,
        Caller::Network => Page { admin: None, ..page },
    })
}

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
        let admin = Admin { user: "root".to_owned(), source: "COUCHDB_USER".to_owned() };
        let page = Page { admin: Some(admin), ..Page::default() };
        let (_sender, page) = watch::channel(page);
        for (caller, shown) in [(Caller::Pod, true), (Caller::Network, false)] {
            let app = router(Shown { page: page.clone(), metrics: Arc::default() });
            let request = Request::get(ports::STATUS).extension(caller).body(Body::empty()).unwrap();
            let answer = app.oneshot(request).await.unwrap();
            let body = to_bytes(answer.into_body(), 10_000).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&body).contains("root"), shown, "{caller:?}");
        }
    }
}
