//! The subcommand: its arguments, and a run of all checks.

use std::time::{Duration, Instant};

use clap::{Args as ClapArgs, ValueEnum};
use kube::Config;
use time::OffsetDateTime;

use super::judge::judge;
use super::look::{self, Question};
use super::pre;
use super::report::Report;
use crate::cluster::{self, Target};
use crate::time_limit::time_limit;

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
    /// Check the requirements of an installation, before anything is installed
    #[arg(long)]
    pub pre: bool,
    /// Repeat until no problem is found, for at most this time, such as 90s or 2m
    #[arg(long, value_name = "TIME", value_parser = time_limit)]
    pub wait: Option<Duration>,
}

/// Format of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Lines for the terminal.
    Table,
    /// One JSON object.
    Json,
}

/// Checks the cluster that the kubeconfig names, once or until no problem is found.
pub async fn run(args: &Args) -> Result<Report, cluster::Error> {
    let end = args.wait.map(|wait| Instant::now() + wait);
    loop {
        let result = once(args).await;
        let is_done = result.as_ref().is_ok_and(|report| report.has_no_problem() && !report.saw_nothing());
        if is_done || end.is_none_or(|end| Instant::now() + PAUSE > end) {
            return result;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn once(args: &Args) -> Result<Report, cluster::Error> {
    // Read again each time: a kubeconfig may be written while this waits.
    check(cluster::configuration(&args.target).await?, args, OffsetDateTime::now_utc()).await
}

/// A rollout takes minutes, and each check a few requests for each StatefulSet.
const PAUSE: Duration = Duration::from_secs(2);

/// Checks the cluster of a client configuration.
pub async fn check(config: Config, args: &Args, now: OffsetDateTime) -> Result<Report, cluster::Error> {
    let client = cluster::connect(config).await?;
    if args.pre {
        return Ok(Report::new(pre::judge(&pre::look(&client, &args.config_name).await)));
    }
    let question =
        Question { config_name: args.config_name.clone(), namespace: args.target.namespace.clone() };
    let facts = look::look(&client, &question).await;
    Ok(Report::new(judge(&facts, now)))
}
