//! Accepting connections so that no peer can hold up another.
//!
//! Each connection is a task from its first byte on: a peer that never finishes its handshake occupies a task until a
//! timeout. A handshake within the accept loop would block every other peer. A port that is full accepts the next
//! connection all the same, and closes another one.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use contract::error::chain;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::{debug, warn};

use super::pool::{Capacity, Connection, Pool};
use super::readiness::Readiness;
use crate::metrics::Metrics;

/// A listening port and its routes.
pub(crate) struct Port {
    pub(crate) listener: TcpListener,
    /// `None` for plain HTTP.
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) app: Router,
    pub(crate) limits: PortLimits,
    pub(crate) connections: Arc<Pool>,
    pub(crate) metrics: Arc<Metrics>,
    /// Checked at once when connections are closed early; `None` for a port that API servers do not call.
    pub(crate) readiness: Option<Arc<Readiness>>,
}

/// The limits of one port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PortLimits {
    /// Label of the metrics.
    name: &'static str,
    pub(crate) capacity: Capacity,
    /// From the connection, or the end of the handshake, to the end of the first request's header.
    first_request: Duration,
    /// From an answer to the end of the next request's header.
    idle: Duration,
}

/// The TLS port.
///
/// An API server opens as many connections as it has calls in flight, and keeps a few. A container may have as few as
/// 1024 file descriptors, and a TLS connection takes about 60 kB with its buffers.
pub(crate) const ADMISSION: PortLimits = PortLimits {
    name: "admission",
    capacity: Capacity { total: 512, per_address: 256 },
    // API servers connect when they have a call to make.
    first_request: Duration::from_secs(10),
    // Longer than the 90 s after which Go's client closes an idle connection, so that the caller closes it, and no call
    // is sent while the server does. Only an answered review leaves the connection open.
    idle: Duration::from_secs(100),
};

/// The plain port: the kubelet connects for each probe, and a scraper keeps one connection.
pub(crate) const PROBES: PortLimits = PortLimits {
    name: "probes",
    capacity: Capacity { total: 64, per_address: 32 },
    first_request: Duration::from_secs(2),
    idle: Duration::from_secs(10),
};

impl Port {
    /// Serves until `stop`, then lets every connection finish the request in flight.
    pub(crate) async fn serve(self, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        let mut crowd = Rarely::default();
        let mut failures = Rarely::default();
        loop {
            tokio::select! {
                // So that a stop is noticed while connections keep coming in.
                biased;
                () = stop.cancelled() => break,
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => if let Some(served) = self.admit(peer, &mut crowd) {
                        tasks.spawn(served.serve(stream, stop.clone()));
                    },
                    Err(error) => pause_after(&error, &mut failures).await,
                },
            }
        }
        // New connections are refused from now on, so that none can delay the end.
        drop(self.listener);
        if timeout(FINISH_TIMEOUT, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
            warn!(connections = tasks.len(), "cut off connections that did not finish in time");
        }
    }

    /// Makes room for a connection; `None` if it must be closed.
    fn admit(&self, peer: SocketAddr, crowd: &mut Rarely) -> Option<Served> {
        let port = self.limits.name;
        let entered = self.connections.enter(peer.ip());
        match &entered {
            Ok((_, false)) => {}
            Ok((_, true)) => self.metrics.connection_evicted(port),
            Err(exceeded) => self.metrics.connection_refused(port, exceeded.as_str()),
        }
        if !matches!(entered, Ok((_, false))) {
            if let Some(readiness) = &self.readiness {
                readiness.doubt();
            }
            // Counted, and not logged one by one: any pod can connect thousands of times a second.
            if let Some(connections) = crowd.now(Instant::now()) {
                warn!(port, connections, last = %peer.ip(), "too many connections: closed some early");
            }
        }
        let (connection, _) = entered.ok()?;
        let (tls, app, limits) = (self.tls.clone(), self.app.clone(), self.limits);
        Some(Served { connection: Arc::new(connection), peer, tls, app, limits })
    }
}

/// API servers give a webhook at most 30 s, and the manifests ask for 5.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// For requests in flight when the server stops.
const FINISH_TIMEOUT: Duration = Duration::from_secs(10);
/// A request's head. API servers send about 400 bytes, and hyper's default of 400 kB would be held by each connection.
const MAX_HEAD_LENGTH: usize = 16 << 10;

/// Lets one of many equal events a minute be logged.
#[derive(Debug, Default)]
struct Rarely {
    logged: Option<Instant>,
    since: u64,
}

impl Rarely {
    /// Counts an event. Returns the number of events since the last line, if it is time for another one.
    fn now(&mut self, now: Instant) -> Option<u64> {
        self.since += 1;
        let recently = self.logged.is_some_and(|logged| now.duration_since(logged) < LOG_INTERVAL);
        if recently {
            return None;
        }
        self.logged = Some(now);
        Some(std::mem::take(&mut self.since))
    }
}

const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// A connection that is served.
struct Served {
    connection: Arc<Connection>,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    app: Router,
    limits: PortLimits,
}

impl Served {
    async fn serve(self, stream: TcpStream, stop: CancellationToken) {
        let (connection, peer) = (self.connection.clone(), self.peer);
        tokio::select! {
            () = self.converse(stream, stop) => {}
            () = connection.evicted() => debug!(%peer, "closed a connection for another one"),
        }
    }

    async fn converse(mut self, stream: TcpStream, stop: CancellationToken) {
        // Answers are small and written at once: waiting to fill a packet would only add latency.
        let _ = stream.set_nodelay(true);
        let peer = self.peer;
        let Some(tls) = self.tls.take() else { return self.serve_http(stream, stop).await };
        match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.serve_http(stream, stop).await,
            Ok(Err(error)) => debug!(%peer, error = chain(&error), "handshake failed"),
            Err(_) => debug!(%peer, "handshake timed out"),
        }
    }

    async fn serve_http<S>(self, stream: S, stop: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { connection, peer, app, limits, .. } = self;
        // hyper has one timeout for all headers, which is too long for the first.
        let requested = Arc::new(AtomicBool::new(false));
        let on_request = requested.clone();
        let app = app.map_request(move |mut request: Request<Incoming>| {
            on_request.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(connection.clone());
            request
        });
        let conversation = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.idle)
            .max_buf_size(MAX_HEAD_LENGTH)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
        tokio::pin!(conversation);
        let ended = tokio::select! {
            ended = conversation.as_mut() => ended,
            () = no_request(&requested, limits.first_request) => {
                return debug!(%peer, "closed a connection without a request");
            }
            () = stop.cancelled() => {
                // Answers the request in flight, and closes an idle connection at once.
                conversation.as_mut().graceful_shutdown();
                conversation.await
            }
        };
        if let Err(error) = ended {
            debug!(%peer, error = chain(&error), "connection ended");
        }
    }
}

/// Returns if there is no request within `limit`; otherwise never.
async fn no_request(requested: &AtomicBool, limit: Duration) {
    sleep(limit).await;
    // From the first request on, hyper's own timeout applies.
    if requested.load(Ordering::Relaxed) {
        pending::<()>().await;
    }
}

/// Errors of `accept` pass by themselves, but not at once: without a pause, running out of file descriptors would be a
/// busy loop.
async fn pause_after(error: &io::Error, failures: &mut Rarely) {
    if let Some(failures) = failures.now(Instant::now()) {
        warn!(error = chain(error), failures, "failed to accept a connection");
    }
    sleep(Duration::from_millis(100)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_many_events_a_minute_is_logged_with_the_number_of_the_others() {
        let begun = Instant::now();
        let mut rarely = Rarely::default();
        assert_eq!(rarely.now(begun), Some(1));
        for second in 1..60 {
            assert_eq!(rarely.now(begun + Duration::from_secs(second)), None);
        }
        assert_eq!(rarely.now(begun + Duration::from_secs(60)), Some(60));
    }
}
