//! The listener, and the requests that it passes on.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use clap::Args as ClapArgs;
use contract::ports;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use kube::{Client, Config};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::error::PageError;
use crate::check::Output;
use crate::cluster::{Target, agent_page, connect};

/// Arguments of `page`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Name of the pod
    pub pod: String,
    /// The cluster and the namespace.
    #[command(flatten)]
    pub target: Target,
    /// Port of the loopback address; by default a free one
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Format of the result, which is the address
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// A listener for the pages of one agent.
#[derive(Debug)]
pub struct PageServer {
    listener: TcpListener,
    agent: Arc<Agent>,
}

/// The agent whose pages are served.
struct Agent {
    client: Client,
    namespace: String,
    pod: String,
    address: SocketAddr,
}

/// Reads the page once, and opens the port.
pub async fn bind(config: Config, args: &Args) -> Result<PageServer, PageError> {
    let client = connect(config).await?;
    let namespace = args.target.namespace_or_default(&client);
    let pod = args.pod.clone();
    let no_page =
        |reason: String| PageError::NoPage { namespace: namespace.clone(), pod: pod.clone(), reason };
    let found = agent_page(&client, &namespace, &pod, ports::HOME).await;
    let (status, _) = found.map_err(|error| no_page(error.to_string()))?;
    if status != StatusCode::OK {
        return Err(no_page(status.to_string()));
    }
    let listen = |source| PageError::Listen { port: args.port, source };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port)).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    Ok(PageServer { listener, agent: Arc::new(Agent { client, namespace, pod, address }) })
}

impl PageServer {
    /// The address for a browser.
    pub fn url(&self) -> String {
        format!("http://{}/", self.agent.address)
    }

    /// Serves until the future is dropped.
    pub async fn serve(self) {
        let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        // Never closed.
        while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
            // An error of one connection is no reason to end.
            let Ok((stream, _)) = self.listener.accept().await else { continue };
            let agent = Arc::clone(&self.agent);
            tokio::spawn(async move {
                serve_connection(stream, agent).await;
                drop(permit);
            });
        }
    }
}

async fn serve_connection(stream: TcpStream, agent: Arc<Agent>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let agent = Arc::clone(&agent);
        async move { Ok::<_, Infallible>(agent.answer(&request).await) }
    });
    // A browser that goes away ends its connection.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

impl Agent {
    async fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        // Another name leads here if a web page has its own name resolve to this address (DNS rebinding).
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let own =
            [format!("127.0.0.1:{}", self.address.port()), format!("localhost:{}", self.address.port())];
        if !host.is_some_and(|host| own.iter().any(|own| own == host)) {
            return plain(StatusCode::FORBIDDEN, "this address is served as 127.0.0.1 only\n");
        }
        if request.method() != Method::GET {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is served\n");
        }
        let Some((path, content_type)) = PATHS.iter().find(|(path, _)| *path == request.uri().path()) else {
            return plain(StatusCode::NOT_FOUND, "no such page\n");
        };
        match agent_page(&self.client, &self.namespace, &self.pod, path).await {
            Ok((status, body)) => {
                let mut response = Response::new(Full::new(Bytes::from(body)));
                *response.status_mut() = status;
                harmless(&mut response, content_type);
                response
            }
            Err(error) => plain(StatusCode::BAD_GATEWAY, &format!("the agent does not answer: {error}\n")),
        }
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text.to_owned())));
    *response.status_mut() = status;
    harmless(&mut response, TEXT);
    response
}

/// Any program may listen at an agent's address: a browser runs nothing of what it answers.
fn harmless(response: &mut Response<Full<Bytes>>, content_type: &'static str) {
    for (name, value) in [
        (CONTENT_TYPE, content_type),
        (CONTENT_SECURITY_POLICY, ports::HOME_POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent")
            .field("namespace", &self.namespace)
            .field("pod", &self.pod)
            .finish_non_exhaustive()
    }
}

/// The paths that are passed on, each with the media type of its answer.
const PATHS: [(&str, &str); 4] = [
    (ports::HOME, ports::HOME_TYPE),
    (ports::STATUS, "application/json"),
    (ports::READYZ, TEXT),
    (ports::METRICS, TEXT),
];
const TEXT: &str = "text/plain; charset=utf-8";
/// A browser opens about 6.
const MOST_CONNECTIONS: usize = 16;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
