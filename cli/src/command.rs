//! The subcommands.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use program::exit;
use tokio::runtime::Runtime;

use crate::check::{self, Output};
use crate::error::CommandError;
use crate::manifest::{self, InjectArgs, UninjectArgs};
use crate::{cluster, explain, size, status, terminal};

/// Prepare manifests for CouchDB clusters on Kubernetes and check live clusters
#[derive(Debug, Parser)]
#[command(name = "couchdiscover", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// A subcommand of `couchdiscover`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Inject the agent into the labelled StatefulSets of a file
    Inject(Box<InjectArgs>),
    /// Remove the injected agent from the StatefulSets of a file
    Uninject(UninjectArgs),
    /// Check a cluster and print each problem with its fix
    ///
    /// Reads only; all writes are dry runs. Exits 0 if no problem is found, 1 if one is found, 2 if nothing can be
    /// read, 69 if no cluster can be reached.
    Check(check::Args),
    /// Show the pods of StatefulSets and the states that their agents report, worst first
    ///
    /// Exits 0 if every pod is ready and no agent reports a condition, 1 if not, 2 if pods cannot be read, 69 if no cluster
    /// can be reached.
    Status(status::Args),
    /// Show the copies that a change of size moves
    ///
    /// Reads only. Exits 0 if the plan can be carried out now, 1 if not, 2 if no agent answers with a plan, 69 if no cluster
    /// can be reached.
    Plan(size::PlanArgs),
    /// Change the number of nodes: drains those that go, or adds new ones, and waits until that is done
    ///
    /// Called again, it continues. Exits 0 when it is done, 1 if it is refused, interrupted or not done in time, 2 if the
    /// state cannot be read, 64 if a confirmation is missing, 69 if no cluster can be reached.
    Scale(size::ScaleArgs),
    /// Print the runbook's page about a state, a condition or an alert
    Explain(explain::Args),
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
    pub fn run(self) -> ExitCode {
        let result = match self {
            Self::Inject(args) => manifest::inject(&args).map(|()| ExitCode::SUCCESS),
            Self::Uninject(args) => manifest::uninject(&args).map(|()| ExitCode::SUCCESS),
            Self::Check(args) => check(&args),
            Self::Status(args) => status(&args),
            Self::Plan(args) => plan(&args),
            Self::Scale(args) => scale(&args),
            Self::Explain(args) => explain::run(&args).map(|()| ExitCode::SUCCESS).map_err(Into::into),
        };
        result.unwrap_or_else(|error| terminal::fail(&error, error.exit_code()))
    }

    /// Hides these subcommands in the help of a program that accepts them as aliases.
    #[must_use]
    pub fn hidden_in(program: clap::Command) -> clap::Command {
        let aliases = Self::augment_subcommands(clap::Command::new("aliases"));
        aliases.get_subcommands().fold(program, |program, alias| {
            program.mut_subcommand(alias.get_name(), |subcommand| subcommand.hide(true))
        })
    }
}

fn check(args: &check::Args) -> Result<ExitCode, CommandError> {
    let report = runtime()?.block_on(check::run(args))?;
    let text = match args.output {
        Output::Table => report.to_table(),
        Output::Json => report.to_json(),
    };
    terminal::print(&text).map_err(CommandError::Write)?;
    if report.saw_nothing() {
        return Ok(ExitCode::from(exit::INCOMPLETE));
    }
    Ok(if report.has_no_problem() { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILURE) })
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

/// One thread is enough: almost all time is spent waiting for the API server.
fn runtime() -> Result<Runtime, CommandError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CommandError::Runtime)
}
