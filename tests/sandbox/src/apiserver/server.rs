//! The shell: a TLS port, what tests may switch, and files for clients.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::access::{Access, Forbidden, User};
use super::defaults;
use super::handle::{self, Request};
use super::hooks::{Address, Admission, Endpoint, Services};
use super::path::{Key, Resource, Target};
use super::proxy::Ports;
use super::status::ApiError;
use super::store::Store;
use crate::date::wall_clock;
use crate::port;
use crate::tls::{ServerTls, TlsError};

/// The token of someone who may everything.
pub const ADMIN_TOKEN: &str = "sandbox-admin";

/// Why the server couldn't be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No certificate.
    #[error("failed to make the API server's certificate")]
    Tls(#[from] TlsError),
    /// No port.
    #[error("failed to open a loopback port")]
    Port(#[from] io::Error),
}

/// A stand-in for the Kubernetes API server. Clones are the same server; it stops with the last of them.
#[derive(Debug, Clone)]
pub struct ApiServer {
    shared: Arc<Shared>,
    _stop: Arc<DropGuard>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) state: Mutex<State>,
    /// The latest resource version: watches wake up by it.
    pub(crate) changed: watch::Sender<u64>,
    addr: SocketAddr,
    ca_pem: String,
    tls: Arc<rustls::ServerConfig>,
    stop: CancellationToken,
    _holder: TcpSocket,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) access: Access,
    pub(crate) services: Services,
    pub(crate) pod_ports: Ports,
    pub(crate) endpoints: BTreeMap<Address, Endpoint>,
    pub(crate) admissions: Vec<Admission>,
    pub(crate) calls: Vec<Call>,
    pub(crate) slow: Duration,
    failures: Vec<Failure>,
    listening: Option<Listening>,
}

#[derive(Debug)]
struct Listening {
    listener: Arc<Mutex<Option<TcpListener>>>,
    _stop: DropGuard,
}

impl Drop for Listening {
    fn drop(&mut self) {
        *lock(&self.listener) = None;
    }
}

#[derive(Debug)]
struct Failure {
    verb: String,
    plural: String,
    left: u32,
    code: u16,
}

/// One call that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// `GET`, ..
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The query without its `?`.
    pub query: String,
    /// Who it says it is.
    pub user_agent: String,
    /// What was answered; a watch counts when it begins.
    pub status: u16,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    pub(crate) fn injected(&mut self, verb: &str, target: &Target) -> Option<ApiError> {
        let matches = |word: &str, wanted: &str| word == "*" || word == wanted;
        let failure = self
            .failures
            .iter_mut()
            .find(|f| f.left > 0 && matches(&f.verb, verb) && matches(&f.plural, &target.resource.plural))?;
        failure.left -= 1;
        Some(ApiError::Injected { code: failure.code, message: "injected by the test".to_owned() })
    }
}

impl ApiServer {
    /// Starts it on a loopback port. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// When there is no port or no certificate to be had.
    pub fn start() -> Result<Self, StartError> {
        let tls = ServerTls::new(AUTHORITY, &NAMES)?;
        let holder = port::reserve((Ipv4Addr::LOCALHOST, 0).into())?;
        let mut access = Access::default();
        access.tokens.insert(ADMIN_TOKEN.to_owned(), User::admin());
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            addr: holder.local_addr()?,
            state: Mutex::new(State {
                store: Store::new(7),
                access,
                services: Services::new(),
                pod_ports: Ports::new(),
                endpoints: BTreeMap::new(),
                admissions: Vec::new(),
                calls: Vec::new(),
                slow: Duration::ZERO,
                failures: Vec::new(),
                listening: None,
            }),
            changed: watch::Sender::new(0),
            ca_pem: tls.ca_pem,
            tls: tls.config,
            stop: stop.clone(),
            _holder: holder,
        });
        let server = Self { shared, _stop: Arc::new(stop.drop_guard()) };
        server.up()?;
        Ok(server)
    }

    /// `https://127.0.0.1:port`
    pub fn url(&self) -> String {
        format!("https://{}", self.shared.addr)
    }

    /// The authority that signed its certificate.
    pub fn ca_pem(&self) -> &str {
        &self.shared.ca_pem
    }

    /// A token for a user.
    pub fn add_token(&self, token: &str, user: User) {
        lock(&self.shared.state).access.tokens.insert(token.to_owned(), user);
    }

    /// The token is no longer good.
    pub fn revoke_token(&self, token: &str) {
        lock(&self.shared.state).access.tokens.remove(token);
    }

    /// Puts an object in as it is, past admission and defaults; one that is there is replaced.
    pub fn seed(&self, object: Value) -> Value {
        let mut state = lock(&self.shared.state);
        let text = |key: &str| object[key].as_str().unwrap_or_default();
        let resource = Resource::of_kind(text("apiVersion"), text("kind"));
        let key =
            key(&resource, object["metadata"]["namespace"].as_str(), object["metadata"]["name"].as_str());
        let mut object = object.clone();
        if resource.plural == "secrets" {
            defaults::fill(&resource, &mut object);
        }
        let stored = match state.store.get(&key).cloned() {
            Some(old) => state.store.update(key, &old, object),
            None => state.store.create(key, object, wall_clock()),
        };
        self.shared.changed.send_replace(state.store.version());
        stored
    }

    /// An object, for example `get("apps/v1", "statefulsets", Some("default"), "couchdb")`.
    pub fn get(&self, api_version: &str, plural: &str, namespace: Option<&str>, name: &str) -> Option<Value> {
        let key = key(&Resource::new(api_version, plural), namespace, Some(name));
        lock(&self.shared.state).store.get(&key).cloned()
    }

    /// All objects of a resource.
    pub fn list(&self, api_version: &str, plural: &str) -> Vec<Value> {
        let resource = Resource::new(api_version, plural);
        let state = lock(&self.shared.state);
        let found =
            state.store.all().filter(|(k, _)| k.group == resource.group && k.plural == resource.plural);
        found.map(|(_, object)| object.clone()).collect()
    }

    /// Deletes an object past admission. True when it was there and had no finalizers.
    pub fn delete(&self, api_version: &str, plural: &str, namespace: Option<&str>, name: &str) -> bool {
        let key = key(&Resource::new(api_version, plural), namespace, Some(name));
        let mut state = lock(&self.shared.state);
        let Some(old) = state.store.get(&key).cloned() else { return false };
        let (_, gone) = state.store.delete(&key, old, wall_clock());
        self.shared.changed.send_replace(state.store.version());
        gone
    }

    /// Where a Service of a webhook configuration leads.
    pub fn route_service(&self, namespace: &str, name: &str, port: u16, to: SocketAddr) {
        let key = (namespace.to_owned(), name.to_owned(), port);
        lock(&self.shared.state).services.insert(key, to);
    }

    /// Where a port of the pod with this address leads, for who asks through the API server. Without a route it can't be
    /// reached.
    pub fn route_pod(&self, ip: IpAddr, port: u16, to: SocketAddr) {
        lock(&self.shared.state).pod_ports.insert((ip, port), to);
    }

    /// Every webhook that was asked, in order.
    pub fn admissions(&self) -> Vec<Admission> {
        lock(&self.shared.state).admissions.clone()
    }

    /// Every call that was answered, in order.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.shared.state).calls.clone()
    }

    /// Forgets the calls and admissions so far.
    pub fn forget_calls(&self) {
        let mut state = lock(&self.shared.state);
        state.calls.clear();
        state.admissions.clear();
    }

    /// The port refuses, connections and watches are cut.
    pub fn down(&self) {
        lock(&self.shared.state).listening = None;
    }

    /// Listens (again), on the same port and with what it knew.
    ///
    /// # Errors
    ///
    /// When the port can't be opened.
    pub fn up(&self) -> io::Result<()> {
        let mut state = lock(&self.shared.state);
        if state.listening.is_some() {
            return Ok(());
        }
        let listener = port::reserve(self.shared.addr)?.listen(1024)?;
        let listener = Arc::new(Mutex::new(Some(listener)));
        let stop = self.shared.stop.child_token();
        tokio::spawn(accept(Arc::clone(&self.shared), Arc::clone(&listener), stop.clone()));
        state.listening = Some(Listening { listener, _stop: stop.drop_guard() });
        Ok(())
    }

    /// Each answer takes so much longer.
    pub fn slow(&self, by: Duration) {
        lock(&self.shared.state).slow = by;
    }

    /// Forbids something from now on.
    pub fn forbid(&self, what: Forbidden) {
        lock(&self.shared.state).access.forbidden.push(what);
    }

    /// From now on, tokens other than [`ADMIN_TOKEN`]'s may only what Roles and bindings in the store allow.
    pub fn enforce_rbac(&self) {
        lock(&self.shared.state).access.rbac = true;
    }

    /// Nothing is forbidden any more.
    pub fn forbid_nothing(&self) {
        lock(&self.shared.state).access.forbidden.clear();
    }

    /// Answers the next `times` calls of a verb (or `*`) on a resource (or `*`) with an error of this status.
    pub fn fail(&self, verb: &str, plural: &str, times: u32, code: u16) {
        let failure = Failure { verb: verb.to_owned(), plural: plural.to_owned(), left: times, code };
        lock(&self.shared.state).failures.push(failure);
    }

    /// Forgets what happened so far: a watch that is behind gets a 410.
    pub fn forget_history(&self) {
        lock(&self.shared.state).store.forget_history();
    }

    /// Writes a kubeconfig with this token into a directory.
    ///
    /// # Errors
    ///
    /// When the file can't be written.
    pub fn write_kubeconfig(&self, dir: &Path, token: &str) -> io::Result<PathBuf> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "sandbox",
            "clusters": [{"name": "sandbox", "cluster": {
                "server": self.url(),
                "certificate-authority-data": STANDARD.encode(&self.shared.ca_pem),
            }}],
            "users": [{"name": "sandbox", "user": {"token": token}}],
            "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": "sandbox"}}],
        });
        let path = dir.join("kubeconfig");
        // JSON is YAML.
        std::fs::write(&path, format!("{config:#}\n"))?;
        Ok(path)
    }

    /// Writes `token`, `ca.crt` and `namespace`, as they are mounted into pods, into a directory.
    ///
    /// # Errors
    ///
    /// When a file can't be written.
    pub fn write_service_account(&self, dir: &Path, namespace: &str, token: &str) -> io::Result<()> {
        for (name, content) in [("token", token), ("ca.crt", &self.shared.ca_pem), ("namespace", namespace)] {
            std::fs::write(dir.join(name), content)?;
        }
        Ok(())
    }
}

fn key(resource: &Resource, namespace: Option<&str>, name: Option<&str>) -> Key {
    Key {
        group: resource.group.clone(),
        plural: resource.plural.clone(),
        namespace: namespace.map(str::to_owned),
        name: name.unwrap_or_default().to_owned(),
    }
}

async fn accept(shared: Arc<Shared>, listener: Arc<Mutex<Option<TcpListener>>>, stop: CancellationToken) {
    let next = || {
        poll_fn(|context| match lock(&listener).as_ref() {
            Some(listener) => listener.poll_accept(context).map(Result::ok),
            None => Poll::Ready(None),
        })
    };
    while let Some(Some((stream, _))) = stop.run_until_cancelled(next()).await {
        let connection = serve(Arc::clone(&shared), stream);
        tokio::spawn(stop.clone().run_until_cancelled_owned(connection));
    }
}

async fn serve(shared: Arc<Shared>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let acceptor = TlsAcceptor::from(Arc::clone(&shared.tls));
    // A client that doesn't trust us hangs up here; it knows why, and we have nobody to tell.
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move {
            let request = read(request).await?;
            Ok::<_, hyper::Error>(handle::answer(&shared, request).await)
        }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn read(request: hyper::Request<Incoming>) -> Result<Request, hyper::Error> {
    let (parts, body) = request.into_parts();
    let header = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    Ok(Request {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        authorization: header("authorization"),
        content_type: header("content-type").unwrap_or_default(),
        user_agent: header("user-agent").unwrap_or_default(),
        body: body.collect().await?.to_bytes().to_vec(),
    })
}

const AUTHORITY: &str = "sandbox-kubernetes";
const NAMES: [&str; 4] =
    ["127.0.0.1", "localhost", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
