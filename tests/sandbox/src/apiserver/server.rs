//! The shell around the state: a TLS port, the controls for tests, and files for clients.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::access::{Forbidden, User};
use super::hooks::Admission;
use super::path::{Key, Resource};
use super::request::Request;
use super::state::{Call, Failure, Listening, Shared, State, lock};
use super::{defaults, handle};
use crate::date::wall_clock;
use crate::json::text;
use crate::port;
use crate::tls::{ServerTls, TlsError};

/// The token of a user with all permissions.
pub const ADMIN_TOKEN: &str = "sandbox-admin";

/// A reason for the server not to start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No certificate could be generated.
    #[error("failed to generate the API server's certificate")]
    Tls(#[from] TlsError),
    /// No loopback port could be opened.
    #[error("failed to open a loopback port")]
    Port(#[from] io::Error),
}

/// A stand-in for the Kubernetes API server. Clones refer to the same server, which stops when the last is dropped.
#[derive(Debug, Clone)]
pub struct ApiServer {
    shared: Arc<Shared>,
    _stop: Arc<DropGuard>,
}

impl ApiServer {
    /// Starts a server on a free loopback port. Must be called in a tokio runtime.
    ///
    /// # Errors
    ///
    /// If no port can be opened or no certificate generated.
    pub fn start() -> Result<Self, StartError> {
        let tls = ServerTls::new(AUTHORITY, &NAMES)?;
        let reserved = port::reserve((Ipv4Addr::LOCALHOST, 0).into())?;
        let mut state = State::new();
        state.access.tokens.insert(ADMIN_TOKEN.to_owned(), User::admin());
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            addr: reserved.local_addr()?,
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
            ca_pem: tls.ca_pem,
            tls: tls.config,
            stop: stop.clone(),
            _reserved: reserved,
        });
        let server = Self { shared, _stop: Arc::new(stop.drop_guard()) };
        server.up()?;
        Ok(server)
    }

    /// `https://127.0.0.1:port`
    pub fn url(&self) -> String {
        format!("https://{}", self.shared.addr)
    }

    /// The certificate authority that signed the server's certificate, in PEM.
    pub fn ca_pem(&self) -> &str {
        &self.shared.ca_pem
    }

    /// Accepts a token for a user from now on.
    pub fn add_token(&self, token: &str, user: User) {
        lock(&self.shared.state).access.tokens.insert(token.to_owned(), user);
    }

    /// Rejects a token from now on.
    pub fn revoke_token(&self, token: &str) {
        lock(&self.shared.state).access.tokens.remove(token);
    }

    /// Stores an object unchanged, without admission and defaults, and replaces an existing one. Only the `stringData` of
    /// a Secret is encoded.
    pub fn seed(&self, mut object: Value) -> Value {
        let mut state = lock(&self.shared.state);
        let resource = Resource::of_kind(text(&object["apiVersion"]), text(&object["kind"]));
        let key =
            key(&resource, object["metadata"]["namespace"].as_str(), object["metadata"]["name"].as_str());
        if resource.plural == "secrets" {
            defaults::fill(&resource, &mut object);
        }
        // An existing object keeps its UID, so that references to it stay valid.
        let stored = match state.store.get(&key).cloned() {
            Some(old) => state.store.update(key, &old, object),
            None => state.store.create(key, object, wall_clock()),
        };
        self.shared.changed.send_replace(state.store.version());
        stored
    }

    /// Returns an object, for example `get("apps/v1", "statefulsets", Some("default"), "couchdb")`.
    pub fn get(&self, api_version: &str, plural: &str, namespace: Option<&str>, name: &str) -> Option<Value> {
        let key = key(&Resource::new(api_version, plural), namespace, Some(name));
        lock(&self.shared.state).store.get(&key).cloned()
    }

    /// Returns all objects of a resource, of all namespaces.
    pub fn list(&self, api_version: &str, plural: &str) -> Vec<Value> {
        let resource = Resource::new(api_version, plural);
        let state = lock(&self.shared.state);
        let found =
            state.store.all().filter(|(key, _)| key.group == resource.group && key.plural == resource.plural);
        found.map(|(_, object)| object.clone()).collect()
    }

    /// Deletes an object without admission. Returns `true` if it existed and had no finalizers.
    pub fn delete(&self, api_version: &str, plural: &str, namespace: Option<&str>, name: &str) -> bool {
        let key = key(&Resource::new(api_version, plural), namespace, Some(name));
        let mut state = lock(&self.shared.state);
        let Some(old) = state.store.get(&key).cloned() else { return false };
        let (_, gone) = state.store.delete(&key, old, wall_clock());
        self.shared.changed.send_replace(state.store.version());
        gone
    }

    /// Registers the address that stands for a port of a Service in webhook configurations.
    pub fn route_service(&self, namespace: &str, name: &str, port: u16, to: SocketAddr) {
        let key = (namespace.to_owned(), name.to_owned(), port);
        lock(&self.shared.state).services.insert(key, to);
    }

    /// Registers the address that stands for a port of the pod with this IP address, for requests through the API server.
    /// Other pods and ports are unreachable.
    pub fn route_pod(&self, ip: IpAddr, port: u16, to: SocketAddr) {
        lock(&self.shared.state).pod_ports.insert((ip, port), to);
    }

    /// Returns the calls to webhooks so far, in order.
    pub fn admissions(&self) -> Vec<Admission> {
        lock(&self.shared.state).admissions.clone()
    }

    /// Returns the answered calls so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.shared.state).calls.clone()
    }

    /// Clears the calls and admissions that were recorded so far.
    pub fn forget_calls(&self) {
        let mut state = lock(&self.shared.state);
        state.calls.clear();
        state.admissions.clear();
    }

    /// Refuses connections from now on, and closes the existing ones.
    pub fn down(&self) {
        lock(&self.shared.state).listening = None;
    }

    /// Accepts connections again, on the same port and with the objects of before.
    ///
    /// # Errors
    ///
    /// If the port cannot be opened.
    pub fn up(&self) -> io::Result<()> {
        let mut state = lock(&self.shared.state);
        if state.listening.is_some() {
            return Ok(());
        }
        let listener = port::reserve(self.shared.addr)?.listen(1024)?;
        let listener = Arc::new(Mutex::new(Some(listener)));
        // Ends with the server, or earlier with `down`.
        let stop = self.shared.stop.child_token();
        tokio::spawn(accept(Arc::clone(&self.shared), Arc::clone(&listener), stop.clone()));
        state.listening = Some(Listening { listener, _stop: stop.drop_guard() });
        Ok(())
    }

    /// Delays each answer from now on.
    pub fn slow(&self, by: Duration) {
        lock(&self.shared.state).delay = by;
    }

    /// Forbids a set of requests from now on.
    pub fn forbid(&self, requests: Forbidden) {
        lock(&self.shared.state).access.forbidden.push(requests);
    }

    /// From now on, requires a Role and a binding in the store for each request of a user other than the admin.
    pub fn enforce_rbac(&self) {
        lock(&self.shared.state).access.rbac = true;
    }

    /// Withdraws all calls of [`Self::forbid`].
    pub fn forbid_nothing(&self) {
        lock(&self.shared.state).access.forbidden.clear();
    }

    /// Answers the next `times` calls of a verb (or `*`) on a resource (or `*`) with an error of this status.
    pub fn fail(&self, verb: &str, plural: &str, times: u32, code: u16) {
        let failure = Failure { verb: verb.to_owned(), plural: plural.to_owned(), remaining: times, code };
        lock(&self.shared.state).failures.push(failure);
    }

    /// Clears the history of changes: a watch that is behind gets a 410.
    pub fn forget_history(&self) {
        lock(&self.shared.state).store.forget_history();
    }

    /// Writes a kubeconfig with this token into a directory, and returns its path.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
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
        // JSON is valid YAML.
        std::fs::write(&path, format!("{config:#}\n"))?;
        Ok(path)
    }

    /// Writes `token`, `ca.crt` and `namespace` into a directory, as they are mounted into pods.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
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
    while let Some(Some(stream)) = stop.run_until_cancelled(next_connection(&listener)).await {
        let connection = serve(Arc::clone(&shared), stream);
        // `down` also closes open connections, and with them the watches.
        tokio::spawn(stop.clone().run_until_cancelled_owned(connection));
    }
}

/// Waits for a connection; `None` when the listener is closed.
async fn next_connection(listener: &Mutex<Option<TcpListener>>) -> Option<TcpStream> {
    poll_fn(|context| match lock(listener).as_ref() {
        Some(listener) => listener.poll_accept(context).map(Result::ok),
        None => Poll::Ready(None),
    })
    .await
    .map(|(stream, _)| stream)
}

async fn serve(shared: Arc<Shared>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let acceptor = TlsAcceptor::from(Arc::clone(&shared.tls));
    // A client that does not trust the certificate closes the connection here, and reports the reason itself.
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move {
            let request = Request::read(request).await?;
            Ok::<_, hyper::Error>(handle::answer(&shared, request).await)
        }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// The common name of the server's certificate authority.
const AUTHORITY: &str = "sandbox-kubernetes";
/// The names that the server's certificate is valid for.
const NAMES: [&str; 4] =
    ["127.0.0.1", "localhost", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
