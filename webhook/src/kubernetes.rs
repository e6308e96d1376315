//! Calls to the Kubernetes API that come to an end, and how their failures are told.

use std::future::pending;
use std::time::Duration;

use kube::core::Status;
use kube::runtime::watcher;
use kube::{Client, Config};
use thiserror::Error;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

/// Why there is no API to ask.
#[derive(Debug, Error)]
enum ConnectError {
    /// A configuration was found and can't be used.
    #[error("the Kubernetes client can't be made: {0}")]
    Client(#[from] kube::Error),
    /// Neither a service account nor a kubeconfig was found.
    #[error("neither a service account nor a kubeconfig was found: {0}")]
    Nowhere(#[from] kube::config::InferConfigError),
}

/// Why a call came to nothing.
#[derive(Debug, Error)]
pub(crate) enum CallError {
    /// No answer.
    #[error("the API server didn't answer within {PATIENCE:?}")]
    TooSlow,
    /// An answer, but not the one that was hoped for.
    #[error("{}", why(.0))]
    Failed(kube::Error),
}

/// How the API is reached.
#[derive(Clone, Debug, Default)]
pub enum Kubernetes {
    /// As the service account says, or the kubeconfig.
    #[default]
    Found,
    /// Like this.
    At(Box<Config>),
    /// Not at all: nobody is asked.
    Off,
}

/// A client, however long it takes; it never comes where nobody is to be asked.
pub(crate) async fn client(kubernetes: &Kubernetes, what: &'static str) -> Client {
    let mut told = Told::of(what);
    loop {
        match connect(kubernetes).await {
            Ok(Some(client)) => return client,
            Ok(None) => pending::<()>().await,
            Err(error) => {
                told.failed(&error.to_string());
            }
        }
        sleep(CONNECT_AGAIN).await;
    }
}

async fn connect(kubernetes: &Kubernetes) -> Result<Option<Client>, ConnectError> {
    let config = match kubernetes {
        Kubernetes::Found => Config::infer().await?,
        Kubernetes::At(config) => config.as_ref().clone(),
        Kubernetes::Off => return Ok(None),
    };
    Ok(Some(Client::try_from(config)?))
}

/// Makes a call that ends, where one of kube's may hang for minutes.
pub(crate) async fn call<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
    match timeout(PATIENCE, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(CallError::Failed(error)),
        Err(_) => Err(CallError::TooSlow),
    }
}

impl CallError {
    /// What the API server said, if it said something.
    pub(crate) fn status(&self) -> Option<&Status> {
        match self {
            Self::Failed(kube::Error::Api(status)) => Some(status),
            Self::Failed(_) | Self::TooSlow => None,
        }
    }

    /// The HTTP status, or 0.
    pub(crate) fn code(&self) -> u16 {
        self.status().map_or(0, |status| status.code)
    }
}

/// Why a watch was interrupted.
pub(crate) fn why_watch(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => why(error),
        watcher::Error::WatchError(status) => status.message.clone(),
        watcher::Error::NoResourceVersion => "the API server sent no resource version".to_owned(),
    }
}

/// What the API server said, in its own words, or why it said nothing.
fn why(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.clone();
    }
    crate::error::chain(error)
}

/// Tells a failure when it begins and when its cause changes, not each time that it is met.
#[derive(Debug)]
pub(crate) struct Told {
    what: &'static str,
    last: Option<String>,
}

impl Told {
    /// `what` is what is to be done, such as `reading the Secret`.
    pub(crate) fn of(what: &'static str) -> Self {
        Self { what, last: None }
    }

    /// Says whether there was something new to tell.
    pub(crate) fn failed(&mut self, why: &str) -> bool {
        let new = self.last.as_deref() != Some(why);
        if new {
            warn!(error = why, "{} failed: trying again", self.what);
            self.last = Some(why.to_owned());
        }
        new
    }

    pub(crate) fn went_well(&mut self) {
        if self.last.take().is_some() {
            info!("{} works again", self.what);
        }
    }

    /// What went wrong last, and still does.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.last.as_deref()
    }
}

/// API servers answer within milliseconds, and give up after 60 s themselves.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is wrong here is a file, which nobody mends within seconds.
const CONNECT_AGAIN: Duration = Duration::from_secs(30);
