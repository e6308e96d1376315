//! The command line of couchdiscover: prepares manifests and checks live clusters.
//!
//! * [`check`]: reads a cluster with the user's kubeconfig and reports each problem with its fix
//! * `manifest`: runs the injection on YAML and JSON files
//! * [`Command`]: the subcommands
//! * [`terminal`]: parses command lines and prints failures; shared with the server's program
//!
//! ```text
//! command -> manifest (inject::files), check
//!   all   -> error, terminal
//! ```

pub mod check;
mod command;
mod error;
mod manifest;
pub mod terminal;

use std::ffi::OsString;
use std::process::ExitCode;

pub use command::Command;
pub use manifest::Injection;

/// Runs the program `couchdiscover` with these arguments, the program's name first.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    command::run(args.into_iter().collect())
}
