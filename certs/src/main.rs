//! Makes `ca.crt`, `tls.crt` and `tls.key` for the names it is given.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use certs::Authority;
use clap::Parser;
use thiserror::Error;
use time::OffsetDateTime;

/// Make a certificate authority and a server certificate: ca.crt, tls.crt, tls.key.
///
/// The authority's key is thrown away, so these files can't be renewed, only made anew. For tests, and for
/// clusters where the webhook may not mint its own.
#[derive(Debug, Parser)]
#[command(name = "couchdiscover-certs", version, after_help = EXAMPLE)]
struct Args {
    /// A DNS name or IP address the server is called by
    #[arg(required = true)]
    names: Vec<String>,
    /// The directory to write to
    #[arg(long, default_value = ".")]
    out: PathBuf,
}

const EXAMPLE: &str =
    "Example:\n  couchdiscover-certs --out certs webhook.couchdiscover.svc localhost 127.0.0.1";

/// Why the files were not written.
#[derive(Debug, Error)]
enum Error {
    /// The certificates could not be made.
    #[error(transparent)]
    Certificate(#[from] certs::Error),
    /// A file could not be written.
    #[error("failed to write '{path}'")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    match write(&args, OffsetDateTime::now_utc()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

fn write(args: &Args, now: OffsetDateTime) -> Result<(), Error> {
    let authority = Authority::new("couchdiscover", now)?;
    let leaf = authority.leaf(&args.names, now)?;
    create(&args.out.join("ca.crt"), authority.certificate_pem(), 0o644)?;
    create(&args.out.join("tls.crt"), leaf.certificate_pem(), 0o644)?;
    create(&args.out.join("tls.key"), &leaf.key_pem(), 0o600)
}

fn create(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| Error::Write { path: path.to_owned(), source })
}

#[expect(clippy::print_stderr, reason = "this program talks to a person")]
fn report(error: &Error) {
    eprint!("error: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        eprint!(": {error}");
        cause = error.source();
    }
    eprintln!();
}
