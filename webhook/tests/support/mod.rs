//! A server on ports of its own, and a caller that behaves like an API server.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a panic is the failure of a test")]

#[path = "../../inject/tests/support/mod.rs"]
pub(crate) mod stateful_set;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use webhook::serve::{Args, Error, Kubernetes, bind};

/// Longer than anything here takes, on any machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// The DNS name of the server.
pub(crate) const NAME: &str = "couchdiscover-webhook.couchdiscover.svc";

/// A running server.
pub(crate) struct Server {
    pub(crate) https: SocketAddr,
    pub(crate) probes: SocketAddr,
    pub(crate) ca: String,
    pub(crate) shutdown: CancellationToken,
    pub(crate) done: JoinHandle<Result<(), Error>>,
}

impl Server {
    /// Starts a server with these flags, on free ports and in mode `memory` unless they name others.
    pub(crate) async fn start(flags: &[&str]) -> Self {
        let own = ["serve", "--listen", "127.0.0.1:0", "--probe-listen", "127.0.0.1:0"];
        let mode = if flags.contains(&"--cert-mode") { &[][..] } else { &["--cert-mode", "memory"] };
        let delay = if flags.contains(&"--drain-delay") { &[][..] } else { &["--drain-delay", "0s"] };
        let args = Args::try_parse_from([&own[..], mode, delay, flags].concat()).unwrap();
        let bound = bind(args, Kubernetes::Off).await.unwrap();
        let (https, probes) = (bound.https(), bound.probes());
        let ca = bound.ca_bundle().unwrap_or_default();
        let shutdown = CancellationToken::new();
        let done = tokio::spawn(bound.serve(shutdown.clone()));
        Self { https, probes, ca, shutdown, done }
    }

    pub(crate) async fn call(&self) -> Connection<TlsStream<TcpStream>> {
        connect(self.https, &self.ca).await.unwrap()
    }

    pub(crate) async fn probe(&self, path: &str) -> Reply {
        let stream = TcpStream::connect(self.probes).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: probe\r\n\r\n");
        Connection::new(stream).exchange(head.as_bytes(), &[]).await.unwrap()
    }

    /// Waits until `/readyz` reports that the server is, or is not, ready.
    pub(crate) async fn until_ready(&self, ready: bool) {
        let wanted = if ready { 200 } else { 503 };
        let asking = async { while self.probe("/readyz").await.status != wanted {} };
        timeout(DEADLINE, asking).await.unwrap();
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        timeout(DEADLINE, self.done).await.unwrap().unwrap().unwrap();
    }
}

/// A connection that stays open between requests.
pub(crate) struct Connection<S> {
    stream: S,
    buffer: Vec<u8>,
}

/// An HTTP response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn closes(&self) -> bool {
        self.header("connection") == Some("close")
    }
}

/// A TLS client that trusts `ca` only.
pub(crate) fn connector(ca: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

pub(crate) async fn connect(address: SocketAddr, ca: &str) -> io::Result<Connection<TlsStream<TcpStream>>> {
    connect_with(&connector(ca), address).await
}

pub(crate) async fn connect_with(
    connector: &TlsConnector,
    address: SocketAddr,
) -> io::Result<Connection<TlsStream<TcpStream>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(Connection::new(connector.connect(ServerName::try_from(NAME).unwrap(), stream).await?))
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::with_capacity(8192) }
    }

    /// Sends a review as an API server does, and receives the answer.
    pub(crate) async fn review(&mut self, body: &[u8]) -> io::Result<Reply> {
        self.exchange(head(body.len()).as_bytes(), body).await
    }

    pub(crate) async fn exchange(&mut self, head: &[u8], body: &[u8]) -> io::Result<Reply> {
        self.send(&[head, body].concat()).await?;
        self.receive().await
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    pub(crate) async fn receive(&mut self) -> io::Result<Reply> {
        let end = loop {
            match self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None => self.fill().await?,
            }
        };
        let head = String::from_utf8(self.buffer[..end].to_vec()).unwrap();
        let mut reply = Reply { status: head[9..12].parse().unwrap(), head, body: Vec::new() };
        let length: usize = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        while self.buffer.len() < end + length {
            self.fill().await?;
        }
        reply.body = self.buffer[end..end + length].to_vec();
        self.buffer.drain(..end + length);
        Ok(reply)
    }

    /// `true` if the server closes the connection without sending anything.
    pub(crate) async fn is_closed(&mut self) -> bool {
        matches!(timeout(DEADLINE, self.fill()).await, Ok(Err(_)))
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// The head of a request with a review of this length.
pub(crate) fn head(length: usize) -> String {
    format!(
        "POST /mutate?timeout=5s HTTP/1.1\r\nHost: {NAME}:443\r\nUser-Agent: kube-apiserver-admission\r\nContent-Length: {length}\r\nAccept: application/json, */*\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n"
    )
}

/// A review of a StatefulSet as the example's, as an API server would ask it.
pub(crate) fn review(operation: &str) -> Vec<u8> {
    let recorded: Value = serde_json::from_str(match operation {
        "CREATE" => include_str!("../reviews/create-statefulsets-main.json"),
        _ => include_str!("../reviews/update-statefulsets-main.json"),
    })
    .unwrap();
    let mut review = recorded["review"].clone();
    for object in ["object", "oldObject"] {
        if let Some(labels) = review["request"][object].pointer_mut("/metadata/labels") {
            labels["couchdiscover.io/inject"] = "enabled".into();
        }
    }
    review.to_string().into_bytes()
}

/// A review of 8 kB: a StatefulSet as people have it, in the shape in which an API server sends it.
pub(crate) fn create_of_eight_kilobytes() -> Vec<u8> {
    let mut review: Value = serde_json::from_slice(&review("CREATE")).unwrap();
    review["request"]["object"] = stateful_set::stateful_set();
    review.to_string().into_bytes()
}

/// A review of `object` with this many more variables.
pub(crate) fn with_variables(object: &str, count: usize) -> Vec<u8> {
    let mut object: Value = serde_json::from_str(object).unwrap();
    let env = object["spec"]["template"]["spec"]["containers"][0]["env"].as_array_mut().unwrap();
    env.extend((0..count).map(|index| json!({"name": format!("VARIABLE_{index}"), "value": "of some forty characters, as many are"})));
    let mut review: Value = serde_json::from_slice(&review("CREATE")).unwrap();
    review["request"]["object"] = object;
    review.to_string().into_bytes()
}
