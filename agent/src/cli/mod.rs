//! The program around the agent: verbs, log, exit codes.

mod status;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write;
use std::net::{Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use contract::env;
use contract::error::chain;
use program::exit;
use program::log::Stream;

use crate::couch::tls::{TlsError, plain};
use crate::publish::termination::{TERMINATION_LOG, TerminationLog};
use crate::settings::pod_name::Clues;
use crate::settings::{Log, Settings};
use crate::{StartError, Surroundings, start};

/// What a person or a manifest asks of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    /// Print how to use it.
    Help,
    /// Be the sidecar; also without a verb.
    Run,
    /// Ask the one that runs here, and print what it shows: for a person, or as JSON.
    Status {
        /// As JSON.
        json: bool,
    },
    /// Print the version.
    Version,
}

/// Runs the program with the process's own arguments and environment.
pub fn main(args: impl Iterator<Item = OsString>, vars: &dyn Fn(&str) -> Option<String>) -> ExitCode {
    let args: Vec<String> = args.skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    match parse(&args) {
        Ok(Verb::Run) => run(vars),
        Ok(Verb::Status { json }) => print_status(vars, json),
        Ok(Verb::Help) => say(USAGE),
        Ok(Verb::Version) => say(concat!("couchdiscover-agent ", env!("CARGO_PKG_VERSION"), "\n")),
        Err(unknown) => fail(&format!("'{unknown}' is not understood\n\n{USAGE}"), exit::USAGE),
    }
}

/// Starts the agent from an environment and whatever surrounds it, and stays until a signal.
pub fn run_in(vars: &dyn Fn(&str) -> Option<String>, surroundings: Surroundings) -> ExitCode {
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
    // One thread is enough for a loop that waits; names are resolved on a second one.
    let runtime =
        match tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build() {
            Ok(runtime) => runtime,
            Err(error) => return fail(&format!("failed to start: {error}\n"), exit::FAILURE),
        };
    let ended = runtime.block_on(until_a_signal(settings, surroundings));
    // A name that is being resolved would hold up the exit for as long as the resolver takes.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err((message, code)) => fail(&format!("{message}\n"), code),
    }
}

fn run(vars: &dyn Fn(&str) -> Option<String>) -> ExitCode {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let hostnames = [gethostname::gethostname().into_string().ok(), vars(env::HOSTNAME)];
    let clues = Clues {
        hostnames: hostnames.into_iter().flatten().collect(),
        etc_hosts: read("/etc/hosts"),
        resolv_conf: read("/etc/resolv.conf"),
    };
    let termination_log = Some(TERMINATION_LOG.into());
    run_in(vars, Surroundings { clues, termination_log, ..Surroundings::default() })
}

/// Ready is 0 and not ready is 1, so that a script can ask, too.
fn print_status(vars: &dyn Fn(&str) -> Option<String>, json: bool) -> ExitCode {
    let default = SocketAddr::from((Ipv6Addr::UNSPECIFIED, contract::ports::AGENT));
    let listen = vars(env::COUCHDISCOVER_LISTEN).and_then(|value| value.parse().ok()).unwrap_or(default);
    let client = match plain() {
        Ok(client) => client,
        Err(error) => return fail(&format!("{}\n", chain(&error)), exit::FAILURE),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("failed to start: {error}\n"), exit::FAILURE),
    };
    match runtime.block_on(status::page(&client, listen)) {
        Ok(page) => {
            let text =
                if json { format!("{page:#}\n") } else { status::table(&page, jiff::Timestamp::now()) };
            let printed = say(&text);
            if page["ready"] == true { printed } else { ExitCode::from(exit::FAILURE) }
        }
        Err(error) => {
            fail(&format!("no agent answers on port {}: {}\n", listen.port(), chain(&error)), exit::FAILURE)
        }
    }
}

fn parse(args: &[String]) -> Result<Verb, String> {
    match args {
        [] => Ok(Verb::Run),
        [verb] => match verb.as_str() {
            "run" => Ok(Verb::Run),
            "status" => Ok(Verb::Status { json: false }),
            "help" | "-h" | "--help" => Ok(Verb::Help),
            "version" | "-V" | "--version" => Ok(Verb::Version),
            unknown => Err(unknown.to_owned()),
        },
        [status, json] if status == "status" && json == "--json" => Ok(Verb::Status { json: true }),
        [_, unknown, ..] => Err(unknown.clone()),
    }
}

async fn until_a_signal(settings: Settings, surroundings: Surroundings) -> Result<(), (String, u8)> {
    let failed = |error: &dyn std::error::Error| (chain(error), exit::FAILURE);
    let shutdown = program::shutdown().map_err(|error| failed(&error))?;
    let started = start(settings, surroundings).await.map_err(|error| (chain(&error), exit_code(&error)))?;
    started.run(shutdown).await.map_err(|error| failed(&error))
}

/// A wrong setting is 64, as sysexits.h has it; what may go better the next time is 1.
fn exit_code(error: &StartError) -> u8 {
    match error {
        StartError::Identity(_) | StartError::Tls(TlsError::Ca { .. } | TlsError::Trust(_)) => exit::USAGE,
        StartError::Listen { .. } | StartError::Tls(TlsError::Client(_)) => exit::FAILURE,
    }
}

fn start_log(Log { level, format }: Log) {
    // Clients log every connection at debug. A user who raises the agent's level does not ask for these lines.
    let others = tracing::Level::WARN.min(level);
    program::log::Log { level, own_targets: &["agent"], others, format, stream: Stream::Stdout }.start();
}

fn say(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Tells a person on stderr, and `kubectl describe pod` by the termination log.
fn fail(message: &str, code: u8) -> ExitCode {
    let _ = std::io::stderr().write_all(format!("couchdiscover-agent: {message}").as_bytes());
    TerminationLog::new(Some(TERMINATION_LOG.into())).write(message);
    ExitCode::from(code)
}

const USAGE: &str = "\
couchdiscover-agent: makes the CouchDB pods of one StatefulSet one cluster, and keeps them one

usage: couchdiscover-agent [run]             be the sidecar
       couchdiscover-agent status [--json]   what the one that runs here sees, does and waits for
       couchdiscover-agent version
       couchdiscover-agent help

It reads its environment only; the webhook sets it. By hand, it needs at least
  COUCHDB_USER, COUCHDB_PASSWORD      an admin of CouchDB (or COUCHDB_ADMIN_USER, COUCHDB_ADMIN_PASS)
  COUCHDB_CLUSTER_SIZE                how many nodes, where Kubernetes can't be asked
  COUCHDISCOVER_KUBERNETES=off        never ask Kubernetes
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs() {
        let parse = |args: &[&str]| parse(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
        assert_eq!(parse(&[]), Ok(Verb::Run));
        assert_eq!(parse(&["run"]), Ok(Verb::Run));
        assert_eq!(parse(&["status"]), Ok(Verb::Status { json: false }));
        assert_eq!(parse(&["status", "--json"]), Ok(Verb::Status { json: true }));
        assert_eq!(parse(&["--version"]), Ok(Verb::Version));
        assert_eq!(parse(&["walk"]), Err("walk".to_owned()));
        assert_eq!(parse(&["run", "fast"]), Err("fast".to_owned()));
    }
}
