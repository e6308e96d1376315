//! A client for the cluster that the kubeconfig names.

use std::time::Duration;

use clap::Args;
use contract::text::{MESSAGE_LIMIT, one_line};
use kube::config::{InferConfigError, KubeConfigOptions, KubeconfigError};
use kube::{Client, Config};
use thiserror::Error;

use super::request::status_of;

/// The cluster and the namespace that a subcommand reads.
#[derive(Clone, Debug, Default, Args)]
pub struct Target {
    /// Namespace of the StatefulSets; by default all namespaces
    #[arg(long, short)]
    pub namespace: Option<String>,
    /// Context of the kubeconfig; by default the current one
    #[arg(long)]
    pub context: Option<String>,
}

/// Reason why no cluster could be read.
#[derive(Debug, Error)]
pub enum Error {
    /// Neither a kubeconfig nor a service account exists.
    #[error("no cluster is configured: set KUBECONFIG, or run this in a pod")]
    Infer(#[from] InferConfigError),
    /// The kubeconfig cannot be read, or does not contain the context.
    #[error("the kubeconfig cannot be used")]
    Kubeconfig(#[from] KubeconfigError),
    /// The kubeconfig's values do not make a client.
    #[error("the kubeconfig cannot be used")]
    Client(#[source] kube::Error),
    /// The API server does not accept the credentials.
    #[error("the API server at '{url}' does not accept the kubeconfig's credentials: {message}")]
    Credentials {
        /// Address of the API server.
        url: String,
        /// Message of the API server.
        message: String,
    },
    /// The API server does not answer.
    #[error("no API server answers at '{url}': is this the right context of the kubeconfig?")]
    Unreachable {
        /// Address of the API server.
        url: String,
        /// Error of the client.
        #[source]
        source: kube::Error,
    },
}

/// The configuration of the cluster that the kubeconfig, or the pod's service account, names.
pub(crate) async fn configuration(target: &Target) -> Result<Config, Error> {
    // Config::infer also finds a service account; a context exists only in a kubeconfig.
    Ok(match &target.context {
        None => Config::infer().await?,
        Some(context) => {
            let options =
                KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
            Config::from_kubeconfig(&options).await?
        }
    })
}

/// A client for the cluster, which has answered one request.
pub(crate) async fn connect(mut config: Config) -> Result<Client, Error> {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    // A failed request is a finding, which a retry would only delay.
    config.default_retry = false;
    let url = config.cluster_url.to_string();
    let client = Client::try_from(config).map_err(Error::Client)?;
    // One cheap request first: without a cluster, every other request would fail with the same error.
    if let Err(source) = client.apiserver_version().await {
        return Err(match status_of(&source) {
            Some(status) if status.code == 401 => {
                // Of the server's choice, which need not be an API server.
                Error::Credentials { url, message: one_line(&status.message, MESSAGE_LIMIT).into_owned() }
            }
            Some(_) | None => Error::Unreachable { url, source },
        });
    }
    Ok(client)
}

/// An API server that does not accept a connection within 5 s is reported as unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than an API server waits for the webhook, so that its error arrives before this timeout.
const READ_TIMEOUT: Duration = Duration::from_secs(15);
