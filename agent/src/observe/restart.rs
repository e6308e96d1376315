//! Notices the end of the local CouchDB and its beginning at once, without asking it anything.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::settings::{Endpoint, Scheme};

/// A connection to the local CouchDB on which nothing is ever sent: the kernel closes it with the process, so a
/// container that restarts is noticed in the moment, and not at the next glance. A volume that came back empty must be
/// kept out of reads before the other members refill it, which begins within a second.
#[derive(Debug)]
pub(crate) struct RestartWatch {
    stream: Option<(TcpStream, Instant)>,
}

impl RestartWatch {
    /// Opens it; without a connection it notices nothing. A server of TLS would soon miss the other's first word.
    pub(crate) async fn open(endpoint: &Endpoint) -> Self {
        if endpoint.scheme == Scheme::Https {
            return Self { stream: None };
        }
        let stream = connect(endpoint).await.ok();
        Self { stream: stream.map(|stream| (stream, Instant::now())) }
    }

    /// Returns when the connection has ended, and tells how long it lasted.
    pub(crate) async fn ended(&mut self) -> Duration {
        let Some((stream, since)) = &mut self.stream else { return std::future::pending().await };
        // CouchDB says nothing before it is asked.
        while stream.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {}
        let lasted = since.elapsed();
        self.stream = None;
        lasted
    }

    /// Opens it again after it lasted so long. Something between us that ends silent connections soon would only cause
    /// questions.
    pub(crate) async fn reopen(&mut self, endpoint: &Endpoint, lasted: Duration) {
        if lasted > SHORT {
            *self = Self::open(endpoint).await;
        }
    }
}

/// Returns when somebody listens there. A node is met by its peers some 100 ms before it listens, and what it lacks is
/// handed out by then: an agent that looks later by its pause would be too late by as much.
pub(crate) async fn until_it_listens(endpoint: &Endpoint) {
    loop {
        sleep(KNOCK).await;
        if connect(endpoint).await.is_ok() {
            return;
        }
    }
}

async fn connect(endpoint: &Endpoint) -> std::io::Result<TcpStream> {
    let host = endpoint.host.trim_matches(['[', ']']);
    TcpStream::connect((host, endpoint.port)).await
}

/// Between two attempts to connect, each of which the own kernel answers.
const KNOCK: Duration = Duration::from_millis(25);
/// CouchDB's HTTP server gives up connections that have been silent for 5 minutes; this is far below it.
const SHORT: Duration = Duration::from_secs(20);
