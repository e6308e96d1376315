//! Counts the calls that are lost while certificates, the certificate authority and the replicas are replaced under load.
//!
//! ```text
//! cargo run --release -p couchdiscover-e2e --example lossless             # 100,000 calls of each kind
//! cargo run --release -p couchdiscover-e2e --example lossless -- 5000
//! ```
//!
//! One kind of caller keeps its connections, the other makes a full TLS handshake for each call. Both verify the server
//! against the published caBundle. Exits 1 if a call was lost.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a command-line tool, where a panic is an acceptable error message"
)]

use std::process::ExitCode;

use e2e::lossless::{Plan, Report, run};

#[tokio::main]
async fn main() -> ExitCode {
    let calls = std::env::args().nth(1).map_or(100_000, |calls| calls.parse().unwrap());
    let Report { kept, fresh, lost, renewals, bundles, restarts, took } =
        run(Plan { calls, callers: 8, restarts: 4 }).await;
    println!("{kept} calls on kept connections, {fresh} with a handshake each, in {took:.0?}");
    println!(
        "{renewals} certificates renewed while serving, {bundles} caBundles, {restarts} replicas replaced"
    );
    println!("{} calls lost", lost.len());
    for reason in lost.iter().take(20) {
        println!("  {reason}");
    }
    if lost.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
