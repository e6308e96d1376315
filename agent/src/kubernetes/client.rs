//! The connection to the Kubernetes API, and requests with a time limit.

use std::fmt;
use std::time::Duration;

use contract::error::chain;
use kube::{Client, Config};
use thiserror::Error;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::settings::Kubernetes;

/// Access to the Kubernetes API.
#[derive(Clone)]
pub enum Access {
    /// By this client.
    Client(Client),
    /// The pod runs in Kubernetes and has no service account token.
    NoToken,
    /// None: the mode is `off`, or there is no API.
    Off,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client(_) => "Client",
            Self::NoToken => "NoToken",
            Self::Off => "Off",
        })
    }
}

impl Access {
    /// The client, if there is one.
    pub fn client(&self) -> Option<Client> {
        match self {
            Self::Client(client) => Some(client.clone()),
            Self::NoToken | Self::Off => None,
        }
    }
}

/// Finds the API: by `config`, else as a pod does where this is one, else as in-cluster clients and `kubectl` do.
pub async fn connect(mode: Kubernetes, config: Option<Config>, place: Place) -> Access {
    if mode == Kubernetes::Off {
        return Access::Off;
    }
    match make_client(config, place).await {
        Ok(client) => Access::Client(client),
        Err(error) if place == Place::Pod => {
            warn!(
                error = chain(&error),
                "this pod has no usable service account token; continuing without the Kubernetes API"
            );
            Access::NoToken
        }
        Err(error) => {
            // An agent outside of Kubernetes is a supported installation.
            info!(
                error = chain(&error),
                "no Kubernetes API found; continuing with hostname, injected size and DNS"
            );
            Access::Off
        }
    }
}

/// The place where the agent runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// Not in a pod, as far as its environment shows.
    #[default]
    Elsewhere,
    /// In a pod: the kubelet sets `KUBERNETES_SERVICE_HOST` in each.
    Pod,
}

/// A request without a usable answer.
#[derive(Debug, Error)]
pub(crate) enum RequestError {
    /// The API server refused the request, or the connection failed.
    #[error("the request failed")]
    Failed(#[source] kube::Error),
    /// No answer within the time limit.
    #[error("no answer in time")]
    NoAnswer,
}

impl RequestError {
    /// The HTTP status of the API server's answer, if it answered with an error.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Failed(kube::Error::Api(status)) => Some(status.code),
            Self::Failed(_) | Self::NoAnswer => None,
        }
    }
}

/// Sends a request and waits for its answer, at most for `limit`.
pub(crate) async fn answer<T>(
    limit: Duration,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, RequestError> {
    match timeout(limit, request).await {
        Ok(answer) => answer.map_err(RequestError::Failed),
        Err(_) => Err(RequestError::NoAnswer),
    }
}

async fn make_client(config: Option<Config>, place: Place) -> Result<Client, ConnectError> {
    let config = match config {
        Some(config) => config,
        None if place == Place::Pod => Config::incluster().map_err(ConnectError::NoToken)?,
        None => Config::infer().await.map_err(ConnectError::NotFound)?,
    };
    Client::try_from(config).map_err(ConnectError::Unusable)
}

/// An API server answers a change within about 10 ms. No other agent waits for the Lease in the meantime.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// No client for the Kubernetes API.
#[derive(Debug, Error)]
enum ConnectError {
    /// Neither a service account nor a kubeconfig was found.
    #[error("found neither a service account nor a kubeconfig")]
    NotFound(#[source] kube::config::InferConfigError),
    /// The files of a service account are missing or unusable.
    #[error("found no service account token")]
    NoToken(#[source] kube::config::InClusterError),
    /// A configuration was found, and no client can be created from it.
    #[error("failed to create a client from the configuration")]
    Unusable(#[source] kube::Error),
}
