//! The server of one port: reads calls from its connections, and writes the answers of the [`World`].

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::ext::ReasonPhrase;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::calls::{Moment, Treatment};
use super::erlang_ports;
use super::http::{Answer, Request, Response, Time};
use super::service::{Service, Source};
use super::settings::Host;
use super::shared::{Served, Shared, lock};
use super::world::World;

/// The connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut")]
pub(super) struct CutOff;

/// Serves one port in a task of its own.
pub(crate) fn spawn(port: Served) {
    tokio::spawn(accept(port));
}

/// Serves one port until the node goes down, and its connections until then.
async fn accept(port: Served) {
    while let Some(Some((stream, peer))) = port.stop.run_until_cancelled(port.next_connection()).await {
        // Answers are small and clients wait for each of them: Nagle's algorithm would cost 40 ms per call.
        let _ = stream.set_nodelay(true);
        let connection = port.connection(stream, peer);
        tokio::spawn(port.stop.clone().run_until_cancelled_owned(connection));
    }
}

impl Served {
    /// The next connection; `None` once the node is down.
    async fn next_connection(&self) -> Option<(TcpStream, SocketAddr)> {
        // The listener is shared with the owner of the port, which closes it while this waits.
        poll_fn(|context| match lock(&self.listener).as_ref() {
            Some(listener) => listener.poll_accept(context).map(Result::ok),
            None => Poll::Ready(None),
        })
        .await
    }

    fn connection(&self, stream: TcpStream, peer: SocketAddr) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        match self.service {
            Service::Http => {
                let (shared, host) = (Arc::clone(&self.shared), self.host.clone());
                Box::pin(serve_http(stream, Caller { shared, host, source: self.source.clone(), peer }))
            }
            Service::Epmd => {
                let name = self.shared.change(|world, _| self.node_name(world));
                Box::pin(erlang_ports::serve_epmd(stream, name))
            }
            Service::Distribution => Box::pin(erlang_ports::serve_distribution(stream)),
        }
    }

    fn node_name(&self, world: &World) -> Option<String> {
        world.node(self.host.as_str())?.name().map(str::to_owned)
    }
}

async fn serve_http(stream: TcpStream, caller: Caller) {
    match &caller.shared.tls {
        None => serve_http1(stream, caller).await,
        Some(tls) => {
            let acceptor = TlsAcceptor::from(Arc::clone(&tls.config));
            // A client that does not trust the certificate closes the connection and has the error itself.
            if let Ok(stream) = acceptor.accept(stream).await {
                serve_http1(stream, caller).await;
            }
        }
    }
}

async fn serve_http1(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, caller: Caller) {
    let caller = Arc::new(caller);
    let service = service_fn(move |request| {
        let caller = Arc::clone(&caller);
        async move { caller.serve(request).await }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // An error here is a cut, or a client that closed the connection: neither needs a report.
    let _ = connection.await;
}

/// The client of one HTTP connection.
struct Caller {
    shared: Arc<Shared>,
    host: Host,
    source: Source,
    peer: SocketAddr,
}

impl Caller {
    async fn serve(&self, request: hyper::Request<Incoming>) -> Result<hyper::Response<Full<Bytes>>, CutOff> {
        let request = self.read(request).await?;
        let (number, treatment) = lock(&self.shared.calls).begin(&self.host, &request);
        let response = match treatment {
            Treatment::Cut(Moment::Before) => return Err(CutOff),
            Treatment::Fail(status) => Response::error(status, "error", "injected by the test"),
            // The call has its effect before the connection is cut.
            Treatment::Serve | Treatment::Cut(Moment::After) => {
                self.log_in(&request).await;
                self.handle(&request).await?
            }
        };
        if treatment == Treatment::Cut(Moment::After) {
            return Err(CutOff);
        }
        lock(&self.shared.calls).end(number, response.status);
        write(response, number, &self.shared.server_of(&self.host))
    }

    async fn read(&self, request: hyper::Request<Incoming>) -> Result<Request, CutOff> {
        let (source, local) = match &self.source {
            // The tests themselves, which need to reach a node that is bound to 127.0.0.1.
            Source::Any => (self.peer.ip().to_string(), true),
            Source::Named(name) => (name.clone(), name == self.host.as_str()),
        };
        let origin = Origin { host: &self.host, source, local };
        read(request, origin, self.shared.clock.now()).await
    }

    /// Takes the time of a login's hash, unless the same login has ended before. Logins that begin at the same time each take
    /// it, one after another on the node's core (`couch_passwords_cache` knows only results).
    async fn log_in(&self, request: &Request) {
        let Some(authorization) = &request.authorization else { return };
        let pending = self.shared.change(|world, _| {
            let node = world.node(self.host.as_str())?;
            let process = node.process.as_ref()?;
            let cost = node.settings.first_login;
            (!cost.is_zero() && !process.logins.contains(authorization))
                .then(|| (cost, Arc::clone(&process.core)))
        });
        let Some((cost, core)) = pending else { return };
        let _turn = core.lock().await;
        self.shared.clock.sleep(cost).await;
        self.shared.change(|world, _| {
            if let Some(process) = world.nodes.get_mut(&self.host).and_then(|node| node.process.as_mut()) {
                process.hashes += 1;
                process.logins.insert(authorization.clone());
            }
        });
    }

    /// Handles a call until the world has decided about it, and waits as long as CouchDB would take.
    async fn handle(&self, request: &Request) -> Result<Response, CutOff> {
        loop {
            // The lock is held only in `change`: other calls are handled while this one waits.
            let (answer, now) =
                self.shared.change(|world, now| (world.handle(&self.host, request, now), now));
            match answer {
                Answer::Ready { response, after } => {
                    self.shared.clock.sleep(after).await;
                    return Ok(response);
                }
                Answer::Later(at) => self.shared.clock.sleep(at.saturating_sub(now)).await,
                Answer::Dropped => return Err(CutOff),
            }
        }
    }
}

/// The caller of a request, and the node that it is sent to.
pub(super) struct Origin<'a> {
    pub(super) host: &'a Host,
    pub(super) source: String,
    pub(super) local: bool,
}

impl Origin<'_> {
    /// The source that a caller names in `X-Forwarded-For`: CouchDB believes every caller with a private address. The
    /// loopback address is that of the containers in the node's own pod.
    fn forwarded(&self, headers: &hyper::HeaderMap) -> Option<String> {
        let forwarded = header(headers, "x-forwarded-for")?;
        let last = forwarded.rsplit(',').next()?.trim();
        Some(if last == "127.0.0.1" { self.host.as_str().to_owned() } else { last.to_owned() })
    }
}

/// Reads a request with its body.
pub(super) async fn read(
    request: hyper::Request<Incoming>,
    origin: Origin<'_>,
    received: Time,
) -> Result<Request, CutOff> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| CutOff)?.to_bytes().to_vec();
    let forwarded = origin.forwarded(&parts.headers);
    Ok(Request {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        authorization: header(&parts.headers, "authorization"),
        cookie: header(&parts.headers, "cookie"),
        content_type: header(&parts.headers, "content-type"),
        persist: header(&parts.headers, "x-couch-persist"),
        body,
        source: forwarded.unwrap_or(origin.source),
        local: origin.local,
        received,
    })
}

fn header(headers: &hyper::HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Converts an answer, and adds the headers that every answer of CouchDB has.
pub(super) fn write(
    response: Response,
    number: u64,
    server: &str,
) -> Result<hyper::Response<Full<Bytes>>, CutOff> {
    let mut builder = hyper::Response::builder()
        .status(response.status)
        .header("cache-control", "must-revalidate")
        .header("content-type", "application/json")
        .header("server", server)
        .header("x-couch-request-id", format!("{number:010x}"))
        .header("x-couchdb-body-time", "0");
    for (name, value) in &response.headers {
        builder = builder.header(*name, value);
    }
    // CouchDB's reason phrase is that of MochiWeb, not "Not Found".
    if response.status == 404 {
        builder = builder.extension(ReasonPhrase::from_static(b"Object Not Found"));
    }
    builder.body(Full::new(Bytes::from(response.body))).map_err(|_| CutOff)
}
