//! Throughput and memory of the server under load, compared with a server of the same stack that answers a constant.
//!
//! ```text
//! cargo run --release -p couchdiscover-webhook --example load            # 1, 16 and 128 connections
//! cargo run --release -p couchdiscover-webhook --example load -- --memory 1000000
//! ```
//!
//! Both servers run in this process, in short turns, so that both have the same machine. Only the ratios are
//! meaningful: the callers use the same cores.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for a terminal, whose panics are its errors"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use support::{NAME, Server, connect_with, connector, create_of_eight_kilobytes};
use tokio::net::TcpListener;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Load on one server at a time: long enough for a p99, short enough that a busy neighbour affects both.
const TURN: Duration = Duration::from_millis(700);
const TURNS: usize = 7;

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().position(|arg| arg == "--memory") {
        Some(at) => memory(args.get(at + 1).map_or(1_000_000, |count| count.parse().unwrap())).await,
        None => throughput().await,
    }
}

async fn throughput() {
    let server = Server::start(&["--log-level", "warn"]).await;
    server.until_ready(true).await;
    let body = Arc::new(create_of_eight_kilobytes());
    let answer = server.call().await.review(&body).await.unwrap().body;
    println!("a review of {} bytes, answered with {}", body.len(), answer.len());
    let (constant, constant_ca) = constant(answer).await;
    let (webhook_tls, constant_tls) = (connector(&server.ca), connector(&constant_ca));
    println!("{:>11} | {:>26} | {:>26} | ratio", "connections", "webhook", "constant");
    for connections in [1, 16, 128] {
        let (mut webhook, mut other) = (Measured::default(), Measured::default());
        for _ in 0..TURNS {
            webhook.extend(turn(server.https, &webhook_tls, connections, &body).await);
            other.extend(turn(constant, &constant_tls, connections, &body).await);
        }
        println!(
            "{connections:>11} | {webhook} | {other} | throughput {:.2}, p99 {:.2}",
            webhook.rate() / other.rate(),
            webhook.percentile(99.0).as_secs_f64() / other.percentile(99.0).as_secs_f64()
        );
    }
    server.stop().await;
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

/// Prints the memory of this process, callers included, after each tenth of the reviews.
async fn memory(count: usize) {
    let server = Server::start(&["--log-level", "warn"]).await;
    server.until_ready(true).await;
    let body = Arc::new(create_of_eight_kilobytes());
    let connector = connector(&server.ca);
    for done in 1..=10 {
        let mut callers = Vec::new();
        for _ in 0..16 {
            let mut connection = connect_with(&connector, server.https).await.unwrap();
            let (body, share) = (body.clone(), count / 160);
            callers.push(tokio::spawn(async move {
                for _ in 0..share {
                    connection.review(&body).await.unwrap();
                }
            }));
        }
        for caller in callers {
            caller.await.unwrap();
        }
        println!("{:>9} reviews: {} MiB resident", count / 10 * done, resident() / (1 << 20));
    }
    server.stop().await;
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}
