//! `couchdiscover-agent open`, `readmit` and `forget`: prints what a repair changes, and carries it out with `--yes`.

use std::io::{self, Write as _};
use std::process::ExitCode;

use contract::error::chain;
use contract::status::Page;
use contract::text::{MESSAGE_LIMIT, one_line};
use program::exit;
use serde::Deserialize as _;
use thiserror::Error;

use super::program::{print, surroundings};
use super::status::fetch;
use super::verb::Consent;
use crate::Surroundings;
use crate::couch::tls::{TlsError, plain};
use crate::repair::{Repair, RepairError, Repairer};
use crate::settings::{Mistakes, Settings};

/// Prints the proposal of a repair, and carries it out if the user consents. The exit code is 0 if it is possible, or done.
pub(super) fn repair(vars: &dyn Fn(&str) -> Option<String>, repair: &Repair, consent: Consent) -> ExitCode {
    let settings = match Settings::from_vars(vars) {
        Ok(settings) => settings,
        Err(mistakes) => return report(&Error::Settings(mistakes), exit::USAGE),
    };
    let surroundings = surroundings(vars);
    let runtime =
        match tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build() {
            Ok(runtime) => runtime,
            Err(error) => return report(&Error::Process(error), exit::FAILURE),
        };
    let ended = runtime.block_on(carry_out(settings, surroundings, repair, consent));
    // Without this, a name that is being resolved would delay the exit until the resolver's timeout.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error, exit::FAILURE),
    }
}

async fn carry_out(
    settings: Settings,
    surroundings: Surroundings,
    repair: &Repair,
    consent: Consent,
) -> Result<(), Error> {
    let listen = settings.listen;
    let page =
        fetch(&plain()?, listen).await.map_err(|source| Error::NoAgent { port: listen.port(), source })?;
    let page = Page::deserialize(&page).map_err(Error::Page)?;
    let repairer = Repairer::new(settings, surroundings).await?;
    let proposal = repairer.propose(repair, &page).await?;
    say(&proposal.to_string())?;
    let Some(change) = &proposal.change else { return Ok(()) };
    if consent == Consent::Missing {
        return say("Nothing was changed. Fix: add --yes to carry it out");
    }
    repairer.carry_out(change).await?;
    say("Done.")
}

/// Prints lines in which names from `_nodes` are shown so that a terminal does not obey them.
fn say(text: &str) -> Result<(), Error> {
    let mut lines = String::new();
    for line in text.lines() {
        lines.push_str(&one_line(line, MESSAGE_LIMIT));
        lines.push('\n');
    }
    if print(&lines) == ExitCode::SUCCESS { Ok(()) } else { Err(Error::Write) }
}

/// Reports on stderr only: the termination message belongs to the agent that runs in this container.
fn report(error: &Error, code: u8) -> ExitCode {
    let message = chain(error);
    for line in message.lines() {
        let _ = writeln!(io::stderr(), "couchdiscover-agent: {}", one_line(line, MESSAGE_LIMIT));
    }
    ExitCode::from(code)
}

/// A repair was not carried out.
#[derive(Debug, Error)]
enum Error {
    #[error("no agent answers on port {port}")]
    NoAgent { port: u16, source: reqwest::Error },
    #[error("the agent's page cannot be read")]
    Page(#[source] serde_json::Error),
    #[error("failed to start")]
    Process(#[source] io::Error),
    #[error(transparent)]
    Repair(#[from] RepairError),
    #[error("{0}")]
    Settings(Mistakes),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the result cannot be written")]
    Write,
}
