//! Accepting connections so that no peer can hold up another.
//!
//! Each connection is a task from its first byte on: a peer that never finishes its handshake occupies a task until a
//! timeout. A handshake within the accept loop would block every other peer.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use contract::error::chain;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::{debug, warn};

/// A listening port and its routes.
pub(crate) struct Port {
    pub(crate) listener: TcpListener,
    /// `None` for plain HTTP.
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) app: Router,
}

impl Port {
    /// Serves until `stop`, then lets every connection finish the request in flight.
    pub(crate) async fn serve(self, stop: CancellationToken) {
        let Self { listener, tls, app } = self;
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                // So that a stop is noticed while connections keep coming in.
                biased;
                () = stop.cancelled() => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) if connections.len() < MAX_CONNECTIONS => {
                        connections.spawn(serve_connection(stream, peer, tls.clone(), app.clone(), stop.clone()));
                    }
                    // Dropping the stream closes it.
                    Ok((_, peer)) => warn!(%peer, limit = MAX_CONNECTIONS, "too many connections"),
                    Err(error) => pause_after(&error).await,
                },
            }
        }
        // New connections are refused from now on, so that none can delay the end.
        drop(listener);
        if timeout(FINISH_TIMEOUT, async { while connections.join_next().await.is_some() {} }).await.is_err()
        {
            warn!(connections = connections.len(), "cut off connections that did not finish in time");
        }
    }
}

/// An API server opens as many connections as it has calls in flight, and keeps a few. The limit bounds the memory that
/// a peer can make the server allocate: a TLS connection takes about 40 kB.
const MAX_CONNECTIONS: usize = 1024;
/// API servers give a webhook at most 30 s, and the manifests ask for 5.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// From the handshake to the end of the first request's header: API servers connect when they have a call to make.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// From an answer to the end of the next request's header. Longer than the 90 s after which Go's client closes an idle
/// connection, so that the caller closes it, and no call is sent while the server does.
const IDLE_TIMEOUT: Duration = Duration::from_secs(100);
/// For requests in flight when the server stops.
const FINISH_TIMEOUT: Duration = Duration::from_secs(10);

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    app: Router,
    stop: CancellationToken,
) {
    // Answers are small and written at once: waiting to fill a packet would only add latency.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return serve_http(stream, peer, app, stop).await };
    match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => serve_http(stream, peer, app, stop).await,
        Ok(Err(error)) => debug!(%peer, error = chain(&error), "handshake failed"),
        Err(_) => debug!(%peer, "handshake timed out"),
    }
}

async fn serve_http<S>(stream: S, peer: SocketAddr, app: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // hyper has one timeout for all headers, which is too long for the first.
    let requested = Arc::new(AtomicBool::new(false));
    let on_request = requested.clone();
    let app = app.map_request(move |request| {
        on_request.store(true, Ordering::Relaxed);
        request
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = no_request(&requested) => return debug!(%peer, "closed a connection without a request"),
        () = stop.cancelled() => {
            // Answers the request in flight, and closes an idle connection at once.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%peer, error = chain(&error), "connection ended");
    }
}

/// Returns if there is no request within [`FIRST_REQUEST_TIMEOUT`]; otherwise never.
async fn no_request(requested: &AtomicBool) {
    sleep(FIRST_REQUEST_TIMEOUT).await;
    // From the first request on, hyper's own timeout applies.
    if requested.load(Ordering::Relaxed) {
        pending::<()>().await;
    }
}

/// Errors of `accept` pass by themselves, but not at once: without a pause, running out of file descriptors would be a
/// busy loop.
async fn pause_after(error: &io::Error) {
    warn!(error = chain(error), "failed to accept a connection");
    sleep(Duration::from_millis(100)).await;
}
