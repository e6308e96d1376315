//! The subcommands.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use program::exit;

use crate::alias::{Alias, runtime};
use crate::error::CommandError;
use crate::shell::{CandidateArgs, CompletionArgs, ManArgs};
use crate::{cluster, explain, help, shell, size, status, terminal};

/// Prepare manifests for CouchDB clusters on Kubernetes and check live clusters
#[derive(Debug, Parser)]
#[command(name = "couchdiscover", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
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
        Ok(cli) => cli.command.run(),
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
    fn run(self) -> ExitCode {
        let done = |()| ExitCode::SUCCESS;
        let result = match self {
            Self::Alias(alias) => alias.try_run(),
            Self::Status(args) => status(&args),
            Self::Plan(args) => plan(&args),
            Self::Scale(args) => scale(&args),
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

fn status(args: &status::Args) -> Result<ExitCode, CommandError> {
    let overview = runtime()?.block_on(status::run(args))?;
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
