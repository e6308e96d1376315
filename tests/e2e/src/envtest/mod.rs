//! A real control plane on loopback: etcd, kube-apiserver and kube-controller-manager from the directory in
//! `KUBEBUILDER_ASSETS`. `tests/envtest` builds them; its README lists the differences from a cluster.

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

use crate::control_plane::install_crypto;

/// A running control plane. Its programs end when this is dropped.
#[derive(Debug)]
pub struct Envtest {
    url: String,
    authority: Vec<u8>,
    assets: PathBuf,
    /// In the order in which they are stopped.
    programs: Vec<Program>,
    directory: TempDir,
}

/// A reason for the control plane not to start.
#[derive(Debug, Error)]
pub enum EnvtestError {
    /// The environment doesn't contain the programs' directory.
    #[error(
        "KUBEBUILDER_ASSETS is not set. Fix: tests/envtest/build target/envtest && export KUBEBUILDER_ASSETS=$PWD/target/envtest"
    )]
    NoAssets,
    /// A program ended, or never became ready.
    #[error("{program} {failure}; the end of its log:\n{log}")]
    Program {
        /// The program's name.
        program: &'static str,
        /// The failure, as a verb phrase.
        failure: &'static str,
        /// The last lines of its log.
        log: String,
    },
    /// A file, a port or a process could not be created.
    #[error("failed to prepare '{subject}'")]
    Io {
        /// The name of the file, port or process.
        subject: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The key for service account tokens could not be generated.
    #[error("failed to generate a key")]
    Key(#[from] rcgen::Error),
    /// The client for the API server could not be built.
    #[error("failed to build a client")]
    Client(#[from] reqwest::Error),
    /// The API server's certificate is not PEM.
    #[error("the API server's certificate is not valid PEM")]
    Certificate(#[from] rustls::pki_types::pem::Error),
}

#[derive(Debug)]
struct Program {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

/// The control plane that the tests of this process share while any of them uses it.
static SHARED: Mutex<Weak<Envtest>> = Mutex::const_new(Weak::new());

impl Envtest {
    /// The control plane that the tests of this process share; starts it if none is running.
    ///
    /// # Panics
    ///
    /// If it can't be started: a test that needs a control plane must not pass without one.
    pub async fn shared() -> Arc<Self> {
        Self::shared_in(&SHARED).await
    }

    /// Like [`Self::shared`], but shared only by the tests that pass the same `place`.
    ///
    /// # Panics
    ///
    /// If it can't be started.
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

    /// Starts the programs one after another, each when the one before is ready.
    pub async fn start() -> Result<Self, EnvtestError> {
        install_crypto();
        let assets = assets().ok_or(EnvtestError::NoAssets)?;
        let mut attempts = 3;
        loop {
            attempts -= 1;
            match Self::try_start(&assets).await {
                // Another process may have taken a free port before the program listened on it.
                Err(EnvtestError::Program { .. }) if attempts > 0 => {}
                started => return started,
            }
        }
    }

    async fn try_start(assets: &Path) -> Result<Self, EnvtestError> {
        let directory = TempDir::new().map_err(failed("a temporary directory"))?;
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
        // Each program needs the one before.
        let etcd = plane.start_etcd().await?;
        plane.start_api_server(&etcd).await?;
        plane.start_controllers().await?;
        Ok(plane)
    }

    /// A user with all permissions.
    pub fn admin(&self) -> User {
        self.user(ADMIN_TOKEN)
    }

    /// The user with this token.
    ///
    /// # Panics
    ///
    /// If the API server's certificate is invalid.
    pub fn user(&self, token: &str) -> User {
        User::new(&self.url, &self.authority, token).expect("the certificate was valid at the start")
    }

    /// The configuration of a client with this token.
    ///
    /// # Panics
    ///
    /// If the API server's URL or certificate is invalid.
    pub fn config(&self, token: &str) -> kube::Config {
        let authority = CertificateDer::pem_slice_iter(&self.authority);
        let mut config = kube::Config::new(self.url.parse().expect("the URL is valid"));
        let authority = authority.map(|der| der.expect("the certificate was valid at the start").to_vec());
        config.root_cert = Some(authority.collect());
        config.auth_info.token = Some(token.to_owned().into());
        config
    }

    /// Runs `kubectl` with these arguments and this standard input, as a user with all permissions.
    ///
    /// # Panics
    ///
    /// If it can't be started.
    pub async fn kubectl(&self, arguments: &[&str], input: &str) -> Output {
        let mut kubectl = Command::new(self.assets.join("kubectl"));
        kubectl.args(arguments).env("KUBECONFIG", self.path("kubeconfig")).env("HOME", self.directory.path());
        let input = input.to_owned();
        // kubectl waits for the webhook, which may run on this thread.
        let output = tokio::task::spawn_blocking(move || run(&mut kubectl, &input)).await;
        output.expect("the thread does not panic").expect("KUBEBUILDER_ASSETS contains kubectl")
    }

    /// Stops the controllers: from now on, only the API server itself acts on objects.
    pub fn pause_controllers(&self) {
        self.signal_controllers(Signal::STOP);
    }

    /// Continues the controllers that [`Self::pause_controllers`] stopped.
    pub fn resume_controllers(&self) {
        self.signal_controllers(Signal::CONT);
    }

    fn signal_controllers(&self, signal: Signal) {
        for program in self.programs.iter().filter(|program| program.name == CONTROLLER_MANAGER) {
            // Fails only if the program has ended.
            let _ = kill_process(Pid::from_child(&program.child), signal);
        }
    }

    async fn start_etcd(&mut self) -> Result<String, EnvtestError> {
        let url = format!("http://127.0.0.1:{}", free_port()?);
        let arguments = [
            "--data-dir=etcd".to_owned(),
            // The data need not survive a crash of the machine.
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
        // The API server generates its certificate at its first start.
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
        // The controllers create these objects in every namespace, so they run once both exist.
        for created in ["serviceaccounts/default", "configmaps/kube-root-ca.crt"] {
            let path = format!("/api/v1/namespaces/default/{created}");
            self.ready(async || answers(admin.request(Method::GET, &path)).await).await?;
        }
        Ok(())
    }

    /// The content of a kubeconfig with this token.
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
        // The last program to start is the first to stop.
        self.programs.insert(0, Program { name, child, log });
        Ok(())
    }

    /// Waits until `check` accepts the program that was started last.
    async fn ready(&mut self, mut check: impl AsyncFnMut() -> bool) -> Result<(), EnvtestError> {
        let Some(program) = self.programs.first_mut() else { return Ok(()) };
        let deadline = Instant::now() + READY;
        while !check().await {
            let failure = match program.child.try_wait() {
                Ok(None) if Instant::now() < deadline => {
                    sleep(POLL_INTERVAL).await;
                    continue;
                }
                Ok(None) => "is not ready in time",
                Ok(Some(_)) | Err(_) => "has ended",
            };
            return Err(EnvtestError::Program { program: program.name, failure, log: tail(&program.log) });
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
            // A stopped program handles SIGTERM only after SIGCONT.
            for signal in [Signal::TERM, Signal::CONT] {
                // Fails only if the program has ended.
                let _ = kill_process(Pid::from_child(&program.child), signal);
            }
        }
        let deadline = std::time::Instant::now() + GRACE;
        for program in &mut self.programs {
            while let Ok(None) = program.child.try_wait()
                && std::time::Instant::now() < deadline
            {
                std::thread::park_timeout(POLL_INTERVAL);
            }
            // Has no effect on a program that has ended.
            let _ = program.child.kill();
            let _ = program.child.wait();
        }
    }
}

/// `true` if the request is answered with 200.
async fn answers(request: reqwest::RequestBuilder) -> bool {
    request.send().await.is_ok_and(|answer| answer.status() == StatusCode::OK)
}

/// `true` if the file contains at least one certificate and no incomplete one.
fn has_certificate(path: &Path) -> bool {
    fs::read(path).is_ok_and(|pem| {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        certificates.is_ok_and(|certificates| !certificates.is_empty())
    })
}

fn run(command: &mut Command, input: &str) -> io::Result<Output> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read its input reports the reason itself.
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output()
}

fn free_port() -> Result<u16, EnvtestError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed("a port"))?;
    Ok(listener.local_addr().map_err(failed("a port"))?.port())
}

fn failed(subject: &str) -> impl Fn(io::Error) -> EnvtestError {
    move |source| EnvtestError::Io { subject: subject.to_owned(), source }
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

#[expect(clippy::disallowed_methods, reason = "the variable that such tests use by convention")]
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
/// The token of the user with all permissions.
pub const ADMIN_TOKEN: &str = "envtest-admin";
/// About 3 s are usual; this leaves time for a busy machine.
const READY: Duration = Duration::from_secs(60);
/// After etcd has stopped, an API server may take much longer; SIGKILL then loses nothing that a test needs.
const GRACE: Duration = Duration::from_secs(3);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The number of lines of a failed program's log that are shown.
const LOG_LINES: usize = 15;
