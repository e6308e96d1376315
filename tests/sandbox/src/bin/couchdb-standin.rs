//! Runs CouchDB stand-ins on loopback ports, for manual experiments: `couchdb-standin [number of nodes]`.
//!
//! The nodes are `couchdb-<n>.couchdb.default.svc.cluster.local`, with admin `admin` and password `s3cret`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for a person at a terminal")]

use std::process::ExitCode;

use sandbox::couchdb::{Clock, Network, NetworkError, NodeHandle, NodeSettings};

/// The exit code for wrong arguments: `EX_USAGE` of sysexits.h.
const USAGE: u8 = 64;

#[tokio::main]
async fn main() -> ExitCode {
    let count = match std::env::args().nth(1).map(|arg| arg.parse::<u16>()) {
        None => 3,
        Some(Ok(count)) => count,
        Some(Err(_)) => {
            eprintln!("usage: couchdb-standin [number of nodes]");
            return ExitCode::from(USAGE);
        }
    };
    let net = Network::start(Clock::real());
    for ordinal in 0..count {
        match start(&net, ordinal) {
            Ok(node) => println!("{}  http://admin:s3cret@{}", node.host(), node.addr()),
            Err(error) => {
                eprintln!("node {ordinal}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("Press Ctrl-C to stop them.");
    match tokio::signal::ctrl_c().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn start(net: &Network, ordinal: u16) -> Result<NodeHandle, NetworkError> {
    let host = format!("couchdb-{ordinal}.couchdb.default.svc.cluster.local");
    net.start_node(NodeSettings::new(host).admin("admin", "s3cret").secret("topsecret").cookie("shared"))
}
