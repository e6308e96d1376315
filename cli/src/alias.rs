//! The subcommands that the server's program accepts as well: `inject`, `uninject` and `check`.
//!
//! They are a type of their own so that its binary, which runs in every cluster, contains no part of the others.

use std::process::ExitCode;

use clap::Subcommand;
use program::exit;
use tokio::runtime::Runtime;

use crate::check::{self, Output};
use crate::error::CommandError;
use crate::help;
use crate::manifest::{self, InjectArgs, UninjectArgs};
use crate::paint::{Color, Paint};
use crate::terminal;

/// A subcommand of both `couchdiscover` and `couchdiscover-webhook`.
#[derive(Debug, Subcommand)]
pub enum Alias {
    /// Inject the agent into the labelled StatefulSets of a file
    #[command(after_help = help::INJECT)]
    Inject(Box<InjectArgs>),
    /// Remove the injected agent from the StatefulSets of a file
    #[command(after_help = help::UNINJECT)]
    Uninject(UninjectArgs),
    /// Check a cluster and print each problem with its fix
    ///
    /// Reads only; all writes are dry runs.
    #[command(after_help = help::CHECK)]
    Check(check::Args),
}

impl Alias {
    /// Runs the subcommand and prints its result; returns the exit code.
    pub fn run(self) -> ExitCode {
        let paint = terminal::paint(Color::Auto);
        self.try_run(paint).unwrap_or_else(|error| terminal::fail(&error, error.exit_code()))
    }

    pub(crate) fn try_run(self, paint: Paint) -> Result<ExitCode, CommandError> {
        match self {
            Self::Inject(args) => manifest::inject(&args).map(|()| ExitCode::SUCCESS),
            Self::Uninject(args) => manifest::uninject(&args).map(|()| ExitCode::SUCCESS),
            Self::Check(args) => check(&args, paint),
        }
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

fn check(args: &check::Args, paint: Paint) -> Result<ExitCode, CommandError> {
    let report = runtime()?.block_on(check::run(args))?;
    let text = match args.output {
        Output::Table => report.painted(paint),
        Output::Json => report.to_json(),
    };
    terminal::print(&text).map_err(CommandError::Write)?;
    if report.saw_nothing() {
        return Ok(ExitCode::from(exit::INCOMPLETE));
    }
    Ok(if report.has_no_problem() { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILURE) })
}

/// One thread is enough: almost all time is spent waiting for the API server.
pub(crate) fn runtime() -> Result<Runtime, CommandError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CommandError::Runtime)
}
