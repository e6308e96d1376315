//! The program `couchdiscover`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // rustls is built with ring only. Installing it fails only if a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    cli::run(std::env::args_os())
}
