//! The command line of couchdiscover: prepares manifests and checks live clusters.
//!
//! * [`check`]: reads a cluster with the user's kubeconfig and reports each problem with its fix
//! * [`status`]: shows the pods of StatefulSets and the states that their agents report
//! * [`size`]: shows what a change of size takes, and carries it out
//! * [`page`]: serves the page of an agent to a browser on this machine
//! * `repair`: carries out what a person decides about, in the container of an agent
//! * [`cluster`]: the live cluster, read with the user's rights
//! * `explain`: prints the runbook's pages
//! * `manifest`: runs the injection on YAML and JSON files
//! * `shell`: completion scripts and man pages
//! * [`Alias`]: the subcommands that the server's program accepts, too
//! * [`terminal`]: parses command lines and prints failures; shared with the server's program
//!
//! ```text
//! command -> manifest (inject::files), check, status, size, page, repair -> cluster; shell -> explain
//! alias -> manifest, check
//!   all   -> error, terminal, paint
//! ```

mod alias;
pub mod check;
pub mod cluster;
mod command;
mod defaults;
mod error;
mod explain;
mod help;
mod manifest;
pub mod page;
mod paint;
mod repair;
mod shell;
pub mod size;
mod sources;
pub mod status;
pub mod terminal;
mod time_limit;

use std::ffi::OsString;
use std::process::ExitCode;

pub use alias::Alias;
pub use defaults::DefaultArgs;
pub use manifest::Injection;
pub use paint::{Color, Destination, Paint};

/// Runs the program `couchdiscover` with these arguments, the program's name first.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    command::run(args.into_iter().collect())
}
