//! The program's command line: `run`, `status`, `open`, `readmit`, `forget`, `version`, `help`.
//!
//! | module | contents |
//! |---|---|
//! | [`verb`] | the arguments |
//! | [`program`] | the sidecar's start and end: settings, log, signals, exit codes |
//! | [`repair`] | repairs that a person decides about |
//! | [`status`] | the page of a running agent, as a table |

mod program;
mod repair;
mod status;
mod verb;

use std::ffi::OsString;
use std::process::ExitCode;

use ::program::exit;

use self::program::{fail, print, run};
use self::repair::repair;
use self::status::print_status;
use self::verb::{USAGE, Verb};

/// Runs the program with the process's own arguments and environment.
pub fn main(args: impl Iterator<Item = OsString>, vars: &dyn Fn(&str) -> Option<String>) -> ExitCode {
    let args: Vec<String> = args.skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    match Verb::parse(&args) {
        Ok(Verb::Run) => run(vars),
        Ok(Verb::Repair(wanted, consent)) => repair(vars, &wanted, consent),
        Ok(Verb::Status(format)) => print_status(vars, format),
        Ok(Verb::Help) => print(USAGE),
        Ok(Verb::Version) => print(concat!("couchdiscover-agent ", env!("CARGO_PKG_VERSION"), "\n")),
        Err(unknown) => fail(&format!("'{unknown}' is not understood\n\n{USAGE}"), exit::USAGE),
    }
}
