//! A real control plane on loopback: etcd, kube-apiserver and kube-controller-manager from the directory that
//! `KUBEBUILDER_ASSETS` names. `tests/envtest` builds them, and its README says what is real about it.

mod user;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Weak};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use tempfile::TempDir;
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

pub use user::{Answer, User, path};

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
        User::new(&self.url, &self.authority, token).expect("a client")
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

    /// Nothing is made, deleted or counted by controllers from now on: what the API server itself does is all there is.
    pub fn pause_controllers(&self) {
        self.signal_controllers(Signal::STOP);
    }

    /// They go on where they were.
    pub fn resume_controllers(&self) {
        self.signal_controllers(Signal::CONT);
    }

    fn signal_controllers(&self, signal: Signal) {
        for program in self.programs.iter().filter(|program| program.name == CONTROLLER_MANAGER) {
            // The error says that it has ended.
            let _ = kill_process(Pid::from_child(&program.child), signal);
        }
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
        let admin = User::new(&self.url, &self.authority, ADMIN_TOKEN)?;
        self.ready(async || answers(admin.request(Method::GET, "/readyz")).await).await
    }

    async fn start_controllers(&mut self) -> Result<(), EnvtestError> {
        self.write("kubeconfig", &self.kubeconfig(ADMIN_TOKEN))?;
        let arguments: Vec<String> = CONTROLLERS.split_whitespace().map(str::to_owned).collect();
        self.spawn(CONTROLLER_MANAGER, &arguments)?;
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
            for signal in [Signal::TERM, Signal::CONT] {
                // The error says that it has ended.
                let _ = kill_process(Pid::from_child(&program.child), signal);
            }
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
const CONTROLLER_MANAGER: &str = "kube-controller-manager";
/// The token of whoever may do everything.
pub const ADMIN_TOKEN: &str = "envtest-admin";
/// Some 3 s are usual, and this is for a machine that does much else.
const READY: Duration = Duration::from_secs(60);
/// An API server whose etcd ends with it may take much longer, and SIGKILL loses nothing that a test needs.
const GRACE: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const LAST_WORDS: usize = 15;
