//! Detection of a restart of the local CouchDB as it happens, without any request.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::settings::{Endpoint, Scheme};

/// A connection to the local CouchDB on which nothing is ever sent. The kernel closes it with the process, so a container's
/// restart is detected at once and not at the next call. A volume that came back empty must be kept out of reads before the
/// other members refill it, which begins within a second.
#[derive(Debug)]
pub(crate) struct RestartWatch {
    stream: Option<(TcpStream, Instant)>,
}

impl RestartWatch {
    /// Opens the connection. Without one, no restart is detected.
    pub(crate) async fn open(endpoint: &Endpoint) -> Self {
        // A TLS server closes a connection on which no handshake begins.
        if endpoint.scheme == Scheme::Https {
            return Self { stream: None };
        }
        let stream = connect(endpoint).await.ok();
        Self { stream: stream.map(|stream| (stream, Instant::now())) }
    }

    /// Waits for the end of the connection, and returns its lifetime.
    pub(crate) async fn ended(&mut self) -> Duration {
        let Some((stream, since)) = &mut self.stream else { return std::future::pending().await };
        // CouchDB sends nothing without a request, so a read returns only at the end.
        while stream.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {}
        let lasted = since.elapsed();
        self.stream = None;
        lasted
    }

    /// Opens the connection again, unless it `lasted` only a short time: something in between that soon ends idle connections
    /// would cause needless calls.
    pub(crate) async fn reopen(&mut self, endpoint: &Endpoint, lasted: Duration) {
        if lasted > SHORT_LIFETIME {
            *self = Self::open(endpoint).await;
        }
    }
}

/// Waits until the local CouchDB listens. Its peers connect about 100 ms before, and read from the incomplete node in
/// between; the agent's normal pause would prolong that time.
pub(crate) async fn until_it_listens(endpoint: &Endpoint) {
    loop {
        sleep(BETWEEN_ATTEMPTS).await;
        if connect(endpoint).await.is_ok() {
            return;
        }
    }
}

async fn connect(endpoint: &Endpoint) -> std::io::Result<TcpStream> {
    let host = endpoint.host.trim_matches(['[', ']']);
    TcpStream::connect((host, endpoint.port)).await
}

/// The pause between two attempts to connect. The local kernel answers each.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(25);
/// Far below the 5 minutes after which CouchDB's HTTP server closes idle connections.
const SHORT_LIFETIME: Duration = Duration::from_secs(20);
