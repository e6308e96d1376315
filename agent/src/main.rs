//! The sidecar. See `agent::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
    agent::cli::main(std::env::args_os(), &|name| std::env::var(name).ok())
}
