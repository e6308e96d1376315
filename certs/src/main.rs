//! Generates `ca.crt`, `tls.crt` and `tls.key` for the names on the command line.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use certs::Authority;
use clap::Parser;
use contract::error::chain;
use thiserror::Error;
use time::OffsetDateTime;

/// Generate a certificate authority and a server certificate: ca.crt, tls.crt, tls.key.
///
/// The authority's key is not kept, so the files can't be renewed, only generated again. For tests, and for
/// clusters where the webhook must not have a certificate authority of its own.
#[derive(Debug, Parser)]
#[command(name = "couchdiscover-certs", version, after_help = EXAMPLE)]
struct Args {
    /// DNS names and IP addresses of the server
    #[arg(required = true)]
    names: Vec<String>,
    /// Output directory, which must exist
    #[arg(long, default_value = ".")]
    out: PathBuf,
}

const EXAMPLE: &str =
    "Example:\n  couchdiscover-certs --out certs webhook.couchdiscover.svc localhost 127.0.0.1";

/// The files were not written.
#[derive(Debug, Error)]
enum Error {
    #[error(transparent)]
    Certificate(#[from] certs::Error),
    #[error("failed to write '{path}'")]
    Write { path: PathBuf, source: io::Error },
}

#[expect(clippy::print_stderr, reason = "standard error is this program's log")]
fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(error) = generate(&args, OffsetDateTime::now_utc()) {
        eprintln!("error: {}", chain(&error));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn generate(args: &Args, now: OffsetDateTime) -> Result<(), Error> {
    let authority = Authority::new("couchdiscover", now)?;
    let leaf = authority.leaf(&args.names, now)?;
    write(&args.out.join("ca.crt"), authority.certificate_pem(), 0o644)?;
    write(&args.out.join("tls.crt"), leaf.certificate_pem(), 0o644)?;
    write(&args.out.join("tls.key"), &leaf.key_pem(), 0o600)
}

/// Writes `text` to a file that is created with `mode`; an existing file keeps its mode.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| Error::Write { path: path.to_owned(), source })
}
