//! From a TCP connection to the world and back.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::ext::ReasonPhrase;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::calls::{Fate, Moment};
use super::erlang_ports::{self, Service};
use super::http::{Answer, Request, Response};
use super::network::{Shared, Source, lock};
use super::settings::{Host, Version};
use super::world::World;

/// The connection ends here, without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut")]
struct CutOff;

/// One port of a running node.
pub(crate) struct Served {
    pub(crate) shared: Arc<Shared>,
    /// Taken away when the node goes.
    pub(crate) listener: Arc<Mutex<Option<TcpListener>>>,
    pub(crate) host: Host,
    pub(crate) service: Service,
    pub(crate) source: Source,
    pub(crate) stop: CancellationToken,
}

/// Serves one port until the node goes; connections end with it.
pub(crate) async fn accept(port: Served) {
    let next = || {
        poll_fn(|context| match lock(&port.listener).as_ref() {
            Some(listener) => listener.poll_accept(context).map(Result::ok),
            None => Poll::Ready(None),
        })
    };
    while let Some(Some((stream, peer))) = port.stop.run_until_cancelled(next()).await {
        // Small answers, each waited for: Nagle would cost 40 ms a call.
        let _ = stream.set_nodelay(true);
        let connection = port.connection(stream, peer);
        tokio::spawn(port.stop.clone().run_until_cancelled_owned(connection));
    }
}

impl Served {
    fn connection(&self, stream: TcpStream, peer: SocketAddr) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        match self.service {
            Service::Http => {
                let (shared, host) = (Arc::clone(&self.shared), self.host.clone());
                Box::pin(serve_http(stream, Caller { shared, host, source: self.source.clone(), peer }))
            }
            Service::Epmd => {
                let name = |world: &mut World| world.node(self.host.as_str())?.name().map(str::to_owned);
                Box::pin(erlang_ports::serve_epmd(stream, self.shared.change(|world, _| name(world))))
            }
            Service::Distribution => Box::pin(erlang_ports::serve_distribution(stream)),
        }
    }
}

async fn serve_http(stream: TcpStream, caller: Caller) {
    match &caller.shared.tls {
        None => speak_http(stream, caller).await,
        Some(tls) => {
            let acceptor = TlsAcceptor::from(Arc::clone(&tls.config));
            // A client that doesn't trust us hangs up here; it knows why, and we have nobody to tell.
            if let Ok(stream) = acceptor.accept(stream).await {
                speak_http(stream, caller).await;
            }
        }
    }
}

async fn speak_http(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, caller: Caller) {
    let caller = Arc::new(caller);
    let service = service_fn(move |request| {
        let caller = Arc::clone(&caller);
        async move { caller.serve(request).await }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A cut or a client that went away: nobody is left to be told.
    let _ = connection.await;
}

struct Caller {
    shared: Arc<Shared>,
    host: Host,
    source: Source,
    peer: SocketAddr,
}

impl Caller {
    async fn serve(&self, request: hyper::Request<Incoming>) -> Result<hyper::Response<Full<Bytes>>, CutOff> {
        let request = self.read(request).await?;
        let (number, fate) = lock(&self.shared.calls).begin(&self.host, &request);
        let response = match fate {
            Fate::Cut(Moment::Before) => return Err(CutOff),
            Fate::Failed(status) => Response::error(status, "error", "injected by the test"),
            Fate::Served | Fate::Cut(Moment::After) => self.ask(&request).await?,
        };
        if fate == Fate::Cut(Moment::After) {
            return Err(CutOff);
        }
        lock(&self.shared.calls).end(number, response.status);
        write(response, number, self.shared.version_of(&self.host))
    }

    async fn read(&self, request: hyper::Request<Incoming>) -> Result<Request, CutOff> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| CutOff)?.to_bytes().to_vec();
        let header = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let (source, local) = match &self.source {
            Source::Anybody => (self.peer.ip().to_string(), true),
            Source::Named(name) => (name.clone(), name == self.host.as_str()),
        };
        Ok(Request {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            authorization: header("authorization"),
            cookie: header("cookie"),
            content_type: header("content-type"),
            persist: header("x-couch-persist"),
            body,
            source,
            local,
            received: self.shared.clock.now(),
        })
    }

    async fn ask(&self, request: &Request) -> Result<Response, CutOff> {
        loop {
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

fn write(response: Response, number: u64, version: Version) -> Result<hyper::Response<Full<Bytes>>, CutOff> {
    let mut builder = hyper::Response::builder()
        .status(response.status)
        .header("cache-control", "must-revalidate")
        .header("content-type", "application/json")
        .header("server", format!("CouchDB/{version} (Erlang OTP/25)"))
        .header("x-couch-request-id", format!("{number:010x}"))
        .header("x-couchdb-body-time", "0");
    for (name, value) in &response.headers {
        builder = builder.header(*name, value);
    }
    if response.status == 404 {
        builder = builder.extension(ReasonPhrase::from_static(b"Object Not Found"));
    }
    builder.body(Full::new(Bytes::from(response.body))).map_err(|_| CutOff)
}
