//! The program `couchdiscover-webhook`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The only provider of cryptography in the tree. Fails only if one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    webhook::run(std::env::args_os())
}
