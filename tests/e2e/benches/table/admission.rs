//! Reviews over HTTPS: throughput against a server of the same stack that answers a constant, memory, and lost calls.

#[path = "../../../../webhook/tests/support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use e2e::lossless::{Plan, Report, run};
use e2e::process;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use support::{NAME, Server, connect_with, connector, create_of_eight_kilobytes};
use tokio::net::TcpListener;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::programs::mebibytes;
use crate::row::{Goal, Row};

pub(crate) use support::stateful_set;

/// Reviews of 8 kB on kept connections. Both servers and all callers run in this process, in short turns.
pub(crate) async fn throughput() -> Vec<Row> {
    let server = Server::start(&["--log-level", "warn"]).await;
    server.until_ready(true).await;
    let body = Arc::new(create_of_eight_kilobytes());
    let answer = server.call().await.review(&body).await.unwrap().body;
    let (constant, constant_ca) = constant(answer).await;
    let (webhook_tls, constant_tls) = (connector(&server.ca), connector(&constant_ca));
    let mut rows = vec![];
    for connections in [1, 16, 64] {
        let (mut webhook, mut other) = (Measured::default(), Measured::default());
        for _ in 0..TURNS {
            webhook.extend(turn(server.https, &webhook_tls, connections, &body).await);
            other.extend(turn(constant, &constant_tls, connections, &body).await);
        }
        rows.push(Row::number(
            &format!(
                "reviews a second, {connections} connections, against a constant server of the same stack"
            ),
            webhook.rate() / other.rate(),
            " times",
            Goal::AtLeast(0.45),
        ));
        rows.push(Row::point(
            &format!("the webhook and the constant server ({connections} connections)"),
            format!("{webhook}; {other}"),
        ));
    }
    server.stop().await;
    rows.push(Row::not_measured(
        "against a webhook of controller-runtime (goal: 6 times)",
        "needs a program in Go that is not part of this project",
    ));
    rows
}

/// The memory of this process, callers included, after a million reviews.
pub(crate) async fn memory() -> Vec<Row> {
    let server = Server::start(&["--log-level", "warn"]).await;
    server.until_ready(true).await;
    let body = Arc::new(create_of_eight_kilobytes());
    let connector = connector(&server.ca);
    let mut rows = vec![];
    for tenth in 1..=10 {
        let mut callers = Vec::new();
        for _ in 0..CALLERS {
            let mut connection = connect_with(&connector, server.https).await.unwrap();
            let body = body.clone();
            callers.push(tokio::spawn(async move {
                for _ in 0..REVIEWS / 10 / CALLERS {
                    connection.review(&body).await.unwrap();
                }
            }));
        }
        for caller in callers {
            caller.await.unwrap();
        }
        if tenth == 1 {
            let value = format!("{:.1} MiB", mebibytes(process::memory("self")));
            rows.push(Row::point("memory of the webhook and its callers after 100,000 reviews", value));
        }
    }
    rows.push(Row::number(
        "memory of the webhook and its callers after 1,000,000 reviews",
        mebibytes(process::memory("self")),
        " MiB",
        Goal::AtMost(16.0),
    ));
    server.stop().await;
    rows
}

/// Calls that are lost while leaves, the authority and replicas are replaced.
pub(crate) async fn rotation() -> Vec<Row> {
    let Report { kept, fresh, lost, renewals, bundles, restarts, .. } =
        run(Plan { calls: 100_000, callers: 8, restarts: 4 }).await;
    vec![
        Row::new(
            "calls lost while certificates and replicas are replaced",
            format!("{} of {}", lost.len(), kept + fresh),
            "none",
            lost.is_empty(),
        ),
        Row::point(
            "replaced meanwhile",
            format!("{renewals} leaves, {bundles} caBundles, {restarts} replicas"),
        ),
    ]
}

/// The measurements of one server.
#[derive(Default)]
struct Measured {
    times: Vec<Duration>,
    spent: Duration,
}

impl Measured {
    fn extend(&mut self, times: Vec<Duration>) {
        self.times.extend(times);
        self.times.sort_unstable();
        self.spent += TURN;
    }

    fn rate(&self) -> f64 {
        self.times.len() as f64 / self.spent.as_secs_f64()
    }

    fn percentile(&self, percent: f64) -> Duration {
        self.times[((self.times.len() - 1) as f64 * percent / 100.0) as usize]
    }
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [half, most] = [50.0, 99.0].map(|percent| self.percentile(percent).as_micros());
        write!(f, "{:>7.0}/s {half:>6} {most:>6} us", self.rate())
    }
}

async fn turn(
    address: SocketAddr,
    connector: &TlsConnector,
    connections: usize,
    body: &Arc<Vec<u8>>,
) -> Vec<Duration> {
    let mut callers = Vec::new();
    for _ in 0..connections {
        let mut connection = connect_with(connector, address).await.unwrap();
        connection.review(body).await.unwrap();
        callers.push((connection, body.clone()));
    }
    let end = Instant::now() + TURN;
    let calling = callers.into_iter().map(|(mut connection, body)| {
        tokio::spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < end {
                let begun = Instant::now();
                assert_eq!(connection.review(&body).await.unwrap().status, 200);
                times.push(begun.elapsed());
            }
            times
        })
    });
    let mut times = Vec::new();
    for caller in calling.collect::<Vec<_>>() {
        times.extend(caller.await.unwrap());
    }
    times
}

/// Starts a server of the same stack that reads the body and answers a constant. Returns its address and authority.
async fn constant(answer: Vec<u8>) -> (SocketAddr, String) {
    let now = time::OffsetDateTime::now_utc();
    let authority = certs::Authority::new("constant", now).unwrap();
    let leaf = authority.leaf(&[NAME.to_owned()], now).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf.key_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.certificate().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let answer = Bytes::from(answer);
    let handler = move |_: Bytes| {
        let answer = answer.clone();
        async move { ([("content-type", "application/json")], answer) }
    };
    let app = Router::new().route("/mutate", post(handler));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, app) = (acceptor.clone(), app.clone());
            tokio::spawn(async move {
                stream.set_nodelay(true).unwrap();
                let stream = TokioIo::new(acceptor.accept(stream).await.unwrap());
                drop(http1::Builder::new().serve_connection(stream, TowerToHyperService::new(app)).await);
            });
        }
    });
    (address, authority.certificate_pem().to_owned())
}

/// Load on one server at a time: long enough for a p99, short enough that a busy neighbour affects both.
const TURN: Duration = Duration::from_millis(700);
const TURNS: usize = 7;
const REVIEWS: usize = 1_000_000;
const CALLERS: usize = 16;
