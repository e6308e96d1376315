//! The subcommand: its arguments, and a run of all checks.

use clap::{Args as ClapArgs, ValueEnum};
use kube::Config;
use time::OffsetDateTime;

use super::judge::judge;
use super::look::{self, Question};
use super::report::Report;
use crate::cluster::{self, Target};

/// Arguments of `check`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// The cluster and the namespace.
    #[command(flatten)]
    pub target: Target,
    /// Name of the MutatingWebhookConfiguration
    #[arg(long, env = "COUCHDISCOVER_CONFIG_NAME", default_value = "couchdiscover")]
    pub config_name: String,
    /// Format of the report
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Format of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Lines for the terminal.
    Table,
    /// One JSON object.
    Json,
}

/// Checks the cluster that the kubeconfig names.
pub async fn run(args: &Args) -> Result<Report, cluster::Error> {
    check(cluster::configuration(&args.target).await?, args, OffsetDateTime::now_utc()).await
}

/// Checks the cluster of a client configuration.
pub async fn check(config: Config, args: &Args, now: OffsetDateTime) -> Result<Report, cluster::Error> {
    let client = cluster::connect(config).await?;
    let question =
        Question { config_name: args.config_name.clone(), namespace: args.target.namespace.clone() };
    let facts = look::look(&client, &question).await;
    Ok(Report::new(judge(&facts, now)))
}
