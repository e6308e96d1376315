//! The subcommands.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use program::exit;

use crate::alias::{Alias, runtime};
use crate::check::Output;
use crate::error::CommandError;
use crate::page::{self, PageError};
use crate::paint::{Color, Paint};
use crate::repair::{self, ForgetArgs, OpenArgs, ReadmitArgs, RepairError};
use crate::shell::{CandidateArgs, CompletionArgs, ManArgs};
use crate::{cluster, explain, help, shell, size, status, terminal};

/// Prepare manifests for CouchDB clusters on Kubernetes and check live clusters
#[derive(Debug, Parser)]
#[command(name = "couchdiscover", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Use of colours; NO_COLOR switches them off, too
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    color: Color,
}

/// A subcommand of `couchdiscover`.
#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Alias(Alias),
    /// Show the pods of StatefulSets and the states that their agents report, worst first
    #[command(after_help = help::STATUS)]
    Status(status::Args),
    /// Show the copies that a change of size moves
    ///
    /// Reads only.
    #[command(after_help = help::PLAN)]
    Plan(size::PlanArgs),
    /// Change the number of nodes: drains those that go, or adds new ones, and waits until that is done
    ///
    /// Called again, it continues.
    #[command(after_help = help::SCALE)]
    Scale(size::ScaleArgs),
    /// Show the page of an agent in a browser on this machine
    ///
    /// Opens a port of 127.0.0.1, prints its address, and passes requests on through the API server with your rights, until
    /// Ctrl-C.
    #[command(after_help = help::PAGE)]
    Page(page::Args),
    /// Let the node of a pod take part in reads and writes again
    ///
    /// For a node whose maintenance mode was set manually, and for one that cannot be filled because the other copies are lost
    /// for good. Shows what may be lost and asks. Runs 'kubectl exec' in the agent's container.
    #[command(after_help = help::OPEN)]
    Open(OpenArgs),
    /// List the node of a pod as a member again
    ///
    /// For a node that was removed from _nodes by mistake. Shows what may be lost and asks. Runs 'kubectl exec' in the
    /// agent's container of another pod.
    #[command(after_help = help::READMIT)]
    Readmit(ReadmitArgs),
    /// Remove a name that belongs to no pod from the members
    ///
    /// Refused if the node is connected or a shard map names it. Shows what may be lost and asks. Runs 'kubectl exec' in the
    /// agent's container.
    #[command(after_help = help::FORGET)]
    Forget(ForgetArgs),
    /// Print the runbook's page about a state, a condition or an alert
    #[command(after_help = help::EXPLAIN)]
    Explain(explain::Args),
    /// Print the script with which a shell completes the command line
    #[command(after_help = help::COMPLETION)]
    Completion(CompletionArgs),
    /// Write the man pages to a folder
    #[command(hide = true)]
    Man(ManArgs),
    /// Print the candidates for the last word, for kubectl
    #[command(name = "__complete", hide = true)]
    Complete(CandidateArgs),
}

/// Runs the program.
pub(crate) fn run(args: Vec<OsString>) -> ExitCode {
    let command = named_as_called(Cli::command(), args.first());
    match terminal::parse::<Cli>(command, args) {
        Ok(cli) => cli.command.run(terminal::paint(cli.color)),
        Err(code) => code,
    }
}

/// Shows `kubectl couchdiscover` in the usage if kubectl runs the program as its plugin: it calls
/// `kubectl-couchdiscover` then.
fn named_as_called(command: clap::Command, program: Option<&OsString>) -> clap::Command {
    let stem = program.and_then(|program| Path::new(program).file_stem());
    if stem == Some(OsStr::new("kubectl-couchdiscover")) {
        return command.bin_name("kubectl couchdiscover");
    }
    command
}

impl Command {
    /// Runs the subcommand and prints its result; returns the exit code.
    fn run(self, paint: Paint) -> ExitCode {
        let done = |()| ExitCode::SUCCESS;
        let result = match self {
            Self::Alias(alias) => alias.try_run(paint),
            Self::Status(args) => status(&args, paint),
            Self::Plan(args) => plan(&args),
            Self::Scale(args) => scale(&args),
            Self::Page(args) => page(&args).map(done),
            Self::Open(args) => repaired(args.target(), async |config| repair::open(config, &args).await),
            Self::Readmit(args) => {
                repaired(args.target(), async |config| repair::readmit(config, &args).await)
            }
            Self::Forget(args) => repaired(args.target(), async |config| repair::forget(config, &args).await),
            Self::Explain(args) => explain::run(&args).map(done).map_err(Into::into),
            Self::Completion(args) => {
                shell::completion(&args, Cli::command()).map(done).map_err(CommandError::Write)
            }
            Self::Man(args) => shell::man(&args, Cli::command()).map(done).map_err(Into::into),
            Self::Complete(args) => {
                shell::candidates(&args, Cli::command()).map(done).map_err(CommandError::Write)
            }
        };
        result.unwrap_or_else(|error| terminal::fail(&error, error.exit_code()))
    }
}

fn status(args: &status::Args, paint: Paint) -> Result<ExitCode, CommandError> {
    let overview = runtime()?.block_on(status::run(args, paint))?;
    if !overview.is_complete() {
        return Ok(ExitCode::from(exit::INCOMPLETE));
    }
    Ok(if overview.is_well() { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILURE) })
}

fn plan(args: &size::PlanArgs) -> Result<ExitCode, CommandError> {
    let is_possible = runtime()?.block_on(async {
        let config = cluster::configuration(&args.target).await?;
        size::plan(config, args).await
    })?;
    Ok(if is_possible { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILURE) })
}

fn scale(args: &size::ScaleArgs) -> Result<ExitCode, CommandError> {
    runtime()?.block_on(async {
        let config = cluster::configuration(&args.target).await?;
        size::scale(config, args).await
    })?;
    Ok(ExitCode::SUCCESS)
}

fn page(args: &page::Args) -> Result<(), CommandError> {
    runtime()?.block_on(async {
        let config = cluster::configuration(&args.target).await.map_err(PageError::from)?;
        let server = page::bind(config, args).await?;
        let url = server.url();
        let text = match args.output {
            Output::Table => format!("The page of {} is at {url} until Ctrl-C\n", args.pod),
            Output::Json => format!("{}\n", serde_json::json!({ "pod": args.pod, "url": url })),
        };
        terminal::print(&text).map_err(PageError::from)?;
        tokio::select! {
            () = server.serve() => {}
            interrupted = tokio::signal::ctrl_c() => interrupted.map_err(PageError::from)?,
        }
        Ok(())
    })
}

fn repaired(
    target: &cluster::Target,
    repair: impl AsyncFnOnce(kube::Config) -> Result<(), RepairError>,
) -> Result<ExitCode, CommandError> {
    runtime()?.block_on(async {
        let config = cluster::configuration(target).await.map_err(RepairError::from)?;
        repair(config).await
    })?;
    Ok(ExitCode::SUCCESS)
}
