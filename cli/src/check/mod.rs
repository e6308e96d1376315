//! `check`: what is right and wrong with couchdiscover in a live cluster, seen with the user's own kubeconfig.
//!
//! ```text
//! ask, gather, gather_set, shake   look; what may not be seen is a value with a reason
//! facts                       what was seen
//! findings, sets              what that means, and what to do: pure
//! report                      for a person, or for a program
//! ```

mod ask;
pub mod facts;
mod findings;
mod gather;
mod gather_set;
mod report;
mod sets;
mod shake;
#[cfg(test)]
mod tests;

use std::time::Duration;

use clap::{Args as ClapArgs, ValueEnum};
pub use findings::{Finding, Level, findings};
use kube::config::{InferConfigError, KubeConfigOptions, KubeconfigError};
use kube::{Client, Config};
pub use report::{Report, Summary};
use thiserror::Error;
use time::OffsetDateTime;

use gather::Question;

/// What is checked, and how it is told.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Look at the StatefulSets of this namespace; without it, at those of all
    #[arg(long, short)]
    pub namespace: Option<String>,
    /// Context of the kubeconfig; without it, the current one
    #[arg(long)]
    pub context: Option<String>,
    /// Name of the MutatingWebhookConfiguration
    #[arg(long, env = "COUCHDISCOVER_CONFIG_NAME", default_value = "couchdiscover")]
    pub config_name: String,
    /// How to tell it
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// How it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Lines for a person.
    Table,
    /// One JSON object for a program.
    Json,
}

/// Why nothing could be looked at.
#[derive(Debug, Error)]
pub enum Error {
    /// Nothing says where a cluster is.
    #[error("no cluster is known: set KUBECONFIG, or run this in a pod")]
    Infer(#[from] InferConfigError),
    /// The kubeconfig has no such context, or can't be used.
    #[error("the kubeconfig can't be used")]
    Kubeconfig(#[from] KubeconfigError),
    /// No client can be made of it.
    #[error("the kubeconfig can't be used")]
    Client(#[source] kube::Error),
    /// The API server doesn't know the user.
    #[error("the API server at '{url}' doesn't take the kubeconfig's credentials: {message}")]
    Credentials {
        /// Where.
        url: String,
        /// Its words.
        message: String,
    },
    /// No API server answers.
    #[error("no API server answers at '{url}': is this the right context of the kubeconfig?")]
    Unreachable {
        /// Where.
        url: String,
        /// What the client says.
        #[source]
        source: kube::Error,
    },
}

/// Looks at the cluster that the kubeconfig names.
pub async fn run(args: &Args) -> Result<Report, Error> {
    let config = match &args.context {
        None => Config::infer().await?,
        Some(context) => {
            let options =
                KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
            Config::from_kubeconfig(&options).await?
        }
    };
    look(config, args, OffsetDateTime::now_utc()).await
}

/// Looks at a cluster.
pub async fn look(mut config: Config, args: &Args, now: OffsetDateTime) -> Result<Report, Error> {
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(ANSWER);
    config.reset_reader_on_write = true;
    // What doesn't answer is what is to be told.
    config.default_retry = false;
    let url = config.cluster_url.to_string();
    let client = Client::try_from(config).map_err(Error::Client)?;
    if let Err(source) = client.apiserver_version().await {
        let refused = ask::api_says(&source).filter(|status| status.code == 401);
        return Err(match refused.map(|status| status.message.clone()) {
            Some(message) => Error::Credentials { url, message },
            None => Error::Unreachable { url, source },
        });
    }
    let question = Question { config_name: args.config_name.clone(), namespace: args.namespace.clone() };
    let facts = gather::facts(&client, &question).await;
    Ok(Report::of(findings(&facts, now)))
}

/// Nobody waits longer for a command line to say that nobody is there.
const CONNECT: Duration = Duration::from_secs(5);
/// Longer than an API server waits for the webhook.
const ANSWER: Duration = Duration::from_secs(15);
