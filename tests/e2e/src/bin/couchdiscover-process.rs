//! The `couchdiscover` program, built as a binary of this crate so that Cargo passes its path to the tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    cli::run(std::env::args_os())
}
