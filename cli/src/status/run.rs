//! The subcommand: its arguments, and one look or one after another.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::Args as ClapArgs;
use kube::{Client, Config};
use thiserror::Error;
use time::OffsetDateTime;

use super::look::overview;
use super::view::Overview;
use crate::check::Output;
use crate::cluster::{self, Target, connect};
use crate::paint::Paint;
use crate::terminal;

/// Arguments of `status`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Name of the StatefulSet; by default all with the label couchdiscover.io/inject
    pub name: Option<String>,
    /// The cluster and the namespace.
    #[command(flatten)]
    pub target: Target,
    /// Look again every 2 s until interrupted
    #[arg(long, short)]
    pub watch: bool,
    /// Format of the result
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Reason why the state could not be read.
#[derive(Debug, Error)]
pub enum StatusError {
    /// No cluster can be read.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// The StatefulSets cannot be listed; the reason.
    #[error("failed to list StatefulSets: {0}. Fix: choose a namespace that you may read with -n")]
    List(String),
    /// There is no StatefulSet of this name with the label.
    #[error(
        "no StatefulSet '{name}' has the label couchdiscover.io/inject. Fix: list all of them with 'couchdiscover status'"
    )]
    Unknown {
        /// The name.
        name: String,
    },
    /// The result cannot be written.
    #[error("failed to write the result")]
    Write(#[from] io::Error),
}

/// Prints the state of the cluster that the kubeconfig names; returns the last one.
pub async fn run(args: &Args, paint: Paint) -> Result<Overview, StatusError> {
    let client = connect(cluster::configuration(&args.target).await?).await?;
    loop {
        let overview = look_with(&client, args).await?;
        terminal::print(&rendered(&overview, args, paint))?;
        if !args.watch {
            return Ok(overview);
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

fn rendered(overview: &Overview, args: &Args, paint: Paint) -> String {
    let text = match args.output {
        Output::Table => overview.painted(OffsetDateTime::now_utc(), paint),
        Output::Json => overview.to_json(),
    };
    let redraws = args.watch && args.output == Output::Table && io::stdout().is_terminal();
    if redraws { redrawn(&text) } else { text }
}

/// The text over the one before, line by line: a screen that is cleared first flickers.
fn redrawn(text: &str) -> String {
    let lines = text.lines().map(|line| format!("{line}{CLEAR_LINE}\n"));
    std::iter::once(HOME.to_owned()).chain(lines).chain([CLEAR_BELOW.to_owned()]).collect()
}

/// Reads the state of the cluster of a client configuration.
pub async fn look(config: Config, args: &Args) -> Result<Overview, StatusError> {
    look_with(&connect(config).await?, args).await
}

async fn look_with(client: &Client, args: &Args) -> Result<Overview, StatusError> {
    let namespace = args.target.namespace.as_deref();
    let found = match overview(client, namespace, args.name.as_deref()).await {
        // Most often the permission to list all namespaces is missing.
        Err(_) if namespace.is_none() => {
            overview(client, Some(client.default_namespace()), args.name.as_deref()).await
        }
        found => found,
    };
    let overview = found.map_err(|error| StatusError::List(error.to_string()))?;
    match &args.name {
        Some(name) if overview.stateful_sets.is_empty() => Err(StatusError::Unknown { name: name.clone() }),
        Some(_) | None => Ok(overview),
    }
}

/// Agents of a settled cluster change their page every 10 s, others several times a second.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);
/// Moves the cursor to the first line.
const HOME: &str = "\u{1b}[H";
/// Clears the rest of a line.
const CLEAR_LINE: &str = "\u{1b}[K";
/// Clears the screen below the cursor.
const CLEAR_BELOW: &str = "\u{1b}[J";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_text_leaves_nothing_of_the_one_before() {
        assert_eq!(redrawn("a\nbc\n"), "\u{1b}[Ha\u{1b}[K\nbc\u{1b}[K\n\u{1b}[J");
    }
}
