//! Accepting connections so that no caller uses up the agent's memory or its descriptors.
//!
//! The port is open to every pod of the Kubernetes cluster, while the kubelet restarts the container after three
//! probes without an answer. So the number of connections is limited, and a new one is never refused: the connection that has been
//! idle for longest is closed for it.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use contract::error::chain;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tower::ServiceExt as _;
use tracing::{debug, warn};

/// Serves `app` until the future is dropped.
pub(super) async fn serve(listener: TcpListener, app: Router) {
    let mut connections = Connections::default();
    loop {
        tokio::select! {
            () = connections.one_ends(), if !connections.open.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.make_room().await;
                    connections.serve(stream, peer.ip(), app.clone());
                }
                Err(error) => pause_after(&error).await,
            },
        }
    }
}

/// The caller of a request, by its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// Any host of the network.
    Network,
    /// A process in the agent's own pod, such as `couchdiscover-agent status`.
    Pod,
}

/// The connections that are open.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    open: HashMap<Id, Connection>,
}

struct Connection {
    peer: IpAddr,
    phase: SharedPhase,
    task: AbortHandle,
}

impl Connections {
    fn serve(&mut self, stream: TcpStream, peer: IpAddr, app: Router) {
        let phase = SharedPhase::new();
        let task = self.tasks.spawn(serve_connection(stream, peer, phase.clone(), app));
        self.open.insert(task.id(), Connection { peer, phase, task });
    }

    /// Waits until a connection has ended.
    async fn one_ends(&mut self) {
        match self.tasks.join_next_with_id().await {
            Some(Ok((ended, ()))) => drop(self.open.remove(&ended)),
            Some(Err(error)) => drop(self.open.remove(&error.id())),
            None => {}
        }
    }

    /// Closes connections until there is room for one more, and waits until their descriptors are free.
    async fn make_room(&mut self) {
        while self.open.len() >= MAX_CONNECTIONS {
            let peers =
                self.open.iter().map(|(id, connection)| (*id, connection.peer, connection.phase.get()));
            if let Some(connection) = longest_idle(peers).and_then(|id| self.open.get(&id)) {
                debug!(peer = %connection.peer, "closed the connection that was idle for longest");
                connection.task.abort();
            }
            self.one_ends().await;
        }
    }
}

/// Returns the connection to close for a new one: of the address with the most connections, the one whose phase began
/// first. One address therefore cannot close the connections of another that has fewer.
fn longest_idle<K: Copy>(connections: impl Iterator<Item = (K, IpAddr, Phase)> + Clone) -> Option<K> {
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    for (_, peer, _) in connections.clone() {
        *counts.entry(peer).or_default() += 1;
    }
    let most = counts.values().max()?;
    let candidates = connections.filter(|(_, peer, _)| counts.get(peer) == Some(most));
    candidates.min_by_key(|(_, _, phase)| phase.since()).map(|(key, _, _)| key)
}

/// The state of a connection, for its deadline. An answer needs no I/O, so a connection is idle again with its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waits for the rest of a request's head, the first byte of which arrived at this time, or for the first request of a
    /// connection that was opened at this time.
    Head(Instant),
    /// Its last request arrived at this time.
    Idle(Instant),
}

impl Phase {
    fn since(self) -> Instant {
        match self {
            Self::Head(since) | Self::Idle(since) => since,
        }
    }

    fn ends(self) -> Instant {
        match self {
            Self::Head(since) => since + HEAD_TIMEOUT,
            Self::Idle(since) => since + IDLE_TIMEOUT,
        }
    }
}

/// The phase of a connection, which its reader and its service change.
#[derive(Clone)]
struct SharedPhase(Arc<Mutex<Phase>>);

impl SharedPhase {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Phase::Head(Instant::now()))))
    }

    fn get(&self) -> Phase {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn requested(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Phase::Idle(Instant::now());
    }

    /// Bytes arrived. Those of a head that has begun do not extend its time.
    fn received(&self) {
        let mut phase = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Phase::Idle(_) = *phase {
            *phase = Phase::Head(Instant::now());
        }
    }

    /// Returns when the present phase has lasted too long.
    async fn expires(&self) {
        loop {
            let ends = self.get().ends();
            if ends <= Instant::now() {
                return;
            }
            // The phase may change meanwhile, and with it the end.
            sleep_until(ends).await;
        }
    }
}

async fn serve_connection(stream: TcpStream, peer: IpAddr, phase: SharedPhase, app: Router) {
    // Answers are written at once: waiting to fill a packet would only add latency.
    let _ = stream.set_nodelay(true);
    let on_request = phase.clone();
    let caller = if peer.to_canonical().is_loopback() { Caller::Pod } else { Caller::Network };
    let app = app.map_request(move |mut request: Request<_>| {
        on_request.requested();
        request.extensions_mut().insert(caller);
        request
    });
    let stream = Watched { stream, phase: phase.clone() };
    let connection = http1::Builder::new()
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            debug!(error = chain(&error), "connection ended");
        },
        () = phase.expires() => debug!("closed a connection that was idle for too long"),
    }
}

/// A connection that reports the bytes that arrive.
struct Watched {
    stream: TcpStream,
    phase: SharedPhase,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        if buffer.filled().len() > before {
            self.phase.received();
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Errors of `accept` pass by themselves, but not at once: without a pause, running out of file descriptors would be a
/// busy loop.
async fn pause_after(error: &io::Error) {
    warn!(error = chain(error), "failed to accept a connection");
    sleep(Duration::from_secs(1)).await;
}

/// The kubelet and Prometheus need one each. With its buffers a connection takes at most about 50 kB.
const MAX_CONNECTIONS: usize = 64;
/// For the head of a request. The kubelet gives a probe a few seconds in all.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// From a request to the first byte of the next one. Scrapers that come less often open a connection each time.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// In bytes, for the head of a request and for the part of an answer that the caller has not read.
const BUFFER: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_address_with_the_most_connections_the_longest_idle_one_is_closed() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let [kubelet, other] = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse::<IpAddr>().unwrap());
        let connections = [
            (0, kubelet, Phase::Idle(at(0))),
            (1, other, Phase::Head(at(2))),
            (2, other, Phase::Idle(at(1))),
        ];
        assert_eq!(longest_idle(connections.into_iter()), Some(2));
        assert_eq!(longest_idle(connections[..2].iter().copied()), Some(0), "each address has one");
        assert_eq!(longest_idle(connections[..0].iter().copied()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_arrives_byte_by_byte_gets_no_more_time() {
        let phase = SharedPhase::new();
        let opened = Instant::now();
        let drip = async {
            loop {
                sleep(Duration::from_secs(1)).await;
                phase.received();
            }
        };
        tokio::select! {
            () = drip => {}
            () = phase.expires() => {}
        }
        assert_eq!(opened.elapsed(), HEAD_TIMEOUT);
        phase.requested();
        phase.expires().await;
        assert_eq!(opened.elapsed(), HEAD_TIMEOUT + IDLE_TIMEOUT, "a connection between two requests");
    }
}
