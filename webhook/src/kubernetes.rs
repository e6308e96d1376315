//! Calls to the Kubernetes API with a deadline, and their errors.

use std::future::pending;
use std::time::Duration;

use kube::core::Status;
use kube::runtime::watcher;
use kube::{Client, Config};
use thiserror::Error;
use tokio::time::{sleep, timeout};

use crate::log_once::LogOnce;

/// The source of the Kubernetes client's configuration.
#[derive(Clone, Debug, Default)]
pub enum Kubernetes {
    /// The service account, or the kubeconfig where there is none.
    #[default]
    Found,
    /// A given configuration.
    At(Box<Config>),
    /// No configuration: the Kubernetes API is never called.
    Off,
}

/// A failure to create a client.
#[derive(Debug, Error)]
pub(crate) enum ConnectError {
    /// A configuration was found but is unusable.
    #[error("failed to create the Kubernetes client")]
    Client(#[from] kube::Error),
    /// Neither a service account nor a kubeconfig was found.
    #[error("neither a service account nor a kubeconfig was found")]
    NoConfig(#[from] kube::config::InferConfigError),
}

/// A failed call or an interrupted watch.
#[derive(Debug, Error)]
pub(crate) enum ApiError {
    /// No answer within [`CALL_TIMEOUT`].
    #[error("the API server did not answer within {CALL_TIMEOUT:?}")]
    TimedOut,
    /// An error status, which is printed as the API server's message alone.
    #[error("{}", .0.message)]
    Status(Box<Status>),
    /// A failure of the client or of the connection.
    #[error(transparent)]
    Client(kube::Error),
    /// A list that no watch can continue from.
    #[error("the API server sent no resource version")]
    NoResourceVersion,
}

/// Returns a client, however long that takes; never returns for [`Kubernetes::Off`].
pub(crate) async fn client(kubernetes: &Kubernetes, task: &'static str) -> Client {
    let mut log = LogOnce::new(task);
    loop {
        match connect(kubernetes).await {
            Ok(Some(client)) => return client,
            // The caller ends by its `stop` alone.
            Ok(None) => pending::<()>().await,
            Err(error) => log.failed(&error),
        }
        sleep(RECONNECT_DELAY).await;
    }
}

/// Returns a client at once; `None` for [`Kubernetes::Off`].
pub(crate) async fn connect(kubernetes: &Kubernetes) -> Result<Option<Client>, ConnectError> {
    let config = match kubernetes {
        Kubernetes::Found => Config::infer().await?,
        Kubernetes::At(config) => config.as_ref().clone(),
        Kubernetes::Off => return Ok(None),
    };
    Ok(Some(Client::try_from(config)?))
}

/// Awaits a call of kube's, which by itself may hang for minutes, for at most [`CALL_TIMEOUT`].
pub(crate) async fn call<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, ApiError> {
    match timeout(CALL_TIMEOUT, call).await {
        Ok(result) => result.map_err(ApiError::from),
        Err(_) => Err(ApiError::TimedOut),
    }
}

impl ApiError {
    /// The error status that the API server returned.
    pub(crate) fn status(&self) -> Option<&Status> {
        match self {
            Self::Status(status) => Some(status),
            Self::TimedOut | Self::Client(_) | Self::NoResourceVersion => None,
        }
    }

    /// The HTTP status code, or 0 if the API server returned no status.
    pub(crate) fn code(&self) -> u16 {
        self.status().map_or(0, |status| status.code)
    }

    /// `true` if an object of this name exists already.
    pub(crate) fn is_already_exists(&self) -> bool {
        self.status().is_some_and(Status::is_already_exists)
    }
}

impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> Self {
        if let kube::Error::Api(status) = error { Self::Status(status) } else { Self::Client(error) }
    }
}

impl From<watcher::Error> for ApiError {
    fn from(error: watcher::Error) -> Self {
        match error {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => error.into(),
            watcher::Error::WatchError(status) => Self::Status(status),
            watcher::Error::NoResourceVersion => Self::NoResourceVersion,
        }
    }
}

/// API servers answer within milliseconds, and give up after 60 s themselves.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A missing or unusable configuration is a file, which is not repaired within seconds.
const RECONNECT_DELAY: Duration = Duration::from_secs(30);
