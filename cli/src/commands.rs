//! The command line: what a person or a manifest says, and what they are told.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::check;
use crate::error::chain;
use crate::serve::{self, Injection, Kubernetes, LogFormat, LogLevel};
use inject::files::{self, Format, Output, Verb};

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
    /// Inject into the labelled StatefulSets of a file
    Inject(Inject),
    /// Take out of a file what was injected
    Uninject(FromFile),
    /// Look at a cluster, and say what is wrong
    Check(check::Args),
}

#[derive(Debug, ClapArgs)]
struct Inject {
    #[command(flatten)]
    file: FromFile,
    #[command(flatten)]
    injection: Injection,
    /// Namespace of StatefulSets that don't say theirs
    #[arg(long, short)]
    namespace: Option<String>,
}

#[derive(Debug, ClapArgs)]
struct FromFile {
    /// YAML or JSON to read, many documents and Lists included; '-' is stdin
    #[arg(long = "filename", short = 'f', value_name = "FILE")]
    file: PathBuf,
    /// How to write the result; by default as it was read
    #[arg(long, short, value_enum)]
    output: Option<OutputFormat>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OutputFormat {
    /// YAML documents
    Yaml,
    /// JSON objects
    Json,
    /// One JSON Patch a line for each changed StatefulSet
    Patch,
}

/// Why a command failed.
#[derive(Debug, Error)]
enum Error {
    /// The input can't be read.
    #[error("failed to read '{path}'")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The result can't be written.
    #[error("failed to write the result")]
    Write(#[source] io::Error),
    /// The input isn't what it should be, or is refused.
    #[error(transparent)]
    Files(#[from] files::Error),
    /// The server failed.
    #[error(transparent)]
    Serve(#[from] serve::Error),
    /// Nothing could be looked at.
    #[error(transparent)]
    Check(#[from] check::Error),
    /// The process can't be set up.
    #[error("failed to set up the process")]
    Process(#[source] io::Error),
}

/// The exit code of a wrong command line or setting, after sysexits.h.
const USAGE: u8 = 64;
/// The exit code of `check` without a cluster to look at, after the same: not that of a cluster in which something is
/// wrong.
const UNAVAILABLE: u8 = 69;

/// Runs the program: 0 when it did what was asked, 64 when it was asked wrongly, 69 when there is no cluster to look
/// at, 1 when it failed or found something wrong.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(usage) => {
            let asked = !usage.use_stderr();
            let _ = usage.print();
            return if asked { ExitCode::SUCCESS } else { ExitCode::from(USAGE) };
        }
    };
    let done = match cli.command {
        Command::Serve(args) => serve(*args),
        Command::Inject(Inject { file, injection, namespace }) => {
            on_file(Verb::Inject, &file, &injection.settings(), namespace.as_deref())
        }
        Command::Uninject(file) => on_file(Verb::Uninject, &file, &no_settings(), None),
        Command::Check(args) => match check(&args) {
            Ok(true) => Ok(()),
            Ok(false) => return ExitCode::FAILURE,
            Err(error) => Err(error),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {}", chain(&error)));
            match error {
                Error::Check(_) => ExitCode::from(UNAVAILABLE),
                Error::Read { .. }
                | Error::Write(_)
                | Error::Files(_)
                | Error::Serve(_)
                | Error::Process(_) => ExitCode::FAILURE,
            }
        }
    }
}

/// Whether all is well.
fn check(args: &check::Args) -> Result<bool, Error> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Process)?;
    let report = runtime.block_on(check::run(args))?;
    let text = match args.output {
        check::Output::Table => report.to_table(),
        check::Output::Json => report.to_json(),
    };
    io::stdout().lock().write_all(text.as_bytes()).map_err(Error::Write)?;
    Ok(report.is_well())
}

fn on_file(
    verb: Verb,
    file: &FromFile,
    settings: &inject::Settings,
    namespace: Option<&str>,
) -> Result<(), Error> {
    let input = read(&file.file)?;
    let format = file.output.map(|format| match format {
        OutputFormat::Yaml => Format::Yaml,
        OutputFormat::Json => Format::Json,
        OutputFormat::Patch => Format::Patch,
    });
    let Output { text, report } = files::run(verb, &input, format, settings, namespace)?;
    report.iter().for_each(|line| say(line));
    io::stdout().lock().write_all(text.as_bytes()).map_err(Error::Write)
}

fn read(path: &Path) -> Result<String, Error> {
    let mut text = String::new();
    let read = match path == Path::new("-") {
        true => io::stdin().lock().read_to_string(&mut text).map(|_| text),
        false => std::fs::read_to_string(path),
    };
    read.map_err(|source| Error::Read { path: path.to_owned(), source })
}

/// Taking out needs none.
fn no_settings() -> inject::Settings {
    inject::Settings { agent_image: String::new(), cluster_domain: String::new(), version: String::new() }
}

fn serve(args: serve::Args) -> Result<(), Error> {
    start_logging(args.log_level, args.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::Process)?;
    runtime.block_on(async {
        let shutdown = on_signal().map_err(Error::Process)?;
        Ok(serve::bind(args, Kubernetes::Found).await?.serve(shutdown).await?)
    })
}

/// Kubernetes sends SIGTERM, a terminal SIGINT.
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
    // kube warns of every attempt that fails, once in some seconds for as long as an API server is away, and we say it once.
    let kubes = if level < tracing::Level::DEBUG { LevelFilter::OFF } else { level.into() };
    let targets = [("kube_client", kubes), ("kube_runtime", kubes)];
    let registry =
        tracing_subscriber::registry().with(Targets::new().with_default(level).with_targets(targets));
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_target(false);
    let lines = lines.with_ansi(io::stderr().is_terminal());
    // Fails only where logging is set up already, and then there is logging.
    let _ = match format {
        LogFormat::Text => registry.with(lines).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
}

#[expect(clippy::print_stderr, reason = "what a person reads beside the result")]
fn say(line: &str) {
    eprintln!("{line}");
}
