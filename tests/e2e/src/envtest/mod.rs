//! A real control plane on loopback: etcd, kube-apiserver and kube-controller-manager from the directory that
//! `KUBEBUILDER_ASSETS` names. `tests/envtest` builds them, and its README says what is real about it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Weak};
use std::time::Duration;

use reqwest::{Certificate, Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tempfile::TempDir;
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

/// A control plane of its own. Its programs end when this is dropped.
#[derive(Debug)]
pub struct Envtest {
    url: String,
    authority: Vec<u8>,
    assets: PathBuf,
    /// In the order in which they are told to end.
    programs: Vec<Program>,
    directory: TempDir,
}

/// Somebody who calls the API server, known by a token.
#[derive(Clone, Debug)]
pub struct User {
    http: reqwest::Client,
    url: String,
    token: String,
}

/// What the API server answers.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub code: u16,
    /// The object, or a Status that says why there is none.
    pub body: Value,
    /// What `kubectl` prints behind `Warning: `.
    pub warnings: Vec<String>,
}

/// Why there is no control plane.
#[derive(Debug, Error)]
pub enum EnvtestError {
    /// Nobody said where the programs are.
    #[error("KUBEBUILDER_ASSETS is not set: tests/envtest/build makes what it names")]
    NoAssets,
    /// A program ended, or never became ready.
    #[error("{program} {what}; its last words:\n{log}")]
    Program {
        /// Which.
        program: &'static str,
        /// What became of it.
        what: &'static str,
        /// The end of its log.
        log: String,
    },
    /// A file, a port or a process can't be had.
    #[error("failed to prepare '{what}'")]
    Io {
        /// Of what.
        what: String,
        /// What the system says.
        source: io::Error,
    },
    /// The key for service account tokens can't be made.
    #[error("failed to make a key")]
    Key(#[from] rcgen::Error),
    /// A client can't be made.
    #[error("failed to make a client")]
    Client(#[from] reqwest::Error),
    /// The API server's certificate can't be read.
    #[error("the API server's certificate is none")]
    Certificate(#[from] rustls::pki_types::pem::Error),
}

#[derive(Debug)]
struct Program {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

/// The one that the tests of this process share, while any of them holds it.
static SHARED: Mutex<Weak<Envtest>> = Mutex::const_new(Weak::new());

impl Envtest {
    /// The control plane that the tests of this process share; started when there is none.
    ///
    /// # Panics
    ///
    /// When it can't be started: a test that needs one must not pass without.
    pub async fn shared() -> Arc<Self> {
        Self::shared_in(&SHARED).await
    }

    /// The same, for those tests of this process that name the same place.
    ///
    /// # Panics
    ///
    /// When it can't be started.
    pub async fn shared_in(place: &Mutex<Weak<Self>>) -> Arc<Self> {
        let mut shared = place.lock().await;
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let started = match Self::start().await {
            Ok(started) => Arc::new(started),
            Err(error) => panic!("{error}"),
        };
        *shared = Arc::downgrade(&started);
        started
    }

    /// Starts the programs, each when the one before is ready.
    pub async fn start() -> Result<Self, EnvtestError> {
        // The second one in a process finds it installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let assets = assets().ok_or(EnvtestError::NoAssets)?;
        let mut attempts = 3;
        loop {
            attempts -= 1;
            match Self::try_start(&assets).await {
                // Between choosing a free port and listening on it, somebody else may.
                Err(EnvtestError::Program { .. }) if attempts > 0 => {}
                started => return started,
            }
        }
    }

    async fn try_start(assets: &Path) -> Result<Self, EnvtestError> {
        let directory = TempDir::new().map_err(failed("a directory"))?;
        let mut plane = Self {
            url: String::new(),
            authority: vec![],
            assets: assets.to_owned(),
            programs: vec![],
            directory,
        };
        let key = rcgen::KeyPair::generate()?;
        plane.write("sa.key", &key.serialize_pem())?;
        plane.write("sa.pub", &key.public_key_pem())?;
        plane.write("tokens.csv", &format!("{ADMIN_TOKEN},admin,admin,system:masters\n"))?;
        let etcd = plane.start_etcd().await?;
        plane.start_api_server(&etcd).await?;
        plane.start_controllers().await?;
        Ok(plane)
    }

    /// Whoever prepares a test, and may do everything.
    pub fn admin(&self) -> User {
        self.user(ADMIN_TOKEN)
    }

    /// Whoever has this token.
    ///
    /// # Panics
    ///
    /// When the API server's certificate, which was good enough to start, is none.
    pub fn user(&self, token: &str) -> User {
        let http = client(&self.authority).expect("a client");
        User { http, url: self.url.clone(), token: token.to_owned() }
    }

    /// What a client with this token is configured with.
    ///
    /// # Panics
    ///
    /// When the API server's own URL or certificate is none.
    pub fn config(&self, token: &str) -> kube::Config {
        let authority = CertificateDer::pem_slice_iter(&self.authority);
        let mut config = kube::Config::new(self.url.parse().expect("a URL"));
        config.root_cert = Some(authority.map(|der| der.expect("a certificate").to_vec()).collect());
        config.auth_info.token = Some(token.to_owned().into());
        config
    }

    /// What `kubectl` does with these arguments and this input, as the admin.
    ///
    /// # Panics
    ///
    /// When it can't be started.
    pub async fn kubectl(&self, arguments: &[&str], input: &str) -> Output {
        let mut kubectl = Command::new(self.assets.join("kubectl"));
        kubectl.args(arguments).env("KUBECONFIG", self.path("kubeconfig")).env("HOME", self.directory.path());
        let input = input.to_owned();
        // It waits for the webhook, which may run in this very thread.
        let ran = tokio::task::spawn_blocking(move || run(&mut kubectl, &input)).await;
        ran.expect("a thread").expect("kubectl in KUBEBUILDER_ASSETS")
    }

    async fn start_etcd(&mut self) -> Result<String, EnvtestError> {
        let url = format!("http://127.0.0.1:{}", free_port()?);
        let arguments = [
            "--data-dir=etcd".to_owned(),
            "--unsafe-no-fsync".to_owned(),
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            "--listen-peer-urls=http://127.0.0.1:0".to_owned(),
        ];
        self.spawn("etcd", &arguments)?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        let health = format!("{url}/health");
        self.ready(async || answers(http.get(&health)).await).await?;
        Ok(url)
    }

    async fn start_api_server(&mut self, etcd: &str) -> Result<(), EnvtestError> {
        let port = free_port()?;
        let fixed = API_SERVER.split_whitespace().map(str::to_owned);
        let own = [format!("--etcd-servers={etcd}"), format!("--secure-port={port}")];
        let arguments: Vec<String> = fixed.chain(own).collect();
        self.spawn("kube-apiserver", &arguments)?;
        let certificate = self.path("tls/apiserver.crt");
        self.ready(async || has_certificate(&certificate)).await?;
        self.authority = fs::read(&certificate).map_err(failed("tls/apiserver.crt"))?;
        self.url = format!("https://127.0.0.1:{port}");
        let admin =
            User { http: client(&self.authority)?, url: self.url.clone(), token: ADMIN_TOKEN.to_owned() };
        self.ready(async || answers(admin.request(Method::GET, "/readyz")).await).await
    }

    async fn start_controllers(&mut self) -> Result<(), EnvtestError> {
        self.write("kubeconfig", &self.kubeconfig(ADMIN_TOKEN))?;
        let arguments: Vec<String> = CONTROLLERS.split_whitespace().map(str::to_owned).collect();
        self.spawn("kube-controller-manager", &arguments)?;
        let admin = self.admin();
        for made in ["serviceaccounts/default", "configmaps/kube-root-ca.crt"] {
            let path = format!("/api/v1/namespaces/default/{made}");
            self.ready(async || answers(admin.request(Method::GET, &path)).await).await?;
        }
        Ok(())
    }

    /// A kubeconfig for whoever has this token, to be written into a file.
    pub fn kubeconfig(&self, token: &str) -> String {
        let cluster = json!({ "server": self.url, "certificate-authority": self.path("tls/apiserver.crt") });
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "envtest", "cluster": cluster }],
            "users": [{ "name": "admin", "user": { "token": token } }],
            "contexts": [{ "name": "envtest", "context": { "cluster": "envtest", "user": "admin" } }],
            "current-context": "envtest",
        });
        config.to_string()
    }

    fn spawn(&mut self, name: &'static str, arguments: &[String]) -> Result<(), EnvtestError> {
        let log = self.path(&format!("{name}.log"));
        let file = File::create(&log).map_err(failed(name))?;
        let child = Command::new(self.assets.join(name))
            .args(arguments)
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(file.try_clone().map_err(failed(name))?)
            .stderr(file)
            .spawn()
            .map_err(failed(name))?;
        // The last to start is the first to end.
        self.programs.insert(0, Program { name, child, log });
        Ok(())
    }

    /// Waits until the program that was started last is.
    async fn ready(&mut self, mut look: impl AsyncFnMut() -> bool) -> Result<(), EnvtestError> {
        let Some(program) = self.programs.first_mut() else { return Ok(()) };
        let deadline = Instant::now() + READY;
        while !look().await {
            let what = match program.child.try_wait() {
                Ok(None) if Instant::now() < deadline => {
                    sleep(LOOK_AGAIN).await;
                    continue;
                }
                Ok(None) => "is not ready in time",
                Ok(Some(_)) | Err(_) => "has ended",
            };
            return Err(EnvtestError::Program { program: program.name, what, log: tail(&program.log) });
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), EnvtestError> {
        fs::write(self.path(name), text).map_err(failed(name))
    }
}

impl Drop for Envtest {
    fn drop(&mut self) {
        for program in &self.programs {
            // The error says that it has ended.
            let _ = kill_process(Pid::from_child(&program.child), Signal::TERM);
        }
        let deadline = std::time::Instant::now() + GRACE;
        for program in &mut self.programs {
            while let Ok(None) = program.child.try_wait()
                && std::time::Instant::now() < deadline
            {
                std::thread::park_timeout(LOOK_AGAIN);
            }
            let _ = program.child.kill();
            let _ = program.child.wait();
        }
    }
}

impl User {
    /// Reads an object.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &Value::Null).await
    }

    /// Creates an object, as `kubectl create` does.
    pub async fn create(&self, object: &Value) -> Answer {
        self.send(Method::POST, &collection(object), object).await
    }

    /// The same, without storing it.
    pub async fn try_create(&self, object: &Value) -> Answer {
        self.send(Method::POST, &dry(&collection(object)), object).await
    }

    /// Puts an object in the place of the one that is stored, as `kubectl replace` does.
    pub async fn replace(&self, object: &Value) -> Answer {
        self.send(Method::PUT, &path(object), object).await
    }

    /// The same, without storing it.
    pub async fn try_replace(&self, object: &Value) -> Answer {
        self.send(Method::PUT, &dry(&path(object)), object).await
    }

    /// Applies an object, as `kubectl apply --server-side --force-conflicts` does.
    pub async fn apply(&self, object: &Value) -> Answer {
        let path = format!("{}?fieldManager=tests&force=true", path(object));
        let request =
            self.request(Method::PATCH, &path).header("Content-Type", "application/apply-patch+yaml");
        finish(request.body(object.to_string())).await
    }

    /// Changes the fields that `change` names, as `kubectl patch --type=merge` does.
    pub async fn merge(&self, path: &str, change: &Value) -> Answer {
        let request =
            self.request(Method::PATCH, path).header("Content-Type", "application/merge-patch+json");
        finish(request.body(change.to_string())).await
    }

    /// Deletes an object; `options` may be null.
    pub async fn delete(&self, path: &str, options: &Value) -> Answer {
        self.send(Method::DELETE, path, options).await
    }

    /// Calls the API server.
    ///
    /// # Panics
    ///
    /// When it doesn't answer.
    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        let request = self.request(method, path);
        let request = if body.is_null() { request } else { request.json(body) };
        finish(request).await
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token)
    }
}

impl Answer {
    /// The object, when the API server took what it was asked.
    ///
    /// # Panics
    ///
    /// When it refused, with its words.
    #[track_caller]
    pub fn taken(self) -> Value {
        assert!((200..300).contains(&self.code), "{}: {}", self.code, self.message());
        self.body
    }

    /// Why it was refused.
    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}

/// Where the API server has an object.
pub fn path(object: &Value) -> String {
    format!("{}/{}", collection(object), object["metadata"]["name"].as_str().unwrap_or_default())
}

/// Where the API server has all of its kind; in its namespace, if it names one.
fn collection(object: &Value) -> String {
    let api = object["apiVersion"].as_str().unwrap_or("v1");
    let root = if api.contains('/') { "apis" } else { "api" };
    let kind = object["kind"].as_str().unwrap_or_default().to_ascii_lowercase();
    let kinds = match kind.strip_suffix('y') {
        Some(policy) => format!("{policy}ies"),
        None => format!("{kind}s"),
    };
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("/{root}/{api}/namespaces/{namespace}/{kinds}"),
        None => format!("/{root}/{api}/{kinds}"),
    }
}

fn dry(path: &str) -> String {
    format!("{path}?dryRun=All")
}

async fn finish(request: reqwest::RequestBuilder) -> Answer {
    let answer = request.send().await.expect("an API server that answers");
    let code = answer.status().as_u16();
    let warnings = answer.headers().get_all("Warning").iter();
    let warnings = warnings.filter_map(|value| warning(&String::from_utf8_lossy(value.as_bytes()))).collect();
    let body = answer.text().await.expect("an API server that answers");
    Answer { code, body: serde_json::from_str(&body).unwrap_or(Value::String(body)), warnings }
}

/// The text of an HTTP warning, `299 - "text"`.
fn warning(header: &str) -> Option<String> {
    let text = header.split_once('"')?.1.rsplit_once('"')?.0;
    Some(text.replace("\\\"", "\"").replace("\\\\", "\\"))
}

async fn answers(request: reqwest::RequestBuilder) -> bool {
    request.send().await.is_ok_and(|answer| answer.status() == StatusCode::OK)
}

/// Whether the whole of it is there already.
fn has_certificate(path: &Path) -> bool {
    fs::read(path).is_ok_and(|pem| {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        certificates.is_ok_and(|certificates| !certificates.is_empty())
    })
}

fn client(authority: &[u8]) -> Result<reqwest::Client, reqwest::Error> {
    let authority = Certificate::from_pem_bundle(authority)?;
    reqwest::Client::builder().tls_certs_only(authority).no_proxy().build()
}

fn run(command: &mut Command, input: &str) -> io::Result<Output> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // Whoever doesn't read it has said why.
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output()
}

fn free_port() -> Result<u16, EnvtestError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed("a port"))?;
    Ok(listener.local_addr().map_err(failed("a port"))?.port())
}

fn failed(what: &str) -> impl Fn(io::Error) -> EnvtestError {
    move |source| EnvtestError::Io { what: what.to_owned(), source }
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n")
}

#[expect(clippy::disallowed_methods, reason = "the convention by which such tests are told")]
fn assets() -> Option<PathBuf> {
    std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from)
}

const API_SERVER: &str = "
    --bind-address=127.0.0.1 --cert-dir=tls
    --advertise-address=127.0.0.1 --endpoint-reconciler-type=none
    --authorization-mode=RBAC --token-auth-file=tokens.csv
    --service-cluster-ip-range=10.96.0.0/16
    --service-account-issuer=https://kubernetes.default.svc
    --service-account-signing-key-file=sa.key --service-account-key-file=sa.pub";
const CONTROLLERS: &str = "
    --kubeconfig=kubeconfig --leader-elect=false --secure-port=0
    --use-service-account-credentials --service-account-private-key-file=sa.key --root-ca-file=tls/apiserver.crt
    --controllers=statefulset-controller,endpointslice-controller,garbage-collector-controller,namespace-controller,persistentvolumeclaim-protection-controller,resourcequota-controller,serviceaccount-controller,serviceaccount-token-controller,root-ca-certificate-publisher-controller,clusterrole-aggregation-controller,validatingadmissionpolicy-status-controller";
/// The token of whoever may do everything.
pub const ADMIN_TOKEN: &str = "envtest-admin";
/// Some 3 s are usual, and this is for a machine that does much else.
const READY: Duration = Duration::from_secs(60);
/// An API server whose etcd ends with it may take much longer, and SIGKILL loses nothing that a test needs.
const GRACE: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const LAST_WORDS: usize = 15;
