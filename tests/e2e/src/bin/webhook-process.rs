//! `couchdiscover-webhook`, built where Cargo tells tests about it.

use std::process::ExitCode;

fn main() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    webhook::run(std::env::args_os())
}
