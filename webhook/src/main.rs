//! The program `couchdiscover-webhook`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Of the cryptography that rustls can use, the one in this tree; fails only when there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    webhook::run(std::env::args_os())
}
