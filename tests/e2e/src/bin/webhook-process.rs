//! The `couchdiscover-webhook` program, built as a binary of this crate so that Cargo passes its path to the tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    webhook::run(std::env::args_os())
}
