//! The connection to the Kubernetes API, and requests with a time limit.

use std::time::Duration;

use contract::error::chain;
use kube::{Client, Config};
use thiserror::Error;
use tokio::time::timeout;
use tracing::info;

use crate::settings::Kubernetes;

/// Returns a client, unless the mode is `off` or no API can be found.
pub async fn connect(mode: Kubernetes, config: Option<Config>) -> Option<Client> {
    if mode == Kubernetes::Off {
        return None;
    }
    match make_client(config).await {
        Ok(client) => Some(client),
        Err(error) => {
            // A pod without a service account token is a supported installation, not an error.
            info!(
                error = chain(&error),
                "no Kubernetes API found; continuing with hostname, injected size and DNS"
            );
            None
        }
    }
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

async fn make_client(config: Option<Config>) -> Result<Client, ConnectError> {
    let config = match config {
        Some(config) => config,
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
    /// A configuration was found, and no client can be created from it.
    #[error("failed to create a client from the configuration")]
    Unusable(#[source] kube::Error),
}
