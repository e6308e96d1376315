//! The webhook as deployed: processes that call the API server with the token of their service account and the roles of
//! the manifests.

use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex as Lock, Weak};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contract::objects;
use e2e::control_plane::CONFIGURATION;
use e2e::envtest::{Answer, Envtest, User};
use e2e::manifest::{self, EXAMPLE};
use e2e::process::{memory, peak_memory};
use e2e::until::until;
use reqwest::Method;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::literals::{AGENT_ROLE, yaml};
use crate::namespace::DEADLINE;

/// The surroundings of replicas: namespace, service account, roles, and a load balancer instead of a Service.
pub(crate) struct Deployed {
    pub(crate) plane: Arc<Envtest>,
    pub(crate) admin: User,
    /// The namespace of the users' objects.
    pub(crate) namespace: &'static str,
    /// The namespace of the webhook.
    pub(crate) home: String,
    pub(crate) config_name: String,
    replicas: Arc<Lock<Vec<SocketAddr>>>,
    balancer: JoinHandle<()>,
    directory: TempDir,
}

/// A replica of the webhook. It is killed when this is dropped.
pub(crate) struct Replica {
    child: Child,
    pub(crate) https: SocketAddr,
    probes: SocketAddr,
    log: Arc<Lock<Vec<Value>>>,
    replicas: Arc<Lock<Vec<SocketAddr>>>,
}

impl Deployed {
    /// Creates everything but the replicas, on the control plane that all tests share.
    pub(crate) async fn open(namespace: &'static str) -> Self {
        let deployed = Self::without_roles(Envtest::shared().await, namespace).await;
        deployed.grant().await;
        deployed
    }

    /// Like [`Self::open`], on a control plane for tests whose replicas create the objects of all labelled StatefulSets.
    pub(crate) async fn providing(namespace: &'static str) -> Self {
        static PROVIDING: Mutex<Weak<Envtest>> = Mutex::const_new(Weak::new());
        let deployed = Self::without_roles(Envtest::shared_in(&PROVIDING).await, namespace).await;
        deployed.grant().await;
        deployed
    }

    /// Like [`Self::open`], on this control plane, and without permissions of the service account.
    pub(crate) async fn without_roles(plane: Arc<Envtest>, namespace: &'static str) -> Self {
        let admin = plane.admin();
        let home = format!("{namespace}-home");
        for name in [namespace, &home] {
            admin
                .create(&yaml(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}")))
                .await
                .accepted();
        }
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": SERVICE, "namespace": home }
        });
        admin.create(&account).await.accepted();
        let token = format!("/api/v1/namespaces/{home}/serviceaccounts/{SERVICE}/token");
        let token = admin.send(Method::POST, &token, &json!({ "spec": {} })).await.accepted();
        let directory = TempDir::new().unwrap();
        let kubeconfig = plane.kubeconfig(token["status"]["token"].as_str().unwrap());
        fs::write(directory.path().join("kubeconfig"), kubeconfig).unwrap();
        let replicas = Arc::default();
        let (address, balancer) = balance(Arc::clone(&replicas)).await;
        let config_name = format!("couchdiscover-{namespace}");
        let deployed = Self { plane, admin, namespace, home, config_name, replicas, balancer, directory };
        deployed.admin.create(&deployed.manifest(&format!("https://{address}/mutate"))).await.accepted();
        deployed
    }

    /// The configuration of the manifests for this namespace, without a caBundle.
    pub(crate) fn manifest(&self, url: &str) -> Value {
        let mut configuration = yaml(CONFIGURATION);
        configuration["metadata"]["name"] = json!(self.config_name);
        let base = url.trim_end_matches(contract::ports::MUTATE);
        let here =
            json!({ "key": "kubernetes.io/metadata.name", "operator": "In", "values": [self.namespace] });
        for webhook in list(&mut configuration, "webhooks") {
            let path = webhook["clientConfig"]["service"]["path"].as_str().unwrap();
            webhook["clientConfig"] = json!({ "url": format!("{base}{path}") });
            let selector = webhook["namespaceSelector"]["matchExpressions"].as_array_mut();
            selector.unwrap().push(here.clone());
        }
        configuration
    }

    /// Applies the roles of the manifests, with the names of this deployment.
    pub(crate) async fn grant(&self) {
        self.admin.apply(&yaml(AGENT_ROLE)).await.accepted();
        self.grant_all(WEBHOOK_ROLE).await;
    }

    /// Applies the role of the component scale-down-drain.
    pub(crate) async fn grant_scale_down(&self) {
        self.grant_all(SCALE_DOWN_ROLE).await;
    }

    async fn grant_all(&self, roles: &str) {
        for mut object in manifest::objects(roles).unwrap() {
            for rule in list(&mut object, "rules") {
                if rule["resources"] == json!(["mutatingwebhookconfigurations"]) {
                    rule["resourceNames"] = json!([self.config_name]);
                }
            }
            for subject in list(&mut object, "subjects") {
                subject["namespace"] = json!(self.home);
            }
            if object["metadata"]["namespace"].is_string() {
                object["metadata"]["namespace"] = json!(self.home);
            } else {
                // Such as couchdiscover-webhook-provider.
                let here = |name: &Value| json!(name.as_str().unwrap().replace(SERVICE, &self.config_name));
                object["metadata"]["name"] = here(&object["metadata"]["name"]);
                if object["roleRef"].is_object() {
                    object["roleRef"]["name"] = here(&object["roleRef"]["name"]);
                }
            }
            self.admin.apply(&object).await.accepted();
        }
    }

    /// Starts a replica, and routes calls to it. It creates no objects of StatefulSets, unless `flags` enable it.
    pub(crate) async fn replica(&self, flags: &[&str]) -> Replica {
        let mut child = Command::new(env!("CARGO_BIN_EXE_webhook-process"))
            .args(["serve", "--listen=127.0.0.1:0", "--probe-listen=127.0.0.1:0", "--extra-san=127.0.0.1"])
            .args([
                "--drain-delay=1s",
                "--log-format=json",
                "--namespace",
                &self.home,
                "--config-name",
                &self.config_name,
            ])
            .args(if flags.contains(&"--provide=on") { &[][..] } else { &["--provide=off"] })
            .args(flags)
            .env_clear()
            .env("KUBECONFIG", self.directory.path().join("kubeconfig"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Lock::new(vec![]));
        let writing = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                writing.lock().unwrap().push(line);
            }
        });
        let address = until("a replica that serves", DEADLINE, async || {
            let log = log.lock().unwrap();
            let serving = log.iter().find(|line| line["message"] == "serving").ok_or(log.clone())?;
            let address = |name: &str| serving[name].as_str().unwrap().parse().unwrap();
            Ok::<[SocketAddr; 2], Vec<Value>>([address("https"), address("probes")])
        });
        let [https, probes] = address.await;
        self.replicas.lock().unwrap().push(https);
        Replica { child, https, probes, log, replicas: Arc::clone(&self.replicas) }
    }

    /// The published caBundle in PEM; empty if there is none.
    pub(crate) async fn ca_bundle(&self) -> String {
        let configuration = self.configuration().await;
        let bundle = configuration["webhooks"][0]["clientConfig"]["caBundle"].as_str().unwrap_or_default();
        String::from_utf8(STANDARD.decode(bundle).unwrap()).unwrap()
    }

    pub(crate) async fn configuration(&self) -> Value {
        self.admin.get(&self.configuration_path()).await.accepted()
    }

    pub(crate) fn configuration_path(&self) -> String {
        format!("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{}", self.config_name)
    }

    /// A value of the authority's Secret, as text.
    pub(crate) async fn authority(&self, key: &str) -> String {
        let secret = self.admin.get(&self.secret_path()).await;
        let value = STANDARD.decode(secret.body["data"][key].as_str().unwrap_or_default()).unwrap();
        String::from_utf8_lossy(&value).into_owned()
    }

    pub(crate) fn secret_path(&self) -> String {
        format!("/api/v1/namespaces/{}/secrets/{}", self.home, objects::CA_SECRET)
    }

    /// The example's StatefulSet under this name.
    pub(crate) fn example(&self, name: &str) -> Value {
        let objects = manifest::objects(EXAMPLE).unwrap();
        let mut set = manifest::statefulset(&objects).unwrap().clone();
        set["metadata"]["name"] = json!(name);
        set["metadata"]["namespace"] = json!(self.namespace);
        set
    }

    /// Creates a labelled StatefulSet as a dry run.
    pub(crate) async fn try_create(&self) -> Answer {
        self.admin.try_create(&self.example("probe")).await
    }

    /// Waits until the API server's calls of the webhook succeed.
    pub(crate) async fn until_called(&self) {
        until("a successful call of the webhook", DEADLINE, async || match self.try_create().await {
            answer if answer.code == 201 => Ok(()),
            answer => Err(answer.body),
        })
        .await;
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        self.balancer.abort();
    }
}

impl Replica {
    /// The status code and body of its readiness probe.
    pub(crate) async fn readyz(&self) -> (u16, String) {
        self.probe("/readyz").await
    }

    /// Waits until it is ready.
    pub(crate) async fn until_ready(&self) {
        until("a ready replica", DEADLINE, async || match self.readyz().await {
            (200, _) => Ok(()),
            not_yet => Err((not_yet, self.log())),
        })
        .await;
    }

    /// The value of a metric; 0 if it is not exposed.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.probe("/metrics").await;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("couchdiscover_webhook_{name} ")).map(str::to_owned));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    async fn probe(&self, path: &str) -> (u16, String) {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = http.get(format!("http://{}{path}", self.probes)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// All log lines so far.
    pub(crate) fn log(&self) -> Vec<Value> {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a log line with this text in its message.
    pub(crate) async fn until_logged(&self, part: &str) -> Value {
        until(part, DEADLINE, async || {
            let log = self.log();
            let found =
                log.iter().find(|line| line["message"].as_str().is_some_and(|text| text.contains(part)));
            found.cloned().ok_or(log.clone())
        })
        .await
    }

    /// The certificate that it serves, if it is valid for a client that trusts `ca_bundle`.
    pub(crate) async fn certificate(&self, ca_bundle: &str) -> Result<Vec<u8>, String> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(ca_bundle.as_bytes()).flatten());
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::from(self.https.ip());
        let stream = TcpStream::connect(self.https).await.map_err(|error| error.to_string())?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        let stream = stream.map_err(|error| error.to_string())?;
        let (_, connection) = stream.get_ref();
        Ok(connection.peer_certificates().unwrap()[0].to_vec())
    }

    /// Its current and its peak memory, in MiB.
    pub(crate) fn memory(&self) -> [u64; 2] {
        let process = self.child.id().unwrap().to_string();
        [memory(&process), peak_memory(&process)].map(|bytes| bytes >> 20)
    }

    /// Stops it as Kubernetes does: no new calls are routed to it, and it gets SIGTERM.
    pub(crate) async fn stop(mut self) {
        self.replicas.lock().unwrap().retain(|address| *address != self.https);
        let pid = self.child.id().unwrap();
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_eq!(self.child.wait().await.unwrap().code(), Some(0), "{:#?}", self.log());
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.replicas.lock().unwrap().retain(|address| *address != self.https);
    }
}

/// The items of a list; none if it is absent.
fn list<'a>(object: &'a mut Value, name: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Starts a load balancer in place of a Service: each connection goes to the next replica.
async fn balance(replicas: Arc<Lock<Vec<SocketAddr>>>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let balancing = tokio::spawn(async move {
        for turn in 0.. {
            let Ok((mut caller, _)) = listener.accept().await else { return };
            let replicas = replicas.lock().unwrap().clone();
            let Some(address) = replicas.get(turn % replicas.len().max(1)).copied() else { continue };
            tokio::spawn(async move {
                if let Ok(mut replica) = TcpStream::connect(address).await {
                    // Both ends notice a failure themselves.
                    let _ = copy_bidirectional(&mut caller, &mut replica).await;
                }
            });
        }
    });
    (address, balancing)
}

/// The manifest of the webhook's roles.
pub(crate) const SCALE_DOWN_ROLE: &str =
    include_str!("../../../../manifests/components/scale-down-drain/role.yaml");
const WEBHOOK_ROLE: &str = include_str!("../../../../manifests/base/webhook-role.yaml");
const SERVICE: &str = "couchdiscover-webhook";
