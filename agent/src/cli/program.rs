//! The sidecar's start and end: settings, log, signals, exit codes.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

use contract::env;
use contract::error::chain;
use program::exit;
use program::log::Stream;

use crate::couch::tls::TlsError;
use crate::kubernetes::Place;
use crate::publish::termination::{TERMINATION_LOG, TerminationLog};
use crate::settings::pod_name::NameSources;
use crate::settings::{Log, Settings};
use crate::{StartError, Surroundings, start};

/// Runs the sidecar in the environment of this process.
pub(super) fn run(vars: &dyn Fn(&str) -> Option<String>) -> ExitCode {
    let termination_log = Some(TERMINATION_LOG.into());
    run_in(vars, Surroundings { termination_log, ..surroundings(vars) })
}

/// The surroundings of this process: its names, and its place.
pub(super) fn surroundings(vars: &dyn Fn(&str) -> Option<String>) -> Surroundings {
    let in_pod = vars(env::KUBERNETES_SERVICE_HOST).is_some();
    let place = if in_pod { Place::Pod } else { Place::Elsewhere };
    Surroundings { names: names(vars), place, ..Surroundings::default() }
}

fn names(vars: &dyn Fn(&str) -> Option<String>) -> NameSources {
    let hostnames = [gethostname::gethostname().into_string().ok(), vars(env::HOSTNAME)];
    NameSources {
        hostnames: hostnames.into_iter().flatten().collect(),
        etc_hosts: std::fs::read_to_string("/etc/hosts").unwrap_or_default(),
        resolv_conf: std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
    }
}

fn run_in(vars: &dyn Fn(&str) -> Option<String>, surroundings: Surroundings) -> ExitCode {
    let settings = match Settings::from_vars(vars) {
        Ok(settings) => settings,
        Err(mistakes) => {
            let lines = mistakes.lines().fold(String::new(), |mut text, line| {
                let _ = writeln!(text, "{line}");
                text
            });
            return fail(&lines, exit::USAGE);
        }
    };
    start_log(settings.log);
    // One thread is sufficient for a loop that waits. Names are resolved on a second one.
    let runtime =
        match tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build() {
            Ok(runtime) => runtime,
            Err(error) => return fail(&format!("failed to start: {error}\n"), exit::FAILURE),
        };
    let ended = runtime.block_on(until_shutdown(settings, surroundings));
    // Without this, a name that is being resolved would delay the exit until the resolver's timeout.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{}\n", chain(&error)), error.exit_code()),
    }
}

async fn until_shutdown(settings: Settings, surroundings: Surroundings) -> Result<(), RunError> {
    let shutdown = program::shutdown().map_err(RunError::Io)?;
    let started = start(settings, surroundings).await.map_err(RunError::Start)?;
    started.run(shutdown).await;
    Ok(())
}

/// The sidecar ended with an error.
#[derive(Debug, thiserror::Error)]
enum RunError {
    /// Signals cannot be received.
    #[error(transparent)]
    Io(io::Error),
    /// The agent cannot start.
    #[error(transparent)]
    Start(StartError),
}

impl RunError {
    /// [`exit::USAGE`] for settings that a restart does not repair, else [`exit::FAILURE`].
    fn exit_code(&self) -> u8 {
        match self {
            Self::Start(
                StartError::Identity(_) | StartError::Tls(TlsError::Ca { .. } | TlsError::Trust(_)),
            ) => exit::USAGE,
            Self::Start(StartError::Listen { .. } | StartError::Tls(TlsError::Client(_))) | Self::Io(_) => {
                exit::FAILURE
            }
        }
    }
}

fn start_log(Log { level, format }: Log) {
    // Clients log every connection at debug. A user who raises the agent's level does not ask for these lines.
    let others = tracing::Level::WARN.min(level);
    program::log::Log { level, own_targets: &["agent"], others, format, stream: Stream::Stdout }.start();
}

/// Prints on stdout; a failure is the exit code.
pub(super) fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Reports an error on stderr and in the termination log, which `kubectl describe pod` shows.
pub(super) fn fail(message: &str, code: u8) -> ExitCode {
    let _ = io::stderr().write_all(format!("couchdiscover-agent: {message}").as_bytes());
    TerminationLog::new(Some(TERMINATION_LOG.into())).write(message);
    ExitCode::from(code)
}
