//! The command line of the server.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use ::cli::terminal;
use clap::{CommandFactory as _, Parser, Subcommand};
use program::exit;
use program::log::{Log, Stream};
use thiserror::Error;

use crate::serve::{self, Kubernetes};

/// Inject the couchdiscover agent into StatefulSets that run CouchDB
#[derive(Debug, Parser)]
#[command(name = "couchdiscover-webhook", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the admission webhook
    Serve(Box<serve::Args>),
    /// Subcommands of `couchdiscover`. Hidden, and accepted for one more release: they were published here.
    #[command(flatten)]
    Alias(::cli::Alias),
}

/// Reason why the server ended.
#[derive(Debug, Error)]
enum Error {
    /// The server failed.
    #[error(transparent)]
    Serve(#[from] serve::Error),
    /// The options for annotations contradict each other.
    #[error("the defaults of the annotations contradict each other: {0}")]
    Defaults(String),
    /// The async runtime or the signal handlers cannot be set up.
    #[error("failed to set up the process")]
    Process(#[source] io::Error),
}

/// Runs the program with these arguments, the program's name first.
///
/// The exit code is 0 after a shutdown, 64 for a wrong command line or setting, and 1 for a failure.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = ::cli::Alias::hidden_in(Cli::command());
    let cli = match terminal::parse::<Cli>(command, args.into_iter().collect()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    match cli.command {
        Command::Alias(command) => command.run(),
        // Otherwise every StatefulSet without annotations would be denied for it.
        Command::Serve(args) if let Some(problem) = args.injection.defaults.contradiction() => {
            terminal::fail(&Error::Defaults(problem), exit::USAGE)
        }
        Command::Serve(args) => match serve(*args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => terminal::fail(&error, exit::FAILURE),
        },
    }
}

fn serve(args: serve::Args) -> Result<(), Error> {
    let level = tracing::Level::from(args.log_level);
    Log { level, own_targets: &[], others: level, format: args.log_format.into(), stream: Stream::Stderr }
        .start();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::Process)?;
    runtime.block_on(async {
        let shutdown = program::shutdown().map_err(Error::Process)?;
        Ok(serve::bind(args, Kubernetes::Found).await?.serve(shutdown).await?)
    })
}
