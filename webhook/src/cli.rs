//! The command line of the server.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use ::cli::program::{self, FAILURE};
use clap::{CommandFactory as _, Parser, Subcommand};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::serve::{self, Kubernetes, LogFormat, LogLevel};

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
    /// The subcommands of `couchdiscover`. Hidden, and accepted for one more release: they were published here.
    #[command(flatten)]
    Alias(::cli::Command),
}

/// Reason why the server ended.
#[derive(Debug, Error)]
enum Error {
    /// The server failed.
    #[error(transparent)]
    Serve(#[from] serve::Error),
    /// The async runtime or the signal handlers cannot be set up.
    #[error("failed to set up the process")]
    Process(#[source] io::Error),
}

/// Runs the program with these arguments, the program's name first.
///
/// The exit code is 0 after a shutdown, 64 for a wrong command line or setting, and 1 for a failure.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = ::cli::Command::hidden_in(Cli::command());
    let cli = match program::parse::<Cli>(command, args.into_iter().collect()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    match cli.command {
        Command::Alias(command) => command.run(),
        Command::Serve(args) => match serve(*args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => program::fail(&error, FAILURE),
        },
    }
}

fn serve(args: serve::Args) -> Result<(), Error> {
    start_logging(args.log_level, args.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::Process)?;
    runtime.block_on(async {
        let shutdown = on_signal().map_err(Error::Process)?;
        Ok(serve::bind(args, Kubernetes::Found).await?.serve(shutdown).await?)
    })
}

/// A token that SIGTERM of Kubernetes or SIGINT of a terminal cancels.
fn on_signal() -> io::Result<CancellationToken> {
    let shutdown = CancellationToken::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let (mut signal, shutdown) = (signal(kind)?, shutdown.clone());
        tokio::spawn(async move {
            signal.recv().await;
            shutdown.cancel();
        });
    }
    Ok(shutdown)
}

fn start_logging(level: LogLevel, format: LogFormat) {
    let level = match level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    };
    // kube logs every failed attempt, every few seconds while an API server is down. The webhook logs the failure once.
    let kubes = if level < tracing::Level::DEBUG { LevelFilter::OFF } else { level.into() };
    let targets = [("kube_client", kubes), ("kube_runtime", kubes)];
    let registry =
        tracing_subscriber::registry().with(Targets::new().with_default(level).with_targets(targets));
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_target(false);
    let lines = lines.with_ansi(io::stderr().is_terminal());
    // Fails only if a subscriber is set already, as in tests.
    let _ = match format {
        LogFormat::Text => registry.with(lines).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
}
