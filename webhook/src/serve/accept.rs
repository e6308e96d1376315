//! Accepting connections so that no peer can hold up another.
//!
//! Each connection is a task from its first byte on: a peer that never finishes its handshake costs a task and a
//! timeout, where a handshake within `accept` would cost everyone the server.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
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

/// A listening port, and what answers on it.
pub(crate) struct Port {
    pub(crate) listener: TcpListener,
    /// Plain HTTP without it.
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) app: Router,
}

impl Port {
    /// Serves until `stop`, then lets every connection finish what it has begun.
    pub(crate) async fn serve(self, stop: CancellationToken) {
        let Self { listener, tls, app } = self;
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) if connections.len() < MAX_CONNECTIONS => {
                        connections.spawn(connection(stream, peer, tls.clone(), app.clone(), stop.clone()));
                    }
                    Ok((_, peer)) => warn!(%peer, limit = MAX_CONNECTIONS, "too many connections"),
                    Err(error) => refused(&error).await,
                },
            }
        }
        drop(listener);
        if timeout(FINISH, async { while connections.join_next().await.is_some() {} }).await.is_err() {
            warn!(connections = connections.len(), "connections cut off, since they would not end");
        }
    }
}

/// An API server opens as many connections as it has calls in flight, and keeps a few. This bounds what a peer can
/// make the server hold: a TLS connection takes some 40 kB.
const MAX_CONNECTIONS: usize = 1024;
/// API servers give a webhook at most 30 s, and the manifests ask for 5.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// From the handshake to the end of the first request's header: a caller connects because it has something to ask.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// For a later request's header, and for an idle connection to ask again. Longer than the 90 s after which Go's
/// client closes an idle connection, so that it is the caller who closes and no call crosses our closing.
const IDLE: Duration = Duration::from_secs(100);
/// For what is in flight when the server stops.
const FINISH: Duration = Duration::from_secs(10);

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    app: Router,
    stop: CancellationToken,
) {
    // Answers are small and written at once; waiting to fill a packet would only add latency.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return http(stream, peer, app, stop).await };
    match timeout(HANDSHAKE, tls.accept(stream)).await {
        Ok(Ok(stream)) => http(stream, peer, app, stop).await,
        Ok(Err(error)) => debug!(%peer, %error, "handshake failed"),
        Err(_) => debug!(%peer, "handshake timed out"),
    }
}

async fn http<S>(stream: S, peer: SocketAddr, app: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let asked = Arc::new(AtomicBool::new(false));
    let asking = asked.clone();
    let app = app.map_request(move |request| {
        asking.store(true, Ordering::Relaxed);
        request
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = asks_nothing(&asked) => return debug!(%peer, "no request in time"),
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "connection ended");
    }
}

/// Comes to an end only on a connection that hasn't asked anything for as long as a first request may take.
async fn asks_nothing(asked: &AtomicBool) {
    sleep(FIRST_REQUEST).await;
    if asked.load(Ordering::Relaxed) {
        pending::<()>().await;
    }
}

/// What `accept` can fail with passes by itself, but not at once: without a pause, running out of file descriptors
/// would be a busy loop.
async fn refused(error: &io::Error) {
    warn!(%error, "failed to accept a connection");
    sleep(Duration::from_millis(100)).await;
}
