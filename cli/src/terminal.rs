//! Parses command lines and prints results and failures.

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::FromArgMatches;
use contract::error::chain;
use contract::text::{MESSAGE_LIMIT, one_line};
use program::exit;

use crate::paint::{Color, Destination, Paint};

/// Parses a command line, the program's name first.
///
/// # Errors
///
/// Help, the version and usage errors are printed here; the error is the exit code to end with.
pub fn parse<C: FromArgMatches>(command: clap::Command, args: Vec<OsString>) -> Result<C, ExitCode> {
    let parsed = command.try_get_matches_from(args).and_then(|matches| C::from_arg_matches(&matches));
    parsed.map_err(|answer| {
        let _ = answer.print();
        // clap returns help and the version as errors that belong on stdout.
        if answer.use_stderr() { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS }
    })
}

/// The use of colours on stdout.
#[expect(clippy::disallowed_methods, reason = "the terminal's own settings, of which no test depends")]
pub(crate) fn paint(color: Color) -> Paint {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let declines_color = is_set("NO_COLOR") || is_dumb;
    Paint::new(color, Destination { is_terminal: io::stdout().is_terminal(), declines_color })
}

/// Prints an error with its sources on stderr and returns the exit code.
pub fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    note(&format!("error: {}", chain(error)));
    ExitCode::from(code)
}

/// Prints a result on stdout.
pub(crate) fn print(text: &str) -> io::Result<()> {
    io::stdout().lock().write_all(text.as_bytes())
}

/// Prints a message on stderr, beside the result on stdout. It may have several lines; values within them come from
/// manifests and API servers.
#[expect(clippy::print_stderr, reason = "the terminal's user reads it beside the result")]
pub(crate) fn note(message: &str) {
    for line in message.lines() {
        eprintln!("{}", shown(line));
    }
}

/// Asks on stderr whether to go on. Returns `false` if stdin is no terminal, so that no answer can come.
pub(crate) fn ask(question: &str) -> bool {
    let is_terminal = io::stdin().is_terminal();
    if is_terminal {
        note(&format!("{question}: continue? [y/N]"));
    }
    is_terminal
}

/// Waits for the answer to [`ask`]. Returns `true` for consent.
pub(crate) fn read_consent() -> io::Result<bool> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

/// Text that pods, manifests or API servers have a part in, as one line that the terminal does not obey.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    one_line(text, MESSAGE_LIMIT)
}
