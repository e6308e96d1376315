//! The sidecar. See `agent::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
    let vars = |name: &str| std::env::var(name).ok();
    agent::cli::main(std::env::args_os(), &vars)
}
