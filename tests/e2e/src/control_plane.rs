//! A Kubernetes API server stand-in that calls the real webhook, over TLS, for every labelled StatefulSet.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use reqwest::StatusCode;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sandbox::apiserver::{ADMIN_TOKEN, ApiServer, StartError};
use serde_json::{Value, json};
use thiserror::Error;
use tokio_util::sync::{CancellationToken, DropGuard};
use webhook::serve::{self, Args, Bound, Kubernetes};

use crate::manifest::NAMESPACE;
use crate::until::until;

/// An API server stand-in and the webhook that it calls. Both stop when this is dropped.
#[derive(Debug)]
pub struct ControlPlane {
    /// The API server stand-in.
    pub api: ApiServer,
    /// The webhook's URL, without a path.
    pub webhook: String,
    http: reqwest::Client,
    _stop: DropGuard,
}

/// An object that the API server has created.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The object as it is stored.
    pub stored: Value,
    /// The texts that `kubectl` prints after `Warning: `.
    pub warnings: Vec<String>,
}

/// A reason for a control plane not to start, or not to create an object.
#[derive(Debug, Error)]
pub enum ControlPlaneError {
    /// The API server stand-in didn't start.
    #[error("failed to start the API server stand-in")]
    Api(#[from] StartError),
    /// A call to the API server failed.
    #[error("failed to call the API server stand-in")]
    Call(#[from] reqwest::Error),
    /// The API server refused the object. Contains its message.
    #[error("{0}")]
    Refused(String),
    /// The webhook didn't start.
    #[error("failed to start the webhook")]
    Webhook(#[from] serve::Error),
}

/// Starts the webhook on free loopback ports with these additional flags. It calls no API server, and stops without
/// delay.
pub async fn bind_webhook(flags: &[&str]) -> Result<Bound, serve::Error> {
    bind_webhook_with(flags, Kubernetes::Off).await
}

/// Like [`bind_webhook`], with an API server for the facts that requests which remove nodes are judged by.
pub async fn bind_webhook_with(flags: &[&str], kubernetes: Kubernetes) -> Result<Bound, serve::Error> {
    let standalone = ["--cert-mode=memory", "--provide=off"];
    serve::bind(Args::parse_from(SERVE.iter().chain(&standalone).chain(flags)), kubernetes).await
}

/// Loopback ports, and no delay before the end.
const SERVE: [&str; 5] = [
    "serve",
    "--listen=127.0.0.1:0",
    "--probe-listen=127.0.0.1:0",
    "--extra-san=127.0.0.1",
    "--drain-delay=0s",
];

impl ControlPlane {
    /// Starts both, and stores the webhook's configuration with its `caBundle`. The webhook only reads what it judges the
    /// removal of nodes by.
    pub async fn start() -> Result<Self, ControlPlaneError> {
        install_crypto();
        let api = ApiServer::start()?;
        let bound = bind_webhook_with(&[], Kubernetes::At(Box::new(client_config(&api)))).await?;
        api.seed(configuration(&url(&bound), &bound.ca_bundle().unwrap_or_default()));
        Self::of(api, bound)
    }

    /// Starts both as in a real cluster: the webhook publishes its authority itself, and creates the Secrets and
    /// RoleBindings of labelled StatefulSets.
    pub async fn deployed() -> Result<Self, ControlPlaneError> {
        install_crypto();
        let api = ApiServer::start()?;
        let args = Args::parse_from(SERVE.into_iter().chain(["--cert-mode=self", "--provide=on"]));
        let bound = serve::bind(args, Kubernetes::At(Box::new(client_config(&api)))).await?;
        let probes = bound.probes();
        // As in the manifests, the configuration has no caBundle until the webhook publishes it.
        let mut unpublished = configuration(&url(&bound), "");
        for webhook in unpublished["webhooks"].as_array_mut().into_iter().flatten() {
            webhook["clientConfig"].as_object_mut().map(|config| config.shift_remove("caBundle"));
        }
        api.seed(unpublished);
        let control_plane = Self::of(api, bound)?;
        let readyz = format!("http://{probes}{}", contract::ports::READYZ);
        until("a ready webhook", DEADLINE, async || {
            let answer = control_plane.http.get(&readyz).send().await;
            let answer = answer.map_err(|error| error.to_string())?;
            if answer.status() != StatusCode::OK {
                return Err(answer.text().await.unwrap_or_default());
            }
            Ok(())
        })
        .await;
        Ok(control_plane)
    }

    fn of(api: ApiServer, bound: Bound) -> Result<Self, ControlPlaneError> {
        let webhook = format!("https://{}", bound.https());
        let stop = CancellationToken::new();
        let shutdown = stop.clone();
        tokio::spawn(async move { bound.serve(shutdown).await });
        let authority = reqwest::Certificate::from_pem(api.ca_pem().as_bytes())?;
        let http = reqwest::Client::builder().tls_certs_only([authority]).no_proxy().build()?;
        Ok(Self { api, webhook, http, _stop: stop.drop_guard() })
    }

    /// Waits for the Secret and the RoleBinding that the webhook creates for a StatefulSet, and returns both.
    ///
    /// # Panics
    ///
    /// After 30 seconds.
    pub async fn until_provided(&self, statefulset: &Value) -> [Value; 2] {
        let metadata = &statefulset["metadata"];
        let name = contract::objects::companion(metadata["name"].as_str().unwrap_or_default());
        let namespace = metadata["namespace"].as_str();
        until("the Secret and the RoleBinding", DEADLINE, async || {
            let secret = self.api.get("v1", "secrets", namespace, &name);
            let binding = self.api.get("rbac.authorization.k8s.io/v1", "rolebindings", namespace, &name);
            // The controller creates them one after the other.
            if let (Some(secret), Some(binding)) = (&secret, &binding) {
                return Ok([secret.clone(), binding.clone()]);
            }
            Err((secret, binding))
        })
        .await
    }

    /// The configuration of a client with all permissions.
    ///
    /// # Panics
    ///
    /// If the stand-in's URL or certificate is invalid.
    pub fn client_config(&self) -> kube::Config {
        client_config(&self.api)
    }

    /// Creates an object, as `kubectl create` does.
    pub async fn create(&self, object: &Value) -> Result<Applied, ControlPlaneError> {
        let url = format!("{}{}", self.api.url(), collection(object));
        let answer = self.http.post(url).bearer_auth(ADMIN_TOKEN).json(object).send().await?;
        let warnings =
            answer.headers().get_all("Warning").iter().filter_map(|value| warning(value.to_str().ok()?));
        let warnings = warnings.collect();
        let status = answer.status();
        let stored: Value = answer.json().await?;
        match status {
            StatusCode::CREATED => Ok(Applied { stored, warnings }),
            _ => Err(ControlPlaneError::Refused(stored["message"].as_str().unwrap_or_default().to_owned())),
        }
    }
}

/// The webhook configuration of the manifests, with the server's `url`, without a path, and its `ca_bundle` in PEM.
///
/// # Panics
///
/// If the manifest is not YAML.
pub fn configuration(url: &str, ca_bundle: &str) -> Value {
    let mut configuration: Value = serde_saphyr::from_str(CONFIGURATION).expect("the manifest is YAML");
    for webhook in configuration["webhooks"].as_array_mut().into_iter().flatten() {
        let path = webhook["clientConfig"]["service"]["path"].as_str().unwrap_or_default();
        let url = format!("{url}{path}");
        webhook["clientConfig"] = json!({ "url": url, "caBundle": STANDARD.encode(ca_bundle) });
    }
    configuration
}

/// The manifest of the webhook configuration.
pub const CONFIGURATION: &str = include_str!("../../../manifests/base/mutating-webhook.yaml");

/// Installs the crypto provider of this process, unless another test has done so.
pub fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn url(bound: &Bound) -> String {
    format!("https://{}", bound.https())
}

/// The configuration of a client with all permissions.
pub(crate) fn client_config(api: &ApiServer) -> kube::Config {
    let authority =
        CertificateDer::from_pem_slice(api.ca_pem().as_bytes()).expect("the stand-in's certificate is valid");
    let mut config = kube::Config::new(api.url().parse().expect("the stand-in's URL is valid"));
    config.root_cert = Some(vec![authority.to_vec()]);
    config.auth_info.token = Some(ADMIN_TOKEN.to_owned().into());
    config
}

/// Longer than any step takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// The path of the collection that an object is created in.
fn collection(object: &Value) -> String {
    let api = object["apiVersion"].as_str().unwrap_or("v1");
    // The core group is served below `/api`, all others below `/apis`.
    let root = if api.contains('/') { "apis" } else { "api" };
    let kind = object["kind"].as_str().unwrap_or_default().to_ascii_lowercase();
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or(NAMESPACE);
    format!("/{root}/{api}/namespaces/{namespace}/{kind}s")
}

/// The text of an HTTP warning, `299 - "text"`.
fn warning(header: &str) -> Option<String> {
    let text = header.split_once('"')?.1.rsplit_once('"')?.0;
    Some(text.replace("\\\"", "\"").replace("\\\\", "\\"))
}
